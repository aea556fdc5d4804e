"""Gradient descent on q = |F(h) - h|^2 / 2, stopped at a speed: keeps slow points where they are.

Newton's method runs along a line attractor to the few exact fixed points on it. Descent takes the state to the
attractor and stops there, as soon as |F(h) - h| is small. The step length is Barzilai and Borwein's, held back where
it would raise q. Source: Barzilai and Borwein, "Two-point step size gradient methods" (1988); Sussillo and Barak,
"Opening the black box" (2013), for the use of slow points.
"""

from __future__ import annotations

import numpy as np

from .newton import Solved, half_square

SHORTEST, LONGEST = 1e-6, 1e4


def descend(map, h, speed: float, iterations: int) -> Solved:
    """Descend from every start h (M, S) until |F(h) - h| <= `speed`, or for `iterations` steps."""
    h = np.array(h, np.float64)
    r = map.step(h) - h
    q = half_square(r)
    taken = np.zeros(len(h), np.int64)
    target = 0.5 * speed * speed
    active = np.flatnonzero(np.isfinite(q) & (q > target))
    length = np.ones(len(h))
    gradient = _gradient(map, h, r, active)
    for _ in range(iterations):
        if not len(active):
            break
        h_new = map.inside(h[active] - length[active, None] * gradient)
        r_new = map.step(h_new) - h_new
        q_new = half_square(r_new)
        better = q_new < q[active]
        rows, old, before = active[better], h[active[better]], gradient[better]
        h[rows], r[rows], q[rows] = h_new[better], r_new[better], q_new[better]
        length[active[~better]] *= 0.25
        gradient[better] = _gradient(map, h, r, rows)
        moved, bent = h[rows] - old, gradient[better] - before
        curvature = np.einsum("mu,mu->m", moved, bent)
        ratio = np.einsum("mu,mu->m", moved, moved) / np.where(curvature > 0, curvature, np.nan)
        length[rows] = np.clip(np.where(np.isfinite(ratio), ratio, 2 * length[rows]), SHORTEST, LONGEST)
        taken[active] += 1
        going = (q[active] > target) & (length[active] > SHORTEST * 1e-6)
        active, gradient = active[going], gradient[going]
    return Solved(h, q, taken)


def _gradient(map, h, r, rows) -> np.ndarray:
    """dq/dh = (J - I)^T (F(h) - h) at some rows of h (M, S)."""
    return (r[rows, None] @ map.jacobian(h[rows]))[:, 0] - r[rows]
