"""Our side of every comparison."""

from __future__ import annotations

import math

import numpy as np

from fastrnn.errors import RunError

from .rounds import Contender, iterations_for, turn

MOST_A_THREAD = 4  # networks


class Ours:
    """Networks in training; a call advances them all, `at_once` iterations for each call of the engine."""

    def __init__(self, engine, work, N: int, at_once: int | None = None):
        self._engine, self._work = engine, work
        self.networks, self._at_once = N, at_once
        self._stack = work.networks(N)
        self._optimizer = work.optimizer(self._stack)

    def __call__(self, iterations: int) -> None:
        while iterations > 0:
            count = min(iterations, self._at_once or iterations)
            losses = self._engine.advance(self._stack, self._optimizer, self._work.task, count, self._work.batch)
            if not np.isfinite(losses).all():
                raise RunError(f"a network of {self._work.label} diverged while it was timed; its time means nothing")
            iterations -= count


def contender(
    engine, work, seconds: float, N: int | None = None, at_once: int | None = None
) -> tuple[Contender, int, int]:
    """A turn of about so many seconds for N networks (default: some a thread): contender, networks, iterations.

    With `at_once`, the turn is whole calls of the engine of so many iterations each.
    """
    if N is None:
        rounds_of_one = iterations_for(Ours(engine, work, engine.threads), seconds)
        N = engine.threads * min(MOST_A_THREAD, rounds_of_one)
    ours = Ours(engine, work, N, at_once)
    iterations = iterations_for(ours, seconds)
    if at_once:
        iterations = math.ceil(iterations / at_once) * at_once
    return turn(ours, iterations, N * work.flops), N, iterations
