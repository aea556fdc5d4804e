"""Matrix products on the processor's matrix unit, or in vector code that does the same: operands, errors, training."""

import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest
import tolerances
from samples import KINDS, oracle_parameters, random_networks, random_trials, relative_error

import fastrnn
from fastrnn import engines
from fastrnn.engines.cpu import bf16x3
from fastrnn.engines.cpu.engine import CPUEngine
from fastrnn.engines.cpu.layout import make_layout
from fastrnn.engines.cpu.vectors import LANES, host_features
from fastrnn.errors import Status, UsageError
from fastrnn.optimizer import Optimizer
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import get_task

pytestmark = [
    pytest.mark.skipif(LANES != 16, reason="blocks in bf16 are for processors with AVX-512"),
    pytest.mark.skipif(bf16x3.HAS_UNIT and bool(bf16x3.why_not()), reason="the matrix unit can't be used"),
]

# N, B, T, n, D, K: ones; trials and units that fill no block of 32, or several; more steps than a block of the weight
# gradient; inputs that need another block of depth
SHAPES = [(1, 1, 1, 1, 1, 1), (2, 3, 17, 5, 3, 5), (1, 40, 3, 64, 3, 3), (2, 33, 9, 50, 31, 2), (1, 64, 4, 160, 40, 1)]


@pytest.fixture(scope="module")
def engine():
    return CPUEngine(threads=2, precision="bf16x3")


# --- operands and products ---


