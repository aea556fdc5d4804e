"""Three dimensions on paper: an orthographic view from a fixed side, a box that shows depth, near things in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

FROM_SIDE, FROM_ABOVE = np.radians(-62.0), np.radians(22.0)  # where the reader stands
BOX = "#c4c4c4"
PIECES = 4  # of a line of one colour; each fades as a whole
LEVELS = 8  # of depth
FADE = 0.55  # how far towards white the farthest thing goes
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
EDGES = [(a, b) for a in range(8) for b in range(a) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]


@dataclass
class Space:
    """An axes that shows three dimensions.

    low, high : (3,) the box; every dimension has the same scale
    """

    ax: object
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def around(cls, ax, *clouds, names: bool = True) -> Space:
        """With a box around clouds of places (..., 3), the names of its dimensions beside it."""
        places = np.concatenate([np.reshape(cloud, (-1, 3)) for cloud in clouds])
        low, high = places.min(axis=0), places.max(axis=0)
        least = 0.05 * max(float((high - low).max()), 1e-9)  # a flat box still has a depth
        grow = np.maximum(0, least - (high - low)) / 2 + 0.03 * (high - low)
        space = cls(ax, low - grow, high + grow)
        space._box(names)
        return space

    def project(self, places) -> tuple[np.ndarray, np.ndarray]:
        """On paper (..., 2), and nearness (...) from 0, the far side, to 1."""
        centred = np.asarray(places) - (self.low + self.high) / 2
        side, above = FROM_SIDE, FROM_ABOVE
        right = np.array([-np.sin(side), np.cos(side), 0])
        towards = np.array([np.cos(side) * np.cos(above), np.sin(side) * np.cos(above), np.sin(above)])
        up = np.cross(towards, right)
        radius = np.abs(self.high - self.low) @ np.abs(towards) / 2
        paper = np.stack([centred @ right, centred @ up], axis=-1)
        return paper, np.clip((centred @ towards / radius + 1) / 2, 0, 1)

    def lines(self, lines, colours, width: float = 0.6, rasterized: bool = True, alpha: float = 0.7) -> None:
        """Lines (L_i, 3), each of one colour, or of a list of colours (one a segment); far ones fade, behind."""
        pieces, shades, depths = [], [], []
        for line, colour in zip(lines, colours, strict=True):
            paper, near = self.project(line)
            segments = len(line) - 1
            plain = isinstance(colour, str)
            cuts = np.linspace(0, segments, min(PIECES, segments) + 1).astype(int) if plain else np.arange(segments + 1)
            for start, end, one in zip(cuts[:-1], cuts[1:], [colour] * len(cuts) if plain else colour, strict=False):
                pieces.append(paper[start : end + 1])
                shades.append(to_rgba(one, alpha))
                depths.append(near[start : end + 1].mean())
        order = np.argsort(depths, kind="stable")
        if len(order):
            colours = faded(np.array(shades)[order], np.array(depths)[order])
            style = {"linewidths": width, "rasterized": rasterized, "capstyle": "round", "joinstyle": "round"}
            self.ax.add_collection(LineCollection([pieces[i] for i in order], colors=colours, **style))

    def points(self, places, colours, marker: str, size: float = 16, edge: str = "white") -> None:
        """Places (P, 3) of one colour or one each (P, 4); near ones are larger and lie in front of far ones."""
        paper, near = self.project(places)
        colours = np.broadcast_to([to_rgba(colours)] if isinstance(colours, str) else colours, (len(paper), 4))
        style = {"marker": marker, "edgecolor": edge, "linewidth": 0.4}
        for level in range(LEVELS):  # an artist for each layer of depth: markers of other kinds go between them
            layer = np.flatnonzero(np.minimum((near * LEVELS).astype(int), LEVELS - 1) == level)
            layer = layer[np.argsort(near[layer])]
            sizes = size * (0.6 + 0.8 * near[layer])
            self.ax.scatter(*paper[layer].T, s=sizes, facecolor=colours[layer], zorder=3 + level / LEVELS, **style)

    def _box(self, names: bool) -> None:
        """The edges of the box, those behind dotted; names of the dimensions at three of them."""
        ax, corners = self.ax, self.low + CORNERS * (self.high - self.low)
        paper, near = self.project(corners)
        hidden = int(near.argmin())
        for a, b in EDGES:
            behind = hidden in (a, b)
            style = (0, (1, 2)) if behind else "-"
            ax.plot(*paper[[a, b]].T, color=BOX, linewidth=0.5, linestyle=style, zorder=0, solid_capstyle="round")
        for dimension, (a, b), shift in _named_edges(paper, near) if names else ():
            middle = paper[[a, b]].mean(axis=0)
            ax.annotate(
                f"PC{dimension + 1}", middle, shift, textcoords="offset points", ha="center", va="center",
                fontsize=6, color="#666666",
            )  # fmt: skip
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_axis_off()
        ax.margins(0.04)


def faded(colours, near) -> np.ndarray:
    """Colours (L, 4) mixed with white where they are far."""
    colours = np.array(colours, float)
    white = (FADE * (1 - near))[:, None]
    colours[:, :3] += (1 - colours[:, :3]) * white
    return colours


def _named_edges(paper, near):
    """Of each dimension the edge of the box on its outline that lies lowest (PC1, PC2) or leftmost (PC3)."""
    inner = {int(near.argmin()), int(near.argmax())}
    for dimension in range(3):
        edges = [(a, b) for a, b in EDGES if CORNERS[a][dimension] != CORNERS[b][dimension]]
        edges = [edge for edge in edges if not inner & set(edge)]
        a, b = min(edges, key=lambda edge: paper[list(edge)].mean(axis=0)[0 if dimension == 2 else 1])
        outwards = paper[[a, b]].mean(axis=0) - paper.mean(axis=0)
        yield dimension, (a, b), tuple(7 * outwards / max(np.linalg.norm(outwards), 1e-9))
