"""The same bits, however networks are grouped, ordered, shared out over threads or interrupted."""

import numpy as np
import pytest
from samples import KINDS, random_networks, random_trials

from fastrnn import engines
from fastrnn.cells import get_cell
from fastrnn.counters import TRAINING
from fastrnn.engines.cpu.engine import Workspaces
from fastrnn.engines.cpu.layout import make_layout
from fastrnn.errors import Status
from fastrnn.networks import Networks
from fastrnn.optimizer import METHODS, Optimizer
from fastrnn.tasks import Task, get_task

N, BATCH, ITERATIONS = 5, 35, 7  # 35 trials: three tiles, the last one not full


@pytest.fixture(scope="module")
def one():
    return engines.get("cpu", threads=1)


@pytest.fixture(scope="module")
def two():
    return engines.get("cpu", threads=2)


@pytest.fixture(scope="module")
def many():
    """More threads than networks, than processors, and than tiles."""
    return engines.get("cpu", threads=7)


@pytest.fixture(scope="module")
def task():
    return get_task("flipflop", steps=11)


def population(cell="gru", activation="tanh", n=21, count=N, method="sgd"):
    """Untrained networks and their optimizer, every one with its own hyperparameters."""
    networks = Networks.initialize(cell, activation, n, 3, 3, keys=np.arange(count) + 100)
    spread = np.linspace(0.5, 1.0, count)
    optimizer = Optimizer.start(
        networks,
        learning_rate=0.1 * spread,
        decay=spread,
        momentum=0.9 * spread,
        clip=spread,
        l2=1e-3 * spread,
        noise=0.1 * spread * get_cell(cell).leaks,
        iterations=10,
        method=method,
    )
    return networks, optimizer


def bits(networks, optimizer, losses):
    """Everything that training changes, one tuple of bytes a network."""
    state = (optimizer.velocity, optimizer.squares, optimizer.iteration, optimizer.status)
    columns = (networks.parameters, *state, losses)
    return [tuple(column[i].tobytes() for column in columns) for i in range(len(networks))]


def trained(engine, task, networks, optimizer, iterations=ITERATIONS):
    return bits(networks, optimizer, engine.advance(networks, optimizer, task, iterations, batch=BATCH))


# --- threads ---


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_one_thread_two_or_a_team(one, two, many, task, cell, activation):
    """Two threads, one network each; seven threads, which share the tiles of every network."""
    expected = trained(one, task, *population(cell, activation))
    assert trained(two, task, *population(cell, activation)) == expected
    assert trained(many, task, *population(cell, activation)) == expected


@pytest.mark.parametrize("batch", [1, 8, 16, 17, 64])
@pytest.mark.parametrize("method", METHODS)
def test_one_network_on_many_threads(one, many, task, batch, method):
    results = []
    for engine in (one, many):
        networks, optimizer = population(count=1, method=method)
        results.append(bits(networks, optimizer, engine.advance(networks, optimizer, task, 4, batch=batch)))
    assert results[0] == results[1]


@pytest.mark.parametrize("batch", [20, 150])  # three tiles, 19 tiles in 16 slices
def test_small_tiles_on_many_threads(one, many, batch):
    """Tiles of eight trials: the same bits for a team, and of a trial whatever trials are beside it."""
    networks = random_networks("lstm", "tanh", 32, 2, 1, N=2)
    inputs, targets, mask = random_trials(networks, batch, 400, masked=True)
    assert make_layout("lstm", 32, 2, 1, 400, batch).rows == 8
    losses, gradients = one.loss_and_gradients(networks, inputs, targets, mask)
    same, those = many.loss_and_gradients(networks, inputs, targets, mask)
    assert losses.tobytes() == same.tobytes()
    assert all(gradient.tobytes() == those[name].tobytes() for name, gradient in gradients.items())
    states, outputs = one.run(networks, inputs)
    for part in (slice(3, 4), slice(5, 17)):
        some = many.run(networks, inputs[:, part])
        assert some[0].tobytes() == states[:, part].tobytes() and some[1].tobytes() == outputs[:, part].tobytes()


