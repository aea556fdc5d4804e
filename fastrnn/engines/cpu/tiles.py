"""One tile of trials through time: forward, backward, weight gradients; here in float32, in `bf16x3` on a matrix unit.

One thread owns one tile and one workspace.

What depends on the kind of network, its stages, is called by address, and so is what is here (`tile_address`): the
stages are compiled for each kind, the products and the rest of a tile once in each precision, and the loops around all
of it once.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from ...compiled import call_by_address, compiled_callback, once, part
from .bf16x3 import stages as bf16x3_stages
from .bf16x3 import tiles as bf16x3
from .bf16x3.operands import fill_operands
from .layout import RECORD
from .products import IN_PANELS, NONE_BESIDE, PANEL, multiply_packed, multiply_rows, multiply_transposed
from .stages import (
    BACKWARD_FIRST,
    BACKWARD_SECOND,
    FORWARD_FIRST,
    FORWARD_SECOND,
    Sizes,
    Streams,
    call_stage,
    compile_stages,
    run_stage,
    weigh_errors,
)
from .workspace import add_edges, add_readout_gradient, place_noise, place_parameters, streams_at

REAL, DOUBLE = types.CPointer(types.float32), types.CPointer(types.float64)
LAYOUT = types.CPointer(numba.from_dtype(RECORD))
ARRAYS = (REAL, REAL, REAL, REAL, DOUBLE)
OPERANDS_SIGNATURE = types.void(LAYOUT, REAL, REAL, REAL)
NOISE_SIGNATURE = types.void(LAYOUT, types.uint64, types.int64, types.int64, types.float64, REAL)
TILE_SIGNATURE = types.void(types.int64, types.float32, LAYOUT, *ARRAYS, types.int64, types.int64)


class Kind(NamedTuple):
    """What the loops are told of a kind of network.

    tile, stages, operands : addresses, see below; operands is 0 where there are none
    gate_bias : float32
    """

    tile: int
    stages: int
    operands: int
    gate_bias: np.float32

    @classmethod
    def of(cls, networks, precision: str) -> Kind:
        """That of some networks, compiled or read from the cache."""
        stages = stages_address(networks.cell, networks.activation, precision)
        return cls(tile_address(precision), stages, operands_address(precision), np.float32(networks.gate_bias))


@once
def tile_address(precision: str) -> int:
    """Address of the tile function in a precision, for `call_tile`; compiles it or reads it from the cache."""
    forward, backward = PASSES[precision]

    def tile(stages, gate_bias, record, packed, beside, work, gradient, sums, noisy, both):
        layout = numba.carray(record, (1,))[0]
        parameters = numba.carray(packed, (layout.packed_size,))
        others = numba.carray(beside, (1,))  # its address is all that is used
        workspace = numba.carray(work, (layout.work_size,))
        sums[0] += forward(stages, gate_bias, layout, parameters, others, workspace, noisy != 0)
        if both:
            total = numba.carray(gradient, (layout.packed_size,))
            backward(stages, gate_bias, layout, parameters, others, workspace, total)

    return compiled_callback(TILE_SIGNATURE, name=f"tile-{precision}")(tile)


@once
def stages_address(cell: str, activation: str, precision: str) -> int:
    """Address of the stages of a kind, for `call_tile`; compiles them or reads them from the cache."""
    return compile_stages(cell, activation, precision, *STAGES[precision])


@intrinsic
def call_tile(typing_context, address, stages, gate_bias, record, packed, beside, work, gradient, sums, noisy, both):
    """Run the tile in `work` forward and, if `both`, back; arrays by address.

    `stages` : address of those of the kind; `beside` : what is multiplied with beside the packed weights: in float32
    the recurrent weights transposed, in bf16x3 the right operands of `bf16x3.operands`; `noisy` : whether there is
    noise where pre-activations are added up

    Adds the sum of mask * squared error to sums[0], the tile's gradient of half of it to `gradient`.
    """
    return call_by_address(TILE_SIGNATURE)


@once
def operands_address(precision: str) -> int:
    """Address of what fills in the operands of bf16x3, for `call_operands`; 0 in float32, where there are none."""
    if precision == "float32":
        return 0

    def fill(record, packed, transposed, operands):
        layout = numba.carray(record, (1,))[0]
        weights, turned = numba.carray(packed, (1,)), numba.carray(transposed, (1,))  # addresses are all that is used
        fill_operands(layout, weights, turned, numba.carray(operands, (1,)))

    return compiled_callback(OPERANDS_SIGNATURE, name=f"operands-{precision}")(fill)


@intrinsic
def call_operands(typing_context, address, record, packed, transposed, operands):
    """Fill in `operands` from a network's weights, packed and transposed; arrays by address."""
    return call_by_address(OPERANDS_SIGNATURE)


@once
def noise_address() -> int:
    """Address of what draws a tile's noise, for `call_noise`; compiled where there is some."""

    def noise(record, key, iteration, first, scale, work):
        layout = numba.carray(record, (1,))[0]
        place_noise(layout, key, iteration, first, scale, numba.carray(work, (layout.work_size,)))

    return compiled_callback(NOISE_SIGNATURE, name="noise")(noise)


