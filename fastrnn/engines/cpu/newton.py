"""Newton's method for the fixed points of one network, in float64, compiled: a start at a time, all in the cache.

The same method as `analysis.newton`, which works on any map; here nothing returns to Python between the starts, so
that threads don't wait for each other. `Solver` holds a network under one held input, filled up to a number of units
that makes whole vectors: with zeros for weights, biases and states the units added stay at 0 and touch no other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...cells import get_cell
from ...compiled import compiled, part
from .elimination import LANES, padded, scratch, solve_in_place, subtract_one, subtract_rows
from .pointwise import BACK, FIRST, SECOND, call_pointwise, pointwise_function, rows_of

DAMPING = (1.0, 0.5, 0.25, 1 / 16, 1 / 64, 1 / 256, 1 / 1024)
DECREASE = 0.2  # q must fall by so much of a step, as a share


class Weights(NamedTuple):
    """Of one network under a held input: `forward` (n, G n) as W_rec, `back` (G, n, n) its blocks transposed.

    `bias` is x @ W_in + b, (G, n).
    """

    forward: np.ndarray
    back: np.ndarray
    bias: np.ndarray


class Work(NamedTuple):
    """Scratch of one thread.

    `values` (height, n) is a table of `pointwise`, `table` and `multipliers` are those of `elimination`, `through`
    (n, n), `factors` (n,), and `step`, `trial`, `h_next` (S,).
    """

    values: np.ndarray
    table: np.ndarray
    multipliers: np.ndarray
    through: np.ndarray
    factors: np.ndarray
    step: np.ndarray
    trial: np.ndarray
    h_next: np.ndarray

    @classmethod
    def of(cls, height: int, n: int, S: int) -> Work:
        """For states of S numbers of a network of n units."""
        return cls(np.zeros((height, n)), *scratch(S), np.empty((n, n)), np.empty(n), *np.zeros((3, S)))


class Solver:
    """Newton's method for h = F(h, x) of one network.

    Parameters
    ----------
    cell, activation, gate_bias : the kind
    parameters : arrays of one network by name, float64
    x : (D,), held
    limit : (S,), steps end at |h_u| = limit_u
    """

    def __init__(self, cell: str, activation: str, gate_bias: float, parameters, x, limit):
        self._rows = rows_of(get_cell(cell))
        address, self._height = pointwise_function(cell, activation)
        self._kind = (address, float(gate_bias))
        W, bias = parameters["W_rec"], x @ parameters["W_in"] + parameters["b"]
        self._n, G = len(W), self._rows.G
        more = padded(self._n) - self._n
        W = np.pad(W.reshape(self._n, G, self._n), ((0, more), (0, 0), (0, more)))
        bias = np.pad(bias.reshape(G, self._n), ((0, 0), (0, more)))
        self._weights = Weights(W.reshape(len(W), -1), np.ascontiguousarray(W.transpose(1, 2, 0)), bias)
        self._limit = self._filled(np.asarray(limit, np.float64)[None])[0]

    def _filled(self, h) -> np.ndarray:
        """States (M, S) with zeros for the units added; a copy."""
        filled = np.zeros((len(h), self._rows.H, padded(self._n)))
        filled[:, :, : self._n] = np.reshape(h, (len(h), self._rows.H, self._n))
        return filled.reshape(len(h), self._rows.H * padded(self._n))

    def solve(self, h, tolerance: float, iterations: int, known, radius: float):
        """As `analysis.newton.newton`: ends (M, S), q (M,) there and iterations (M,)."""
        known = self._filled(np.empty((0, np.shape(h)[1])) if known is None else known)
        ends, q, taken = self._filled(h), np.empty(len(h)), np.empty(len(h), np.int64)
        work = Work.of(self._height, padded(self._n), ends.shape[1])
        network = (self._kind, self._rows, self._weights, self._limit)
        solve_starts(*network, tolerance, iterations, known, radius, work, ends, q, taken)
        return ends.reshape(len(h), self._rows.H, -1)[:, :, : self._n].reshape(len(h), -1), q, taken


@compiled
def solve_starts(kind, rows, weights, limit, tolerance, iterations, known, radius, work, starts, q, taken):
    """Newton's method from every start (M, S), which becomes the end; q (M,) and taken (M,) are overwritten."""
    step, trial, h_next, S = work.step, work.trial, work.h_next, starts.shape[1]
    for m in range(len(starts)):
        h = starts[m]
        for u in range(S):
            trial[u] = h[u]
        q[m], taken[m], attempt = np.inf, 0, 0
        while True:
            # trial is the start, or a step from h, shortened `attempt` times
            update(kind, rows, weights, work)
            q_new = half_square(h_next, trial)
            if q_new < (1.0 - DECREASE * DAMPING[attempt]) * q[m]:
                q[m], attempt = q_new, 0
                for u in range(S):
                    h[u] = trial[u]
                place = nearest(h, known, radius) if taken[m] else -1
                if place >= 0:
                    q[m] = 0.0
                    for u in range(S):
                        h[u] = known[place, u]
                if q[m] <= tolerance * one_plus_square(h) or taken[m] == iterations:
                    break
                fill_equations(kind, rows, weights, work)
                solve_in_place(work.table, work.multipliers, step)
                taken[m] += 1
            else:
                attempt += 1
                if taken[m] == 0 or attempt == len(DAMPING):
                    break
            for u in range(S):
                trial[u] = min(max(h[u] + DAMPING[attempt] * step[u], -limit[u]), limit[u])


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
    n, width = values.shape[1], table.shape[1]
    for u in range(n):
        for v in range(n):
            through[u, v] = 0.0
        for g in range(rows.first, rows.G):
            factors[0] = -values[rows.by_a + g, u]
            subtract_one(through.ctypes.data + 8 * n * u, row_of(weights, g, u, n), 0, factors.ctypes.data, 0, n)
        for v in range(n):
            table[u, v] -= through[u, v] * values[rows.rh_by_h, v]
    for g in range(rows.first):
        largest = 0.0
        for v in range(n):
            largest = max(largest, abs(values[rows.rh_by_a + g, v]))
        if largest == 0.0:  # a block that rh does not read
            continue
        for u in range(n):
            for v in range(n):
                factors[v] = through[u, v] * values[rows.rh_by_a + g, v]
            for v in range(0, n, LANES):
                place = factors.ctypes.data + 8 * v
                subtract_rows(table.ctypes.data + 8 * width * u, row_of(weights, g, v, n), n, place, 0, n)


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


@part
def nearest(h, known, radius):
    """The first row of `known` (P, S) within `radius` of h (S,); -1 if there is none."""
    for p in range(len(known)):
        total, u = 0.0, 0
        while u < len(h) and total <= radius * radius:
            total += (h[u] - known[p, u]) ** 2
            u += 1
        if total <= radius * radius:
            return p
    return -1
