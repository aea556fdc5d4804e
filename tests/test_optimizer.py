"""Hyperparameters and state of the optimizer; the update itself is in test_engine.py."""

import numpy as np
import pytest
from samples import random_networks

from fastrnn.errors import Status, UsageError
from fastrnn.optimizer import METHODS, Optimizer, check_hyperparameter

GOOD = {"learning_rate": 0.1, "decay": 0.5, "momentum": 0.9, "clip": 1.0, "l2": 1e-5, "noise": 0.1}


@pytest.fixture
def networks():
    return random_networks("leaky", "tanh", 4, 2, 1, N=3)


@pytest.fixture(params=METHODS)
def optimizer(networks, request):
    """Every number of every network different."""
    rates = {name: value * np.array([1.0, 0.5, 0.25]) for name, value in GOOD.items()}
    optimizer = Optimizer.start(networks, **rates, iterations=[0, 5, 7], method=request.param)
    for array in (optimizer.velocity, optimizer.squares):
        array[:] = np.arange(array.size).reshape(array.shape)
    optimizer.iteration[:] = [0, 2, 7]
    return optimizer


def same(one, other):
    ours, theirs = one.to_arrays(), other.to_arrays()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_start(networks):
    optimizer = Optimizer.start(networks, **GOOD, iterations=[0, 5, 7])
    assert len(optimizer) == 3
    for name, value in GOOD.items():
        array = getattr(optimizer, name)
        assert (array.dtype, array.tolist()) == (np.float64, [value] * 3)
    assert (optimizer.decay_steps.dtype, optimizer.decay_steps.tolist()) == (np.int64, [0, 5, 7])
    assert (optimizer.velocity.dtype, optimizer.velocity.shape) == (np.float32, (3, networks.count))
    assert not optimizer.velocity.any()
    assert (optimizer.squares.dtype, optimizer.squares.shape, optimizer.method) == (np.float32, (3, 0), "sgd")
    assert (optimizer.iteration.dtype, optimizer.iteration.tolist()) == (np.int64, [0, 0, 0])
    assert optimizer.status.dtype == np.int8
    assert optimizer.status.tolist() == [Status.UNTRAINED, Status.TRAINING, Status.TRAINING]


def test_adam_has_room_for_squares(networks):
    optimizer = Optimizer.start(networks, **GOOD, iterations=1, method="adam")
    assert (optimizer.squares.dtype, optimizer.squares.shape) == (np.float32, (3, networks.count))
    assert not optimizer.squares.any()
    assert optimizer.method == "adam"
    with pytest.raises(UsageError, match=r"unknown method 'adma' \(did you mean 'adam'\?\); allowed are sgd, adam"):
        Optimizer.start(networks, **GOOD, iterations=1, method="adma")
    with pytest.raises(UsageError, match="momentum must be below 1 with adam"):
        Optimizer.start(networks, **(GOOD | {"momentum": [0.9, 1.0, 0.9]}), iterations=1, method="adam")


def test_start_shares_no_memory_with_what_was_given(networks):
    rate = np.full(3, 0.1)
    Optimizer.start(networks, **(GOOD | {"learning_rate": rate}), iterations=1).learning_rate[0] = 5.0
    assert rate[0] == 0.1


@pytest.mark.parametrize("index", [0, 2, -1, -2, slice(0, 2), slice(None, None, 2), np.array([2, 0])])
def test_indexing_picks_the_networks_that_networks_picks(networks, optimizer, index):
    part, expected = optimizer[index], np.atleast_1d(np.arange(3)[index])
    assert len(part) == len(networks[index]) == len(expected)
    np.testing.assert_array_equal(part.velocity, optimizer.velocity[expected])
    np.testing.assert_array_equal(part.squares, optimizer.squares[expected])
    assert part.method == optimizer.method
    np.testing.assert_array_equal(part.decay_steps, optimizer.decay_steps[expected])
    np.testing.assert_array_equal(networks[index].parameters, networks.parameters[expected])


@pytest.mark.parametrize("index", [3, -4])
def test_indexing_beyond_the_stack_is_an_error(networks, optimizer, index):
    with pytest.raises(IndexError, match="of 3"):
        networks[index]
    with pytest.raises(IndexError, match="of 3"):
        optimizer[index]


def test_concatenate_and_arrays_are_inverses(optimizer):
    assert same(Optimizer.concatenate([optimizer[0], optimizer[1:]]), optimizer)
    assert same(Optimizer.from_arrays(optimizer.to_arrays()), optimizer)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 0.0, "learning_rate must be greater than 0; got 0.0"),
        ("learning_rate", np.inf, "learning_rate must be finite and greater than 0; got inf"),
        ("decay", 0.0, "decay must be greater than 0 and at most 1; got 0.0"),
        ("decay", 1.5, "decay must be greater than 0 and at most 1; got 1.5"),
        ("momentum", -0.1, "momentum must be from 0 to 1; got -0.1"),
        ("momentum", 1.1, "momentum must be from 0 to 1; got 1.1"),
        ("clip", -1.0, "clip must be greater than 0"),
        ("clip", np.nan, "clip must be greater than 0 .inf for no clipping.; got nan"),
        ("l2", -1e-5, "l2 must be 0 or greater; got -1e-05"),
        ("l2", np.inf, "l2 must be finite and 0 or greater; got inf"),
        ("noise", -0.1, "noise must be 0 or greater; got -0.1"),
        ("noise", np.inf, "noise must be finite and 0 or greater; got inf"),
        ("momentum", [0.5, 2.0, 0.5], "momentum must be from 0 to 1; got .*2.0"),
    ],
)
def test_values_out_of_range_are_refused(networks, name, value, message):
    with pytest.raises(UsageError, match=message):
        check_hyperparameter(name, value)
    with pytest.raises(UsageError, match=message):
        Optimizer.start(networks, **(GOOD | {name: value}), iterations=1)


@pytest.mark.parametrize("good", [("clip", np.inf), ("decay", 1.0), ("momentum", 0.0), ("momentum", 1.0), ("l2", 0)])
def test_values_at_the_edge_are_allowed(good):
    assert check_hyperparameter(*good) == good[1]


def test_noise_is_for_leaky_cells():
    others = random_networks("vanilla", "tanh", 4, 2, 1, N=3)
    with pytest.raises(UsageError, match="noise is for leaky cells; these are vanilla: leave it at 0"):
        Optimizer.start(others, **GOOD, iterations=1)
    assert not Optimizer.start(others, **(GOOD | {"noise": 0.0}), iterations=1).noise.any()


def test_what_was_stored_before_there_was_noise_or_adam(optimizer):
    arrays = {name: array for name, array in optimizer.to_arrays().items() if name not in ("noise", "squares")}
    again = Optimizer.from_arrays(arrays)
    assert again.noise.tolist() == [0.0] * 3
    assert (again.method, again.squares.shape) == ("sgd", (3, 0))


def test_negative_iterations_are_refused(networks):
    with pytest.raises(UsageError, match="iterations must be 0 or more; got -1"):
        Optimizer.start(networks, **GOOD, iterations=[3, -1, 2])
