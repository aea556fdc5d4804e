"""The equations of a fixed point of one network under a held input, in float64, compiled: (I - J) s = F(h) - h.

What the methods of `solver` share. Nothing here returns to Python, so that threads don't wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...compiled import part
from .elimination import scratch
from .pointwise import BACK, FIRST, SECOND, call_pointwise
from .products64 import LANES, ROWS, subtract_one, subtract_rows, subtract_tile


class Weights(NamedTuple):
    """Of one network under a held input: `forward` (n, G n) as W_rec, `back` (G, n, n) its blocks transposed.

    `bias` is x @ W_in + b, (G, n).
    """

    forward: np.ndarray
    back: np.ndarray
    bias: np.ndarray


class Work(NamedTuple):
    """Scratch of one thread.

    `values` (height, n) is a table of `pointwise`, `table` and `multipliers` are those of `elimination`, `through` and
    `left` (n, n), `factors` (n,), and `step`, `trial`, `h_next` (S,).
    """

    values: np.ndarray
    table: np.ndarray
    multipliers: np.ndarray
    through: np.ndarray
    left: np.ndarray
    factors: np.ndarray
    step: np.ndarray
    trial: np.ndarray
    h_next: np.ndarray

    @classmethod
    def of(cls, height: int, n: int, S: int) -> Work:
        """For states of S numbers of a network of n units."""
        return cls(np.zeros((height, n)), *scratch(S), *np.empty((2, n, n)), np.empty(n), *np.zeros((3, S)))


@part
def update(kind, rows, weights, work):
    """h_next = F(trial), both in `work`; everything on the way into the table of values."""
    address, gate_bias = kind
    values, n = work.values, work.values.shape[1]
    for half in range(rows.H):
        for u in range(n):
            values[half, u] = work.trial[half * n + u]
    for g in range(rows.G):
        for u in range(n):
            values[rows.a + g, u] = weights.bias[g, u]
    add_product(values, 0, rows, weights, 0, rows.first, work.factors)
    call_pointwise(address, FIRST, gate_bias, n, values.ctypes.data)
    if rows.first < rows.G:
        add_product(values, rows.rh, rows, weights, rows.first, rows.G, work.factors)
        call_pointwise(address, SECOND, gate_bias, n, values.ctypes.data)
    for half in range(rows.H):
        for u in range(n):
            work.h_next[half * n + u] = values[rows.next + half, u]


@part
def add_product(values, operand, rows, weights, first, end, factors):
    """Rows a_X of the table += operand @ W_X, for the blocks X from `first` to `end`."""
    n, columns = values.shape[1], weights.forward.shape[1]
    for u in range(n):
        factors[u] = -values[operand, u]
    target, source = values.ctypes.data + 8 * rows.a * n, weights.forward.ctypes.data
    for v in range(0, n, LANES):
        place = factors.ctypes.data + 8 * v
        subtract_rows(target, source + 8 * v * columns, columns, place, first * n, end * n)


@part
def fill_equations(kind, rows, weights, work):
    """The equations (I - J) s = h_next - trial into the table of `elimination`, after `update`."""
    address, gate_bias = kind
    values, table, n = work.values, work.table, work.values.shape[1]
    call_pointwise(address, BACK, gate_bias, n, values.ctypes.data)
    S, width = table.shape
    for o in range(rows.H):
        for u in range(n):
            place = o * n + u
            for v in range(width):
                table[place, v] = 0.0
            table[place, S] = work.h_next[place] - work.trial[place]
            table[place, place] = 1.0
            for half in range(rows.H):
                table[place, half * n + u] -= values[rows.direct + o * rows.H + half, u]
            for g in range(rows.first):
                factor = values.ctypes.data + 8 * (n * (rows.by_a + o * rows.G + g) + u)
                subtract_one(table.ctypes.data + 8 * width * place, row_of(weights, g, u, n), 0, factor, 0, n)
    if rows.first < rows.G:
        subtract_second_product(rows, weights, work)


@part
def row_of(weights, g, u, n):
    """Address of d a_X_u / d source_v (n,) of block g."""
    return weights.back.ctypes.data + 8 * n * (g * n + u)


@part
def subtract_second_product(rows, weights, work):
    """From I - J what passes through the blocks that read rh, itself a function of h and of the first product."""
    values, table, through, factors = work.values, work.table, work.through, work.factors
    n = values.shape[1]
    for u in range(n):
        for v in range(n):
            through[u, v] = 0.0
        for g in range(rows.first, rows.G):
            factors[0] = -values[rows.by_a + g, u]
            subtract_one(through.ctypes.data + 8 * n * u, row_of(weights, g, u, n), 0, factors.ctypes.data, 0, n)
        for v in range(n):
            table[u, v] -= through[u, v] * values[rows.rh_by_h, v]
    width, left = table.shape[1], work.left
    for g in range(rows.first):
        largest = 0.0
        for v in range(n):
            largest = max(largest, abs(values[rows.rh_by_a + g, v]))
        if largest == 0.0:  # a block that rh does not read
            continue
        for u in range(n):
            for v in range(n):
                left[u, v] = through[u, v] * values[rows.rh_by_a + g, v]
        for u in range(0, n, ROWS):
            for j in range(0, n, LANES):
                here = table.ctypes.data + 8 * (u * width + j)
                subtract_tile(left.ctypes.data + 8 * u * n, n, 1, row_of(weights, g, 0, n) + 8 * j, n, here, width, n)


@part
def half_square(h_next, h):
    """q = |h_next - h|^2 / 2."""
    total = 0.0
    for u in range(len(h)):
        total += (h_next[u] - h[u]) ** 2
    return 0.5 * total


@part
def one_plus_square(h):
    """1 + |h|^2."""
    total = 1.0
    for u in range(len(h)):
        total += h[u] * h[u]
    return total
