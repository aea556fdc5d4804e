"""The study of context-dependent integration: a line of slow points in each context, and its modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..analysis.line_attractor import LineAttractor
from ..analysis.linearization import linearize
from ..analysis.modes import linear_integral, modes_needed
from ..analysis.points import FixedPoints
from ..analysis.responses import probe_inputs
from ..engines import get as get_engine
from ..networks import Networks
from .resampling import mean_and_sem
from .result import Result
from .selection import ROW

NEAR = 0.05  # an eigenvalue is near one where its magnitude differs by at most so much from 1
LINEARIZED = 24  # points of a line, evenly along it, at which the system is linearised
FEWEST_ON_LINE = 10  # slow points that make a line
LEAST_RANGE = 0.1  # of the outputs' range: over less of it slow points are a cluster, and make no line
CONTEXTS = 2
CURVE_DEGREE = 5  # of the polynomials of the readout that make a curve
ARRAYS = ("magnitudes", "integral", "kept")


@dataclass(eq=False, repr=False)
class LineModes(Result):
    """The modes of the networks of one group along their line attractors, (N, ...) as in `CdiStudy`."""

    table: pandas.DataFrame
    magnitudes: np.ndarray
    integral: np.ndarray
    kept: np.ndarray


@dataclass(eq=False, repr=False)
class CdiStudy(Result):
    """Slow points of N networks in both contexts, and the system linearised there.

    Slow points make a line where there are `FEWEST_ON_LINE` of them or more and the range of their readouts is at least
    `LEAST_RANGE` of the range of the network's outputs on the context's probe trials. Magnitudes are means over the
    points of a context, integrals medians: where an eigenvalue is above 1, its power T - 1 makes a few points outweigh
    all others; they are there also where the points make no line. S is the largest state size of the networks; what a
    smaller network does not have is NaN. Streams come in the order relevant, irrelevant.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss, group; and for each
        context c in 0, 1 `points_c`, `line_c` (bool: whether they make a line), `output_range_c` (of the outputs on the
        context's probe trials, all steps), `pieces_c` (parts of the neighbour graph), `dimension_c` (participation
        ratio of the points; 1 for a straight line), `off_line_c` (see `off_curve`), `readout_low_c`, `readout_high_c`
        (range of the outputs at the points), `near_one_c` (mean number of eigenvalues of magnitude within `near` of 1),
        `relevant_c`, `irrelevant_c` (linear integral of a unit input), `modes_c` (fewest slowest modes that keep the
        relevant integral within a tenth)
    near : how much the magnitude of an eigenvalue that counts as near one may differ from 1
    magnitudes : (N, 2, S) magnitudes of eigenvalues, largest first
    integral : (N, 2, 2) linear integral of a unit input: context, stream; all modes
    kept : (N, 2, 2, S) the same with the m + 1 slowest modes only
    groups : DataFrame, one row a group of G: `group`, `cell`, `activation`, `n`, `networks`, `lines` (how many of them
        have a line in a context or in both)
    spectrum_mean, spectrum_sem : (G, S) of `magnitudes` over the group's networks and both contexts (a network's two
        contexts are averaged first), without contexts in which there is no line
    kept_mean, kept_sem : (G, 2, S) of `kept`, the same way, stream by stream
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    near: float
    magnitudes: np.ndarray
    integral: np.ndarray
    kept: np.ndarray
    groups: pandas.DataFrame
    spectrum_mean: np.ndarray
    spectrum_sem: np.ndarray
    kept_mean: np.ndarray
    kept_sem: np.ndarray
    left_out: pandas.DataFrame


def line_modes(task, networks: Networks, points: FixedPoints, lines: list[LineAttractor], rows) -> LineModes:
    """Linearise the networks of one group along their slow points, put in order, and tell which of them make a line.

    Parameters
    ----------
    task : the cdi task
    networks : N of them; points : their slow points in both contexts; lines : those points in order
    rows : the run's rows of the networks
    """
    N, S = len(networks), networks.S
    shapes = {"magnitudes": (N, CONTEXTS, S), "integral": (N, CONTEXTS, 2), "kept": (N, CONTEXTS, 2, S)}
    arrays = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    columns = [dict(row) for row in rows[[*ROW, "group"]].to_dict("records")]
    known, ranges = {(line.network, line.condition): line for line in lines}, output_ranges(task, networks)
    for i, c in np.ndindex(N, CONTEXTS):
        line = known.get((i, c))
        columns[i][f"points_{c}"] = len(points.of(i, c))
        readout = points.readout[line.point, 0] if line is not None else np.empty(0)
        columns[i] |= {f"line_{c}": is_line(readout, ranges[i, c]), f"output_range_{c}": float(ranges[i, c])}
        if line is None:
            measured = dict.fromkeys(_LINE, np.nan)
        else:
            measured = _along(task, networks, points, line, arrays, i, c)
        columns[i] |= {f"{name}_{c}": value for name, value in measured.items()}
    return LineModes(pandas.DataFrame(columns), **arrays)


_LINE = (
    "pieces",
    "dimension",
    "off_line",
    "readout_low",
    "readout_high",
    "near_one",
    "relevant",
    "irrelevant",
    "modes",
)


