"""Matrix products in bf16x3 on the matrix unit of Intel's server processors (AMX).

A float32 x is kept as two bf16, high = x rounded and low = (x - high) rounded, which have 16 bits of its 24. A product
is high a x low b + high a x high b + low a x high b, summed in float32; errors are some 1e-5 of the factors.

Operands lie in tiles of 1 KB, 16 rows of 64 bytes, the tile of the high parts before that of the low ones. Of a left
operand (rows x depth) a row of a tile is 32 numbers along the depth; of a right operand (depth x columns) it is 16
columns of two neighbours along the depth, side by side. C is float32, in blocks of 32 x 32.

    left operand    [16 rows][32 of the depth][high, low]
    right operand   [32 columns][32 of the depth][16 columns][high, low]

Where there is no matrix unit, vector code does the same sums, slowly: for tests.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from functools import cache

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...compiled import part
from .kernels import ADDRESS, element
from .vectors import FLOAT, INT32, INT64, LANES, host_features

BLOCK = 32  # rows, columns and steps of depth of a block
TILE_FLOATS = 256  # a tile's size, in float32 elements as all offsets are
LEFT, RIGHT = 2 * TILE_FLOATS, 4 * TILE_FLOATS  # from one 32 of the depth to the next

HAS_UNIT = {"+amx-tile", "+amx-bf16"} <= set(host_features().split(",")) and LANES == 16
ARCH_PRCTL, REQUEST_STATE, TILE_STATE = 158, 0x1023, 18  # Linux on x86-64: a process asks for the unit's registers

WIDE = ir.VectorType(FLOAT, 16)
WORDS = ir.VectorType(INT32, 16)
HALVES = ir.VectorType(ir.IntType(16), 32)
POINTER = ir.IntType(8).as_pointer()
BYTE = ir.IntType(8)


@cache
def why_not() -> str:
    """Why this process can't use the matrix unit, in words; empty if it can."""
    if not HAS_UNIT:
        return (
            "this processor has no matrix unit for bf16 (AMX; Intel Xeon since 2023), or the system does not enable it"
        )
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the matrix unit (AMX) is used on Linux only"
    if ctypes.CDLL(None, use_errno=True).syscall(ARCH_PRCTL, REQUEST_STATE, TILE_STATE):
        return "the operating system does not let a process use the matrix unit (AMX)"
    return ""


# ------------------------------------------------------------------------------------------------ numbers in two parts


def constant(value: int) -> ir.Constant:
    """An int32 in all of 16 lanes."""
    return ir.Constant(WORDS, [value] * 16)


def at(builder, base, offset, kind):
    """The vector of a kind that begins `offset` floats behind the address `base`."""
    return builder.bitcast(element(builder, base, offset), kind.as_pointer())


def read(builder, pointer):
    """16 floats, aligned or not."""
    value = builder.load(pointer)
    value.align = 4
    return value


def parts(builder, x):
    """Bits of 16 floats whose upper halves are the high part, and the low part, in bf16.

    NaN stays NaN, but for those with 16 ones after the sign, which no arithmetic makes.
    """

    def rounded(value):
        return builder.add(builder.bitcast(value, WORDS), constant(0x8000))

    high = rounded(x)
    back = builder.bitcast(builder.and_(high, constant(-0x10000)), WIDE)
    return high, rounded(builder.fsub(x, back))


def neighbours(builder, first, second):
    """Upper halves of both, side by side in each lane, the first one's below."""
    below = builder.lshr(first, constant(16))
    return builder.or_(below, builder.and_(second, constant(-0x10000)))


def in_a_row(builder, first, second):
    """Upper halves of one, then those of the other: 32 bf16."""
    odd = ir.Constant(ir.VectorType(INT32, 32), [2 * i + 1 for i in range(32)])
    return builder.shuffle_vector(builder.bitcast(first, HALVES), builder.bitcast(second, HALVES), odd)


