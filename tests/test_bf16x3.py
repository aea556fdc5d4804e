"""Matrix products on the processor's matrix unit, or in vector code that does the same: operands, errors, training."""

import os
import subprocess
import sys

import numba
import numpy as np
import oracle
import pytest
import tolerances
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from populations import small
from samples import KINDS, oracle_parameters, random_networks, random_trials, relative_error

import fastrnn
from fastrnn import engines
from fastrnn.engines.cpu import bf16x3
from fastrnn.engines.cpu import engine as cpu_engine
from fastrnn.engines.cpu.bf16x3 import operands, unit
from fastrnn.engines.cpu.bf16x3 import tiles as tiles_of_bf16x3
from fastrnn.engines.cpu.bf16x3.mathematics import TableMath
from fastrnn.engines.cpu.engine import CPUEngine, aligned
from fastrnn.engines.cpu.layout import make_layout
from fastrnn.engines.cpu.vectors import LANES, Vector, VectorMath, host_features
from fastrnn.errors import Status, UsageError
from fastrnn.optimizer import METHODS, Optimizer
from fastrnn.search import SearchSpec
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import get_task

pytestmark = [
    pytest.mark.skipif(LANES != 16, reason="blocks in bf16 are for processors with AVX-512"),
    pytest.mark.skipif(bf16x3.HAS_UNIT and bool(bf16x3.why_not()), reason="the matrix unit can't be used"),
]

# N, B, T, n, D, K: ones; trials and units that fill no block of 32, or several; more steps than a block of the weight
# gradient; inputs, outputs and errors that need several tiles or chunks
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 17, 5, 3, 5),
    (1, 40, 3, 64, 3, 3),
    (2, 33, 9, 50, 31, 2),
    (1, 64, 4, 160, 40, 1),
    (1, 20, 5, 32, 3, 19),
]


@pytest.fixture(scope="module")
def engine():
    return CPUEngine(threads=2, precision="bf16x3")


# --- operands and products ---

ROWS, COLUMNS = 32, 16


@numba.njit
def product(a, b, extra_a, extra_b, c, keep):
    """C = [C +] A B + extra A extra B; A is (32, 32 steps), B (32 steps, 16 tiles), the extras 8 chunks deep."""
    steps, chunks, tiles = a.shape[1] // 32, extra_a.shape[1] // 8, b.shape[1] // 16
    left, left_chunks = np.empty(2 * steps * unit.STEP, np.float32), np.empty(2 * chunks * unit.TILE + 1, np.float32)
    right = np.empty(tiles * (steps * unit.STEP + chunks * unit.TILE), np.float32)
    operands.split_rows(a.ctypes.data, a.shape[1], steps, left.ctypes.data)
    for g in range(chunks):
        to = left_chunks.ctypes.data + 4 * g * unit.TILE
        operands.chunk_of_rows(extra_a.ctypes.data + 4 * 8 * g, extra_a.shape[1], to, chunks * unit.TILE)
    to, stride = right.ctypes.data, b.shape[1]
    for j in range(tiles):
        for k in range(steps):
            operands.step_of_weights(b.ctypes.data + 4 * (32 * k * stride + 16 * j), stride, to)
            to += 4 * unit.STEP
        for g in range(chunks):
            operands.chunk_of_weights(extra_b.ctypes.data + 4 * (8 * g * stride + 16 * j), stride, 8, to)
            to += 4 * unit.TILE
    unit.open_unit()
    tiles_of_bf16x3.multiply(
        tiles_of_bf16x3.Product(
            left.ctypes.data,
            left_chunks.ctypes.data,
            right.ctypes.data,
            steps * unit.STEP + chunks * unit.TILE,
            steps,
            steps,
            chunks,
            chunks,
            c.ctypes.data,
            c.shape[1],
            tiles,
            keep,
        )
    )
    unit.close_unit()


