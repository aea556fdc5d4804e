"""The CPU engine's numbers against the oracle: losses, gradients, rollouts, updates; and what it refuses."""

import os
import signal
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import oracle
import pytest
import tolerances
from samples import KINDS, check_noise_in_training, oracle_parameters, random_networks, random_trials, relative_error

from fastrnn import engines
from fastrnn.cells import LEAKY_CELLS
from fastrnn.counters import PROBE, TRAINING, VALIDATION
from fastrnn.engines.cpu.engine import Workspaces
from fastrnn.engines.cpu.layout import CACHED_WORKSPACE, last_tile, make_layout
from fastrnn.engines.cpu.loop import run_network
from fastrnn.errors import Status, UsageError
from fastrnn.networks import Networks
from fastrnn.optimizer import METHODS, Optimizer
from fastrnn.tasks import Task, get_task

# N, B, T, n, D, K: ones; odd numbers below and beyond a vector; trials that fill no tile, or several;
# more steps than one block of the weight gradient; more units than one block of the product's depth
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 2, 5, 3, 5),
    (1, 17, 3, 17, 1, 3),
    (2, 5, 19, 33, 7, 2),
    (1, 40, 9, 16, 4, 4),
    (1, 2, 2, 300, 3, 1),
]


@pytest.fixture(scope="module")
def engine():
    return engines.get("cpu", threads=2)


def oracle_kind(networks):
    return networks.cell, networks.activation, networks.gate_bias


# --- losses and gradients ---


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_gradients_against_oracle(engine, cell, activation, shape, masked):
    N, B, T, n, D, K = shape
    networks = random_networks(cell, activation, n, D, K, N, seed=n, gate_bias=0.75)
    inputs, targets, mask = random_trials(networks, B, T, seed=B, masked=masked)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
    assert (losses.dtype, losses.shape) == (np.float64, (N,))
    assert {name: g.shape for name, g in gradients.items()} == {name: p.shape for name, p in networks.arrays.items()}
    for i in range(N):
        weights = None if mask is None else mask[i].astype(np.float64)
        value, expected, _ = oracle.loss_and_gradients(
            *oracle_kind(networks), oracle_parameters(networks, i), inputs[i], targets[i], weights
        )
        assert relative_error(losses[i], value) < tolerances.LOSS
        for name, gradient in gradients.items():
            assert relative_error(gradient[i], expected[name]) < tolerances.GRADIENT, name


@pytest.mark.parametrize(
    ("cell", "activation", "n", "T", "B", "rows", "tiles"),
    [("lstm", "tanh", 32, 400, 20, 8, 3), ("gru", "relu", 48, 350, 20, 8, 3), ("gru", "tanh", 48, 600, 22, 4, 6)],
)
def test_long_trials_in_small_tiles_against_oracle(engine, cell, activation, n, T, B, rows, tiles):
    """Two tiles of 8 trials and one of 4, or six of 4, one of them half empty."""
    networks = random_networks(cell, activation, n, 2, 1, 2, seed=n)
    layout = make_layout(cell, n, 2, 1, T, B)
    assert (layout.rows, layout.tiles) == (rows, tiles)
    assert 4 * layout.work_size < CACHED_WORKSPACE
    inputs, targets, _ = random_trials(networks, B, T, seed=B)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets)
    for i in range(2):
        value, expected, _ = oracle.loss_and_gradients(
            *oracle_kind(networks), oracle_parameters(networks, i), inputs[i], targets[i], None
        )
        assert relative_error(losses[i], value) < tolerances.LOSS
        for name, gradient in gradients.items():
            assert relative_error(gradient[i], expected[name]) < tolerances.GRADIENT, name


def test_tiles_are_small_where_that_keeps_them_in_the_cache():
    """Not where 16 trials fit anyway, and not where the weights, which small tiles read twice as often, don't."""
    shapes = [("lstm", 64, 100), ("lstm", 128, 100), ("lstm", 64, 500), ("lstm", 64, 9000), ("lstm", 256, 500)]
    rows = [make_layout(cell, n, 3, 3, T, 64).rows for cell, n, T in shapes]
    assert rows == [16, 8, 4, 4, 16]
    assert make_layout("lstm", 64, 3, 3, 500, 64).tiles == 16


def test_a_tile_is_no_larger_than_the_batch_needs():
    assert [make_layout("gru", 64, 3, 3, 100, B).rows for B in (1, 4, 5, 8, 9, 16, 17)] == [4, 4, 8, 8, 16, 16, 16]


