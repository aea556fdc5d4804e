"""A search of hyperparameters: validation loss of every draw against each of its values."""

from __future__ import annotations

import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..errors import Status
from .figure import ACTIVATION_COLOURS, REFERENCE, cell_name, in_house_style, label_few, new_figure

PANELS = {"learning_rate": "learning rate", "momentum": "momentum", "decay": "decay", "clip": "clip"}
LOGARITHMIC = ("learning_rate", "clip")
CHOSEN_SIZE, DRAW_SIZE = 70, 16  # points squared
HEADROOM, FOOTROOM = 4.0, 0.6  # factors beyond the upper quartile of the losses, and below the smallest one


@in_house_style
def hyperparameters(result, n: int, l2: float) -> Figure:
    """Validation loss against each hyperparameter, of all draws of the configurations of one size and L2.

    A row of panels for each cell; colour is the activation. Filled: trained to the end; open: dropped at the end of a
    round, with the loss it had there; a cross on the upper edge: diverged, or with a loss beyond the edge; a star: the
    values chosen, with the loss of their worst fresh network (or on that edge). The dashed line is the loss below which
    a network counts as having learnt its task.

    Parameters
    ----------
    result : a `SearchResult`
    n, l2 : which configurations
    """
    draws, chosen = (part[(part.n == n) & (part.l2 == l2)] for part in (result.draws, result.chosen))
    cells = list(dict.fromkeys(draws.cell))
    figure, axes = new_figure(7.2, 0.9 + 1.6 * len(cells), len(cells), len(PANELS), sharex="col", sharey=True)
    limits = _limits(draws, chosen, result.threshold)
    for row, cell in zip(axes, cells, strict=True):
        for ax, (name, title) in zip(row, PANELS.items(), strict=True):
            _draw_panel(ax, draws[draws.cell == cell], chosen[chosen.cell == cell], name, limits)
            if result.threshold is not None:
                ax.axhline(result.threshold, color="#444444", linewidth=0.7, linestyle=REFERENCE, zorder=1)
            if ax in axes[-1]:
                ax.set_xlabel(title)
        row[0].set_ylabel("validation loss")
        row[0].set_title(cell_name(cell))
    for ax, name in zip(axes[-1], PANELS, strict=True):
        if name in LOGARITHMIC:
            label_few(ax)
    report = result.report()
    title = f"{report['task']}: {report['draws']} draws of each kind, n = {n}, L2 {l2:g}"
    figure.suptitle(title + f", {report['iterations']:,} iterations", x=0.01, ha="left", parse_math=False)
    figure.legend(handles=_legend(draws, chosen), loc="outside lower left", ncols=6, handletextpad=0.3, columnspacing=1)
    return figure


def _draw_panel(ax, draws: pandas.DataFrame, chosen: pandas.DataFrame, name: str, limits: tuple[float, float]) -> None:
    """Draws of one cell against one hyperparameter."""
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    if name in LOGARITHMIC:
        ax.set_xscale("log")
    for activation, colour in ACTIVATION_COLOURS.items():
        mine = draws[draws.activation == activation]
        lost = (mine.fate == Status.DIVERGED.label) | ~(mine.validation_loss <= limits[1])
        for fate, face in ((Status.TRAINED, colour), (Status.DROPPED, "none")):
            part = mine[(mine.fate == fate.label) & ~lost]
            style = {
                "s": DRAW_SIZE,
                "facecolors": face,
                "edgecolors": colour,
                "linewidths": 0.8,
                "zorder": 3,
                "clip_on": False,
            }
            ax.scatter(part[name], part.validation_loss, **style)
        at_the_top = np.full(int(lost.sum()), limits[1])
        ax.scatter(mine[name][lost], at_the_top, s=14, marker="x", color=colour, linewidths=0.8, clip_on=False)
        best = chosen[chosen.activation == activation]
        style = {"marker": "*", "color": colour, "edgecolors": "black", "linewidths": 0.6, "zorder": 4}
        ax.scatter(best[name], best.validation_loss.clip(upper=limits[1]), s=CHOSEN_SIZE, clip_on=False, **style)


def _limits(draws: pandas.DataFrame, chosen: pandas.DataFrame, threshold: float | None) -> tuple[float, float]:
    """Range of the losses, but for those of draws that blew up."""
    sound = draws.validation_loss[(draws.fate != Status.DIVERGED.label) & np.isfinite(draws.validation_loss)]
    losses = [*sound, *chosen.validation_loss, *([threshold] if threshold else [])]
    lowest = min((loss for loss in losses if loss > 0), default=1.0)
    return FOOTROOM * lowest, HEADROOM * float(np.quantile(sound, 0.75) if len(sound) else lowest)


def _legend(draws: pandas.DataFrame, chosen: pandas.DataFrame) -> list[Line2D]:
    """Colours of the activations there are, then the marks."""
    handles = [
        Line2D([], [], marker="o", linestyle="none", markersize=4, color=ACTIVATION_COLOURS[name], label=name)
        for name in ACTIVATION_COLOURS
        if (draws.activation == name).any()
    ]
    grey = {"linestyle": "none", "color": "#444444"}
    return [
        *handles,
        Line2D([], [], marker="o", markersize=4, label="trained to the end", **grey),
        Line2D([], [], marker="o", markersize=4, markerfacecolor="none", label="dropped", **grey),
        Line2D([], [], marker="x", markersize=4, label="diverged or beyond", **grey),
        Line2D([], [], marker="*", markersize=8, label="chosen", **grey),
    ]
