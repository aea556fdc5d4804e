"""The CUDA engine's numbers against the oracle and the CPU engine, its kernels run on the processor (`cuda_host`)."""

from itertools import count
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import tolerances
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from cuda_host.scarce import Scarce
from samples import KINDS, check_noise_in_training, oracle_parameters, random_networks, random_trials, relative_error

from fastrnn import engines
from fastrnn.cells import LEAKY_CELLS
from fastrnn.counters import PROBE, TRAINING, VALIDATION
from fastrnn.engines.cuda import engine as cuda_engine
from fastrnn.engines.cuda.engine import DRAWN_AHEAD, CUDAEngine
from fastrnn.engines.cuda.group import Group
from fastrnn.errors import RunError, Status, UsageError
from fastrnn.networks import Networks
from fastrnn.optimizer import METHODS, Optimizer
from fastrnn.tasks import Task, get_task

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")

# N, B, T, n, D, K: one of everything; trials that fill no tile; several outputs beyond a chunk; two tiles of trials;
# more inputs than units
SHAPES = [(1, 1, 1, 16, 1, 1), (2, 17, 3, 16, 3, 6), (1, 70, 2, 16, 2, 1), (1, 3, 2, 16, 40, 1)]
# n that takes several passes, weights that stream through shared memory, vectors of all widths
LARGE = [("vanilla", 144), ("ugrnn", 144), ("gru", 144), ("lstm", 80), *((cell, 256) for cell in oracle.CELLS)]
SCHEDULES = [(order, late, 7) for order in ("forward", "backward", "random") for late in (True, False)]


@pytest.fixture(scope="module")
def engine():
    return CUDAEngine(HostDevice())


@pytest.fixture(scope="module")
def cpu():
    return engines.get("cpu", threads=1)


def check_gradients(engine, networks, inputs, targets, mask):
    """Losses and gradients of every network against the oracle."""
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
    assert (losses.dtype, losses.shape) == (np.float64, (len(networks),))
    assert {name: g.shape for name, g in gradients.items()} == {name: p.shape for name, p in networks.arrays.items()}
    for i in range(len(networks)):
        weights = None if mask is None else mask[i].astype(np.float64)
        value, expected, _ = oracle.loss_and_gradients(
            networks.cell,
            networks.activation,
            networks.gate_bias,
            oracle_parameters(networks, i),
            inputs[i],
            targets[i],
            weights,
        )
        assert relative_error(losses[i], value) < tolerances.LOSS
        for name, gradient in gradients.items():
            assert relative_error(gradient[i], expected[name]) < tolerances.GRADIENT, name


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_gradients_against_oracle(engine, cell, activation):
    for N, B, T, n, D, K in SHAPES if activation == "tanh" else SHAPES[1:2]:
        networks = random_networks(cell, activation, n, D, K, N, seed=n, gate_bias=0.75)
        check_gradients(engine, networks, *random_trials(networks, B, T, seed=B, masked=B > 1))


@pytest.mark.parametrize(("cell", "n"), LARGE)
def test_gradients_of_large_networks(engine, cell, n):
    networks = random_networks(cell, "tanh", n, 2, 2, 1, seed=n)
    check_gradients(engine, networks, *random_trials(networks, 20, 2, seed=3))


@pytest.mark.parametrize(("cell", "n"), [("gru", 144), ("vanilla", 144), ("ugrnn", 48), ("lstm", 48)])
def test_every_schedule_gives_the_same_bits(engine, cell, n):
    """Streamed weights, two products, several passes: whatever the order of threads and whenever copies arrive."""
    networks = random_networks(cell, "tanh", n, 2, 2, 1, seed=1)
    trials = random_trials(networks, 9, 2, seed=3)
    results = set()
    for schedule in SCHEDULES:
        engine.device.schedule = schedule
        losses, gradients = engine.loss_and_gradients(networks, *trials)
        results.add(losses.tobytes() + b"".join(g.tobytes() for g in gradients.values()))
    engine.device.schedule = SCHEDULES[0]
    assert len(results) == 1