@pytest.mark.parametrize(("B", "rows"), [(16, 16), (64, 16), (100, 4), (50, 4), (23, 8), (10, 12), (30, 16)])
def test_the_last_tile_has_the_rows_that_are_left(B, rows):
    assert last_tile(make_layout("gru", 64, 3, 3, 100, B)).rows == rows


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_gradients_are_those_of_the_loss(engine, cell):
    """No oracle: along a random direction, against a difference of the engine's losses (relu has kinks)."""
    networks = random_networks(cell, "tanh", 24, 3, 2, N=1, seed=3)
    inputs, targets, _ = random_trials(networks, 16, 12, seed=4)
    _, gradients = engine.loss_and_gradients(networks, inputs, targets)
    direction = np.random.default_rng(5).normal(size=networks.parameters.shape).astype(np.float32)
    slope = sum(
        float((g * d).sum()) for g, d in zip(gradients.values(), networks.named(direction).values(), strict=True)
    )
    ends = []
    for sign in (1, -1):
        moved = networks.copy()
        moved.parameters += np.float32(sign * 1e-3) * direction
        ends.append(engine.loss_and_gradients(moved, inputs, targets)[0][0])
    assert abs((ends[0] - ends[1]) / 2e-3 - slope) < 1e-2 * abs(slope)


def test_a_mask_counts_steps_and_its_scale_does_not_matter(engine):
    networks = random_networks("gru", "tanh", 9, 2, 2, N=2)
    inputs, targets, mask = random_trials(networks, 5, 6, masked=True)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
    scaled = engine.loss_and_gradients(networks, inputs, targets, 4 * mask)
    ones = engine.loss_and_gradients(networks, inputs, targets, np.ones_like(mask))
    none = engine.loss_and_gradients(networks, inputs, targets)
    np.testing.assert_array_equal(ones[0], none[0])
    assert not np.array_equal(losses, none[0])
    np.testing.assert_allclose(scaled[0], losses, rtol=1e-6)
    for name, gradient in gradients.items():
        assert relative_error(scaled[1][name], gradient) < 1e-6
    # what stands at a step that does not count is of no consequence
    hidden = np.where(mask[..., None] == 0, np.float32(1e30), targets)
    again = engine.loss_and_gradients(networks, inputs, hidden, mask)
    np.testing.assert_array_equal(again[0], losses)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(again[1][name], gradient)


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_padding_of_trials_never_leaks(engine, cell):
    """Weights under which a trial of zeros, without bias, overflows while every real trial stays small."""
    n, B, T = 5, 3, 300
    shapes = oracle.parameter_shapes(cell, n, 2, 1)
    arrays = {name: np.zeros((1, *shape)) for name, shape in shapes.items()}
    block = oracle.BLOCKS[cell].index("h" if cell == "vanilla" else "c")
    candidate = slice(block * n, (block + 1) * n)
    arrays["W_rec"][0, :, candidate] = 30 * np.eye(n)
    arrays["b"][0, candidate] = -10.0
    arrays["h0"][:] = 0.1
    arrays["W_out"][:] = 1.0
    networks = Networks.from_arrays(cell=cell, activation="relu", gate_bias=1.0, arrays=arrays)
    inputs, targets, _ = random_trials(networks, B, T)
    value, expected, _ = oracle.loss_and_gradients(
        *oracle_kind(networks), oracle_parameters(networks, 0), inputs[0], targets[0]
    )
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets)
    assert relative_error(losses[0], value) < tolerances.LOSS
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient[0], expected[name], rtol=tolerances.GRADIENT, atol=1e-7)


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_gate_bias_changes_the_loss_of_gated_cells(engine, cell):
    arrays = random_networks(cell, "tanh", 5, 2, 1, N=1).arrays
    both = [Networks.from_arrays(cell=cell, activation="tanh", gate_bias=k, arrays=arrays) for k in (0.0, 1.0)]
    inputs, targets, _ = random_trials(both[0], 4, 5)
    losses = [engine.loss_and_gradients(networks, inputs, targets)[0][0] for networks in both]
    assert (losses[0] == losses[1]) == (cell == "vanilla")


def test_arrays_of_other_types_and_orders_are_taken(engine):
    networks = random_networks("ugrnn", "tanh", 5, 2, 1, N=2)
    inputs, targets, mask = random_trials(networks, 4, 5, masked=True)
    plain = engine.loss_and_gradients(networks, inputs, targets, mask)
    others = [np.asfortranarray(a.astype(np.float64)) for a in (inputs, targets, mask)]
    again = engine.loss_and_gradients(networks, *others)
    frozen = [a.copy() for a in (inputs, targets, mask)]
    for array in frozen:
        array.flags.writeable = False
    for value, gradients in (again, engine.loss_and_gradients(networks, *frozen)):
        np.testing.assert_array_equal(value, plain[0])
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, plain[1][name])