def in_two_parts(x):
    """High and low bf16 of float32, in float64: each the nearest, away from zero where two are."""
    high = ((x.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    low = x - high
    return high.astype(np.float64), ((low.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32).astype(np.float64)


def in_bf16x3(a, b):
    (a_high, a_low), (b_high, b_low) = in_two_parts(a), in_two_parts(b)
    return a_high @ b_low + a_high @ b_high + a_low @ b_high


def words_of(pairs):
    """Words (high parts, low parts) of pairs of float32 (2, ...), the first one's bf16 below."""
    made = []
    for part in in_two_parts(pairs):
        bits = part.astype(np.float32).view(np.uint32)
        made.append(bits[0] >> 16 | bits[1])
    return np.array(made)


def spread_out(rng, *shape):
    """float32 of many magnitudes."""
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(np.float32)


@pytest.mark.parametrize(("steps", "chunks", "tiles"), [(1, 0, 2), (5, 0, 6), (2, 1, 5), (0, 2, 4), (3, 3, 1)])
def test_products_are_those_of_the_parts(engine, steps, chunks, tiles):
    rng = np.random.default_rng(steps)
    columns = tiles * COLUMNS
    a, b = spread_out(rng, ROWS, 32 * steps), rng.normal(size=(32 * steps, columns)).astype(np.float32)
    extra_a, extra_b = spread_out(rng, ROWS, 8 * chunks), rng.normal(size=(8 * chunks, columns)).astype(np.float32)
    c = rng.normal(size=(ROWS, columns)).astype(np.float32)
    whole = [sum(in_two_parts(x)) for x in (extra_a, extra_b)]
    expected = in_bf16x3(a, b) + whole[0] @ whole[1]
    bound = 2e-6 * (np.abs(a) @ np.abs(b) + np.abs(extra_a) @ np.abs(extra_b)) + 1e-6
    made = c.copy()
    product(a, b, extra_a, extra_b, made, False)
    assert np.all(np.abs(made - expected) < bound)
    assert relative_error(made, a.astype(np.float64) @ b + extra_a.astype(np.float64) @ extra_b) < 2e-5
    if tiles % 2 == 0:  # what is kept are whole squares
        made = c.copy()
        product(a, b, extra_a, extra_b, made, True)
        assert np.all(np.abs(made - c - expected) < bound + 1e-6)


def factors(depth, place, value):
    """(32, depth) by (depth, 32), zero but for `value` in the column of A and the row of B at `place`."""
    a, b = np.zeros((ROWS, depth), np.float32), np.zeros((depth, 32), np.float32)
    if depth:
        a[:, place], b[place] = value, value
    return a, b


def test_steps_have_three_products_of_parts_and_chunks_four(engine):
    made = np.empty((ROWS, 32), np.float32)
    value = 1 + 2.0**-10  # the low part is 2^-10
    for place in range(32):
        product(*factors(32, place, value), *factors(0, 0, 0.0), made, False)
        assert np.all(made == 1 + 2.0**-9)
    for place in range(8):
        product(*factors(0, 0, 0.0), *factors(8, place, value), made, False)
        assert np.all(made == 1 + 2.0**-9 + 2.0**-20)


@pytest.mark.parametrize("depths", [(32, 0), (0, 8)])
def test_what_is_not_finite_stays_so(engine, depths):
    for bad in (np.nan, np.inf, -np.inf):
        (a, b), (extra_a, extra_b) = (factors(depth, 5, 1.0) for depth in depths)
        (a if depths[0] else extra_a)[3, 5] = bad
        c = np.zeros((ROWS, 32), np.float32)
        product(a, b, extra_a, extra_b, c, False)
        assert not np.isfinite(c[3]).any() and np.isfinite(np.delete(c, 3, axis=0)).all()


def test_transposes(engine):
    """Trials are paired i with i + 16, units i with i + 16; rows of weights that are not there are zero."""
    rng = np.random.default_rng(0)
    trials, made = spread_out(rng, 32, 16), np.empty((2, 16, 16), np.uint32)
    transpose_trials(trials, made.view(np.float32))
    np.testing.assert_array_equal(made, words_of(trials.T.reshape(16, 2, 16).transpose(1, 0, 2)))
    weights = spread_out(rng, 16, 32)
    step_of_transposed(weights, 5, made.view(np.float32))
    weights[5:] = 0.0
    np.testing.assert_array_equal(made, words_of(weights.T.reshape(2, 16, 16)))


@numba.njit
def transpose_trials(source, left):
    operands.transpose_trials(source.ctypes.data, source.shape[1], left.ctypes.data)


@numba.njit
def step_of_transposed(source, count, right):
    operands.step_of_transposed(source.ctypes.data, source.shape[1], count, right.ctypes.data)


# --- tanh ---


@intrinsic
def tanh_of_vector(typing_context, address):
    def generate(context, builder, signature, arguments):
        place = (arguments[0], ir.IntType(64)(0))
        unit.write(builder, TableMath(builder).tanh(Vector(builder, unit.read(builder, *place))).value, *place)
        return context.get_dummy_value()

    return types.void(types.intp), generate


@numba.njit
def tanh_in_place(x):
    for i in range(0, x.size, 16):
        tanh_of_vector(x.ctypes.data + 4 * i)


def tanh(x):
    made = np.zeros(-(-len(x) // 16) * 16, np.float32)
    made[: len(x)] = x
    tanh_in_place(made)
    return made[: len(x)]


def test_tanh_over_the_whole_range():
    ranges = np.geomspace(1e-37, 1e-3, 20_000), np.linspace(1e-3, 20, 400_000), np.geomspace(20, 3e38, 1000)
    size = np.concatenate(ranges)
    x = np.concatenate([-size[::-1], size]).astype(np.float32)
    made = tanh(x)
    assert np.max(np.abs(made / np.tanh(x.astype(np.float64)) - 1)) < 3e-7
    assert np.all(np.abs(made) <= 1) and np.all(np.abs(made[np.abs(x) > 8.4]) == 1)
    np.testing.assert_array_equal(made, -tanh(-x))


def test_sigmoid_is_float32s():
    """Its relative error matters (see `mathematics`), and tests/test_vectors.py measures it."""
    assert TableMath.sigmoid is VectorMath.sigmoid and TableMath.tanh is not VectorMath.tanh


def test_tanh_of_what_is_no_ordinary_number():
    assert tanh([0.0, -0.0, np.inf, -np.inf]).tolist() == [0.0, 0.0, 1.0, -1.0]
    assert np.isnan(tanh([np.nan])).all()


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
        few = B * T == 1
        assert relative_error(losses[i], value) < (tolerances.LOSS_BF16X3 if few else tolerances.STATES_BF16X3)
        for name, gradient in gradients.items():
            assert relative_error(gradient[i], expected[name]) < tolerances.GRADIENT_BF16X3, name


def test_rollouts_and_losses(engine):
    networks = random_networks("lstm", "tanh", 48, 3, 3, 2, seed=1)
    inputs = random_trials(networks, 35, 4)[0]
    states, outputs = engine.run(networks, inputs)
    for i in range(2):
        expected = oracle.run("lstm", "tanh", 1.0, oracle_parameters(networks, i), inputs[i])
        assert relative_error(states[i], expected[0]) < tolerances.STATES_BF16X3
        assert relative_error(outputs[i], expected[1]) < tolerances.STATES_BF16X3
    task = get_task("flipflop", steps=7)
    exact = engines.get("cpu", threads=1).loss(networks, task, trials=40)
    assert 0 < relative_error(engine.loss(networks, task, trials=40), exact) < tolerances.STATES_BF16X3


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_what_was_in_memory_before_does_not_matter(engine, cell, monkeypatch):
    def full_of_nan(size):
        array = aligned(size)
        array[:] = np.nan
        return array

    networks = random_networks(cell, "tanh", 20, 9, 19, 1, seed=8)
    trials = random_trials(networks, 9, 8, seed=3)
    expected = engine.loss_and_gradients(networks, *trials)
    assert all(np.isfinite(gradient).all() for gradient in expected[1].values())
    monkeypatch.setattr(cpu_engine, "aligned", full_of_nan)
    made = CPUEngine(1, "bf16x3").loss_and_gradients(networks, *trials)
    np.testing.assert_array_equal(made[0], expected[0])
    for name, gradient in expected[1].items():
        np.testing.assert_array_equal(made[1][name], gradient)


def train(engine, networks, iterations=6, batch=40, learning_rate=0.05, method="sgd"):
    networks = networks.copy()
    optimizer = Optimizer.start(networks, learning_rate=learning_rate, momentum=0.9, iterations=9, method=method)
    losses = engine.advance(networks, optimizer, get_task("flipflop", steps=5), iterations, batch=batch)
    return networks, optimizer, losses


def test_training_follows_float32(engine):
    start = random_networks("gru", "tanh", 64, 3, 3, N=2, seed=4)
    (made, _, losses), (expected, _, exact) = train(engine, start), train(engines.get("cpu", threads=1), start)
    assert 0 < relative_error(losses, exact) < 1e-4
    assert 0 < relative_error(made.parameters, expected.parameters) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_the_bits_do_not_depend_on_threads_or_neighbours(engine, method):
    start = random_networks("ugrnn", "relu", 50, 3, 3, N=3, seed=5)
    together = train(engine, start, method=method)
    for threads in (1, 2):
        other = CPUEngine(threads, "bf16x3")
        alone = [train(other, start[i], method=method) for i in range(3)]
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
    assert (layout.units, layout.rows, layout.tiles, layout.panel_rows) == (64, 32, 2, 80)
    assert (layout.readout_columns, layout.input_chunks, layout.error_chunks) == (16, 1, 1)
    forward, back = (16 + 3 * 64) // 16 * (2 * 512 + 256), 64 // 16 * (3 * 2 * 512 + 256)
    assert layout.operands_size == forward + back
    assert make_layout("gru", 50, 3, 3, 20, 40).operands_size == 0


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_operands_fill_their_place(engine, cell):
    layout = make_layout(cell, 50, 9, 19, 20, 40, "bf16x3")
    packed, transposed = np.ones(layout.packed_size, np.float32), np.ones(50 * 64 * 64, np.float32)
    made = np.full(layout.operands_size + 16, np.nan, np.float32)
    fill(layout, packed, transposed, made)
    assert np.isfinite(made[:-16]).all() and np.isnan(made[-16:]).all()


@numba.njit
def fill(layout, packed, transposed, made):
    operands.fill_operands(layout, packed, transposed, made)


def test_estimates(engine):
    task, exact = get_task("flipflop"), engines.get("cpu", threads=2)
    assert engine.workspace_bytes("lstm", 64, task) > exact.workspace_bytes("lstm", 64, task)
    seconds = [engine.seconds_per_iteration("lstm", "tanh", n, task) for n in (64, 256)]
    assert 0 < 4 * seconds[0] < seconds[1] < 16 * seconds[0]
    assert engine.seconds_per_iteration("gru", "tanh", 33, task, batch=33) == engine.seconds_per_iteration(
        "gru", "tanh", 64, task, batch=64
    )  # whole blocks
    assert engine.description == exact.description.replace(";", ", bf16x3;")


def test_noise_is_refused_before_anything_is_done(engine, tmp_path, monkeypatch):
    said = "noise in training is not done in precision 'bf16x3' on the processor: take 'float32', or leave it out"
    networks = random_networks("leaky", "tanh", 32, 3, 3, N=1)
    optimizer = Optimizer.start(networks, learning_rate=0.1, noise=0.1, iterations=1)
    with pytest.raises(UsageError, match=said):
        engine.advance(networks, optimizer, get_task("flipflop", steps=3), 1)
    monkeypatch.setattr(engines, "get", lambda *_: engine)
    with pytest.raises(UsageError, match=said):
        fastrnn.train(small(cells="leaky", noise=0.1), tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match=said):
        fastrnn.search_hyperparameters(SearchSpec(small(cells="leaky", noise=0.1)), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    fastrnn.train(small(cells="leaky", iterations=1), tmp_path / "run", progress=False)


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
    with pytest.raises(UsageError, match="unknown precision 'half'; allowed are float32, bf16x3"):
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
