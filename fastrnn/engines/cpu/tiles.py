"""One tile of trials through time: forward, backward, weight gradients. One thread owns one tile and one workspace.

Everything that depends on the kind of network is here, compiled once for each kind and called by address
(`tile_address`), so that the loops around it are compiled once for all.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import compiled_callback, part
from .kernels import (
    KINDS,
    Streams,
    backward_first,
    backward_second,
    forward_first,
    forward_second,
    four_dots,
    multiply_rows,
    spread_numbers,
    spread_rows,
    weigh_errors,
)
from .layout import RECORD
from .products import BF16X3, FLOAT32, Products

REAL, DOUBLE = types.CPointer(types.float32), types.CPointer(types.float64)
LAYOUT = types.CPointer(numba.from_dtype(RECORD))
TILE_SIGNATURE = types.void(types.float64, LAYOUT, REAL, REAL, REAL, REAL, DOUBLE, types.int64)


@cache
def tile_address(cell: str, activation: str, precision: str = "float32") -> int:
    """Address of the tile function of a kind, for `call_tile`; compiles it or reads it from the cache."""
    kind, products = KINDS[cell, activation], BF16X3 if precision == "bf16x3" else FLOAT32
    forward_tile, backward_tile = make_forward(products), make_backward(products)
    begin, end = products.begin, products.end

    def tile(gate_bias, layouts, packed, back, work, gradient, sums, backward):
        layout = numba.carray(layouts, (1,))[0]
        parameters = numba.carray(packed, (layout.packed_size,))
        beside = numba.carray(back, (1,))  # its address is all that is used
        workspace = numba.carray(work, (layout.work_size,))
        begin()
        sums[0] += forward_tile(kind(gate_bias), layout, parameters, beside, workspace)
        if backward:
            total = numba.carray(gradient, (layout.packed_size,))
            backward_tile(kind(gate_bias), layout, parameters, beside, workspace, total)
        end()

    callback = compiled_callback(TILE_SIGNATURE, name=f"tile-{cell}-{activation}-{precision}")(tile)
    _kept_alive.append(callback)
    return callback.address


_kept_alive: list = []  # an address must stay valid as long as the process


@intrinsic
def call_tile(typing_context, address, gate_bias, layouts, packed, back, work, gradient, sums, backward):
    """Run the tile in `work` forward and, if `backward`, back; arrays by address.

    Adds the sum of mask * squared error to sums[0], the tile's gradient of half of it to `gradient`.
    """
    signature = types.void(types.intp, types.float64, *(types.intp,) * 6, types.int64)

    def generate(context, builder, signature, arguments):
        real, whole, double = ir.FloatType(), ir.IntType(64), ir.DoubleType()
        kinds = [double, *(kind.as_pointer() for kind in (whole, real, real, real, real, double)), whole]
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        values = [
            builder.inttoptr(value, kind) if kind.is_pointer else value
            for value, kind in zip(arguments[1:], kinds, strict=True)
        ]
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, generate


@part
def streams_at(layout, work, t, slot):
    """Addresses of step t's arrays in the workspace; `slot` is the step's place in the block of gradients."""
    base = work.ctypes.data
    state = layout.rows * layout.state_row
    plain = layout.rows * layout.units
    return Streams(
        base + 4 * (layout.at_h + t * state),
        base + 4 * (layout.at_h + (t + 1) * state),
        base + 4 * (layout.at_operand + t * state),
        base + 4 * (layout.at_sums if layout.operands_size else layout.at_gates + t * layout.gate_step),
        base + 4 * (layout.at_gates + t * layout.gate_step),
        base + 4 * (layout.at_da + slot * layout.rows * layout.gate_row),
        base + 4 * (layout.at_cell + t * plain),
        base + 4 * (layout.at_cell + (t + 1) * plain),
        base + 4 * (layout.at_phi_cell + t * plain),
        base + 4 * layout.at_dh,
        base + 4 * layout.at_dcell,
        base + 4 * layout.at_drh,
    )


@part
def prepare_workspace(layout, work):
    """What stays the same for all tiles: the ones that meet the bias and the zeros beside inputs and outputs."""
    for step_row in range(layout.T * layout.rows):
        for j in range(layout.units + layout.D, layout.state_row):
            value = np.float32(1.0) if j == layout.units + layout.D else np.float32(0.0)
            work[layout.at_h + step_row * layout.state_row + j] = value
            if layout.second_columns:
                work[layout.at_operand + step_row * layout.state_row + j] = value
        for k in range(layout.outputs):
            work[layout.at_error + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_target + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_mask + step_row * layout.outputs + k] = np.float32(0.0)


@part
def place_trial(layout, work, row):
    """Put the trial in the workspace's scratch into row `row` of the tile; returns the sum of its mask."""
    T, D, K = layout.T, layout.D, layout.K
    base, step = work.ctypes.data, layout.rows * layout.state_row
    inputs = base + 4 * layout.at_trial
    targets, mask = inputs + 4 * T * D, inputs + 4 * T * (D + K)
    beside_h = row * layout.state_row + layout.units
    columns = (D + 4) // 4 * 4  # inputs, a one, zeros
    spread_rows(inputs, D, np.float32(1.0), base + 4 * (layout.at_h + beside_h), step, T, columns)
    if layout.second_columns:
        spread_rows(inputs, D, np.float32(1.0), base + 4 * (layout.at_operand + beside_h), step, T, columns)
    zero, outputs, step = np.float32(0.0), row * layout.outputs, layout.rows * layout.outputs
    spread_rows(targets, K, zero, base + 4 * (layout.at_target + outputs), step, T, layout.outputs)
    spread_numbers(mask, K, zero, base + 4 * (layout.at_mask + outputs), step, T, layout.outputs)
    weight = 0.0
    for t in range(T):
        weight += work[layout.at_trial + T * (D + K) + t]
    return weight


