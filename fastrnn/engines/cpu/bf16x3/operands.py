"""Matrices in two parts of bf16, in the order in which the matrix unit reads them: made from float32 in vector code.

    left operand    [tiles of 16 rows][steps: tile of high parts, of low ones], word [row][pair]
    right operand   [tiles of 16 columns][steps, then chunks], word [pair][column]

A step's 32 of the depth are paired i with i + 16. A chunk's words are those of `chunk_of_rows` and `chunk_of_weights`.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ....compiled import part
from ..emit import ADDRESS
from ..products import PANEL
from ..vectors import FLOAT, INT32, INT64
from .unit import CHUNK, DEPTH, HAS_UNIT, HIGH, LOW, SIDE, STEP, TILE, UPPER, WIDE, WORDS, constant, read, write

# ---------------------------------------------------------------------------------------------------- pieces of code


def parts(builder, x):
    """Bits of 16 floats whose upper halves are the high part, and the low part, in bf16.

    NaN stays NaN, but for those with 16 ones after the sign, which no arithmetic makes.
    """

    def rounded(value):
        return builder.add(builder.bitcast(value, WORDS), constant(0x8000))

    high = rounded(x)
    back = builder.bitcast(upper(builder, high), WIDE)
    return high, rounded(builder.fsub(x, back))


def lowered(builder, words):
    """Upper halves in place of the lower ones, zeros above."""
    return builder.lshr(words, constant(16))


def upper(builder, words):
    """The upper halves alone."""
    return builder.and_(words, constant(UPPER))


def paired(builder, first, second):
    """Upper halves of both, the first one's below."""
    if not HAS_UNIT:
        return builder.or_(lowered(builder, first), upper(builder, second))
    # the compiler would make a permutation of it, which takes longer
    kind = ir.FunctionType(WORDS, [WORDS, WORDS, WORDS, INT32])
    choose = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.pternlog.d.512")
    return builder.call(choose, [lowered(builder, first), second, constant(UPPER), INT32(0xF8)])


def transposed(builder, rows: list) -> list:
    """16 vectors of 16 lanes, rows for columns."""
    for s in (1, 2, 4, 8):
        masks = [
            ir.Constant(WORDS, [lane if not lane & s else 16 + lane - s for lane in range(16)]),
            ir.Constant(WORDS, [lane + s if not lane & s else 16 + lane for lane in range(16)]),
        ]
        moved = list(rows)
        for i in range(16):
            if not i & s:
                for place, mask in zip((i, i + s), masks, strict=True):
                    moved[place] = builder.shuffle_vector(rows[i], rows[i + s], mask)
        rows = moved
    return rows


def row_or_zero(builder, source, stride, row: int, count, column=0):
    """16 floats of a row, or zeros if it is not below `count`."""
    within = builder.icmp_signed("<", INT64(row), count)
    safe = builder.select(within, INT64(row), INT64(0))
    value = read(builder, source, builder.add(builder.mul(safe, stride), INT64(column)))
    return builder.select(within, value, ir.Constant(WIDE, [0.0] * 16))


# ----------------------------------------------------------------------------------------------------- left operands


@intrinsic
def split_rows(typing_context, source, stride, steps, left):
    """A left operand of 32 rows of float32, `steps` deep."""

    def generate(context, builder, signature, arguments):
        source, stride, steps, left = arguments
        with cgutils.for_range(builder, INT64(2 * SIDE)) as row_loop, cgutils.for_range(builder, steps) as k_loop:
            row, k = row_loop.index, k_loop.index
            start = builder.add(builder.mul(row, stride), builder.mul(k, INT64(DEPTH)))
            halves = [parts(builder, read(builder, source, builder.add(start, INT64(offset)))) for offset in (0, SIDE)]
            place = row_in_left(builder, row, builder.mul(steps, INT64(STEP)))
            place = builder.add(place, builder.mul(k, INT64(STEP)))
            for part_, pair in enumerate(zip(*halves, strict=True)):
                write(builder, paired(builder, *pair), left, builder.add(place, INT64(part_ * TILE)))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 4), generate


def row_in_left(builder, row, tile):
    """Where a row of 32 begins in a left operand; `tile` from one 16 rows to the next."""
    return builder.add(
        builder.mul(builder.lshr(row, INT64(4)), tile), builder.mul(builder.and_(row, INT64(15)), INT64(SIDE))
    )


@intrinsic
def chunk_of_rows(typing_context, source, stride, left, tile):
    """A chunk of a left operand from 32 rows of 8 floats: words (high, low) of all 8, twice."""

    def generate(context, builder, signature, arguments):
        source, stride, left, tile = arguments
        twice = ir.Constant(WORDS, [*range(CHUNK)] * 2)
        eight = ir.VectorType(FLOAT, CHUNK)
        with cgutils.for_range(builder, INT64(2 * SIDE)) as loop:
            row = read(builder, source, builder.mul(loop.index, stride), eight)
            row = builder.shuffle_vector(row, ir.Constant(eight, ir.Undefined), twice)
            write(builder, paired(builder, *parts(builder, row)), left, row_in_left(builder, loop.index, tile))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 4), generate


