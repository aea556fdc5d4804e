"""The processor's own limit: multiply-adds that stay in registers, on as many threads as the engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastrnn.compiled import compiled
from fastrnn.engines.cpu.emit import ADDRESS, accumulate_over, element, load, multiply_add, store
from fastrnn.engines.cpu.threads import ON_X86
from fastrnn.engines.cpu.vectors import INT64, LANES, VECTOR

from .rounds import iterations_for, seconds_of

# Vectors that wait for no other, each x = FACTOR x + TERM again and again. As many as registers hold beside the two
# constants: of 32 registers, or of 16 (x86 without AVX-512). Latencies of 4 or 5 cycles on 2 units need 10, on 4 units
# 16 to 20.
CHAINS = 12 if ON_X86 and LANES < 16 else 24
FACTOR, TERM = 0.5, 1.0  # x goes to 2 and is never small: no infinities, no denormal numbers
STEPS = 1000  # of every chain in an iteration
SECONDS = 0.02  # of a turn, about


@intrinsic
def multiply_adds(typing_context, address, steps):
    """FACTOR x + TERM, so many times over, for each x of `CHAINS` vectors at an address."""

    def generate(context, builder, signature, arguments):
        address, steps = arguments
        places = [element(builder, address, INT64(i * LANES)) for i in range(CHAINS)]
        factor, term = (ir.Constant(VECTOR, [value] * LANES) for value in (FACTOR, TERM))
        start = [load(builder, place) for place in places]
        ends = accumulate_over(
            builder, steps, start, lambda k, chains: [multiply_add(builder, x, factor, term) for x in chains]
        )
        for place, x in zip(places, ends, strict=True):
            store(builder, x, place)
        return context.get_dummy_value()

    return types.void(ADDRESS, types.int64), generate


@compiled(keep=False)
def advance_chains(x, steps):
    """`multiply_adds` on x (CHAINS, LANES), float32, in place; one thread owns x, steps are at least 1."""
    multiply_adds(x.ctypes.data, steps)


class MultiplyAdds:
    """Times them; `seconds` is the length of a turn, about."""

    def __init__(self, threads: int, seconds: float = SECONDS):
        rng = np.random.default_rng(0)
        self._x = rng.random((threads, CHAINS, LANES), np.float32)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="limit")
        self._iterations = iterations_for(self._run, seconds)
        self.flops = 2 * self._x.size * STEPS * self._iterations  # of a turn

    def _run(self, iterations: int) -> None:
        """On all threads at once."""
        steps = [STEPS * iterations] * len(self._x)
        for _ in self._pool.map(advance_chains, self._x, steps):
            pass

    def rate(self) -> float:
        """FLOP/s of one turn, two for each multiply-add of a lane.

        One that is not timed goes before: threads that have rested may begin on one processor.
        """
        self._run(self._iterations)
        return self.flops / seconds_of(self._run, self._iterations)
