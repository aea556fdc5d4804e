"""Learning curves of a run: loss against iteration, one panel a cell and size, one line a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ..errors import Status
from ..progress import counted
from ..runs import Run
from .figure import (
    ACTIVATION_COLOURS,
    IN_CROWD,
    OTHER,
    REFERENCE,
    cell_name,
    in_house_style,
    is_crowd,
    keys_above,
    new_figure,
    over_crowd,
)

LINES_DRAWN_AS_VECTORS = 30  # in a panel; more become an image inside the SVG, which stays small
LIGHTEST = 0.6  # how far towards white the largest L2 goes
HEADROOM = 5.0  # top of the axis over the losses at the start: the spikes of a network that explodes are cut off


@dataclass
class Curves:
    """What is drawn of a group: iteration (R,), losses (N, R), the networks' rows of the table, diverged (N,)."""

    iteration: np.ndarray
    losses: np.ndarray
    rows: pandas.DataFrame
    diverged: np.ndarray

    @classmethod
    def of(cls, run: Run, group: str) -> Curves:
        finished = run.finished(group)
        rows, diverged = run.rows(finished.ids), finished.status == Status.DIVERGED
        return cls(finished.loss_curve_iteration, finished.loss_curve, rows, diverged)

    @property
    def kind(self) -> tuple[str, int]:
        """Cell and size, which choose the panel."""
        return self.rows.cell[0], int(self.rows.n[0])


@in_house_style
def learning_curves(run: Run) -> Figure:
    """Training loss over the iterations of every network whose training is over.

    A panel for each cell (columns) and size (rows); colour is the activation, a lighter shade a larger L2; a cross is
    where a network diverged, the dashed line the loss below which a network counts as having learnt its task. Losses
    far above those at the start are cut off. Where lines are very many they are faint, and a thick one is their median.
    """
    groups = [Curves.of(run, group) for group in run.finished_groups()]
    cells = list(dict.fromkeys(group.kind[0] for group in groups)) or [""]
    sizes = sorted({group.kind[1] for group in groups}) or [0]
    width, height = max(3.6, 0.4 + 1.8 * len(cells)), 0.6 + 2.1 * len(sizes)
    figure, axes = new_figure(width, height, len(sizes), len(cells), sharex=True, sharey=True)
    shades = _shades(sorted({l2 for group in groups for l2 in group.rows.l2}))
    limits = _limits(groups, run.threshold)
    for row, n in enumerate(sizes):
        keys = []
        for column, cell in enumerate(cells):
            panel = [group for group in groups if group.kind == (cell, n)]
            keys.append(_draw_panel(axes[row, column], run, panel, shades, limits))
            axes[row, column].set_title(cell_name(cell) + (f", n = {n}" if n else ""))
        keys_above(axes[row], keys)
    for ax in axes[-1]:
        ax.set_xlabel("iteration")
    for ax in axes[:, 0]:
        ax.set_ylabel("training loss")
    figure.suptitle(_title(run, groups), x=0.01, ha="left", parse_math=False)
    if len(shades) > 1:
        _l2_legend(figure, shades)
    return figure


def _draw_panel(ax, run: Run, panel: list[Curves], shades: dict[float, float], limits: tuple[float, float]) -> list:
    """All networks of one cell and size; what goes to the legend."""
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))
    entries = []
    rasterized = sum(len(group.rows) for group in panel) > LINES_DRAWN_AS_VECTORS
    for group in panel:
        colour = ACTIVATION_COLOURS.get(group.rows.activation[0], OTHER)
        look = IN_CROWD if is_crowd(len(group.rows)) else {"linewidth": 0.7, "alpha": 0.8}
        for curve, l2, lost in zip(group.losses, group.rows.l2, group.diverged, strict=True):
            style = {"color": _lighter(colour, shades[l2]), "zorder": 2 - shades[l2], "rasterized": rasterized}
            ax.plot(group.iteration, curve, **look, **style)
            if lost:
                _mark_divergence(ax, group.iteration, curve, limits[1])
        if is_crowd(len(group.rows)):
            _draw_medians(ax, group, {l2: _lighter(colour, shade) for l2, shade in shades.items()})
        entries.append(Line2D([], [], color=colour, linewidth=1.5, label=_count(run, group)))
    if run.threshold is not None:
        ax.axhline(run.threshold, color="#444444", linewidth=0.7, linestyle=REFERENCE, zorder=1)
    return entries


def _draw_medians(ax, group: Curves, colours: dict) -> None:
    """Median loss of the networks of each L2 that did not diverge, between white edges."""
    for l2, colour in colours.items():
        mine = (group.rows.l2 == l2).to_numpy() & ~group.diverged
        if mine.any():
            median = np.median(group.losses[mine], axis=0)
            ax.plot(group.iteration, median, color=colour, **over_crowd(1.3))


def _mark_divergence(ax, iteration, curve, top: float) -> None:
    """A cross at the last loss before a network became non-finite, on the upper edge where that is out of view."""
    finite = np.flatnonzero(np.isfinite(curve))
    x, y = (iteration[finite[-1]], min(curve[finite[-1]], top)) if len(finite) else (0, top)
    ax.plot(x, y, "x", color="black", markersize=5, markeredgewidth=1.2, zorder=4, clip_on=False)


def _limits(groups: list[Curves], threshold: float | None) -> tuple[float, float]:
    """Range of the losses of networks that did not diverge, up to a little above the losses at the start."""
    curves = [curve[np.isfinite(curve)] for group in groups for curve in group.losses[~group.diverged]]
    curves = [curve for curve in curves if len(curve)]
    if not curves:
        return 0.1, 1.0
    top = HEADROOM * float(np.median([curve[0] for curve in curves]))
    lowest = min(float(curve.min()) for curve in curves)
    bottom = 0.5 * max(min([lowest, threshold or lowest]), 1e-12)
    return (bottom, top) if bottom < top else (bottom, 2 * bottom)


def _count(run: Run, group: Curves) -> str:
    """Of one activation's networks, how many learnt the task and how many were lost."""
    text = f"{group.rows.activation[0]}: {len(group.rows):,}"
    if run.threshold is not None:
        text = f"{group.rows.activation[0]}: {int(run.learnt(group.rows).sum()):,} of {len(group.rows):,} learnt"
    lost = int(group.diverged.sum())
    return text + (f", {lost:,} diverged" if lost else "")


def _title(run: Run, groups: list[Curves]) -> str:
    text = f"{run.task_name}: {counted(sum(len(group.rows) for group in groups), 'network')}"
    if run.threshold is None:
        return text
    learnt = sum(int(run.learnt(group.rows).sum()) for group in groups)
    return f"{text}, {learnt:,} with a validation loss below {run.threshold:g} (dashed)"


def _shades(l2: list[float]) -> dict[float, float]:
    """How light each L2 is drawn, from 0 for the smallest to 1."""
    return {value: i / max(1, len(l2) - 1) for i, value in enumerate(l2)}


def _lighter(colour: str, shade: float) -> tuple[float, ...]:
    """`colour` mixed with white."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return tuple(rgb + (1 - rgb) * LIGHTEST * shade)


def _l2_legend(figure: Figure, shades: dict[float, float]) -> None:
    handles = [
        Line2D([], [], color=_lighter("#000000", shade), linewidth=1.5, label=f"{l2:g}") for l2, shade in shades.items()
    ]
    figure.legend(handles=handles, title="L2", title_fontsize=7, loc="outside right upper", handlelength=1.2)


def _thousands(value: float, _) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
