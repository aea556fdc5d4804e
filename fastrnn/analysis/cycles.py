"""Attracting cycles, found by simulation: exact k-cycles, and invariant circles of oscillations of other periods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Labelled, UsageError
from ..values import check_positive, check_sizes
from .eigen import magnitude_order
from .fixed_points import check_starts, check_task, sample_states
from .maps import check_inputs, check_source, maps_of
from .newton import distances
from .orbits import average, cycle_jacobian, lyapunov_exponents, period_of, polish_cycle, record, rotation_number
from .results import Saved
from .starts import ESCAPED, TRIALS, spread_of
from .threads import team

SAME = 1e-2  # amplitudes: circles whose centres and amplitudes differ by less are one (of chaos, ten times as much)
LONGEST = 128  # period of a k-cycle, unless told otherwise
NEUTRAL = 1e-3  # a largest Lyapunov exponent, a step, above this is chaos, below its negative an attractor of points
LONGER = 10  # windows, and times NEUTRAL: nearer to 0 than this, exponents are measured again on so many
MEASURED = ("kind", "period", "amplitude", "rotation_number",
            "lyapunov", "multipliers", "state", "center", "hits")  # fmt: skip


class CycleKind(Labelled):
    """What a trajectory ended on, fixed points and infinity aside."""

    PERIODIC = 0  # an exact k-cycle
    CIRCLE = 1  # an invariant closed curve (largest Lyapunov exponent 0)
    CHAOTIC = 2  # largest Lyapunov exponent above 0
    UNSETTLED = 3  # still on its way, or a cycle of a longer period: longer transients, or `longest`, needed


@dataclass(eq=False)
class Cycles(Saved):
    """A attractors of N networks under C held inputs that are no fixed points.

    Attributes
    ----------
    network, condition : int (A,) whose it is
    kind : int8 (A,) of `CycleKind`
    period : int (A,) steps of a k-cycle; 0 for others
    amplitude : (A,) root mean square distance to the centre
    rotation_number : (A,) turns a step, 0 to 1/2, in the plane of largest variance about the centre
    lyapunov : (A, m) exponents a step, largest first
    multipliers : complex (A, S) Floquet multipliers of k-cycles, largest magnitude first; NaN for others
    state, center : (A, S) a state on it, the mean of its states
    hits : int (A,) starts that ended there
    settled, escaped : int (N, C) starts that ended at fixed points, and at infinity
    """

    network: np.ndarray
    condition: np.ndarray
    kind: np.ndarray
    period: np.ndarray
    amplitude: np.ndarray
    rotation_number: np.ndarray
    lyapunov: np.ndarray
    multipliers: np.ndarray
    state: np.ndarray
    center: np.ndarray
    hits: np.ndarray
    settled: np.ndarray
    escaped: np.ndarray

    def __len__(self) -> int:
        return len(self.network)

    def __repr__(self) -> str:
        return f"<{len(self)} cycle{'s' * (len(self) != 1)}>"

    @property
    def table(self):
        """A pandas DataFrame, one row a cycle."""
        import pandas

        columns = {"network": self.network, "condition": self.condition}
        columns["kind"] = [CycleKind(kind).label for kind in self.kind]
        for name in ("period", "amplitude", "rotation_number", "hits"):
            columns[name] = getattr(self, name)
        columns |= {f"lyapunov_{m}": self.lyapunov[:, m] for m in range(self.lyapunov.shape[1])}
        columns["largest_multiplier"] = np.abs(self.multipliers[:, 0])
        return pandas.DataFrame(columns)


def find_cycles(
    networks,
    inputs,
    starts=None,
    *,
    task=None,
    count: int = 64,
    transient: int = 2000,
    window: int = 2000,
    longest: int | None = None,
    exponents: int = 3,
    tolerance: float = 1e-6,
    spread: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Cycles:
    """Attracting cycles of every network under every held input, by running states until transients are over.

    Parameters
    ----------
    networks : Networks, or an `UpdateFunction`
    inputs : (D,) or (C, D)
    starts : (M, S) or (N, M, S); default `count` states on trajectories, as for `find_fixed_points`
    task : whose probe trials the trajectories are of
    transient, window : steps before, and steps on which the cycle is measured
    longest : period of a k-cycle, at most; default 128, or half the window if that is less
    exponents : Lyapunov exponents wanted, at most S
    tolerance : a state has returned, or stands, when within so many spreads
    spread : as for `find_fixed_points`
    seed, threads : as there

    >>> from fastrnn.analysis.maps import UpdateFunction
    >>> logistic = UpdateFunction(
    ...     lambda h, x: x[0] * h * (1 - h), lambda h, x: (x[0] * (1 - 2 * h))[:, :, None], S=1, D=1
    ... )
    >>> cycles = find_cycles(logistic, [[2.5], [3.2], [3.5]], [[0.3], [0.4]])
    >>> cycles.condition, cycles.period, cycles.multipliers.real.round(2).ravel()
    (array([1, 2]), array([2, 4]), array([ 0.16, -0.03]))
    """
    check_source(networks)
    inputs = check_inputs(networks, inputs)
    starts = check_starts(networks, starts)
    task = check_task(networks, task)
    check_sizes(count=count, transient=transient, window=window, exponents=exponents)
    longest = min(LONGEST, window // 2) if longest is None else longest
    check_sizes(longest=longest)
    if longest > window // 2:
        raise UsageError(f"longest must be at most half the window, {window // 2}; it is {longest}")
    check_positive(tolerance=tolerance, spread=1.0 if spread is None else spread)
    settings = (transient, window, longest, min(exponents, networks.S), tolerance)

    def work(i):
        if starts is not None:
            h = starts[i if len(starts) > 1 else 0]
            scale = spread or spread_of(h) or float(np.linalg.norm(h[0])) or 1.0
        else:
            states = sample_states(networks, i, inputs, task, TRIALS, seed)
            rng = np.random.default_rng([seed, int(networks.keys[i])])
            h, scale = states[rng.integers(len(states), size=count)], spread or spread_of(states)
        make = maps_of(networks)
        return [_attractors(make(i, x), h, scale, *settings) for x in inputs]

    with team(threads) as workers:
        found = workers.each(work, range(len(networks)))
    rows = [(i, c, row) for i, per in enumerate(found) for c, (rows, _, _) in enumerate(per) for row in rows]
    sizes = {"lyapunov": (settings[3],), "multipliers": (networks.S,), "state": (networks.S,), "center": (networks.S,)}
    kinds = {"kind": np.int8, "period": np.int64, "hits": np.int64, "multipliers": complex}
    columns = {}
    for name in MEASURED:
        values = [row[name] for _, _, row in rows]
        columns[name] = np.array(values, kinds.get(name, float)).reshape(len(rows), *sizes.get(name, ()))
    return Cycles(
        network=np.array([i for i, _, _ in rows], np.int64),
        condition=np.array([c for _, c, _ in rows], np.int64),
        **columns,
        settled=np.array([[settled for _, settled, _ in per] for per in found]),
        escaped=np.array([[escaped for _, _, escaped in per] for per in found]),
    )


def _attractors(map, h, spread, transient, window, longest, exponents, tolerance):
    """Cycles under one input as dicts, and how many starts settled and escaped."""
    with np.errstate(all="ignore"):
        h, alive = _run(map, h, transient)
    escaped = int((~alive).sum())
    h = h[alive]
    moving = np.linalg.norm(map.step(h) - h, axis=1) > tolerance * spread
    settled = int((~moving).sum())
    orbits = record(map, h[moving], window)  # (window + 1, M, S)
    rows: list[dict] = []
    for m in range(orbits.shape[1]):
        orbit = orbits[:, m]
        if not np.isfinite(orbit).all() or np.abs(orbit).max() > ESCAPED:
            escaped += 1
            continue
        known = next((row for row in rows if _same(row, orbit, tolerance * spread)), None)
        if known is not None:
            known["hits"] += 1
            continue
        row = _measure(map, orbit, spread, longest, exponents, tolerance)
        if row is None:
            settled += 1
        else:
            rows.append(row)
    return rows, settled, escaped


def _run(map, h, steps):
    """States (M, S) after so many steps, and which of them are still finite."""
    h, alive = np.array(h, np.float64), np.ones(len(h), bool)
    for _ in range(steps):
        h[alive] = map.step(h[alive])
        alive &= np.einsum("mu,mu->m", h, h) < ESCAPED**2
        if not alive.any():
            break
    return h, alive


def _same(row, orbit, radius) -> bool:
    """Whether an orbit (T, S) is on the cycle of a row."""
    if row["period"]:
        return distances(row["state"][None], orbit[: row["period"]]).min() <= 10 * radius
    center, amplitude = average(orbit)
    near = SAME * row["amplitude"] * (10 if row["kind"] == CycleKind.CHAOTIC else 1)
    return bool(np.linalg.norm(row["center"] - center) <= near and abs(row["amplitude"] - amplitude) <= near)


def _measure(map, orbit, spread, longest, exponents, tolerance) -> dict | None:
    """All there is to say about the cycle of an orbit (T, S); None for a fixed point reached late."""
    period = period_of(orbit, longest, tolerance * spread)
    if period == 1:
        return None
    state, multipliers = orbit[-1], np.full(map.S, np.nan + 0j)
    if period:
        state = polish_cycle(map, state, period)
        orbit = record(map, np.tile(state, (1, 1)), len(orbit) - 1)[:, 0]
        values = np.linalg.eigvals(cycle_jacobian(map, orbit[:period]))
        multipliers = values[magnitude_order(values[None])[0]]
        center, amplitude = orbit[:period].mean(axis=0), spread_of(orbit[:period])
        lyapunov = (np.log(np.maximum(np.abs(multipliers), 1e-300)) / period)[:exponents]
        kind = CycleKind.PERIODIC
    else:
        center, amplitude = average(orbit)
        lyapunov = lyapunov_exponents(map, orbit[:-1], exponents)
        if NEUTRAL < abs(lyapunov[0]) < LONGER * NEUTRAL:  # on a circle of uneven speed, by its unevenness alone
            with np.errstate(all="ignore"):
                on = record(map, state[None], LONGER * (len(orbit) - 1))[:-1, 0]
                lyapunov = lyapunov_exponents(map, on, exponents)
        (_, early), (_, late) = (average(half) for half in np.array_split(orbit, 2))
        kind = CycleKind.UNSETTLED
        if lyapunov[0] > NEUTRAL:
            kind = CycleKind.CHAOTIC
        elif lyapunov[0] >= -NEUTRAL and abs(early - late) <= SAME * amplitude:
            kind = CycleKind.CIRCLE
    return {
        "kind": kind,
        "period": period,
        "amplitude": amplitude,
        "rotation_number": rotation_number(orbit),
        "lyapunov": lyapunov,
        "multipliers": multipliers,
        "state": state,
        "center": center,
        "hits": 1,
    }
