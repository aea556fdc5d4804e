"""Damped normal equations (A^T A + mu I) s = A^T r in float64.

What is positive definite needs no pivots, and half of its elements say all. Source: Golub and Van Loan, Matrix
Computations, chapter 4.
"""

from __future__ import annotations

from ...compiled import part
from .elimination import BLOCK, substitute_back, subtract_among, subtract_below, subtract_block, subtract_pivot
from .products64 import LANES, ROWS, multiply_tile


@part
def form_product(table, product):
    """The upper half of A^T A | A^T r | 0 into `product`, from `table`: A | r | 0; both (S, S + LANES)."""
    S, width = table.shape
    source, target = table.ctypes.data, product.ctypes.data
    for j in range(0, width, LANES):
        for i in range(0, min(j + LANES, S), ROWS):
            multiply_tile(source + 8 * i, 1, width, source + 8 * j, width, target + 8 * (i * width + j), width, S)


@part
def solve_damped(product, mu, table, multipliers, solution):
    """Solve (A^T A + mu I) s = A^T r, by its `product`; a pivot that is 0 gives 0 in the solution (S,).

    `table` (S, S + LANES) and `multipliers` (S, BLOCK) are scratch.
    """
    S, width = table.shape
    for i in range(S):
        for j in range(i // LANES * LANES, width):
            table[i, j] = product[i, j]
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
                find_multipliers(table, multipliers, start, p, k + LANES, S)
            subtract_below(table, multipliers, start, k, end, k + LANES, width)
        for i in range(end, S, ROWS):
            for j in range(i // LANES * LANES, width, LANES):
                subtract_block(table, multipliers, start, end, i, j)
    substitute_back(table, solution)


@part
def find_multipliers(table, multipliers, start, p, first, last):
    """Multiples of row p to be taken from rows `first` to `last`: by symmetry they stand in row p."""
    scale = 1.0 / table[p, p] if table[p, p] != 0.0 else 0.0
    for i in range(first, last):
        multipliers[i, p - start] = table[p, i] * scale
