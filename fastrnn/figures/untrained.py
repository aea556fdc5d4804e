"""Trained and untrained networks: a high canonical correlation does not mean the same function (figure 4)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from ..progress import counted
from .figure import OTHER, PAIR, REFERENCE, in_house_style, new_figure
from .space import Space

TRIALS = 24
COMPARED = ({"trained relu", "untrained relu"}, {"trained tanh", "trained relu"})  # in the paper
COMPARED_COLOUR, OTHERS_COLOUR = "#000000", "#8a8a8a"


@in_house_style
def trained_and_untrained(study) -> Figure:
    """Trajectories of one network of each class, its outputs, and average canonical correlations between classes.

    study : `UntrainedStudy`. Bars are 95% intervals from networks resampled, where networks are not too few; the two
    pairs that the paper compares are black, the others grey.
    """
    classes = list(study.classes)
    figure, _ = new_figure(7.2, 3.0)
    figure.clear()
    left, right = figure.subfigures(1, 2, width_ratios=(1.4, 1))
    axes = left.subplots(2, len(classes), squeeze=False, height_ratios=(0.85, 1))
    counts = study.table["class"].value_counts()
    for i, name in enumerate(classes):
        _trajectories(axes[0, i], study, i)
        axes[0, i].set_title(f"{name}\n{counted(int(counts.get(name, 0)), 'network')}", fontsize=7)
        _outputs(axes[1, i], study, i)
    axes[1, 0].set_ylabel("output")
    handles = [Line2D([], [], color=colour, linewidth=1.5, label=f"context {c}") for c, colour in enumerate(PAIR, 1)]
    left.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=1.2)
    _correlations(right.subplots(1, 1), study, classes)
    return figure


def _trajectories(ax, study, i: int) -> None:
    lines = study.trajectories[i, :TRIALS]
    space = Space.around(ax, lines, names=False)
    space.lines(lines, [PAIR[int(c)] for c in study.context[:TRIALS]], width=0.4)


def _outputs(ax, study, i: int) -> None:
    """Outputs against targets at the last step: on the diagonal where a network has learnt its task."""
    target, output = study.target[:, -1], study.output[i, :, -1]
    reach = float(np.abs(study.target[:, -1]).max())
    ax.plot([-reach, reach], [-reach, reach], color="#888888", linewidth=0.7, linestyle=REFERENCE)
    ax.plot(target, np.clip(output, -1.2 * reach, 1.2 * reach), ".", color="#444444", markersize=2.5)
    ax.set_xlabel("target")
    drawn = study.table[study.table.drawn & (study.table["class"] == study.classes[i])]
    ax.set_title(f"loss {drawn.loss.iloc[0]:.3g}", fontsize=7)
    ax.set_ylim(-1.25 * reach, 1.25 * reach)
    ax.tick_params(labelleft=i == 0)
    ax.locator_params(axis="x", nbins=2)


def _correlations(ax, study, classes) -> None:
    """Mean of every pair of classes with its interval, from the largest down."""
    pairs = [(a, b) for a in range(len(classes)) for b in range(a + 1) if np.isfinite(study.mean[a, b])]
    pairs.sort(key=lambda pair: study.mean[pair])
    for place, (a, b) in enumerate(pairs):
        colour = COMPARED_COLOUR if {classes[a], classes[b]} in COMPARED else OTHERS_COLOUR
        ax.plot([study.low[a, b], study.high[a, b]], [place, place], "|-", color=colour, linewidth=1, markersize=4)
        ax.plot(study.mean[a, b], place, "o", color=colour, markersize=3)
    ax.set_yticks(range(len(pairs)), [f"{classes[b]}, {classes[a]}" for a, b in pairs])
    for label, (a, b) in zip(ax.get_yticklabels(), pairs, strict=True):
        label.set_color(COMPARED_COLOUR if {classes[a], classes[b]} in COMPARED else OTHER)
    ax.set_xlabel("average canonical\ncorrelation")
    ax.xaxis.set_major_locator(MultipleLocator(0.1))
    ax.set_ylim(-0.6, max(len(pairs), 1) - 0.4)
    ax.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    ax.set_axisbelow(True)
