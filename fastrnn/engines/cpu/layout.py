"""Where everything lies: the packed parameters of one network and a thread's workspace.

Packed parameters are what the compiled loops work on: units padded to whole vectors (padded units stay exactly zero),
W_rec, W_in and b stacked to one matrix of `depth` rows (the state row is h | x | 1) and cut into panels of columns as
the micro-kernel reads them. Gradients and velocities share the layout. In bf16x3, units and trials are padded to
multiples of 32 and the depth to one of 16, and operands in bf16 have places of their own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...cells import get_cell, parameter_shapes
from .bf16x3.unit import CHUNK, DEPTH, SIDE, STEP
from .bf16x3.unit import TILE as UNIT_TILE
from .products import PANEL
from .stages import where_is
from .vectors import LANES

TILE = 16  # trials of a tile: its states, gates and weights stay in the second-level cache
SLICES = 16  # at most so many partial gradients of a batch, summed in order: bits don't depend on the team's size
GRADIENT_ROWS = 64  # rows (steps x trials) of a block of the weight-gradient product
GRADIENT_ROWS_BF16X3 = 384  # the unit is fast: sums should move seldom, and operands stay in the second-level cache


class Layout(NamedTuple):
    """Sizes and offsets in float32 elements; `*_row` are row strides, `at_*` offsets into the workspace."""

    n: int
    units: int  # n padded to whole vectors
    D: int
    K: int
    outputs: int  # K padded to a multiple of 4
    T: int
    trials: int  # B
    rows: int  # trials of a tile
    tiles: int
    slices: int
    depth: int  # units + D + 1, the rows of the stacked weights
    panel_rows: int  # depth padded to a multiple of 4, in bf16x3 of 16
    state_row: int
    gate_row: int
    gate_step: int  # from one step's gates to the next, 0 where nothing is kept
    first_columns: int
    second_columns: int
    cell_states: int  # 1 for the LSTM
    packed_second: int  # offsets into the packed parameters; the first product's weights are at 0
    packed_out: int
    packed_b_out: int
    packed_h0: int
    packed_size: int
    gradient_steps: int
    dh_passes: int  # these five matter in bf16x3 only: 1 where part of dh passes a step outside of the products
    readout_columns: int  # K padded to whole tiles
    input_chunks: int  # of D + 1
    error_chunks: int  # of K
    sums_row: int
    at_h: int
    at_operand: int
    at_gates: int
    at_da: int
    at_cell: int
    at_phi_cell: int
    at_dh: int
    at_dcell: int
    at_drh: int
    at_error: int
    at_target: int
    at_mask: int
    at_bias: int
    at_trial: int
    at_sums: int  # of one step, readout and blocks: the matrix unit is slow to write what is in no cache
    at_left_h: int  # operands in bf16
    at_left_rh: int
    at_left_inputs: int
    at_left_da: int
    at_left_errors: int
    at_gradient_left: int
    at_gradient_right: int
    work_size: int
    operands_size: int  # the weights' own operands in bf16, 0 in float32


RECORD = np.dtype([(name, np.int64) for name in Layout._fields])  # a `Layout` as compiled code reads it


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple that is not below the value."""
    return -(-value // multiple) * multiple


def stride(columns: int) -> int:
    """Row stride for so many columns: whole vectors, but no multiple of 128, which would crowd a few cache sets."""
    padded = round_up(columns, LANES)
    return padded + 16 if padded % 128 == 0 else padded


@lru_cache(maxsize=256)
def make_layout(cell_name: str, n: int, D: int, K: int, T: int, B: int, precision: str = "float32") -> Layout:
    """Layout of one network of a kind and of the workspace of the thread that works on it."""
    cell, in_blocks = get_cell(cell_name), precision == "bf16x3"
    units, outputs = round_up(n, DEPTH if in_blocks else LANES), round_up(K, 4)
    rows = 2 * SIDE if in_blocks else min(TILE, round_up(B, 8))  # rows * outputs is a multiple of any LANES
    tiles = -(-B // rows)
    depth = units + D + 1
    panel_rows = round_up(depth, SIDE if in_blocks else 4)
    first, second = len(cell.first) * units, len(cell.second) * units
    state_row, gate_row = stride(panel_rows), stride(first + second)
    two = cell.state_multiple - 1
    keeps_gates = any(where_is(name, cell.blocks)[0] == "gates" for stage in cell.backward for name in stage.reads)
    gradient_steps = min(T, max(1, (GRADIENT_ROWS_BF16X3 if in_blocks else GRADIENT_ROWS) // rows))
    readout_columns, input_chunks, error_chunks = round_up(K, SIDE), -(-(D + 1) // CHUNK), -(-K // CHUNK)
    sums_row = stride(readout_columns + first + second)
    forward_column = units // DEPTH * STEP + input_chunks * UNIT_TILE  # of 16 columns of the weights' operands
    operands_size = (readout_columns + first + second) // SIDE * forward_column
    operands_size += units // SIDE * ((first + second) // DEPTH * STEP + error_chunks * UNIT_TILE)

    sizes = {
        "second": panel_rows * first,
        "out": panel_rows * second,
        "b_out": outputs * units,
        "h0": round_up(outputs, 16),
        "end": round_up(cell.state_multiple * units, 16),
    }
    packed, position = {}, 0
    for name, size in sizes.items():
        position += size
        packed[name] = position

    regions = {
        "h": (T + 1) * rows * state_row,
        "operand": T * rows * state_row * bool(second),
        "gates": (T if keeps_gates else 1) * rows * gate_row,
        "da": gradient_steps * rows * gate_row * (not in_blocks),
        "cell": (T + 1) * rows * units * two,
        "phi_cell": T * rows * units * two,
        "dh": rows * units,
        "dcell": rows * units * two,
        "drh": rows * units * bool(second),
        "error": T * rows * outputs,
        "target": T * rows * outputs,
        "mask": T * rows * outputs,
        "bias": rows * outputs,
        "trial": T * (D + K + 1),
        "sums": rows * sums_row * in_blocks,
        "left_h": rows * units * in_blocks,
        "left_rh": rows * units * bool(second) * in_blocks,
        "left_inputs": 2 * input_chunks * UNIT_TILE * in_blocks,
        "left_da": rows * (first + second) * in_blocks,
        "left_errors": 2 * error_chunks * UNIT_TILE * in_blocks,
        "gradient_left": gradient_steps * rows * panel_rows * in_blocks,
        "gradient_right": gradient_steps * rows * (first + second) * in_blocks,
    }
    at, position = {}, 0
    for name, size in regions.items():
        at["at_" + name] = position
        position += round_up(size, 16) + 16
    return Layout(
        n=n,
        units=units,
        D=D,
        K=K,
        outputs=outputs,
        T=T,
        trials=B,
        rows=rows,
        tiles=tiles,
        slices=min(tiles, SLICES),
        depth=depth,
        panel_rows=panel_rows,
        state_row=state_row,
        gate_row=gate_row,
        gate_step=rows * gate_row * keeps_gates,
        first_columns=first,
        second_columns=second,
        cell_states=two,
        packed_second=packed["second"],
        packed_out=packed["out"],
        packed_b_out=packed["b_out"],
        packed_h0=packed["h0"],
        packed_size=packed["end"],
        gradient_steps=gradient_steps,
        dh_passes=int(cell.dh_passes),
        readout_columns=readout_columns,
        input_chunks=input_chunks,
        error_chunks=error_chunks,
        sums_row=sums_row,
        **at,
        work_size=position,
        operands_size=operands_size * in_blocks,
    )


def in_panels(row, column, rows: int, columns: int):
    """Offset of an element of a (rows, columns) matrix cut into packed panels."""
    start = column // PANEL * PANEL
    width = np.where(start + PANEL <= columns, PANEL, LANES)
    return start * rows + row * width + (column - start)


def stacked_position(layout: Layout, row, block, unit):
    """Offset of the stacked weights' element (row, block * units + unit) in the packed parameters."""
    column = block * layout.units + unit
    in_first = column < layout.first_columns
    first = in_panels(row, column, layout.panel_rows, layout.first_columns)
    second = in_panels(row, column - layout.first_columns, layout.panel_rows, layout.second_columns)
    return np.where(in_first, first, layout.packed_second + second)


@lru_cache(maxsize=64)
def packing(cell_name: str, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Index arrays, int32.

    position (M,): where each parameter, in the order of `Networks.parameters`, lies among the packed ones.
    transposed (units * columns,): the packed element each element of the transposed recurrent weights comes from; they
    lie in packed panels too, those of the first product before those of the second.
    """
    n, units = layout.n, layout.units
    gates = get_cell(cell_name).gates
    block, unit = (grid.ravel() for grid in np.meshgrid(np.arange(gates), np.arange(n), indexing="ij"))
    places = {
        "W_rec": stacked_position(layout, np.arange(n)[:, None], block, unit),
        "W_in": stacked_position(layout, units + np.arange(layout.D)[:, None], block, unit),
        "b": stacked_position(layout, units + layout.D, block, unit),
        "W_out": layout.packed_out + np.arange(layout.K)[None, :] * units + np.arange(n)[:, None],
        "b_out": layout.packed_b_out + np.arange(layout.K),
        "h0": layout.packed_h0 + (np.arange(layout.cell_states + 1)[:, None] * units + np.arange(n)),
    }
    names = parameter_shapes(cell_name, n, layout.D, layout.K)
    position = np.concatenate([np.ravel(places[name]) for name in names])

    parts = []
    for start, columns in ((0, layout.first_columns), (layout.first_columns, layout.second_columns)):
        source = np.empty(columns * units, np.int64)
        c, v = (grid.ravel() for grid in np.meshgrid(np.arange(columns), np.arange(units), indexing="ij"))
        source[in_panels(c, v, columns, units)] = stacked_position(layout, v, (start + c) // units, (start + c) % units)
        parts.append(source)
    return position.astype(np.int32), np.concatenate(parts).astype(np.int32)