def test_less_shared_memory_means_smaller_tiles(cpu):
    """As on older devices; one network's numbers change by rounding alone."""
    small = CUDAEngine(HostDevice(shared_limit=30 << 10))
    networks = random_networks("lstm", "tanh", 32, 2, 2, 1, seed=1)
    trials = random_trials(networks, 70, 2, seed=3, masked=True)
    losses, gradients = small.loss_and_gradients(networks, *trials)
    expected, exact = cpu.loss_and_gradients(networks, *trials)
    np.testing.assert_allclose(losses, expected, rtol=tolerances.LOSS)
    for name, gradient in gradients.items():
        assert relative_error(gradient, exact[name]) < tolerances.GRADIENT
    with pytest.raises(UsageError, match=r"lstm networks with n = 32 need more shared memory than this device has"):
        CUDAEngine(HostDevice(shared_limit=9 << 10)).loss_and_gradients(networks, *trials)


def test_more_inputs_than_the_device_has_room_for_are_told(engine):
    networks = random_networks("vanilla", "tanh", 16, 4000, 1, 1)
    most = r"trains networks of n = 16 with at most 3599 inputs; D is 4000: take device 'cpu'"
    with pytest.raises(UsageError, match=most):
        engine.loss_and_gradients(networks, np.zeros((1, 1, 1, 4000)), np.zeros((1, 1, 1, 1)))
    assert engine.run(networks, np.zeros((1, 1, 4000)))[1].shape == (1, 1, 1, 1)


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_padding_of_trials_never_leaks(engine, cell):
    """What overflows in no real trial overflows in none, and rows that pad a tile count for nothing."""
    networks = random_networks(cell, "relu", 16, 2, 1, 1, seed=2)
    inputs, targets, _ = random_trials(networks, 3, 4)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets)
    filled = (np.concatenate([array, array[:, -1:].repeat(5, axis=1)], axis=1) for array in (inputs, targets))
    mask = np.zeros((1, 8, 4), np.float32)
    mask[:, :3] = 1
    again = engine.loss_and_gradients(networks, *filled, mask)
    assert losses[0] == again[0][0]
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, again[1][name])


# --- rollouts ---


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_run_against_oracle(engine, cell):
    networks = random_networks(cell, "tanh", 16, 3, 5, N=2, gate_bias=0.0)
    inputs = random_trials(networks, 67, 3)[0]  # more than one round of trials
    states, outputs = engine.run(networks, inputs)
    assert (states.shape, outputs.shape) == ((2, 67, 3, networks.S), (2, 67, 3, 5))
    assert states.dtype == outputs.dtype == np.float32
    for i in range(2):
        expected = oracle.run(cell, "tanh", 0.0, oracle_parameters(networks, i), inputs[i])
        assert relative_error(states[i], expected[0]) < tolerances.STATES
        assert relative_error(outputs[i], expected[1]) < tolerances.STATES
    common = engine.run(networks, inputs[0])
    np.testing.assert_array_equal(common[0][0], states[0])


# --- steps and Jacobians ---


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_steps_and_jacobians_against_oracle(engine, cell, activation):
    """Any n; float64 throughout but for the weights."""
    networks = random_networks(cell, activation, 7, 3, 2, N=2, gate_bias=0.5)
    rng = np.random.default_rng(0)
    states, inputs = rng.normal(size=(2, 3, networks.S)), rng.normal(size=(2, 3, 3))
    following = engine.step(networks, states, inputs)
    by_state, by_input = engine.jacobian(networks, states, inputs)
    for i in range(2):
        p = oracle_parameters(networks, i)
        for m in range(3):
            expected = oracle.step(cell, activation, 0.5, p, states[i, m], inputs[i, m])
            assert relative_error(following[i, m], expected) < tolerances.EXACT_FORMULA
            J = oracle.jacobian(cell, activation, 0.5, p, states[i, m], inputs[i, m])
            assert relative_error(by_state[i, m], J[0]) < tolerances.EXACT_FORMULA
            assert relative_error(by_input[i, m], J[1]) < tolerances.EXACT_FORMULA
    common = engine.step(networks, states, inputs[0])
    np.testing.assert_array_equal(common[0], following[0])
    assert engine.step(networks, states[:, :0], inputs[:, :0]).shape == (2, 0, networks.S)
    assert engine.jacobian(networks, states[:, :0], inputs[:, :0])[1].shape == (2, 0, networks.S, 3)


# --- trials ---


