"""Linear equations in float64 by Gaussian elimination with partial pivoting, one system at a time, within a thread.

`LANES` columns are eliminated at once, so that a row is read and written that much less often. At the sizes of
networks' states that beats a call of LAPACK, and threads share no lock. Source: Golub and Van Loan, Matrix
Computations, chapter 3.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .emit import broadcast

LANES = 8  # float64 in a vector, cut to the processor's by LLVM; columns eliminated at once


def padded(size: int) -> int:
    """The next multiple of `LANES`.

    >>> padded(64), padded(65)
    (64, 72)
    """
    return -(-size // LANES) * LANES


@part
def solve_in_place(table, multipliers, solution):
    """Solve A s = r, given as rows (A | r | 0) of `table` (S, S + LANES), which is used up; S is a multiple of LANES.

    A column without a pivot other than 0 gets 0 in the solution (S,). `multipliers` (S, LANES) is scratch.
    """
    S, width = table.shape
    rows, factors = table.ctypes.data, multipliers.ctypes.data
    row, kept = 8 * width, 8 * LANES  # bytes of a row of each
    for k in range(0, S, LANES):
        end = k + LANES
        # what is left of the diagonal is not read again, so that whole vectors may reach over it
        for p in range(k, end):
            bring_up_pivot(table, multipliers, k, p)
            scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
            for i in range(p + 1, S):
                multipliers[i, p - k] = table[i, p] * scale
                subtract_one(rows + row * i, rows + row * p, 0, factors + kept * i + 8 * (p - k), k, end)
        for p in range(k + 1, end):
            for q in range(k, p):
                subtract_one(rows + row * p, rows + row * q, 0, factors + kept * p + 8 * (q - k), end, width)
        for i in range(end, S):
            subtract_rows(rows + row * i, rows + row * k, width, factors + kept * i, end, width)
    substitute_back(table, solution)


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
def bring_up_pivot(table, multipliers, k, p):
    """Exchange row p with the one below that is largest in column p; columns from k on, and the multipliers kept."""
    pivot, size = p, -1.0
    for i in range(p, len(table)):
        if abs(table[i, p]) > size:
            pivot, size = i, abs(table[i, p])
    if pivot != p:
        for j in range(k, table.shape[1]):
            table[p, j], table[pivot, j] = table[pivot, j], table[p, j]
        for c in range(p - k):
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


def scratch(S: int) -> tuple[np.ndarray, np.ndarray]:
    """A table and multipliers for S equations."""
    return np.zeros((S, S + LANES)), np.zeros((S, LANES))
