"""Transition graphs of planted maps, their order, and distances between graphs."""

import dataclasses

import dynamics_oracle as plain
import numpy as np
import pytest
from test_fixed_points import linear, planted_flipflop, vanilla

from fastrnn.analysis import transitions
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.graph_distance import METHODS, graph_distances, slots, triangle_violations
from fastrnn.analysis.maps import UpdateFunction, maps_of
from fastrnn.analysis.settling import ELSEWHERE, LOOK_EVERY, settle
from fastrnn.analysis.transitions import (
    TransitionGraph,
    heteroclinic_paths,
    node_order,
    transition_graph,
    transition_graphs,
    unstable_directions,
)
from fastrnn.errors import UsageError


def square():
    """A network with four stable corners, four edges' saddles and a centre, read out as two bits."""
    networks = vanilla([planted_flipflop(8, 2)])
    signs = np.sign(planted_flipflop(8, 2)[[0, 4]]).T / 4 / 0.957504
    networks.W_out[0, :, :2] = signs
    networks.W_out[0, :, 2:] = 0
    return networks


@pytest.fixture(scope="module")
def found():
    networks = square()
    return networks, find_fixed_points(networks, [0.0])


def test_edges_lead_from_saddles_to_their_two_sides(found):
    networks, points = found
    graph = transition_graph(networks, points)
    assert len(graph) == 9
    np.testing.assert_array_equal(slots(graph.readout)[:, :2], [[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)])
    assert graph.n_unstable.tolist() == [0, 1, 0, 1, 2, 1, 0, 1, 0]
    corners = [0, 2, 6, 8]
    np.testing.assert_array_equal(graph.probability[corners], np.eye(9)[corners])
    for saddle, sides in ((1, (0, 2)), (3, (0, 6)), (5, (2, 8)), (7, (6, 8))):
        assert set(np.flatnonzero(graph.probability[saddle])) == set(sides)
    assert set(np.flatnonzero(graph.probability[4])) == set(corners)
    np.testing.assert_allclose(graph.probability.sum(axis=1), 1)
    assert not graph.elsewhere.any()


def test_the_same_as_one_start_at_a_time(found):
    networks, points = found
    graph = transition_graph(networks, points, starts=7, seed=3)
    p = {name: array[0].astype(float) for name, array in networks.arrays.items()}
    step, _ = plain.network("vanilla", "tanh", 1.0, p, np.zeros(1))
    nodes = node_order(points, 0, 0)
    sources = np.flatnonzero(points.n_unstable[nodes] > 0)
    rng = np.random.default_rng([3, int(networks.keys[0]), 0])
    push = rng.normal(size=(len(sources), 7, 8))
    for source, pushes in zip(sources, push, strict=True):
        counts = np.zeros(9)
        for direction in pushes:
            h = points.xstar[nodes[source]] + 1e-2 * points.spread[0] * direction / np.linalg.norm(direction)
            for _ in range(1000):
                h = step(h)
            counts[np.linalg.norm(points.xstar[nodes] - h, axis=1).argmin()] += 1
        np.testing.assert_array_equal(graph.probability[source], counts / 7)


def test_graph_for_networkx(found):
    networks, points = found
    graph = transition_graph(networks, points).graph
    assert graph.number_of_nodes() == 9
    assert sorted(graph.successors(1)) == [0, 2]
    assert graph.nodes[0]["stable"] is True
    assert graph.nodes[4]["n_unstable"] == 2
    assert sum(graph[4][b]["probability"] for b in graph.successors(4)) == pytest.approx(1)


def ring(radius=1.0):
    """A map with an unstable origin and an attracting circle around it; no stable point."""
    turn = plain.turn(0.5)

    def step(h, x):
        r2 = (h**2).sum(axis=1, keepdims=True)
        return (h * (1 + 0.2 * (radius**2 - r2))) @ turn.T

    def jacobian(h, x):
        r2 = (h**2).sum(axis=1)[:, None, None]
        inner = (1 + 0.2 * (radius**2 - r2)) * np.eye(2) - 0.4 * h[:, :, None] * h[:, None, :]
        return turn @ inner

    return UpdateFunction(step, jacobian, S=2)


