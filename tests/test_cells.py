"""The cells' NumPy mathematics: updates and Jacobians, against the oracle and central differences."""

import numpy as np
import oracle
import pytest
import tolerances
from samples import KINDS, relative_error

from fastrnn.cells import ACTIVATIONS, CELLS, ArrayMath, check_kind, get_cell, parameter_shapes
from fastrnn.errors import UsageError

D, K = 3, 2


def draw(cell, n, leading=(), seed=0):
    """Parameters of one network, states (..., S) and inputs (..., D), float64."""
    rng = np.random.default_rng(seed)
    shapes = oracle.parameter_shapes(cell, n, D, K)
    p = {name: rng.normal(size=shape) / np.sqrt(n) for name, shape in shapes.items()}
    return p, rng.normal(size=(*leading, *shapes["h0"])), rng.normal(size=(*leading, D))


def test_names_are_those_of_the_oracle():
    assert tuple(CELLS) == oracle.CELLS
    assert ACTIVATIONS == oracle.ACTIVATIONS
    assert {name: cell.blocks for name, cell in CELLS.items()} == oracle.BLOCKS


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_parameter_shapes(cell):
    shapes = parameter_shapes(cell, 5, 3, 2)
    assert shapes == oracle.parameter_shapes(cell, 5, 3, 2)
    assert tuple(shapes) == oracle.NAMES
    assert get_cell(cell).gates == len(oracle.BLOCKS[cell])
    assert get_cell(cell).state_size(5) == oracle.state_size(cell, 5) == get_cell(cell).state_multiple * 5


@pytest.mark.parametrize("gate_bias", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_step_and_jacobian_against_oracle(cell, activation, n, gate_bias):
    p, h, x = draw(cell, n, leading=(2, 3))
    step = CELLS[cell].step(p, activation, gate_bias, h, x)
    J_state, J_input = CELLS[cell].jacobian(p, activation, gate_bias, h, x)
    S = oracle.state_size(cell, n)
    assert step.shape == (2, 3, S)
    assert (J_state.shape, J_input.shape) == ((2, 3, S, S), (2, 3, S, D))
    for at in np.ndindex(2, 3):
        expected = oracle.step(cell, activation, gate_bias, p, h[at], x[at])
        by_state, by_input = oracle.jacobian(cell, activation, gate_bias, p, h[at], x[at])
        np.testing.assert_allclose(step[at], expected, rtol=tolerances.EXACT_FORMULA, atol=1e-14)
        np.testing.assert_allclose(J_state[at], by_state, rtol=tolerances.EXACT_FORMULA, atol=1e-14)
        np.testing.assert_allclose(J_input[at], by_input, rtol=tolerances.EXACT_FORMULA, atol=1e-14)


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_jacobian_against_central_differences(cell, activation):
    p, h, x = draw(cell, 5, seed=1)

    def step(bump_state, bump_input):
        return CELLS[cell].step(p, activation, 1.0, h + bump_state, x + bump_input)

    e = 1e-6
    state, inputs = e * np.eye(h.size), e * np.eye(x.size)  # one row, one bumped variable
    J_state, J_input = CELLS[cell].jacobian(p, activation, 1.0, h, x)
    by_state = (step(state, 0) - step(-state, 0)).T / (2 * e)
    by_input = (step(0, inputs) - step(0, -inputs)).T / (2 * e)
    assert relative_error(J_state, by_state) < tolerances.CENTRAL_DIFFERENCE
    assert relative_error(J_input, by_input) < tolerances.CENTRAL_DIFFERENCE


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_leading_axes_broadcast(cell, activation):
    """Many states under one input, as in a fixed-point search."""
    p, h, x = draw(cell, 5, leading=(4,))
    step = CELLS[cell].step(p, activation, 1.0, h, x[0])
    J_state, J_input = CELLS[cell].jacobian(p, activation, 1.0, h, x[0])
    for b in range(4):
        single = CELLS[cell].step(p, activation, 1.0, h[b], x[0])
        np.testing.assert_allclose(step[b], single, rtol=tolerances.EXACT_FORMULA, atol=1e-14)
        alone = CELLS[cell].jacobian(p, activation, 1.0, h[b], x[0])
        np.testing.assert_allclose(J_state[b], alone[0], rtol=tolerances.EXACT_FORMULA, atol=1e-14)
        np.testing.assert_allclose(J_input[b], alone[1], rtol=tolerances.EXACT_FORMULA, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_dtype_is_kept(cell, activation, dtype):
    p, h, x = draw(cell, 5)
    p = {name: value.astype(dtype) for name, value in p.items()}
    arguments = (p, activation, 1.0, h.astype(dtype), x.astype(dtype))
    assert CELLS[cell].step(*arguments).dtype == dtype
    assert [J.dtype for J in CELLS[cell].jacobian(*arguments)] == [dtype, dtype]


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_gate_bias_and_activation_change_the_update(cell):
    p, h, x = draw(cell, 5)
    plain = CELLS[cell].step(p, "tanh", 0.0, h, x)
    assert np.array_equal(CELLS[cell].step(p, "tanh", 1.0, h, x), plain) == (cell == "vanilla")
    assert not np.array_equal(CELLS[cell].step(p, "relu", 0.0, h, x), plain)


def test_relu_has_slope_zero_at_its_kink():
    m = ArrayMath("relu")
    np.testing.assert_array_equal(m.phi_slope(m.phi(np.array([-1.0, 0.0, 1.0]))), [0.0, 0.0, 1.0])


def test_sigmoid_neither_overflows_nor_loses_its_tail():
    s = ArrayMath("tanh").sigmoid(np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0]))
    np.testing.assert_allclose(s, [0.0, np.exp(-40.0), 0.5, 1.0, 1.0], rtol=1e-15)


def test_non_finite_states_stay_visible():
    for activation in ACTIVATIONS:
        assert np.isnan(ArrayMath(activation).phi(np.array(np.nan)))
    assert np.isnan(ArrayMath("tanh").sigmoid(np.array(np.nan)))


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown cell 'elman'; allowed are vanilla, ugrnn, gru, lstm"):
        get_cell("elman")
    with pytest.raises(UsageError, match=r"unknown activation 'gelu' \(did you mean 'relu'\?\); allowed are tanh, rel"):
        check_kind("gru", "gelu")
    with pytest.raises(UsageError, match="unknown cell 'elman'"):
        check_kind("elman", "tanh")
