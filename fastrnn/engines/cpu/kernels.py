"""Matrix micro-kernels and pointwise stages as LLVM vector code, called with addresses from compiled loops.

All matrices are float32, row-major, given by address and strides counted in elements. `ROWS` x `PANEL` is the register
tile: its accumulators stay in registers over the whole depth. A left operand may be read transposed (its depth stride
is then the longer one). Panels of the right operand that are packed lie one behind the other, depth-major.
"""

from __future__ import annotations

import os
from collections import namedtuple
from typing import NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...cells import ACTIVATIONS, CELLS
from ...compiled import part
from .vectors import FLOAT, HAS_FMA, INT64, LANES, VECTOR, Vector, VectorMath

ROWS = 8 if LANES == 16 else 4  # rows of the register tile; 16 accumulators of 32 registers, or 8 of 16
PANEL = 2 * LANES  # columns of the register tile
DEPTH = 288  # depth of a block: a packed panel of it stays in the first-level cache

ADDRESS = types.intp
ZERO = ir.Constant(VECTOR, [0.0] * LANES)


# --------------------------------------------------------------------------------------------- pieces of vector code


def element(builder, base, offset):
    """Pointer to the float `offset` elements behind the address or pointer `base`."""
    if not base.type.is_pointer:
        base = builder.inttoptr(base, FLOAT.as_pointer())
    return builder.gep(base, [offset])


def load(builder, pointer):
    """`LANES` floats, aligned or not."""
    value = builder.load(builder.bitcast(pointer, VECTOR.as_pointer()))
    value.align = 4
    return value


def store(builder, value, pointer):
    """Put `LANES` floats at a pointer, aligned or not."""
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer())).align = 4


def broadcast(builder, scalar):
    """One float in every lane."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), scalar, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), lanes)


def multiply_add(builder, a, b, c):
    """a * b + c, fused where the processor can."""
    if not HAS_FMA:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{LANES}f32"
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name
    )
    return builder.call(function, [a, b, c])


def sum_lanes(builder, vector):
    """Sum of the lanes, pairwise."""
    width = LANES
    while width > 1:
        width //= 2
        upper = [*range(width, 2 * width), *[0] * (LANES - width)]
        moved = builder.shuffle_vector(
            vector,
            ir.Constant(VECTOR, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), upper),
        )
        vector = builder.fadd(vector, moved)
    return builder.extract_element(vector, ir.IntType(32)(0))


def accumulate_over(builder, depth, start, body):
    """Loop k = 0 .. depth - 1 with vector accumulators in registers: `body(k, accumulators)` gives the next ones."""
    before = builder.block
    loop, after = builder.append_basic_block("depth"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(INT64)
    k.add_incoming(INT64(0), before)
    carried = [builder.phi(VECTOR) for _ in start]
    for phi, value in zip(carried, start, strict=True):
        phi.add_incoming(value, before)
    sums = body(k, carried)
    following = builder.add(k, INT64(1))
    k.add_incoming(following, builder.block)
    for phi, value in zip(carried, sums, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    return sums


# ------------------------------------------------------------------------------------------------- matrix products


def make_micro_kernel(rows: int, vectors: int, keep: bool):
    """C (rows, vectors * LANES) = [C if keep +] A (rows, depth) B (depth, vectors * LANES)."""

    @intrinsic
    def micro_kernel(typing_context, a, a_row, a_depth, b, b_row, c, c_row, depth):
        signature = types.void(*(ADDRESS,) * 8)

        def generate(context, builder, signature, arguments):
            a, a_row, a_depth, b, b_row, c, c_row, depth = arguments
            cells = [
                element(builder, element(builder, c, builder.mul(c_row, INT64(i))), INT64(j * LANES))
                for i in range(rows)
                for j in range(vectors)
            ]

            def body(k, sums):
                b_k = element(builder, b, builder.mul(k, b_row))
                right = [load(builder, element(builder, b_k, INT64(j * LANES))) for j in range(vectors)]
                a_k = element(builder, a, builder.mul(k, a_depth))
                following = []
                for i in range(rows):
                    left = broadcast(builder, builder.load(element(builder, a_k, builder.mul(a_row, INT64(i)))))
                    following += [multiply_add(builder, left, right[j], sums[i * vectors + j]) for j in range(vectors)]
                return following

            start = [load(builder, cell) if keep else ZERO for cell in cells]
            for value, cell in zip(accumulate_over(builder, depth, start, body), cells, strict=True):
                store(builder, value, cell)
            return context.get_dummy_value()

        return signature, generate

    return micro_kernel


tile_wide_new, tile_wide_add = make_micro_kernel(ROWS, 2, False), make_micro_kernel(ROWS, 2, True)
tile_narrow_new, tile_narrow_add = make_micro_kernel(ROWS, 1, False), make_micro_kernel(ROWS, 1, True)
rest_wide_new, rest_wide_add = make_micro_kernel(4, 2, False), make_micro_kernel(4, 2, True)
rest_narrow_new, rest_narrow_add = make_micro_kernel(4, 1, False), make_micro_kernel(4, 1, True)


@part
def multiply_panel(a, a_row, a_depth, b, b_row, c, c_row, rows, depth, wide, keep):
    """One panel of columns of a product: C = [C +] A B, rows a multiple of 4."""
    i = 0
    while i + ROWS <= rows:
        a_i, c_i = a + 4 * i * a_row, c + 4 * i * c_row
        if wide:
            if keep:
                tile_wide_add(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
            else:
                tile_wide_new(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
        elif keep:
            tile_narrow_add(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
        else:
            tile_narrow_new(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
        i += ROWS
    if i < rows:  # four rows are left
        a_i, c_i = a + 4 * i * a_row, c + 4 * i * c_row
        if wide:
            if keep:
                rest_wide_add(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
            else:
                rest_wide_new(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
        elif keep:
            rest_narrow_add(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)
        else:
            rest_narrow_new(a_i, a_row, a_depth, b, b_row, c_i, c_row, depth)


@part
def multiply_packed(a, a_row, b, c, c_row, rows, columns, depth, panel_rows, keep):
    """C (rows, columns) = [C +] A (rows, depth) B (depth, columns), B in packed panels of `panel_rows` rows."""
    blocks = (depth + DEPTH - 1) // DEPTH
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        b_j = b + 4 * j * panel_rows
        for block in range(blocks):
            k = block * depth // blocks
            k_end = (block + 1) * depth // blocks
            multiply_panel(
                a + 4 * k,
                a_row,
                1,
                b_j + 4 * k * width,
                width,
                c + 4 * j,
                c_row,
                rows,
                k_end - k,
                wide,
                keep or block > 0,
            )


@part
def multiply_transposed(a, a_depth, b, b_row, c, rows, columns, depth, panel_rows):
    """C += A^T B for A (depth, rows), B (depth, columns); C in packed panels of `panel_rows` rows."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        width = PANEL if wide else LANES
        multiply_panel(a, 1, a_depth, b + 4 * j, b_row, c + 4 * j * panel_rows, width, rows, depth, wide, True)


