"""Line attractors: slow points put in order.

Source: Maheswaranathan et al., "Universality and individuality in neural dynamics across large populations of
recurrent networks" (2019), section 5; Mante et al., "Context-dependent computation by recurrent dynamics in prefrontal
cortex" (2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..values import check_sizes
from .newton import distances
from .points import FixedPoints
from .results import Listed


@dataclass(eq=False)
class LineAttractor(Listed):
    """P points of one network under one input, in order along the curve they lie on.

    `LineAttractor.save_list(path, lines)` keeps those of a whole stack, `LineAttractor.load_list(path)` reads them.

    Attributes
    ----------
    network, condition : whose it is
    point : int (P,) indices into the `FixedPoints`, from one end to the other, the end of lower readout first
    position : (P,) length along the neighbour graph from the first point
    edges : int (E, 2) pairs of places in `point`: each point and its nearest neighbours
    pieces : parts of the neighbour graph that hang together; above 1 the points may be several curves
    effective_dimension : participation ratio of the points' covariance, (sum of variances)^2 / sum of their squares; 1
        for a straight line
    """

    network: int
    condition: int
    point: np.ndarray
    position: np.ndarray
    edges: np.ndarray
    pieces: int
    effective_dimension: float

    def __len__(self) -> int:
        return len(self.point)

    @property
    def table(self):
        """A pandas DataFrame, one row a point, in order along the curve."""
        import pandas

        columns = {"network": self.network, "condition": self.condition}
        columns |= {"point": self.point, "position": self.position, "pieces": self.pieces}
        return pandas.DataFrame(columns | {"effective_dimension": self.effective_dimension})

    @property
    def graph(self):
        """The neighbour graph as a networkx Graph; nodes are places in `point`, edges carry no weight."""
        import networkx

        graph = networkx.Graph()
        graph.add_nodes_from((place, {"point": int(point)}) for place, point in enumerate(self.point))
        graph.add_edges_from(self.edges.tolist())
        return graph


def line_attractor(points: FixedPoints, network: int = 0, condition: int = 0, *, neighbors: int = 2) -> LineAttractor:
    """Order the points of one search along a curve.

    Slow points come from `find_fixed_points(..., method="slow_points")`, one search for each context. Points that
    are outliers are left out. Any others are put in order: whether there are enough of them, and far enough apart, to
    be a line is not asked.

    Parameters
    ----------
    points : of which those of `network` under input `condition` are taken
    neighbors : each point's edges in the neighbour graph
    """
    _check_found(points)
    check_sizes(neighbors=neighbors)
    at = _candidates(points, network, condition)
    if len(at) < 2:
        raise UsageError(
            f"a line needs two points or more; network {network} has {len(at)} under input {condition}: "
            "search with method='slow_points', more starts or a greater speed"
        )
    return _line(points, network, condition, at, neighbors)


def line_attractors(points: FixedPoints, *, neighbors: int = 2) -> list[LineAttractor]:
    """`line_attractor` of every network under every input where there are two points or more, network by network."""
    _check_found(points)
    check_sizes(neighbors=neighbors)
    pairs = np.ndindex(points.search_status.shape)
    found = ((network, condition, _candidates(points, network, condition)) for network, condition in pairs)
    return [_line(points, *place, neighbors) for place in found if len(place[-1]) > 1]


def _check_found(points) -> None:
    if not isinstance(points, FixedPoints):
        raise UsageError(f"points must be the FixedPoints of a search; it is {type(points).__name__}")


def _candidates(points, network, condition) -> np.ndarray:
    """Indices of the points of one search that are no outliers."""
    at = points.of(network, condition)
    return at[~points.outlier[at]]


def _line(points, network, condition, at, neighbors) -> LineAttractor:
    states = points.xstar[at]
    edges, pieces, position = along(states, neighbors)
    order = np.argsort(position, kind="stable")
    readout = points.readout[at[order], 0]
    half = len(order) // 2
    if readout[:half].mean() > readout[-half:].mean():
        order, position = order[::-1], position.max() - position
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    edges = np.sort(place[edges], axis=1)
    edges = np.unique(edges, axis=0)
    return LineAttractor(network, condition, at[order], position[order], edges, pieces, effective_dimension(states))


def along(states, neighbors: int = 2) -> tuple[np.ndarray, int, np.ndarray]:
    """Neighbour graph of states (P, S) and each one's distance along it from one of its two ends.

    Pieces of the graph are joined by the shortest spanning tree. An end is the point farthest from an arbitrary one.

    Returns
    -------
    edges (E, 2), number of pieces, position (P,)
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree

    away = np.maximum(distances(states, states), 1e-300)  # 0 would mean "no edge"
    np.fill_diagonal(away, np.inf)
    count = min(neighbors, len(states) - 1)
    nearest = np.argsort(away, axis=1, kind="stable")[:, :count]
    edges = np.stack([np.repeat(np.arange(len(states)), count), nearest.ravel()], axis=1)
    linked = np.zeros_like(away)
    linked[edges[:, 0], edges[:, 1]] = away[edges[:, 0], edges[:, 1]]
    linked = np.maximum(linked, linked.T)
    pieces, _ = connected_components(csr_array(linked), directed=False)
    np.fill_diagonal(away, 0)
    tree = minimum_spanning_tree(csr_array(away)).toarray()
    whole = csr_array(np.maximum(linked, np.maximum(tree, tree.T)))
    end = int(dijkstra(whole, directed=False, indices=0).argmax())
    return edges, int(pieces), dijkstra(whole, directed=False, indices=end)


def effective_dimension(states) -> float:
    """Participation ratio of the covariance of states (P, S).

    >>> effective_dimension(np.array([[0.0, 0], [1, 0], [2, 0]]))
    1.0
    """
    variances = np.linalg.svd(states - states.mean(axis=0), compute_uv=False) ** 2
    total = np.square(variances).sum()
    return float(variances.sum() ** 2 / total) if total else 0.0
