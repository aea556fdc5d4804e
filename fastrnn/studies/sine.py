"""The sine study: one fixed point for each input, and the frequency of its unstable pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..analysis.points import FixedPoints
from ..engines import get as get_engine
from ..networks import Networks
from .probes import commanded_frequency
from .resampling import mean_interval
from .result import Result
from .selection import ROW

QUIET = 0.05  # standard deviation up to which an output does not oscillate
SAME_FREQUENCY = 1e-9  # cycles a step: frequencies that differ by less follow nothing
FEWEST_INPUTS = 3  # with a frequency, for a line through them
PARTS = ("points", "unstable", "pair", "frequency", "output_frequency", "readout", "taken")


@dataclass(eq=False, repr=False)
class SineStudy(Result):
    """Fixed points of N networks under C held inputs, and what the system linearised there would do.

    Points far from all states that the network visits (`FixedPoints.outlier`) don't count. Where a network has several
    others under an input, the one nearest to the mean of its states under that input is taken; where it has none,
    numbers are NaN.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss; `one_point` (share of
        inputs with exactly one fixed point), `unstable_pair` (share with one unstable complex pair and nothing else
        unstable), `magnitude` (median of the pair's), `correlation`, `slope`, `offset` (of the linear frequency
        against the commanded one; 1 and 0 where they are the same), `error` (mean of linear less commanded frequency,
        cycles a step), `absolute_error`
    by_kind : DataFrame, one row a cell and activation: `cell`, `activation`, `networks`, and of `slope` and `error`
        the mean, `_low` and `_high` (bootstrap over networks)
    inputs : (C,) the held inputs; commanded : (C,) their frequencies, cycles a step
    points : int (N, C) fixed points, slow ones and outliers aside
    unstable : int (N, C) unstable dimensions of the one taken
    pair : complex (N, C) eigenvalue of the leading complex pair with positive angle; NaN where there is none
    frequency : (N, C) linear frequency, angle of `pair` / 2 pi, cycles a step
    output_frequency : (N, C) of the network's output in its second half, cycles a step; NaN where it does not
        oscillate
    readout : (N, C) the output at the fixed point
    taken : int (N, C) which point that is, index into the points of the network's group; -1 where there is none
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    by_kind: pandas.DataFrame
    inputs: np.ndarray
    commanded: np.ndarray
    points: np.ndarray
    unstable: np.ndarray
    pair: np.ndarray
    frequency: np.ndarray
    output_frequency: np.ndarray
    readout: np.ndarray
    taken: np.ndarray
    left_out: pandas.DataFrame


def sine_study(task, groups, left_out) -> SineStudy:
    """Linearise N networks at their fixed points under every held input.

    Parameters
    ----------
    task : the sine task
    groups : tuples of Networks, their FixedPoints under C held inputs, and the run's rows, one a group
    left_out : DataFrame (id, reason)
    """
    parts = [_group(task, networks, points) for networks, points, _ in groups]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in PARTS}
    inputs = groups[0][1].inputs[:, 0]
    commanded = commanded_frequency(task, inputs)
    table = pandas.concat([rows[list(ROW)] for _, _, rows in groups], ignore_index=True)
    lone = (arrays["unstable"] == 2) & (np.abs(arrays["pair"]) > 1)
    table["one_point"] = (arrays["points"] == 1).mean(axis=1)
    table["unstable_pair"] = lone.mean(axis=1)
    table["magnitude"] = [_median(np.abs(row)) for row in arrays["pair"]]
    fits = [_fit(commanded, row) for row in arrays["frequency"]]
    for k, name in enumerate(("correlation", "slope", "offset", "error", "absolute_error")):
        table[name] = [fit[k] for fit in fits]
    return SineStudy(table, _by_kind(table), inputs, commanded, **arrays, left_out=left_out)


def _group(task, networks: Networks, found: FixedPoints) -> dict[str, np.ndarray]:
    """The arrays of `PARTS` for the networks of one group, (N, C) each."""
    shape = found.search_status.shape
    held = np.repeat(found.inputs[:, None].astype(np.float32), task.T, axis=1)  # (C, T, 1)
    states, outputs = get_engine("cpu").run(networks, held)
    late = task.T // 2
    centers = states[:, :, late:].mean(axis=2, dtype=np.float64)  # (N, C, S)
    made = {name: np.full(shape, np.nan) for name in PARTS}
    made["pair"] = np.full(shape, np.nan + 0j)
    made |= {name: np.zeros(shape, np.int64) for name in ("points", "unstable")}
    made["taken"] = np.full(shape, -1)
    for i, c in np.ndindex(shape):
        made["output_frequency"][i, c] = output_frequency(outputs[i, c, late:, 0])
        at = found.near(i, c)
        made["points"][i, c] = len(at)
        if not len(at):
            continue
        one = at[np.linalg.norm(found.xstar[at] - centers[i, c], axis=1).argmin()]
        values = found.eigenvalues[one]
        pairs = values[values.imag > 0]  # largest magnitude first
        pair = pairs[0] if len(pairs) else np.nan + 0j
        known = {"taken": one, "unstable": found.n_unstable[one], "readout": found.readout[one, 0], "pair": pair}
        for name, value in (known | {"frequency": np.angle(pair) / (2 * np.pi)}).items():
            made[name][i, c] = value
    return made


def output_frequency(y) -> float:
    """Frequency of an output (T,), cycles a step, from the times at which it rises through its mean; NaN if it rests.

    >>> steps = np.arange(250)
    >>> round(output_frequency(np.sin(2 * np.pi * 0.031 * steps)), 4)
    0.031
    """
    y = np.asarray(y, np.float64)
    if not y.std() > QUIET:
        return np.nan
    y = y - y.mean()
    rising = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if len(rising) < 2:
        return np.nan
    times = rising - y[rising] / (y[rising + 1] - y[rising])
    return float((len(times) - 1) / (times[-1] - times[0]))


def _fit(commanded, frequency) -> tuple[float, float, float, float, float]:
    """Correlation, slope, offset, mean error and mean absolute error of linear frequencies (C,).

    All NaN where fewer than half of the inputs have a pair; the correlation of a frequency that stands still is NaN.
    """
    known = np.isfinite(frequency)
    if known.sum() < max(FEWEST_INPUTS, len(frequency) / 2):
        return (np.nan,) * 5
    x, y = commanded[known], frequency[known]
    errors = (y - x).mean(), np.abs(y - x).mean()
    if np.ptp(y) < SAME_FREQUENCY:
        return np.nan, 0.0, y.mean(), *errors
    slope, offset = np.polyfit(x, y, 1)
    return np.corrcoef(x, y)[0, 1], slope, offset, *errors


def _by_kind(table) -> pandas.DataFrame:
    rows = []
    for (cell, activation), part in table.groupby(["cell", "activation"], sort=False):
        row = {"cell": cell, "activation": activation, "networks": len(part)}
        for name in ("slope", "error"):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), mean_interval(part[name]), strict=True))
        rows.append(row)
    return pandas.DataFrame(rows)


def _median(values) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else np.nan
