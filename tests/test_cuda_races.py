"""No two threads of a kernel touch a place with no barrier between them: looked up access by access (`races.h`)."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from samples import random_networks, random_trials

from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.launch import compiler_options
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU"),
    pytest.mark.skipif(sys.platform != "linux", reason="the linker's names for where a library lies, as on Linux"),
]

# --- the kernels ---

# cell, n, kB of shared memory, precision: streamed weights, two products, a place where dh waits; resident weights,
# the cell state, blocks of da in several chunks; tensor cores
NETWORKS = [("gru", 80, 227, "float32"), ("lstm", 48, 50, "float32"), ("gru", 64, 227, "bf16x3")]
NETWORKS += [("vanilla", 144, 227, "float32"), ("ugrnn", 48, 227, "float32")]


def run_all(cell, n, kilobytes, precision):
    """Every kernel of training and rollouts: two tiles of trials, two chunks of outputs."""
    engine = CUDAEngine(HostDevice(kilobytes << 10, check="races"), precision)
    networks = random_networks(cell, "tanh", n, 4, 6, 1, seed=1)
    trials = random_trials(networks, 20, 2, seed=2, masked=True)
    engine.loss_and_gradients(networks, *trials)
    engine.run(networks, trials[0])
    cdi = random_networks(cell, "tanh", n, 4, 1, 2, seed=1)
    optimizer = Optimizer.start(cdi, learning_rate=0.1, iterations=2)
    engine.advance(cdi, optimizer, get_task("cdi", steps=2), 1, batch=9)


def run_points(cell, n):
    """Those of single states."""
    engine, networks = CUDAEngine(HostDevice(check="races")), random_networks(cell, "tanh", n, 2, 1, 2, seed=1)
    rng = np.random.default_rng(1)
    states, inputs = rng.normal(size=(2, 2, networks.S)), rng.normal(size=(2, 2, 2))
    engine.step(networks, states, inputs)
    engine.jacobian(networks, states, inputs)
    rules = np.repeat([[1e-20, 0, 1e-3, 1e-12, 1e6, 1e-3]], 2, axis=0)
    engine.levenberg_marquardt(networks, [0, 1], states[0], inputs[0], np.full(networks.S, 5.0), rules, 3, 3)


def test_no_kernel_has_a_race():
    """By one order of the threads: which is first does not matter."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run_all, *network) for network in NETWORKS] + [pool.submit(run_points, "gru", 20)]:
            done.result()


# --- a test of the test ---

PLANTED = """
#include "common.cuh"
__global__ void clean(float* out) {
  DYNAMIC_SHARED(float, shared);
  __shared__ unsigned short halves[64];
  copy_async(shared + 4 * threadIdx.x, out + 256);
  commit_copies();
  halves[threadIdx.x] = threadIdx.x;
  wait_copies<0>();
  __syncthreads();
  const float sum = shared[4 * (threadIdx.x ^ 1)] + halves[threadIdx.x ^ 1];
  __syncthreads();
  shared[threadIdx.x] = sum;
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x];
}
__global__ void written_and_read(float* out) {
  DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = 1.0f;
  __syncthreads();
  shared[threadIdx.x] = 2.0f;
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x ^ 1];
}
__global__ void read_and_written(float* out) {
  DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = 1.0f;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x ^ 1];
  shared[threadIdx.x] = 2.0f;
}
__global__ void written_twice(float* out) {
  __shared__ float sum;
  sum = threadIdx.x;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
__global__ void not_written(float* out) {
  DYNAMIC_SHARED(float, shared);
  if (threadIdx.x || blockIdx.x == 0) shared[threadIdx.x] = 1.0f;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[0];
}
__global__ void not_waited_for(float* out) {
  DYNAMIC_SHARED(float, shared);
  copy_async(shared + 4 * threadIdx.x, out + 256);
  commit_copies();
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[4 * (threadIdx.x ^ 1)];
  wait_copies<0>();
}
__global__ void copied_over(float* out) {
  DYNAMIC_SHARED(float, shared);
  for (int w = 0; w < 4; w++) shared[4 * threadIdx.x + w] = 1.0f;
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[4 * (threadIdx.x ^ 1)];
  copy_async(shared + 4 * threadIdx.x, out + 256);
  commit_copies();
  wait_copies<0>();
}
__global__ void blocks_write(float* out) { out[threadIdx.x] = blockIdx.x; }
__global__ void blocks_read(float* out) {
  const float before = out[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  out[(blockIdx.x ^ 1) * blockDim.x + threadIdx.x] = before;
}
"""
FOUND = {
    "written_and_read": "a race with a (read|write): thread [0-9]+ at .*:2[12], .*thread.* before it at .*:2[12]",
    "read_and_written": "a race with a (read|write): thread [0-9]+ at .*:(28|29), .*thread.* before it at .*:(28|29)",
    "written_twice": "a race with a write: thread 1 at .*, thread 0 before it",
    "not_written": "shared memory is read that the block has not written: thread [0-9]+ at",
    "not_waited_for": "memory is touched while a copy is on its way to it: thread [0-9]+ at",
    "copied_over": "a race with a (read|write): thread",
    "blocks_write": "a race with a write: thread 0 at .*, thread 0 before it",
    "blocks_read": "a race with a (read|write): thread",
}


@pytest.fixture(scope="module")
def planted():
    """Small kernels, all wrong but the first."""
    device = HostDevice(check="races")
    return device.xp, device.module(code=PLANTED, options=compiler_options(), name_expressions=("clean", *FOUND))


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_race_is_found(planted, name):
    xp, module = planted
    out = xp.zeros(260, np.float32)
    module.get_function("clean")((2,), (64,), (out,), shared_mem=1024)
    assert out.get()[:2].tolist() == [1, 0]
    with pytest.raises(RuntimeError, match=f"{name}: {FOUND[name]}"):
        module.get_function(name)((2,), (64,), (out,), shared_mem=1024)
