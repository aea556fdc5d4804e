"""Linear equations in float64 by Gaussian elimination with partial pivoting, one system at a time, within a thread.

Four columns are eliminated at once, so that a row is read and written a quarter as often. At the sizes of networks'
states that beats LAPACK's call, and threads share no lock. Source: Golub and Van Loan, Matrix Computations, chapter 3.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import part

PANEL, LANES = 4, 8  # columns eliminated at once; float64 in a vector, cut to the processor's by LLVM


def padded(size: int, multiple: int = LANES) -> int:
    """The next multiple.

    >>> padded(64), padded(65)
    (64, 72)
    """
    return -(-size // multiple) * multiple


@part
def solve_in_place(table, multipliers, solution):
    """Solve A s = r, given as rows (A | r | 0) of `table` (S, padded(S + 1)), which is used up.

    A column without a pivot other than 0 gets 0 in the solution (S,). `multipliers` (S, PANEL) is scratch.
    """
    S, width = table.shape[0], table.shape[1]
    address = table.ctypes.data
    for k in range(0, S, PANEL):
        end = min(k + PANEL, S)
        for p in range(k, end):
            pivot, size = p, -1.0
            for i in range(p, S):
                if abs(table[i, p]) > size:
                    pivot, size = i, abs(table[i, p])
            if pivot != p:
                for j in range(k, width):
                    table[p, j], table[pivot, j] = table[pivot, j], table[p, j]
                for c in range(p - k):
                    multipliers[p, c], multipliers[pivot, c] = multipliers[pivot, c], multipliers[p, c]
            scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
            for i in range(p + 1, S):
                factor = table[i, p] * scale
                multipliers[i, p - k] = factor
                for j in range(p + 1, end):
                    table[i, j] -= factor * table[p, j]
        for p in range(k + 1, end):
            for q in range(k, p):
                factor = multipliers[p, q - k]
                for j in range(end, width):
                    table[p, j] -= factor * table[q, j]
        # what stands left of the diagonal is not read again, so that whole vectors may reach over it
        first = end // LANES * LANES
        for i in range(end, S):
            row = address + 8 * width * i
            for c in range(end - k, PANEL):
                multipliers[i, c] = 0.0
            subtract_four(row, address + 8 * width * k, width, multipliers.ctypes.data + 8 * PANEL * i, first, width)
    for u in range(S):
        solution[u] = table[u, S]
    for v in range(S - 1, -1, -1):
        solution[v] = solution[v] / table[v, v] if table[v, v] != 0.0 else 0.0
        for u in range(v):
            solution[u] -= table[u, v] * solution[v]


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
            undefined = ir.Constant(vector, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
            factors = builder.inttoptr(factors, double.as_pointer())
            spread = []
            for c in range(count):
                factor = builder.fneg(builder.load(builder.gep(factors, [whole(c)])))
                one = builder.insert_element(undefined, factor, ir.IntType(32)(0))
                spread.append(builder.shuffle_vector(one, undefined, zeros))

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


subtract_one, subtract_four = _subtract(1), _subtract(PANEL)


def scratch(S: int) -> tuple[np.ndarray, np.ndarray]:
    """A table and multipliers for S equations."""
    return np.zeros((S, padded(S + 1))), np.zeros((S, PANEL))