@numba.njit
def product(left, right, c, rows, columns, depth, keep):
    """C = [C +] A B through the operands; A is (rows, depth)."""
    a = np.empty(rows * depth, np.float32)
    b = np.empty(columns * depth, np.float32)
    bf16x3.split_rows(left.ctypes.data, depth, rows, depth, a.ctypes.data)
    for k in range(depth // 32):
        source = right.ctypes.data + 4 * 32 * k * columns
        bf16x3.interleave_rows(source, columns, columns, b.ctypes.data + 4 * k * 1024, depth * 32)
    bf16x3.open_unit()
    bf16x3.multiply(a.ctypes.data, b.ctypes.data, c.ctypes.data, columns, rows, columns, depth // 32, keep)
    bf16x3.close_unit()


@numba.njit
def product_of_transpose(left, right, c, rows, columns, depth):
    """C in panels += A^T B through the operands; A is (depth, rows)."""
    steps = depth // 32
    a = np.empty(rows * depth, np.float32)
    b = np.empty(columns * depth, np.float32)
    for k in range(steps):
        source = left.ctypes.data + 4 * 32 * k * rows
        bf16x3.split_transposed(source, rows, rows, a.ctypes.data + 4 * k * 512, steps * 512)
        source = right.ctypes.data + 4 * 32 * k * columns
        bf16x3.interleave_rows(source, columns, columns, b.ctypes.data + 4 * k * 1024, steps * 1024)
    bf16x3.open_unit()
    bf16x3.add_in_panels(a.ctypes.data, b.ctypes.data, steps, c.ctypes.data, rows, columns, steps)
    bf16x3.close_unit()


def in_two_parts(x):
    """High and low bf16 of float32, in float64: each the nearest, away from zero where two are."""
    high = ((x.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    low = x - high
    return high.astype(np.float64), ((low.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32).astype(np.float64)


def in_bf16x3(a, b):
    (a_high, a_low), (b_high, b_low) = in_two_parts(a), in_two_parts(b)
    return a_high @ b_low + a_high @ b_high + a_low @ b_high


@pytest.mark.parametrize(("rows", "columns", "depth"), [(32, 32, 32), (64, 96, 160)])
def test_products_are_those_of_the_parts(engine, rows, columns, depth):
    rng = np.random.default_rng(depth)
    a = (rng.normal(size=(rows, depth)) * 10.0 ** rng.integers(-6, 6, (rows, depth))).astype(np.float32)
    b = rng.normal(size=(depth, columns)).astype(np.float32)
    c = rng.normal(size=(rows, columns)).astype(np.float32)
    expected, bound = in_bf16x3(a, b), 2e-6 * (np.abs(a) @ np.abs(b)) + 1e-6
    made = c.copy()
    product(a, b, made, rows, columns, depth, False)
    assert np.all(np.abs(made - expected) < bound)
    assert relative_error(made, a.astype(np.float64) @ b) < 2e-5
    product(a, b, made, rows, columns, depth, True)
    assert np.all(np.abs(made - 2 * expected) < 2 * bound)
    made = c.copy()
    product_of_transpose(np.ascontiguousarray(a.T), b, made, rows, columns, depth)
    panels = made.reshape(columns // 32, rows, 32) - c.reshape(columns // 32, rows, 32)
    assert np.all(np.abs(panels.transpose(1, 0, 2).reshape(rows, columns) - expected) < bound)


def test_what_is_not_finite_stays_so(engine):
    for bad in (np.nan, np.inf, -np.inf):
        a, b = np.ones((32, 32), np.float32), np.ones((32, 32), np.float32)
        a[3, 5] = bad
        c = np.zeros((32, 32), np.float32)
        product(a, b, c, 32, 32, 32, False)
        assert not np.isfinite(c[3]).any() and np.isfinite(np.delete(c, 3, axis=0)).all()


# --- the engine ---


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_gradients_against_oracle(engine, cell, activation, shape):
    """Errors are those of 16 bits, an order of magnitude beyond float32's."""
    N, B, T, n, D, K = shape
    networks = random_networks(cell, activation, n, D, K, N, seed=n, gate_bias=0.5)
    inputs, targets, mask = random_trials(networks, B, T, seed=B, masked=True)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets, mask)
    for i in range(N):
        value, expected, _ = oracle.loss_and_gradients(
            cell, activation, 0.5, oracle_parameters(networks, i), inputs[i], targets[i], mask[i].astype(np.float64)
        )
        assert relative_error(losses[i], value) < tolerances.LOSS_BF16X3
        for name, gradient in gradients.items():
            assert relative_error(gradient[i], expected[name]) < tolerances.GRADIENT_BF16X3, name


def test_rollouts_and_losses(engine):
    networks = random_networks("lstm", "tanh", 48, 3, 3, 2, seed=1)
    inputs = random_trials(networks, 35, 4)[0]
    states, outputs = engine.run(networks, inputs)
    for i in range(2):
        expected = oracle.run("lstm", "tanh", 1.0, oracle_parameters(networks, i), inputs[i])
        assert relative_error(states[i], expected[0]) < tolerances.LOSS_BF16X3
        assert relative_error(outputs[i], expected[1]) < tolerances.LOSS_BF16X3
    task = get_task("flipflop", steps=7)
    exact = engines.get("cpu", threads=1).loss(networks, task, trials=40)
    assert 0 < relative_error(engine.loss(networks, task, trials=40), exact) < tolerances.LOSS_BF16X3


def train(engine, networks, iterations=6, batch=40, learning_rate=0.05):
    networks = networks.copy()
    optimizer = Optimizer.start(networks, learning_rate=learning_rate, momentum=0.9, iterations=9)
    losses = engine.advance(networks, optimizer, get_task("flipflop", steps=5), iterations, batch=batch)
    return networks, optimizer, losses


def test_training_follows_float32(engine):
    start = random_networks("gru", "tanh", 64, 3, 3, N=2, seed=4)
    (made, _, losses), (expected, _, exact) = train(engine, start), train(engines.get("cpu", threads=1), start)
    assert 0 < relative_error(losses, exact) < 1e-4
    assert 0 < relative_error(made.parameters, expected.parameters) < 1e-4


def test_the_bits_do_not_depend_on_threads_or_neighbours(engine):
    start = random_networks("ugrnn", "relu", 50, 3, 3, N=3, seed=5)
    together = train(engine, start)
    for threads in (1, 2):
        other = CPUEngine(threads, "bf16x3")
        alone = [train(other, start[i]) for i in range(3)]
        np.testing.assert_array_equal(np.concatenate([made[0].parameters for made in alone]), together[0].parameters)
        np.testing.assert_array_equal(np.concatenate([made[2] for made in alone]), together[2])


def test_a_network_that_diverges_is_frozen(engine):
    start = random_networks("vanilla", "relu", 32, 3, 3, N=2, seed=6)
    start.W_rec[1] *= 1e12
    networks, optimizer, losses = train(engine, start)
    assert optimizer.status.tolist() == [Status.TRAINING, Status.DIVERGED]
    assert np.isfinite(losses[0]).all() and np.isnan(losses[1]).any()
    np.testing.assert_array_equal(networks[0].parameters, train(engine, start[0])[0].parameters)


def test_padding_fills_whole_blocks():
    layout = make_layout("gru", 50, 3, 3, 20, 40, "bf16x3")
    assert (layout.units, layout.rows, layout.tiles, layout.panel_rows) == (64, 32, 2, 96)
    assert layout.operands_size == (96 + 64) * 3 * 64
    assert make_layout("gru", 50, 3, 3, 20, 40).operands_size == 0


def test_estimates(engine):
    task, exact = get_task("flipflop"), engines.get("cpu", threads=2)
    assert engine.workspace_bytes("lstm", 64, task) > exact.workspace_bytes("lstm", 64, task)
    seconds = [engine.seconds_per_iteration("lstm", "tanh", n, task) for n in (64, 256)]
    assert 0 < 4 * seconds[0] < seconds[1] < 16 * seconds[0]
    assert engine.seconds_per_iteration("gru", "tanh", 33, task, batch=33) == engine.seconds_per_iteration(
        "gru", "tanh", 64, task, batch=64
    )  # whole blocks
    assert engine.description == exact.description.replace(";", ", bf16x3;")


# --- where there is none ---


def test_without_the_unit_vector_code_does_the_same(engine, tmp_path):
    """In a process whose compiler is told that the processor has none."""
    code = (
        "import sys, numpy as np; from samples import random_networks, random_trials\n"
        "from fastrnn.engines.cpu import bf16x3; from fastrnn.engines.cpu.engine import CPUEngine\n"
        "assert not bf16x3.HAS_UNIT and 'has no matrix unit' in bf16x3.why_not()\n"
        "networks = random_networks('vanilla', 'tanh', 40, 3, 2, 1, seed=7)\n"
        "made = CPUEngine(1, 'bf16x3').loss_and_gradients(networks, *random_trials(networks, 9, 4, seed=3))\n"
        "np.savez(sys.argv[1], **made[1])"
    )
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": ",".join(word for word in host_features().split(",") if "amx" not in word),
        "FASTRNN_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    path = tmp_path / "gradients.npz"
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True)
    networks = random_networks("vanilla", "tanh", 40, 3, 2, 1, seed=7)
    _, expected = engine.loss_and_gradients(networks, *random_trials(networks, 9, 4, seed=3))
    with np.load(path) as made:
        for name, gradient in expected.items():
            assert relative_error(made[name], gradient) < tolerances.GRADIENT, name  # sums in another order


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="unknown precision 'half'; the precisions are float32, bf16x3"):
        CPUEngine(1, "half")


def test_where_it_can_not_be_used_is_said(monkeypatch):
    monkeypatch.setattr(bf16x3, "why_not", lambda: "this processor has none")
    with pytest.raises(UsageError, match="'bf16x3' needs a GPU or a matrix unit: this processor has none; take 'float"):
        engines.get("cpu", precision="bf16x3")


@pytest.mark.skipif(bool(bf16x3.why_not()), reason="the processor's matrix unit can't be used")
def test_a_run_records_its_precision(tmp_path):
    kind = {"cells": "gru", "activations": "tanh", "sizes": 16, "task_settings": {"steps": 5}}
    spec = PopulationSpec("flipflop", seeds=1, iterations=4, **kind)
    run = fastrnn.train(spec, tmp_path / "run", "cpu", precision="bf16x3", progress=False)
    (engine,) = run.finished("gru-tanh-16").engines
    assert engine == f"cpu ({CPUEngine(precision='bf16x3').processor})" != f"cpu ({CPUEngine().processor})"