def test_what_never_settles_leads_elsewhere():
    starts = np.random.default_rng(0).normal(size=(20, 2))
    points = find_fixed_points(ring(), np.zeros(0), starts, spread=1.0)
    graph = transition_graph(ring(), points, steps=200)
    assert graph.elsewhere.tolist() == [1.0]
    assert graph.graph.has_edge(0, "elsewhere")


def test_what_comes_to_rest_elsewhere_is_not_waited_for():
    """Where a gate closes states creep for ever; what leaves a saddle slowly is not taken for that."""
    taken = []

    def creep(h, x):
        taken.append(len(h))
        return h + 1e-9 * np.sign(h)

    still = UpdateFunction(creep, lambda h, x: np.tile(np.eye(1), (len(h), 1, 1)), S=1)
    target, _ = settle(maps_of(still)(0, np.zeros(0)), np.array([[5.0], [-5.0]]), np.zeros((1, 1)), 1e-3, 1000)
    assert target.tolist() == [ELSEWHERE] * 2 and len(taken) <= 0.2 * 1000 + LOOK_EVERY

    def leave(h, x):
        return np.where(np.abs(h) < 1, 1.005 * h, np.sign(h))

    saddle = UpdateFunction(leave, lambda h, x: np.tile(np.eye(1), (len(h), 1, 1)), S=1)
    starts = np.array([[1e-4], [-1e-3], [1e-8]])
    target, steps = settle(maps_of(saddle)(0, np.zeros(0)), starts, np.array([[1.0], [-1.0]]), 1e-3, 10_000)
    assert target.tolist() == [0, 1, 0] and steps[2] > 3_000


def test_outliers_are_no_nodes(found):
    networks, points = found
    usual = transition_graph(networks, points)
    far = np.isin(np.arange(len(points)), usual.point[[0, 4]])  # a corner and the centre
    marked = dataclasses.replace(points, outlier=far)
    assert marked.near(0).tolist() == np.setdiff1d(points.fixed(0), usual.point[[0, 4]]).tolist()
    graph = transition_graph(networks, marked)
    assert graph.point.tolist() == usual.point[[1, 2, 3, 5, 6, 7, 8]].tolist()
    assert graph.elsewhere[[0, 2]].tolist() == pytest.approx(usual.probability[[1, 3], 0], abs=0.2)  # to that corner
    assert not graph.elsewhere[[1, 3, 4, 5, 6]].any()
    assert {int(usual.point[0]), int(usual.point[4])}.isdisjoint(
        place for source, target, _ in heteroclinic_paths(networks, marked) for place in (source, target)
    )
    none = dataclasses.replace(points, outlier=np.ones_like(far))
    assert len(transition_graph(networks, none)) == len(heteroclinic_paths(networks, none)) == 0


def test_divergence_leads_elsewhere():
    explode = linear(np.diag([3.0, 0.5]))
    points = find_fixed_points(explode, np.zeros(0), np.ones((2, 2)))
    assert transition_graph(explode, points).elsewhere.tolist() == [1.0]


def test_every_setting_changes_something(found):
    networks, points = found
    usual = transition_graph(networks, points).probability
    assert not np.array_equal(transition_graph(networks, points, seed=1).probability, usual)
    assert not np.array_equal(transition_graph(networks, points, starts=10).probability, usual)
    assert transition_graph(networks, points, steps=2).elsewhere.any()
    near, far = (transition_graph(networks, points, steps=10, radius=radius).elsewhere for radius in (1e-5, 0.5))
    assert near.sum() > far.sum()
    wide = transition_graph(networks, points, steps=2, settled=10.0)  # near something from the start
    assert not wide.elsewhere.any()


