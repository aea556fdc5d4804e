"""Networks' trajectories and fixed points in their principal components (panels 1b, 1e, 2b, 2d, 3b of the paper)."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.completeness import PointStatus
from ..analysis.portrait import Portrait
from .figure import (
    DETAIL,
    OTHER,
    PAIR,
    POINT_COLOURS,
    POINT_MARKERS,
    POINT_NAMES,
    SEQUENTIAL,
    evenly,
    in_house_style,
    kind_name,
    new_figure,
    point_kind,
)
from .space import Space

COLUMNS = 4
TRIALS_DRAWN = 24
SHADES = 64  # of a colour map
NARROWEST = 3.6  # inches, so that a key fits below
KEY_ENTRY = 1.15  # inches an entry of it takes
DETAIL_LETTERS = 40  # of a line above a panel
BEYOND = 0.3  # of the extent of the trajectories: points farther off are not drawn, but counted
SCALES = {"sine": "input, which commands the frequency", "cdi": "target: sum of the cued stream so far"}


@in_house_style
def trajectories(portraits: list[Portrait], task: str) -> Figure:
    """Trajectories of one network a kind.

    Their colour is the memory of the first channel (flipflop), the input, which commands the frequency (sine), or the
    sum to be held (cdi and other tasks: the first target).
    """
    figure, axes = grid(portraits)
    for ax, one in zip(axes, portraits, strict=False):
        lines = one.trajectories[chosen(len(one.trajectories))]
        space = Space.around(ax, lines)
        palette, index = segment_colours(one, task, chosen(len(one.trajectories)))
        space.lines(lines, [[palette[i] for i in row] for row in index])
        title(ax, one)
    _colour_key(figure, portraits, task)
    return figure


@in_house_style
def fixed_points(portraits: list[Portrait], task: str) -> Figure:
    """Fixed points of one network a kind, black where stable, red, green, blue with 1, 2, 3 unstable dimensions.

    Behind them trajectories, faint; lines of a saddle's colour are the paths that lead away from it. Points far from
    all trajectories are counted kind by kind, not drawn.
    """
    figure, axes = grid(portraits)
    for ax, one in zip(axes, portraits, strict=False):
        lines = one.trajectories[chosen(len(one.trajectories))]
        seen = in_view(one.points, one.trajectories)
        space = Space.around(ax, lines, one.points[seen])
        space.lines(lines, ["#9a9a9a"] * len(lines), width=0.35, alpha=0.35)
        ways = [way for way in one.each_path() if in_view(way[2], one.trajectories).all()]
        ways.sort(key=lambda way: -one.n_unstable[way[0]])
        colours = [POINT_COLOURS[point_kind(one.n_unstable[source])] for source, _, _ in ways]
        space.lines([path for _, _, path in ways], colours, width=0.8, rasterized=False)
        size = 18 if seen.sum() < 60 else 8
        for kind in range(len(POINT_COLOURS)):
            mine = seen & (point_kind(one.n_unstable) == kind)
            space.points(one.points[mine], POINT_COLOURS[kind], POINT_MARKERS[kind], size)
        title(ax, one, _census(one, seen), out_of_view(one, seen))
    _point_key(figure, portraits)
    return figure


def grid(portraits: list[Portrait]):
    """A figure with a square for each portrait, the rest of the last row empty."""
    columns = min(COLUMNS, max(1, len(portraits)))
    rows = max(1, -(-len(portraits) // columns))
    figure, axes = new_figure(max(NARROWEST, 1.8 * columns), 0.45 + 1.85 * rows, rows, columns)
    for ax in axes.flat[len(portraits) :]:
        ax.set_axis_off()
    return figure, axes.flat


def chosen(trials: int) -> np.ndarray:
    """Which trials are drawn: evenly spread."""
    return evenly(trials, TRIALS_DRAWN)


def title(ax, one: Portrait, second: str | None = None, third: str = "") -> None:
    """The kind, and in smaller letters a second line (by default how much of the variance is seen), maybe a third."""
    second = second or f"{100 * one.share.sum():.0f}% of the variance"
    said = [line.replace(", ", ",\n", 1) if len(line) > DETAIL_LETTERS else line for line in (second, third) if line]
    second = "\n".join(said)
    below = "\n" * len(second.splitlines())
    ax.set_title(f"{kind_name(one.cell, one.activation, one.n)}{below}", pad=2, linespacing=1.2)
    ax.text(0, 1, second, transform=ax.transAxes, va="bottom", **DETAIL)


def in_view(points, trajectories) -> np.ndarray:
    """Which points (F, 3) are not far from where the trajectories (B, T, 3) are, bool (F,)."""
    low, high = trajectories.min(axis=(0, 1)), trajectories.max(axis=(0, 1))
    beyond = BEYOND * (high - low).max()
    return ((points > low - beyond) & (points < high + beyond)).all(axis=1)


def out_of_view(one: Portrait, seen) -> str:
    """How many points of each status are not `seen` (F,), in words; empty if all are."""
    counts = [(int((~seen & (one.status == status)).sum()), status.label) for status in PointStatus]
    said = ", ".join(f"{count:,} {label}" for count, label in counts if count)
    return f"out of view: {said}" if said else ""


def _census(one: Portrait, seen) -> str:
    """How many points of each kind are in view, stable first."""
    kinds = np.bincount(point_kind(one.n_unstable[seen])) if seen.any() else np.array([0])
    text = " + ".join(str(count) for count in kinds)
    what = "point" if text == "1" else "points"
    special = [(int((seen & (one.status == s)).sum()), s.label) for s in (PointStatus.DEGENERATE, PointStatus.SLOW)]
    return ", ".join([f"{text} {what}", *(f"{count} {label}" for count, label in special if count)])


def segment_colours(one: Portrait, task: str, trials) -> tuple[list[str], np.ndarray]:
    """A palette, and for each segment of the trajectories of some trials an index into it, int (len(trials), T - 1)."""
    targets, inputs = one.targets[trials, 1:, 0], one.inputs[trials, 1:, 0]
    if task == "flipflop":
        return list(PAIR), (targets > 0).astype(int)
    values, limits = inputs if task == "sine" else targets, _limits(one, task)
    shades = np.clip(np.rint((SHADES - 1) * Normalize(*limits)(values)), 0, SHADES - 1).astype(int)
    used, index = np.unique(shades, return_inverse=True)
    palette = [to_hex(colour) for colour in matplotlib.colormaps[SEQUENTIAL](used / (SHADES - 1))]
    return palette, index.reshape(shades.shape)


def colour_scale(one: Portrait, task: str) -> dict:
    """What the colours of trajectories mean: in words, at both ends, and colours evenly from one end to the other."""
    if task == "flipflop":
        return {"what": "the first channel holds", "ends": ["\N{MINUS SIGN}1", "+1"], "colours": list(PAIR)}
    low, high = _limits(one, task)
    colours = [to_hex(colour) for colour in matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 1, 9))]
    ends = [f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in (low, high)]
    return {"what": SCALES.get(task, "first target"), "ends": ends, "colours": colours}


def _limits(one: Portrait, task: str) -> tuple[float, float]:
    """Range of the values that colours stand for: of the input, or symmetric, of the first target."""
    if task == "sine":
        return 0.0, 1.0
    most = max(float(np.abs(one.targets[..., 0]).max()), 1e-9)
    return -most, most


def _colour_key(figure, portraits, task) -> None:
    place = {"loc": "outside lower left", "ncols": 2, "handlelength": 1.2}
    if task == "flipflop":
        labels = ("the first channel holds \N{MINUS SIGN}1", "it holds +1")
        handles = [Line2D([], [], color=c, linewidth=1.5, label=v) for c, v in zip(PAIR, labels, strict=True)]
        figure.legend(handles=handles, **place)
    elif portraits:
        scale = matplotlib.cm.ScalarMappable(Normalize(*_limits(portraits[0], task)), SEQUENTIAL)
        label = SCALES.get(task, "first target")
        figure.colorbar(scale, ax=figure.axes, location="bottom", aspect=60, fraction=0.03, pad=0.02, label=label)


def _point_key(figure, portraits) -> None:
    seen = [one.n_unstable[in_view(one.points, one.trajectories)] for one in portraits]
    kinds = sorted({int(kind) for unstable in seen for kind in point_kind(unstable)})
    style = {"linestyle": "", "markersize": 4.5, "markeredgewidth": 0}
    handles = [
        Line2D([], [], marker=POINT_MARKERS[k], color=POINT_COLOURS[k], label=POINT_NAMES[k], **style) for k in kinds
    ]
    handles.append(Line2D([], [], color=OTHER, alpha=0.5, linewidth=0.6, label="trajectories"))
    columns = min(len(handles), int(figure.get_figwidth() / KEY_ENTRY))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, columnspacing=1.2, handletextpad=0.3)