@part
def multiply_rows(a, a_row, a_depth, b, b_row, c, c_row, rows, columns, depth):
    """C += A B, B and C row-major; for the few columns or rows of the readout."""
    for j in range(0, columns, PANEL):
        wide = j + PANEL <= columns
        multiply_panel(a, a_row, a_depth, b + 4 * j, b_row, c + 4 * j, c_row, rows, depth, wide, True)


@intrinsic
def four_dots(typing_context, a, a_row, b, size, out, out_row):
    """out[i * out_row] = sum over u < size of a[i * a_row + u] b[u], i = 0 .. 3; size a multiple of LANES."""
    signature = types.void(*(ADDRESS,) * 6)

    def generate(context, builder, signature, arguments):
        a, a_row, b, size, out, out_row = arguments

        def body(k, sums):
            u = builder.mul(k, INT64(LANES))
            right = load(builder, element(builder, b, u))
            lefts = [load(builder, element(builder, a, builder.add(u, builder.mul(a_row, INT64(i))))) for i in range(4)]
            return [multiply_add(builder, left, right, s) for left, s in zip(lefts, sums, strict=True)]

        sums = accumulate_over(builder, builder.sdiv(size, INT64(LANES)), [ZERO] * 4, body)
        for i, vector in enumerate(sums):
            builder.store(sum_lanes(builder, vector), element(builder, out, builder.mul(out_row, INT64(i))))
        return context.get_dummy_value()

    return signature, generate


