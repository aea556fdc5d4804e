"""The matrix products of one step of a tile of trials, in float32 and in bf16x3.

All take the layout and `base`, the workspace's address; `s` are the step's streams; `back` is the address of what
multiplies beside the packed weights: in float32 the transposed recurrent weights, in bf16x3 weights and transposed
weights as right operands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...compiled import part
from .bf16x3 import (
    BLOCK,
    LEFT,
    RIGHT,
    add_in_panels,
    close_unit,
    interleave_panels,
    interleave_rows,
    multiply,
    open_unit,
    split_rows,
    split_transposed,
)
from .kernels import multiply_packed, multiply_transposed


class Products(NamedTuple):
    """Functions of one precision."""

    begin: Callable  # () before a tile
    first: Callable  # (layout, base, weights, back, s): sums = (h | x | 1) W, blocks of the first product
    second: Callable  # likewise (rh | x | 1) W, blocks of the second product
    back_second: Callable  # (layout, base, back, s, slot): drh = da W_rec^T, blocks of the second product
    back_first: Callable  # (layout, base, back, s, slot): dh += da W_rec^T, blocks of the first product
    gradients: Callable  # (layout, base, total, begin, end): += (h | x | 1)^T da of the steps begin .. end - 1
    end: Callable  # () after a tile


# --------------------------------------------------------------------------------------------------------- in float32


@part
def nothing():
    """No preparation."""


@part
def first(layout, base, weights, back, s):
    """sums = (h | x | 1) W, blocks of the first product."""
    multiply_packed(
        s.h,
        layout.state_row,
        weights,
        s.sums,
        layout.gate_row,
        layout.rows,
        layout.first_columns,
        layout.depth,
        layout.panel_rows,
        False,
    )


@part
def second(layout, base, weights, back, s):
    """sums = (rh | x | 1) W, blocks of the second product."""
    multiply_packed(
        s.rh,
        layout.state_row,
        weights + 4 * layout.packed_second,
        s.sums + 4 * layout.first_columns,
        layout.gate_row,
        layout.rows,
        layout.second_columns,
        layout.depth,
        layout.panel_rows,
        False,
    )


@part
def back_second(layout, base, back, s, slot):
    """drh = da W_rec^T, blocks of the second product."""
    multiply_packed(
        s.da + 4 * layout.first_columns,
        layout.gate_row,
        back + 4 * layout.units * layout.first_columns,
        s.drh,
        layout.units,
        layout.rows,
        layout.units,
        layout.second_columns,
        layout.second_columns,
        False,
    )


@part
def back_first(layout, base, back, s, slot):
    """dh += da W_rec^T, blocks of the first product."""
    multiply_packed(
        s.da,
        layout.gate_row,
        back,
        s.dh,
        layout.units,
        layout.rows,
        layout.units,
        layout.first_columns,
        layout.first_columns,
        True,
    )


@part
def gradients(layout, base, total, begin, end):
    """+= (h | x | 1)^T da, and (rh | x | 1)^T da, of the steps begin .. end - 1."""
    pairs = (end - begin) * layout.rows
    da = base + 4 * layout.at_da
    state = layout.rows * layout.state_row
    multiply_transposed(
        base + 4 * (layout.at_h + begin * state),
        layout.state_row,
        da,
        layout.gate_row,
        total,
        layout.panel_rows,
        layout.first_columns,
        pairs,
        layout.panel_rows,
    )
    if layout.second_columns:
        multiply_transposed(
            base + 4 * (layout.at_operand + begin * state),
            layout.state_row,
            da + 4 * layout.first_columns,
            layout.gate_row,
            total + 4 * layout.packed_second,
            layout.panel_rows,
            layout.second_columns,
            pairs,
            layout.panel_rows,
        )


FLOAT32 = Products(nothing, first, second, back_second, back_first, gradients, nothing)


# --------------------------------------------------------------------------------------------------------- in bf16x3


@part
def fill_operands(layout, packed, transposed, operands):
    """The right operands: weights of both products, then their transposes."""
    weights, back, to = packed.ctypes.data, transposed.ctypes.data, operands.ctypes.data
    first, second, units, depth = layout.first_columns, layout.second_columns, layout.units, layout.panel_rows
    interleave_panels(weights, depth, first, to)
    interleave_panels(weights + 4 * layout.packed_second, depth, second, to + 4 * depth * first)
    to += 4 * depth * (first + second)
    interleave_panels(back, first, units, to)
    interleave_panels(back + 4 * units * first, second, units, to + 4 * units * first)


@part
def first_bf16x3(layout, base, weights, back, s):
    """sums = (h | x | 1) W, blocks of the first product."""
    left, depth = base + 4 * layout.at_left, layout.panel_rows
    split_rows(s.h, layout.state_row, layout.rows, depth, left)
    multiply(left, back, s.sums, layout.gate_row, layout.rows, layout.first_columns, depth // BLOCK, False)


@part
def second_bf16x3(layout, base, weights, back, s):
    """sums = (rh | x | 1) W, blocks of the second product."""
    left, depth, first = base + 4 * layout.at_left, layout.panel_rows, layout.first_columns
    split_rows(s.rh, layout.state_row, layout.rows, depth, left)
    right, sums = back + 4 * depth * first, s.sums + 4 * first
    multiply(left, right, sums, layout.gate_row, layout.rows, layout.second_columns, depth // BLOCK, False)


@part
def back_second_bf16x3(layout, base, back, s, slot):
    """drh = da W_rec^T, blocks of the second product."""
    first, second = layout.first_columns, layout.second_columns
    left, da = base + 4 * layout.at_left, s.da + 4 * first
    split_rows(da, layout.gate_row, layout.rows, second, left)
    right = back + 4 * (layout.panel_rows * (first + second) + layout.units * first)
    multiply(left, right, s.drh, layout.units, layout.rows, layout.units, second // BLOCK, False)
    keep_da(layout, base, da, first, second, slot)


@part
def back_first_bf16x3(layout, base, back, s, slot):
    """dh += da W_rec^T, blocks of the first product."""
    first, second = layout.first_columns, layout.second_columns
    left = base + 4 * layout.at_left
    split_rows(s.da, layout.gate_row, layout.rows, first, left)
    right = back + 4 * layout.panel_rows * (first + second)
    multiply(left, right, s.dh, layout.units, layout.rows, layout.units, first // BLOCK, True)
    keep_da(layout, base, s.da, 0, first, slot)


@part
def keep_da(layout, base, da, start, columns, slot):
    """Some columns of a step's da into their place in the right operand of the weight gradient."""
    panel = layout.gradient_steps * RIGHT
    place = base + 4 * (layout.at_gradient_right + start // BLOCK * panel + slot * RIGHT)
    interleave_rows(da, layout.gate_row, columns, place, panel)


@part
def gradients_bf16x3(layout, base, total, begin, end):
    """+= (h | x | 1)^T da, and (rh | x | 1)^T da, of the steps begin .. end - 1."""
    room, first = layout.gradient_steps, layout.first_columns
    right = base + 4 * layout.at_gradient_right
    add_gradient(layout, base, layout.at_h, right, total, first, begin, end)
    if layout.second_columns:
        right += 4 * first // BLOCK * room * RIGHT
        total += 4 * layout.packed_second
        add_gradient(layout, base, layout.at_operand, right, total, layout.second_columns, begin, end)


@part
def add_gradient(layout, base, operand, right, total, columns, begin, end):
    """operand^T da of one product."""
    left, room, state = base + 4 * layout.at_gradient_left, layout.gradient_steps, layout.rows * layout.state_row
    for t in range(begin, end):
        source = base + 4 * (operand + t * state)
        split_transposed(source, layout.state_row, layout.panel_rows, left + 4 * (t - begin) * LEFT, room * LEFT)
    add_in_panels(left, right, room, total, layout.panel_rows, columns, end - begin)


BF16X3 = Products(
    open_unit, first_bf16x3, second_bf16x3, back_second_bf16x3, back_first_bf16x3, gradients_bf16x3, close_unit
)
