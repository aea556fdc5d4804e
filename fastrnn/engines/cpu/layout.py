"""Where everything lies: the packed parameters of one network and a thread's workspace.

Packed parameters are what the compiled loops work on: W_rec, W_in and b stacked to one matrix of `depth` rows (the
state row is h | x | 1), blocks side by side, and cut into panels of columns as the micro-kernel reads them. Gradients
and velocities share the layout. Each product's columns are padded to whole vectors; what is in the padding stays
exactly zero. In bf16x3, units and trials are padded to multiples of 32 and the depth to one of 16, and operands in bf16
have places of their own.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from ...cells import get_cell, parameter_shapes
from .bf16x3.unit import CHUNK, DEPTH, SIDE, STEP
from .bf16x3.unit import TILE as UNIT_TILE
from .products import PANEL
from .vectors import LANES

# Trials of a tile. Half as many read the weights twice as often, and need half as much for states and gates. Where that
# is more than a core's part of a server's last cache and the weights are small, half as many are faster, down to 4 by
# up to 19%; where it fits, they are slower by up to 5% (measured on AMD Zen 4). Bits depend on the choice: it is never
# made by the processor there is.
TILES = (16, 8, 4)
CACHED_WORKSPACE = 4 << 20  # bytes
CACHED_WEIGHTS = 512 << 10  # bytes of recurrent weights, straight and transposed
SLICES = 16  # at most so many partial gradients of a batch, summed in order: bits don't depend on the team's size
GRADIENT_ROWS = 64  # rows (steps x trials) of a block of the weight-gradient product
GRADIENT_ROWS_BF16X3 = 384  # the unit is fast: sums should move seldom, and operands stay in the second-level cache


class Layout(NamedTuple):
    """Sizes and offsets in float32 elements; `*_row` are row strides, `at_*` offsets into the workspace."""

    n: int
    units: int  # n padded to whole vectors
    width: int  # columns of a block, and of h in the state row: n, in bf16x3 `units`
    D: int
    K: int
    outputs: int  # K padded to a multiple of 4
    T: int
    trials: int  # B
    rows: int  # trials of a tile; of the last one see `last_tile`
    tiles: int
    slices: int
    depth: int  # width + D + 1, the rows of the stacked weights
    panel_rows: int  # depth padded to a multiple of 4, in bf16x3 of 16
    state_row: int
    gate_row: int
    gate_step: int  # from one step's gates to the next, 0 where nothing is kept
    first_width: int  # columns of the first product's blocks, and of the second's, which begin at `first_columns`
    second_width: int
    first_columns: int  # the same, padded to whole vectors
    second_columns: int
    cell_states: int  # 1 where the state has a part beside h
    packed_second: int  # offsets into the packed parameters; the first product's weights are at 0
    packed_out: int
    packed_b_out: int
    packed_h0: int
    packed_size: int
    gradient_steps: int
    dh_passes: int  # 1 where part of dh passes a step outside of the products
    readout_columns: int  # these four matter in bf16x3 only: K padded to whole tiles
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
    """Layout of one network of a kind and of the workspace of the thread that works on it.

    In float32, tiles have the most trials of `TILES`, but no more than the batch needs, with which the workspace is at
    most `CACHED_WORKSPACE`, or the fewest; where the weights are more than `CACHED_WEIGHTS`, all that the batch needs.
    """
    if precision == "bf16x3":
        return _layout_of(cell_name, n, D, K, T, B, 2 * SIDE, True)
    rows = min((rows for rows in TILES if rows >= B), default=TILES[0])  # rows * outputs is a multiple of any LANES
    layout = _layout_of(cell_name, n, D, K, T, B, rows, False)
    weights = 2 * layout.units * (layout.first_width + layout.second_width)
    if 4 * weights <= CACHED_WEIGHTS:
        while 4 * layout.work_size > CACHED_WORKSPACE and layout.rows > TILES[-1]:
            layout = _layout_of(cell_name, n, D, K, T, B, layout.rows // 2, False)
    return layout


def last_tile(layout: Layout) -> Layout:
    """The same workspace with as many rows a tile as the batch's last tile has trials, padded to a multiple of 4.

    In bf16x3 all tiles are alike.
    """
    if layout.operands_size:
        return layout
    return layout._replace(rows=round_up(layout.trials - (layout.tiles - 1) * layout.rows, 4))


def _layout_of(cell_name: str, n: int, D: int, K: int, T: int, B: int, rows: int, in_blocks: bool) -> Layout:
    """With so many trials a tile."""
    cell = get_cell(cell_name)
    units = round_up(n, DEPTH if in_blocks else LANES)
    width = units if in_blocks else n
    tiles = -(-B // rows)
    depth = width + D + 1
    panel_rows = round_up(depth, SIDE if in_blocks else 4)
    first_width, second_width = len(cell.first) * width, len(cell.second) * width
    first, second = round_up(first_width, LANES), round_up(second_width, LANES)
    gate_row, readout_columns = stride(first + second), round_up(K, SIDE)
    sizes = SimpleNamespace(
        n=n,
        units=units,
        width=width,
        D=D,
        K=K,
        outputs=round_up(K, 4),
        T=T,
        trials=B,
        rows=rows,
        tiles=tiles,
        slices=min(tiles, SLICES),
        depth=depth,
        panel_rows=panel_rows,
        state_row=stride(max(panel_rows, width + round_up(D + 1, 4))),  # inputs are placed in fours
        gate_row=gate_row,
        gate_step=rows * gate_row * cell.keeps_gates,
        first_width=first_width,
        second_width=second_width,
        first_columns=first,
        second_columns=second,
        cell_states=cell.state_multiple - 1,
        gradient_steps=min(T, max(1, (GRADIENT_ROWS_BF16X3 if in_blocks else GRADIENT_ROWS) // rows)),
        dh_passes=int(cell.dh_passes),
        readout_columns=readout_columns,
        input_chunks=-(-(D + 1) // CHUNK),
        error_chunks=-(-K // CHUNK),
        sums_row=stride(readout_columns + first + second),
    )
    operands_size = _operands_size(sizes) if in_blocks else 0
    return Layout(**vars(sizes), **_packed_offsets(sizes), **_regions(sizes, in_blocks), operands_size=operands_size)


def _operands_size(s) -> int:
    """Of the right operands that are made of the weights, in bf16."""
    columns = s.first_columns + s.second_columns
    forward = s.units // DEPTH * STEP + s.input_chunks * UNIT_TILE  # of 16 columns
    back = columns // DEPTH * STEP + s.error_chunks * UNIT_TILE
    return (s.readout_columns + columns) // SIDE * forward + s.units // SIDE * back


def _packed_offsets(s) -> dict[str, int]:
    """Where the packed parameters lie behind the first product's weights, and `packed_size`."""
    parts = {
        "packed_second": s.panel_rows * s.second_columns,
        "packed_out": s.outputs * s.units,
        "packed_b_out": round_up(s.outputs, 16),
        "packed_h0": round_up((s.cell_states + 1) * s.units, 16),
    }
    return _offsets(parts, "packed_size", s.panel_rows * s.first_columns)