def test_losses_gradients_and_rollouts_on_many_threads(one, many, task):
    networks, _ = population("lstm", "relu", count=2)
    inputs, targets, mask = random_trials(networks, BATCH, 6, masked=True)
    results = []
    for engine in (one, many):
        losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
        arrays = [
            losses,
            *gradients.values(),
            *engine.run(networks, inputs),
            engine.loss(networks, task, trials=77),
        ]
        results.append([array.tobytes() for array in arrays])
    assert results[0] == results[1]


def test_again(two, task):
    assert trained(two, task, *population()) == trained(two, task, *population())


@pytest.mark.parametrize("engine_name", ["one", "many"])
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_what_a_workspace_held_before_is_of_no_consequence(request, monkeypatch, task, engine_name, cell, activation):
    """Every array of every thread full of NaN before each network."""
    engine, method = request.getfixturevalue(engine_name), "adam" if cell == "gru" else "sgd"
    trials = random_trials(population(cell, activation)[0], BATCH, 6, masked=True)

    def everything():
        networks, optimizer = population(cell, activation, method=method)
        losses, gradients = engine.loss_and_gradients(networks, *trials)
        arrays = [losses, *gradients.values(), *engine.run(networks, trials[0]), engine.loss(networks, task, trials=40)]
        return trained(engine, task, networks, optimizer), [array.tobytes() for array in arrays]

    expected = everything()
    take = Workspaces.take

    def poisoned(self, name, size):
        array = take(self, name, size)
        array[:] = np.nan
        return array

    monkeypatch.setattr(Workspaces, "take", poisoned)
    assert everything() == expected


# --- grouping ---


@pytest.mark.parametrize("method", METHODS)
def test_shards_and_order(two, task, method):
    """A group whole, in shards, one by one, backwards."""
    expected = trained(two, task, *population(method=method))
    networks, optimizer = population(method=method)
    shards = [trained(two, task, networks[s], optimizer[s]) for s in (slice(0, 2), slice(2, 5))]
    assert shards[0] + shards[1] == expected
    networks, optimizer = population(method=method)
    assert [trained(two, task, networks[i], optimizer[i])[0] for i in range(N)] == expected
    order = np.arange(N)[::-1]
    networks, optimizer = population(method=method)
    assert trained(two, task, networks[order], optimizer[order]) == expected[::-1]


def test_several_groups_at_once(two, task):
    """Of different cells and sizes, with fewer and with more networks than threads."""
    groups = [("vanilla", "relu", 5, 3), ("lstm", "tanh", 33, 1, "adam"), ("gru", "tanh", 21, 4)]
    expected = [trained(two, task, *population(*group)) for group in groups]
    stacks = [population(*group) for group in groups]
    losses = two.advance_all(stacks, task, ITERATIONS, batch=BATCH)
    assert [bits(*stack, part) for stack, part in zip(stacks, losses, strict=True)] == expected


def test_validation_losses_and_rollouts_hang_on_no_neighbour(two, task):
    networks, _ = population()
    inputs = random_trials(networks, 9, 5)[0]
    losses, (states, outputs) = two.loss(networks, task, trials=40), two.run(networks, inputs)
    for i in range(N):
        assert two.loss(networks[i], task, trials=40)[0] == losses[i]
        alone = two.run(networks[i], inputs[i : i + 1])
        np.testing.assert_array_equal(alone[0][0], states[i])
        np.testing.assert_array_equal(alone[1][0], outputs[i])


# --- interruption ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("engine_name", ["one", "many"])
def test_in_one_go_or_in_pieces(request, task, engine_name, method):
    engine = request.getfixturevalue(engine_name)
    whole = trained(engine, task, *population(method=method))
    networks, optimizer = population(method=method)
    parts = []
    for count in (3, 0, 1, 3):
        parts.append(engine.advance(networks, optimizer, task, count, batch=BATCH))
        networks = Networks.concatenate([networks[:2], networks[2:]])  # what a checkpoint does: other arrays
        optimizer = Optimizer.from_arrays({k: v.copy() for k, v in optimizer.to_arrays().items()})
    assert bits(networks, optimizer, np.concatenate(parts, axis=1)) == whole


