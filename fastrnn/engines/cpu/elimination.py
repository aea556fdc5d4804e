"""Linear equations in float64 by Gaussian elimination with partial pivoting, one system at a time, within a thread.

`LANES` columns are eliminated at once, and what lies beyond a block of `BLOCK` columns is brought up to date by a
register tile, so that it is read and written that much less often. At the sizes of networks' states that beats a call
of LAPACK, and threads share no lock. Source: Golub and Van Loan, Matrix Computations, chapter 3.
"""

from __future__ import annotations

import numpy as np

from ...compiled import part
from .products64 import LANES, ROWS, subtract_one, subtract_rows, subtract_tile

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


def scratch(S: int) -> tuple[np.ndarray, np.ndarray]:
    """A table and multipliers for S equations."""
    return np.zeros((S, S + LANES)), np.zeros((S, BLOCK))