def drawn(engine, task, keys, purpose, first, count, iteration=0):
    """Trials as the device draws them, (N, B, T, ...)."""
    networks = Networks.initialize("vanilla", "tanh", 16, task.D, task.K, keys)
    group = Group(engine.launcher, networks, count, task.T, way_back=False)
    group.iterations[:] = iteration
    for array in (group.inputs, group.targets, group.mask):
        array[:] = np.nan
    group.draw(group.begin_drawing(task), purpose, first)
    made = [array.get() for array in (group.inputs, group.targets, group.mask)]
    assert np.all(made[2][:, :, count:] == 0)
    for array in made[:2]:
        np.testing.assert_array_equal(array[:, :, count:], array[:, :, count - 1 : count].repeat(group.P - count, 2))
    return [np.swapaxes(array[:, :, :count], 1, 2) for array in made]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("flipflop", {"steps": 7}),
        ("flipflop", {"steps": 50, "channels": 5, "pulse_probability": 0.3}),
        ("flipflop", {"steps": 3, "pulse_probability": 1.0}),
        ("sine", {"steps": 500}),
        ("cdi", {"steps": 31, "mean_limit": 2.0, "noise": 0.7}),
    ],
)
def test_trials_are_those_of_the_tasks(engine, name, settings):
    task, keys = get_task(name, **settings), [3, 2**64 - 5]
    for purpose, iteration in ((TRAINING, 2**31 + 3), (VALIDATION, 0)):
        expected = task.draw(keys, purpose, iteration, 9)
        made = drawn(engine, task, keys, purpose, 0, 9, iteration)
        later = drawn(engine, task, keys, purpose, 4, 5, iteration)
        for array, wanted, part in zip(made, expected, later, strict=True):
            if name == "cdi":  # a mean and noise of 4 ulp each; running sums of them
                scale = np.abs(wanted).max(axis=(2, 3), keepdims=True) if wanted.ndim == 4 else 1
                assert np.max(np.abs(array - wanted) / scale) < 8 * 2.0**-23
            else:
                np.testing.assert_array_equal(array, wanted)
            np.testing.assert_array_equal(part, array[:, 4:])


def test_normals_are_within_four_units_in_the_last_place(engine):
    task = get_task("cdi", steps=200, mean_limit=0.0)
    wanted, made = (f(*a)[0][..., 2:] for f, a in (
        (task.draw, ([5], PROBE, 0, 16)), (drawn, (engine, task, [5], PROBE, 0, 16))))  # fmt: skip
    assert np.max(np.abs(made - wanted) / np.spacing(np.abs(wanted))) <= 4


# --- training ---

RATES = {"learning_rate": 0.1, "decay": 0.5, "momentum": 0.5, "clip": 0.5, "l2": 1e-2}


@pytest.mark.parametrize(
    ("cell", "activation", "method"), [*((*kind, "sgd") for kind in KINDS), ("gru", "tanh", "adam")]
)
def test_training_follows_the_oracle(engine, cell, activation, method):
    task, start = get_task("flipflop", steps=4), random_networks(cell, activation, 16, 3, 3, N=2, seed=4)
    networks = start.copy()
    optimizer = Optimizer.start(networks, iterations=5, method=method, **RATES)
    losses = engine.advance(networks, optimizer, task, 3, batch=4)
    for i in range(2):

        def trials(iteration, i=i):
            return [array[0].astype(np.float64) for array in task.draw(start.keys[i : i + 1], TRAINING, iteration, 4)]

        given = (oracle_parameters(start, i), trials, 3, 5)
        parameters, velocity, squares, expected = oracle.train(cell, activation, 1.0, *given, method=method, **RATES)
        assert relative_error(losses[i], expected) < tolerances.TRAJECTORY
        for name, value in parameters.items():
            moved = np.linalg.norm(value - start.arrays[name][i])
            rounding = 2e-7 * np.linalg.norm(value)
            assert np.linalg.norm(networks.arrays[name][i] - value) < tolerances.TRAJECTORY * moved + rounding, name
            assert relative_error(networks.named(optimizer.velocity)[name][i], velocity[name]) < tolerances.TRAJECTORY
            if method == "adam":
                assert relative_error(networks.named(optimizer.squares)[name][i], squares[name]) < tolerances.TRAJECTORY
    assert optimizer.iteration.tolist() == [3, 3]
    assert optimizer.status.tolist() == [Status.TRAINING] * 2


@pytest.mark.parametrize(("activation", "n", "batch"), [("tanh", 16, 5), ("relu", 48, 70), ("tanh", 256, 3)])
@pytest.mark.parametrize("cell", LEAKY_CELLS)
def test_noise_in_training_against_the_oracle(engine, cell, activation, n, batch):
    check_noise_in_training(engine, cell, activation, n, batch)


