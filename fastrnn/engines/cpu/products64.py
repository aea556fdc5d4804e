"""Products in float64 as LLVM vector code: multiples of rows taken from a row, and tiles of a matrix product.

Everything is given by address, distances and columns are counted in numbers. What `products` is in float32.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import accumulate_over, broadcast
from .vectors import LANES as FLOATS

LANES = 8  # float64 in a vector, cut to the processor's by LLVM
ROWS = 8 if FLOATS == 16 else 4  # of the register tile, a divisor of LANES; its sums stay in registers


def _subtract(count: int):
    """An intrinsic: row -= sum of factors[c] others[c], c < `count`, on columns `first` to `end`, multiples of LANES.

    `others` is the first of them, one `stride` from the next; `factors` (count,).
    """

    @intrinsic
    def subtract(typing_context, row, others, stride, factors, first, end):
        signature = types.void(*(types.intp,) * 6)

        def generate(context, builder, signature, arguments):
            row, others, stride, factors, first, end = arguments
            double, whole = ir.DoubleType(), ir.IntType(64)
            vector = ir.VectorType(double, LANES)
            factors = builder.inttoptr(factors, double.as_pointer())
            numbers = [builder.fneg(builder.load(builder.gep(factors, [whole(c)]))) for c in range(count)]
            spread = [broadcast(builder, number, LANES) for number in numbers]

            def at(base, column):
                byte = builder.add(base, builder.mul(column, whole(8)))
                return builder.inttoptr(byte, vector.as_pointer())

            before = builder.block
            body, after = builder.append_basic_block("columns"), builder.append_basic_block("after")
            builder.cbranch(builder.icmp_signed("<", first, end), body, after)
            builder.position_at_end(body)
            column = builder.phi(whole)
            column.add_incoming(first, before)
            total = builder.load(at(row, column), align=8)
            for c in range(count):
                other = builder.load(at(builder.add(others, builder.mul(stride, whole(8 * c))), column), align=8)
                total = builder.fadd(builder.fmul(spread[c], other, flags=("contract",)), total, flags=("contract",))
            builder.store(total, at(row, column), align=8)
            following = builder.add(column, whole(LANES))
            column.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed("<", following, end), body, after)
            builder.position_at_end(after)
            return context.get_dummy_value()

        return signature, generate

    return subtract


subtract_one, subtract_rows = _subtract(1), _subtract(LANES)  # one row, and LANES of them


def _multiply_tile(subtract: bool):
    """An intrinsic: C (ROWS, LANES) = A (ROWS, depth) B (depth, LANES), or C - A B; depth 1 or more.

    Each with the distance from a row to the next, A with that from a column to the next too.
    """

    @intrinsic
    def multiply(typing_context, a, a_row, a_depth, b, b_row, c, c_row, depth):
        signature = types.void(*(types.intp,) * 8)

        def generate(context, builder, signature, arguments):
            a, a_row, a_depth, b, b_row, c, c_row, depth = arguments
            double, whole = ir.DoubleType(), ir.IntType(64)
            vector = ir.VectorType(double, LANES)

            def at(base, number, kind):
                return builder.inttoptr(builder.add(base, builder.mul(number, whole(8))), kind.as_pointer())

            def body(k, sums):
                right, a_k = builder.load(at(b, builder.mul(k, b_row), vector), align=8), builder.mul(k, a_depth)
                following = []
                for i, total in enumerate(sums):
                    left = builder.load(at(a, builder.add(a_k, builder.mul(a_row, whole(i))), double))
                    product = builder.fmul(broadcast(builder, left, LANES), right, flags=("contract",))
                    combine = builder.fsub if subtract else builder.fadd
                    following.append(combine(total, product, flags=("contract",)))
                return following

            cells = [at(c, builder.mul(c_row, whole(i)), vector) for i in range(ROWS)]
            zero = ir.Constant(vector, [0.0] * LANES)
            start = [builder.load(cell, align=8) if subtract else zero for cell in cells]
            for total, cell in zip(accumulate_over(builder, depth, start, body), cells, strict=True):
                builder.store(total, cell, align=8)
            return context.get_dummy_value()

        return signature, generate

    return multiply


multiply_tile, subtract_tile = _multiply_tile(False), _multiply_tile(True)
