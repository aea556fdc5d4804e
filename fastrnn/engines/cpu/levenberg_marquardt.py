"""Levenberg-Marquardt for the fixed points of one network, compiled: a start at a time, all in the cache.

The same method as `analysis.levenberg_marquardt`, which works on any map. After a step that does not lower q only mu
changes, and the product A^T A is there already.
"""

from __future__ import annotations

import numpy as np

from ...compiled import compiled
from .equations import fill_equations, half_square, one_plus_square, update
from .normal import form_product, solve_damped

MU_START, MU_LOW, MU_HIGH = 1e-2, 1e-15, 1e8
MU_DOWN, MU_UP = 1 / 5, 4.0  # after a step that lowers q, and after one that doesn't; kernels/ has these two as well
# Relative fall of q below which a step counts as no progress, and steps without progress before a start is left where
# it is. Most starts that Newton's method gives up end in minima of q: of 6,814 (46 networks on flip-flop and sine) 582
# led to a fixed point, in 18 steps on average; the others took 70 with 1e-12. With 1e-3 all took half as many steps and
# found the same exact points.
FLAT, PATIENCE = 1e-3, 10


@compiled
def descend_from_starts(
    kind, rows, weights, limit, tolerance, iterations, floor, enough, product, work, starts, q, taken
):
    """From every start (M, S), which becomes the end; q (M,) and taken (M,) are overwritten.

    product (S, S + LANES) : scratch, as `normal.form_product` fills it

    A start is done where q <= `tolerance` (1 + |h|^2) or q <= `enough`.
    """
    step, trial, h_next, S = work.step, work.trial, work.h_next, starts.shape[1]
    for m in range(len(starts)):
        h = starts[m]
        for u in range(S):
            trial[u] = h[u]
        update(kind, rows, weights, work)
        q[m], taken[m] = half_square(h_next, h), 0
        if not np.isfinite(q[m]):
            q[m] = np.inf
            continue
        mu, idle, moved = max(MU_START, floor), 0, True
        while q[m] > max(tolerance * one_plus_square(h), enough) and idle < PATIENCE and taken[m] < iterations:
            if moved:
                fill_equations(kind, rows, weights, work)
                form_product(work.table, product)
            solve_damped(product, mu, work.table, work.multipliers, step)
            for u in range(S):
                trial[u] = min(max(h[u] + step[u], -limit[u]), limit[u])
            update(kind, rows, weights, work)
            q_new = half_square(h_next, trial)
            taken[m] += 1
            idle = 0 if q_new < (1.0 - FLAT) * q[m] else idle + 1
            moved = q_new < q[m]
            if moved:
                q[m] = q_new
                for u in range(S):
                    h[u] = trial[u]
                mu = max(mu * MU_DOWN, floor)
            else:
                mu = min(mu * MU_UP, MU_HIGH)
