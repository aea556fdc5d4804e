"""One picture of a benchmark: how near to the machine's limit every kind is, and how the peers compare."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from fastrnn.cells import ACTIVATIONS
from fastrnn.errors import UsageError
from fastrnn.figures.figure import ACTIVATION_COLOURS, REFERENCE, cell_name, in_house_style, new_figure, render
from fastrnn.storage import atomic_write

from .machine import words
from .suite import existing_folder
from .training import LIMIT

SUFFIXES = (".png", ".svg")
MARKERS = ("o", "s", "^", "D", "v")  # of the tasks, in order
PEER_COLOURS = ("#332288", "#88ccee", "#44aa99", "#ddcc77", "#882255")  # of Tol's muted ones; none is a cell's
GAP = 0.7  # between cells, in widths of a group
LEGEND_COLUMNS = 5  # of the peers, at most
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def check_path(path) -> Path:
    """The path if a picture can be written there; `UsageError` otherwise."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"a picture must end in {' or '.join(SUFFIXES)}; it is {str(path)!r}")
    return existing_folder(path)


def save(results: dict, path) -> None:
    """Draw the picture to a file."""
    path = check_path(path)
    atomic_write(path, render(draw(results))[path.suffix.lower()[1:]])


@in_house_style
def draw(results: dict) -> Figure:
    """Above: training speed of every kind as a share of the matrix peak. Below: ratios to the peers, if there are any.

    A line is the processor's limit, where it was measured: its best turn over the best product. Whiskers reach from the
    slowest to the fastest round.
    """
    kinds = results["training"]["kinds"]
    compared = with_peers(kinds)
    figure, axes = new_figure(7.2, 5.4 if compared else 2.9, 2 if compared else 1)
    _shares(axes[0, 0], kinds, results)
    if compared:
        _ratios(axes[1, 0], compared)
    return figure


def with_peers(kinds: list[dict]) -> list[dict]:
    """Those kinds for which peers were timed, of the first such task and activation."""
    timed = [kind for kind in kinds if any("ratio" in entry for entry in kind["peers"])]
    return [kind for kind in timed if (kind["task"], kind["activation"]) == (timed[0]["task"], timed[0]["activation"])]


def _places(kinds: list[dict]) -> dict[tuple[str, int], float]:
    """Place on the horizontal axis of every cell and size, a gap between the cells."""
    groups = list(dict.fromkeys((kind["cell"], kind["n"]) for kind in kinds))
    cells = list(dict.fromkeys(cell for cell, _ in groups))
    return {group: i + GAP * cells.index(group[0]) for i, group in enumerate(groups)}


def _label_groups(ax, places: dict) -> None:
    """Sizes below the axis, cells below them."""
    ax.set_xticks(list(places.values()), [str(n) for _, n in places])
    ax.tick_params(axis="x", length=0)
    for cell in dict.fromkeys(cell for cell, _ in places):
        mine = [x for (name, _), x in places.items() if name == cell]
        middle = (mine[0] + mine[-1]) / 2
        ax.annotate(
            cell_name(cell), (middle, 0), (0, -16), ("data", "axes fraction"), "offset points",
            ha="center", va="top", fontsize=8,
        )  # fmt: skip
    ax.annotate("n =", (0, 0), (-6, -3.5), "axes fraction", "offset points", ha="right", va="top", fontsize=7)
    ax.set_xlim(min(places.values()) - 0.6, max(places.values()) + 0.6)


