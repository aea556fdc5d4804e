"""Run states until they settle at a stable point."""

from __future__ import annotations

import numpy as np

from .newton import nearest_of
from .starts import ESCAPED

ELSEWHERE = -1  # a cycle, divergence, at rest where no target is, or not settled in time
LOOK_EVERY = 10  # steps between looks at the distances; a state near a stable point stays there
# A state is at rest where all that is left of its time would take it this share of the way at its present speed, after
# so large a part of it. What leaves a saddle starts slowly too, but is hardly ever as slow by then.
AT_REST, MOVING_FOR = 1e-3, 0.2


def settle(map, h, targets, radius: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Run states h (M, S) until each is within `radius` of one of the stable points `targets` (P, S).

    Returns
    -------
    target : int (M,), index of the point, or `ELSEWHERE`
    taken : int (M,), steps until then, to within `LOOK_EVERY`
    """
    h = np.array(h, np.float64)
    target, taken = np.full(len(h), ELSEWHERE), np.full(len(h), steps)
    active = np.arange(len(h))
    if not len(targets):
        return target, taken
    before = h
    for step in range(steps + 1):
        if step % LOOK_EVERY == 0 or step == steps:
            nearest, away = nearest_of(h, targets)
            there = away <= radius
            target[active[there]], taken[active[there]] = nearest[there], step
            going = ~there & (np.einsum("mu,mu->m", h, h) < ESCAPED**2)
            if step > MOVING_FOR * steps:
                going &= np.linalg.norm(h - before, axis=1) * (steps - step) > AT_REST * away
            h, active = h[going], active[going]
        if not len(active) or step == steps:
            break
        before, h = h, map.step(h)
    return target, taken
