"""The oracle's own tests: derivatives against complex steps and differences, Philox against known answers."""

import numpy as np
import oracle
import pytest

KINDS = [(cell, activation) for cell in oracle.CELLS for activation in oracle.ACTIVATIONS]
B, T, n, D, K = 3, 4, 5, 3, 2


def draw(cell, seed, **sizes):
    """Parameters with no zeros among them, inputs, cotangents of the outputs, and a mask with some zeros."""
    rng = np.random.default_rng(seed)
    shapes = oracle.parameter_shapes(cell, n, D, K)
    p = {name: rng.normal(size=shape) / np.sqrt(n) for name, shape in shapes.items()}
    mask = rng.uniform(size=(B, T)) * (rng.uniform(size=(B, T)) < 0.7)
    return p, rng.normal(size=(B, T, D)), rng.normal(size=(B, T, K)), mask


def complex_step(function, array):
    """Gradient of a real scalar function of one array, entry by entry."""
    e, gradient = 1e-30, np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        bumped = array.astype(complex)
        bumped[index] += 1j * e
        gradient[index] = function(bumped).imag / e
    return gradient


def central_difference(function, array, e=1e-6):
    """The same by central differences: no assumption on how the function treats complex numbers."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        ends = []
        for sign in (1, -1):
            bumped = array.copy()
            bumped[index] += sign * e
            ends.append(function(bumped))
        gradient[index] = (ends[0] - ends[1]) / (2 * e)
    return gradient


@pytest.mark.parametrize("gate_bias", [0.0, 1.0])
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_gradients_against_complex_step(cell, activation, gate_bias):
    p, inputs, targets, mask = draw(cell, 1)
    kind = (cell, activation, gate_bias)
    for m in (None, mask):
        value, dp, dinputs = oracle.loss_and_gradients(*kind, p, inputs, targets, m)
        assert value == oracle.loss(*kind, p, inputs, targets, m)
        for name in p:
            expected = complex_step(lambda a, q=name, w=m: oracle.loss(*kind, p | {q: a}, inputs, targets, w), p[name])
            np.testing.assert_allclose(dp[name], expected, rtol=1e-11, atol=1e-14)
        expected = complex_step(lambda a, w=m: oracle.loss(*kind, p, a, targets, w), inputs)
        np.testing.assert_allclose(dinputs, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_pull_back_against_central_differences(cell, activation):
    p, inputs, doutputs, _ = draw(cell, 2)
    dp, dinputs = oracle.pull_back(cell, activation, 1.0, p, inputs, doutputs)

    def projected(q, x):
        return float((doutputs * oracle.run(cell, activation, 1.0, q, x)[1]).sum())

    for name in p:
        expected = central_difference(lambda a, q=name: projected(p | {q: a}, inputs), p[name])
        np.testing.assert_allclose(dp[name], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dinputs, central_difference(lambda a: projected(p, a), inputs), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_jacobian_is_the_transpose_of_the_backward_step(cell, activation):
    p, inputs, _, _ = draw(cell, 3)
    h, x = np.random.default_rng(4).normal(size=oracle.state_size(cell, n)), inputs[0, 0]
    J_state, J_input = oracle.jacobian(cell, activation, 1.0, p, h, x)
    for u in range(h.size):
        unused = {name: np.zeros(value.shape) for name, value in p.items()}
        dh, dx = oracle.step_backward(cell, activation, 1.0, p, h, x, np.eye(h.size)[u], unused)
        np.testing.assert_allclose(dh, J_state[u], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(dx, J_input[u], rtol=1e-12, atol=1e-15)


def test_a_mask_of_ones_is_no_mask_and_its_scale_does_not_matter():
    p, inputs, targets, mask = draw("gru", 5)
    kind = ("gru", "tanh", 1.0)
    assert oracle.loss(*kind, p, inputs, targets) == oracle.loss(*kind, p, inputs, targets, np.ones((B, T)))
    np.testing.assert_allclose(
        oracle.loss(*kind, p, inputs, targets, 3 * mask),
        oracle.loss(*kind, p, inputs, targets, mask),
        rtol=1e-14,
    )


def test_update_clips_after_the_penalty_and_decays_over_the_plan():
    p, velocity = {"a": np.array([3.0, 0.0])}, {"a": np.array([0.0, 1.0])}
    settings = {"learning_rate": 0.5, "decay": 0.25, "decay_steps": 10, "momentum": 0.5, "l2": 0.5}
    # gradient (0, 4) + 2 * 0.5 * (3, 0) = (3, 4), norm 5; at iteration 5 of 10 the rate is 0.5 sqrt(0.25)
    q, v = oracle.update(p, velocity, {"a": np.array([0.0, 4.0])}, 5, clip=1.0, **settings)
    np.testing.assert_allclose(v["a"], [0.6, 1.3], rtol=1e-15)
    np.testing.assert_allclose(q["a"], [3.0 - 0.15, -0.325], rtol=1e-15)
    q, v = oracle.update(p, velocity, {"a": np.array([0.0, 4.0])}, 5, clip=10.0, **settings)
    np.testing.assert_allclose(v["a"], [3.0, 4.5], rtol=1e-15)


def test_adams_first_step_is_the_rate_and_later_ones_follow_the_means():
    p, zero = {"a": np.array([3.0, -1.0, 2.0])}, {"a": np.zeros(3)}
    settings = {"learning_rate": 0.5, "decay": 0.25, "decay_steps": 2, "momentum": 0.5, "clip": np.inf, "l2": 0.0}
    gradient = {"a": np.array([4.0, -1e-3, 0.0])}
    q, v, s = oracle.adam_update(p, zero, zero, gradient, 0, **settings)
    np.testing.assert_allclose(q["a"], [2.5, -0.5, 2.0], rtol=1e-4)  # 1e-8 beside 1e-3
    np.testing.assert_allclose(v["a"], [2.0, -5e-4, 0.0], rtol=1e-15)
    np.testing.assert_allclose(s["a"], [0.016, 1e-9, 0.0], rtol=1e-13)
    # then a gradient of 0: means 1 / (1 - 1/4) and 0.999 * 0.016 / (1 - 0.999^2), rate 0.5 sqrt(0.25)
    r, v, s = oracle.adam_update(q, v, s, {"a": np.zeros(3)}, 1, **settings)
    np.testing.assert_allclose(v["a"][0], 1.0, rtol=1e-15)
    expected = 2.5 - 0.25 * (1.0 / 0.75) / np.sqrt(0.015984 / 0.001999)
    np.testing.assert_allclose(r["a"][0], expected, rtol=1e-8)


# Known answers of the authors' own library, Random123 (kat_vectors, philox4x32 10)
PHILOX = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), PHILOX)
def test_philox_known_answers(counter, key, words):
    assert oracle.philox4x32(counter, key) == words