def _regions(s, in_blocks: bool) -> dict[str, int]:
    """Where the regions of the workspace lie, and `work_size`."""
    plain, outputs = s.rows * s.units, s.rows * s.outputs
    columns, second = s.first_columns + s.second_columns, bool(s.second_columns)
    regions = {
        "at_h": (s.T + 1) * s.rows * s.state_row,
        "at_operand": s.T * s.rows * s.state_row * second,
        "at_gates": (s.T if s.gate_step else 1) * s.rows * s.gate_row,
        "at_da": s.gradient_steps * s.rows * s.gate_row * (not in_blocks),
        "at_cell": (s.T + 1) * plain * s.cell_states,
        "at_phi_cell": s.T * plain * s.cell_states,
        "at_dh": plain,
        "at_dcell": plain * s.cell_states,
        "at_drh": plain * second,
        "at_error": s.T * outputs,
        "at_target": s.T * outputs,
        "at_mask": s.T * outputs,
        "at_bias": outputs,
        "at_trial": s.T * (s.D + s.K + 1),
        "at_sums": s.rows * s.sums_row * in_blocks,
        "at_left_h": plain * in_blocks,
        "at_left_rh": plain * second * in_blocks,
        "at_left_inputs": 2 * s.input_chunks * UNIT_TILE * in_blocks,
        "at_left_da": s.rows * columns * in_blocks,
        "at_left_errors": 2 * s.error_chunks * UNIT_TILE * in_blocks,
        "at_gradient_left": s.gradient_steps * s.rows * s.panel_rows * in_blocks,
        "at_gradient_right": s.gradient_steps * s.rows * columns * in_blocks,
    }
    return _offsets({name: round_up(size, 16) + 16 for name, size in regions.items()}, "work_size")


