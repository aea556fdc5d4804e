"""Linearisations: Jacobians against central differences, modes, and the degenerate cases marked."""

import dynamics_oracle as plain
import numpy as np
import oracle
import pytest
from samples import KINDS, oracle_parameters, random_networks, relative_error

from fastrnn.analysis.eigen import count_unstable, eigenvalues_of, magnitude_order
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.linearization import linearize
from fastrnn.analysis.maps import UpdateFunction
from fastrnn.errors import UsageError


def constant(A):
    """The map h' = A h."""
    A = np.asarray(A, float)
    return UpdateFunction(lambda h, x: h @ A.T, lambda h, x: np.tile(A, (len(h), 1, 1)), S=len(A))


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_jacobians_against_central_differences(cell, activation):
    networks = random_networks(cell, activation, n=6, D=2, K=1, N=2, seed=5)
    rng = np.random.default_rng(0)
    states, inputs = rng.normal(size=(3, networks.S)), rng.normal(size=(3, 2))
    made = linearize(networks, states, inputs, network=[1, 0, 1])
    e = 1e-6
    for f, i in enumerate([1, 0, 1]):
        p = oracle_parameters(networks, i)

        def step(h, x, p=p):
            return oracle.step(cell, activation, networks.gate_bias, p, h, x)

        h, x = states[f], inputs[f]
        by_state = np.stack([step(h + d, x) - step(h - d, x) for d in e * np.eye(len(h))], axis=1) / (2 * e)
        by_input = np.stack([step(h, x + d) - step(h, x - d) for d in e * np.eye(2)], axis=1) / (2 * e)
        assert relative_error(made.jacobian[f], by_state) < 1e-7
        assert relative_error(made.input_jacobian[f], by_input) < 1e-7


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_modes_diagonalise(cell, activation):
    networks = random_networks(cell, activation, n=6, D=2, K=1, N=1)
    made = linearize(networks, np.random.default_rng(1).normal(size=(4, networks.S)), [0.1, 0.2])
    identity = np.broadcast_to(np.eye(networks.S), made.jacobian.shape)
    assert not made.defective.any()
    np.testing.assert_allclose(made.left @ made.right, identity, atol=1e-8)
    again = made.right * made.eigenvalues[:, None, :] @ made.left
    np.testing.assert_allclose(again, made.jacobian, atol=1e-8)
    assert (np.diff(np.abs(made.eigenvalues)) <= 1e-9).all()
    np.testing.assert_allclose(np.linalg.norm(made.right, axis=1), 1)


PLANTED = [
    (np.diag([1.5, 0.5]), 1, [0, 0], False),  # saddle
    (0.8 * plain.turn(0.7), 0, [0.7 / (2 * np.pi)] * 2, False),  # spiral in
    (1.1 * plain.turn(2.0), 2, [2.0 / (2 * np.pi)] * 2, False),  # spiral out
    (plain.turn(0.7), None, [0.7 / (2 * np.pi)] * 2, True),  # centre
    (np.diag([1.0, 0.5]), None, [0, 0], True),  # line attractor
    (np.diag([-1.2, 0.5]), 1, [0.5, 0], False),  # flips
]


@pytest.mark.parametrize(("core", "unstable", "frequencies", "marginal"), PLANTED)
def test_planted_modes_in_a_skew_basis(core, unstable, frequencies, marginal):
    A = plain.similar(core, 6, seed=1)
    made = linearize(constant(A), np.zeros((1, 6)), np.zeros(0))
    if unstable is not None:
        assert made.n_unstable.tolist() == [unstable]
    np.testing.assert_allclose(made.frequencies[0, :2], frequencies, atol=1e-9)
    magnitude = np.sort(np.abs(np.linalg.eigvals(core)))[::-1]
    with np.errstate(divide="ignore"):
        expected = -1 / np.log(magnitude)
    if not marginal:
        np.testing.assert_allclose(made.time_constants[0, :2], expected, rtol=1e-9)
    assert made.marginal.tolist() == [marginal]


def test_a_mode_that_stays_takes_for_ever():
    made = linearize(constant(np.diag([2.0, 1.0, -1.0, 0.5, 0.0])), np.zeros((1, 5)), np.zeros(0))
    np.testing.assert_allclose(made.time_constants[0], [-1 / np.log(2), np.inf, np.inf, 1 / np.log(2), 0])


def test_a_defective_jacobian_is_marked():
    made = linearize(constant([[0.5, 1.0], [0.0, 0.5]]), np.zeros((1, 2)), np.zeros(0))
    assert made.defective.tolist() == [True]
    assert made.conditioning[0] > 1e10