@pytest.mark.parametrize("method", METHODS)
def test_both_engines_train_alike_and_go_on_from_each_other(engine, cpu, method):
    task, start = get_task("cdi", steps=5), Networks.initialize("gru", "tanh", 32, 4, 1, keys=[1, 2])
    results = []
    for first, second in ((engine, cpu), (cpu, cpu), (engine, engine)):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.02, momentum=0.9, iterations=8, method=method)
        losses = [e.advance(networks, optimizer, task, 4, batch=16) for e in (first, second)]
        assert optimizer.status.tolist() == [Status.TRAINED] * 2
        results.append((np.concatenate(losses, axis=1), networks.parameters))
    for losses, parameters in results[1:]:
        assert relative_error(losses, results[0][0]) < tolerances.TRAJECTORY
        assert relative_error(parameters, results[0][1]) < tolerances.TRAJECTORY
    whole = start.copy()
    optimizer = Optimizer.start(whole, learning_rate=0.02, momentum=0.9, iterations=8, method=method)
    engine.advance(whole, optimizer, task, 8, batch=16)
    np.testing.assert_array_equal(whole.parameters, results[2][1])  # in pieces or at once: the same bits


def test_a_network_does_not_hang_on_its_neighbours(engine):
    """Alone or in a stack, beside one that diverges: the same bits; the diverged one stays as it was."""
    task, start = get_task("sine", steps=6), random_networks("ugrnn", "tanh", 16, 1, 1, N=3, seed=6)
    start.parameters[1] = 0
    start.b_out[1] = 3e38  # a loss beyond any number
    stack, alone = start.copy(), start[2].copy()
    optimizers = [Optimizer.start(n, learning_rate=0.1, iterations=4) for n in (stack, alone)]
    losses = engine.advance(stack, optimizers[0], task, 4, batch=3)
    only = engine.advance(alone, optimizers[1], task, 4, batch=3)
    np.testing.assert_array_equal(losses[2], only[0])
    np.testing.assert_array_equal(stack.parameters[2], alone.parameters[0])
    assert optimizers[0].status.tolist() == [Status.TRAINED, Status.DIVERGED, Status.TRAINED]
    assert optimizers[0].iteration.tolist() == [4, 0, 4]
    assert np.isnan(losses[1]).all()
    np.testing.assert_array_equal(stack.parameters[1], start.parameters[1])
    assert not np.array_equal(stack.parameters[0], start.parameters[0])


@pytest.mark.parametrize(("method", "status"), [("sgd", Status.TRAINED), ("adam", Status.DIVERGED)])
def test_squares_beyond_any_number_diverge(engine, method, status):
    task, networks = get_task("cdi", steps=3), random_networks("vanilla", "tanh", 16, 4, 1, N=1)
    networks.W_out[:] *= 1e10
    optimizer = Optimizer.start(networks, learning_rate=1e-30, clip=np.inf, iterations=1, method=method)
    engine.advance(networks, optimizer, task, 1, batch=2)
    assert optimizer.status.tolist() == [status]


def test_never_beyond_the_plan(engine):
    task, networks = get_task("cdi", steps=3), random_networks("vanilla", "tanh", 16, 4, 1, N=3)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=[0, 2, 5])
    before = networks.parameters.copy()
    losses = engine.advance(networks, optimizer, task, 4, batch=2)
    assert np.isfinite(losses).sum(axis=1).tolist() == [0, 2, 4]
    assert optimizer.iteration.tolist() == [0, 2, 4]
    assert optimizer.status.tolist() == [Status.UNTRAINED, Status.TRAINED, Status.TRAINING]
    np.testing.assert_array_equal(networks.parameters[0], before[0])
    assert engine.advance(networks, optimizer, task, 0).shape == (3, 0)
    assert engine.advance_all([], task, 5) == []


def test_no_networks_have_no_losses(engine, cpu):
    task, none = get_task("flipflop", steps=2), random_networks("vanilla", "tanh", 16, 3, 3, N=2)[:0]
    for one in (engine, cpu):
        optimizer = Optimizer.start(none, learning_rate=0.1, iterations=2)
        assert one.advance(none, optimizer, task, 1, batch=2).shape == (0, 1)
        assert one.loss(none, task, trials=2).shape == (0,)