def test_a_kind_is_compiled_once(engine):
    """Whatever arrays come: read-only, common to all networks, of another type, trained or rolled out."""
    networks, task = random_networks("ugrnn", "relu", 5, 3, 3, N=2), get_task("flipflop", steps=4)
    inputs, targets, mask = random_trials(networks, 4, 5, masked=True)
    engine.warm_up("ugrnn", "relu")
    before = len(run_network.signatures)
    for array in (inputs, targets, mask):
        array.flags.writeable = False
    engine.loss_and_gradients(networks, inputs, targets, mask)
    engine.loss_and_gradients(networks[:1], inputs[:1].astype(np.float64), targets[:1])
    engine.run(networks, inputs[0])
    engine.run(networks, np.broadcast_to(inputs[:, :1], inputs.shape))
    engine.loss(networks, task, trials=4)
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=3)
    engine.advance(networks, optimizer, task, 1, batch=4)
    engine.advance(networks[np.array([1])], optimizer[np.array([1])], task, 1, batch=4)
    engine.advance(networks, optimizer, Task("still", 3, 3, 4, batch=still), 1, batch=4)
    assert len(run_network.signatures) == before


def still(rng, settings, trials):
    """A batch of nothing."""
    return np.zeros((trials, 4, 3)), np.zeros((trials, 4, 3))


def test_networks_are_left_as_they_were(engine):
    networks = random_networks("lstm", "tanh", 5, 1, 1, N=2)
    before, task = networks.parameters.copy(), get_task("sine", steps=7)
    engine.loss_and_gradients(networks, *random_trials(networks, 3, 4)[:2])
    engine.loss(networks, task, trials=3)
    engine.run(networks, random_trials(networks, 3, 4)[0])
    np.testing.assert_array_equal(networks.parameters, before)


# --- rollouts, steps, Jacobians ---


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2], SHAPES[3]], ids=str)
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_run_against_oracle(engine, cell, activation, shape):
    N, B, T, n, D, K = shape
    networks = random_networks(cell, activation, n, D, K, N, gate_bias=0.0)
    inputs = random_trials(networks, B, T)[0]
    states, outputs = engine.run(networks, inputs)
    assert states.shape == (N, B, T, networks.S)
    assert states.dtype == outputs.dtype == np.float32
    for i in range(N):
        expected = oracle.run(*oracle_kind(networks), oracle_parameters(networks, i), inputs[i])
        assert relative_error(states[i], expected[0]) < tolerances.STATES
        assert relative_error(outputs[i], expected[1]) < tolerances.STATES


def test_run_takes_inputs_common_to_all_networks(engine):
    networks = random_networks("gru", "relu", 6, 2, 1, N=3)
    inputs = random_trials(networks, 4, 5)[0][0]
    states, outputs = engine.run(networks, inputs)
    each = engine.run(networks, np.stack([inputs] * 3))
    np.testing.assert_array_equal(states, each[0])
    np.testing.assert_array_equal(outputs, each[1])


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_step_and_jacobian_against_oracle(engine, cell, activation):
    networks = random_networks(cell, activation, 5, 3, 1, N=2, gate_bias=0.5)
    rng = np.random.default_rng(1)
    states, inputs = rng.normal(size=(2, 4, networks.S)), rng.normal(size=(2, 4, 3))
    steps = engine.step(networks, states, inputs)
    by_state, by_input = engine.jacobian(networks, states, inputs)
    assert steps.dtype == by_state.dtype == by_input.dtype == np.float64
    for i in range(2):
        for j in range(4):
            arguments = (*oracle_kind(networks), oracle_parameters(networks, i), states[i, j], inputs[i, j])
            np.testing.assert_allclose(steps[i, j], oracle.step(*arguments), rtol=tolerances.EXACT_FORMULA)
            J_state, J_input = oracle.jacobian(*arguments)
            np.testing.assert_allclose(by_state[i, j], J_state, rtol=1e-11, atol=1e-14)
            np.testing.assert_allclose(by_input[i, j], J_input, rtol=1e-11, atol=1e-14)
    np.testing.assert_array_equal(engine.step(networks, states, inputs[0])[0], steps[0])


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_a_rollout_is_made_of_steps(engine, cell, activation):
    networks = random_networks(cell, activation, 7, 2, 1, N=1)
    inputs = random_trials(networks, 3, 4)[0]
    states, _ = engine.run(networks, inputs)
    h = np.broadcast_to(networks.h0[:, None], (1, 3, networks.S)).astype(np.float64)
    for t in range(4):
        h = engine.step(networks, h, inputs[:, :, t])
        assert relative_error(states[:, :, t], h) < tolerances.STATES