def test_graphs_of_a_stack_are_those_of_its_networks():
    networks = vanilla([plain.rolled(2), planted_flipflop(2, 1), plain.rolled(2)])
    points = find_fixed_points(networks, [[0.0], [0.1]])
    graphs = transition_graphs(networks, points, starts=20)
    assert [(g.network, g.condition) for g in graphs] == [(i, c) for i in range(3) for c in range(2)]
    alone = transition_graph(networks, points, 2, 1, starts=20)
    np.testing.assert_array_equal(graphs[-1].probability, alone.probability)


@pytest.mark.parametrize("threads", [1, 3])
def test_runs_of_one_graph_are_shared_without_a_trace(found, threads, monkeypatch):
    networks, points = found
    usual = transition_graph(networks, points)
    monkeypatch.setattr(transitions, "NUMBERS", 70 * networks.S)  # pieces end within the runs of a point
    pieces = []
    monkeypatch.setattr(transitions, "settle", lambda *given: pieces.append(len(given[1])) or settle(*given))
    shared = transition_graphs(networks, points, threads=threads)[0]
    assert sorted(pieces) == [10, 70, 70, 70, 70, 70, 70, 70]  # of five unstable points, 100 each
    for name in ("point", "probability", "elsewhere", "readout", "n_unstable"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(usual, name))


def test_order_withstands_noise_in_the_readout(found):
    _, points = found
    order = node_order(points, 0, 0)
    noisy = dataclasses.replace(points, readout=points.readout + np.random.default_rng(0).uniform(-0.05, 0.05, (9, 8)))
    np.testing.assert_array_equal(node_order(noisy, 0, 0), order)


def test_paths_lead_where_the_graph_says(found):
    networks, points = found
    paths = heteroclinic_paths(networks, points)
    assert len(paths) == 2 * (4 * 1 + 2)
    graph = transition_graph(networks, points)
    index = {int(p): a for a, p in enumerate(graph.point)}
    for source, target, path in paths:
        away = np.linalg.norm(path[0] - points.xstar[source]) / points.spread[0]
        assert away == pytest.approx(1e-2)
        assert np.linalg.norm(path[-1] - points.xstar[target]) <= 1e-3 * points.spread[0]
        if points.n_unstable[source] == 1:
            assert points.n_unstable[target] == 0
            assert graph.probability[index[source], index[target]] > 0
    starts = np.random.default_rng(0).normal(size=(5, 2))
    paths = heteroclinic_paths(ring(), find_fixed_points(ring(), np.zeros(0), starts), steps=50)
    assert [(source, target, len(path)) for source, target, path in paths] == [(0, -1, 51)] * 4


def test_unstable_directions_span_the_plane_of_a_pair():
    J = plain.similar(1.1 * plain.turn(1.0), 5, seed=2)
    directions = unstable_directions(J)
    assert directions.shape == (2, 5)
    image = directions @ J.T
    assert np.linalg.matrix_rank(np.concatenate([directions, image]), tol=1e-9) == 2


# --- distances ---


def graph(readout, probability, elsewhere=None):
    readout, probability = np.asarray(readout, float), np.asarray(probability, float)
    P = len(readout)
    elsewhere = 1 - probability.sum(axis=1) if elsewhere is None else elsewhere
    return TransitionGraph(0, 0, np.arange(P), probability, elsewhere, readout, np.zeros(P, int))


THREE = graph([[-1.1], [0.1], [0.9]], [[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]])
TILTED = graph([[-1.0], [0.0], [1.1]], [[1, 0, 0], [0.8, 0, 0.2], [0, 0, 1]])
TWO = graph([[-1.0], [1.0]], np.eye(2))


def random_graph(rng, P):
    probability = rng.dirichlet(np.ones(P + 1), size=P)[:, :P]
    return graph(rng.choice([-1.0, 0.0, 1.0], size=(P, 2)) + rng.uniform(-0.2, 0.2, (P, 2)), probability)


