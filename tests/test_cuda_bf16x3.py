"""Matrix products on tensor cores with operands in two parts of bf16: fragments, errors, training."""

import numpy as np
import oracle
import pytest
import tolerances
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from samples import oracle_parameters, random_networks, random_trials, relative_error

from fastrnn import engines
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.group import Group
from fastrnn.engines.cuda.tiling import make_tiling
from fastrnn.errors import UsageError
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")


@pytest.fixture(scope="module")
def engine():
    return CUDAEngine(HostDevice(), precision="bf16x3")


@pytest.mark.parametrize(
    ("cell", "n"), [("vanilla", 64), ("ugrnn", 64), ("gru", 64), ("lstm", 64), ("gru", 128), ("lstm", 128)]
)
def test_gradients_against_oracle(engine, cell, n):
    """Errors are those of 16 bits, an order of magnitude beyond float32's."""
    networks = random_networks(cell, "tanh", n, 3, 2, 1, seed=n, gate_bias=0.5)
    inputs, targets, mask = random_trials(networks, 20, 3, seed=3, masked=True)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
    value, expected, _ = oracle.loss_and_gradients(
        cell, "tanh", 0.5, oracle_parameters(networks, 0), inputs[0], targets[0], mask[0].astype(np.float64)
    )
    assert relative_error(losses[0], value) < tolerances.STATES_BF16X3
    for name, gradient in gradients.items():
        assert relative_error(gradient[0], expected[name]) < tolerances.GRADIENT_BF16X3, name


def test_with_many_inputs_the_gradient_of_the_weights_is_that_of_float32(engine):
    networks = random_networks("gru", "tanh", 64, 20, 2, 1, seed=1)
    assert make_tiling("gru", "tanh", 64, 16, 2, 20, 227 << 10, "bf16x3").weight_gradient.source == "weight_gradient"
    inputs, targets, _ = random_trials(networks, 5, 2)
    _, gradients = engine.loss_and_gradients(networks, inputs, targets)
    _, expected, _ = oracle.loss_and_gradients(
        "gru", "tanh", 1.0, oracle_parameters(networks, 0), inputs[0], targets[0]
    )
    for name, gradient in gradients.items():
        assert relative_error(gradient[0], expected[name]) < tolerances.GRADIENT_BF16X3, name


def test_rollouts_and_losses(engine):
    networks = random_networks("gru", "relu", 64, 3, 2, 1, seed=1)
    inputs = random_trials(networks, 70, 3)[0]
    states, outputs = engine.run(networks, inputs)
    expected = oracle.run("gru", "relu", 1.0, oracle_parameters(networks, 0), inputs[0])
    assert relative_error(states[0], expected[0]) < tolerances.STATES_BF16X3
    assert relative_error(outputs[0], expected[1]) < tolerances.STATES_BF16X3


def test_every_schedule_gives_the_same_bits(engine):
    networks, results = random_networks("gru", "tanh", 64, 2, 2, 1, seed=1), set()
    trials = random_trials(networks, 9, 2, seed=3)
    for order in ("forward", "backward", "random"):
        engine.device.schedule = (order, True, 3)
        losses, gradients = engine.loss_and_gradients(networks, *trials)
        results.add(losses.tobytes() + b"".join(g.tobytes() for g in gradients.values()))
    engine.device.schedule = ("forward", True, 0)
    assert len(results) == 1


def test_the_precision_changes_the_numbers_and_is_told(engine):
    networks = random_networks("vanilla", "tanh", 64, 3, 3, 1, seed=2)
    trials = random_trials(networks, 16, 4, seed=3)
    exact = CUDAEngine(HostDevice()).loss_and_gradients(networks, *trials)[1]["W_rec"]
    rounded = engine.loss_and_gradients(networks, *trials)[1]["W_rec"]
    assert 1e-7 < relative_error(rounded, exact) < tolerances.GRADIENT_BF16X3
    assert engine.description == "cuda (host, compute capability 9.0, bf16x3)"


def test_training_follows_the_other_engine(engine):
    task, start = get_task("flipflop", steps=5), random_networks("ugrnn", "tanh", 64, 3, 3, N=2, seed=4)
    curves = []
    for one in (engine, engines.get("cpu", threads=1)):
        networks = start.copy()
        optimizer = Optimizer.start(networks, learning_rate=0.05, momentum=0.9, iterations=9)
        curves.append(one.advance(networks, optimizer, task, 5, batch=16))
    assert relative_error(*curves) < 1e-4


def test_what_it_can_not_do_is_refused(engine):
    with pytest.raises(UsageError, match="unknown precision 'half'; allowed are float32, bf16x3"):
        CUDAEngine(HostDevice(), precision="half")
    for n, instead in ((48, "precision 'float32'"), (20, "device 'cpu'")):
        with pytest.raises(UsageError, match=f"multiples of 64 up to 256 in bf16x3; n is {n}: .* or {instead}"):
            engine.loss(random_networks("vanilla", "tanh", n, 3, 3, 1), get_task("flipflop"))


def test_cut_sums_cost_long_gradients_nothing(engine):
    """Tensor cores cut their sums, they don't round them: 3,200 products of one sign in each slice of the steps."""
    task, rng = get_task("flipflop", steps=1600), np.random.default_rng(0)
    networks = random_networks("vanilla", "tanh", 64, 3, 3, 1, seed=1)
    with engine.device.stream(0):
        group = Group(engine.launcher, networks, 16, task.T, way_back=True, precision="bf16x3")
        states, das = (rng.uniform(0.5, 1.0, array.shape).astype(np.float32) for array in (group.states, group.das))
        for place, array in ((group.states, states), (group.das, das)):
            place[:] = engine.device.xp.array(array)
        group.sum_gradients()
        made = group.download(group.gradients[0]).sum(axis=0)
    expected = np.einsum("tbu,tbv->uv", states[0, :-1], das[0], dtype=np.float64)
    assert relative_error(made[: 64 * 64].reshape(64, 64), expected) < 5e-7
