"""Pointwise stages of a tile's step, which leave what the unit multiplies next as operands."""

from __future__ import annotations

from typing import NamedTuple

from numba.core import cgutils

from ..emit import broadcast, element, load, store
from ..stages import STRIDE_OF, where_is
from ..vectors import INT64, Vector
from .mathematics import TableMath
from .operands import lowered, paired, parts, row_in_left, upper
from .unit import DEPTH, SIDE, STEP, TILE, WORDS, read, write


class Operands(NamedTuple):
    """Addresses of a step's operands."""

    h: int  # left: the next step's state
    rh: int  # left, of the second product
    da: int  # left, of the first product's way back
    da_second: int  # left, of the second product's
    gradient: int  # right, of the weight gradient: the step's place


class Strides(NamedTuple):
    """Distances in floats."""

    state_row: int
    gate_row: int
    sums_row: int
    units: int
    gradient_tile: int  # from one 16 columns of the gradient's right operand to the next


def run_stage(builder, cell, activation, stage, gate_bias, stream, operand, stride) -> None:
    """Code of a stage: 32 units of a trial at a time, as a step of depth has them."""
    m, k = TableMath(builder, activation), Vector(builder, broadcast(builder, gate_bias))
    units = stride["units"]

    def run_row(row, first, half):
        def place(name, vector):
            where, block = where_is(name, cell.blocks)
            offset = builder.add(
                builder.mul(row, stride[STRIDE_OF.get(where, "units")]), builder.mul(units, INT64(block))
            )
            return element(builder, stream[where], builder.add(builder.add(offset, first), INT64(SIDE * vector)))

        made = {}
        for vector in (0, 1):
            values = {name: Vector(builder, load(builder, place(name, vector))) for name in stage.reads}
            for name, value in stage(m, k, values).items():
                if name == "dh" and not cell.dh_passes:
                    continue  # the product makes it anew
                where = where_is(name, cell.blocks)[0]
                if where != "da":
                    store(builder, value.value, place(name, vector))
                if where in ("h_next", "rh", "da"):
                    made.setdefault(name, []).append(parts(builder, value.value))
        for name, vectors in made.items():
            put_left(name, vectors, row, first)
            where, block = where_is(name, cell.blocks)
            if where == "da":
                column = builder.add(builder.mul(units, INT64(block)), first)
                keep_for_gradient(builder, operand["gradient"], stride["gradient_tile"], vectors, column, row, half)

    def put_left(name, vectors, row, first):
        where, block = where_is(name, cell.blocks)
        left, columns = {"h_next": "h"}.get(where, where), 1
        if where == "da":
            columns = len(cell.first)
            if block >= columns:
                left, block, columns = "da_second", block - columns, len(cell.second)
        column = builder.add(builder.mul(units, INT64(block)), first)
        # 32 columns, a step, have 512 floats
        place = row_in_left(builder, row, builder.mul(units, INT64(columns * STEP // DEPTH)))
        place = builder.add(place, builder.mul(column, INT64(STEP // DEPTH)))
        for part_, pair in enumerate(zip(*vectors, strict=True)):
            write(builder, paired(builder, *pair), operand[left], builder.add(place, INT64(part_ * TILE)))

    halves = 2 if stage in cell.backward else 1  # of the trials: the gradient's operand has those of both in one word
    for half in range(halves):
        with (
            cgutils.for_range(builder, INT64(2 * SIDE // halves)) as row_loop,
            cgutils.for_range(builder, builder.sdiv(units, INT64(DEPTH))) as loop,
        ):
            row = builder.add(row_loop.index, INT64(SIDE * half))
            run_row(row, builder.mul(loop.index, INT64(DEPTH)), half)


def keep_for_gradient(builder, base, tile_stride, vectors, column, row, half) -> None:
    """Two vectors of da into the gradient's right operand: of trials i and i + 16, the latter above the former."""
    pair = builder.mul(builder.and_(row, INT64(15)), INT64(SIDE))
    tile = builder.sdiv(column, INT64(SIDE))
    for vector, both in enumerate(vectors):
        start = builder.add(builder.mul(builder.add(tile, INT64(vector)), tile_stride), pair)
        for part_, words in enumerate(both):
            place = builder.add(start, INT64(part_ * TILE))
            if half == 0:
                write(builder, lowered(builder, words), base, place)
            else:
                below = read(builder, base, place, WORDS)
                write(builder, builder.or_(below, upper(builder, words)), base, place)