def test_array_tasks_in_one_go_or_in_pieces_and_on_threads(one, two):
    def batch(rng, settings, trials):
        inputs = rng.normal(size=(trials, 4, 3))
        return inputs, np.cumsum(inputs, axis=1)

    task = Task("sums", D=3, K=3, T=4, batch=batch)
    whole = trained(one, task, *population(method="adam"))
    assert trained(two, task, *population(method="adam")) == whole
    networks, optimizer = population(method="adam")
    parts = [two.advance(networks, optimizer, task, count, batch=BATCH) for count in (3, 4)]
    assert bits(networks, optimizer, np.concatenate(parts, axis=1)) == whole


# --- divergence ---


def diverging(index, learning_rate=1e30, method="sgd"):
    """A population of which one network blows up by its learning rate."""
    networks, optimizer = population("vanilla", "relu", method=method)
    optimizer.learning_rate[index] = learning_rate
    optimizer.clip[index] = np.inf
    return networks, optimizer


@pytest.mark.parametrize("engine_name", ["one", "two", "many"])
@pytest.mark.parametrize("index", [0, 2, N - 1])
def test_neighbours_of_a_diverged_network_are_untouched(request, task, engine_name, index):
    engine = request.getfixturevalue(engine_name)
    expected = trained(engine, task, *population("vanilla", "relu"))
    networks, optimizer = diverging(index)
    got = trained(engine, task, networks, optimizer)
    assert optimizer.status[index] == Status.DIVERGED
    assert [b for i, b in enumerate(got) if i != index] == [b for i, b in enumerate(expected) if i != index]


@pytest.mark.parametrize("method", METHODS)
def test_a_diverged_network_is_frozen_where_it_was(two, task, method):
    networks, optimizer = diverging(1, method=method)
    losses = two.advance(networks, optimizer, task, ITERATIONS, batch=BATCH)
    done = int(optimizer.iteration[1])
    assert 0 < done < ITERATIONS
    assert np.isfinite(losses[1, :done]).all()
    assert np.isnan(losses[1, done:]).all()
    assert np.isfinite(losses[[0, 2, 3, 4]]).all()
    # stepping there one by one: its weights are those before the iteration that failed
    again, steps = diverging(1, method=method)
    for _ in range(done):
        two.advance(again, steps, task, 1, batch=BATCH)
    assert steps.status[1] == Status.TRAINING
    np.testing.assert_array_equal(networks.parameters[1], again.parameters[1])
    np.testing.assert_array_equal(optimizer.velocity[1], steps.velocity[1])
    np.testing.assert_array_equal(optimizer.squares[1], steps.squares[1])
    # and it stays so
    frozen = networks.parameters[1].tobytes()
    assert np.isnan(two.advance(networks, optimizer, task, 2, batch=BATCH)[1]).all()
    assert (int(optimizer.iteration[1]), optimizer.status[1]) == (done, Status.DIVERGED)
    assert networks.parameters[1].tobytes() == frozen


