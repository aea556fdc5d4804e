"""A thread's workspace beside the time steps: trials and parameters in place, gradients of what is at the edges."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...compiled import part
from ...counters import NOISE, Stream, normals
from .emit import ADDRESS, broadcast, element, load, store
from .products import PANEL, multiply_transposed
from .stages import Streams
from .vectors import FLOAT, INT64


def aligned(size: int) -> np.ndarray:
    """Uninitialised float32 (size,) on a 64-byte boundary."""
    raw = np.empty(size + 16, np.float32)
    start = -(raw.ctypes.data // 4) % 16
    return raw[start : start + size]


BEHIND_ERRORS = 8  # floats that a chunk of the last errors may read, times zero; regions are at least 16 apart


@part
def prepare_workspace(layout, work):
    """What stays the same for all tiles: the ones that meet the bias, and zeros in the padding of rows."""
    errors = layout.T * layout.rows * layout.outputs
    for j in range(errors, errors + BEHIND_ERRORS):
        work[layout.at_error + j] = np.float32(0.0)
    for step_row in range((layout.T + 1) * layout.rows):  # zeros for inputs too: what was there may be NaN
        for j in range(layout.width, layout.state_row):
            value = np.float32(1.0) if j == layout.width + layout.D else np.float32(0.0)
            work[layout.at_h + step_row * layout.state_row + j] = value
            if layout.second_columns and step_row < layout.T * layout.rows:
                work[layout.at_operand + step_row * layout.state_row + j] = value
    for step_row in range(layout.T * layout.rows):
        for k in range(layout.outputs):
            work[layout.at_error + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_target + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_mask + step_row * layout.outputs + k] = np.float32(0.0)
    if layout.width < layout.units:
        for row in range(layout.gradient_steps * layout.rows):
            for j in range(layout.gate_row):
                work[layout.at_da + row * layout.gate_row + j] = np.float32(0.0)


def make_spread(repeat: bool):
    """Rows of a small matrix, or numbers repeated to rows, each to its place a long stride away."""

    @intrinsic
    def spread(typing_context, source, width, beside, destination, stride, count, columns):
        """Row t of (count, width) to destination + t * stride; then `beside`, then zeros up to `columns`.

        With `repeat` the source is (count,), each number to be repeated `width` times. `columns` is a multiple of 4;
        up to 4 floats behind the source are read.
        """
        signature = types.void(ADDRESS, ADDRESS, types.float32, *(ADDRESS,) * 4)

        def generate(context, builder, signature, arguments):
            source, width, beside, destination, stride, count, columns = arguments
            four, index = ir.VectorType(FLOAT, 4), ir.VectorType(INT64, 4)
            with cgutils.for_range(builder, builder.sdiv(columns, INT64(4))) as column_loop:
                first = builder.mul(column_loop.index, INT64(4))
                lane = builder.add(broadcast(builder, first, 4), ir.Constant(index, [0, 1, 2, 3]))
                ends = broadcast(builder, width, 4)
                within = builder.icmp_signed("<", lane, ends)
                at_end = builder.icmp_signed("==", lane, ends)
                rest = builder.select(at_end, broadcast(builder, beside, 4), ir.Constant(four, [0.0] * 4))
                with cgutils.for_range(builder, count) as row_loop:
                    if repeat:
                        value = broadcast(builder, builder.load(element(builder, source, row_loop.index)), 4)
                    else:
                        start = builder.add(builder.mul(row_loop.index, width), first)
                        value = load(builder, element(builder, source, start), four)
                    place = element(builder, destination, builder.add(builder.mul(row_loop.index, stride), first))
                    store(builder, builder.select(within, value, rest), place)
            return context.get_dummy_value()

        return signature, generate

    return spread


spread_rows, spread_numbers = make_spread(False), make_spread(True)


@part
def place_trial(layout, work, row):
    """Put the trial in the workspace's scratch into row `row` of the tile; returns the sum of its mask."""
    T, D, K = layout.T, layout.D, layout.K
    base, step = work.ctypes.data, layout.rows * layout.state_row
    inputs = base + 4 * layout.at_trial
    targets, mask = inputs + 4 * T * D, inputs + 4 * T * (D + K)
    beside_h = row * layout.state_row + layout.width
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
        for j in range(layout.width, layout.width + layout.D):
            work[layout.at_h + at + j] = work[layout.at_h + at - layout.state_row + j]
            if layout.second_columns:
                work[layout.at_operand + at + j] = work[layout.at_operand + at - layout.state_row + j]
        for k in range(layout.K):
            work[layout.at_target + step_row * layout.outputs + k] = np.float32(0.0)
            work[layout.at_mask + step_row * layout.outputs + k] = np.float32(0.0)


