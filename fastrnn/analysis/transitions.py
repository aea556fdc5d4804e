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
from .eigen import magnitude_order
from .maps import check_source, maps_of
from .points import FixedPoints, check_fixed
from .results import Listed
from .settling import ELSEWHERE, settle
from .starts import ESCAPED
from .threads import chunks, team

LEVEL = 0.1  # readouts closer than this share of their range are one level of the lexicographic order
STARTS, RADIUS, SETTLED, STEPS = 100, 1e-2, 1e-3, 10_000  # as `transition_graph` explains them
NUMBERS = 1 << 17  # of the states that one thread runs at once
TOGETHER = 64  # paths that are followed side by side


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
    elsewhere : (P,), share that settles at no node: cycles, divergence, too slow, what goes to an outlier
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
    starts: int = STARTS,
    radius: float = RADIUS,
    settled: float = SETTLED,
    steps: int = STEPS,
    seed: int = 0,
) -> TransitionGraph:
    """The transition graph of one network under one held input.

    From every unstable point `starts` states at an isotropic distance `radius` are run until they settle at a stable
    point. Stable points keep a loop to themselves. Slow points are no nodes, and outliers neither: what is far from all
    states that the network visits says nothing of where it goes, and there |eigenvalue| = 1 is a matter of rounding.

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
    runs = {"starts": starts, "radius": radius, "settled": settled, "steps": steps, "seed": seed}
    return _graphs(networks, points, [(network, condition)], runs, threads=1)[0]


def transition_graphs(
    networks,
    points: FixedPoints,
    *,
    starts: int = STARTS,
    radius: float = RADIUS,
    settled: float = SETTLED,
    steps: int = STEPS,
    seed: int = 0,
    threads: int | None = None,
) -> list[TransitionGraph]:
    """`transition_graph` of every network under every input, network by network, each the same as by itself.

    Parameters
    ----------
    threads : default: the processors this process may use; the others as for `transition_graph`
    """
    runs = {"starts": starts, "radius": radius, "settled": settled, "steps": steps, "seed": seed}
    return _graphs(networks, points, np.ndindex(np.shape(points.search_status)), runs, threads)


def _graphs(networks, points, pairs, runs, threads) -> list[TransitionGraph]:
    """Graphs of pairs (network, condition); threads share the runs of one graph too, where there are many."""
    _check(networks, points, starts=runs["starts"], steps=runs["steps"])
    check_positive(radius=runs["radius"], settled=runs["settled"])
    with team(threads) as workers:
        graphs = workers.each(lambda pair: _Graph(networks, points, *pair, **runs), pairs)
        pieces = [(graph, rows) for graph in graphs for rows in chunks(graph.runs, max(1, NUMBERS // networks.S))]
        ends = workers.each(lambda piece: piece[0].run(piece[1]), pieces)
    for (graph, rows), end in zip(pieces, ends, strict=True):
        graph.end[rows] = end
    return [graph.made() for graph in graphs]


class _Graph:
    """One graph on its way: a run is one start, `starts` of them from each unstable point in turn."""

    def __init__(self, networks, points, network, condition, starts, radius, settled, steps, seed):
        self.networks, self.points, self.network, self.condition = networks, points, network, condition
        self.starts, self.radius, self.settled, self.steps, self.seed = starts, radius, settled, steps, seed
        check_fixed(maps_of(networks), points, points.of(network, condition))
        self.nodes = node_order(points, network, condition)  # (P,)
        self.n_unstable = points.n_unstable[self.nodes]
        self.stable = np.flatnonzero(self.n_unstable == 0)
        self.source = np.repeat(np.flatnonzero(self.n_unstable > 0), starts)
        self.runs = len(self.source)
        self.end = np.empty(self.runs, np.int64)  # the node each run settles at, or P

    def run(self, rows: slice) -> np.ndarray:
        """Where the runs of those rows end; one thread owns them."""
        points, spread = self.points, self.points.spread[self.network]
        held = maps_of(self.networks)(self.network, points.inputs[self.condition])
        key = int(self.networks.keys[self.network]) if isinstance(self.networks, Networks) else 0
        rng = np.random.default_rng([self.seed, key, self.condition])
        push = rng.normal(size=(self.runs, held.S))[rows]  # of all, so that they don't depend on how runs are shared
        push *= self.radius * spread / np.linalg.norm(push, axis=1, keepdims=True)
        h = points.xstar[self.nodes[self.source[rows]]] + push
        target, _ = settle(held, h, points.xstar[self.nodes[self.stable]], self.settled * spread, self.steps)
        return np.where(target == ELSEWHERE, len(self.nodes), np.append(self.stable, len(self.nodes))[target])

    def made(self) -> TransitionGraph:
        P = len(self.nodes)
        counts = np.zeros((P, P + 1))
        counts[self.stable, self.stable] = self.starts
        np.add.at(counts, (self.source, self.end), 1)
        probability, readout = counts / self.starts, self.points.readout[self.nodes]
        return TransitionGraph(
            self.network, self.condition, self.nodes, probability[:, :P], probability[:, P], readout, self.n_unstable
        )


def node_order(points: FixedPoints, network: int, condition: int) -> np.ndarray:
    """Indices of the exact and degenerate points of one search but outliers, in lexicographic order of their readouts.

    A column's values that lie closer than `LEVEL` of its range to the next one are one level, so that noise in an
    early column does not decide the order; within equal levels the plain values do.
    """
    at = points.near(network, condition)
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
    networks, points: FixedPoints, network: int = 0, condition: int = 0, *, radius=RADIUS, settled=SETTLED, steps=STEPS
) -> list[tuple[int, int, np.ndarray]]:
    """Paths from every unstable point along its unstable directions, both ways, to another point: for drawing.

    The points are the nodes of `transition_graph`.

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
    sources, starts = [], []
    for a in np.flatnonzero(points.n_unstable[nodes] > 0):
        here = points.xstar[nodes[a]]
        for direction in unstable_directions(held.jacobian(here[None])[0]):
            starts += [here + sign * radius * spread * direction for sign in (1.0, -1.0)]
            sources += [a, a]
    paths, places = [], points.xstar[nodes]
    for some in chunks(len(starts), TOGETHER):
        reached, ways = _ways(held, np.array(starts[some]), sources[some], places, settled * spread, steps)
        for a, b, way in zip(sources[some], reached, ways, strict=True):
            paths.append((int(nodes[a]), -1 if b == ELSEWHERE else int(nodes[b]), way))
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


