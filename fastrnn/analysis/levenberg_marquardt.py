"""Levenberg-Marquardt for fixed points: finds them as Newton's method does, and minima of q where it gets stuck.

Solves (A^T A + mu I) s = A^T (F(h) - h), A = I - J; mu falls when q does and grows when it doesn't. With a floor
under mu it is a descent that slow points stop: along a mode that A shrinks by much less than sqrt(mu) the state moves
about as little as by itself, so that it comes to a line attractor quickly and does not run along it.

Source: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters" (1963).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..engines.cpu.levenberg_marquardt import FLAT, MU_DOWN, MU_HIGH, MU_LOW, MU_START, MU_UP, PATIENCE
from .newton import Solved, half_square, residual_slope, solve_each, threshold


def levenberg_marquardt(map, h, tolerance: float, iterations: int, floor: float = MU_LOW, speed: float = 0.0) -> Solved:
    """Solve from every start h (M, S).

    Parameters
    ----------
    map, tolerance, iterations : as for `newton.newton`
    floor : mu is never below
    speed : stop where |F(h) - h| is at most so much, too
    """
    enough = 0.5 * speed * speed
    if map.solver is not None:
        return Solved(*map.solver().levenberg_marquardt(h, tolerance, iterations, floor, enough))
    h = np.array(h, np.float64)
    r = map.step(h) - h
    q = half_square(r)
    mu, idle = np.full(len(h), max(MU_START, floor)), np.zeros(len(h), np.int64)
    taken = np.zeros(len(h), np.int64)
    active = np.flatnonzero(np.isfinite(q) & (q > np.maximum(threshold(h, tolerance), enough)))
    identity = np.eye(map.S)
    for _ in range(iterations):
        if not len(active):
            break
        A = residual_slope(map, h[active])
        transposed = A.transpose(0, 2, 1)
        damped = transposed @ A + mu[active, None, None] * identity
        s = solve_each(damped, (transposed @ r[active, :, None])[:, :, 0])
        h_new = map.inside(h[active] + s)
        r_new = map.step(h_new) - h_new
        q_new = half_square(r_new)
        better = q_new < q[active]
        idle[active] = np.where(q_new < (1.0 - FLAT) * q[active], 0, idle[active] + 1)
        rows = active[better]
        h[rows], r[rows], q[rows] = h_new[better], r_new[better], q_new[better]
        mu[active] = np.where(better, np.maximum(mu[active] * MU_DOWN, floor), np.minimum(mu[active] * MU_UP, MU_HIGH))
        taken[active] += 1
        going = q[active] > np.maximum(threshold(h[active], tolerance), enough)
        active = active[going & (idle[active] < PATIENCE)]
    return Solved(h, q, taken)


class Problem(NamedTuple):
    """Starts (M, S) of one network of a stack under one input x (D,).

    limit (S,), floor, speed : as of `maps.Map` and `levenberg_marquardt`
    """

    network: int
    x: np.ndarray
    limit: np.ndarray
    floor: float
    speed: float
    starts: np.ndarray


def levenberg_marquardt_on_device(
    engine, networks, problems: list[Problem], tolerance: float, iterations: int
) -> list[Solved]:
    """The same on a GPU, for many networks and inputs at once: all their starts side by side.

    engine : a CUDA engine; networks : Networks, the stack
    """
    counts = [len(problem.starts) for problem in problems]
    rules = [(tolerance, 0.5 * p.speed**2, max(MU_START, p.floor), p.floor, MU_HIGH, FLAT) for p in problems]
    h, q, taken = engine.levenberg_marquardt(
        networks,
        np.repeat([problem.network for problem in problems], counts),
        np.concatenate([problem.starts for problem in problems]),
        np.repeat([problem.x for problem in problems], counts, axis=0),
        problems[0].limit,  # the same for all of a kind
        np.repeat(rules, counts, axis=0),
        iterations,
        PATIENCE,
    )
    q, ends = np.where(np.isfinite(q), q, np.inf), np.cumsum(counts)[:-1]
    return [Solved(*parts) for parts in zip(*(np.split(array, ends) for array in (h, q, taken)), strict=True)]
