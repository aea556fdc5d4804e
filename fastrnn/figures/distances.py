"""Distances between networks: matrices and embeddings (panels 1c, 1d, 1f, 2c, 2e, 3c, 3d and E of the paper)."""

from __future__ import annotations

import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .figure import (
    ACTIVATION_COLOURS,
    CELL_COLOURS,
    CELL_MARKERS,
    CELL_NAMES,
    OTHER,
    SEQUENTIAL,
    cell_name,
    counted,
    in_house_style,
    kind_name,
    new_figure,
)

LABELLED = 12  # kinds whose names fit beside a matrix
HEADROOM = 1.4  # above the points there is room for a legend
DOT = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.3}


@in_house_style
def distance_matrix(table: pandas.DataFrame, distances: np.ndarray, distance: str) -> Figure:
    """Distances (N, N) between all networks, kind by kind.

    table : DataFrame with cell, activation, n of the N networks; distance : what it is, for the colour bar
    """
    figure, axes = new_figure(4.6, 4.0)
    draw_matrix(figure, axes[0, 0], table, distances, distance)
    return figure


@in_house_style
def embedding(table: pandas.DataFrame, points: np.ndarray, stress: float, distance: str) -> Figure:
    """Networks as points (N, 2) whose distances are nearly those asked for.

    From the left: the tanh networks by cell, the vanilla networks by activation, all kinds.
    """
    figure, axes = new_figure(7.0, 3.1, 1, 3)
    draw_embedding(axes[0], table, points)
    text = f"{distance}: {counted(len(table), 'network')}, metric MDS, stress {stress:.2f}"
    figure.suptitle(text, fontsize=8, x=0.01, ha="left")
    return figure


@in_house_style
def both_metrics(svcca, cka) -> Figure:
    """SVCCA (upper row) beside CKA: distance matrix, embedding by cell and by activation; both are `Comparison`."""
    figure, axes = new_figure(7.0, 4.6, 2, 3, width_ratios=(1.25, 1, 1))
    for row, made, name in ((axes[0], svcca, "SVCCA distance"), (axes[1], cka, "CKA distance")):
        draw_matrix(figure, row[0], made.table, made.distances, name, labels=False)
        draw_embedding(row[1:], made.table, made.embedding.points)
        row[0].set_title(f"{name}, {counted(len(made.table), 'network')}", loc="left", fontsize=8)
        row[1].text(
            1,
            -0.02,
            f"stress {made.embedding.stress:.2f}",
            transform=row[1].transAxes,
            ha="right",
            va="top",
            fontsize=6,
        )
    return figure


def draw_matrix(figure, ax, table, distances, distance: str, labels: bool = True) -> None:
    """The matrix, its networks ordered by kind, a line between cells."""
    order = _by_kind(table)
    rows = table.iloc[order]
    image = ax.imshow(distances[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=ax, shrink=0.8, label=distance)
    for spine in ax.spines.values():
        spine.set_visible(False)
    kinds = list(zip(rows.cell, rows.activation, strict=True))
    starts = [i for i, kind in enumerate(kinds) if not i or kind != kinds[i - 1]]
    ends = [*starts[1:], len(kinds)]
    for start in starts[1:]:
        style = {"color": "white", "linewidth": 1.2 if kinds[start][0] != kinds[start - 1][0] else 0.4}
        ax.axhline(start - 0.5, **style)
        ax.axvline(start - 0.5, **style)
    middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
    names = [kind_name(*kinds[start]) for start in starts]
    shown = labels and len(names) <= LABELLED
    ax.set_yticks(middles if shown else [], names if shown else [])
    ax.set_xticks([])
    ax.tick_params(length=0)
    if labels:
        ax.set_xlabel(f"{counted(len(table), 'network')}, in the same order")


def draw_embedding(axes, table, points) -> None:
    """By cell, by activation, and in a third axes, if there is one, by both."""
    by_cell, by_activation = _only(table, "activation", "tanh"), _only(table, "cell", "vanilla")
    _scatter(axes[0], points, table.cell.where(by_cell), CELL_COLOURS, CELL_MARKERS)
    _scatter(axes[1], points, table.activation.where(by_activation), ACTIVATION_COLOURS, {"relu": "^"})
    axes[0].set_title(f"by cell ({', '.join(table.activation[by_cell].unique())} only)", loc="left", fontsize=8)
    only = ", ".join(map(cell_name, table.cell[by_activation].unique()))
    axes[1].set_title(f"by activation ({only} only)", loc="left", fontsize=8)
    if len(axes) > 2:
        _all_kinds(axes[2], table, points)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    reach = 0.58 * max(float(np.ptp(points, axis=0).max()), 1e-9)
    for ax in axes:
        ax.set_aspect("equal")
        ax.set_xlim(middle[0] - reach, middle[0] + reach)
        ax.set_ylim(middle[1] - reach, middle[1] + HEADROOM * reach)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("MDS 1")
    axes[0].set_ylabel("MDS 2")


def _all_kinds(ax, table, points) -> None:
    """Colour and marker are the cell; open markers are relu."""
    ax.set_title("all kinds (open: relu)", loc="left", fontsize=8)
    for (cell, activation), rows in table.groupby(["cell", "activation"], sort=False).indices.items():
        colour = CELL_COLOURS.get(cell, OTHER)
        style = {"markersize": 4, "markeredgewidth": 0.8, "markeredgecolor": colour}
        face = "none" if activation == "relu" else colour
        ax.plot(*points[rows].T, CELL_MARKERS.get(cell, "o"), markerfacecolor=face, **style)


def _scatter(ax, points, labels, colours, markers) -> None:
    """Points (N, 2) with a label each, nothing where that is missing; a legend with counts."""
    handles = []
    for name in dict.fromkeys(labels.dropna()):
        mine = np.flatnonzero(labels == name)
        style = {"color": colours.get(name, OTHER), "marker": markers.get(name, "o"), "linestyle": ""} | DOT
        ax.plot(*points[mine].T, **style)
        handles.append(Line2D([], [], label=f"{CELL_NAMES.get(name, name)} ({len(mine)})", **style))
    close = {"handletextpad": 0.1, "borderpad": 0.2, "labelspacing": 0.25, "columnspacing": 0.8}
    ax.legend(handles=handles, loc="upper left", ncols=2, **close)


def _only(table, column: str, wanted: str):
    """Which rows a panel shows: those the paper shows, of a run without any those of its first value."""
    value = wanted if (table[column] == wanted).any() else table[column].iloc[0]
    return table[column] == value


def _by_kind(table) -> np.ndarray:
    """Order of the rows: cells and activations as they come in the table, then size, L2 and seed."""
    keys = [table[name].to_numpy() for name in ("seed", "l2", "n") if name in table]
    keys += [pandas.factorize(table[name])[0] for name in ("activation", "cell")]
    return np.lexsort(keys)
