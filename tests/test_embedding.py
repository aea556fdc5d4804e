"""Embedding of distances: perfect where it can be, stress as in the textbook, the same at every call."""

import numpy as np
import pytest
import similarity_oracle as oracle

from fastrnn.analysis.embedding import classical_scaling, embed, stress
from fastrnn.errors import UsageError


def distances_of(points):
    return np.linalg.norm(points[:, None] - points, axis=2)


def cloud(N=20, dimensions=2, seed=0):
    return np.random.default_rng(seed).normal(size=(N, dimensions))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_points_of_the_plane_come_back(scale):
    distances = distances_of(cloud()) * scale
    made = embed(distances)
    assert made.stress < 1e-6 and made.classical_stress < 1e-6 and made.converged
    np.testing.assert_allclose(distances_of(made.points), distances, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(made.points.mean(axis=0), 0, atol=1e-9 * scale)
    variance = made.points.T @ made.points
    assert abs(variance[0, 1]) < 1e-9 * variance[0, 0] and variance[0, 0] > variance[1, 1]


def test_stress_is_kruskals_and_falls_from_the_start():
    distances = distances_of(cloud(dimensions=6))
    made = embed(distances)
    assert abs(made.stress - oracle.stress(distances, made.points)) < 1e-12
    assert abs(made.classical_stress - oracle.stress(distances, classical_scaling(distances, 2))) < 1e-12
    assert 0.05 < made.stress < made.classical_stress


def test_more_dimensions_leave_less_stress():
    distances = distances_of(cloud(dimensions=6))
    assert embed(distances, 6).stress < 1e-3 < embed(distances, 4).stress < embed(distances, 2).stress


def test_the_same_at_every_call_and_in_any_order():
    distances = distances_of(cloud(dimensions=4))
    first = embed(distances)
    np.testing.assert_array_equal(embed(distances, seed=5).points, first.points)  # no luck in the classical start
    order = np.random.default_rng(1).permutation(20)
    shuffled = embed(distances[np.ix_(order, order)])
    np.testing.assert_allclose(shuffled.points, first.points[order], atol=1e-6)


def test_every_option_changes_something():
    distances = distances_of(cloud(dimensions=6))
    first = embed(distances)
    random = embed(distances, start="random")
    assert not np.allclose(random.points, first.points)
    assert not np.allclose(embed(distances, start="random", seed=1).points, random.points)
    np.testing.assert_array_equal(embed(distances, start="random").points, random.points)
    short = embed(distances, iterations=3)
    assert short.iterations == 3 and not short.converged and short.stress > first.stress
    assert embed(distances, tolerance=1e-2).iterations < first.iterations


def test_distances_on_a_line_leave_the_line_where_that_is_better():
    distances = np.ones((4, 4)) - np.eye(4)
    distances[0, 1] = distances[1, 0] = 2.0  # not Euclidean
    made = embed(distances)
    assert np.all(np.isfinite(made.points))
    line = embed(distances_of(np.arange(5.0)[:, None]))
    assert line.stress < 1e-2 and np.abs(line.points[:, 1]).max() < 0.1


@pytest.mark.parametrize("N", [1, 2, 3])
def test_few_networks(N):
    made = embed(np.ones((N, N)) - np.eye(N), dimensions=2)
    assert made.points.shape == (N, 2) and np.all(np.isfinite(made.points)) and made.stress < 1e-2


def test_identical_networks_share_a_point():
    np.testing.assert_array_equal(embed(np.zeros((4, 4))).points, 0)
    distances = distances_of(cloud()[[0, 1, 2, 2, 3]])
    made = embed(distances)
    np.testing.assert_allclose(made.points[2], made.points[3], atol=1e-9)


def test_points_in_one_place_have_full_stress():
    assert stress(np.ones((3, 3)) - np.eye(3), np.zeros((3, 2))) == 1


@pytest.mark.parametrize(
    ("distances", "options", "match"),
    [
        (np.zeros((2, 3)), {}, r"distances must be square, \(N, N\); they have shape \(2, 3\)"),
        (np.zeros(3), {}, r"distances must have shape \(N, N\)"),
        (np.array([[0, np.nan], [np.nan, 0]]), {}, "distances must be finite"),
        (np.array([[0, 1], [2, 0.0]]), {}, "distances must be symmetric"),
        (np.eye(2), {}, "zero on the diagonal: are these similarities"),
        (np.array([[0, -1], [-1, 0.0]]), {}, "must not be negative"),
        (np.zeros((0, 0)), {}, "distances must be of 1 networks or more"),
        (np.zeros((2, 2)), {"dimensions": 0}, "dimensions must be a positive whole number"),
        (np.zeros((2, 2)), {"iterations": 1.5}, "iterations must be a positive whole number"),
        (np.zeros((2, 2)), {"tolerance": 0}, "tolerance must be a positive number; it is 0"),
        (np.zeros((2, 2)), {"tolerance": "1e-6"}, "tolerance must be a positive number; it is '1e-6'"),
        (np.zeros((2, 2)), {"start": "pca"}, "start must be 'classical' or 'random'"),
    ],
)
def test_what_is_refused(distances, options, match):
    with pytest.raises(UsageError, match=match):
        embed(distances, **options)