def _offsets(sizes: dict[str, int], end: str, start: int = 0) -> dict[str, int]:
    """Where each part begins, one behind the other from `start`, and as `end` where the last one ends."""
    return dict(zip((*sizes, end), accumulate(sizes.values(), initial=start), strict=True))


def in_panels(row, column, rows: int, columns: int):
    """Offset of an element of a (rows, columns) matrix cut into packed panels."""
    start = column // PANEL * PANEL
    width = np.where(start + PANEL <= columns, PANEL, LANES)
    return start * rows + row * width + (column - start)


def stacked_position(layout: Layout, row, block, unit):
    """Offset of the stacked weights' element (row, unit of a block) in the packed parameters."""
    column = block * layout.width + unit
    in_first = column < layout.first_width
    first = in_panels(row, column, layout.panel_rows, layout.first_columns)
    second = in_panels(row, column - layout.first_width, layout.panel_rows, layout.second_columns)
    return np.where(in_first, first, layout.packed_second + second)


@lru_cache(maxsize=64)
def packing(cell_name: str, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Index arrays, int32.

    position (M,): where each parameter, in the order of `Networks.parameters`, lies among the packed ones.
    transposed (units * width of all blocks,): the packed element each element of the transposed recurrent weights comes
    from; they lie in packed panels too, those of the first product before those of the second. What stands in columns
    beyond `width` is never read.
    """
    n, width = layout.n, layout.width
    gates = get_cell(cell_name).gates
    block, unit = (grid.ravel() for grid in np.meshgrid(np.arange(gates), np.arange(n), indexing="ij"))
    places = {
        "W_rec": stacked_position(layout, np.arange(n)[:, None], block, unit),
        "W_in": stacked_position(layout, width + np.arange(layout.D)[:, None], block, unit),
        "b": stacked_position(layout, width + layout.D, block, unit),
        "W_out": layout.packed_out + np.arange(layout.K)[None, :] * layout.units + np.arange(n)[:, None],
        "b_out": layout.packed_b_out + np.arange(layout.K),
        "h0": layout.packed_h0 + (np.arange(layout.cell_states + 1)[:, None] * layout.units + np.arange(n)),
    }
    names = parameter_shapes(cell_name, n, layout.D, layout.K)
    position = np.concatenate([np.ravel(places[name]) for name in names])

    parts = []
    for start, columns in ((0, layout.first_width), (layout.first_width, layout.second_width)):
        source = np.empty(columns * layout.units, np.int64)
        c, v = (grid.ravel() for grid in np.meshgrid(np.arange(columns), np.arange(layout.units), indexing="ij"))
        weights = stacked_position(layout, np.minimum(v, width - 1), (start + c) // width, (start + c) % width)
        source[in_panels(c, v, columns, layout.units)] = weights
        parts.append(source)
    return position.astype(np.int32), np.concatenate(parts).astype(np.int32)