def make_spread(repeat: bool):
    """Rows of a small matrix, or numbers repeated to rows, each to its place a long stride away."""

    @intrinsic
    def spread(typing_context, source, width, beside, destination, stride, count, columns):
        """Row t of (count, width) to destination + t * stride; then `beside`, then zeros up to `columns`.

        With `repeat` the source is (count,), each number to be repeated `width` times. `columns` is a multiple of 4;
        up to 3 floats behind the source are read.
        """
        signature = types.void(ADDRESS, ADDRESS, types.float32, *(ADDRESS,) * 4)

        def generate(context, builder, signature, arguments):
            source, width, beside, destination, stride, count, columns = arguments
            four, index = ir.VectorType(FLOAT, 4), ir.VectorType(INT64, 4)

            def in_all(value, kind):
                one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
                lanes = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
                return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)

            with (
                cgutils.for_range(builder, count) as row_loop,
                cgutils.for_range(builder, builder.sdiv(columns, INT64(4))) as column_loop,
            ):
                first = builder.mul(column_loop.index, INT64(4))
                lane = builder.add(in_all(first, index), ir.Constant(index, [0, 1, 2, 3]))
                if repeat:
                    value = in_all(builder.load(element(builder, source, row_loop.index)), four)
                else:
                    start = builder.add(builder.mul(row_loop.index, width), first)
                    value = builder.load(builder.bitcast(element(builder, source, start), four.as_pointer()))
                    value.align = 4
                within = builder.icmp_signed("<", lane, in_all(width, index))
                at_end = builder.icmp_signed("==", lane, in_all(width, index))
                rest = builder.select(at_end, in_all(beside, four), ir.Constant(four, [0.0] * 4))
                place = element(builder, destination, builder.add(builder.mul(row_loop.index, stride), first))
                value = builder.select(within, value, rest)
                builder.store(value, builder.bitcast(place, four.as_pointer())).align = 4
            return context.get_dummy_value()

        return signature, generate

    return spread


spread_rows, spread_numbers = make_spread(False), make_spread(True)


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


# ------------------------------------------------------------------------------------------------- pointwise stages


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
            strides = {
                "h": state_row,
                "h_next": state_row,
                "rh": state_row,
                "sums": gate_row,
                "gates": gate_row,
                "da": gate_row,
            }
            m = VectorMath(builder, activation)
            k = Vector(builder, broadcast(builder, gate_bias))

            with cgutils.for_range(builder, rows) as row_loop:
                row = row_loop.index
                with cgutils.for_range(builder, builder.sdiv(units, INT64(LANES))) as unit_loop:
                    u = builder.mul(unit_loop.index, INT64(LANES))

                    def place(name):
                        stream, block = where_is(name, cell.blocks)
                        address = builder.extract_value(streams, Streams._fields.index(stream))
                        offset = builder.mul(row, strides.get(stream, units))
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


# ------------------------------------------------------------------------------------------------------------ threads

FLUSH = 0x8040  # bits of the x86 control word: operands and results below the normal float32 count as zero
ON_X86 = binding.get_process_triple().startswith(("x86_64", "i686"))


@intrinsic
def float_mode(typing_context, mode):
    """Set the thread's floating-point control word, or add the bits of `FLUSH` to it if `mode` is negative.

    Returns what it was. Gradients that fade over hundreds of steps pass through denormal numbers, on which a processor
    is a hundred times slower. Does nothing but on x86.
    """

    def generate(context, builder, signature, arguments):
        if not ON_X86:
            return arguments[0]
        word = ir.IntType(32)
        place = cgutils.alloca_once(builder, word)
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type])
        read, write = (
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
            for name in ("stmxcsr", "ldmxcsr")
        )
        builder.call(read, [pointer])
        before = builder.load(place)
        given = builder.trunc(arguments[0], word)
        add = builder.icmp_signed("<", arguments[0], INT64(0))
        builder.store(builder.select(add, builder.or_(before, word(FLUSH)), given), place)
        builder.call(write, [pointer])
        return builder.zext(before, INT64)

    return types.int64(types.int64), generate


@intrinsic
def atomic_add(typing_context, address, value):
    """Add to the int64 at `address`; returns what was there before."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], INT64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(ADDRESS, types.int64), generate


CAN_YIELD = hasattr(os, "sched_yield")
yield_processor = types.ExternalFunction("sched_yield", types.int32())


@part
def meet(control, meeting, ranks):
    """Wait until all `ranks` threads of a team have come to their `meeting`-th (from 1) meeting.

    control[0] counts arrivals; control[1] is set when a member can't come.
    """
    if ranks == 1:
        return
    address = control.ctypes.data
    atomic_add(address, 1)
    spins = 0
    while atomic_add(address, 0) < meeting * ranks and atomic_add(address + 8, 0) == 0:
        spins += 1
        if CAN_YIELD and spins > 1000:
            yield_processor()
