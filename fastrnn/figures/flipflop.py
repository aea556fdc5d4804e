"""How many fixed points flip-flop networks have, and where they lead."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ..progress import counted
from .figure import DETAIL, POINT_COLOURS, POINT_NAMES, REFERENCE, SEQUENTIAL, in_house_style, kind_name, new_figure

GAP = 0.012  # between kinds, of all networks, at least one
BEYOND = 2  # of the number that most have: a bar that goes beyond is cut
SLENDER = 60  # networks of a kind, from which on its bars touch and are put in order
COLUMNS = ("unstable_0", "unstable_1", "unstable_2", "unstable_3", "unstable_more", "degenerate")
COLOURS, NAMES = (*POINT_COLOURS, "#d9c89e"), (*POINT_NAMES, "degenerate")


@in_house_style
def counts(study) -> Figure:
    """Fixed points of every network, a bar each, kind by kind, stacked by unstable dimensions, degenerate ones on top.

    study : `FlipflopStudy`. The dashed line is the number that most networks have; where one has far more, its number
    stands above its bar. Kinds of very many networks are in the order of their numbers, equal ones side by side, and of
    those that have far more only the largest is told.
    """
    table = study.table
    kinds = list(dict.fromkeys(zip(table.cell, table.activation, strict=True)))
    figure, axes = new_figure(7.0, 2.6)
    ax, ticks, start = axes[0, 0], [], 0.0
    gap = max(1.0, GAP * len(table))
    whole = study.counts[study.counts.kind == "all"]
    points = table[list(COLUMNS)].to_numpy().sum(axis=1)
    modal = 0 if whole.empty else int(whole.iloc[0].modal_count)
    top = max(points.max(), modal, 1)
    top = min(top, BEYOND * modal) if modal else top
    for cell, activation in kinds:
        mine = np.flatnonzero((table.cell == cell) & (table.activation == activation))
        slender = len(mine) >= SLENDER
        if slender:
            stacks = table[list(COLUMNS)].to_numpy()[mine]
            mine = mine[np.lexsort([*-stacks.T[::-1], -points[mine]])]  # equal ones side by side
        rows = table.iloc[mine]
        _stack(ax, start, rows[list(COLUMNS)].to_numpy())
        beyond = np.flatnonzero(points[mine] > top)
        for i in beyond[:1] if slender else beyond:
            said = f"to {points[mine[i]]:,}" if len(beyond) > 1 and slender else f"{points[mine[i]]:,}"
            ax.text(start + i, 1.05 * top, said, ha="left" if slender else "center", va="bottom", **DETAIL)
        ticks.append(start + (len(rows) - 1) / 2)
        start += len(rows) + gap
    text = counted(len(table), "network")
    if len(whole):
        row = whole.iloc[0]
        ax.axhline(modal, color="#444444", linewidth=0.7, linestyle=REFERENCE, zorder=0)
        text += f"; {row.modal_networks:,} of {row.networks:,} have {counted(modal, 'point')}"
    ax.set_xticks(ticks, [kind_name(*kind).replace(" ", "\n") for kind in kinds])
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-gap, start)
    ax.set_ylim(0, 1.05 * top)
    ax.set_ylabel("fixed points")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_title(text)
    handles = [Patch(color=colour, label=name) for colour, name in zip(COLOURS, NAMES, strict=True)]
    handles = handles if table.degenerate.any() else handles[:-1]
    figure.legend(handles=handles, loc="outside lower left", ncols=6, handlelength=1, columnspacing=1.2)
    return figure


def has_slender(study) -> bool:
    """Whether a kind's bars are so many that they are put in order."""
    return bool((study.table.groupby(["cell", "activation"]).size() >= SLENDER).any())


def _stack(ax, start: float, counts: np.ndarray) -> None:
    """Bars of the networks (N, 6) of a kind, side by side from `start`, one artist for each colour."""
    tops = np.cumsum(counts, axis=1)
    width = 0.9 if len(counts) < SLENDER else 1.0  # where bars are thinner than a pixel there is nothing between them
    left = start + np.arange(len(counts)) - width / 2
    for colour, low, high in zip(COLOURS, (tops - counts).T, tops.T, strict=True):
        corners = [(left, low), (left + width, low), (left + width, high), (left, high)]
        bars = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=1)  # (N, 4, 2)
        bars = bars[high > low]
        ax.add_collection(PolyCollection(bars, facecolor=colour, linewidth=0, antialiased=width < 1))


@in_house_style
def graph(study) -> Figure:
    """Mean transition graph: share of the starts near a slot's points (rows) that settle in another (columns).

    study : `FlipflopStudy`. Slots are the outputs at the points, each rounded to -1, 0 or 1. A row is the mean over the
    networks that have a point in its slot; their number is in brackets where not all have. Of the columns there are
    those in which anything settles, and the last, where it goes elsewhere.
    """
    figure, axes = new_figure(3.6, 4.6)
    ax, having = axes[0, 0], study.connectivity.any(axis=2).sum(axis=0)
    mean = study.connectivity.sum(axis=0) / np.maximum(having, 1)[:, None]
    names = ["".join("\N{MINUS SIGN}0+"[v + 1] for v in slot) for slot in study.slots.tolist()]
    rows = [
        name if count == len(study.table) else f"{name} ({count:,})" for name, count in zip(names, having, strict=True)
    ]
    shown = np.flatnonzero([*(mean[:, :-1] > 0).any(axis=0), True])
    image = ax.imshow(mean[:, shown], cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    ax.set_yticks(range(len(names)), rows, fontsize=6)
    below = ["\n".join(name) for name in names]  # one above the other; turned, a minus would be another sign
    ax.set_xticks(range(len(shown)), [[*below, "elsewhere"][i] for i in shown], fontsize=6)
    ax.get_xticklabels()[-1].set_rotation(90)
    ax.tick_params(length=0)
    ax.set_ylabel("starts near the point with these outputs")
    ax.set_xlabel("settles at")
    ax.set_title(f"mean of {counted(len(study.table), 'network')}")
    figure.colorbar(image, ax=ax, shrink=0.6, aspect=30, label="share of starts")
    return figure