@intrinsic
def transpose_trials(typing_context, source, stride, left):
    """A step of a left operand that is the transpose of 32 trials' rows of 16 floats."""

    def generate(context, builder, signature, arguments):
        source, stride, left = arguments
        sides = ([], [])
        for row in range(SIDE):
            halves = [
                parts(builder, read(builder, source, builder.mul(stride, INT64(place)))) for place in (row, SIDE + row)
            ]
            for side, pair in zip(sides, zip(*halves, strict=True), strict=True):
                side.append(paired(builder, *pair))
        for part_, side in enumerate(sides):
            for row, words in enumerate(transposed(builder, side)):
                write(builder, words, left, INT64(part_ * TILE + SIDE * row))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 3), generate


# ---------------------------------------------------------------------------------------------------- right operands


@intrinsic
def step_of_weights(typing_context, source, stride, right):
    """A step of a right operand from 32 rows of 16 floats."""

    def generate(context, builder, signature, arguments):
        source, stride, right = arguments
        with cgutils.for_range(builder, INT64(SIDE)) as loop:
            start = builder.mul(loop.index, stride)
            both = [
                parts(builder, read(builder, source, builder.add(start, offset)))
                for offset in (INT64(0), builder.mul(stride, INT64(SIDE)))
            ]
            for part_, (first, second) in enumerate(zip(*both, strict=True)):
                place = builder.add(builder.mul(loop.index, INT64(SIDE)), INT64(part_ * TILE))
                write(builder, paired(builder, first, second), right, place)
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 3), generate


@intrinsic
def step_of_transposed(typing_context, source, stride, count, right):
    """A step of a right operand whose columns are 16 rows of 32 floats; those from `count` on are zero."""

    def generate(context, builder, signature, arguments):
        source, stride, count, right = arguments
        columns = []
        for start in (0, SIDE):
            rows = [
                builder.bitcast(row_or_zero(builder, source, stride, row, count, start), WORDS) for row in range(SIDE)
            ]
            columns.append([parts(builder, builder.bitcast(words, WIDE)) for words in transposed(builder, rows)])
        for pair, both in enumerate(zip(*columns, strict=True)):
            for part_, (first, second) in enumerate(zip(*both, strict=True)):
                write(builder, paired(builder, first, second), right, INT64(part_ * TILE + SIDE * pair))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 4), generate


@intrinsic
def chunk_of_weights(typing_context, source, stride, count, right):
    """A chunk of a right operand from 8 rows of 16 floats: words (low, high) of all 8, then (high, low).

    Rows from `count` on are zero.
    """

    def generate(context, builder, signature, arguments):
        source, stride, count, right = arguments
        for row in range(CHUNK):
            both = parts(builder, row_or_zero(builder, source, stride, row, count))
            for place, (first, second) in ((row, (LOW, HIGH)), (CHUNK + row, (HIGH, LOW))):
                write(builder, paired(builder, both[first], both[second]), right, INT64(SIDE * place))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 4), generate


@part
def fill_operands(layout, packed, transposed, operands):
    """All right operands of a network's weights, one behind the other.

    Readout and first product's blocks by (h | x | 1); second product's by (rh | x | 1); way back of the first product's
    by (da | error), of the second's by da.
    """
    weights, to = packed.ctypes.data, operands.ctypes.data
    out = weights + 4 * layout.packed_out
    steps = layout.units // DEPTH
    for tile in range(layout.readout_columns // SIDE):  # nothing but h goes to the readout, its bias comes later
        count = layout.K - SIDE * tile
        for k in range(steps):
            source = out + 4 * (SIDE * tile * layout.units + DEPTH * k)
            step_of_transposed(source, layout.units, count, to)
            to += 4 * STEP
        for _ in range(layout.input_chunks):
            chunk_of_weights(out, layout.units, 0, to)
            to += 4 * TILE
    for start, columns in ((0, layout.first_columns), (layout.packed_second, layout.second_columns)):
        for tile in range(columns // SIDE):
            column = weights + 4 * (start + column_at(tile, layout.panel_rows))
            for k in range(steps):
                step_of_weights(column + 4 * DEPTH * k * PANEL, PANEL, to)
                to += 4 * STEP
            for g in range(layout.input_chunks):
                row = layout.units + CHUNK * g
                chunk_of_weights(column + 4 * row * PANEL, PANEL, layout.depth - row, to)
                to += 4 * TILE
    back, first, second = transposed.ctypes.data, layout.first_columns, layout.second_columns
    for start, columns, chunks in ((0, first, layout.error_chunks), (layout.units * first, second, 0)):
        for tile in range(layout.units // SIDE):
            column = back + 4 * (start + column_at(tile, columns))
            for k in range(columns // DEPTH):
                step_of_weights(column + 4 * DEPTH * k * PANEL, PANEL, to)
                to += 4 * STEP
            for g in range(chunks):
                row = out + 4 * (CHUNK * g * layout.units + SIDE * tile)
                chunk_of_weights(row, layout.units, layout.K - CHUNK * g, to)
                to += 4 * TILE


@part
def column_at(tile, rows):
    """Where 16 columns begin in a matrix in packed panels."""
    return tile * SIDE // PANEL * rows * PANEL + tile * SIDE % PANEL