def test_validation_in_rounds_of_trials(engine, cpu):
    task, networks = get_task("flipflop", steps=5), random_networks("vanilla", "tanh", 16, 3, 3, N=2)
    np.testing.assert_allclose(engine.loss(networks, task, trials=150), cpu.loss(networks, task, trials=150), rtol=1e-6)
    few = engine.loss(networks, task, trials=7, purpose=PROBE)
    np.testing.assert_allclose(few, cpu.loss(networks, task, trials=7, purpose=PROBE), rtol=1e-6)


def test_tasks_of_users_are_drawn_by_the_processor(engine, cpu):
    """Networks at different iterations, a mask with zeros, a batch function."""

    def batch(rng, settings, trials):
        inputs = rng.normal(size=(trials, 4, 2))
        return inputs, inputs.cumsum(axis=1), (rng.uniform(size=(trials, 4)) < 0.7).astype(float)

    task, start = Task("sums", D=2, K=2, T=4, batch=batch), random_networks("vanilla", "tanh", 16, 2, 2, N=3)
    results = []
    for one in (engine, cpu):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.02, iterations=[3, 6, 6])
        one.advance(networks[:2], optimizer[:2], task, 2, batch=5)
        losses = one.advance(networks, optimizer, task, 3, batch=5)
        results.append((losses, networks.parameters, one.loss(networks, task, trials=70)))
    np.testing.assert_array_equal(np.isfinite(results[0][0]), np.isfinite(results[1][0]))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def test_the_processor_is_only_some_iterations_ahead_with_trials():
    """Of a user's task: what it has drawn lies in memory until the device has used it."""
    task = Task("zeros", D=1, K=1, T=2, batch=lambda rng, settings, trials: 2 * (np.zeros((trials, 2, 1)),))
    counts = []
    for some, iterations in ((task, 9), (task, 1), (get_task("sine", steps=2), 9)):
        device, networks = HostDevice(), random_networks("vanilla", "tanh", 16, 1, 1, N=1)
        waits, wait = [], device.synchronize
        device.synchronize = lambda waits=waits, wait=wait: waits.append(wait())
        optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=9)
        CUDAEngine(device).advance(networks, optimizer, some, iterations, batch=2)
        counts.append(len(waits))
    assert counts[0] == counts[1] + 9 // DRAWN_AHEAD
    assert counts[2] == counts[1]


# --- memory ---


def test_time_lost_to_a_lack_of_memory_is_no_computing(monkeypatch):
    networks, clock = random_networks("vanilla", "tanh", 16, 3, 3, N=4), count()
    device = Scarce(14_000)
    engine = CUDAEngine(device)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=9)
    monkeypatch.setattr(cuda_engine, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    engine.advance(networks, optimizer, get_task("flipflop", steps=4), 1, batch=2)
    assert device.refused == 1
    # a second from one look at the clock to the next: one for the failure, two for each half that fitted
    assert engine.overhead == 1 + 2 * 2


def test_a_group_that_does_not_fit_is_cut(engine):
    task, start = get_task("flipflop", steps=4), random_networks("vanilla", "tanh", 16, 3, 3, N=5)
    other = random_networks("ugrnn", "relu", 16, 3, 3, N=2)
    device = Scarce(14_000)  # room for the gradients of two vanilla networks, or one ugrnn
    scarce = CUDAEngine(device)
    results = []
    for one in (engine, scarce):
        stacks = [start.copy(), other.copy()]
        optimizers = [Optimizer.start(networks, learning_rate=0.1, iterations=3) for networks in stacks]
        losses = one.advance_all(list(zip(stacks, optimizers, strict=True)), task, 2, batch=8)
        inputs, targets, _ = random_trials(stacks[0], 8, 4)
        gradients = one.loss_and_gradients(stacks[0], inputs, targets)[1]["W_in"]
        results.append((*losses, *(s.parameters for s in stacks), *(o.iteration for o in optimizers), gradients))
        results[-1] += (one.loss(stacks[0], task, trials=9), *one.run(stacks[0], inputs))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert device.refused == len(device.held) > 0
    assert not any(device.held)  # nothing of what did not fit is still there when memory is released


def test_what_did_not_fit_is_not_tried_again():
    """In the next round of the same training; where one network alone did not fit it is, there being no other way."""
    task, networks = get_task("flipflop", steps=4), random_networks("vanilla", "tanh", 16, 3, 3, N=5)
    device = Scarce(14_000)
    engine = CUDAEngine(device)
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=9)
    refused = []
    for _ in range(2):
        engine.advance(networks, optimizer, task, 1, batch=8)
        refused.append(device.refused)
    assert refused[0] == refused[1] == 2  # five networks, then three of them
    engine.advance(networks[:4], optimizer[:4], task, 1, batch=8)
    assert device.refused == 3
    device.most = 100
    for refusals in (5, 6):  # of two networks and of one, then of the one again
        with pytest.raises(RunError, match="one network"):
            engine.advance(networks[:2], optimizer[:2], task, 1, batch=8)
        assert device.refused == refusals