# --- validation losses ---


@pytest.mark.parametrize("name", ["flipflop", "cdi"])
def test_loss_is_that_of_the_tasks_trials(engine, name):
    task = get_task(name, steps=9)
    networks = random_networks("vanilla", "tanh", 6, task.D, task.K, N=3)
    for purpose in (VALIDATION, PROBE):
        losses = engine.loss(networks, task, trials=19, purpose=purpose)
        assert (losses.dtype, losses.shape) == (np.float64, (3,))
        inputs, targets, mask = task.draw(networks.keys, purpose, 0, 19)
        for i in range(3):
            p = oracle_parameters(networks, i)
            expected = oracle.loss(*oracle_kind(networks), p, inputs[i], targets[i], mask[i])
            assert relative_error(losses[i], expected) < tolerances.LOSS
    assert engine.loss(networks, task)[0] == engine.loss(networks, task, trials=512, purpose=VALIDATION)[0]
    assert engine.loss(networks, task, trials=19)[0] != engine.loss(networks, task, trials=20)[0]


# --- training ---

# all different, so that a value taken from another network shows; clip from never to always at work
RATES = {
    "learning_rate": np.array([0.05, 0.02, 0.1]),
    "decay": np.array([0.5, 1.0, 0.1]),
    "momentum": np.array([0.0, 0.9, 0.5]),
    "clip": np.array([0.05, np.inf, 1.0]),
    "l2": np.array([1e-2, 0.0, 1e-1]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_training_follows_the_oracle(engine, cell, activation, method):
    """Weights, velocities, mean squares and losses after several iterations, each network its own hyperparameters."""
    task = get_task("cdi", steps=6)
    networks = random_networks(cell, activation, 7, task.D, task.K, N=3, seed=8)
    networks.keys[:] = [5, 6, 2**64 - 1]
    start, planned, done = networks.copy(), np.array([6, 10, 6]), 6
    optimizer = Optimizer.start(networks, **RATES, iterations=planned, method=method)
    losses = engine.advance(networks, optimizer, task, done, batch=5)
    assert (losses.dtype, losses.shape) == (np.float32, (3, done))
    assert optimizer.iteration.tolist() == [6, 6, 6]
    assert optimizer.status.tolist() == [Status.TRAINED, Status.TRAINING, Status.TRAINED]
    for i in range(3):

        def trials(iteration, key=networks.keys[i]):
            return tuple(a[0].astype(np.float64) for a in task.draw([key], TRAINING, iteration, 5))

        settings = {name: float(values[i]) for name, values in RATES.items()}
        given = (oracle_parameters(start, i), trials, done, int(planned[i]))
        p, velocity, squares, expected = oracle.train(*oracle_kind(networks), *given, method=method, **settings)
        assert relative_error(losses[i], expected) < tolerances.TRAJECTORY
        for name, array in networks.arrays.items():
            moved = np.linalg.norm(p[name] - start.arrays[name][i])
            rounding = done * 2.0**-24 * np.linalg.norm(p[name])  # the weights are float32 between iterations
            error = np.linalg.norm(array[i] - p[name])
            assert error < tolerances.TRAJECTORY * moved + rounding, name
            ours = networks.named(optimizer.velocity)[name][i]
            assert relative_error(ours, velocity[name]) < tolerances.TRAJECTORY, name
            if method == "adam":
                ours = networks.named(optimizer.squares)[name][i]
                assert relative_error(ours, squares[name]) < tolerances.TRAJECTORY, name


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
@pytest.mark.parametrize(("n", "batch"), [(7, 5), (16, 33), (50, 20), (300, 4)])
@pytest.mark.parametrize("cell", LEAKY_CELLS)
def test_noise_in_training_against_the_oracle(engine, cell, activation, n, batch):
    check_noise_in_training(engine, cell, activation, n, batch)


@pytest.mark.parametrize("cell", LEAKY_CELLS)
def test_noise_is_in_training_alone(engine, cell):
    """What training leaves in the threads' workspaces is not taken for noise of what is evaluated next."""
    task, start = get_task("flipflop", steps=5), random_networks(cell, "tanh", 5, 3, 3, N=1)
    before = engine.loss(start, task, 4), engine.run(start, np.ones((4, 5, 3)))[0]
    made, losses = [], []
    for noise in (0.0, 0.1, 0.2):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.1, noise=noise, iterations=2)
        losses.append(engine.advance(networks, optimizer, task, 2, batch=4)[0, 1])
        made.append(networks)
    assert len({networks.parameters.tobytes() for networks in made}) == len(set(losses)) == 3
    after = engine.loss(start, task, 4), engine.run(start, np.ones((4, 5, 3)))[0]
    assert all(map(np.array_equal, before, after))


@pytest.mark.parametrize("name", [*RATES, "decay_steps"])
def test_every_hyperparameter_changes_the_training(engine, name):
    task = get_task("flipflop", steps=5)
    start = random_networks("gru", "tanh", 5, 3, 3, N=1)
    plain = {"learning_rate": 0.1, "decay": 0.5, "momentum": 0.5, "clip": 0.1, "l2": 1e-2, "decay_steps": 10}
    results = []
    for values in (plain, plain | {name: 2 * plain[name] if name == "decay_steps" else 0.9 * plain[name]}):
        networks, values = start.copy(), dict(values)
        optimizer = Optimizer.start(networks, iterations=values.pop("decay_steps"), **values)
        engine.advance(networks, optimizer, task, 3, batch=4)
        results.append(networks.parameters.copy())
    assert not np.array_equal(*results)


def test_batch_and_task_settings_change_the_training(engine):
    start = random_networks("ugrnn", "tanh", 5, 3, 3, N=1)
    tasks = (get_task("flipflop", steps=5), get_task("flipflop", steps=5, pulse_probability=0.5))
    results = set()
    for task, batch in ((tasks[0], 4), (tasks[0], 5), (tasks[1], 4)):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=3)
        engine.advance(networks, optimizer, task, 3, batch=batch)
        results.add(networks.parameters.tobytes())
    assert len(results) == 3


