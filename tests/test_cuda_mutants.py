"""A test of the tests: bugs planted in the kernels are found, each by at least one of the schedules."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from samples import random_networks, random_trials, relative_error

from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.group import TRANSPOSE, Group
from fastrnn.engines.cuda.launch import Launcher, kernels_folder
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")

SCHEDULES = [(order, late, 3) for order in ("forward", "backward", "random") for late in (True, False)]
# cell, n, kB of shared memory, precision
RESIDENT, STREAMED = ("gru", 32, 227, "float32"), ("gru", 80, 227, "float32")
CHUNKED, TENSOR = ("lstm", 48, 50, "float32"), ("gru", 64, 227, "bf16x3")
BARRIER = "__syncthreads();"

COPIED_OVER = f"{BARRIER}            // for all threads; and nobody uses the slot before it any more\n      fetch();"
ADDED = "for (int e = threadIdx.x; e < CHUNK * (n + 1)"
ROW = "\n        const int row = first.row(i);"

# What is wrong: where, how it should read, how it reads, and for which networks it matters.
MUTANTS = {
    "a tile is used before its copies arrive": ("product.cuh", "wait_copies<STAGES - 2>();  // this", "//", STREAMED),
    "one tile too many is on its way": (
        "product.cuh",
        "wait_copies<STAGES - 2>();",
        "wait_copies<STAGES - 1>();",
        STREAMED,
    ),
    "tiles are used while others are still copied": ("product.cuh", f"{BARRIER}            // for", "// for", STREAMED),
    "a tile is copied over before it is used up": ("product.cuh", COPIED_OVER, f"fetch();\n      {BARRIER}", STREAMED),
    "one thread leaves a barrier out": (
        "product.cuh",
        f"{BARRIER}            // for",
        f"if (threadIdx.x != 5) {BARRIER} // for",
        STREAMED,
    ),
    "resident weights are not waited for": ("product.cuh", "if (resident) wait_copies<0>();", "", RESIDENT),
    "a step begins before the last is complete": ("forward.cuh", f"{BARRIER}  // h is complete", "", RESIDENT),
    "r h is read before it is complete": ("forward.cuh", f"{BARRIER}  // r h", "// r h", RESIDENT),
    "the last row is left out": (
        "forward.cuh",
        "i < First::rows; i++) {" + ROW,
        "i < First::rows - 1; i++) {" + ROW,
        RESIDENT,
    ),
    "da is read before it is complete": ("backward.cuh", f"{BARRIER}  // the operand", "// the operand", RESIDENT),
    "da is written before it is used up": ("backward.cuh", f"{BARRIER}  // and used up", "", RESIDENT),
    "blocks of da are written before others are used up": (
        "backward.cuh",
        f"{BARRIER}  // the blocks",
        "// the blocks",
        CHUNKED,
    ),
    "dh waits where a product reads": ("backward.cuh", "products.park(Cell::R", "products.park(0", RESIDENT),
    "sums over trials begin too early": ("backward.cuh", f"{BARRIER}\n  for (int u", "for (int u", RESIDENT),
    "the gradient of the cell state starts anew": (
        "backward.cuh",
        "dc[w] = passed[1];",
        "dc[w] = 0.0f;",
        CHUNKED,
    ),
    "tiles of the gradient run into each other": (
        "weight_gradient.cu",
        f"use ^ 1) * tile_floats);\n    {BARRIER}",
        "use ^ 1) * tile_floats);",
        RESIDENT,
    ),
    "the first tile of the gradient is read too early": (
        "weight_gradient.cu",
        f"put(shared);\n  {BARRIER}",
        "put(shared);",
        RESIDENT,
    ),
    "every tile of the gradient has the first one's inputs": (
        "weight_gradient.cu",
        "inputs_at += LENGTH * D;",
        "",
        RESIDENT,
    ),
    "inputs stand in other rows of the gradient": (
        "weight_gradient.cu",
        "ahead[j] = d < D ? inputs_at[row * D + d]",
        "ahead[j] = d < D ? inputs_at[(row ? row - 1 : 0) * D + d]",
        RESIDENT,
    ),
    "the reset gate is left out of the gradient": ("weight_gradient.cu", "left[j][w] *= reset[j][w];", ";", RESIDENT),
    "the readout's weights are read too early": (
        "readout.cu",
        f"}}\n    {BARRIER}\n    float bias",
        "}\n    float bias",
        RESIDENT,
    ),
    "warps' gradients are added too early": ("readout.cu", f"{BARRIER}\n    {ADDED}", ADDED, RESIDENT),
    "warps' sums are added too early": ("update.cu", f"= value;\n  {BARRIER}", "= value;", RESIDENT),
    "weights are transposed before they are there": ("update.cu", f"{BARRIER}\n  transposed", "transposed", RESIDENT),
    "the penalty is half of what it should be": (
        "update.cu",
        "static_cast<float>(2.0 * l2[network])",
        "static_cast<float>(l2[network])",
        RESIDENT,
    ),
    "the iteration is not counted": ("update.cu", "iterations[network] = iteration + 1;", "", RESIDENT),
    "squares are those of the first network": ("update.cu", "squares += network * stride;", "", TENSOR),
    "means are taken for older than now": (
        "update.cu",
        "double>(iteration + 1)",
        "double>(iteration + 2)",
        TENSOR,
    ),
    "squares are not kept": ("update.cu", "squares[j] = s;", "", TENSOR),
    "a product of parts is left out": ("tensor.cuh", "multiply_add(c, a_low, b_high[0], b_high[1]);", "", TENSOR),
    "fragments stand in another order": ("update.cu", "8 * row_stride], from[9", "2 * row_stride], from[3", TENSOR),
    "the low plane is the high one": (
        "tensor_product.cuh",
        "load_fragments(low, operand + plane",
        "load_fragments(low, operand",
        TENSOR,
    ),
    "tiles on tensor cores run into each other": (
        "weight_gradient_bf16x3.cu",
        "use ^ 1) * tile_size);\n    __syncthreads();",
        "use ^ 1) * tile_size);",
        TENSOR,
    ),
    "a word too early": ("philox.cuh", "w[index % 4]", "w[(index + 3) % 4]", RESIDENT),
}


def compute(device, cell, n, precision):
    """What the kernels give: gradients and losses of given trials; two iterations on trials of their own."""
    engine, task = CUDAEngine(device, precision), get_task("cdi", steps=3)
    networks = random_networks(cell, "tanh", n, 4, 1, 2, seed=1)
    batch = 11 if precision == "float32" else 40  # several tiles of steps and trials in each slice of the gradient
    losses, gradients = engine.loss_and_gradients(networks, *random_trials(networks, batch, 3, seed=2, masked=True))
    method = "sgd" if precision == "float32" else "adam"
    rates = {"learning_rate": 0.1, "momentum": 0.9, "clip": 0.3, "l2": 0.1, "decay": 0.1}
    optimizer = Optimizer.start(networks, **rates, iterations=3, method=method)
    curves = engine.advance(networks, optimizer, task, 2, batch=batch)
    return [losses, *gradients.values(), curves, optimizer.velocity, optimizer.squares, networks.parameters]


@pytest.fixture(scope="module")
def right():
    """Results of the kernels as they are, which all schedules share."""
    made = {}
    for cell, n, kilobytes, precision in (RESIDENT, STREAMED, CHUNKED, TENSOR):
        device = HostDevice(shared_limit=kilobytes << 10)
        results = []
        for device.schedule in SCHEDULES:
            results.append(compute(device, cell, n, precision))
        for other in results[1:]:
            for ours, theirs in zip(other, results[0], strict=True):
                np.testing.assert_array_equal(ours, theirs)
        made[cell, n, kilobytes, precision] = results[0]
    return made


@pytest.fixture(scope="module")
def found(right, tmp_path_factory):
    """For each planted bug, the schedule that found it; two at a time, since most of it is compiling."""
    folder = tmp_path_factory.mktemp("kernels")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(MUTANTS, pool.map(lambda what: look_for(what, right, folder), MUTANTS), strict=True))


def look_for(what, right, folder):
    """The first schedule under which a planted bug shows: an error, or other numbers."""
    file, text, instead, network = MUTANTS[what]
    cell, n, kilobytes, precision = network
    kernels = folder / what.replace(" ", "-")
    shutil.copytree(kernels_folder(), kernels)
    source = (kernels / file).read_text()
    assert source.count(text) == 1, what
    (kernels / file).write_text(source.replace(text, instead))
    device = HostDevice(shared_limit=kilobytes << 10, kernels=kernels)
    for device.schedule in SCHEDULES:
        try:
            results = compute(device, cell, n, precision)
        except RuntimeError as error:
            assert "g++" not in str(error)
            return device.schedule
        if any(not relative_error(a, b) < 1e-5 for a, b in zip(results, right[network], strict=True)):
            return device.schedule
    return None


@pytest.mark.parametrize("what", MUTANTS)
def test_a_planted_bug_is_found(what, found):
    assert found[what] is not None


def test_the_first_schedule_alone_does_not_find_every_bug(found):
    assert len(set(found.values())) > 1


def test_arrays_that_overlap_are_found():
    """A GPU reads what a kernel never writes through `const __restrict__` by a cache that sees no writes."""
    device = HostDevice()
    square = device.xp.zeros((1, 16, 16), np.float32)
    arguments = {"status": device.xp.ones(1, np.int32), "stride": 256, "n": 16, "columns": 16}
    with pytest.raises(RuntimeError, match="transpose: arrays overlap"):
        Launcher(device).launch(TRANSPOSE, (1, 1, 1), parameters=square, transposed=square, **arguments)


def test_too_little_shared_memory_is_found():
    """A kernel that writes behind what it was given."""
    networks = random_networks("vanilla", "tanh", 32, 1, 1, 1)
    group = Group(CUDAEngine(HostDevice()).launcher, networks, 8, 2, way_back=False)
    group.put_trials(*random_trials(networks, 8, 2)[:2], np.ones((1, 8, 2), np.float32))
    group.roll_out()
    kernel = group.tiling.rollout
    group.tiling = replace(group.tiling, rollout=replace(kernel, shared=kernel.shared - 16))
    with pytest.raises(RuntimeError, match="behind the end of dynamic shared memory"):
        group.roll_out()