def test_a_jacobian_that_is_not_finite_spoils_no_other():
    broken = UpdateFunction(
        lambda h, x: h / 2,
        lambda h, x: np.stack([np.eye(2) / 2 if a[0] < 1 else np.full((2, 2), np.nan) for a in h]),
        S=2,
    )
    made = linearize(broken, np.array([[0.0, 0], [2, 0], [0.5, 0]]), np.zeros(0))
    assert made.eigenvalues[[0, 2]].tolist() == [[0.5, 0.5]] * 2
    assert np.isnan(made.left[1]).all()
    assert made.defective.tolist() == [False, True, False]
    assert made.n_unstable.tolist() == [0, 0, 0]
    alone = linearize(broken, np.array([[2.0, 0]]), np.zeros(0))
    assert np.isnan(alone.eigenvalues).all()


def test_margin_decides_what_is_marginal():
    A = np.diag([1.001, 0.5])
    for margin, marginal in ((1e-6, False), (1e-2, True)):
        assert linearize(constant(A), np.zeros((1, 2)), np.zeros(0), margin=margin).marginal.tolist() == [marginal]


def test_at_fixed_points_of_several_networks_and_inputs():
    networks = random_networks("ugrnn", "tanh", n=5, D=2, K=1, N=3)
    points = find_fixed_points(networks, [[0.0, 0.0], [1.0, -1.0]])
    made = linearize(networks, points)
    np.testing.assert_allclose(np.abs(made.eigenvalues), np.abs(points.eigenvalues), atol=1e-9)
    np.testing.assert_array_equal(made.n_unstable, points.n_unstable)
    some = linearize(networks, points, at=points.network == 1, threads=1)
    assert (some.network == 1).all()
    np.testing.assert_array_equal(some.jacobian, made.jacobian[points.network == 1])
    (one,) = linearize(networks, points, at=len(points) - 1).states
    np.testing.assert_array_equal(one, points.xstar[-1])


def test_an_input_jacobian_that_was_not_given_is_nan():
    map = UpdateFunction(lambda h, x: h + x, lambda h, x: np.tile(np.eye(2), (len(h), 1, 1)), S=2, D=2)
    assert np.isnan(linearize(map, np.zeros((1, 2)), np.zeros(2)).input_jacobian).all()


def test_order_of_eigenvalues():
    values = np.array([[0.5, -1j, 0.9, 1j, -0.5]])
    order = magnitude_order(values)
    assert values[0, order[0]].tolist() == [1j, -1j, 0.9, 0.5, -0.5]
    twice = np.array([[0.9 + 0.1j, 0.9 - 0.1j, 0.5, 0.9 + 0.1j, 0.9 - 0.1j, 0.5]])
    order = magnitude_order(twice)
    assert twice[0, order[0]].tolist() == [0.9 + 0.1j, 0.9 - 0.1j] * 2 + [0.5] * 2
    assert np.sort(order[0]).tolist() == list(range(6))
    nearly = np.array([[0.9 + 0.1j, 0.9 - 0.1j, 0.9 + (0.1 + 1e-15) * 1j, 0.9 - (0.1 + 1e-15) * 1j]])
    assert magnitude_order(nearly).tolist() == [[2, 3, 0, 1]]
    assert count_unstable(np.array([[1.0, 1.1, -1.1, 1j]])).tolist() == [2]
    found = eigenvalues_of(np.stack([np.diag([1.0, 2.0]), np.full((2, 2), np.nan)]))
    assert found[0].tolist() == [2, 1]
    assert np.isnan(found[1]).all()


NETWORKS = random_networks("vanilla", "tanh", n=3, D=1, K=1, N=2)
FOUND = find_fixed_points(NETWORKS, [0.0])
WRONG = [
    (dict(points=np.zeros((1, 4))), r"points must have shape \(F, S = 3\)"),
    (dict(points=np.full((1, 3), np.nan)), "points must be finite"),
    (dict(inputs=np.zeros((2, 1))), r"inputs must have shape \(F = 1, D = 1\)"),
    (dict(inputs=None), "states need inputs"),
    (dict(at=[0]), "no `at`"),
    (dict(network=2), "network must be from 0 to 1; it is 2 to 2"),
    (dict(points=FOUND), "fixed points hold their own inputs"),
    (dict(points=FOUND, inputs=None, at=[9999]), r"at must be indices from 0 to \d+, or a mask .* it is \[9999\]"),
    (dict(points=FOUND, inputs=None, at=[-1]), "at must be indices from 0"),
    (dict(points=FOUND, inputs=None, at=[1.5]), r"at must be indices .* it is \[1\.5\]"),
    (dict(points=FOUND, inputs=None, at="x"), r"at must be indices .* it is \['x'\]"),
    (dict(points=FOUND, inputs=None, at=[True]), "at must be indices .* or a mask of all"),
    (dict(points="x"), "points must be an array of real numbers"),
    (
        dict(networks=random_networks("vanilla", "tanh", n=3, D=1, K=1, N=2, seed=3), points=FOUND, inputs=None),
        r"points must be those of these networks: network 0 moves by .* at point \d.*give the stack that was searched",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_mistakes_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        linearize(**({"networks": NETWORKS, "points": np.zeros((1, 3)), "inputs": [0.0]} | change))
