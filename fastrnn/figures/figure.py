"""How all figures look, and how they become files."""

from __future__ import annotations

import functools
import io

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
ACTIVATION_COLOURS = {"tanh": "#0072b2", "relu": "#d55e00"}  # told apart by colour-blind readers too
PNG_DPI = 200


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


@in_house_style
def render(figure: Figure) -> dict[str, bytes]:
    """The figure as files: SVG to print, PNG to look at."""
    files = {}
    for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=PNG_DPI, **options)
        files[suffix] = buffer.getvalue()
    return files
