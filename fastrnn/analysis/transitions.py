"""Transition graphs: which fixed point a small push away from another leads to.

Source: Maheswaranathan et al., "Universality and individuality in neural dynamics across large populations of
recurrent networks" (2019), section 3 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..networks import Networks
from ..values import check_positive, check_sizes
from .completeness import PointStatus
from .eigen import magnitude_order
from .maps import check_source, maps_of
from .points import FixedPoints, check_fixed
from .results import Listed
from .settling import ELSEWHERE, settle
from .starts import ESCAPED
from .threads import team

LEVEL = 0.1  # readouts closer than this share of their range are one level of the lexicographic order


@dataclass(eq=False)
class TransitionGraph(Listed):
    """The fixed points of one network under one input as nodes, in lexicographic order of their readouts.

    `TransitionGraph.save_list(path, graphs)` keeps those of a whole stack, `TransitionGraph.load_list(path)` reads
    them. The states are in the `FixedPoints`: `points.xstar[graph.point]`.

    Attributes
    ----------
    network, condition : whose graph it is
    point : int (P,), the nodes as indices into the `FixedPoints`
    probability : (P, P), share of the starts near the row's point that settle at the column's
    elsewhere : (P,), share that settles nowhere: cycles, divergence, too slow
    readout : (P, K); n_unstable : int (P,)
    """

    network: int
    condition: int
    point: np.ndarray
    probability: np.ndarray
    elsewhere: np.ndarray
    readout: np.ndarray
    n_unstable: np.ndarray

    def __len__(self) -> int:
        return len(self.point)

    @property
    def table(self):
        """A pandas DataFrame, one row an edge; what leads elsewhere has target and target_point -1."""
        import pandas

        source, target = np.nonzero(np.concatenate([self.elsewhere[:, None], self.probability], axis=1))
        target -= 1
        probability = np.where(target < 0, self.elsewhere[source], self.probability[source, target])
        columns = {"network": self.network, "condition": self.condition, "source": source, "target": target}
        columns |= {"source_point": self.point[source]}
        columns |= {"target_point": np.where(target < 0, ELSEWHERE, self.point[target]), "probability": probability}
        return pandas.DataFrame(columns)

    @property
    def graph(self):
        """The same as a networkx DiGraph; "elsewhere" is a node only where something leads there."""
        import networkx

        graph = networkx.DiGraph(network=self.network, condition=self.condition)
        for a in range(len(self)):
            unstable = int(self.n_unstable[a])
            known = {"n_unstable": unstable, "stable": unstable == 0, "point": int(self.point[a])}
            graph.add_node(a, readout=tuple(self.readout[a].tolist()), **known)
        for a, b in np.argwhere(self.probability > 0).tolist():
            graph.add_edge(a, b, probability=float(self.probability[a, b]))
        for a in np.flatnonzero(self.elsewhere > 0).tolist():
            graph.add_edge(a, "elsewhere", probability=float(self.elsewhere[a]))
        return graph


def transition_graph(
    networks,
    points: FixedPoints,
    network: int = 0,
    condition: int = 0,
    *,
    starts: int = 100,
    radius: float = 1e-2,
    settled: float = 1e-3,
    steps: int = 10_000,
    seed: int = 0,
) -> TransitionGraph:
    """The transition graph of one network under one held input.

    From every unstable point `starts` states at an isotropic distance `radius` are run until they settle at a stable
    point. Stable points keep a loop to themselves. Slow points are no nodes.

    Parameters
    ----------
    networks, points : the stack, and what `find_fixed_points` gave for it
    starts : runs from each unstable point
    radius, settled : how far away runs start, and how near to a stable point they count as settled, in spreads
    steps : of a run, at most
    seed : of the starts; with the network's key it fixes them

    Examples
    --------
    >>> from fastrnn.analysis.fixed_points import find_fixed_points
    >>> W = np.float32([[1, -1], [-1, 1]])
    >>> arrays = {"W_rec": W[None], "W_in": np.zeros((1, 1, 2)), "b": np.zeros((1, 2))}
    >>> arrays |= {"W_out": np.eye(2)[None], "b_out": np.zeros((1, 2)), "h0": np.zeros((1, 2))}
    >>> networks = Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays)
    >>> graph = transition_graph(networks, find_fixed_points(networks, [0.0]))
    >>> graph.n_unstable, graph.probability[1].round(1)  # the middle one leads to either side
    (array([0, 1, 0]), array([0.5, 0. , 0.5]))
    """
    _check(networks, points, starts=starts, steps=steps)
    check_positive(radius=radius, settled=settled)
    make = maps_of(networks)
    check_fixed(make, points, points.of(network, condition))
    return _graph(networks, make, points, network, condition, starts, radius, settled, steps, seed)


def transition_graphs(networks, points: FixedPoints, *, threads=None, **settings) -> list[TransitionGraph]:
    """`transition_graph` of every network under every input, network by network; `settings` as there."""
    _check(networks, points)
    pairs = list(np.ndindex(points.search_status.shape))
    with team(threads) as workers:
        return workers.each(lambda pair: transition_graph(networks, points, *pair, **settings), pairs)


def _graph(networks, make, points, network, condition, starts, radius, settled, steps, seed):
    nodes = node_order(points, network, condition)
    unstable, spread = points.n_unstable[nodes], points.spread[network]
    stable = np.flatnonzero(unstable == 0)
    sources = np.flatnonzero(unstable > 0)
    P = len(nodes)
    counts = np.zeros((P, P + 1))
    counts[stable, stable] = starts
    if len(sources):
        held = make(network, points.inputs[condition])
        key = int(networks.keys[network]) if isinstance(networks, Networks) else 0
        rng = np.random.default_rng([seed, key, condition])
        push = rng.normal(size=(len(sources), starts, held.S))
        push *= radius * spread / np.linalg.norm(push, axis=2, keepdims=True)
        h = (points.xstar[nodes[sources], None] + push).reshape(-1, held.S)
        with np.errstate(all="ignore"):
            target, _ = settle(held, h, points.xstar[nodes[stable]], settled * spread, steps)
        column = np.where(target == ELSEWHERE, P, np.append(stable, P)[target])
        np.add.at(counts, (np.repeat(sources, starts), column), 1)
    probability = counts / starts
    return TransitionGraph(
        network,
        condition,
        nodes,
        probability[:, :P],
        probability[:, P],
        points.readout[nodes],
        unstable,
    )


def node_order(points: FixedPoints, network: int, condition: int) -> np.ndarray:
    """Indices of the exact and degenerate points of one search, in lexicographic order of their readouts.

    A column's values that lie closer than `LEVEL` of its range to the next one are one level, so that noise in an
    early column does not decide the order; within equal levels the plain values do.
    """
    at = points.of(network, condition)
    at = at[points.status[at] != PointStatus.SLOW]
    readout = points.readout[at]
    levels = np.stack([readout_levels(column) for column in readout.T], axis=1) if len(at) else readout
    keys = np.concatenate([levels, readout], axis=1)
    return at[np.lexsort(keys.T[::-1])]


def readout_levels(values) -> np.ndarray:
    """Level of each value (P,): 0, 1, ... from below, a new one where the gap to the last exceeds `LEVEL`.

    >>> readout_levels(np.array([0.02, -1.0, 1.01, 0.99, -0.01]))
    array([1, 0, 2, 2, 1])
    """
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order]) > LEVEL * max(np.ptp(values), 1e-9)
    levels = np.empty(len(values), np.int64)
    levels[order] = np.concatenate([[0], np.cumsum(gaps)])
    return levels


def heteroclinic_paths(
    networks, points: FixedPoints, network: int = 0, condition: int = 0, *, radius=1e-2, settled=1e-3, steps=10_000
) -> list[tuple[int, int, np.ndarray]]:
    """Paths from every unstable point along its unstable directions, both ways, to another point: for drawing.

    Returns
    -------
    list of (source, target, path (T, S)) : source and target are indices into the points, target -1 for elsewhere;
        a complex pair gives the two directions of its plane. A path ends at the first other point, stable or not, that
        it comes within `settled` of
    """
    _check(networks, points, steps=steps)
    check_positive(radius=radius, settled=settled)
    make = maps_of(networks)
    check_fixed(make, points, points.of(network, condition))
    held = make(network, points.inputs[condition])
    nodes, spread = node_order(points, network, condition), points.spread[network]
    paths = []
    for source in nodes[points.n_unstable[nodes] > 0]:
        others = nodes[nodes != source]
        for direction in unstable_directions(held.jacobian(points.xstar[source : source + 1])[0]):
            for sign in (1.0, -1.0):
                h = points.xstar[source] + sign * radius * spread * direction
                target, path = _path(held, h, points.xstar[others], settled * spread, steps)
                paths.append((int(source), -1 if target == ELSEWHERE else int(others[target]), path))
    return paths


def unstable_directions(J) -> np.ndarray:
    """Real directions (d, S), of length 1, that span the unstable space of J (S, S)."""
    values, vectors = np.linalg.eig(J)
    order = magnitude_order(values[None])[0]
    directions = []
    for k in order[np.abs(values[order]) > 1.0]:
        vector = vectors[:, k]
        if abs(values[k].imag) > 0:
            directions.append(vector.real if values[k].imag > 0 else vector.imag)
        else:
            directions.append(vector.real)
    return np.array([d / np.linalg.norm(d) for d in directions]).reshape(len(directions), len(J))


def _path(held, h, targets, radius, steps):
    """The first of the targets (P, S) that one state (S,) reaches, and the states on its way."""
    path = [h]
    for _ in range(steps):
        away = np.linalg.norm(targets - h, axis=1) if len(targets) else np.array([np.inf])
        if away.min() <= radius:
            return int(away.argmin()), np.array(path)
        h = held.step(h[None])[0]
        if not h @ h < ESCAPED**2:
            break
        path.append(h)
    return ELSEWHERE, np.array(path)


def _check(networks, points, **whole) -> None:
    check_source(networks)
    N = points.search_status.shape[0]
    if N != len(networks) or points.xstar.shape[1] != networks.S:
        raise UsageError(
            f"points must be those of these networks: they are of {N} networks with S = {points.xstar.shape[1]}, "
            f"the stack holds {len(networks)} with S = {networks.S}"
        )
    check_sizes(**whole)
