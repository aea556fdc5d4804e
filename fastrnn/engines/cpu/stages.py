"""Pointwise stages of a tile's step as LLVM vector code: the cells' mathematics, and the errors of the outputs."""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...cells import ACTIVATIONS, CELLS
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, multiply_add, store, sum_lanes
from .vectors import INT64, LANES, Vector, VectorMath


class Streams(NamedTuple):
    """Addresses of one time step's arrays, each (rows, ...); see `cells.cell` for the names."""

    h: int
    h_next: int
    rh: int
    sums: int  # pre-activations, blocks side by side; those of the second product from `first_columns` on
    gates: int  # activations, in the same place or in one that is kept
    da: int
    cell: int
    cell_next: int
    phi_cell: int
    dh: int
    dcell: int
    drh: int


class Sizes(NamedTuple):
    """How many trials, and distances in floats; see `layout.Layout`."""

    rows: int
    width: int
    units: int
    state_row: int
    gate_row: int
    first_columns: int


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
    def stage(typing_context, kind, gate_bias, streams, sizes):
        signature = types.void(kind, types.float32, streams, sizes)
        cell_name, activation = KIND_OF_TYPE[kind.instance_class]
        cell = CELLS[cell_name]
        stages = getattr(cell, direction)

        def generate(context, builder, signature, arguments):
            if index < len(stages):
                run_stage(builder, cell, activation, stages[index], *arguments[1:])
            return context.get_dummy_value()

        return signature, generate

    return stage


def run_stage(builder, cell, activation, stage, gate_bias, streams, sizes) -> None:
    """Code of a stage: row after row, whole vectors of units, then what is left of them."""
    m, k = VectorMath(builder, activation), Vector(builder, broadcast(builder, gate_bias))
    stream = {name: builder.extract_value(streams, i) for i, name in enumerate(Streams._fields)}
    size = {name: builder.extract_value(sizes, i) for i, name in enumerate(Sizes._fields)}
    strides = size | {"sums_row": size["gate_row"]}

    def run_vector(row, u, here=None):
        """Units u onwards, all `LANES` of them or those `here`: lanes beyond are read as zero and left as they are."""

        def place(name):
            where, block = where_is(name, cell.blocks)
            offset = builder.add(builder.mul(row, strides[STRIDE_OF.get(where, "units")]), u)
            if block < len(cell.first):
                offset = builder.add(offset, builder.mul(size["width"], INT64(block)))
            else:
                beyond = builder.mul(size["width"], INT64(block - len(cell.first)))
                offset = builder.add(offset, builder.add(size["first_columns"], beyond))
            return element(builder, stream[where], offset)

        values = {}
        for name in stage.reads:
            value = load(builder, place(name))
            values[name] = Vector(builder, builder.select(here, value, ZERO) if here else value)
        for name, value in stage(m, k, values).items():
            if name == "dh" and not cell.dh_passes:
                continue  # the product makes it anew
            if here:
                value = Vector(builder, builder.select(here, value.value, load(builder, place(name))))
            store(builder, value.value, place(name))

    with cgutils.for_range(builder, size["rows"]) as row_loop:
        whole = builder.sdiv(size["width"], INT64(LANES))
        with cgutils.for_range(builder, whole) as unit_loop:
            run_vector(row_loop.index, builder.mul(unit_loop.index, INT64(LANES)))
        first = builder.mul(whole, INT64(LANES))
        left = builder.sub(size["width"], first)
        with builder.if_then(builder.icmp_signed(">", left, INT64(0))):
            lanes = ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES)))
            run_vector(row_loop.index, first, builder.icmp_signed("<", lanes, broadcast(builder, left)))


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
            return [builder.select(counts, multiply_add(builder, weighted.value, off.value, sums[0]), sums[0])]

        sums = accumulate_over(builder, builder.sdiv(size, INT64(LANES)), [ZERO], body)
        return sum_lanes(builder, sums)[0]

    return signature, generate
