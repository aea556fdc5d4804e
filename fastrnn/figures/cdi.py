"""Line attractors of context-dependent integration and their modes (panels 3b, 3e, 3f of the paper)."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.portrait import Portrait
from ..progress import counted
from .figure import CELL_COLOURS, OTHER, PAIR, REFERENCE, SEQUENTIAL, cell_name, in_house_style, keys_above, new_figure
from .portraits import chosen, grid, in_view, out_of_view, title
from .space import Space

CONTEXT_MARKERS = ("o", "s")
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))


@in_house_style
def slow_points(portraits: list[Portrait]) -> Figure:
    """Slow points of one network a kind: a line in each context; trajectories behind them, coloured by context.

    The colour of a point is the network's output there, its marker the context.
    """
    figure, axes = grid(portraits)
    most = max([float(np.abs(one.targets).max()) for one in portraits], default=1.0)
    beyond = max([float(np.abs(one.readout[:, 0]).max()) for one in portraits if len(one.readout)], default=0.0)
    shade = matplotlib.cm.ScalarMappable(Normalize(-most, most), SEQUENTIAL)
    for ax, one in zip(axes, portraits, strict=False):
        trials = chosen(len(one.trajectories))
        lines, context = one.trajectories[trials], one.inputs[trials, 0, 1].astype(int)
        seen = in_view(one.points, one.trajectories)
        space = Space.around(ax, lines, one.points[seen])
        space.lines(lines, [PAIR[c] for c in context], width=0.35, alpha=0.4)
        for c, marker in enumerate(CONTEXT_MARKERS):
            mine = np.flatnonzero(seen & (one.condition == c))
            space.points(one.points[mine], shade.to_rgba(one.readout[mine, 0]), marker, 8, edge="none")
        counts = " + ".join(str(int((one.condition == c).sum())) for c in range(len(one.held)))
        title(ax, one, f"{counts} slow points", out_of_view(one, seen))
    style = {"markerfacecolor": "white", "linewidth": 1, "markersize": 4}
    handles = [
        Line2D([], [], color=colour, marker=marker, label=f"context {c}", **style)
        for c, (colour, marker) in enumerate(zip(PAIR, CONTEXT_MARKERS, strict=True), 1)
    ]
    label = "output at the slow point"
    place = {"location": "bottom", "aspect": 60, "fraction": 0.03, "pad": 0.02}
    figure.colorbar(shade, ax=figure.axes, extend="both" if beyond > most else "neither", label=label, **place)
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure


@in_house_style
def spectra(study) -> Figure:
    """Magnitudes of eigenvalues at the slow points, largest first: mean over networks, shaded by the s.e.m.

    study : `CdiStudy`. A column for each activation; sizes differ by dashes. Networks without a line of slow points
    have no part in it.
    """
    figure, axes, panels = _by_activation(study, 3.0)
    for ax, rows in zip(axes[0], panels, strict=True):
        ax.axhline(1, color="#888888", linewidth=0.7, linestyle=REFERENCE, zorder=1)
        for row in rows:
            _band(ax, study.spectrum_mean[row], study.spectrum_sem[row], **_look(study, row))
        ax.set_xlabel("rank of the eigenvalue")
    axes[0, 0].set_ylabel("magnitude of the eigenvalue")
    axes[0, 0].set_ylim(0, 1.1 * max(1.0, float(np.nan_to_num(study.spectrum_mean).max())))
    keys_above(axes[0], columns=2)
    return figure


@in_house_style
def modes(study) -> Figure:
    """Linear integral of a unit input with the slowest modes only, by their number; 1 is a perfect integrator.

    study : `CdiStudy`. The relevant stream above, the other below; mean over networks that have a line of slow points,
    shaded by the s.e.m.
    """
    figure, axes, panels = _by_activation(study, 4.8, 2)
    for stream, (row_of_axes, name) in enumerate(zip(axes, ("relevant", "irrelevant"), strict=True)):
        for ax, rows in zip(row_of_axes, panels, strict=True):
            ax.axhline(1 - stream, color="#888888", linewidth=0.7, linestyle=REFERENCE, zorder=1)
            for row in rows:
                _band(ax, study.kept_mean[row, stream], study.kept_sem[row, stream], **_look(study, row))
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        row_of_axes[0].set_ylabel(f"integral of a unit input,\n{name} stream")
    for ax in axes[1]:
        ax.set_xlabel("slowest modes kept")
    keys_above(axes[0], columns=2)
    return figure


def _by_activation(study, height: float, rows: int = 1):
    """Figure, axes, and for each column the groups it shows."""
    activations = list(dict.fromkeys(study.groups.activation)) or ["tanh"]
    figure, axes = new_figure(2.9 * len(activations) + 0.5, height, rows, len(activations), sharex=True, sharey="row")
    panels = [np.flatnonzero(study.groups.activation == name) for name in activations]
    for ax, name, mine in zip(axes[0], activations, panels, strict=True):
        ax.set_title(f"{name}: {counted(int(study.groups.lines.iloc[mine].sum()), 'network')}")
    return figure, axes, panels


def _look(study, row: int) -> dict:
    group = study.groups.iloc[row]
    sizes = sorted(study.groups.n.unique())
    label = f"{cell_name(group.cell)} ({group.lines:,})" + (f", n = {group.n}" if len(sizes) > 1 else "")
    dashes = DASHES[sizes.index(group.n) % len(DASHES)]
    return {"color": CELL_COLOURS.get(group.cell, OTHER), "linestyle": dashes, "label": label}


def _band(ax, mean, sem, **look) -> None:
    """Mean (S,) against 1, 2, ..., with a band of one s.e.m. to either side."""
    there = np.flatnonzero(np.isfinite(mean))
    around = np.nan_to_num(sem[there])  # of a single network there is none
    ax.fill_between(there + 1, mean[there] - around, mean[there] + around, color=look["color"], alpha=0.25, linewidth=0)
    ax.plot(there + 1, mean[there], linewidth=1.3, **look)
