"""Portraits as the data of the three-dimensional view: small whole numbers, few shades."""

from __future__ import annotations

import numpy as np

from ..analysis.completeness import PointStatus
from ..analysis.portrait import Portrait
from ..figures.figure import POINT_COLOURS, evenly, kind_name
from ..figures.portraits import chosen, colour_scale, in_view, segment_colours
from ..progress import counted

REACH = 1000  # coordinates go from -REACH to REACH
STEPS = 150  # of a trajectory, at most
SMALL = 0.05  # magnitude of eigenvalues below which they are left out
FEW, MANY, CROWD = 64, 20, 60  # eigenvalues kept of each point; fewer where there are more than CROWD points


def scene(one: Portrait, task: str) -> dict:
    """What viewer.js draws of one network, in what JSON can hold.

    Trajectories are thinned evenly to `STEPS` states; places are in `REACH`ths of the largest extent from the middle.
    Points far from all trajectories are left out, and counted.
    """
    trials = chosen(len(one.trajectories))
    seen = np.flatnonzero(in_view(one.points, one.trajectories))
    clouds = [one.trajectories[trials].reshape(-1, 3), one.points[seen]]
    low, high = (edge(np.concatenate(clouds), axis=0) for edge in (np.min, np.max))
    middle, scale = (low + high) / 2, REACH / max(float((high - low).max()) / 2, 1e-9)

    def place(x) -> list[int]:
        return np.rint((np.asarray(x) - middle) * scale).astype(int).ravel().tolist()

    T = one.trajectories.shape[1]
    kept = evenly(T, STEPS)
    palette, index = segment_colours(one, task, trials)
    number = {int(point): i for i, point in enumerate(seen)}
    paths = [way for way in one.each_path() if len(way[2]) > 1 and in_view(way[2], one.trajectories).all()]
    return {
        "about": _about(one, len(one.points) - len(seen)),
        "shade": colour_scale(one, task),
        "name": kind_name(one.cell, one.activation, one.n),
        "box": np.maximum(np.rint((high - low) / 2 * scale), 20).astype(int).tolist(),
        "palette": palette,
        "colours": list(POINT_COLOURS),
        "trajectories": [
            {"at": place(one.trajectories[trial, kept]), "runs": _runs(row[kept[:-1]])}
            for trial, row in zip(trials, index, strict=True)
        ],
        "points": _points(one, seen, place),
        "paths": [{"source": number[int(way[0])], "at": place(way[2])} for way in paths if int(way[0]) in number],
        "held": _held(one, task),
        "held_name": "context" if task == "cdi" else "input",
    }


def _about(one: Portrait, unseen: int) -> str:
    share = f"{100 * one.share.sum():.0f}% of its variance on {len(one.inputs)} probe trials is in these components"
    slow, degenerate = (int((one.status == status).sum()) for status in (PointStatus.SLOW, PointStatus.DEGENERATE))
    points = counted(len(one.points) - slow, "fixed point") + (f" ({degenerate:,} degenerate)" if degenerate else "")
    points += f" and {counted(slow, 'slow point')}" if slow else ""
    return f"{one.id}: {points}{f', {unseen:,} of them far away and not shown' if unseen else ''}; {share}."


def _runs(colours) -> list[list[int]]:
    """Where the colour changes along a line: pairs of first segment and colour."""
    starts = np.flatnonzero(np.diff(colours, prepend=-1))
    return [[int(i), int(colours[i])] for i in starts]


def _points(one: Portrait, seen, place) -> list[dict]:
    most = FEW if len(seen) <= CROWD else MANY
    made = []
    for i in seen:
        values = one.eigenvalues[i]
        shown = values[np.abs(values) > SMALL][:most]
        made.append(
            {
                "at": place(one.points[i]),
                "unstable": int(one.n_unstable[i]),
                "status": PointStatus(one.status[i]).label,
                "condition": int(one.condition[i]),
                "readout": [f"{value:.3g}" for value in one.readout[i]],
                "speed": f"{one.speed[i]:.1e}",
                "eigenvalues": [[round(float(v.real), 4), round(float(v.imag), 4)] for v in shown],
            }
        )
    return made


def _held(one: Portrait, task: str) -> list[str]:
    if task == "cdi":
        return [str(int(x[1] == 1) + 1) for x in one.held]
    return [", ".join(f"{value:.3g}" for value in x) for x in one.held]