def test_training_lowers_the_loss(engine):
    task = get_task("flipflop", steps=20)
    networks = Networks.initialize("gru", "tanh", 32, 3, 3, keys=[1, 2])
    before = engine.loss(networks, task)
    optimizer = Optimizer.start(networks, learning_rate=0.05, momentum=0.9, clip=1.0, iterations=150)
    engine.advance(networks, optimizer, task, 150, batch=32)
    assert np.all(engine.loss(networks, task) < 0.3 * before)


def test_never_beyond_the_plan(engine):
    task = get_task("cdi", steps=3)
    networks = random_networks("vanilla", "tanh", 4, 4, 1, N=3)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=[0, 2, 5])
    untrained = networks[0].copy()
    losses = engine.advance(networks, optimizer, task, 4, batch=2)
    assert np.isfinite(losses).sum(axis=1).tolist() == [0, 2, 4]
    assert np.isnan(losses[1, 2:]).all()
    assert optimizer.iteration.tolist() == [0, 2, 4]
    assert optimizer.status.tolist() == [Status.UNTRAINED, Status.TRAINED, Status.TRAINING]
    np.testing.assert_array_equal(networks[0].parameters, untrained.parameters)
    after = networks.parameters.copy()
    engine.advance(networks, optimizer, task, 4, batch=2)
    np.testing.assert_array_equal(networks.parameters[:2], after[:2])
    assert optimizer.status.tolist() == [Status.UNTRAINED, Status.TRAINED, Status.TRAINED]
    assert np.isnan(engine.advance(networks, optimizer, task, 4, batch=2)).all()


def test_zero_iterations(engine):
    task = get_task("cdi", steps=3)
    networks = random_networks("vanilla", "tanh", 4, 4, 1, N=2)
    before = networks.parameters.copy()
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=3)
    assert engine.advance(networks, optimizer, task, 0).shape == (2, 0)
    np.testing.assert_array_equal(networks.parameters, before)
    assert optimizer.status.tolist() == [Status.TRAINING] * 2
    assert engine.advance_all([], task, 5) == []


# --- users' own tasks in the training loop ---


def ramp(stream, settings, inputs, targets, mask):
    """Compiled: trials that hang on the stream's key, iteration and trial."""
    level = (stream.key % 7 + stream.iteration + stream.trial) / 10.0
    for t in range(inputs.shape[0]):
        inputs[t, 0] = level
        targets[t, 0] = settings[0] * level * t
        mask[t] = t % 2