def _shares(ax, kinds: list[dict], results: dict) -> None:
    """A mark for every kind and task."""
    places = _places(kinds)
    tasks = list(dict.fromkeys(kind["task"] for kind in kinds))
    activations = [a for a in ACTIVATIONS if any(kind["activation"] == a for kind in kinds)]
    for kind in kinds:
        task, activation = tasks.index(kind["task"]), activations.index(kind["activation"])
        x = places[kind["cell"], kind["n"]] + 0.62 * (
            (task * len(activations) + activation + 0.5) / (len(tasks) * len(activations)) - 0.5
        )
        colour, speed, best = ACTIVATION_COLOURS[kind["activation"]], kind["gflops"], kind["peak"]["high"]
        ax.plot([x, x], [speed["low"] / best, speed["high"] / best], color=colour, linewidth=0.8, alpha=0.7)
        ax.plot(x, kind["share"], MARKERS[task % len(MARKERS)], color=colour, markersize=3.4, markeredgewidth=0)
    ax.axhline(1.0, color="#444444", linewidth=0.7, linestyle=REFERENCE, zorder=0)
    top = max(kind["gflops"]["high"] / kind["peak"]["high"] for kind in kinds)
    if LIMIT in results["training"]:
        limit = results["training"][LIMIT]["high"] / results["training"]["peak"]["high"]
        ax.axhline(limit, color="#444444", linewidth=0.7, zorder=0)
        ax.annotate(
            "the processor's limit", (1, limit), (-3, 1), ("axes fraction", "data"), "offset points",
            ha="right", va="bottom", fontsize=7, color="#444444",
        )  # fmt: skip
        top = max(top, 1.02 * limit)
    ax.set_ylim(0, max(1.08, 1.05 * top))
    ax.set_ylabel("share of the matrix peak")
    ax.set_title("Training speed: matrix FLOPs a second, as a share of NumPy's 2048 x 2048 product", loc="left", pad=16)
    ax.text(0, 1.02, words(results["machine"]), transform=ax.transAxes, fontsize=6.5, color="#444444", va="bottom")
    ax.grid(axis="y", linewidth=0.4, color="#dddddd")
    ax.set_axisbelow(True)
    _label_groups(ax, places)
    handles = [
        Line2D([], [], color="#666666", marker=MARKERS[i % len(MARKERS)], linestyle="", markersize=4, label=task)
        for i, task in enumerate(tasks)
    ]
    handles += [Patch(color=ACTIVATION_COLOURS[name], label=name) for name in activations]
    ax.legend(handles=handles, loc="lower right", ncols=len(handles), handlelength=1, columnspacing=1.2, frameon=False)


def _ratios(ax, kinds: list[dict]) -> None:
    """A bar for every peer."""
    places = _places(kinds)
    peers = {entry["peer"]: entry for kind in kinds for entry in kind["peers"] if "ratio" in entry}
    width = 0.86 / len(peers)
    ax.set_yscale("log")
    highest, another = 2.0, False
    for kind in kinds:
        for entry in kind["peers"]:
            if "ratio" not in entry:
                continue
            i, ratio = list(peers).index(entry["peer"]), entry["ratio"]
            x = places[kind["cell"], kind["n"]] + width * (i - (len(peers) - 1) / 2)
            hatch = None if entry["same_cell"] else "////"
            colour = PEER_COLOURS[i % len(PEER_COLOURS)]
            ax.bar(
                x, ratio["median"] - 1, 0.92 * width, bottom=1, color=colour if entry["same_cell"] else "white",
                edgecolor=colour, hatch=hatch, linewidth=0.6,
            )  # fmt: skip
            ax.plot([x, x], [ratio["low"], ratio["high"]], color="#333333", linewidth=0.7)
            highest, another = max(highest, ratio["high"]), another or hatch is not None
    lowest = min(entry["ratio"]["low"] for kind in kinds for entry in kind["peers"] if "ratio" in entry)
    ax.set_ylim(min(0.9, 0.9 * lowest), 1.6 * highest)
    ax.axhline(1.0, color="#444444", linewidth=0.7)
    ax.yaxis.set_major_locator(FixedLocator(TICKS))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    ax.minorticks_off()
    ax.grid(axis="y", linewidth=0.4, color="#dddddd")
    ax.set_axisbelow(True)
    ax.set_ylabel("fastrnn's speed over theirs")
    first = kinds[0]
    on = f"{first['task']}, {first['activation']}"
    handles = [
        Patch(color=PEER_COLOURS[i % len(PEER_COLOURS)], label=entry["title"]) for i, entry in enumerate(peers.values())
    ]
    if another:
        handles.append(Patch(facecolor="white", edgecolor="#666666", hatch="////", label="another cell"))
    rows = -(-len(handles) // LEGEND_COLUMNS)
    ax.set_title(f"Against other libraries on the same work ({on})", loc="left", pad=4 + 12 * rows)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0, "borderpad": 0.2}
    legend = ax.legend(handles=handles, ncols=-(-len(handles) // rows), handlelength=1, columnspacing=1.0, **place)
    legend.set_in_layout(False)
    _label_groups(ax, places)