def transposed(builder, rows: list) -> list:
    """16 vectors of 16 lanes, rows for columns."""
    for s in (1, 2, 4, 8):
        upper = [lane if not lane & s else 16 + lane - s for lane in range(16)]
        lower = [lane + s if not lane & s else 16 + lane for lane in range(16)]
        masks = [ir.Constant(WORDS, mask) for mask in (upper, lower)]
        moved = list(rows)
        for i in range(16):
            if not i & s:
                for place, mask in zip((i, i + s), masks, strict=True):
                    moved[place] = builder.shuffle_vector(rows[i], rows[i + s], mask)
        rows = moved
    return rows


@intrinsic
def split_rows(typing_context, source, stride, rows, columns, left):
    """A left operand of a float32 matrix: rows a multiple of 16, columns of 32."""

    def generate(context, builder, signature, arguments):
        source, stride, rows, columns, left = arguments
        depth = builder.sdiv(columns, INT64(BLOCK))
        with cgutils.for_range(builder, rows) as row_loop, cgutils.for_range(builder, depth) as k_loop:
            row, k = row_loop.index, k_loop.index
            start = builder.add(builder.mul(row, stride), builder.mul(k, INT64(BLOCK)))
            vectors = [read(builder, at(builder, source, builder.add(start, INT64(j)), WIDE)) for j in (0, 16)]
            tile = builder.add(builder.mul(builder.sdiv(row, INT64(16)), depth), k)
            place = builder.add(builder.mul(tile, INT64(LEFT)), builder.mul(builder.srem(row, INT64(16)), INT64(16)))
            for part_, pair in enumerate(zip(*(parts(builder, vector) for vector in vectors), strict=True)):
                to = at(builder, left, builder.add(place, INT64(part_ * TILE_FLOATS)), HALVES)
                builder.store(in_a_row(builder, *pair), to).align = 4
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 5), generate


@intrinsic
def interleave_rows(typing_context, source, stride, columns, right, panel):
    """32 rows of a float32 matrix as 32 of a right operand's depth; `panel` from one 32 columns to the next in it."""

    def generate(context, builder, signature, arguments):
        source, stride, columns, right, panel = arguments
        with (
            cgutils.for_range(builder, builder.sdiv(columns, INT64(16))) as column_loop,
            cgutils.for_range(builder, INT64(16)) as pair_loop,
        ):
            j, pair = column_loop.index, pair_loop.index
            start = builder.add(builder.mul(builder.mul(pair, INT64(2)), stride), builder.mul(j, INT64(16)))
            vectors = [read(builder, at(builder, source, start, WIDE))]
            vectors.append(read(builder, at(builder, source, builder.add(start, stride), WIDE)))
            place = builder.mul(builder.sdiv(j, INT64(2)), panel)
            place = builder.add(place, builder.mul(builder.srem(j, INT64(2)), INT64(LEFT)))
            place = builder.add(place, builder.mul(pair, INT64(16)))
            for part_, both in enumerate(zip(*(parts(builder, vector) for vector in vectors), strict=True)):
                to = at(builder, right, builder.add(place, INT64(part_ * TILE_FLOATS)), WORDS)
                builder.store(neighbours(builder, *both), to).align = 4
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 5), generate


@intrinsic
def split_transposed(typing_context, source, stride, columns, left, tile):
    """32 rows of a float32 matrix as 32 of the depth of a left operand that is its transpose.

    `tile` : from one 16 of its rows, columns here, to the next.
    """

    def generate(context, builder, signature, arguments):
        source, stride, columns, left, tile = arguments
        with cgutils.for_range(builder, builder.sdiv(columns, INT64(16))) as column_loop:
            i = column_loop.index
            both = ([], [])
            for row in range(0, BLOCK, 2):
                found = []
                for place in (row, row + 1):
                    start = builder.add(builder.mul(stride, INT64(place)), builder.mul(i, INT64(16)))
                    found.append(parts(builder, read(builder, at(builder, source, start, WIDE))))
                for side, pair in zip(both, zip(*found, strict=True), strict=True):
                    side.append(neighbours(builder, *pair))
            for part_, side in enumerate(both):
                for row, vector in enumerate(transposed(builder, side)):
                    place = builder.add(builder.mul(i, tile), INT64(part_ * TILE_FLOATS + 16 * row))
                    builder.store(vector, at(builder, left, place, WORDS)).align = 4
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 5), generate