@pytest.mark.parametrize("masked", [False, True])
def test_a_compiled_task_and_its_arrays_train_alike(engine, masked):
    """The fast and the slow way of the same trials: same bits."""

    def trial(stream, settings, inputs, targets, mask):
        ramp_compiled(stream, settings, inputs, targets, mask)
        if settings[1] == 0:
            mask[:] = 1

    ramp_compiled = numba.njit(ramp)
    settings = {"slope": 0.5, "masked": int(masked)}
    fast = Task("ramp", D=1, K=1, T=6, trial=trial, settings=settings)
    start = random_networks("vanilla", "tanh", 5, 1, 1, N=3)
    calls = iter([(i, it) for i in range(3) for it in range(4)])

    def batch(rng, settings, trials):
        i, it = next(calls)
        return tuple(array[0] for array in fast.draw(start.keys[i : i + 1], TRAINING, it, trials))

    slow = Task("ramp", D=1, K=1, T=6, batch=batch, settings=settings)
    results = []
    for task in (fast, slow):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.05, iterations=4)
        one = engines.get("cpu", threads=1)  # the order of the calls is then known
        losses = one.advance(networks, optimizer, task, 4, batch=3)
        results.append((networks.parameters.tobytes(), losses.tobytes()))
    assert results[0] == results[1]


def test_an_array_task_trains_and_validates(engine):
    def batch(rng, settings, trials):
        inputs = rng.normal(size=(trials, 5, 2))
        return inputs, inputs.cumsum(axis=1), (rng.uniform(size=(trials, 5)) < 0.8).astype(float)

    task = Task("sums", D=2, K=2, T=5, batch=batch)
    networks = Networks.initialize("gru", "relu", 12, 2, 2, keys=[1, 2, 3])
    before = engine.loss(networks, task, trials=64)
    inputs, targets, mask = task.draw(networks.keys, VALIDATION, 0, 64)
    np.testing.assert_array_equal(before, engine.loss_and_gradients(networks, inputs, targets, mask)[0])
    optimizer = Optimizer.start(networks, learning_rate=0.02, iterations=60)
    engine.advance(networks, optimizer, task, 60, batch=16)
    assert np.all(engine.loss(networks, task, trials=64) < 0.5 * before)


# --- engines, threads, estimates ---


def test_threads_default_to_the_processors_of_this_process():
    assert engines.get("cpu").threads == len(os.sched_getaffinity(0))
    assert engines.get("cpu", threads=3).threads == 3


def test_threads_follow_the_affinity_of_the_process():
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from fastrnn import engines"
    command = [sys.executable, "-c", code + "; print(engines.get('cpu').threads)"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output(command, env=environment, text=True) == "1\n"


def test_threads_where_the_system_knows_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert engines.get("cpu").threads == 5


def test_python_goes_on_while_an_engine_works(engine):
    """Calls release the interpreter's lock: a progress bar moves, Ctrl-C is seen."""
    task = get_task("flipflop", steps=50)
    networks = random_networks("gru", "tanh", 64, 3, 3, N=4)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=1000)
    engine.advance(networks, optimizer, task, 1)
    work = threading.Thread(target=engine.advance, args=(networks, optimizer, task, 40))
    work.start()
    turns = 0
    while work.is_alive():
        time.sleep(1e-3)
        turns += 1
    assert turns > 10


def test_two_callers_of_one_engine_wait_for_each_other():
    """Teams of threads that met halfway would wait for ever."""
    engine, task = engines.get("cpu", threads=3), get_task("flipflop", steps=11)
    start = random_networks("vanilla", "tanh", 9, 3, 3, N=1)
    results = {}

    def caller(name):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.05, iterations=200)
        for _ in range(20):
            engine.advance(networks, optimizer, task, 10, batch=64)
        results[name] = networks.parameters.tobytes()

    callers = [threading.Thread(target=caller, args=(name,), daemon=True) for name in range(2)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(timeout=60)
    assert results[0] == results[1]


def test_a_thread_without_memory_fails_the_call(monkeypatch):
    """Its team does not wait for it, and the engine works again afterwards."""
    engine, task = engines.get("cpu", threads=3), get_task("flipflop", steps=11)
    networks = random_networks("vanilla", "tanh", 9, 3, 3, N=1)
    expected = engine.loss(networks, task, trials=64)
    take, caller = Workspaces.take, threading.current_thread()

    def failing(self, name, size):
        if name == "work" and threading.current_thread() is not caller:
            raise MemoryError("no room")
        return take(self, name, size)

    with monkeypatch.context() as patch:
        patch.setattr(Workspaces, "take", failing)
        with pytest.raises(MemoryError, match="no room"):
            engine.loss(networks, task, trials=64)
    np.testing.assert_array_equal(engine.loss(networks, task, trials=64), expected)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_no_thread_goes_on_after_an_error(kind):
    """Those that work on other networks end what they are at, and begin nothing."""
    calls, main = [], threading.main_thread().ident

    def batch(rng, settings, trials):
        calls.append(1)
        if len(calls) == 5 and kind is ValueError:
            raise ValueError("a fault in the task")
        if len(calls) == 5:
            signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.02)
        return np.ones((trials, 4, 1)), np.ones((trials, 4, 1))

    engine, task = engines.get("cpu", threads=2), Task("own", D=1, K=1, T=4, batch=batch)
    engine.warm_up("vanilla", "tanh")
    networks = random_networks("vanilla", "tanh", 5, 1, 1, N=20)
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=9)
    with pytest.raises(kind, match=r"a fault in the task|^$"):
        engine.advance(networks, optimizer, task, 3, batch=3)
    before, drawn = networks.parameters.copy(), len(calls)
    assert drawn < 30
    time.sleep(0.2)
    assert len(calls) == drawn
    np.testing.assert_array_equal(networks.parameters, before)
    engine.advance(networks, optimizer, task, 3, batch=3)
    assert optimizer.status.tolist() == [Status.TRAINING] * 20