@part
def repeat_trial(layout, work, row):
    """Fill row `row` with the trial of the row before it, counting for nothing: as finite as a trial that counts."""
    for t in range(layout.T):
        step_row = t * layout.rows + row
        at = step_row * layout.state_row
        for j in range(layout.units, layout.units + layout.D):
            work[layout.at_h + at + j] = work[layout.at_h + at - layout.state_row + j]
            if layout.second_columns:
                work[layout.at_operand + at + j] = work[layout.at_operand + at - layout.state_row + j]
        for k in range(layout.K):
            work[layout.at_target + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_mask + step_row * layout.outputs + k] = np.float32(0.0)


@part
def place_parameters(layout, packed, work):
    """The trainable initial state and the output bias in every row."""
    for row in range(layout.rows):
        for u in range(layout.units):
            work[layout.at_h + row * layout.state_row + u] = packed[layout.packed_h0 + u]
            if layout.cell_states:
                work[layout.at_cell + row * layout.units + u] = packed[layout.packed_h0 + layout.units + u]
        for k in range(layout.outputs):
            work[layout.at_bias + row * layout.outputs + k] = packed[layout.packed_b_out + k]


def make_forward(products: Products):
    """`forward_tile` of a precision."""
    first, second = products.first, products.second

    @part
    def forward_tile(kind, layout, packed, back, work):
        """Run the tile's trials from step 0; states, gates and errors stay in the workspace.

        Returns the sum of mask * squared error over trials, steps and outputs.
        """
        weights, base = packed.ctypes.data, work.ctypes.data
        gate_bias = np.float32(kind.gate_bias)
        place_parameters(layout, packed, work)
        step_outputs = layout.rows * layout.outputs
        loss = 0.0
        for t in range(layout.T):
            s = streams_at(layout, work, t, 0)
            first(layout, base, weights, back.ctypes.data, s)
            forward_first(kind, gate_bias, s, layout.state_row, layout.gate_row, layout.rows, layout.units)
            if layout.second_columns:
                second(layout, base, weights, back.ctypes.data, s)
                forward_second(kind, gate_bias, s, layout.state_row, layout.gate_row, layout.rows, layout.units)
            error = base + 4 * (layout.at_error + t * step_outputs)
            for row in range(0, layout.rows, 4):
                for k in range(layout.K):
                    four_dots(
                        s.h_next + 4 * row * layout.state_row,
                        layout.state_row,
                        weights + 4 * (layout.packed_out + k * layout.units),
                        layout.units,
                        error + 4 * (row * layout.outputs + k),
                        layout.outputs,
                    )
            loss += weigh_errors(
                error,
                base + 4 * (layout.at_target + t * step_outputs),
                base + 4 * (layout.at_mask + t * step_outputs),
                base + 4 * layout.at_bias,
                step_outputs,
            )
        return loss

    return forward_tile


