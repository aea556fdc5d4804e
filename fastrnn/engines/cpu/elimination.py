"""Linear equations in float64 by Gaussian elimination with partial pivoting, one system at a time, within a thread.

`LANES` columns are eliminated at once, and what lies beyond a block of `BLOCK` columns is brought up to date by a
register tile, so that it is read and written that much less often. At the sizes of networks' states that beats a call
of LAPACK, and threads share no lock. Source: Golub and Van Loan, Matrix Computations, chapter 3.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .emit import accumulate_over, broadcast
from .vectors import LANES as FLOATS

LANES = 8  # float64 in a vector, cut to the processor's by LLVM; columns eliminated at once
ROWS = 8 if FLOATS == 16 else 4  # of the register tile, a divisor of LANES; its sums stay in registers
BLOCK = 24  # columns, a multiple of LANES, after which what lies to the right and below is brought up to date


def padded(size: int) -> int:
    """The next multiple of `LANES`.

    >>> padded(64), padded(65)
    (64, 72)
    """
    return -(-size // LANES) * LANES


@part
def solve_in_place(table, multipliers, solution):
    """Solve A s = r, given as rows (A | r | 0) of `table` (S, S + LANES), which is used up; S is a multiple of LANES.

    A column without a pivot other than 0 gets 0 in the solution (S,). `multipliers` (S, BLOCK) is scratch.
    """
    S, width = table.shape
    for start in range(0, S, BLOCK):
        end = min(start + BLOCK, S)
        for k in range(start, end, LANES):
            # what is left of the diagonal is not read again, so that whole vectors may reach over it
            for p in range(k, k + LANES):
                bring_up_pivot(table, multipliers, start, p)
                scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
                for i in range(p + 1, S):
                    multipliers[i, p - start] = table[i, p] * scale
                    subtract_pivot(table, multipliers, start, p, i, k, k + LANES)
            subtract_among(table, multipliers, start, k, k + LANES, end)
            subtract_below(table, multipliers, start, k, S, k + LANES, end)
        for k in range(start, end, LANES):
            subtract_among(table, multipliers, start, k, end, width)
            subtract_below(table, multipliers, start, k, end, end, width)
        for i in range(end, S, ROWS):
            for j in range(end, width, LANES):
                subtract_block(table, multipliers, start, end, i, j)
    substitute_back(table, solution)


@part
def subtract_pivot(table, multipliers, start, p, i, first, last):
    """Row i -= its multiple of row p, on columns `first` to `last`; the first column of multipliers is `start`'s."""
    row, kept = 8 * table.shape[1], 8 * BLOCK  # bytes of a row of each
    place = multipliers.ctypes.data + kept * i + 8 * (p - start)
    subtract_one(table.ctypes.data + row * i, table.ctypes.data + row * p, 0, place, first, last)


@part
def subtract_among(table, multipliers, start, k, first, last):
    """The same of the LANES rows from k on, each taken from those below it."""
    for p in range(k + 1, k + LANES):
        for q in range(k, p):
            subtract_pivot(table, multipliers, start, q, p, first, last)


@part
def subtract_below(table, multipliers, start, k, rows, first, last):
    """The same of the LANES rows from k on, taken from the rows below them, up to row `rows`."""
    row, kept = 8 * table.shape[1], 8 * BLOCK
    for i in range(k + LANES, rows):
        place = multipliers.ctypes.data + kept * i + 8 * (k - start)
        subtract_rows(table.ctypes.data + row * i, table.ctypes.data + row * k, table.shape[1], place, first, last)


@part
def subtract_block(table, multipliers, start, end, i, j):
    """The same of the rows `start` to `end`, taken from ROWS rows from i on, on LANES columns from j on."""
    width = table.shape[1]
    rows, factors = table.ctypes.data, multipliers.ctypes.data
    above, here = rows + 8 * (start * width + j), rows + 8 * (i * width + j)
    subtract_tile(factors + 8 * i * BLOCK, BLOCK, 1, above, width, here, width, end - start)


@part
def substitute_back(table, solution):
    """Solve U s = r for rows (U | r | 0), U the upper triangle; an element 0 on the diagonal gives 0 in `solution`."""
    S = len(table)
    for u in range(S):
        solution[u] = table[u, S]
    for v in range(S - 1, -1, -1):
        solution[v] = solution[v] / table[v, v] if table[v, v] != 0.0 else 0.0
        for u in range(v):
            solution[u] -= table[u, v] * solution[v]


@part
def bring_up_pivot(table, multipliers, start, p):
    """Exchange row p with the one below that is largest in column p, and their multipliers from column `start` on."""
    pivot, size = p, -1.0
    for i in range(p, len(table)):
        if abs(table[i, p]) > size:
            pivot, size = i, abs(table[i, p])
    if pivot != p:
        for j in range(p // LANES * LANES, table.shape[1]):
            table[p, j], table[pivot, j] = table[pivot, j], table[p, j]
        for c in range(p - start):
            multipliers[p, c], multipliers[pivot, c] = multipliers[pivot, c], multipliers[p, c]


def _subtract(count: int):
    """An intrinsic: row -= sum of factors[c] others[c], c < `count`, on columns `first` to `end`, multiples of LANES.

    `row`, `factors` (count,) and the first of the `others`, `stride` numbers apart, are given by address.
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

    All by address, with the distances from a row to the next, and from a column of A to the next, in numbers.
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


def scratch(S: int) -> tuple[np.ndarray, np.ndarray]:
    """A table and multipliers for S equations."""
    return np.zeros((S, S + LANES)), np.zeros((S, BLOCK))