def test_a_team_that_is_interrupted_leaves_its_network_as_it_was():
    """And stops within an iteration, so that the engine is free."""
    engine, task = engines.get("cpu", threads=3), get_task("flipflop", steps=11)
    networks = random_networks("vanilla", "tanh", 9, 3, 3, N=1)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=500_000)
    untouched, fresh = networks.copy(), optimizer[np.array([0])]
    engine.advance(untouched.copy(), optimizer[np.array([0])], task, 1, batch=64)
    interrupt = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        engine.advance(networks, optimizer, task, 100_000, batch=64)
    before = networks.parameters.copy(), optimizer.velocity.copy(), optimizer.iteration.tolist()
    np.testing.assert_array_equal(before[0], untouched.parameters)
    np.testing.assert_array_equal(before[1], fresh.velocity)
    assert before[2] == [0]
    losses = engine.advance(networks, optimizer, task, 2, batch=64)
    np.testing.assert_array_equal(engine.advance(untouched, fresh, task, 2, batch=64), losses)
    np.testing.assert_array_equal(networks.parameters, untouched.parameters)


def test_auto_says_what_it_took(capsys):
    assert engines.get("auto", threads=1).name in ("cpu", "cuda")
    assert "device auto: " in capsys.readouterr().err
    engines.get("cpu", threads=1)
    assert capsys.readouterr() == ("", "")


def test_description_names_the_processor_and_the_threads():
    one, two = (engines.get("cpu", threads=t) for t in (1, 2))
    assert "lanes" in one.description
    assert "1 thread" in one.description
    assert "2 threads" in two.description


def test_estimated_time_grows_with_the_work(engine):
    task, longer = get_task("flipflop"), get_task("flipflop", steps=200)
    base = engine.seconds_per_iteration("gru", "tanh", 64, task, 64)
    assert 0 < base < 10
    assert engine.seconds_per_iteration("gru", "tanh", 128, task, 64) > base
    assert engine.seconds_per_iteration("lstm", "tanh", 64, task, 64) > base
    assert engine.seconds_per_iteration("gru", "tanh", 64, task, 128) > base
    assert engine.seconds_per_iteration("gru", "tanh", 64, longer, 64) > base
    leaky, noisy = (engine.seconds_per_iteration("leaky", "tanh", 64, task, 64, noisy) for noisy in (False, True))
    assert leaky < noisy < 2 * leaky < 2 * base


def test_estimated_memory_holds_the_states(engine):
    """At least what must be kept for the way back: states of a tile of trials, gradients of all parameters."""
    networks, task = random_networks("gru", "tanh", 64, 3, 3, N=1), get_task("flipflop")
    held = engine.workspace_bytes(networks.cell, networks.n, task, 64)
    rows = make_layout("gru", 64, 3, 3, task.T, 64).rows
    assert 4 * (rows * task.T * 64 + networks.count) < held < 1e8

    def bytes_of(steps):
        return engine.workspace_bytes("gru", 64, get_task("flipflop", steps=steps), 64)

    assert held < bytes_of(150) > bytes_of(200)  # tiles of 16 trials to 8
    assert bytes_of(200) < bytes_of(300)


# --- errors ---


