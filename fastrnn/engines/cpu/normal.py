"""Damped normal equations (A^T A + mu I) s = A^T r in float64.

What is positive definite needs no pivots, and half of its elements say all. Source: Golub and Van Loan, Matrix
Computations, chapter 4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compiled import part
from .elimination import (
    BLOCK,
    LANES,
    ROWS,
    multiply_tile,
    scratch,
    substitute_back,
    subtract_among,
    subtract_below,
    subtract_block,
    subtract_pivot,
)


class Normal(NamedTuple):
    """Of S equations, S a multiple of LANES: `product` (S, S + LANES), in its upper half A^T A | A^T r | 0.

    `table` of the same shape and `multipliers` (S, BLOCK) are scratch.
    """

    product: np.ndarray
    table: np.ndarray
    multipliers: np.ndarray

    @classmethod
    def of(cls, S: int) -> Normal:
        """For S equations."""
        return cls(np.zeros((S, S + LANES)), *scratch(S))


@part
def form_product(table, product):
    """The upper half of A^T A | A^T r | 0 into `product`, from `table` (S, S + LANES): A | r | 0."""
    S, width = table.shape
    source, target = table.ctypes.data, product.ctypes.data
    for j in range(0, width, LANES):
        for i in range(0, min(j + LANES, S), ROWS):
            multiply_tile(source + 8 * i, 1, width, source + 8 * j, width, target + 8 * (i * width + j), width, S)


@part
def solve_damped(normal, mu, solution):
    """Solve (A^T A + mu I) s = A^T r, by its product; a pivot that rounding has made 0 gives 0 in the solution (S,)."""
    table, multipliers = normal.table, normal.multipliers
    S, width = table.shape
    for i in range(S):
        for j in range(i // LANES * LANES, width):
            table[i, j] = normal.product[i, j]
        table[i, i] += mu
    for start in range(0, S, BLOCK):
        end = min(start + BLOCK, S)
        for k in range(start, end, LANES):
            for p in range(k, k + LANES):
                find_multipliers(table, multipliers, start, p, p + 1, k + LANES)
                for i in range(p + 1, k + LANES):
                    subtract_pivot(table, multipliers, start, p, i, k, k + LANES)
            subtract_among(table, multipliers, start, k, k + LANES, width)
            for p in range(k, k + LANES):
                find_multipliers(table, multipliers, start, p, k + LANES, end)
            subtract_below(table, multipliers, start, k, end, k + LANES, width)
        for p in range(start, end):
            find_multipliers(table, multipliers, start, p, end, S)
        for i in range(end, S, ROWS):
            for j in range(i // LANES * LANES, width, LANES):
                subtract_block(table, multipliers, start, end, i, j)
    substitute_back(table, solution)


@part
def find_multipliers(table, multipliers, start, p, first, last):
    """Of row p, of rows `first` to `last`: by symmetry its own elements say them."""
    scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
    for i in range(first, last):
        multipliers[i, p - start] = table[p, i] * scale