def _along(task, networks, points, line, arrays, i: int, c: int) -> dict[str, float]:
    """Numbers of one line, in the order of `_LINE`; its part of `arrays` is filled."""
    at = np.unique(along_line(line, LINEARIZED))
    made = linearize(networks, points, at=at)
    magnitude = np.abs(made.eigenvalues)
    arrays["magnitudes"][i, c] = magnitude.mean(axis=0)
    for k, stream in enumerate((c, 1 - c)):
        unit = np.zeros(task.D)
        unit[CONTEXTS + stream] = 1.0
        full, kept = linear_integral(made, networks.W_out, unit, task.T)
        sound = ~made.defective
        arrays["integral"][i, c, k] = np.median(full[:, 0])
        arrays["kept"][i, c, k] = np.median(kept[sound, :, 0], axis=0) if sound.any() else np.nan
        if k == 0:
            modes = float(np.median(modes_needed(full[sound], kept[sound]))) if sound.any() else np.nan
    readout = points.readout[line.point, 0]
    near_one = float((np.abs(magnitude - 1) <= NEAR).sum(axis=1).mean())
    off_line = off_curve(points.xstar[line.point], readout)
    values = (line.pieces, line.effective_dimension, off_line, readout.min(), readout.max(), near_one)
    return dict(zip(_LINE, map(float, (*values, *arrays["integral"][i, c], modes)), strict=True))


def output_ranges(task, networks: Networks) -> np.ndarray:
    """Range of N networks' outputs on the probe trials of each context, all steps, (N, CONTEXTS)."""
    inputs = probe_inputs(task)
    _, outputs = get_engine("cpu").run(networks, inputs)  # (N, B, T, 1)
    parts = [outputs[:, inputs[:, 0, c] == 1].reshape(len(networks), -1) for c in range(CONTEXTS)]
    return np.stack([np.ptp(part.astype(np.float64), axis=1) for part in parts], axis=1)


def is_line(readout, output_range: float) -> bool:
    """Whether slow points with these readouts (P,) make a line, of a network whose outputs have such a range.

    >>> is_line(np.linspace(-20, 20, 12), 70.0), is_line(np.linspace(36.015, 36.05, 12), 70.0)
    (True, False)
    """
    return len(readout) >= FEWEST_ON_LINE and bool(np.ptp(readout) >= LEAST_RANGE * output_range)


def along_line(line: LineAttractor, count: int) -> np.ndarray:
    """Indices (count,) of points evenly along a line attractor, ends included; short lines repeat points."""
    wanted = np.linspace(line.position[0], line.position[-1], count)
    return line.point[np.abs(line.position[None] - wanted[:, None]).argmin(axis=1)]


def off_curve(states, readout) -> float:
    """Share of the variance of points (P, S) that a curve along their readout (P,) leaves over, bent as it may be.

    The curve is a polynomial of the readout in every unit; the share is of variances without bias (one less the
    adjusted R^2), so that it is about 1 where the readout says nothing. NaN of fewer than `FEWEST_ON_LINE` points.

    >>> angle = np.linspace(0, 3, 50)
    >>> bent = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    >>> round(off_curve(bent, angle), 4)
    0.0
    """
    if len(readout) < FEWEST_ON_LINE:
        return np.nan
    scaled = 2 * (readout - readout.min()) / max(np.ptp(readout), 1e-300) - 1
    powers = np.polynomial.chebyshev.chebvander(scaled, CURVE_DEGREE)
    states = states - states.mean(axis=0)
    weights, _, rank, _ = np.linalg.lstsq(powers, states, rcond=None)
    left = np.square(states - powers @ weights).sum() / (len(readout) - rank)
    whole = np.square(states).sum() / (len(readout) - 1)
    return float(left / whole) if whole > 0 else 0.0


def cdi_study(groups: list[LineModes], left_out) -> CdiStudy:
    """Bring the modes of all groups together."""
    S = max(part.magnitudes.shape[-1] for part in groups)

    def padded(array):
        missing = S - array.shape[-1]
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=np.nan)

    summary, spectra, kept = [], [], []
    for part in groups:
        first = part.table.iloc[0]
        row = {name: first[name] for name in ("group", "cell", "activation")}
        lines = part.table[[f"line_{c}" for c in range(CONTEXTS)]].to_numpy(bool)  # (networks, CONTEXTS)
        summary.append(row | {"n": int(first["n"]), "networks": len(part.table), "lines": int(lines.any(axis=1).sum())})
        for made, array in ((spectra, padded(part.magnitudes)), (kept, padded(part.kept))):
            of_lines = np.where(lines.reshape(*lines.shape, *[1] * (array.ndim - 2)), array, np.nan)
            made.append(mean_and_sem(mean_and_sem(np.moveaxis(of_lines, 1, 0))[0]))
    return CdiStudy(
        table=pandas.concat([part.table for part in groups], ignore_index=True),
        near=NEAR,
        magnitudes=np.concatenate([padded(part.magnitudes) for part in groups]),
        integral=np.concatenate([part.integral for part in groups]),
        kept=np.concatenate([padded(part.kept) for part in groups]),
        groups=pandas.DataFrame(summary),
        spectrum_mean=np.stack([mean for mean, _ in spectra]),
        spectrum_sem=np.stack([error for _, error in spectra]),
        kept_mean=np.stack([mean for mean, _ in kept]),
        kept_sem=np.stack([error for _, error in kept]),
        left_out=left_out,
    )