def _ways(held, h, sources, places, radius, steps):
    """The first of the places (P, S), other than its source, that each state h (M, S) reaches; the states on its ways.

    Returns
    -------
    reached : int (M,), which place, or `ELSEWHERE`
    ways : M arrays (T, S), the start and what follows it
    """
    reached, ways, active = np.full(len(h), ELSEWHERE), [[state] for state in h], np.arange(len(h))
    own, squares = np.array(sources), np.einsum("pu,pu->p", places, places)
    for _ in range(steps):
        away = squares - 2.0 * (h @ places.T)  # and |h|^2, the same for all places
        away[np.arange(len(h)), own[active]] = np.inf
        nearest = away.argmin(axis=1)
        there = (np.linalg.norm(h - places[nearest], axis=1) <= radius) & (nearest != own[active])
        reached[active[there]] = nearest[there]
        h, active = held.step(h[~there]), active[~there]
        bounded = np.einsum("mu,mu->m", h, h) < ESCAPED**2
        h, active = h[bounded], active[bounded]
        if not len(active):
            break
        for m, state in zip(active, h, strict=True):
            ways[m].append(state)
    return reached, [np.array(way) for way in ways]


def _check(networks, points, **whole) -> None:
    check_source(networks)
    N = points.search_status.shape[0]
    if N != len(networks) or points.xstar.shape[1] != networks.S:
        raise UsageError(
            f"points must be those of these networks: they are of {N} networks with S = {points.xstar.shape[1]}, "
            f"the stack holds {len(networks)} with S = {networks.S}"
        )
    check_sizes(**whole)