@pytest.mark.parametrize(
    ("kind", "fails_at"), [("loss", 2), ("loss", 6), ("gradient", 0), ("gradient", 2), ("gradient", 6)]
)
def test_divergence_in_one_go_or_in_pieces(one, kind, fails_at):
    """A loss that is not finite; a finite loss (states of 1e30, read out as 1e10) with a gradient beyond float32."""

    def trial(stream, settings, inputs, targets, mask):
        targets[:] = 1.0
        if stream.iteration == np.uint64(settings[0]):
            if settings[1] == 0:
                targets[:] = np.nan
            else:
                inputs[:] = 1e30

    task = Task("burst", D=3, K=3, T=11, trial=trial, settings={"at": fails_at, "huge": int(kind == "gradient")})
    start, _ = population("vanilla", "relu")
    start.W_rec[:], start.W_in[:], start.W_out[:] = 0.0, 1.0, 1e-20
    if kind == "gradient":
        loss, gradients = one.loss_and_gradients(start[0], *task.draw(start.keys[:1], TRAINING, fails_at, BATCH))
        assert np.isfinite(loss[0])
        assert not np.isfinite(gradients["W_out"]).all()
    results = []
    for counts in ([7], [3, 4], [1] * 7):
        networks, optimizer = start.copy(), population()[1]
        optimizer.velocity = np.zeros_like(networks.parameters)
        parts = [one.advance(networks, optimizer, task, count, batch=BATCH) for count in counts]
        losses = np.concatenate(parts, axis=1)
        assert optimizer.status.tolist() == [Status.DIVERGED] * N
        assert optimizer.iteration.tolist() == [fails_at] * N
        assert np.isfinite(networks.parameters).all()
        assert np.isfinite(losses[:, :fails_at]).all()
        assert np.isnan(losses[:, fails_at:]).all()
        results.append(bits(networks, optimizer, losses))
    assert results[0] == results[1] == results[2]


def test_an_array_task_diverges_in_one_go_or_in_pieces(one):
    def batch(rng, settings, trials):
        inputs = rng.normal(size=(trials, 4, 3))
        return inputs, np.cumsum(inputs, axis=1)

    task = Task("sums", D=3, K=3, T=4, batch=batch)
    results = []
    for counts in ([7], [3, 4], [1] * 7):
        networks, optimizer = diverging(1)
        parts = [one.advance(networks, optimizer, task, count, batch=BATCH) for count in counts]
        assert [i for i in range(N) if optimizer.status[i] == Status.DIVERGED] == [1]
        assert 0 < optimizer.iteration[1] < 7
        results.append(bits(networks, optimizer, np.concatenate(parts, axis=1)))
    assert results[0] == results[1] == results[2]


def test_non_finite_weights_diverge_at_once(two, task):
    networks, optimizer = population(count=3)
    networks.parameters[1, 5] = np.inf
    two.advance(networks, optimizer, task, 2, batch=BATCH)
    assert optimizer.status.tolist() == [Status.TRAINING, Status.DIVERGED, Status.TRAINING]
    assert not np.isfinite(two.loss(networks, task, trials=8)[1])
    assert np.isfinite(two.loss(networks, task, trials=8)[[0, 2]]).all()


@pytest.mark.parametrize(("method", "status"), [("sgd", Status.TRAINED), ("adam", Status.DIVERGED)])
def test_squares_beyond_any_number_diverge(two, task, method, status):
    """A gradient of 1e21 that is not clipped: its squares would stay infinite, and no weight would move again."""
    networks, _ = population("vanilla", "tanh", count=2)
    networks.W_out[0] *= 1e10
    rates = {"learning_rate": 1e-30, "clip": np.inf, "iterations": 1, "method": method}
    optimizer = Optimizer.start(networks, **rates)
    start = networks.parameters.copy()
    _, gradients = two.loss_and_gradients(networks[:1], *task.draw(networks.keys[:1], TRAINING, 0, BATCH))
    assert 1e19 < np.linalg.norm(gradients["W_rec"].astype(np.float64)) < 1e30
    two.advance(networks, optimizer, task, 1, batch=BATCH)
    assert optimizer.status.tolist() == [status, Status.TRAINED]
    assert np.array_equal(networks.parameters[0], start[0]) == (status == Status.DIVERGED)


def test_many_seeds_share_nothing(two, task):
    networks, optimizer = population("vanilla", "tanh", n=4, count=40)
    optimizer.learning_rate[:] = optimizer.learning_rate[0]
    losses = two.advance(networks, optimizer, task, 2, batch=4)
    assert len(np.unique(losses[:, 0])) == 40
    assert len(np.unique(random_networks("vanilla", "tanh", 4, 3, 3, N=2).keys)) == 2
