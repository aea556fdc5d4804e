"""Portraits: components as of any other code, points and paths in the same coordinates, kept to the bit."""

import numpy as np
import pandas
import pytest
from samples import random_networks
from sklearn.decomposition import PCA

from fastrnn import engines, find_fixed_points, heteroclinic_paths
from fastrnn.analysis.portrait import PATH_STATES, Portrait, portrait, principal_components, typical
from fastrnn.errors import RunError, UsageError
from fastrnn.networks import Networks


def trials(D, K, B=5, T=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(B, T, D)).astype(np.float32), rng.normal(size=(B, T, K)).astype(np.float32)


def two_wells(N=2):
    """Networks with two stable fixed points and a saddle between."""
    W = np.float32([[1, -1], [-1, 1]])
    arrays = {"W_rec": W, "W_in": np.ones((1, 2)), "b": np.zeros(2), "W_out": np.eye(2), "b_out": np.zeros(2)}
    arrays = {name: np.stack([array] * N) for name, array in (arrays | {"h0": np.zeros(2)}).items()}
    return Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays)


@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_trajectories_are_the_principal_components_of_h(cell):
    networks = random_networks(cell, "tanh", n=6, D=3, K=2, N=3)
    inputs, targets = trials(3, 2)
    made = portrait(networks, 1, "b", inputs, targets)
    states, outputs = engines.get("cpu").run(networks, inputs)
    h = states[1, ..., :6].reshape(-1, 6)
    reference = PCA(3).fit(h)
    np.testing.assert_allclose(made.share, reference.explained_variance_ratio_, rtol=1e-4)
    signs = np.sign((made.axes * reference.components_).sum(axis=1))
    expected = (reference.transform(h) * signs).reshape(5, 7, 3)
    np.testing.assert_allclose(made.trajectories, expected, atol=1e-4)
    np.testing.assert_array_equal(made.outputs, outputs[1])
    assert (made.axes[range(3), np.abs(made.axes).argmax(axis=1)] > 0).all()
    assert (made.id, made.cell, made.n, len(made.points), made.each_path()) == ("b", cell, 6, 0, [])


def test_fewer_units_than_components():
    center, axes, share = principal_components(np.array([[0.0, 0], [2, 2]]))
    np.testing.assert_allclose(center, [1, 1])
    np.testing.assert_allclose(axes, [[0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(share, [1, 0, 0], atol=1e-12)


def test_points_and_paths_are_in_the_same_coordinates(tmp_path):
    networks = two_wells()
    points = find_fixed_points(networks, [0.0])
    paths = heteroclinic_paths(networks, points, network=1)
    inputs, targets = trials(1, 2)
    made = portrait(networks, 1, "wells", inputs, targets, points, paths)
    assert sorted(made.n_unstable) == [0, 0, 1] and made.fixed.all() and len(made.each_path()) == 2
    places = (points.xstar[points.of(1)] - made.center) @ made.axes.T
    np.testing.assert_allclose(made.points, places)
    for source, target, path in made.each_path():
        assert made.n_unstable[source] == 1 and made.n_unstable[target] == 0
        assert np.linalg.norm(path[0] - made.points[source]) < 0.05
        assert np.linalg.norm(path[-1] - made.points[target]) < 0.01
    assert {target for _, target, _ in made.each_path()} == set(np.flatnonzero(made.n_unstable == 0))
    made.save(tmp_path / "wells.safetensors")
    again = Portrait.load(tmp_path / "wells.safetensors")
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(again, name), value, strict=isinstance(value, np.ndarray))


def test_long_paths_are_thinned_evenly():
    networks = two_wells(1)
    points = find_fixed_points(networks, [0.0])
    way = np.outer(np.linspace(0, 1, 5000) ** 3, [1.0, 2.0])
    inputs, targets = trials(1, 2)
    made = portrait(networks, 0, "long", inputs, targets, points, [(1, -1, way)])
    ((source, target, path),) = made.each_path()
    assert (source, target) == (1, -1) and 25 < len(path) <= PATH_STATES
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps.max() < 1.5 * np.sqrt(5) / PATH_STATES
    np.testing.assert_allclose(path[[0, -1]], (way[[0, -1]] - made.center) @ made.axes.T)


def test_what_does_not_fit_is_refused(tmp_path):
    networks, (inputs, targets) = two_wells(), trials(1, 2)
    with pytest.raises(UsageError, match=r"targets must have shape \(B = 5, T = 7, K = 2\)"):
        portrait(networks, 0, "x", inputs, targets[:, :, :1])
    with pytest.raises(UsageError, match="points must be those of these 2 networks"):
        portrait(networks, 0, "x", inputs, targets, find_fixed_points(networks[:1], [0.0]))
    networks.W_rec[0] = 1e30
    networks.activation = "relu"
    with pytest.raises(UsageError, match="states must be finite"):
        portrait(networks, 0, "x", inputs, targets)
    points = find_fixed_points(two_wells(), [0.0])
    points.save(tmp_path / "points.safetensors")
    with pytest.raises(RunError, match="holds no Portrait"):
        Portrait.load(tmp_path / "points.safetensors")


def test_the_typical_network_is_the_median_of_those_that_learnt():
    rows = pandas.DataFrame({"validation_loss": [5.0, 0.3, 0.1, np.nan, 0.2, 0.4]})
    assert typical(rows, rows.validation_loss < 1) == 4
    assert typical(rows, [False] * 6) == 1
    assert typical(rows[3:4], [False]) == 0
