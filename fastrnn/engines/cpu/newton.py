"""Newton's method for the fixed points of one network, compiled: a start at a time, all in the cache.

The same method as `analysis.newton`, which works on any map.
"""

from __future__ import annotations

import numpy as np

from ...compiled import compiled, part
from .elimination import solve_in_place
from .equations import fill_equations, half_square, one_plus_square, update

DAMPING = (1.0, 0.5, 0.25, 1 / 16, 1 / 64, 1 / 256, 1 / 1024)
DECREASE = 0.2  # q must fall by so much of a step, as a share


@compiled
def newton_from_starts(kind, rows, weights, limit, tolerance, iterations, known, radius, work, starts, q, taken):
    """Newton's method from every start (M, S), which becomes the end; q (M,) and taken (M,) are overwritten."""
    step, trial, h_next, S = work.step, work.trial, work.h_next, starts.shape[1]
    for m in range(len(starts)):
        h = starts[m]
        for u in range(S):
            trial[u] = h[u]
        q[m], taken[m], attempt = np.inf, 0, 0
        while True:
            # trial is the start, or a step from h, shortened `attempt` times
            update(kind, rows, weights, work)
            q_new = half_square(h_next, trial)
            if q_new < (1.0 - DECREASE * DAMPING[attempt]) * q[m]:
                q[m], attempt = q_new, 0
                for u in range(S):
                    h[u] = trial[u]
                place = nearest(h, known, radius) if taken[m] else -1
                if place >= 0:
                    q[m] = 0.0
                    for u in range(S):
                        h[u] = known[place, u]
                if q[m] <= tolerance * one_plus_square(h) or taken[m] == iterations:
                    break
                fill_equations(kind, rows, weights, work)
                solve_in_place(work.table, work.multipliers, step)
                taken[m] += 1
            else:
                attempt += 1
                if taken[m] == 0 or attempt == len(DAMPING):
                    break
            for u in range(S):
                trial[u] = min(max(h[u] + DAMPING[attempt] * step[u], -limit[u]), limit[u])


@part
def nearest(h, known, radius):
    """The first row of `known` (P, S) within `radius` of h (S,); -1 if there is none."""
    for p in range(len(known)):
        total, u = 0.0, 0
        while u < len(h) and total <= radius * radius:
            total += (h[u] - known[p, u]) ** 2
            u += 1
        if total <= radius * radius:
            return p
    return -1
