"""Pointwise stages of a tile's step as LLVM vector code: the cells' mathematics, and the errors of the outputs.

The stages of a kind are one small function, called by address: all else of a tile is compiled once for all kinds.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...cells import get_cell
from ...compiled import compiled_callback
from .emit import ADDRESS, ZERO, accumulate_over, broadcast, element, load, multiply_add, store, sum_lanes
from .vectors import FLOAT, INT64, LANES, Vector, VectorMath


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

# Vectors of units that a stage computes side by side: a single one's operations wait for each other. Not tried with
# AVX-512, where `VectorMath.reciprocal` takes single ones.
TOGETHER = 1 if LANES == 16 else 2

FORWARD_FIRST, FORWARD_SECOND, BACKWARD_FIRST, BACKWARD_SECOND = range(4)
STAGES = (("forward", 0), ("forward", 1), ("backward", 0), ("backward", 1))
STAGE_SIGNATURE = types.void(types.int64, types.float32, types.CPointer(types.int64))


def where_is(name: str, blocks: tuple[str, ...]) -> tuple[str, int]:
    """Stream and column block of a value named in a stage."""
    for prefix, stream in (("da_", "da"), ("a_", "sums"), ("", "gates")):
        if name.startswith(prefix) and name[len(prefix) :] in blocks and name not in Streams._fields:
            return stream, blocks.index(name[len(prefix) :])
    return name, 0


def compile_stages(cell_name: str, activation: str, precision: str, groups, run_stage) -> int:
    """Address of the stages of a kind, for `call_stage`; compiled, or read from the cache.

    groups : named tuples of integers, in the order in which they lie behind each other; run_stage : makes the code of
    one stage from them, each as a dict
    """
    cell = get_cell(cell_name)

    @intrinsic
    def run(typing_context, which, gate_bias, places):
        def generate(context, builder, signature, arguments):
            which, gate_bias, places = arguments
            numbers, start = [], 0
            for group in groups:
                fields = enumerate(group._fields, start)
                numbers.append({name: builder.load(builder.gep(places, [INT64(i)])) for i, name in fields})
                start += len(group._fields)
            for code, (direction, index) in enumerate(STAGES):
                if index < len(stages := getattr(cell, direction)):
                    with builder.if_then(builder.icmp_signed("==", which, INT64(code))):
                        run_stage(builder, cell, activation, stages[index], gate_bias, *numbers)
            return context.get_dummy_value()

        return STAGE_SIGNATURE, generate

    def stages(which, gate_bias, places):
        run(which, gate_bias, places)

    return compiled_callback(STAGE_SIGNATURE, name=f"stages-{cell_name}-{activation}-{precision}")(stages)


@intrinsic
def call_stage(typing_context, address, which, gate_bias, groups):
    """Call the function of `compile_stages` with its groups; nothing happens where the cell has no such stage."""

    def generate(context, builder, signature, arguments):
        address, which, gate_bias, groups = arguments
        sizes = [len(group) for group in signature.args[-1]]
        numbers = [builder.extract_value(groups, (k, i)) for k, size in enumerate(sizes) for i in range(size)]
        places = cgutils.alloca_once(builder, ir.IntType(64), len(numbers))
        for i, number in enumerate(numbers):
            builder.store(number, builder.gep(places, [INT64(i)]))
        function = ir.FunctionType(ir.VoidType(), [ir.IntType(64), FLOAT, places.type])
        builder.call(builder.inttoptr(address, function.as_pointer()), [which, gate_bias, places])
        return context.get_dummy_value()

    return types.void(types.intp, types.int64, types.float32, groups), generate


def run_stage(builder, cell, activation, stage, gate_bias, stream, size) -> None:
    """Code of a stage: row after row, `TOGETHER` whole vectors of units, single ones, then what is left of them."""
    m = VectorMath(builder, activation)
    strides = size | {"sums_row": size["gate_row"]}

    def run_units(row, u, lanes=LANES, here=None):
        """Units u onwards, as many as `lanes`, or those `here`: lanes beyond are read as zero and left as they are."""
        kind, k = ir.VectorType(FLOAT, lanes), Vector(builder, broadcast(builder, gate_bias, lanes))

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
            value = load(builder, place(name), kind)
            values[name] = Vector(builder, builder.select(here, value, ZERO) if here else value)
        for name, value in stage(m, k, values).items():
            if name == "dh" and not cell.dh_passes:
                continue  # the product makes it anew
            if here:
                value = Vector(builder, builder.select(here, value.value, load(builder, place(name))))
            store(builder, value.value, place(name))

    with cgutils.for_range(builder, size["rows"]) as row_loop:
        first = INT64(0)
        for lanes in dict.fromkeys((TOGETHER * LANES, LANES)):
            count = builder.sdiv(builder.sub(size["width"], first), INT64(lanes))
            with cgutils.for_range(builder, count) as unit_loop:
                run_units(row_loop.index, builder.add(first, builder.mul(unit_loop.index, INT64(lanes))), lanes)
            first = builder.add(first, builder.mul(count, INT64(lanes)))
        left = builder.sub(size["width"], first)
        with builder.if_then(builder.icmp_signed(">", left, INT64(0))):
            lanes = ir.Constant(ir.VectorType(INT64, LANES), list(range(LANES)))
            here = builder.icmp_signed("<", lanes, broadcast(builder, left))
            run_units(row_loop.index, first, here=here)


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
