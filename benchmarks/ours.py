"""Our side of every comparison."""

from __future__ import annotations

import numpy as np

from fastrnn.errors import RunError

from .rounds import Contender, iterations_for, turn

MOST_A_THREAD = 4  # networks


class Ours:
    """Networks in training; a call advances them all."""

    def __init__(self, engine, work, N: int):
        self._engine, self._work = engine, work
        self.networks = N
        self._stack = work.networks(N)
        self._optimizer = work.optimizer(self._stack)

    def __call__(self, iterations: int) -> None:
        losses = self._engine.advance(self._stack, self._optimizer, self._work.task, iterations, self._work.batch)
        if not np.isfinite(losses).all():
            raise RunError(f"a network of {self._work.label} diverged while it was timed; its time means nothing")


def contender(engine, work, seconds: float, N: int | None = None) -> tuple[Contender, int, int]:
    """A turn of about so many seconds for N networks (default: some a thread): contender, networks, iterations."""
    if N is None:
        rounds_of_one = iterations_for(Ours(engine, work, engine.threads), seconds)
        N = engine.threads * min(MOST_A_THREAD, rounds_of_one)
    ours = Ours(engine, work, N)
    iterations = iterations_for(ours, seconds)
    return turn(ours, iterations, N * work.flops), N, iterations
