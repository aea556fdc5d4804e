"""Distances between transition graphs, also of graphs with different numbers of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UsageError
from ..values import check_name
from .transitions import TransitionGraph

METHODS = ("ordered", "slots", "matching")


def graph_distances(graphs: Sequence[TransitionGraph], method: str = "slots") -> np.ndarray:
    """Distances (G, G) between all pairs of graphs, the Frobenius norm of a difference of connectivity matrices.

    A matrix's last column holds the share that leads elsewhere.

    Parameters
    ----------
    graphs : what `transition_graphs` gave
    method : "ordered", the paper's: nodes in the order they have; NaN between graphs of different numbers of nodes.
        "slots": a node's slot is its readout rounded to -1, 0 or 1 in every output; matrices are over slots, the mean
        over the nodes of a row's slot, the sum over those of a column's. A pseudometric; equal to "ordered" where the
        slots are the same, each holds one node and their order is the nodes'. "matching": nodes are paired so that
        their readouts differ least, the surplus ones with nothing. Not a metric: see `triangle_violations`
    """
    check_name("method", method, METHODS)
    if not isinstance(graphs, (list, tuple)) or not all(isinstance(graph, TransitionGraph) for graph in graphs):
        raise UsageError(f"graphs must be a list of TransitionGraphs; it is {type(graphs).__name__}")
    if method == "slots" and graphs:
        return _slot_distances(graphs)
    distance = _ordered if method == "ordered" else _matched
    away = np.zeros((len(graphs), len(graphs)))
    for i, a in enumerate(graphs):
        for j, b in enumerate(graphs[:i]):
            away[i, j] = away[j, i] = distance(a, b)
    return away


def triangle_violations(distances) -> tuple[float, float]:
    """Share of triples whose distances (G, G) break the triangle inequality, and the largest excess over it.

    >>> triangle_violations(np.array([[0.0, 1, 3], [1, 0, 1], [3, 1, 0]]))
    (0.3333333333333333, 1.0)
    """
    d = np.asarray(distances)
    G = len(d)
    excess = d[:, None, :] - (d[:, :, None] + d[None, :, :])  # i, j, k: straight from i to k, and by way of j
    i, j, k = np.ogrid[:G, :G, :G]
    excess = excess[(i < k) & (i != j) & (j != k)]
    if not len(excess):
        return 0.0, 0.0
    worst = max(float(excess.max()), 0.0)
    return float((excess > 1e-12 * max(d.max(), 1.0)).mean()), worst


def connectivity(graph: TransitionGraph) -> np.ndarray:
    """Matrix (P, P + 1): probabilities, and the share that leads elsewhere."""
    return np.concatenate([graph.probability, graph.elsewhere[:, None]], axis=1)


def slots(readout) -> np.ndarray:
    """Slot of each readout (P, K): its values rounded to -1, 0 or 1."""
    return np.clip(np.rint(readout), -1, 1).astype(np.int64)


def _ordered(a, b) -> float:
    if len(a) != len(b):
        return np.nan
    return float(np.linalg.norm(connectivity(a) - connectivity(b)))


def slot_connectivity(graphs: Sequence[TransitionGraph]) -> tuple[np.ndarray, np.ndarray]:
    """Graphs as matrices over slots of {-1, 0, 1}^K.

    Returns
    -------
    slots : int (M, K), those that any graph has a node in, in the order in which they were met
    connectivity : (G, M, M + 1), the mean over the nodes of a row's slot, the sum over those of a column's; the last
        column leads elsewhere; zero in the rows of slots that a graph has no node in
    """
    outputs = {graph.readout.shape[1] for graph in graphs}
    if len(outputs) > 1:
        raise UsageError("graphs to compare by slots must have the same number of outputs")
    known: dict[tuple, int] = {}
    rows = [[known.setdefault(tuple(slot), len(known)) for slot in slots(graph.readout).tolist()] for graph in graphs]
    count = len(known)
    matrices = np.zeros((len(graphs), count, count + 1))
    for matrix, graph, row in zip(matrices, graphs, rows, strict=True):
        into = np.zeros((len(graph), count + 1))
        np.add.at(into.T, np.append(row, count).astype(int), connectivity(graph).T)
        np.add.at(matrix, row, into)
        matrix /= np.maximum(np.bincount(row, minlength=count), 1)[:, None]
    return np.array(list(known), np.int64).reshape(count, *outputs), matrices


def _slot_distances(graphs) -> np.ndarray:
    """Differences of the matrices over slots; slots that neither of two graphs has don't matter."""
    matrices = slot_connectivity(graphs)[1]
    return np.stack([np.sqrt(np.square(matrices - matrix).sum(axis=(1, 2))) for matrix in matrices])


def _matched(a, b) -> float:
    """Pair nodes by readout (Kuhn's algorithm), then compare connectivity; a node without partner with zeros."""
    from scipy.optimize import linear_sum_assignment

    scale = np.square(np.concatenate([a.readout, b.readout])).sum(axis=1).mean() or 1.0
    cost = np.square(a.readout[:, None] - b.readout[None]).sum(axis=2) / scale
    mine, other = linear_sum_assignment(cost)
    size = len(a) + len(b) - len(mine)
    padded = np.zeros((2, size, size + 1))
    rest_a, rest_b = (np.setdiff1d(np.arange(len(g)), used) for g, used in ((a, mine), (b, other)))
    for matrix, graph, paired, rest, first in (
        (padded[0], a, mine, rest_a, len(mine)),
        (padded[1], b, other, rest_b, len(mine) + len(rest_a)),
    ):
        place = np.empty(len(graph) + 1, np.int64)
        place[paired], place[rest], place[-1] = np.arange(len(paired)), first + np.arange(len(rest)), size
        matrix[np.ix_(place[:-1], place)] = connectivity(graph)
    return float(np.linalg.norm(padded[0] - padded[1]))
