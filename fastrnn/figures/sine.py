"""Frequencies of sine networks near their fixed points (panels 2d and 2f of the paper)."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..analysis.eigen import paired
from ..analysis.portrait import Portrait
from ..progress import counted
from .figure import (
    CELL_COLOURS,
    DETAIL,
    IN_CROWD,
    OTHER,
    REFERENCE,
    SEQUENTIAL,
    cell_name,
    in_house_style,
    is_crowd,
    keys_above,
    kind_name,
    new_figure,
    over_crowd,
)

COLUMNS = 4
MODES = 8  # eigenvalues drawn of each point
BEYOND = 0.5  # of the extent of medians and commanded frequencies: what is farther off is counted, not shown
SHOWN = (1.12, -0.2 - 0.63j)  # corners of the plane that are always seen


@in_house_style
def eigenvalues(portraits: list[Portrait]) -> Figure:
    """Largest eigenvalues at the fixed points for every input, one network a kind; the unit circle, dashed.

    Only exact fixed points are drawn; the ray of an eigenvalue's angle is its frequency, 1/4 cycle a step upwards.
    """
    columns = min(COLUMNS, max(1, len(portraits)))
    rows = max(1, -(-len(portraits) // columns))
    every = np.concatenate([SHOWN, *(one.eigenvalues[one.fixed, :MODES].ravel() for one in portraits)])
    left, right, up = 1.05 * every.real.min(), 1.02 * every.real.max(), 1.05 * np.abs(every.imag).max()
    height = 1.45 * min(2 * up / (right - left), 2.0)
    figure, axes = new_figure(1.75 * columns, 0.95 + (height + 0.3) * rows, rows, columns, sharex=True, sharey=True)
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 181))
    for ax, one in zip(axes.flat, portraits, strict=False):
        ax.plot(circle.real, circle.imag, color="#888888", linewidth=0.7, linestyle=REFERENCE, zorder=1)
        values = one.eigenvalues[one.fixed, :MODES]
        values[paired(values) & (np.arange(values.shape[1]) == MODES - 1)] = np.nan  # without its other half
        inputs = np.repeat(one.held[one.condition[one.fixed], 0], values.shape[1])
        shown = values.ravel()
        dots = {"c": inputs, "cmap": SEQUENTIAL, "vmin": 0, "vmax": 1, "s": 5, "linewidths": 0, "rasterized": True}
        ax.scatter(shown.real, shown.imag, zorder=2, **dots)
        ax.set_title(kind_name(one.cell, one.activation, one.n))
        ax.set_aspect("equal")
        ax.set_xlim(left, right)
        ax.set_ylim(-up, up)
    for ax in axes.flat[len(portraits) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(0, len(portraits) - columns) : len(portraits)]:  # below which there is no other
        ax.set_xlabel("real part")
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("imaginary part")
    scale = matplotlib.cm.ScalarMappable(Normalize(0, 1), SEQUENTIAL)
    label = "input, which commands the frequency"
    figure.colorbar(scale, ax=axes, location="bottom", aspect=60, fraction=0.03, label=label)
    return figure


@in_house_style
def frequencies(study) -> Figure:
    """Linear frequency at the fixed points against the commanded one, and what is between them.

    study : `SineStudy`. Thin lines are networks, thick ones the median of a cell; a column for each activation. What a
    network has far from all medians is out of view, and counted.
    """
    table = study.table
    activations = list(dict.fromkeys(table.activation)) or ["tanh"]
    figure, axes = new_figure(2.9 * len(activations) + 0.6, 4.6, 2, len(activations), sharex=True, sharey="row")
    commanded = 1000 * study.commanded
    medians, single = ([commanded], [0 * commanded]), {}  # of both rows; and all networks' lines, of each axes
    for column, activation in enumerate(activations):
        above, below = axes[:, column]
        above.plot(commanded, commanded, color="#444444", linewidth=0.8, linestyle=REFERENCE, zorder=1)
        below.axhline(0, color="#444444", linewidth=0.8, linestyle=REFERENCE, zorder=1)
        for cell in dict.fromkeys(table.cell):
            mine = np.flatnonzero((table.cell == cell) & (table.activation == activation))
            frequency = 1000 * study.frequency[mine]
            frequency = frequency[np.isfinite(frequency).any(axis=1)]
            if not len(frequency):
                continue
            colour, middle = CELL_COLOURS.get(cell, OTHER), pandas.DataFrame(frequency).median().to_numpy()
            off = (below, frequency - commanded, middle - commanded)
            for row, (ax, lines, thick) in enumerate(((above, frequency, middle), off)):
                medians[row].append(thick)
                single.setdefault(ax, []).append(lines)
                crowd = is_crowd(len(lines))
                look = IN_CROWD if crowd else {"linewidth": 0.5, "alpha": 0.35}
                ax.plot(commanded, lines.T, color=colour, rasterized=len(lines) > 20, **look)
                label = f"{cell_name(cell)} ({len(frequency):,})"
                ax.plot(
                    commanded, thick, color=colour, label=label, **(over_crowd(1.8) if crowd else {"linewidth": 1.8})
                )
        above.set_title(f"{activation}: {counted(int((table.activation == activation).sum()), 'network')}")
        below.set_xlabel("commanded frequency (cycles / 1000 steps)")
    for row, here in zip(axes, medians, strict=True):
        low, high = np.nanmin(here), np.nanmax(here)
        margin = BEYOND * (high - low)
        row[0].set_ylim(low - margin, high + margin)
        for ax in row:
            far = sum(int(((lines < low - margin) | (lines > high + margin)).sum()) for lines in single.get(ax, []))
            if far:
                ax.text(0.02, 0.97, f"{far:,} out of view", transform=ax.transAxes, va="top", **DETAIL)
    keys_above(axes[0], columns=2)
    axes[0, 0].set_ylabel("linear frequency\n(cycles / 1000 steps)")
    axes[1, 0].set_ylabel("linear minus commanded\n(cycles / 1000 steps)")
    return figure