@intrinsic
def call_noise(typing_context, address, record, key, iteration, first, scale, work):
    """Put the noise of the tile that begins with trial `first` into `work`; arrays by address."""
    return call_by_address(NOISE_SIGNATURE)


@part
def sizes_of(layout):
    """What the pointwise stages need of a layout."""
    return Sizes(layout.rows, layout.width, layout.units, layout.state_row, layout.gate_row, layout.first_columns)


@part
def forward_tile(stages, gate_bias, layout, packed, transposed, work, noisy):
    """Run the tile's trials from step 0; states, gates and errors stay in the workspace.

    Returns the sum of mask * squared error over trials, steps and outputs.
    """
    weights, base = packed.ctypes.data, work.ctypes.data
    place_parameters(layout, packed, work)
    sizes = sizes_of(layout)
    step_outputs = layout.rows * layout.outputs
    loss = 0.0
    for t in range(layout.T):
        sums = base + 4 * (layout.at_gates + t * layout.gate_step)
        s = streams_at(layout, base, t, sums, 0)
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
            noisy,
            NONE_BESIDE,
        )
        call_stage(stages, FORWARD_FIRST, gate_bias, (s, sizes))
        if layout.second_columns:
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
                NONE_BESIDE,
            )
            call_stage(stages, FORWARD_SECOND, gate_bias, (s, sizes))
        error = base + 4 * (layout.at_error + t * step_outputs)
        multiply_rows(
            s.h_next,
            layout.state_row,
            weights + 4 * layout.packed_out,
            layout.units,
            error,
            layout.outputs,
            layout.rows,
            layout.K,
            layout.units,
        )
        loss += weigh_errors(
            error,
            base + 4 * (layout.at_target + t * step_outputs),
            base + 4 * (layout.at_mask + t * step_outputs),
            base + 4 * layout.at_bias,
            step_outputs,
        )
    return loss


@part
def backward_tile(stages, gate_bias, layout, packed, transposed, work, gradient):
    """Add the tile's gradient of half the unscaled loss to `gradient` (packed), after `forward_tile`."""
    base, weights, total = work.ctypes.data, packed.ctypes.data, gradient.ctypes.data
    back = transposed.ctypes.data
    sizes = sizes_of(layout)
    errors, step_errors = base + 4 * layout.at_error, 4 * layout.rows * layout.outputs
    for j in range(layout.rows * layout.units * layout.cell_states):
        work[layout.at_dcell + j] = np.float32(0.0)
    readout = weights + 4 * layout.packed_out
    multiply_packed(  # dh = error @ W_out^T, of the last step: nothing but what is beside
        0,
        0,
        0,
        base + 4 * layout.at_dh,
        layout.units,
        layout.rows,
        layout.units,
        0,
        0,
        False,
        (errors + (layout.T - 1) * step_errors, layout.outputs, readout, layout.units, layout.K),
    )
    end = layout.T
    while end > 0:
        begin = max(0, end - layout.gradient_steps)
        for t in range(end - 1, begin - 1, -1):
            da = base + 4 * (layout.at_da + (t - begin) * layout.rows * layout.gate_row)
            s = streams_at(layout, base, t, 0, da)
            if layout.second_columns:
                call_stage(stages, BACKWARD_SECOND, gate_bias, (s, sizes))
                multiply_packed(  # drh = da @ W_rec^T, blocks of the second product
                    s.da + 4 * layout.first_columns,
                    layout.gate_row,
                    back + 4 * layout.units * layout.first_width,
                    s.drh,
                    layout.units,
                    layout.rows,
                    layout.units,
                    layout.second_width,
                    layout.second_width,
                    False,
                    NONE_BESIDE,
                )
            call_stage(stages, BACKWARD_FIRST, gate_bias, (s, sizes))
            multiply_packed(  # dh [+]= da @ W_rec^T, blocks of the first product, + error @ W_out^T of the step before
                s.da,
                layout.gate_row,
                back,
                s.dh,
                layout.units,
                layout.rows,
                layout.units,
                layout.first_width,
                layout.first_width,
                layout.dh_passes != 0,
                (errors + (t - 1) * step_errors, layout.outputs, readout, layout.units, layout.K if t > 0 else 0),
            )
        add_gradients(layout, base, total, begin, end)
        add_readout_gradient(layout, base, total, begin, end)
        end = begin
    add_edges(layout, work, gradient)


@part
def add_gradients(layout, base, total, begin, end):
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
        IN_PANELS,
        PANEL * layout.panel_rows,
        layout.panel_rows,
        layout.first_columns,
        pairs,
    )
    if layout.second_columns:
        multiply_transposed(
            base + 4 * (layout.at_operand + begin * state),
            layout.state_row,
            da + 4 * layout.first_columns,
            layout.gate_row,
            total + 4 * layout.packed_second,
            IN_PANELS,
            PANEL * layout.panel_rows,
            layout.panel_rows,
            layout.second_columns,
            pairs,
        )


PASSES = {"float32": (forward_tile, backward_tile), "bf16x3": (bf16x3.forward_tile, bf16x3.backward_tile)}
STAGES = {  # what a stage is told, and what makes its code
    "float32": ((Streams, Sizes), run_stage),
    "bf16x3": ((Streams, bf16x3_stages.Operands, bf16x3_stages.Strides), bf16x3_stages.run_stage),
}