@pytest.mark.parametrize("short", [2, 4])
def test_a_shortage_while_results_come_back_changes_nothing(engine, monkeypatch, short):
    """With the first group's weights, or all but the last velocities, already copied from the device."""
    task, download, downloads = get_task("flipflop", steps=4), Group.download, []
    device = Scarce(1 << 30)

    def counted(group, padded):
        downloads.append(group)
        device.most = 0 if len(downloads) == short else 1 << 30
        try:
            return download(group, padded)
        finally:
            device.most = 1 << 30

    monkeypatch.setattr(Group, "download", counted)
    results = []
    for one in (CUDAEngine(device), engine):
        stacks = [random_networks(cell, "tanh", 16, 3, 3, N=3) for cell in ("vanilla", "ugrnn")]
        optimizers = [Optimizer.start(networks, learning_rate=0.1, iterations=3) for networks in stacks]
        losses = one.advance_all(list(zip(stacks, optimizers, strict=True)), task, 2, batch=8)
        results.append((*losses, *(networks.parameters for networks in stacks)))
        results[-1] += tuple(array for o in optimizers for array in (o.velocity, o.iteration, o.status))
    assert device.refused == 1
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_network_that_does_not_fit_is_an_error():
    networks, task = random_networks("vanilla", "tanh", 16, 3, 3, N=3), get_task("flipflop", steps=4)
    with pytest.raises(RunError, match=r"one network .* does not fit into the free memory of host"):
        CUDAEngine(Scarce(100)).loss(networks, task, trials=8)


# --- errors ---


def test_other_sizes_are_refused_with_what_is_supported(engine):
    task = get_task("flipflop", steps=3)
    for n in (20, 272):
        networks = random_networks("vanilla", "tanh", n, 3, 3, N=1)
        optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=2)
        inputs, targets, _ = random_trials(networks, 2, 3)
        for call in (
            lambda networks=networks, optimizer=optimizer: engine.advance(networks, optimizer, task, 1),
            lambda networks=networks: engine.loss(networks, task),
            lambda networks=networks, inputs=inputs: engine.run(networks, inputs),
            lambda networks=networks, a=(inputs, targets): engine.loss_and_gradients(networks, *a),
            lambda n=n: engine.seconds_per_iteration("vanilla", "tanh", n, task),
        ):
            with pytest.raises(
                UsageError, match=f"multiples of 16 up to 256 in float32; n is {n}: take such a size, or device"
            ):
                call()


def test_bad_calls_are_refused(engine):
    task, other = get_task("cdi", steps=3), get_task("flipflop")
    networks = random_networks("vanilla", "tanh", 16, 4, 1, N=2)
    optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=3)
    with pytest.raises(UsageError, match="task 'flipflop' has 3 inputs and 3 outputs; the networks have 4 and 1"):
        engine.loss(networks, other)
    with pytest.raises(UsageError, match=r"iterations must be a whole number, 0 or more; it is -1"):
        engine.advance(networks, optimizer, task, -1)
    with pytest.raises(UsageError, match="batch must be a positive whole number; it is 0"):
        engine.advance(networks, optimizer, task, 1, batch=0)
    with pytest.raises(UsageError, match="trials must be a positive whole number; it is 0"):
        engine.loss(networks, task, trials=0)
    with pytest.raises(UsageError, match="inputs must be finite"):
        engine.run(networks, np.full((1, 2, 4), np.nan))


def test_the_engine_says_what_it_is(engine):
    assert engine.description == "cuda (host, compute capability 9.0)"
    task = get_task("flipflop")
    assert engine.seconds_per_iteration("lstm", "tanh", 64, task) > engine.seconds_per_iteration(
        "gru", "tanh", 64, task
    )
    assert engine.workspace_bytes("gru", 64, task) == 0
    engine.warm_up("gru", "tanh")
