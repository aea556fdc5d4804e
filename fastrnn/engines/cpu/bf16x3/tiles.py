"""One tile of trials through time in bf16x3: forward, backward, weight gradients.

Stages leave what they make as operands of the products that follow; the readout is some columns more of the first
product, and the errors are some more of the depth of the way back. `weights` is the address of all right operands that
are made of a network's weights, see `operands.fill_operands`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ....compiled import part
from ..emit import ADDRESS, element, load, store
from ..products import PANEL
from ..stages import BACKWARD_FIRST, BACKWARD_SECOND, FORWARD_FIRST, FORWARD_SECOND, call_stage, weigh_errors
from ..vectors import FLOAT, INT64
from ..workspace import add_edges, add_readout_gradient, place_parameters, streams_at
from .operands import chunk_of_rows, split_rows, transpose_trials
from .stages import Operands, Strides
from .unit import CHUNK, DEPTH, SIDE, STEP, TILE, close_unit, open_unit, pair, square, tall, wide

new_square, add_square, step_square, chunk_square, close_square = square
new_tall, _, step_tall, chunk_tall, close_tall = tall
_, add_wide, step_wide, _, close_wide = wide
_, add_pair, step_pair, _, close_pair = pair


# --------------------------------------------------------------------------------------------------- where things are


@part
def operands_at(layout, base, slot):
    """Addresses of a step's operands; `slot` is the step's place in the block of gradients."""
    return Operands(
        base + 4 * layout.at_left_h,
        base + 4 * layout.at_left_rh,
        base + 4 * layout.at_left_da,
        base + 4 * (layout.at_left_da + layout.rows * layout.first_columns),
        base + 4 * (layout.at_gradient_right + slot * STEP),
    )


@part
def strides_of(layout):
    """Distances in a step's arrays."""
    return Strides(layout.state_row, layout.gate_row, layout.sums_row, layout.units, layout.gradient_steps * STEP)


# ---------------------------------------------------------------------------------------------------------- products


class Product(NamedTuple):
    """C (32 trials, 16 columns of each tile) = [C if keep +] steps and chunks; addresses and distances in floats."""

    left: int
    left_chunks: int
    right: int  # steps, then chunks of each 16 columns
    right_tile: int  # from one 16 columns to the next
    depth: int  # steps there, of which `steps` are used
    steps: int
    chunks: int
    room: int  # chunks there is room for on the left
    c: int
    c_row: int
    tiles: int
    keep: bool


@part
def first_product(layout, base, weights, readout_only):
    """(h | x | 1) W: readout and blocks of the first product."""
    steps = layout.units // DEPTH
    return Product(
        base + 4 * layout.at_left_h,
        base + 4 * layout.at_left_inputs,
        weights,
        steps * STEP + layout.input_chunks * TILE,
        steps,
        steps,
        0 if readout_only else layout.input_chunks,
        layout.input_chunks,
        base + 4 * layout.at_sums,
        layout.sums_row,
        (layout.readout_columns + (0 if readout_only else layout.first_columns)) // SIDE,
        False,
    )


@part
def second_product(layout, base, weights):
    """(rh | x | 1) W: blocks of the second product."""
    before, steps = (layout.readout_columns + layout.first_columns) // SIDE, layout.units // DEPTH
    tile = steps * STEP + layout.input_chunks * TILE
    return Product(
        base + 4 * layout.at_left_rh,
        base + 4 * layout.at_left_inputs,
        weights + 4 * before * tile,
        tile,
        steps,
        steps,
        layout.input_chunks,
        layout.input_chunks,
        base + 4 * (layout.at_sums + before * SIDE),
        layout.sums_row,
        layout.second_columns // SIDE,
        False,
    )


