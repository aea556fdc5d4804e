"""Networks compared by the graphs of their fixed points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas
from scipy.spatial.distance import pdist, squareform

from ..analysis.comparison import choose_factors
from ..analysis.embedding import embed
from ..analysis.graph_distance import graph_distances
from ..analysis.line_attractor import LineAttractor
from ..analysis.newton import distances
from ..analysis.points import FixedPoints
from ..analysis.statistics import Statistics, statistics
from ..analysis.transitions import TransitionGraph
from ..errors import UsageError
from .result import Result

NEIGHBOURS = 2  # of each point in the graph of nearest neighbours
LINE_NODES = 20  # of a line attractor, evenly along it
HARDLY_TOLD = "such graphs hardly tell one line or ring from another: the result is no finding"


@dataclass(eq=False, repr=False)
class Topology(Result):
    """Distances between the fixed-point graphs of N networks, drawn and put to the test.

    Attributes
    ----------
    measure : what the distance is, in words
    table : DataFrame, the run's rows of the N networks, in the order of the distances
    distances : (N, N)
    points : (N, 2) two-dimensional metric MDS of them; stress : Kruskal's stress-1 of it
    factors, levels : DataFrames of `analysis.statistics.Statistics` (`factors` has a column "factor"); empty where no
        factor has two levels or there are too few networks
    left_out : DataFrame (id, reason) of networks of the run that are not in `table`
    note : why there are no statistics; empty if there are
    """

    measure: str
    table: pandas.DataFrame
    distances: np.ndarray
    points: np.ndarray
    stress: float
    factors: pandas.DataFrame
    levels: pandas.DataFrame
    left_out: pandas.DataFrame
    note: str

    @property
    def statistics(self) -> Statistics | None:
        """The tables as `compare_networks` has them."""
        return None if self.factors.empty else Statistics(self.factors.set_index("factor"), self.levels)


def make_topology(measure: str, table, distances, left_out, **draws) -> Topology:
    """Embed and test distances (N, N) between the networks of `table`; draws : as `statistics` takes them."""
    if not len(table):
        raise UsageError(f"no network has a graph to compare ({len(left_out)} left out, {_first(left_out)})")
    embedding = embed(distances)
    factors, note, found = choose_factors(table), "too few networks, or none that differ in a factor", None
    if factors:
        try:
            found, note = statistics(distances, table[factors], **draws), ""
        except UsageError as error:  # all graphs the same, or one network a level
            note = str(error)
    parts = (pandas.DataFrame(), pandas.DataFrame()) if found is None else (found.table.reset_index(), found.levels)
    return Topology(measure, table, distances, embedding.points, embedding.stress, *parts, left_out, note)


def transition_topology(graphs: list[TransitionGraph], table, left_out) -> Topology:
    """Of transition graphs, one a network of `table`: connectivity between slots of {-1, 0, 1}^K."""
    empty = np.array([not len(graph) for graph in graphs], bool)
    measure = "connectivity of the fixed points, in slots by their readout"
    table, left_out = without(table, left_out, empty, "no fixed point was found")
    kept = [graph for graph, none in zip(graphs, empty, strict=True) if not none]
    return make_topology(measure, table, graph_distances(kept, "slots") if kept else np.zeros((0, 0)), left_out)


def path_topology(states: list[np.ndarray], table, left_out, measure: str) -> Topology:
    """Of points (P, S) in a common order, one array a network of `table`: graphs of nearest neighbours.

    A point that is missing is NaN and has no neighbours. Such graphs hardly tell one line from another: of points
    evenly along any smooth curve, each joined to its two nearest, they are the same, and those of line attractors
    differ mostly by which points a search found.
    """
    measure = f"{measure}: each point and its {NEIGHBOURS} nearest neighbours"
    empty = np.array([not np.isfinite(points).any() for points in states], bool)
    table, left_out = without(table, left_out, empty, "no fixed point was found")
    graphs = [neighbour_graph(points).ravel() for points, none in zip(states, empty, strict=True) if not none]
    away = squareform(pdist(np.array(graphs, np.float64))) if graphs else np.zeros((0, 0))
    return make_topology(measure, table, away, left_out)


def neighbour_graph(points) -> np.ndarray:
    """Adjacency matrix (P, P) of points (P, S): 1 where one is among the nearest of the other.

    >>> neighbour_graph(np.array([[0.0], [1.0], [2.0], [9.0], [np.nan]])).astype(int).tolist()
    [[0, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    """
    linked = np.zeros((len(points), len(points)))
    there = np.flatnonzero(np.isfinite(points).all(axis=1))
    away = distances(points[there], points[there])
    np.fill_diagonal(away, np.inf)
    nearest = np.argsort(away, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(there) - 1)]
    linked[np.repeat(there, nearest.shape[1]), there[nearest.ravel()]] = 1
    return np.maximum(linked, linked.T)


def states_along(points: FixedPoints, line: LineAttractor) -> np.ndarray:
    """States (LINE_NODES, S) evenly along a line attractor, ends included, linear between its points."""
    wanted = np.linspace(line.position[0], line.position[-1], LINE_NODES)
    return np.stack([np.interp(wanted, line.position, values) for values in points.xstar[line.point].T], axis=1)


def without(table, left_out, which, reason: str):
    """`table` without the networks `which` (N,), and `left_out` with them."""
    which = np.asarray(which, bool)
    gone = pandas.DataFrame({"id": table.id[which].tolist(), "reason": reason}, columns=["id", "reason"])
    kept = table[~which].reset_index(drop=True)
    return kept, pandas.concat([left_out, gone], ignore_index=True) if len(gone) else left_out


def _first(left_out) -> str:
    return f"{left_out.id[0]}: {left_out.reason[0]}" if len(left_out) else "none studied"