def arguments(**changes):
    """A good call of `loss_and_gradients` with some arguments replaced."""
    networks = random_networks("gru", "tanh", 5, 2, 1, N=2)
    inputs, targets, mask = random_trials(networks, 3, 4, masked=True)
    return {"networks": networks, "inputs": inputs, "targets": targets, "mask": mask} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": np.zeros((2, 3, 4))},
            r"inputs must have shape \(N = 2, B, T, D = 2\); it has shape \(2, 3, 4\)",
        ),
        ({"inputs": np.zeros((1, 3, 4, 2))}, r"inputs must have shape \(N = 2, B, T, D = 2\)"),
        ({"inputs": np.zeros((2, 3, 4, 3))}, r"inputs must have shape \(N = 2, B, T, D = 2\)"),
        ({"inputs": np.zeros((2, 0, 4, 2))}, "inputs must hold at least one trial and one step"),
        ({"inputs": np.full((2, 3, 4, 2), np.nan)}, r"inputs must be finite; inputs\[0, 0, 0, 0\] is nan"),
        ({"targets": np.zeros((2, 3, 4, 2))}, r"targets must have shape \(N = 2, B = 3, T = 4, K = 1\)"),
        ({"targets": np.full((2, 3, 4, 1), np.inf)}, "targets must be finite"),
        ({"mask": np.ones((2, 3))}, r"mask must have shape \(N = 2, B = 3, T = 4\); it has shape \(2, 3\)"),
        ({"mask": np.full((2, 3, 4), np.nan)}, "mask must be finite"),
        ({"targets": np.full((2, 3, 4, 1), 1e300)}, "targets must be finite"),
        ({"inputs": np.ones((2, 3, 4, 2), complex)}, "inputs must be an array of real numbers; it holds complex128"),
    ],
)
def test_bad_arrays_are_refused(engine, changes, message):
    with pytest.raises(UsageError, match=message):
        engine.loss_and_gradients(**arguments(**changes))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: engines.get("gpu"), "unknown device 'gpu'; allowed are auto, cpu, cuda"),
        (lambda: engines.get("auto", precision="half"), "unknown precision 'half'; allowed are float32, bf16x3"),
        (lambda: engines.get("cpu", threads=0), "threads must be a positive whole number; it is 0"),
        (lambda: engines.get("cpu", threads=1.5), "threads must be a positive whole number; it is 1.5"),
    ],
)
def test_bad_devices_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_bad_calls_are_refused(engine):
    task, other = get_task("cdi", steps=3), get_task("flipflop")
    networks = random_networks("vanilla", "tanh", 4, 4, 1, N=2)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=3)
    for call in (lambda: engine.loss(networks, other), lambda: engine.advance(networks, optimizer, other, 1)):
        with pytest.raises(UsageError, match="task 'flipflop' has 3 inputs and 3 outputs; the networks have 4 and 1"):
            call()
    for bad in (-1, 1.5):
        with pytest.raises(UsageError, match=f"iterations must be a whole number, 0 or more; it is {bad}"):
            engine.advance(networks, optimizer, task, bad)
    for bad in (0, 2.5):
        with pytest.raises(UsageError, match=f"batch must be a positive whole number; it is {bad}"):
            engine.advance(networks, optimizer, task, 1, batch=bad)
        with pytest.raises(UsageError, match=f"trials must be a positive whole number; it is {bad}"):
            engine.loss(networks, task, trials=bad)
    with pytest.raises(UsageError, match=r"optimizer .* 3 networks"):
        engine.advance(networks, Optimizer.concatenate([optimizer, optimizer[:1]]), task, 1)
    wide = random_networks("vanilla", "tanh", 5, 4, 1, N=2)
    with pytest.raises(UsageError, match="velocity must have shape"):
        engine.advance(networks, Optimizer.start(wide, learning_rate=0.01, iterations=3), task, 1)


def test_bad_inputs_of_rollouts_are_refused(engine):
    networks = random_networks("vanilla", "tanh", 4, 2, 1, N=2)
    with pytest.raises(UsageError, match=r"inputs must have shape \(N = 2, B, T, D = 2\)"):
        engine.run(networks, np.zeros((3, 4, 5, 2)))
    with pytest.raises(UsageError, match="inputs must be finite"):
        engine.run(networks, np.full((4, 5, 2), np.inf))
    with pytest.raises(UsageError, match="at least one trial and one step"):
        engine.run(networks, np.zeros((0, 5, 2)))
    for bad in (np.ones((4, 5, 2), complex), np.full((4, 5, 2), "a"), [[1.0], [1.0, 2.0]]):
        with pytest.raises(UsageError, match="inputs must be an array of real numbers"):
            engine.run(networks, bad)
    with pytest.raises(UsageError, match="states must be an array of real numbers; it holds complex128"):
        engine.step(networks, np.zeros((2, 3, 4), complex), np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"states must have shape \(N = 2, M, S = 4\)"):
        engine.step(networks, np.zeros((2, 3, 5)), np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"inputs must have shape \(N = 2, M = 3, D = 2\)"):
        engine.jacobian(networks, np.zeros((2, 3, 4)), np.zeros((4, 2)))
