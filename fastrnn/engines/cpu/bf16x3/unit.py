"""The matrix unit's instructions: blocks of a product, a step of depth at a time.

Operands lie in tiles of 1 KB, 16 rows of 64 bytes. Of a left operand (rows x depth) a row is a row, of a right operand
(depth x columns) two places of the depth of 16 columns; either way a word of 32 bits has two bf16 of the depth.
A *step* is 32 of the depth, a tile of high parts and one of low ones. A *chunk* is 8 of the depth in one tile, whose 32
places have all four products of parts.

A block is up to four tiles of C, float32, which stay in the unit from its beginning (`new` or `add`) to `close`;
nothing else may use the unit in between. Where there is none, vector code does the same sums in memory, slowly: for
tests.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ....compiled import compiled
from ..emit import ADDRESS, broadcast, element, load, store
from ..vectors import FLOAT, INT32, INT64, LANES, host_features
from ..workspace import aligned

DEPTH = 32  # of a step
SIDE = 16  # rows of a tile; columns of a tile of C
TILE = 256  # a tile's size in float32 elements, as all offsets are counted
STEP = 2 * TILE
CHUNK = 8  # depth of a chunk

HAS_UNIT = {"+amx-tile", "+amx-bf16"} <= set(host_features().split(",")) and LANES == 16
ARCH_PRCTL, REQUEST_STATE, TILE_STATE = 158, 0x1023, 18  # Linux on x86-64: a process asks for the unit's registers

WIDE = ir.VectorType(FLOAT, 16)
WORDS = ir.VectorType(INT32, 16)
BYTE = ir.IntType(8)
POINTER = BYTE.as_pointer()
UPPER = -0x10000  # mask of a word's upper half


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


def constant(value: int) -> ir.Constant:
    """An int32 in all of 16 lanes."""
    return ir.Constant(WORDS, [value] * 16)


def read(builder, base, offset, kind=WIDE):
    """The vector of a kind that begins `offset` floats behind the address `base`."""
    return load(builder, element(builder, base, offset), kind)


def write(builder, vector, base, offset):
    """Put a vector `offset` floats behind the address `base`."""
    store(builder, vector, element(builder, base, offset))


# ------------------------------------------------------------------------------------------------------ instructions

HIGH, LOW = 0, 1
PASSES = ((HIGH, LOW), (HIGH, HIGH), (LOW, HIGH))  # part of the left operand, part of the right one


def unit(builder, name: str, *arguments):
    """An instruction of the matrix unit."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def corners(builder, rows, columns, c, c_row, c_pair):
    """Addresses of a block's tiles of C: pairs of them, side by side, are `c_pair` apart."""
    for i in range(rows):
        for j in range(columns):
            offset = builder.add(builder.mul(c_row, INT64(SIDE * i)), builder.mul(c_pair, INT64(j // 2)))
            yield element(builder, c, builder.add(offset, INT64(SIDE * (j % 2))))


def make_edge(name: str, rows: int, columns: int):
    """The beginning of a block ("new" from zero, "add" to what C holds) or its end ("close", back into memory)."""

    @intrinsic
    def edge(typing_context, c, c_row, c_pair):
        def generate(context, builder, signature, arguments):
            c, c_row, c_pair = arguments
            row_bytes = builder.mul(c_row, INT64(4))
            for register, corner in enumerate(corners(builder, rows, columns, c, c_row, c_pair)):
                if HAS_UNIT and name == "new":
                    unit(builder, "tilezero", BYTE(register))
                elif HAS_UNIT:
                    instruction = {"add": "tileloadd64", "close": "tilestored64"}[name]
                    unit(builder, instruction, BYTE(register), builder.bitcast(corner, POINTER), row_bytes)
                elif name == "new":
                    with cgutils.for_range(builder, INT64(SIDE)) as loop:
                        write(builder, ir.Constant(WIDE, [0.0] * 16), corner, builder.mul(loop.index, c_row))
            return context.get_dummy_value()

        return types.void(*(ADDRESS,) * 3), generate

    return edge


def make_depth(passes: tuple, rows: int, columns: int):
    """A step of depth of a block, or a chunk, which has one pass."""

    @intrinsic
    def depth(typing_context, a, a_tile, b, b_tile, c, c_row, c_pair):
        """`a_tile`, `b_tile` : from one 16 rows of the left operand, or columns of the right one, to the next."""
        return types.void(*(ADDRESS,) * 7), on_the_unit if HAS_UNIT else with_vectors

    def on_the_unit(context, builder, signature, arguments):
        a, a_tile, b, b_tile, *_ = arguments
        lefts = range(rows * columns, rows * columns + rows)
        rights = [lefts.stop, lefts.stop + 1]
        holds = {}

        def fetch(register, base, stride, place, part_):
            if holds.get(register) != (place, part_):
                offset = builder.add(builder.mul(stride, INT64(place)), INT64(part_ * TILE))
                pointer = builder.bitcast(element(builder, base, offset), POINTER)
                unit(builder, "tileloadd64", BYTE(register), pointer, INT64(64))
                holds[register] = (place, part_)

        for left_part, right_part in passes:
            for i, left in enumerate(lefts):
                fetch(left, a, a_tile, i, left_part)
            for j in range(columns):
                fetch(rights[j % 2], b, b_tile, j, right_part)
                for i, left in enumerate(lefts):
                    unit(builder, "tdpbf16ps", BYTE(i * columns + j), BYTE(left), BYTE(rights[j % 2]))
        return context.get_dummy_value()

    def with_vectors(context, builder, signature, arguments):
        a, a_tile, b, b_tile, c, c_row, c_pair = arguments

        def floats(words):
            """The lower and the upper halves of 16 words, as floats."""
            kept = (builder.shl(words, constant(16)), builder.and_(words, constant(UPPER)))
            return [builder.bitcast(part_, WIDE) for part_ in kept]

        for place, corner in enumerate(corners(builder, rows, columns, c, c_row, c_pair)):
            a_start, b_start = (
                builder.mul(stride, INT64(index))
                for stride, index in zip((a_tile, b_tile), divmod(place, columns), strict=True)
            )
            with cgutils.for_range(builder, INT64(SIDE)) as row_loop:
                c_place = element(builder, corner, builder.mul(row_loop.index, c_row))
                total = cgutils.alloca_once(builder, WIDE)
                builder.store(load(builder, c_place, WIDE), total)
                a_row = builder.add(a_start, builder.mul(row_loop.index, INT64(SIDE)))
                with cgutils.for_range(builder, INT64(SIDE)) as pair_loop:
                    value = builder.load(total)
                    for left_part, right_part in passes:
                        a_place = builder.add(builder.add(a_row, pair_loop.index), INT64(left_part * TILE))
                        word = builder.load(builder.bitcast(element(builder, a, a_place), INT32.as_pointer()))
                        left = floats(broadcast(builder, word, 16))
                        b_place = builder.add(b_start, builder.mul(pair_loop.index, INT64(SIDE)))
                        right = read(builder, b, builder.add(b_place, INT64(right_part * TILE)), WORDS)
                        for x, y in zip(left, floats(right), strict=True):
                            value = builder.fadd(value, builder.fmul(x, y), flags=("contract",))
                    builder.store(value, total)
                store(builder, builder.load(total), c_place)
        return context.get_dummy_value()

    return depth


# ------------------------------------------------------------------------------------------------------------- blocks

ONE_PASS = ((HIGH, HIGH),)


class Block(NamedTuple):
    """Blocks of one shape: intrinsics, see `make_edge` and `make_depth`."""

    new: Callable
    add: Callable
    step: Callable
    chunk: Callable
    close: Callable


def make_block(rows: int, columns: int) -> Block:
    """Blocks of so many tiles of C; with those of the operands they take at most eight registers."""
    new, add, close = (make_edge(name, rows, columns) for name in ("new", "add", "close"))
    return Block(new, add, make_depth(PASSES, rows, columns), make_depth(ONE_PASS, rows, columns), close)


# Four products of tiles, each for another tile of C, fill the unit's pipeline.
square, tall, wide, pair = (make_block(*shape) for shape in ((2, 2), (2, 1), (1, 4), (1, 2)))

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


def measured_rate(seconds: float = 0.05) -> float:
    """FLOP/s of the product, in two parts, on one thread, operands in cache."""
    steps = 4
    left, right, c = aligned(2 * steps * STEP), aligned(2 * steps * STEP), aligned((2 * SIDE) ** 2)
    left[:], right[:], c[:] = 0.0, 0.0, 0.0
    arguments = (left.ctypes.data, right.ctypes.data, c.ctypes.data, steps)
    calls, start = 0, None
    while start is None or time.perf_counter() - start < seconds:
        repeat_square(1000, *arguments)
        calls += 1000 * (start is not None)
        start = start or time.perf_counter()
    return 2.0 * (2 * SIDE) ** 2 * DEPTH * steps * calls / (time.perf_counter() - start)


_, add_square, step_square, _, close_square = square


@compiled
def repeat_square(count, a, b, c, steps):
    """A square block so many times."""
    open_unit()
    for _ in range(count):
        add_square(c, 2 * SIDE, 0)
        for k in range(steps):
            step_square(a + 4 * k * STEP, steps * STEP, b + 4 * k * STEP, steps * STEP, c, 2 * SIDE, 0)
        close_square(c, 2 * SIDE, 0)
    close_unit()
