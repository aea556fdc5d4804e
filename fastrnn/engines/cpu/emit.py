"""Pieces of LLVM vector code, for functions that are being compiled.

Addresses are integers or pointers; distances are counted in floats.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from .vectors import FLOAT, HAS_FMA, INT32, INT64, LANES, VECTOR

ADDRESS = types.intp
ZERO = ir.Constant(VECTOR, [0.0] * LANES)


def element(builder, base, offset):
    """Pointer to the float `offset` elements behind the address or pointer `base`."""
    if not base.type.is_pointer:
        base = builder.inttoptr(base, FLOAT.as_pointer())
    return builder.gep(base, [offset])


def load(builder, pointer, kind=VECTOR):
    """A vector of a kind, aligned to floats at least."""
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)


def store(builder, value, pointer):
    """Put a vector at a pointer that is aligned to floats at least."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def broadcast(builder, scalar, lanes=LANES):
    """A number in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, scalar, INT32(0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes))


def multiply_add(builder, a, b, c):
    """a * b + c, fused where the processor can."""
    if not HAS_FMA:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{LANES}f32"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name
    )
    return builder.call(function, [a, b, c])


def sum_lanes(builder, vector):
    """Sum of the lanes, pairwise."""
    width = LANES
    while width > 1:
        width //= 2
        upper = [*range(width, 2 * width), *[0] * (LANES - width)]
        moved = builder.shuffle_vector(
            vector,
            ir.Constant(VECTOR, ir.Undefined),
            ir.Constant(ir.VectorType(INT32, LANES), upper),
        )
        vector = builder.fadd(vector, moved)
    return builder.extract_element(vector, INT32(0))


def accumulate_over(builder, depth, start, body):
    """Loop k = 0 .. depth - 1 with vector accumulators in registers: `body(k, accumulators)` gives the next ones."""
    before = builder.block
    loop, after = builder.append_basic_block("depth"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT64)
    k.add_incoming(INT64(0), before)
    carried = [builder.phi(value.type) for value in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, before)
    sums = body(k, carried)
    following = builder.add(k, INT64(1))
    k.add_incoming(following, builder.block)
    for phi, value in zip(carried, sums, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    return sums