def distance_of(a, b, method):
    return graph_distances([a, b], method)[0, 1]


def test_ordered_distance_is_the_papers():
    assert distance_of(THREE, TILTED, "ordered") == pytest.approx(np.sqrt(2) * 0.3)
    assert np.isnan(distance_of(THREE, TWO, "ordered"))


def test_slots_agree_with_the_papers_where_they_are_unique_and_the_same():
    assert distance_of(THREE, TILTED, "slots") == pytest.approx(distance_of(THREE, TILTED, "ordered"))
    assert distance_of(THREE, TWO, "slots") == pytest.approx(np.sqrt(0.5))


def test_several_nodes_in_a_slot_count_as_one():
    double = graph([[-1.0], [-0.9], [1.0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert distance_of(double, TWO, "slots") == pytest.approx(0)
    assert distance_of(double, TWO, "matching") == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_distance_to_itself_is_zero_and_symmetric(method):
    rng = np.random.default_rng(0)
    graphs = [random_graph(rng, 6) for _ in range(5)]
    away = graph_distances(graphs, method)
    np.testing.assert_allclose(np.diag(away), 0)
    np.testing.assert_array_equal(away, away.T)
    assert (away[np.triu_indices(5, 1)] > 0).all()


def test_slots_keep_the_triangle_inequality_and_the_others_are_measured():
    rng = np.random.default_rng(1)
    graphs = [random_graph(rng, P) for P in rng.integers(2, 8, size=20)]
    assert triangle_violations(graph_distances(graphs, "slots")) == (0.0, 0.0)
    share, worst = triangle_violations(graph_distances(graphs, "matching"))
    assert 0 <= share < 1
    assert worst >= 0
    assert triangle_violations(np.zeros((2, 2))) == (0.0, 0.0)


def test_matching_does_not_see_the_order_of_nodes():
    rng = np.random.default_rng(2)
    a = random_graph(rng, 6)
    a.readout[:] = rng.normal(size=a.readout.shape)
    p = rng.permutation(6)
    b = graph(a.readout[p], a.probability[np.ix_(p, p)], a.elsewhere[p])
    assert distance_of(a, b, "matching") == pytest.approx(0)
    assert distance_of(a, b, "ordered") > 0.1


def test_what_leads_elsewhere_counts():
    lost = graph(THREE.readout, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])
    for method in METHODS:
        assert distance_of(THREE, lost, method) == pytest.approx(np.sqrt(0.25 + 0.25 + 1))


def test_mistakes_are_refused(found):
    networks, points = found
    other = networks.copy()
    other.W_rec[:] *= 0.9
    for call in (transition_graph, heteroclinic_paths, transition_graphs):
        with pytest.raises(UsageError, match=r"points must be those of these networks: network 0 moves by"):
            call(other, points)
    with pytest.raises(UsageError, match="unknown method 'edit'; allowed are ordered, slots, matching"):
        distance_of(THREE, TWO, "edit")
    for graphs in (None, THREE, [THREE, "x"]):
        with pytest.raises(UsageError, match="graphs must be a list of TransitionGraphs; it is"):
            graph_distances(graphs)
    assert graph_distances([], "slots").shape == graph_distances([], "ordered").shape == (0, 0)
    with pytest.raises(UsageError, match="the same number of outputs"):
        distance_of(THREE, random_graph(np.random.default_rng(0), 3), "slots")
    with pytest.raises(UsageError, match="starts must be a positive whole number"):
        transition_graph(networks, points, starts=0)
    for name in ("radius", "settled"):
        for function in (transition_graph, heteroclinic_paths):
            with pytest.raises(UsageError, match=f"{name} must be a positive number; it is 0"):
                function(networks, points, **{name: 0.0})
    with pytest.raises(UsageError, match="points must be those of these networks: they are of 1 networks"):
        transition_graphs(vanilla([plain.rolled(2)] * 2), points)