# ---------------------------------------------------------------------------------------------------- blocks of 32 x 32

PASSES = ((0, 1), (0, 0), (1, 0))  # (part of the left operand, part of the right one): high is 0, low 1


def unit(builder, name: str, *arguments):
    """An instruction of the matrix unit."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def make_block(keep: bool):
    """C (32, 32) = [C if keep +] A (32, 32 depth) B (32 depth, 32)."""

    @intrinsic
    def block(typing_context, a, a_tile, b, c, c_row, depth):
        """`a_tile` : from one 16 rows of the left operand to the next; `depth` in 32s, at least 1."""
        generate = on_the_unit if HAS_UNIT else with_vectors
        return types.void(*(ADDRESS,) * 6), generate

    def on_the_unit(context, builder, signature, arguments):
        a, a_tile, b, c, c_row, depth = arguments
        row_bytes = builder.mul(c_row, INT64(4))
        corners = [
            builder.bitcast(element(builder, c, builder.add(builder.mul(c_row, INT64(16 * i)), INT64(16 * j))), POINTER)
            for i in range(2)
            for j in range(2)
        ]
        for register, corner in enumerate(corners):
            if keep:
                unit(builder, "tileloadd64", BYTE(register), corner, row_bytes)
            else:
                unit(builder, "tilezero", BYTE(register))
        with cgutils.for_range(builder, depth) as loop:
            a_k, b_k = builder.mul(loop.index, INT64(LEFT)), builder.mul(loop.index, INT64(RIGHT))

            def fetch(register, base, offset):
                pointer = builder.bitcast(element(builder, base, offset), POINTER)
                unit(builder, "tileloadd64", BYTE(register), pointer, INT64(64))

            held = [None, None]
            for parts_ in PASSES:
                if held[0] != parts_[0]:
                    for i in range(2):
                        offset = builder.add(a_k, INT64(parts_[0] * TILE_FLOATS))
                        fetch(4 + i, a, builder.add(offset, a_tile) if i else offset)
                if held[1] != parts_[1]:
                    for j in range(2):
                        fetch(6 + j, b, builder.add(b_k, INT64(j * LEFT + parts_[1] * TILE_FLOATS)))
                held = parts_
                for i in range(2):
                    for j in range(2):
                        unit(builder, "tdpbf16ps", BYTE(2 * i + j), BYTE(4 + i), BYTE(6 + j))
        for register, corner in enumerate(corners):
            unit(builder, "tilestored64", BYTE(register), corner, row_bytes)
        return context.get_dummy_value()

    def with_vectors(context, builder, signature, arguments):
        a, a_tile, b, c, c_row, depth = arguments
        lanes = ir.Constant(WORDS, [0] * 16)

        def floats(words):
            """The lower and the upper halves of 16 words, as floats."""
            kept = (builder.shl(words, constant(16)), builder.and_(words, constant(-0x10000)))
            return [builder.bitcast(part_, WIDE) for part_ in kept]

        with cgutils.for_range(builder, INT64(BLOCK)) as row_loop, cgutils.for_range(builder, INT64(2)) as j_loop:
            row, j = row_loop.index, j_loop.index
            corner = at(builder, c, builder.add(builder.mul(row, c_row), builder.mul(j, INT64(16))), WIDE)
            total = cgutils.alloca_once(builder, WIDE)
            builder.store(read(builder, corner) if keep else ir.Constant(WIDE, [0.0] * 16), total)
            a_row = builder.add(
                builder.mul(builder.sdiv(row, INT64(16)), a_tile),
                builder.mul(builder.srem(row, INT64(16)), INT64(16)),
            )
            b_column = builder.mul(j, INT64(LEFT))
            with (
                cgutils.for_range(builder, depth) as k_loop,
                cgutils.for_range(builder, INT64(16)) as pair_loop,
            ):
                a_k = builder.add(builder.add(a_row, builder.mul(k_loop.index, INT64(LEFT))), pair_loop.index)
                b_k = builder.add(b_column, builder.mul(k_loop.index, INT64(RIGHT)))
                b_k = builder.add(b_k, builder.mul(pair_loop.index, INT64(16)))
                value = builder.load(total)
                for a_part, b_part in PASSES:
                    place = builder.bitcast(
                        element(builder, a, builder.add(a_k, INT64(a_part * TILE_FLOATS))), INT32.as_pointer()
                    )
                    one = builder.insert_element(ir.Constant(WORDS, ir.Undefined), builder.load(place), INT32(0))
                    left = floats(builder.shuffle_vector(one, ir.Constant(WORDS, ir.Undefined), lanes))
                    place = at(builder, b, builder.add(b_k, INT64(b_part * TILE_FLOATS)), WORDS)
                    for x, y in zip(left, floats(read(builder, place)), strict=True):
                        value = builder.fadd(value, builder.fmul(x, y), flags=("contract",))
                builder.store(value, total)
            builder.store(builder.load(total), corner).align = 4
        return context.get_dummy_value()

    return block


block_new, block_add = make_block(False), make_block(True)

# palette 1; tiles 0 to 7 of 16 rows of 64 bytes
CONFIGURATION = struct.pack("<BB14x16H16B", 1, 0, *[64] * 8, *[0] * 8, *[16] * 8, *[0] * 8)


@intrinsic
def open_unit(typing_context):
    """Set this thread's matrix unit up, before any block."""

    def generate(context, builder, signature, arguments):
        if HAS_UNIT:
            kind = ir.ArrayType(BYTE, len(CONFIGURATION))
            held = cgutils.alloca_once_value(builder, ir.Constant(kind, bytearray(CONFIGURATION)))
            unit(builder, "ldtilecfg", builder.bitcast(held, POINTER))
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def close_unit(typing_context):
    """Let go of the matrix unit: what its registers hold is lost, and switching threads is quick again."""

    def generate(context, builder, signature, arguments):
        if HAS_UNIT:
            unit(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


# ------------------------------------------------------------------------------------------------------ whole products


@part
def multiply(left, right, c, c_row, rows, columns, steps, keep):
    """C (rows, columns) = [C if keep +] A B for a left and a right operand, `steps` times 32 deep."""
    for j in range(columns // BLOCK):
        for i in range(rows // BLOCK):
            a, b = left + 4 * i * 2 * steps * LEFT, right + 4 * j * steps * RIGHT
            corner = c + 4 * (i * BLOCK * c_row + j * BLOCK)
            if keep:
                block_add(a, steps * LEFT, b, corner, c_row, steps)
            else:
                block_new(a, steps * LEFT, b, corner, c_row, steps)


@part
def add_in_panels(left, right, room, c, rows, columns, steps):
    """C (rows, columns) += A B, C in packed panels of 32 columns; the operands have room for `room` steps of depth."""
    for j in range(columns // BLOCK):
        for i in range(rows // BLOCK):
            a, b = left + 4 * i * 2 * room * LEFT, right + 4 * j * room * RIGHT
            block_add(a, room * LEFT, b, c + 4 * (j * rows + i * BLOCK) * BLOCK, BLOCK, steps)


@part
def interleave_panels(source, rows, columns, right):
    """The right operand of a matrix that lies in packed panels of 32 columns."""
    for j in range(columns // BLOCK):
        for k in range(rows // BLOCK):
            offset = 4 * (j * rows + k * BLOCK) * BLOCK
            interleave_rows(source + offset, BLOCK, BLOCK, right + offset, RIGHT)