@part
def place_noise(layout, key, iteration, first, scale, work):
    """The noise of a tile's trials, `first` and on, where pre-activations will be added up; for cells of one block.

    Of a trial's stream T n numbers. Trials beyond the batch, which count for nothing, have that of further ones.
    """
    T, n, scale = layout.T, layout.n, np.float32(scale)
    drawn = np.empty(T * n, np.float32)
    for row in range(layout.rows):
        normals(Stream(key, np.uint64(NOISE), np.uint64(iteration), np.uint64(first + row)), drawn)
        for t in range(T):
            at = layout.at_gates + t * layout.gate_step + row * layout.gate_row
            for u in range(n):
                work[at + u] = scale * drawn[t * n + u]
            for u in range(n, layout.first_columns):
                work[at + u] = np.float32(0.0)


@part
def place_parameters(layout, packed, work):
    """The trainable initial state and the output bias in every row."""
    for row in range(layout.rows):
        for u in range(layout.width):
            work[layout.at_h + row * layout.state_row + u] = packed[layout.packed_h0 + u]
            if layout.cell_states:
                work[layout.at_cell + row * layout.units + u] = packed[layout.packed_h0 + layout.units + u]
        for k in range(layout.outputs):
            work[layout.at_bias + row * layout.outputs + k] = packed[layout.packed_b_out + k]


@part
def streams_at(layout, base, t, sums, da):
    """Addresses of step t's arrays in the workspace; those of `sums` and `da` are given, 0 where they are not used."""
    state = layout.rows * layout.state_row
    plain = layout.rows * layout.units
    return Streams(
        base + 4 * (layout.at_h + t * state),
        base + 4 * (layout.at_h + (t + 1) * state),
        base + 4 * (layout.at_operand + t * state),
        sums,
        base + 4 * (layout.at_gates + t * layout.gate_step),
        da,
        base + 4 * (layout.at_cell + t * plain),
        base + 4 * (layout.at_cell + (t + 1) * plain),
        base + 4 * (layout.at_phi_cell + t * plain),
        base + 4 * layout.at_dh,
        base + 4 * layout.at_dcell,
        base + 4 * layout.at_drh,
    )


@part
def add_readout_gradient(layout, base, total, begin, end):
    """Add error^T h of the steps begin .. end - 1 to the packed gradient of W_out."""
    state = layout.rows * layout.state_row
    multiply_transposed(
        base + 4 * (layout.at_error + begin * layout.rows * layout.outputs),
        layout.outputs,
        base + 4 * (layout.at_h + (begin + 1) * state),
        layout.state_row,
        total + 4 * layout.packed_out,
        layout.units,
        PANEL,
        layout.outputs,
        layout.units,
        (end - begin) * layout.rows,
    )


@part
def add_edges(layout, work, gradient):
    """Add the errors to the packed gradient of b_out, and what has come back to step 0 to that of h0.

    Takes away what the inputs, which follow h in the state rows, have left in the padding of that of W_out.
    """
    for k in range(layout.K):
        for u in range(layout.width, layout.units):
            gradient[layout.packed_out + k * layout.units + u] = np.float32(0.0)
        bias = 0.0
        for j in range(layout.T * layout.rows):
            bias += work[layout.at_error + j * layout.outputs + k]
        gradient[layout.packed_b_out + k] += np.float32(bias)
    for row in range(layout.rows):
        for u in range(layout.width):
            gradient[layout.packed_h0 + u] += work[layout.at_dh + row * layout.units + u]
            if layout.cell_states:
                gradient[layout.packed_h0 + layout.units + u] += work[layout.at_dcell + row * layout.units + u]
