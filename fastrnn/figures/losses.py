"""Histograms of the loss at the end of training (appendix C of the paper)."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ..errors import Status
from ..runs import Run
from .figure import ACTIVATION_COLOURS, OTHER, REFERENCE, cell_name, in_house_style, keys_above, label_few, new_figure

BINS = 24
LOOKS = (("", 0.45), ("//////", 0.0))  # hatching, and how opaque what it lies on is: an SVG shows it on nothing only


@in_house_style
def final_losses(run: Run) -> Figure:
    """Validation losses of all networks that were trained to the end, a panel a cell; dashed: the task's threshold."""
    table = run.table[run.table.status == Status.TRAINED.label]
    table = table[np.isfinite(table.validation_loss) & (table.validation_loss > 0)]
    cells = list(dict.fromkeys(run.table.cell))
    figure, axes = new_figure(max(3.0, 1.8 * len(cells)), 2.5, 1, len(cells), sharex=True, sharey=True)
    edges = _edges(table.validation_loss, run.threshold)
    for ax, cell in zip(axes[0], cells, strict=True):
        of_cell = run.table[run.table.cell == cell]
        for place, activation in enumerate(dict.fromkeys(of_cell.activation)):
            losses = table.validation_loss[(table.cell == cell) & (table.activation == activation)]
            colour, asked = ACTIVATION_COLOURS.get(activation, OTHER), int((of_cell.activation == activation).sum())
            label = f"{activation}: {len(losses):,}" + ("" if len(losses) == asked else f" of {asked:,}")
            hatch, face = LOOKS[place % len(LOOKS)]
            style = {"histtype": "stepfilled", "hatch": hatch, "edgecolor": colour, "linewidth": 0.8}
            ax.hist(losses, edges, facecolor=to_rgba(colour, face), label=label, **style)
        if run.threshold is not None:
            ax.axvline(run.threshold, color="#444444", linewidth=0.7, linestyle=REFERENCE)
        ax.set_xscale("log")
        label_few(ax)
        ax.set_title(cell_name(cell))
        ax.set_xlabel("validation loss")
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("networks")
    keys_above(axes[0])
    return figure


def _edges(losses, threshold) -> np.ndarray:
    """Of the bins, even on a logarithmic scale from the least loss to the greatest; the threshold is one of them."""
    values = [*losses, *([] if threshold is None else [threshold])] or [0.1, 1.0]
    low, high = np.log(0.9 * min(values)), np.log(1.1 * max(values))
    width, start = (high - low) / BINS, high if threshold is None else np.log(threshold)
    below, above = np.ceil((start - low) / width), np.ceil((high - start) / width)
    return np.exp(start + width * np.arange(-below, above + 1))