def make_backward(products: Products):
    """`backward_tile` of a precision."""
    back_second, back_first, gradients = products.back_second, products.back_first, products.gradients

    @part
    def backward_tile(kind, layout, packed, back, work, gradient):
        """Add the tile's gradient of half the unscaled loss to `gradient` (packed), after `forward_tile`."""
        base, weights, total = work.ctypes.data, packed.ctypes.data, gradient.ctypes.data
        gate_bias = np.float32(kind.gate_bias)
        for j in range(layout.rows * layout.units):
            work[layout.at_dh + j] = np.float32(0.0)
        for j in range(layout.rows * layout.units * layout.cell_states):
            work[layout.at_dcell + j] = np.float32(0.0)
        end = layout.T
        while end > 0:
            begin = max(0, end - layout.gradient_steps)
            for t in range(end - 1, begin - 1, -1):
                slot = t - begin
                s = streams_at(layout, work, t, 0 if layout.operands_size else slot)
                error = base + 4 * (layout.at_error + t * layout.rows * layout.outputs)
                multiply_rows(  # dh += error @ W_out^T
                    error,
                    layout.outputs,
                    1,
                    weights + 4 * layout.packed_out,
                    layout.units,
                    s.dh,
                    layout.units,
                    layout.rows,
                    layout.units,
                    layout.K,
                )
                if layout.second_columns:
                    backward_second(kind, gate_bias, s, layout.state_row, layout.gate_row, layout.rows, layout.units)
                    back_second(layout, base, back.ctypes.data, s, slot)
                backward_first(kind, gate_bias, s, layout.state_row, layout.gate_row, layout.rows, layout.units)
                back_first(layout, base, back.ctypes.data, s, slot)
            gradients(layout, base, total, begin, end)
            add_readout_gradient(layout, base, total, begin, end)
            end = begin
        for k in range(layout.K):
            bias = 0.0
            for j in range(layout.T * layout.rows):
                bias += work[layout.at_error + j * layout.outputs + k]
            gradient[layout.packed_b_out + k] += np.float32(bias)
        for row in range(layout.rows):
            for u in range(layout.units):
                gradient[layout.packed_h0 + u] += work[layout.at_dh + row * layout.units + u]
                if layout.cell_states:
                    gradient[layout.packed_h0 + layout.units + u] += work[layout.at_dcell + row * layout.units + u]

    return backward_tile


@part
def add_readout_gradient(layout, base, total, begin, end):
    """Add error^T h of the steps begin .. end - 1 to the packed gradient of W_out."""
    state = layout.rows * layout.state_row
    multiply_rows(
        base + 4 * (layout.at_error + begin * layout.rows * layout.outputs),
        1,
        layout.outputs,
        base + 4 * (layout.at_h + (begin + 1) * state),
        layout.state_row,
        total + 4 * layout.packed_out,
        layout.units,
        layout.outputs,
        layout.units,
        (end - begin) * layout.rows,
    )
