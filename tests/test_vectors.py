"""Vector code: accuracy of its functions in units in the last place, matrix products, other vector widths."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import tolerances
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastrnn.cells import ArrayMath
from fastrnn.engines.cpu import emit, products, stages
from fastrnn.engines.cpu.vectors import HAS_FMA, LANES, Vector, VectorMath, float_lanes


def vector_function(method, activation="tanh", lanes=LANES):
    """A method of `VectorMath` as a function of float32 arrays, on vectors of so many lanes."""
    kind = ir.VectorType(ir.FloatType(), lanes)

    @intrinsic
    def one_vector(typing_context, source, destination):
        def generate(context, builder, signature, arguments):
            start, end = (emit.element(builder, address, ir.IntType(64)(0)) for address in arguments)
            value = getattr(VectorMath(builder, activation), method)(Vector(builder, emit.load(builder, start, kind)))
            emit.store(builder, value.value, end)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), generate

    @njit
    def apply(source, destination):
        for j in range(0, source.shape[0], lanes):
            one_vector(source.ctypes.data + 4 * j, destination.ctypes.data + 4 * j)

    def function(x):
        padded = np.zeros(-(-x.size // lanes) * lanes, np.float32)
        padded[: x.size] = x
        out = np.empty_like(padded)
        apply(padded, out)
        return out[: x.size]

    return function


def errors_in_ulp(got, expected):
    """Distance from the float64 result in units in the last place of the float32 one."""
    unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return np.abs(got - expected) / unit


def sample(limit):
    """Numbers of every size up to the limit, both signs, and some beyond."""
    sizes = np.exp(np.linspace(np.log(1e-30), np.log(limit), 60_000))
    return np.concatenate([sizes, -sizes, np.linspace(-limit, limit, 80_001), [0.0, -0.0]]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "low", "high", "most"), [("tanh", -20, 20, 6), ("sigmoid", -87, 88, 4), ("exp", -87, 88, 3)]
)
def test_accuracy(name, low, high, most):
    assert worst_error(name, low, high) <= most


def worst_error(name, low, high, every=53):
    """In units in the last place: `sample`, and of the numbers beyond 2^-14, where errors grow, one in `every`."""
    first, last = np.float32([2**-14, max(-low, high)]).view(np.int32)
    dense = np.arange(first, last, every, np.int32).view(np.float32)
    x = np.concatenate([sample(max(-low, high)), dense, -dense])
    x = x[(x >= low) & (x <= high)]
    expected = {"tanh": np.tanh, "exp": np.exp, "sigmoid": ArrayMath("tanh").sigmoid}[name](x.astype(np.float64))
    return errors_in_ulp(vector_function(name)(x), expected).max()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp"])
def test_vectors_side_by_side_give_the_same_bits(name):
    x = sample(90)
    together = vector_function(name, lanes=stages.TOGETHER * LANES)
    assert together(x).tobytes() == vector_function(name)(x).tobytes()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp"])
def test_ends_and_what_is_not_finite(name):
    x = np.array([-np.inf, -1e30, -200, 200, 1e30, np.inf, np.nan, -np.nan], np.float32)
    got = vector_function(name)(x)
    low, high = {"tanh": (-1, 1), "sigmoid": (0, 1), "exp": (0, np.exp(88.3))}[name]
    np.testing.assert_allclose(got[:3], low, atol=1e-37)
    np.testing.assert_allclose(got[3:6], high, rtol=1e-4)
    assert np.isnan(got[6:]).all()


def test_tanh_is_odd_and_never_beyond_one():
    x = sample(30)
    got = vector_function("tanh")(x)
    np.testing.assert_array_equal(got, -vector_function("tanh")(-x))
    assert np.abs(got).max() == 1.0


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_activations_are_those_of_the_arrays(activation):
    m = ArrayMath(activation)
    x = sample(20)
    phi = vector_function("phi", activation)(x)
    np.testing.assert_allclose(phi, m.phi(x.astype(np.float64)), rtol=1e-6)
    slope = vector_function("phi_slope", activation)(phi)
    np.testing.assert_allclose(slope, m.phi_slope(phi.astype(np.float64)), rtol=1e-6, atol=1e-7)
    assert np.isnan(vector_function("phi", activation)(np.full(3, np.nan, np.float32))).all()


def packed(matrix):
    """A (depth, columns) matrix as the micro-kernel reads it: one panel of columns behind the other."""
    panels = [matrix[:, j : j + products.PANEL] for j in range(0, matrix.shape[1], products.PANEL)]
    return np.concatenate([panel.ravel() for panel in panels])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 300, 700])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [4, 8, 12, 16, 20, 24])
def test_matrix_product(rows, vectors, depth, keep):
    rng = np.random.default_rng(rows + depth)
    columns = vectors * LANES
    a = rng.normal(size=(rows, depth + 3)).astype(np.float32)  # rows further apart than they are long
    b = rng.normal(size=(depth, columns)).astype(np.float32)
    c = rng.normal(size=(rows, columns + 16)).astype(np.float32)
    expected = c.astype(np.float64)
    expected[:, :columns] = a[:, :depth].astype(np.float64) @ b + keep * expected[:, :columns]
    right = packed(b)
    addresses = (a.ctypes.data, a.shape[1], right.ctypes.data, c.ctypes.data, c.shape[1])
    products.multiply_packed(*addresses, rows, columns, depth, depth, keep, products.NONE_BESIDE)
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("depth2", [1, 5])
@pytest.mark.parametrize("depth", [0, 3, 300])  # nothing, in one block, in two
@pytest.mark.parametrize("rows", [4, 12, 20])
def test_matrix_product_and_another_beside_it(rows, depth, depth2, keep):
    """To the same bits as one after the other."""
    rng = np.random.default_rng(rows + depth + depth2)
    columns = 7 * LANES  # as many vectors at once as there are kernels for
    a, b, a2, b2, c = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((rows, depth), (depth, columns), (rows, depth2 + 2), (depth2, columns + 4), (rows, columns))
    )
    right, apart = packed(b), c.copy()
    left = (a.ctypes.data, depth, right.ctypes.data)
    beside = (a2.ctypes.data, a2.shape[1], b2.ctypes.data, b2.shape[1], depth2)
    products.multiply_packed(*left, c.ctypes.data, columns, rows, columns, depth, depth, keep, beside)
    again = (apart.ctypes.data, columns, rows, columns)
    products.multiply_packed(*left, *again, depth, depth, keep, products.NONE_BESIDE)
    products.multiply_packed(*left, *again, 0, depth, True, beside)
    assert c.tobytes() == apart.tobytes()


@pytest.mark.parametrize("depth", [1, 6, 64, 300])
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [4, 8, 12, 68])
def test_transposed_matrix_product(rows, vectors, depth):
    """Row-major and in panels: what is right, and the same bits."""
    rng = np.random.default_rng(rows + depth)
    columns = vectors * LANES
    a = rng.normal(size=(depth, rows + 1)).astype(np.float32)  # rows further apart than they are long
    b, c = (rng.normal(size=(size, columns + 4)).astype(np.float32) for size in (depth, rows))
    in_panels = packed(c[:, :columns])
    expected = c.astype(np.float64)
    expected[:, :columns] += a[:, :rows].astype(np.float64).T @ b[:, :columns]
    left, size = (a.ctypes.data, a.shape[1], b.ctypes.data, b.shape[1]), (rows, columns, depth)
    products.multiply_transposed(*left, c.ctypes.data, c.shape[1], products.PANEL, *size)
    products.multiply_transposed(*left, in_panels.ctypes.data, products.IN_PANELS, rows * products.PANEL, *size)
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-4)
    assert in_panels.tobytes() == packed(c[:, :columns]).tobytes()


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("rows", [4, 12])
def test_rows_times_rows(rows, outputs):
    """Of two registers a row: products rounded, added (fused, if that can be), then halves onto halves."""
    rng = np.random.default_rng(outputs)
    a, b = (rng.normal(size=(size, 2 * LANES + 3)).astype(np.float32) for size in (rows, outputs))
    out = np.full((rows, outputs + 1), 7, np.float32)
    left, right = (a.ctypes.data, a.shape[1]), (b.ctypes.data, b.shape[1])
    products.multiply_rows(*left, *right, out.ctypes.data, out.shape[1], rows, outputs, 2 * LANES)
    pairs = a[:, None, : 2 * LANES] * b[None, :, : 2 * LANES]
    exact = a.astype(np.float64)[:, None, LANES : 2 * LANES] * b[None, :, LANES : 2 * LANES]
    fused = (pairs[..., :LANES] + exact).astype(np.float32)
    sums = fused if HAS_FMA else pairs[..., :LANES] + pairs[..., LANES:]
    while sums.shape[-1] > 1:
        half = sums.shape[-1] // 2
        sums = sums[..., :half] + sums[..., half:]
    assert out[:, :-1].tobytes() == sums[..., 0].tobytes() and (out[:, -1] == 7).all()


@njit
def loss_of(error, target, mask, bias):
    return stages.weigh_errors(error.ctypes.data, target.ctypes.data, mask.ctypes.data, bias.ctypes.data, error.size)


def test_a_loss_does_not_depend_on_steps_that_count_for_nothing():
    rng = np.random.default_rng(1)
    for size in range(LANES, 20 * LANES, LANES):
        error, target, bias = rng.normal(size=(3, size + 4 * LANES)).astype(np.float32)
        mask = (rng.random(size + 4 * LANES) < 0.7).astype(np.float32)
        mask[size:] = 0
        whole = loss_of(error.copy(), target, mask, bias)
        expected = (mask * (error + bias - target).astype(np.float64) ** 2).sum()
        assert loss_of(error[:size].copy(), target[:size], mask[:size], bias[:size]) == whole
        assert whole == pytest.approx(expected, rel=1e-5)


def test_lanes_follow_the_features():
    assert float_lanes("+sse2,-avx512f,-avx") == 4
    assert float_lanes("+avx,+avx2,-avx512f") == 8
    assert float_lanes("+avx2,+avx,+avx512f") == 16
    assert float_lanes("") == 4


PARITY = """
import numpy as np, oracle
from test_vectors import worst_error
from samples import oracle_parameters, random_networks, random_trials, relative_error
from fastrnn import engines
from fastrnn.engines.cpu.vectors import HAS_FMA, LANES
engine = engines.get("cpu", threads=2)
worst = 0.0
for cell, activation in (("gru", "tanh"), ("lstm", "relu")):
    networks = random_networks(cell, activation, 29, 3, 2, N=2)  # vectors side by side, a single one and a rest
    inputs, targets, _ = random_trials(networks, 19, 9)
    _, gradients = engine.loss_and_gradients(networks, inputs, targets)
    for i in range(2):
        p = oracle_parameters(networks, i)
        _, expected, _ = oracle.loss_and_gradients(cell, activation, 1.0, p, inputs[i], targets[i])
        worst = max(worst, *(relative_error(gradients[name][i], expected[name]) for name in expected))
print(LANES, int(HAS_FMA), worst, *(worst_error(*which, 211) for which in (("tanh", -20, 20), ("sigmoid", -87, 88))))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86 processors")
@pytest.mark.parametrize(
    ("features", "lanes", "fused"),
    [("+sse2,+avx,+avx2,+fma", 8, 1), ("+sse2", 4, 0)],
)
def test_gradients_and_accuracy_with_narrower_vectors(features, lanes, fused, tmp_path):
    """Processors with AVX2, and with neither AVX nor fused operations."""
    environment = os.environ | {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": features,
        "FASTRNN_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", PARITY]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    assert [int(output[0]), int(output[1])] == [lanes, fused]
    assert float(output[2]) < tolerances.GRADIENT
    assert float(output[3]) <= 6 and float(output[4]) <= 4
