"""Learning curves of a run: loss against iteration, one panel a cell and size, one line a network."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ..errors import Status
from ..runs import Run
from .figure import ACTIVATION_COLOURS, in_house_style, new_figure

TITLES = {"vanilla": "Vanilla", "ugrnn": "UGRNN", "gru": "GRU", "lstm": "LSTM"}
LINES_DRAWN_AS_VECTORS = 30  # in a panel; more become an image inside the SVG, which stays small
LEGEND_LINE = 10  # points
LIGHTEST = 0.6  # how far towards white the largest L2 goes


@in_house_style
def learning_curves(run: Run) -> Figure:
    """Training loss over the iterations of every network whose training is over.

    A panel for each cell (columns) and size (rows); colour is the activation, a lighter shade a larger L2; a cross is
    where a network diverged, the dashed line the loss below which a network counts as having learnt its task.
    """
    groups = run.finished_groups()
    table = run.table.assign(group=run.table.cell + "-" + run.table.activation + "-" + run.table.n.astype(str))
    table = table[table.group.isin(groups)]
    cells, sizes = list(dict.fromkeys(table.cell)) or [""], sorted(set(table.n)) or [0]
    figure, axes = new_figure(
        max(3.6, 0.4 + 1.8 * len(cells)), 0.6 + 2.1 * len(sizes), len(sizes), len(cells), sharex=True, sharey=True
    )
    shades = _shades(sorted(set(table.l2)))
    for row, n in enumerate(sizes):
        for column, cell in enumerate(cells):
            panel = table[(table.cell == cell) & (table.n == n)]
            _draw_panel(axes[row, column], run, panel, shades)
            title = TITLES.get(cell, cell) + (f", n = {n}" if n else "")
            axes[row, column].set_title(title, loc="left", pad=4 + LEGEND_LINE * panel.activation.nunique())
    for ax in axes[-1]:
        ax.set_xlabel("iteration")
    for ax in axes[:, 0]:
        ax.set_ylabel("training loss")
    figure.suptitle(_title(run, table), fontsize=9, x=0.01, ha="left")
    if len(shades) > 1:
        _l2_legend(figure, shades)
    return figure


def _draw_panel(ax, run: Run, panel, shades: dict[float, float]) -> None:
    """All networks of one cell and size."""
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))
    entries = []
    for group, rows in panel.groupby("group", sort=False):
        finished = run.finished(group)
        iteration, of = finished.loss_curve_iteration, run.rows(finished.ids)
        diverged = finished.status == Status.DIVERGED
        colour = ACTIVATION_COLOURS.get(rows.activation.iloc[0], "#444444")
        for curve, l2, lost in zip(finished.loss_curve, of.l2, diverged, strict=True):
            shade = _lighter(colour, shades[l2])
            style = {"color": shade, "rasterized": len(panel) > LINES_DRAWN_AS_VECTORS, "zorder": 2 - shades[l2]}
            ax.plot(iteration, curve, linewidth=0.7, alpha=0.8, **style)
            if lost:
                _mark_divergence(ax, iteration, curve)
        entries.append(Line2D([], [], color=colour, linewidth=1.5, label=_count(run, of, int(diverged.sum()))))
    if run.threshold is not None:
        ax.axhline(run.threshold, color="#444444", linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    if entries:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0, "borderpad": 0.2}
        ax.legend(handles=entries, handlelength=1.0, handletextpad=0.5, labelspacing=0.2, **place)


def _mark_divergence(ax, iteration, curve) -> None:
    """A cross at the last loss before a network became non-finite, at the left edge for the first iteration."""
    finite = np.flatnonzero(np.isfinite(curve))
    if len(finite):
        ax.plot(
            iteration[finite[-1]], curve[finite[-1]], "x", color="black", markersize=5, markeredgewidth=1.2, zorder=4
        )


def _count(run: Run, rows, diverged: int) -> str:
    """Of one activation's networks, how many learnt the task and how many were lost."""
    text = f"{rows.activation.iloc[0]}: {len(rows)}"
    if run.threshold is not None:
        text = f"{rows.activation.iloc[0]}: {int(run.learnt(rows).sum())} of {len(rows)} learnt"
    return text + (f", {diverged} diverged" if diverged else "")


def _title(run: Run, table) -> str:
    text = f"{run.task_name}: {len(table):,} networks"
    if run.threshold is None:
        return text
    return f"{text}, {int(run.learnt(table).sum()):,} with a validation loss below {run.threshold:g} (dashed)"


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
    figure.legend(
        handles=handles,
        title="L2",
        loc="outside right upper",
        fontsize=7,
        title_fontsize=7,
        handlelength=1.2,
        frameon=False,
    )


def _thousands(value: float, _) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
