"""Newton's method for fixed points, damped, many starts at once.

Solves (I - J) s = F(h) - h and moves by the largest of s, s/2, s/4, s/16, ... that lowers q = |F(h) - h|^2 / 2.
Source: Dennis and Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations, chapter 6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..engines.cpu.newton import DAMPING, DECREASE

POLISH_STEPS = 3


class Solved(NamedTuple):
    """Where starts ended: h (M, S), q (M,), iterations (M,)."""

    h: np.ndarray
    q: np.ndarray
    iterations: np.ndarray


def half_square(r) -> np.ndarray:
    """q = |r|^2 / 2 of residuals (M, S); infinite where it is not a number."""
    q = 0.5 * np.einsum("mu,mu->m", r, r)
    return np.where(np.isfinite(q), q, np.inf)


def threshold(h, tolerance: float) -> np.ndarray:
    """Values of q at which states h (M, S) count as fixed: `tolerance` relative to 1 + |h|^2."""
    return tolerance * (1.0 + np.einsum("mu,mu->m", h, h))


def solve_each(A, r) -> np.ndarray:
    """Solutions of A (M, S, S) s = r (M, S); of least norm where A is singular."""
    try:
        return np.linalg.solve(A, r[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        return np.stack([_solve_one(A[m], r[m]) for m in range(len(A))])


def _solve_one(A, r) -> np.ndarray:
    try:
        return np.linalg.solve(A, r)
    except np.linalg.LinAlgError:
        pass
    try:
        return np.linalg.lstsq(A, r, rcond=None)[0]
    except np.linalg.LinAlgError:
        return np.full_like(r, np.nan)


def residual_slope(map, h) -> np.ndarray:
    """I - J (M, S, S) at states h (M, S)."""
    A = map.jacobian(h)
    np.negative(A, out=A)
    diagonal = np.arange(map.S)
    A[:, diagonal, diagonal] += 1.0
    return A


def newton(map, h, tolerance: float, iterations: int, known=None, radius: float = 0.0) -> Solved:
    """Solve from every start h (M, S); a start from which no step lowers q stays where it is.

    Parameters
    ----------
    map : maps.Map
    tolerance : stop where q <= tolerance (1 + |h|^2)
    iterations : at most so many
    known : (P, S) fixed points; a state that comes within `radius` of one has arrived there
    """
    if map.solver is not None:
        return Solved(*map.solver().newton(h, tolerance, iterations, known, radius))
    h = np.array(h, np.float64)
    r = map.step(h) - h
    q = half_square(r)
    taken = np.zeros(len(h), np.int64)
    active = np.flatnonzero(np.isfinite(q) & (q > threshold(h, tolerance)))
    for _ in range(iterations):
        if not len(active):
            break
        s = solve_each(residual_slope(map, h[active]), r[active])
        moved = line_search(map, h, r, q, active, s)
        taken[active] += 1
        active = active[moved]
        active = active[q[active] > threshold(h[active], tolerance)]
        if known is not None and len(known):
            active = active[~arrive(h, q, active, known, radius)]
    return Solved(h, q, taken)


def arrive(h, q, active, known, radius: float) -> np.ndarray:
    """Put rows `active` of h (M, S) that are within `radius` of a known point onto it; which they were."""
    nearest, away = nearest_of(h[active], known)
    near = away <= radius
    h[active[near]], q[active[near]] = known[nearest[near]], 0.0
    return near


def nearest_of(h, known) -> tuple[np.ndarray, np.ndarray]:
    """Index (M,) of the row of `known` (P, S) nearest to each of h (M, S), and its distance (M,)."""
    nearest = (np.einsum("pu,pu->p", known, known) - 2.0 * (h @ known.T)).argmin(axis=1)
    away = h - known[nearest]
    return nearest, np.sqrt(np.einsum("mu,mu->m", away, away))


def distances(a, b) -> np.ndarray:
    """Euclidean distances (M, P) between the rows of a (M, S) and b (P, S)."""
    away = np.empty((len(a), len(b)))
    for j in range(len(b)):
        away[:, j] = np.sqrt(np.square(a - b[j]).sum(axis=1))
    return away


def line_search(map, h, r, q, active, s) -> np.ndarray:
    """Move rows `active` of h (M, S) along s; r and q follow; which of them moved, bool (len(active),)."""
    todo = np.arange(len(active))
    for damping in DAMPING:
        rows = active[todo]
        h_new = map.inside(h[rows] + damping * s[todo])
        r_new = map.step(h_new) - h_new
        q_new = half_square(r_new)
        better = q_new < (1.0 - DECREASE * damping) * q[rows]
        rows = rows[better]
        h[rows], r[rows], q[rows] = h_new[better], r_new[better], q_new[better]
        todo = todo[~better]
        if not len(todo):
            break
    moved = np.ones(len(active), bool)
    moved[todo] = False
    return moved


def polish(map, h) -> np.ndarray:
    """Full Newton steps from converged states h (M, S), each kept where it lowers q: down to rounding."""
    if map.solver is not None:
        return map.solver().newton(h, 0.0, POLISH_STEPS, None, 0.0)[0]
    h = np.array(h, np.float64)
    r = map.step(h) - h
    q = half_square(r)
    for _ in range(POLISH_STEPS):
        h_new = map.inside(h + solve_each(residual_slope(map, h), r))
        r_new = map.step(h_new) - h_new
        q_new = half_square(r_new)
        better = q_new < q
        if not better.any():
            break
        h[better], r[better], q[better] = h_new[better], r_new[better], q_new[better]
    return h
