"""What is measured on one orbit: its period, its mean and spread, how it turns and how its neighbours part.

Sources: Das, Saiki, Sander, Yorke, "Quantitative quasiperiodicity" (2017), for weighted Birkhoff averages; Benettin et
al., "Lyapunov characteristic exponents" (1980), for the exponents by QR.
"""

from __future__ import annotations

import numpy as np

from .newton import half_square

POLISH_STEPS = 5


def record(map, h, steps):
    """Trajectories (steps + 1, M, S) from states (M, S)."""
    orbits = np.empty((steps + 1, *h.shape))
    orbits[0] = h
    with np.errstate(all="ignore"):
        for t in range(steps if len(h) else 0):
            orbits[t + 1] = map.step(orbits[t])
    return orbits


def smooth_weights(count: int) -> np.ndarray:
    """Weights (count,) of sum 1 that rise and fall smoothly: means of quasi-periodic orbits converge at once."""
    t = (np.arange(count) + 1) / (count + 1)
    weights = np.exp(-1 / (t * (1 - t)))
    return weights / weights.sum()


def average(orbit) -> tuple[np.ndarray, float]:
    """Centre (S,) of an orbit (T, S) and root mean square distance to it, both weighted smoothly."""
    weights = smooth_weights(len(orbit))
    center = weights @ orbit
    return center, float(np.sqrt(weights @ np.square(orbit - center).sum(axis=1)))


def period_of(orbit, longest: int, radius: float) -> int:
    """Smallest k <= longest with |h_(t+k) - h_t| <= radius all along an orbit (T, S); 0 if there is none."""
    for k in range(1, longest + 1):
        if np.linalg.norm(orbit[k:] - orbit[:-k], axis=1).max() <= radius:
            return k
    return 0


def cycle_jacobian(map, states) -> np.ndarray:
    """Jacobian (S, S) of the k-th iterate along a cycle's states (k, S)."""
    whole = np.eye(map.S)
    for J in map.jacobian(states):
        whole = J @ whole
    return whole


def polish_cycle(map, h, period: int) -> np.ndarray:
    """Newton's method on h = F^period(h) from a state (S,), each step kept where it helps."""
    for _ in range(POLISH_STEPS):
        states = record(map, h[None], period)[:, 0]
        r = states[period] - h
        A = np.eye(map.S) - cycle_jacobian(map, states[:period])
        try:
            better = h + np.linalg.solve(A, r)
        except np.linalg.LinAlgError:
            return h
        off = record(map, better[None], period)[period, 0] - better
        if not half_square(off[None])[0] < half_square(r[None])[0]:
            return h
        h = better
    return h


def rotation_number(orbit) -> float:
    """Turns a step, 0 to 1/2, of an orbit (T, S) about its mean in its plane of largest variance.

    A weighted Birkhoff average: for a smooth quasi-periodic orbit the error falls faster than any power of T. On a line
    (S = 1) it is 1/2 if the orbit alternates, NaN otherwise.
    """
    away = orbit - average(orbit)[0]
    if away.shape[1] < 2:
        return 0.5 if (away[:-1] * away[1:] <= 0).all() else np.nan
    _, _, axes = np.linalg.svd(away, full_matrices=False)
    z = away @ axes[0] + 1j * (away @ axes[1])
    turns = z[1:] * z[:-1].conj()
    middle = np.angle(turns.sum())
    steps = np.angle(turns * np.exp(-1j * middle)) + middle
    share = abs(float(smooth_weights(len(steps)) @ steps)) / (2 * np.pi) % 1.0
    return min(share, 1.0 - share)


def lyapunov_exponents(map, orbit, count: int) -> np.ndarray:
    """The `count` largest Lyapunov exponents, a step, along an orbit (T, S); averages are weighted smoothly."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.normal(size=(map.S, count)))
    stretches = np.empty((len(orbit), count))
    for start in range(0, len(orbit), 64):
        for t, J in enumerate(map.jacobian(orbit[start : start + 64]), start):
            Q, R = np.linalg.qr(J @ Q)
            stretches[t] = np.abs(np.diag(R))
    stretches = stretches[len(orbit) // 10 :]  # until then directions are still turning
    weights = smooth_weights(len(stretches))
    counted = weights > 0  # at the ends they underflow
    with np.errstate(divide="ignore"):
        return np.sort(weights[counted] @ np.log(stretches[counted]))[::-1]
