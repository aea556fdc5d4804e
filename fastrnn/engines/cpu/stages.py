"""Pointwise stages of a tile's step as LLVM vector code: the cells' mathematics, and the errors of the outputs."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...cells import ACTIVATIONS, CELLS
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, store, sum_lanes
from .vectors import INT64, LANES, Vector, VectorMath


class Streams(NamedTuple):
    """Addresses of one time step's arrays, each (rows, ...); see `cells.cell` for the names."""

    h: int
    h_next: int
    rh: int
    sums: int  # pre-activations; block j in columns j n_padded onwards
    gates: int  # activations, in the same place or in one that is kept
    da: int
    cell: int
    cell_next: int
    phi_cell: int
    dh: int
    dcell: int
    drh: int


# by stream, the distance from one trial to the next, if it is not that of the units
STRIDE_OF = {name: "state_row" for name in ("h", "h_next", "rh")}
STRIDE_OF |= {"gates": "gate_row", "da": "gate_row", "sums": "sums_row"}

# Kinds: a type for each cell and activation. Compiled loops choose their stages by the type of this argument, so that
# the disk cache of machine code works.
KINDS = {}


def _make_kinds():
    for cell in CELLS.values():
        for activation in ACTIVATIONS:
            name = f"{cell.name}_{activation}"
            kind = namedtuple(name, ["gate_bias"], module=__name__)
            globals()[name] = KINDS[cell.name, activation] = kind


_make_kinds()
KIND_OF_TYPE = {kind: names for names, kind in KINDS.items()}


def where_is(name: str, blocks: tuple[str, ...]) -> tuple[str, int]:
    """Stream and column block of a value named in a stage."""
    for prefix, stream in (("da_", "da"), ("a_", "sums"), ("", "gates")):
        if name.startswith(prefix) and name[len(prefix) :] in blocks and name not in Streams._fields:
            return stream, blocks.index(name[len(prefix) :])
    return name, 0


def make_stage(direction: str, index: int):
    """Stage `index` of a kind's `direction` over rows and units; does nothing where the cell has no such stage."""

    @intrinsic
    def stage(typing_context, kind, gate_bias, streams, state_row, gate_row, rows, units):
        signature = types.void(kind, types.float32, streams, *(ADDRESS,) * 4)
        cell_name, activation = KIND_OF_TYPE[kind.instance_class]
        cell = CELLS[cell_name]
        stages = getattr(cell, direction)

        def generate(context, builder, signature, arguments):
            if index >= len(stages):
                return context.get_dummy_value()
            _, gate_bias, streams, state_row, gate_row, rows, units = arguments
            strides = {"state_row": state_row, "gate_row": gate_row, "sums_row": gate_row, "units": units}
            m = VectorMath(builder, activation)
            k = Vector(builder, broadcast(builder, gate_bias))

            with cgutils.for_range(builder, rows) as row_loop:
                row = row_loop.index
                with cgutils.for_range(builder, builder.sdiv(units, INT64(LANES))) as unit_loop:
                    u = builder.mul(unit_loop.index, INT64(LANES))

                    def place(name):
                        stream, block = where_is(name, cell.blocks)
                        address = builder.extract_value(streams, Streams._fields.index(stream))
                        offset = builder.mul(row, strides[STRIDE_OF.get(stream, "units")])
                        offset = builder.add(offset, builder.add(u, builder.mul(units, INT64(block))))
                        return element(builder, address, offset)

                    values = {name: Vector(builder, load(builder, place(name))) for name in stages[index].reads}
                    for name, value in stages[index](m, k, values).items():
                        value = value if isinstance(value, Vector) else m.constant(value)
                        store(builder, value.value, place(name))
            return context.get_dummy_value()

        return signature, generate

    return stage


forward_first, forward_second = make_stage("forward", 0), make_stage("forward", 1)
backward_first, backward_second = make_stage("backward", 0), make_stage("backward", 1)


@intrinsic
def weigh_errors(typing_context, error, target, mask, bias, size):
    """error = mask * (error + bias - target), 0 where mask is 0; returns the sum of mask * squared error, float32.

    All (size,), a multiple of LANES.
    """
    signature = types.float32(*(ADDRESS,) * 5)

    def generate(context, builder, signature, arguments):
        error, target, mask, bias, size = arguments

        def body(k, sums):
            u = builder.mul(k, INT64(LANES))
            places = [element(builder, base, u) for base in (error, target, mask, bias)]
            e, y, m, b = (Vector(builder, load(builder, place)) for place in places)
            off = e + b - y
            counts = builder.fcmp_unordered("!=", m.value, ZERO)
            weighted = m * off
            store(builder, builder.select(counts, weighted.value, ZERO), places[0])
            squared = builder.select(counts, (weighted * off).value, ZERO)
            return [(Vector(builder, sums[0]) + Vector(builder, squared)).value]

        sums = accumulate_over(builder, builder.sdiv(size, INT64(LANES)), [ZERO], body)
        return sum_lanes(builder, sums[0])

    return signature, generate
