"""How the work of a group is cut: each kernel's template arguments, threads, blocks and shared memory.

The kernels assert the same numbers at compile time. Everything here follows from the kind and the sizes of a group and
the shared memory of the device, never from the number of networks: results don't depend on how a group is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ...cells import get_cell
from ...errors import UsageError

DEPTH, PADDING = 16, 4  # kernels/product.cuh
CHUNK, LENGTH = 4, 8  # kernels/readout.cu, kernels/weight_gradient.cu
TENSOR_LENGTH, TENSOR_PADDING = 16, 8  # kernels/weight_gradient_bf16x3.cu, kernels/tensor_product.cuh
LARGEST = 256  # units
MULTIPLES = {"float32": DEPTH, "bf16x3": 64}  # of which n must be one, by precision
LIMIT = 256  # columns of a pass
STAGES = 3  # tiles of weights in flight where not all of them stay in shared memory
RESIDENT = 64 << 10  # bytes of weights up to which all of them stay
TRIALS = (64, 32, 16, 8)  # trials of a block
WARPS = 8  # of a block of the readout
MOST_SPLIT_INPUTS = 15  # on tensor cores a thread has four registers for each; with more it is done as in float32
POINT_THREADS = 128  # kernels/points.cu


@dataclass(frozen=True)
class Kernel:
    """One kernel as it is launched: source file, name expression, threads and bytes of shared memory of a block."""

    source: str
    name: str
    threads: int
    shared: int = 0


@dataclass(frozen=True)
class Tiling:
    """Kernels of one kind and size, and the sizes of their arrays.

    padded : P, trials rounded up to whole tiles
    tiles : blocks a network's trials are shared out over on the way back
    slices : partial sums of each gradient
    """

    rollout: Kernel
    readout: Kernel
    backward: Kernel
    weight_gradient: Kernel
    padded: int
    trials: int
    edge: int
    tiles: int
    slices: int

    def kernels(self, way_back: bool) -> tuple[Kernel, ...]:
        """Those that a group launches, with or without gradients."""
        there = (self.rollout, self.readout)
        return (*there, self.backward, self.weight_gradient) if way_back else there


def does_size(n: int, precision: str = "float32") -> bool:
    """Whether the kernels can do n units in that precision."""
    return n % MULTIPLES[precision] == 0 and n <= LARGEST


def sizes_in(precision: str) -> str:
    """Which they can, in words.

    >>> sizes_in("float32")
    'multiples of 16 up to 256 in float32'
    """
    return f"multiples of {MULTIPLES[precision]} up to {LARGEST} in {precision}"


def check_size(n: int, precision: str = "float32") -> None:
    """`UsageError` unless the kernels can do n units in that precision."""
    if not does_size(n, precision):
        other = "precision 'float32'" if does_size(n) else "device 'cpu'"
        raise UsageError(
            f"the CUDA engine does sizes that are {sizes_in(precision)}; n is {n}: take such a size, or {other}"
        )


def check_inputs(tiling: Tiling, n: int, D: int, shared_limit: int) -> None:
    """`UsageError` where the gradient of the weights of so many inputs needs more shared memory than there is."""
    if tiling.weight_gradient.shared > shared_limit:
        most = shared_limit // (8 * LENGTH) - 2 * tiling.edge - 1
        raise UsageError(
            f"on this device the CUDA engine trains networks of n = {n} with at most {most} inputs; D is {D}: take "
            "device 'cpu'"
        )


def type_of(cell: str, activation: str) -> str:
    """The C++ type of a kind.

    >>> type_of("gru", "tanh")
    'Gru<Tanh>'
    """
    return f"{cell.capitalize()}<{activation.capitalize()}>"


def passes_of(blocks: int, n: int, limit: int) -> int:
    """Passes over the columns of a product; `passes_of` of kernels/layout.cuh."""
    passes = 1
    while n % passes or n // passes % (8 if blocks == 1 else 4) or n // passes * blocks > limit:
        passes += 1
    return passes


def rows_of(n: int, trials: int) -> int:
    """Trials of a thread: 8, fewer where that would leave a block with too few threads.

    >>> rows_of(256, 64), rows_of(256, 16), rows_of(64, 64)  # the second where shared memory is short
    (8, 4, 4)
    """
    return 8 if trials < 16 or (n >= 128 and trials // 8 * (n // 8) > 64) else 4


@lru_cache(maxsize=256)
def make_tiling(
    cell: str, activation: str, n: int, B: int, T: int, D: int, shared_limit: int, precision: str = "float32"
) -> Tiling:
    """The tiling of a group for batches of B trials of T steps.

    Parameters
    ----------
    shared_limit : bytes of shared memory a block may have
    precision : "float32", or "bf16x3" for matrix products on tensor cores
    """
    check_size(n, precision)
    sizes = TRIALS if precision == "float32" else TRIALS[:-1]  # tensor cores take 16 trials at least
    wanted = next((trials for trials in reversed(sizes) if trials >= B), sizes[0])
    for trials in (trials for trials in sizes if trials <= wanted):
        if precision == "float32":
            forward = _rollout(cell, activation, n, trials, rows_of(n, trials), shared_limit)
            backward = _backward(cell, activation, n, trials, rows_of(n, trials), shared_limit)
        else:
            forward = _rollout_bf16x3(cell, activation, n, trials, shared_limit)
            backward = _backward_bf16x3(cell, activation, n, trials, shared_limit)
        if forward and backward:
            break
    else:
        raise UsageError(f"{cell} networks with n = {n} need more shared memory than this device has ({shared_limit})")
    kind = type_of(cell, activation)
    slices = min(T, 8 if n < 128 else 4)
    readout_bytes = 4 * CHUNK * (n + WARPS * (n + 1))
    split = precision == "bf16x3" and D <= MOST_SPLIT_INPUTS
    edge, gradient = (_weight_gradient_bf16x3 if split else _weight_gradient)(kind, n, D)
    padded = -(-B // trials) * trials
    return Tiling(
        rollout=forward,
        readout=Kernel("readout", f"readout<{kind}, {n}, {WARPS}>", 32 * WARPS, readout_bytes),
        backward=backward,
        weight_gradient=gradient,
        padded=padded,
        trials=trials,
        edge=edge,
        tiles=padded // trials,
        slices=slices,
    )


def step_points(cell: str, activation: str, n: int, D: int) -> Kernel:
    """The update at single states, any n."""
    c = get_cell(cell)
    shared = 8 * ((c.state_multiple + 1 + c.gates) * n + D)
    return Kernel("points", f"step_points<{type_of(cell, activation)}>", POINT_THREADS, shared)


def jacobian_points(cell: str, activation: str, n: int, D: int) -> Kernel:
    """Its Jacobians."""
    c = get_cell(cell)
    factors = c.state_multiple * (1 + c.gates + c.state_multiple)
    shared = step_points(cell, activation, n, D).shared + 8 * factors * n
    return Kernel("points", f"jacobian_points<{type_of(cell, activation)}>", POINT_THREADS, shared)


def levenberg_marquardt(cell: str, activation: str, n: int, D: int) -> Kernel:
    """The search for a fixed point from one start."""
    S = get_cell(cell).state_size(n)
    shared = jacobian_points(cell, activation, n, D).shared + 8 * (3 * S + POINT_THREADS)
    name = f"levenberg_marquardt<{type_of(cell, activation)}>"
    return Kernel("levenberg_marquardt", name, POINT_THREADS, shared)


def _stages(tiles: int, tile_bytes: int) -> int:
    """Tiles of weights in shared memory: all of them, or so many in flight."""
    return tiles if tiles * tile_bytes <= RESIDENT or tiles <= STAGES else STAGES


def _rollout(cell: str, activation: str, n: int, trials: int, rows: int, shared_limit: int) -> Kernel | None:
    """The way forward, if it fits."""
    c = get_cell(cell)
    tiles, columns, threads = 0, 0, 0
    for blocks in filter(None, (len(c.first), len(c.second))):
        passes = passes_of(blocks, n, LIMIT)
        width = n // passes * blocks
        tiles += passes * (n // DEPTH)
        columns, threads = max(columns, width), max(threads, trials // rows * (width // 8))
    stages = _stages(tiles, 4 * DEPTH * columns)
    shared = 4 * (2 * trials * (n + PADDING) + stages * DEPTH * columns)
    name = f"rollout<{type_of(cell, activation)}, {n}, {trials}, {rows}, {LIMIT}, {stages}, {threads}, {shared}>"
    return Kernel("rollout", name, threads, shared) if shared <= shared_limit else None


def _backward(cell: str, activation: str, n: int, trials: int, rows: int, shared_limit: int) -> Kernel | None:
    """The way back, if it fits, with as many gate blocks in shared memory as there is room for."""
    c = get_cell(cell)
    stages = _stages(c.gates * (n // DEPTH), 4 * DEPTH * n)
    threads = trials // rows * (n // 8)
    most, least = (len(c.first), len(c.first)) if c.second else (c.gates, 1)
    for slots in range(most, least - 1, -1):
        floats = trials * (slots * n + PADDING + (n + PADDING) * (c.state_multiple - 1)) + stages * DEPTH * n
        shared = 4 * floats
        if shared <= shared_limit:
            kind = type_of(cell, activation)
            name = f"backward<{kind}, {n}, {trials}, {rows}, {slots}, {stages}, {threads}, {shared}>"
            return Kernel("backward", name, threads, shared)
    return None


def _weight_gradient(kind: str, n: int, D: int) -> tuple[int, Kernel]:
    """The product over all steps and trials, and the edge of a block's tile."""
    edge = next(edge for edge in range(128, 0, -8) if n % edge == 0)
    shared, threads = 4 * 2 * (2 * LENGTH * edge + LENGTH * (D + 1)), (edge // 8) ** 2
    name = f"weight_gradient<{kind}, {n}, {edge}, {D}, {threads}, {shared}>"
    return edge, Kernel("weight_gradient", name, threads, shared)


def _weight_gradient_bf16x3(kind: str, n: int, D: int) -> tuple[int, Kernel]:
    """The same on tensor cores."""
    edge = 128 if n % 128 == 0 else 64
    shared, threads = 2 * 2 * 4 * TENSOR_LENGTH * (edge + 8), 2 * edge
    name = f"weight_gradient_bf16x3<{kind}, {n}, {edge}, {D}, {threads}, {shared}>"
    return edge, Kernel("weight_gradient_bf16x3", name, threads, shared)


def _rollout_bf16x3(cell: str, activation: str, n: int, trials: int, shared_limit: int) -> Kernel | None:
    """The way forward on tensor cores, if it fits."""
    c = get_cell(cell)
    threads = max(n // passes_of(blocks, n, LIMIT) * blocks for blocks in (len(c.first), len(c.second)) if blocks)
    shared = 2 * 4 * trials * (n + TENSOR_PADDING)
    name = f"rollout_bf16x3<{type_of(cell, activation)}, {n}, {trials}, {LIMIT}, {threads}, {shared}>"
    return Kernel("rollout_bf16x3", name, threads, shared) if shared <= shared_limit else None


def _backward_bf16x3(cell: str, activation: str, n: int, trials: int, shared_limit: int) -> Kernel | None:
    """The way back on tensor cores, if it fits, with as many gate blocks in shared memory as there is room for."""
    c = get_cell(cell)
    most, least = (len(c.first), len(c.first)) if c.second else (c.gates, 1)
    for slots in range(most, least - 1, -1):
        shared = 4 * trials * (slots * n + TENSOR_PADDING + (n + TENSOR_PADDING) * (c.state_multiple - 1))
        if shared <= shared_limit:
            name = f"backward_bf16x3<{type_of(cell, activation)}, {n}, {trials}, {slots}, {n}, {shared}>"
            return Kernel("backward_bf16x3", name, n, shared)
    return None
