"""Damped normal equations (A^T A + mu I) s = A^T r in float64: made by a micro-kernel, solved without pivots.

What is positive definite needs none, and half of its elements say all. Source: Golub and Van Loan, Matrix
Computations, chapter 4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...compiled import part
from .elimination import LANES, scratch, substitute_back, subtract_one, subtract_rows
from .emit import accumulate_over, broadcast
from .vectors import LANES as FLOATS

ROWS = 8 if FLOATS == 16 else 4  # of the register tile, a divisor of LANES: accumulators of 32 or 16 registers


class Normal(NamedTuple):
    """Of S equations, S a multiple of LANES: `product` (S, S + LANES), in its upper half A^T A | A^T r | 0.

    `table` of the same shape and `multipliers` (S, LANES) are scratch.
    """

    product: np.ndarray
    table: np.ndarray
    multipliers: np.ndarray

    @classmethod
    def of(cls, S: int) -> Normal:
        """For S equations."""
        return cls(np.zeros((S, S + LANES)), *scratch(S))


@intrinsic
def _multiply_tile(typing_context, table, product, row, i, j, depth):
    """product[i + p, j + q] = sum over k < depth of table[k, i + p] table[k, j + q], p < ROWS, q < LANES.

    Both by address, with rows of `row` numbers.
    """
    signature = types.void(*(types.intp,) * 6)

    def generate(context, builder, signature, arguments):
        table, product, row, i, j, depth = arguments
        double, whole = ir.DoubleType(), ir.IntType(64)
        vector = ir.VectorType(double, LANES)

        def at(base, k, column, kind):
            number = builder.add(builder.mul(k, row), column)
            return builder.inttoptr(builder.add(base, builder.mul(number, whole(8))), kind.as_pointer())

        def body(k, sums):
            right = builder.load(at(table, k, j, vector), align=8)
            following = []
            for p, total in enumerate(sums):
                left = builder.load(at(table, k, builder.add(i, whole(p)), double))
                product = builder.fmul(broadcast(builder, left, LANES), right, flags=("contract",))
                following.append(builder.fadd(product, total, flags=("contract",)))
            return following

        zero = ir.Constant(vector, [0.0] * LANES)
        for p, total in enumerate(accumulate_over(builder, depth, [zero] * ROWS, body)):
            builder.store(total, at(product, builder.add(i, whole(p)), j, vector), align=8)
        return context.get_dummy_value()

    return signature, generate


@part
def form_product(table, product):
    """The upper half of A^T A | A^T r | 0 into `product`, from `table` (S, S + LANES): A | r | 0."""
    S, width = table.shape
    for j in range(0, width, LANES):
        for i in range(0, min(j + LANES, S), ROWS):
            _multiply_tile(table.ctypes.data, product.ctypes.data, width, i, j, S)


@part
def solve_damped(normal, mu, solution):
    """Solve (A^T A + mu I) s = A^T r, by its product; a pivot that rounding has made 0 gives 0 in the solution (S,)."""
    table, multipliers = normal.table, normal.multipliers
    S, width = table.shape
    for i in range(S):
        for j in range(i // LANES * LANES, width):
            table[i, j] = normal.product[i, j]
        table[i, i] += mu
    rows, factors = table.ctypes.data, multipliers.ctypes.data
    row, kept = 8 * width, 8 * LANES  # bytes of a row of each
    for k in range(0, S, LANES):
        end = k + LANES
        for p in range(k, end):
            scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
            for i in range(p + 1, S):
                multipliers[i, p - k] = table[p, i] * scale
            for i in range(p + 1, end):
                subtract_one(rows + row * i, rows + row * p, 0, factors + kept * i + 8 * (p - k), k, width)
        for i in range(end, S):
            start = i // LANES * LANES
            subtract_rows(rows + row * i, rows + row * k, width, factors + kept * i, start, width)
    substitute_back(table, solution)
