"""What the analyses keep with a run: the same when read again, small, and refused when it is something else."""

import dynamics_oracle as plain
import numpy as np
import pandas
import pytest
from test_fixed_points import linear, planted_flipflop, vanilla

from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.graph_distance import graph_distances
from fastrnn.analysis.line_attractor import LineAttractor, line_attractor, line_attractors
from fastrnn.analysis.linearization import Linearization, linearize
from fastrnn.analysis.transitions import TransitionGraph, transition_graphs
from fastrnn.errors import RunError, UsageError

NETWORKS = vanilla([planted_flipflop(8, 2), 1e-3 * np.eye(8), np.diag([-1.5] + [0.5] * 7)])  # 9, 1 and 1 points


@pytest.fixture(scope="module")
def points():
    return find_fixed_points(NETWORKS, [[0.0], [0.1]])


def same(a, b):
    """Whether two results hold the same, types included."""
    assert vars(a).keys() == vars(b).keys()
    for name, value in vars(a).items():
        again = getattr(b, name)
        np.testing.assert_array_equal(again, value)
        assert np.asarray(again).dtype == np.asarray(value).dtype
        assert isinstance(again, np.ndarray) == isinstance(value, np.ndarray)


def test_transition_graphs(points, tmp_path):
    graphs = transition_graphs(NETWORKS, points, starts=20)
    assert [len(graph) for graph in graphs] == [9, 9, 1, 1, 1, 1]
    assert graphs[4].elsewhere.tolist() == [1.0]  # a cycle of two
    path = tmp_path / "graphs.safetensors"
    TransitionGraph.save_list(path, graphs)
    again = TransitionGraph.load_list(path)
    for graph, other in zip(graphs, again, strict=True):
        same(graph, other)
    np.testing.assert_array_equal(graph_distances(again), graph_distances(graphs))
    assert again[0].graph.edges == graphs[0].graph.edges
    table = pandas.read_csv(path.with_suffix(".csv"))
    np.testing.assert_allclose(table.groupby(["network", "condition", "source"]).probability.sum(), 1)
    assert len(table) == sum((graph.probability > 0).sum() + (graph.elsewhere > 0).sum() for graph in graphs)
    lost = table[table.network == 2]
    assert lost.target.tolist() == lost.target_point.tolist() == [-1, -1]
    mine = table[(table.network == 0) & (table.condition == 1)]
    np.testing.assert_array_equal(mine.source_point, graphs[1].point[mine.source])
    np.testing.assert_array_equal(mine.target_point, graphs[1].point[mine.target])


def test_linearizations_are_small_and_complete_when_read_again(points, tmp_path):
    made = linearize(NETWORKS, points, margin=0.9)
    path = tmp_path / "modes.safetensors"
    made.save(path)
    assert path.stat().st_size < 4000 + 8 * len(made) * (6 * 8 + 10)  # a few times F S numbers, S = 8; none of F S S
    again = Linearization.load(path, NETWORKS)
    same(made, again)
    assert again.marginal.any()
    table = pandas.read_csv(path.with_suffix(".csv"))
    assert table.network.tolist() == points.network.tolist()
    np.testing.assert_allclose(table.largest_eigenvalue, np.abs(points.eigenvalues[:, 0]))
    with pytest.raises(RunError, match="was not made from these networks"):
        Linearization.load(path, NETWORKS[[1, 0, 2]])


def test_line_attractors(tmp_path):
    lines = []
    for A in (np.diag([1.0, 0.5]), np.diag([0.5, 0.5])):  # a line, and a single point
        starts = np.random.default_rng(0).normal(size=(12, 2))
        found = find_fixed_points(linear(A), np.zeros(0), starts, method="slow_points")
        lines.append(line_attractors(found))
        assert len(found) > 1 or not lines[-1]
    assert [len(some) for some in lines] == [1, 0]
    found = find_fixed_points(vanilla([np.eye(2) * 1.5, 0 * np.eye(2), np.eye(2) * 2]), [[0.0], [0.1]])
    lines = line_attractors(found)
    assert [(line.network, line.condition) for line in lines] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    same(line_attractor(found, 2, 1), lines[3])
    path = tmp_path / "lines.safetensors"
    LineAttractor.save_list(path, lines)
    for line, other in zip(lines, LineAttractor.load_list(path), strict=True):
        same(line, other)
    table = pandas.read_csv(path.with_suffix(".csv"))
    assert table.point.tolist() == np.concatenate([line.point for line in lines]).tolist()


def test_lists_without_items_and_of_something_else(points, tmp_path):
    path = tmp_path / "none.safetensors"
    LineAttractor.save_list(path, [])
    assert LineAttractor.load_list(path) == []
    with pytest.raises(UsageError, match="items must be of LineAttractor; one is int"):
        LineAttractor.save_list(path, [3])
    with pytest.raises(RunError, match=r"holds no TransitionGraph list; give a file that TransitionGraph\.save_list"):
        TransitionGraph.load_list(path)


def test_nodes_read_again_are_places_in_the_points_saved(points, tmp_path):
    """Nodes of a graph are places in the points that were saved with it."""
    graphs = transition_graphs(NETWORKS, points, starts=5)
    TransitionGraph.save_list(tmp_path / "graphs.safetensors", graphs)
    points.save(tmp_path / "points.safetensors")
    table = pandas.read_csv(tmp_path / "points.csv")
    p = {name: array[0].astype(float) for name, array in NETWORKS.arrays.items()}
    step, _ = plain.network("vanilla", "tanh", 1.0, p, np.zeros(1))
    graph = TransitionGraph.load_list(tmp_path / "graphs.safetensors")[0]
    assert table.n_unstable[graph.point].tolist() == graph.n_unstable.tolist()
    for h in points.xstar[graph.point]:
        np.testing.assert_allclose(step(h), h, atol=1e-13)