@part
def back_first_product(layout, base, weights, t):
    """dh before step t = [dh +] (da | error) (W_rec | W_out)^T, blocks of the first product, errors of the step before.

    After the last step, t = T, there are those errors alone.
    """
    forward = (layout.readout_columns + layout.first_columns + layout.second_columns) // SIDE
    steps = layout.first_columns // DEPTH
    return Product(
        base + 4 * layout.at_left_da,
        base + 4 * layout.at_left_errors,
        weights + 4 * forward * (layout.units // DEPTH * STEP + layout.input_chunks * TILE),
        steps * STEP + layout.error_chunks * TILE,
        steps,
        steps if t < layout.T else 0,
        layout.error_chunks if t > 0 else 0,
        layout.error_chunks,
        base + 4 * layout.at_dh,
        layout.units,
        layout.units // SIDE,
        t < layout.T and layout.dh_passes > 0,
    )


@part
def back_second_product(layout, base, weights):
    """drh = da W_rec^T, blocks of the second product."""
    first = back_first_product(layout, base, weights, 0)
    steps = layout.second_columns // DEPTH
    return Product(
        base + 4 * (layout.at_left_da + layout.rows * layout.first_columns),
        0,
        first.right + 4 * first.tiles * first.right_tile,
        steps * STEP,
        steps,
        steps,
        0,
        0,
        base + 4 * layout.at_drh,
        layout.units,
        first.tiles,
        False,
    )


@part
def multiply(p):
    """A product, in square blocks; an odd tile of columns, which is never kept, comes first."""
    a_tile, chunk_tile = p.depth * STEP, p.room * TILE
    odd = p.tiles % 2
    if odd:
        new_tall(p.c, p.c_row, 0)
        for k in range(p.steps):
            step_tall(p.left + 4 * k * STEP, a_tile, p.right + 4 * k * STEP, p.right_tile, p.c, p.c_row, 0)
        for g in range(p.chunks):
            b = p.right + 4 * (p.depth * STEP + g * TILE)
            chunk_tall(p.left_chunks + 4 * g * TILE, chunk_tile, b, p.right_tile, p.c, p.c_row, 0)
        close_tall(p.c, p.c_row, 0)
    for j in range(odd, p.tiles, 2):
        c, right = p.c + 4 * SIDE * j, p.right + 4 * j * p.right_tile
        if p.keep:
            add_square(c, p.c_row, 0)
        else:
            new_square(c, p.c_row, 0)
        for k in range(p.steps):
            step_square(p.left + 4 * k * STEP, a_tile, right + 4 * k * STEP, p.right_tile, c, p.c_row, 0)
        for g in range(p.chunks):
            b = right + 4 * (p.depth * STEP + g * TILE)
            chunk_square(p.left_chunks + 4 * g * TILE, chunk_tile, b, p.right_tile, c, p.c_row, 0)
        close_square(c, p.c_row, 0)


# ------------------------------------------------------------------------------------------------------------- forward


@intrinsic
def gather_rows(typing_context, source, source_row, rows, columns, to):
    """The first columns, a multiple of 4, of some rows, one behind the other."""

    def generate(context, builder, signature, arguments):
        source, source_row, rows, columns, to = arguments
        with (
            cgutils.for_range(builder, rows) as row_loop,
            cgutils.for_range(builder, builder.sdiv(columns, INT64(4))) as loop,
        ):
            first = builder.mul(loop.index, INT64(4))
            place = builder.add(builder.mul(row_loop.index, source_row), first)
            value = load(builder, element(builder, source, place), ir.VectorType(FLOAT, 4))
            store(builder, value, element(builder, to, builder.add(builder.mul(row_loop.index, columns), first)))
        return context.get_dummy_value()

    return types.void(*(ADDRESS,) * 5), generate


@part
def weigh_readout(layout, base, t):
    """Errors at step t from the readout; returns the sum of mask * squared error."""
    place = t * layout.rows * layout.outputs
    error = base + 4 * (layout.at_error + place)
    gather_rows(base + 4 * layout.at_sums, layout.sums_row, layout.rows, layout.outputs, error)
    return weigh_errors(
        error,
        base + 4 * (layout.at_target + place),
        base + 4 * (layout.at_mask + place),
        base + 4 * layout.at_bias,
        layout.rows * layout.outputs,
    )


@part
def place_chunks(source, row, left, chunks):
    """Chunks of 32 rows."""
    for g in range(chunks):
        chunk_of_rows(source + 4 * CHUNK * g, row, left + 4 * g * TILE, chunks * TILE)


@part
def forward_tile(stages, gate_bias, layout, packed, operands, work, noisy):
    """Run the tile's trials from step 0; states, gates and errors stay in the workspace. There is no noise here.

    Returns the sum of mask * squared error over trials, steps and outputs.
    """
    base, weights = work.ctypes.data, operands.ctypes.data
    made, strides = operands_at(layout, base, 0), strides_of(layout)
    inputs, sums = base + 4 * layout.at_left_inputs, base + 4 * (layout.at_sums + layout.readout_columns)
    open_unit()
    place_parameters(layout, packed, work)
    split_rows(base + 4 * layout.at_h, layout.state_row, layout.units // DEPTH, made.h)
    loss = 0.0
    for t in range(layout.T):
        s = streams_at(layout, base, t, sums, 0)
        place_chunks(s.h + 4 * layout.units, layout.state_row, inputs, layout.input_chunks)
        multiply(first_product(layout, base, weights, False))
        if t > 0:
            loss += weigh_readout(layout, base, t - 1)
        call_stage(stages, FORWARD_FIRST, gate_bias, (s, made, strides))
        if layout.second_columns:
            multiply(second_product(layout, base, weights))
            call_stage(stages, FORWARD_SECOND, gate_bias, (s, made, strides))
    multiply(first_product(layout, base, weights, True))
    close_unit()
    return loss + weigh_readout(layout, base, layout.T - 1)


# ------------------------------------------------------------------------------------------------------------ backward


@part
def backward_tile(stages, gate_bias, layout, packed, operands, work, gradient):
    """Add the tile's gradient of half the unscaled loss to `gradient` (packed), after `forward_tile`."""
    base, weights, total = work.ctypes.data, operands.ctypes.data, gradient.ctypes.data
    strides = strides_of(layout)
    errors, step = base + 4 * layout.at_error, 4 * layout.rows * layout.outputs
    left = base + 4 * layout.at_left_errors
    open_unit()
    for j in range(layout.rows * layout.units * layout.cell_states):
        work[layout.at_dcell + j] = np.float32(0.0)
    end = layout.T
    place_chunks(errors + (end - 1) * step, layout.outputs, left, layout.error_chunks)
    multiply(back_first_product(layout, base, weights, end))
    while end > 0:
        begin = max(0, end - layout.gradient_steps)
        for t in range(end - 1, begin - 1, -1):
            s, made = streams_at(layout, base, t, 0, 0), operands_at(layout, base, t - begin)
            if layout.second_columns:
                call_stage(stages, BACKWARD_SECOND, gate_bias, (s, made, strides))
                multiply(back_second_product(layout, base, weights))
            call_stage(stages, BACKWARD_FIRST, gate_bias, (s, made, strides))
            if t > 0:
                place_chunks(errors + (t - 1) * step, layout.outputs, left, layout.error_chunks)
            multiply(back_first_product(layout, base, weights, t))
        gradients = base + 4 * layout.at_gradient_right
        add_gradients(layout, base, layout.at_h, gradients, total, layout.first_columns, begin, end)
        if layout.second_columns:
            gradients += 4 * layout.first_columns // SIDE * layout.gradient_steps * STEP
            second = total + 4 * layout.packed_second
            add_gradients(layout, base, layout.at_operand, gradients, second, layout.second_columns, begin, end)
        add_readout_gradient(layout, base, total, begin, end)
        end = begin
    close_unit()
    add_edges(layout, work, gradient)


@part
def add_gradients(layout, base, at_left, right, total, columns, begin, end):
    """C += (h | x | 1)^T da, or (rh | x | 1)^T da, of the steps begin .. end - 1; C in packed panels of 32 columns.

    `at_left` : where h or rh are in the workspace
    """
    steps, room = end - begin, layout.gradient_steps * STEP
    left, panel = base + 4 * layout.at_gradient_left, layout.panel_rows * PANEL
    tiles = layout.panel_rows // SIDE
    for slot in range(steps):
        source = base + 4 * (at_left + (begin + slot) * layout.rows * layout.state_row)
        for tile in range(tiles):
            place = left + 4 * (tile * room + slot * STEP)
            transpose_trials(source + 4 * SIDE * tile, layout.state_row, place)
    for j in range(0, columns // SIDE, 2):
        b = right + 4 * j * room
        for tile in range(0, tiles - 1, 2):
            a, c = left + 4 * tile * room, total + 4 * (j // 2 * panel + tile * SIDE * PANEL)
            add_square(c, PANEL, 0)
            for slot in range(steps):
                step_square(a + 4 * slot * STEP, room, b + 4 * slot * STEP, room, c, PANEL, 0)
            close_square(c, PANEL, 0)
    if tiles % 2:
        tile = tiles - 1
        a, by_four = left + 4 * tile * room, columns // SIDE // 4 * 4
        for j in range(0, by_four, 4):
            b, c = right + 4 * j * room, total + 4 * (j // 2 * panel + tile * SIDE * PANEL)
            add_wide(c, PANEL, panel)
            for slot in range(steps):
                step_wide(a + 4 * slot * STEP, room, b + 4 * slot * STEP, room, c, PANEL, panel)
            close_wide(c, PANEL, panel)
        if by_four < columns // SIDE:  # two are left
            b, c = right + 4 * by_four * room, total + 4 * (by_four // 2 * panel + tile * SIDE * PANEL)
            add_pair(c, PANEL, panel)
            for slot in range(steps):
                step_pair(a + 4 * slot * STEP, room, b + 4 * slot * STEP, room, c, PANEL, panel)
            close_pair(c, PANEL, panel)
