"""Distances between networks: matrices and embeddings (panels 1c, 1d, 1f, 2c, 2e, 3c, 3d and E of the paper)."""

from __future__ import annotations

import numpy as np
import pandas
from matplotlib.figure import Figure

from ..progress import counted
from .figure import (
    ACTIVATION_COLOURS,
    CELL_COLOURS,
    CELL_MARKERS,
    OTHER,
    SEQUENTIAL,
    cell_name,
    in_house_style,
    keys_above,
    kind_name,
    new_figure,
)

LARGEST, SMALLEST, FEW, MANY = 4.5, 2.0, 40, 300  # points of a marker, and of how many networks
SHARP = 300  # networks of a matrix that has pixels enough for each; of more, a pixel is a mean
LEAST = 1e-9  # extent of a panel, where all networks are in one place
TOGETHER = 1e-6  # of the extent: networks so near to each other are in one place


@in_house_style
def distance_matrix(table: pandas.DataFrame, distances: np.ndarray, distance: str) -> Figure:
    """Distances (N, N) between all networks, kind by kind.

    table : DataFrame with cell, activation, n of the N networks; distance : what it is, for the colour bar
    """
    figure, axes = new_figure(4.6, 3.4, layout="compressed")  # one square panel: else its names leave the figure
    draw_matrix(figure, axes[0, 0], table, distances, distance)
    return figure


@in_house_style
def embedding(table: pandas.DataFrame, points: np.ndarray, stress: float, distance: str) -> Figure:
    """Networks as points (N, 2) whose distances are nearly those asked for.

    From the left: the tanh networks by cell, the vanilla networks by activation, all kinds.
    """
    figure, axes = new_figure(7.0, 3.0, 1, 3)
    draw_embedding(axes[0], table, points)
    text = f"{distance}, {counted(len(table), 'network')}: metric MDS, stress {stress:.2f}"
    figure.suptitle(text, x=0.01, ha="left")
    return figure


@in_house_style
def both_metrics(svcca, cka) -> Figure:
    """SVCCA (upper row) beside CKA: distance matrix, embedding by cell and by activation; both are `Comparison`."""
    figure, axes = new_figure(7.0, 5.0, 2, 3, width_ratios=(1.35, 1, 1))
    for row, made, name in ((axes[0], svcca, "SVCCA distance"), (axes[1], cka, "CKA distance")):
        draw_matrix(figure, row[0], made.table, made.distances, name, cells_only=True)
        draw_embedding(row[1:], made.table, made.embedding.points)
        row[0].set_title(f"{name}, {counted(len(made.table), 'network')}")
    return figure


def is_blurred(networks: int) -> bool:
    """Whether a matrix has fewer pixels than so many networks."""
    return networks > SHARP


def draw_matrix(figure, ax, table, distances, distance: str, cells_only: bool = False) -> None:
    """The matrix, its networks ordered by kind, a line between cells; names of kinds, or of cells, on the left."""
    order = _by_kind(table)
    rows = table.iloc[order]
    most = float(distances.max()) or 1.0
    how = {"interpolation": "nearest"}
    if is_blurred(len(table)):
        how = {"interpolation": "hanning", "interpolation_stage": "data"}  # means of distances, not of colours
    image = ax.imshow(distances[np.ix_(order, order)], cmap=SEQUENTIAL, vmin=0, vmax=most, **how)
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
    if cells_only:
        places = {cell: np.flatnonzero(rows.cell == cell).mean() for cell in dict.fromkeys(rows.cell)}
        ax.set_yticks(list(places.values()), map(cell_name, places), rotation=90, va="center")
    else:
        middles = [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)]
        ax.set_yticks(middles, [kind_name(*kinds[start]) for start in starts])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.set_xlabel(f"{counted(len(table), 'network')}, in the same order")


def draw_embedding(axes, table, points) -> None:
    """By cell, by activation, and in a third axes, if there is one, by both; all to one scale."""
    by_cell, by_activation = _only(table, "activation", "tanh"), _only(table, "cell", "vanilla")
    cell, activation = table.cell[by_activation].iloc[0], table.activation[by_cell].iloc[0]
    axes[0].set_title(f"by cell ({activation} only)")
    for name in dict.fromkeys(table.cell[by_cell]):
        mine = by_cell & (table.cell == name)
        _scatter(axes[0], points[mine], CELL_COLOURS.get(name, OTHER), name, activation, cell_name(name))
    axes[1].set_title(f"by activation ({cell_name(cell)} only)")
    for name in dict.fromkeys(table.activation[by_activation]):
        mine = by_activation & (table.activation == name)
        _scatter(axes[1], points[mine], ACTIVATION_COLOURS.get(name, OTHER), cell, name, name)
    if len(axes) > 2:
        axes[2].set_title("all kinds (open: relu)")
        for (name, other), mine in table.groupby(["cell", "activation"], sort=False).indices.items():
            _scatter(axes[2], points[mine], CELL_COLOURS.get(name, OTHER), name, other)
    keys_above(axes, columns=2)
    middle, extent = (points.min(axis=0) + points.max(axis=0)) / 2, float(np.ptp(points, axis=0).max())
    reach = 0.56 * max(extent, LEAST)
    for ax in axes:
        ax.set_box_aspect(1)
        ax.set_xlim(middle[0] - reach, middle[0] + reach)
        ax.set_ylim(middle[1] - reach, middle[1] + reach)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("MDS 1")
    axes[0].set_ylabel("MDS 2")
    for ax, shown in zip(axes, (by_cell, by_activation, np.full(len(points), True)), strict=False):
        _count_crowds(ax, points[shown], max(extent, LEAST))


def _count_crowds(ax, points, extent: float) -> None:
    """How many networks there are in one place, where they hide each other."""
    _, first, counts = np.unique(np.rint(points / (TOGETHER * extent)), axis=0, return_index=True, return_counts=True)
    for place, count in zip(points[first], counts, strict=True):
        if count > 1:
            style = {"textcoords": "offset points", "ha": "center", "fontsize": 6, "color": OTHER}
            ax.annotate(f"{count} networks", place, (0, 6), **style)


def _scatter(ax, points, colour: str, cell: str, activation: str, name: str | None = None) -> None:
    """Networks of a kind: the marker is the cell, open for relu; the name, with their number, goes to the legend."""
    label = f"{name} ({len(points):,})" if name else "_"
    size = max(SMALLEST, LARGEST * min(1.0, (FEW / max(len(points), 1)) ** 0.5))
    style = {"markersize": size, "linestyle": "", "label": label, "rasterized": len(points) > MANY}
    if activation == "relu":
        style |= {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 0.2 * size}
    else:
        style |= {"markeredgecolor": "white", "markeredgewidth": 0.3}
    ax.plot(*points.T, CELL_MARKERS.get(cell, "o"), color=colour, **style)


def _only(table, column: str, wanted: str):
    """Which rows a panel shows: those the paper shows, of a run without any those of its first value."""
    value = wanted if (table[column] == wanted).any() else table[column].iloc[0]
    return table[column] == value


def _by_kind(table) -> np.ndarray:
    """Order of the rows: cells and activations as they come in the table, then size, L2 and seed."""
    keys = [table[name].to_numpy() for name in ("seed", "l2", "n") if name in table]
    keys += [pandas.factorize(table[name])[0] for name in ("activation", "cell")]
    return np.lexsort(keys)
