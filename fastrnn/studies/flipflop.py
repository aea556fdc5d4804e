"""The flip-flop study: how many fixed points of which kind, and how they lead to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..analysis.completeness import PointStatus, SearchStatus
from ..analysis.graph_distance import slot_connectivity, slots
from ..analysis.points import FixedPoints
from ..analysis.transitions import TransitionGraph
from .resampling import share_interval
from .result import Result
from .selection import ROW

MOST_UNSTABLE = 3  # more unstable dimensions are counted together


@dataclass(eq=False, repr=False)
class FlipflopStudy(Result):
    """Fixed points of N networks without input, counted.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss; `points` (fixed points,
        slow ones and outliers aside), `unstable_0`, `unstable_1`, `unstable_2`, `unstable_3`, `unstable_more` (of them,
        by unstable dimensions), `degenerate` (of them, whose eigenvalues don't tell), `slow`, `outliers` (fixed points
        that are not counted, far from all states that the network visits), `corners` (corners of the cube that hold a
        stable point), `search_status`, `index_sum` (of all points found), `modal` (bool: the count is the modal one),
        `elsewhere` (mean share of starts near its unstable points that settle at none of its points)
    counts : DataFrame, one row a kind ("all", then cell and activation): `kind`, `networks`, `modal_count`,
        `modal_networks`, `share`, `low`, `high` (Wilson's 95% interval of the share)
    slots : int8 (M, 3) slots of {-1, 0, 1}^3 that any network has a point in
    connectivity : float32 (N, M, M + 1) share of the starts near a slot's points that settle in another, or elsewhere
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    counts: pandas.DataFrame
    slots: np.ndarray
    connectivity: np.ndarray
    left_out: pandas.DataFrame


def flipflop_study(
    points: list[tuple[FixedPoints, int]], graphs: list[TransitionGraph], table, left_out
) -> FlipflopStudy:
    """Count the fixed points of N networks and put their graphs into slots.

    Parameters
    ----------
    points : N pairs of a search's result and the network's index in it
    graphs : N transition graphs
    table : the run's rows of the networks; left_out : DataFrame (id, reason)
    """
    rows = [
        row | _counts(found, i) | {"elsewhere": _elsewhere(graph)}
        for row, (found, i), graph in zip(table[list(ROW)].to_dict("records"), points, graphs, strict=True)
    ]
    counted = pandas.DataFrame(rows)
    counted["modal"] = counted.points == _modal(counted.points)
    known, connectivity = slot_connectivity(graphs)
    return FlipflopStudy(
        counted,
        pandas.DataFrame([_share("all", counted), *_shares_by_kind(counted)]),
        known.astype(np.int8),
        connectivity.astype(np.float32),
        left_out,
    )


def _elsewhere(graph: TransitionGraph) -> float:
    """Mean over unstable points; nothing starts at stable ones."""
    unstable = graph.n_unstable > 0
    return float(graph.elsewhere[unstable].mean()) if unstable.any() else np.nan


def _counts(found: FixedPoints, i: int) -> dict:
    """Points of network i by kind, and what its search says of itself."""
    near, outliers = found.near(i), len(found.fixed(i)) - len(found.near(i))
    degenerate = int((found.status[near] == PointStatus.DEGENERATE).sum())
    slow = int((found.status[found.of(i)] == PointStatus.SLOW).sum())
    exact = near[found.status[near] == PointStatus.EXACT]
    unstable = found.n_unstable[exact]
    corners = slots(found.readout[exact[unstable == 0]])
    corners = np.unique(corners[(corners != 0).all(axis=1)], axis=0)
    return (
        {"points": len(near)}
        | {f"unstable_{d}": int((unstable == d).sum()) for d in range(MOST_UNSTABLE + 1)}
        | {"unstable_more": int((unstable > MOST_UNSTABLE).sum())}
        | {"degenerate": degenerate, "slow": slow, "outliers": outliers}
        | {"corners": len(corners), "search_status": SearchStatus(found.search_status[i, 0]).label}
        | {"index_sum": int(found.index_sum[i, 0])}
    )


def _modal(counts) -> int:
    """The commonest count, the smaller of two that are equally common."""
    values, times = np.unique(counts, return_counts=True)
    return int(values[times.argmax()])


def _shares_by_kind(counted) -> list[dict]:
    return [_share(f"{cell} {act}", part) for (cell, act), part in counted.groupby(["cell", "activation"], sort=False)]


def _share(kind: str, part) -> dict:
    """How many networks of a kind share its own modal count."""
    modal = _modal(part.points)
    have = part.points == modal
    row = {"kind": kind, "networks": len(part), "modal_count": modal, "modal_networks": int(have.sum())}
    return row | dict(zip(("share", "low", "high"), share_interval(have), strict=True))
