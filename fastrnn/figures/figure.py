"""How all figures look, and how they become files."""

from __future__ import annotations

import functools
import io

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "svg.hashsalt": "fastrnn",  # the same figure gives the same file
}
# Colours of Okabe and Ito, which colour-blind readers tell apart too; those of cells are no activation's.
ACTIVATION_COLOURS = {"tanh": "#0072b2", "relu": "#d55e00"}
CELL_COLOURS = {"vanilla": "#e69f00", "ugrnn": "#56b4e9", "gru": "#009e73", "lstm": "#cc79a7"}
CELL_MARKERS = {"vanilla": "o", "ugrnn": "s", "gru": "^", "lstm": "D"}
OTHER = "#555555"  # colour of anything that has none of its own
# Colours of fixed points are the paper's: stable, 1, 2, 3 unstable dimensions; markers tell them apart without.
POINT_COLOURS = ("#000000", "#d62728", "#2ca02c", "#1f4fd8", "#8a8a8a")
POINT_MARKERS = ("o", "^", "s", "D", "X")
POINT_NAMES = ("stable", "1 unstable dimension", "2 unstable", "3 unstable", "4 and more")
SEQUENTIAL = "viridis"  # from dark to light for all readers; in the middle it is no grey, which lines would be lost in
CELL_NAMES = {"vanilla": "Vanilla", "ugrnn": "UGRNN", "gru": "GRU", "lstm": "LSTM"}
PNG_DPI = 200
PNG_COLOURS = 256  # a third of the bytes of all colours, and no eye sees the difference


def in_house_style(draw):
    """Decorator: what the function draws looks as `STYLE` says."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs):
    """An empty figure of width x height inches and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def cell_name(cell: str) -> str:
    """As written in text: GRU, not gru."""
    return CELL_NAMES.get(cell, cell)


def kind_name(cell: str, activation: str, n: int | None = None) -> str:
    """A kind of network as written in text."""
    return f"{cell_name(cell)} {activation}" + (f", n = {n}" if n else "")


def point_kind(n_unstable):
    """Index into `POINT_COLOURS` and its fellows, (F,) or a number."""
    return np.minimum(n_unstable, len(POINT_COLOURS) - 1)


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural where it is one: 1,024 networks, 1 network."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def empty_panel(ax, text: str) -> None:
    """Words where there is nothing to draw."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=OTHER, wrap=True)


@in_house_style
def render(figure: Figure) -> dict[str, bytes]:
    """The figure as files: SVG to print, PNG to look at."""
    files = {}
    for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=PNG_DPI, **options)
        files[suffix] = buffer.getvalue() if suffix == "svg" else _fewer_colours(buffer)
        figure.set_layout_engine("none")  # laid out once; the next file looks the same
    return files


def _fewer_colours(png: io.BytesIO) -> bytes:
    """The same picture with a palette, in which rare colours (a legend's) keep their place."""
    made, method = io.BytesIO(), Image.Quantize.MAXCOVERAGE
    reduced = Image.open(png).convert("RGB").quantize(PNG_COLOURS, method, dither=Image.Dither.NONE)
    reduced.save(made, "png", optimize=True)
    return made.getvalue()
