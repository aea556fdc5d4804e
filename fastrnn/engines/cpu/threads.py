"""What threads need beside their work: the processor's mode of arithmetic, and meetings of a team."""

from __future__ import annotations

import os

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...compiled import part
from .emit import ADDRESS
from .vectors import INT64

FLUSH = 0x8040  # bits of the x86 control word: operands and results below the normal float32 count as zero
ON_X86 = binding.get_process_triple().startswith(("x86_64", "i686"))


@intrinsic
def float_mode(typing_context, mode):
    """Set the thread's floating-point control word, or add the bits of `FLUSH` to it if `mode` is negative.

    Returns what it was. Gradients that fade over hundreds of steps pass through denormal numbers, on which a processor
    is a hundred times slower. Does nothing but on x86.
    """

    def generate(context, builder, signature, arguments):
        if not ON_X86:
            return arguments[0]
        word = ir.IntType(32)
        place = cgutils.alloca_once(builder, word)
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type])
        read, write = (
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
            for name in ("stmxcsr", "ldmxcsr")
        )
        builder.call(read, [pointer])
        before = builder.load(place)
        given = builder.trunc(arguments[0], word)
        add = builder.icmp_signed("<", arguments[0], INT64(0))
        builder.store(builder.select(add, builder.or_(before, word(FLUSH)), given), place)
        builder.call(write, [pointer])
        return builder.zext(before, INT64)

    return types.int64(types.int64), generate


@intrinsic
def atomic_add(typing_context, address, value):
    """Add to the int64 at `address`; returns what was there before."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(ADDRESS, types.int64), generate


# places in a team's `control`, int64: arrivals at meetings, whether a member can't come, then what `loop` says
MEETINGS, ABANDONED, DIVERGED, STOPPED_AT = range(4)
CAN_YIELD = hasattr(os, "sched_yield")
yield_processor = types.ExternalFunction("sched_yield", types.int32())


@part
def meet(control, meeting, ranks):
    """Wait until all `ranks` threads of a team have come to their `meeting`-th (from 1) meeting, or one can't come."""
    if ranks == 1:
        return
    arrivals, abandoned = control[MEETINGS:].ctypes.data, control[ABANDONED:].ctypes.data
    atomic_add(arrivals, 1)
    spins = 0
    while atomic_add(arrivals, 0) < meeting * ranks and atomic_add(abandoned, 0) == 0:
        spins += 1
        if CAN_YIELD and spins > 1000:
            yield_processor()
