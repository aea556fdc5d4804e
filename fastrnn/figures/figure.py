"""How all figures look, and how they become files."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from ..storage import atomic_write

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "figure.titlesize": 8,
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
    "svg.fonttype": "none",  # words stay words, to be searched and edited
    "svg.hashsalt": "fastrnn",  # the same figure gives the same file
}
# Colours of Okabe and Ito, which colour-blind readers tell apart too, a brown and a grey; cells have no activation's.
ACTIVATION_COLOURS = {"tanh": "#0072b2", "relu": "#d55e00"}
CELL_COLOURS = {"vanilla": "#e69f00", "ugrnn": "#56b4e9", "gru": "#009e73", "lstm": "#cc79a7"}
CELL_COLOURS |= {"leaky": "#7a4b2a", "current": "#3d3d3d"}
CELL_MARKERS = {"vanilla": "o", "ugrnn": "s", "gru": "^", "lstm": "D", "leaky": "v", "current": "P"}
PAIR = ("#5e3c99", "#a39b1e")  # of two of anything else: memories of -1 and +1, contexts 1 and 2
DETAIL = {"fontsize": 6, "color": "#666666", "in_layout": False}  # of a second line, and of what is out of view
REFERENCE = (0, (4, 3))  # line style of a value that others are compared with
OTHER = "#555555"  # colour of anything that has none of its own
# Colours of fixed points are the paper's, black, red, green, blue for 0 to 3 unstable dimensions: such a dark red and
# light green that colour-blind readers tell them apart. Points have markers too.
POINT_COLOURS = ("#000000", "#c1121f", "#4dbd74", "#1f4fd8", "#8a8a8a")
POINT_MARKERS = ("o", "^", "s", "D", "X")
POINT_NAMES = ("stable", "1 unstable dimension", "2 unstable", "3 unstable", "4 and more")
SEQUENTIAL = "viridis"  # from dark to light for all readers; in the middle it is no grey, which lines would be lost in
CELL_NAMES = {"vanilla": "Vanilla", "ugrnn": "UGRNN", "gru": "GRU", "lstm": "LSTM"}
CELL_NAMES |= {"leaky": "Leaky", "current": "Current"}
DPI = {"svg": 400, "png": 200}  # an SVG holds pictures where there are very many lines
LAYOUTS = 2  # panels of a given shape come to rest
KEY_LINE = 10  # points that a line of a legend takes
CROWD = 60  # lines of a colour in a panel, from which on they hide others: they are faint, and medians lie above all
IN_CROWD = {"linewidth": 0.5, "alpha": 0.3}
FEW_DIGITS = (1,), (1, 3), (1, 2, 5)  # first digits of the labels of a logarithmic axis, the first that gives enough
ENOUGH_LABELS = 3


def in_house_style(draw):
    """Decorator: what the function draws looks as `STYLE` says."""

    @functools.wraps(draw)
    def styled(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, layout: str = "constrained", **kwargs):
    """An empty figure of width x height inches and its axes (rows, columns)."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def cell_name(cell: str) -> str:
    """As written in text: GRU, not gru."""
    return CELL_NAMES.get(cell, cell)


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of `most` of `count` things at most, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def kind_name(cell: str, activation: str, n: int | None = None) -> str:
    """A kind of network as written in text."""
    return f"{cell_name(cell)} {activation}" + (f", n = {n}" if n else "")


def is_crowd(lines: int) -> bool:
    """Whether lines of one colour are so many that they hide others."""
    return lines >= CROWD


def over_crowd(linewidth: float) -> dict:
    """Style of a line that is seen above very many: between white edges."""
    return {
        "linewidth": linewidth,
        "zorder": 3,
        "path_effects": [withStroke(linewidth=2 * linewidth, foreground="white")],
    }


def point_kind(n_unstable):
    """Index into `POINT_COLOURS` and its fellows, (F,) or a number."""
    return np.minimum(n_unstable, len(POINT_COLOURS) - 1)


def keys_above(axes, keys=None, columns: int = 1) -> None:
    """A legend between each axes and its title, the titles at one height; by default of what has a label."""
    keys = [ax.get_legend_handles_labels()[0] for ax in axes] if keys is None else keys
    lines = max((-(-len(key) // columns) for key in keys), default=0)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.6, "borderpad": 0}
    style = {"handlelength": 1.2, "handletextpad": 0.5, "labelspacing": 0.25, "columnspacing": 1.2}
    for ax, key in zip(axes, keys, strict=True):
        ax.set_title(ax.get_title(loc="left"), pad=6 + KEY_LINE * lines)
        if key:
            ax.legend(handles=key, ncols=columns, **place, **style)


def label_few(ax) -> None:
    """Labels of a logarithmic axis that keep apart in a narrow panel: where powers of ten are too few, some between."""
    low, high = ax.get_xlim()
    tens = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high))
    for digits in FEW_DIGITS:
        ticks = np.outer(tens, digits).ravel()
        ticks = ticks[(low <= ticks) & (ticks <= high)]
        if len(ticks) >= ENOUGH_LABELS:
            break
    if len(ticks) < 2:  # of a very narrow range matplotlib knows better
        return
    if digits != FEW_DIGITS[0]:
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def write_figure(figure: Figure, folder, name: str) -> list[str]:
    """Write the figure into a folder, once for every format; names of the files."""
    files = {f"{name}.{suffix}": content for suffix, content in render(figure).items()}
    for file, content in files.items():
        atomic_write(Path(folder) / file, content)
    return list(files)


@in_house_style
def render(figure: Figure) -> dict[str, bytes]:
    """The figure as files: SVG to print, PNG to look at."""
    files = {}
    for _ in range(LAYOUTS):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # every file looks the same
    for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=DPI[suffix], **options)
        files[suffix] = buffer.getvalue()
    return files
