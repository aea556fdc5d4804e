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


def sum_lanes(builder, vectors):
    """The sums of each vector's lanes, pairwise: upper half to lower half, and so on; of 1, 2 or 4 vectors.

    What is left of several moves together into fewer vectors; the bits are those of each alone.
    """
    count, half = len(vectors), LANES // 2
    while half:
        lower = [i for i in range(2 * LANES) if not i & half]
        upper = [i + half for i in lower]
        others = vectors[1::2] or [ir.Constant(VECTOR, ir.Undefined)]
        pairs = zip(vectors[::2], others, strict=True)
        vectors = [builder.fadd(_shuffle(builder, a, b, lower), _shuffle(builder, a, b, upper)) for a, b in pairs]
        half //= 2
    return [builder.extract_element(vectors[0], INT32(i)) for i in range(count)]


def _shuffle(builder, a, b, lanes):
    """Lanes of two vectors, those of the second counted on from those of the first."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))


def accumulate_over(builder, depth, start, body, may_be_empty=False, at_once=1):
    """Loop k = 0 .. depth - 1 with vector accumulators in registers: `body(k, accumulators)` gives the next ones.

    The depth is at least 1 unless it `may_be_empty`, or several steps stand one after another in a turn's code: as many
    as `at_once` says.
    """
    if at_once == 1:
        return _loop(builder, INT64(0), depth, 1, start, body, may_be_empty)
    whole = builder.sub(depth, builder.srem(depth, INT64(at_once)))
    sums = _loop(builder, INT64(0), whole, at_once, start, body, True)
    return _loop(builder, whole, depth, 1, sums, body, True)


def _loop(builder, first, end, step, start, body, may_be_empty):
    """Loop k = first .. end - 1, `step` of them in one turn, which must divide how many there are."""
    before = builder.block
    loop, after = builder.append_basic_block("depth"), builder.append_basic_block("after")
    if may_be_empty:
        builder.cbranch(builder.icmp_signed("<", first, end), loop, after)
    else:
        builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT64)
    k.add_incoming(first, before)
    carried = [builder.phi(value.type) for value in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, before)
    sums = carried
    for i in range(step):
        sums = body(builder.add(k, INT64(i)), sums)
    following = builder.add(k, INT64(step))
    last = builder.block
    k.add_incoming(following, last)
    for phi, value in zip(carried, sums, strict=True):
        phi.add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
    builder.position_at_end(after)
    if not may_be_empty:
        return sums
    return [merge(builder, (value, before), (total, last)) for value, total in zip(start, sums, strict=True)]


def merge(builder, one, other):
    """Of two pairs (value, block) the value of the block that control has come from."""
    phi = builder.phi(one[0].type)
    phi.add_incoming(*one)
    phi.add_incoming(*other)
    return phi
