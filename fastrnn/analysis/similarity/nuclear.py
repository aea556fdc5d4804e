"""Sums of singular values of many small matrices at once: a library's decomposition takes 4 to 5 times as long.

Householder reflections make a matrix upper bidiagonal (Golub and Kahan 1965), `LANES` matrices side by side. Then no
singular value is needed by itself: with `sqrt(x) = (2 / pi) integral of x / (x + s^2) ds` over s > 0, their sum is
one of traces of resolvents of a tridiagonal matrix, for a fixed number of s, and each trace is a short recurrence of
positive numbers. The absolute error of a singular value in [0, 1], where those of products of orthonormal rows lie, is
below 1e-11. (Angles need more: near 1 their cosine says little of them.)
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ...compiled import compiled, part

LANES = 8
NODES, FLOOR = 80, 1e-10  # of the integral: their number, and where the smallest s begin


def sums_of_singular_values(product: np.ndarray, k: int, l: int) -> np.ndarray:  # noqa: E741
    """Sums (a, b) of the singular values of the blocks (k, l) of `product` (a k, b l), of spectral norm 1 at most.

    >>> sums_of_singular_values(np.diag([0.5, 0.5, 1, 1]), 2, 2).round(10)
    array([[1., 0.],
           [0., 2.]])
    """
    sums = np.empty((product.shape[0] // k, product.shape[1] // l))
    _sums(np.ascontiguousarray(product, np.float64), k, l, *_nodes(), sums)
    return sums


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    """s^2 and weights (NODES,): the midpoint rule in u, s = FLOOR sinh(u), from the geometric mean on its mirror image.

    What Hale, Higham and Trefethen (2008, method 3) give by elliptic functions, in the limit of a long interval.
    """
    end = math.log(4 / FLOOR)
    u = (np.arange(NODES) + 0.5) * end / NODES
    low = u < end / 2
    u = np.where(low, u, end - u)
    s = np.where(low, FLOOR * np.sinh(u), 1 / np.sinh(u))
    slope = np.where(low, FLOOR * np.cosh(u), np.cosh(u) / np.sinh(u) ** 2)
    return s * s, (2 / math.pi) * slope * (end / NODES)


@compiled
def _sums(product, k, l, squares, weights, sums):  # noqa: E741
    """`LANES` blocks of one row of blocks at a time; the last one may be taken several times."""
    long, short = max(k, l), min(k, l)
    work = np.empty((long, short, LANES))
    diagonal, above = np.empty((short, LANES)), np.zeros((short, LANES))
    for a in range(sums.shape[0]):
        for start in range(0, sums.shape[1], LANES):
            count = min(LANES, sums.shape[1] - start)
            for v in range(LANES):
                column = (start + min(v, count - 1)) * l
                for i in range(k):
                    for j in range(l):
                        if k >= l:
                            work[i, j, v] = product[a * k + i, column + j]
                        else:
                            work[j, i, v] = product[a * k + i, column + j]
            _bidiagonalise(work, diagonal, above)
            for v in range(count):
                sums[a, start + v] = _sum_of_roots(diagonal[:, v], above[:, v], squares, weights)


@part
def _bidiagonalise(work, diagonal, above):
    """Squares (l, LANES) of the diagonal and of what stands right of it; `work` (k, l, LANES), k >= l, is used up."""
    k, l = work.shape[:2]  # noqa: E741
    total, scale = np.empty(LANES), np.empty(LANES)
    for c in range(l):
        # from the left: column c becomes zero below the diagonal
        total[:] = 0
        for i in range(c, k):
            for v in range(LANES):
                total[v] += work[i, c, v] * work[i, c, v]
        for v in range(LANES):
            diagonal[c, v] = total[v]
            work[c, c, v], scale[v] = _reflector(work[c, c, v], total[v])
        for j in range(c + 1, l):
            total[:] = 0
            for i in range(c, k):
                for v in range(LANES):
                    total[v] += work[i, c, v] * work[i, j, v]
            for v in range(LANES):
                total[v] *= scale[v]
            for i in range(c, k):
                for v in range(LANES):
                    work[i, j, v] -= total[v] * work[i, c, v]
        if c == l - 1:
            return
        # from the right: row c becomes zero beyond the next column
        total[:] = 0
        for j in range(c + 1, l):
            for v in range(LANES):
                total[v] += work[c, j, v] * work[c, j, v]
        for v in range(LANES):
            above[c, v] = total[v]
            work[c, c + 1, v], scale[v] = _reflector(work[c, c + 1, v], total[v])
        for i in range(c + 1, k):
            total[:] = 0
            for j in range(c + 1, l):
                for v in range(LANES):
                    total[v] += work[c, j, v] * work[i, j, v]
            for v in range(LANES):
                total[v] *= scale[v]
            for j in range(c + 1, l):
                for v in range(LANES):
                    work[i, j, v] -= total[v] * work[c, j, v]


@part
def _reflector(first, square):
    """First element of u, and 2 / |u|^2, where I - 2 u u^T / |u|^2 turns a vector to an axis.

    The vector has this first element and square of its norm; its other elements are those of u.
    """
    norm = math.sqrt(square)
    along = norm if first < 0 else -norm
    half = square - first * along
    return first - along, 1 / half if half > 0 else 0.0


@part
def _sum_of_roots(q, e, squares, weights):
    """Sum of the roots of the eigenvalues of B^T B, B bidiagonal with squares q (l,) on the diagonal, e (l,) above.

    B^T B + t has pivots q_i + r_i with r_1 = t, r_(i+1) = t + e_i r_i / (q_i + r_i). The trace of its inverse is the
    derivative by t of the logarithm of their product, the sum of r_i' / (q_i + r_i).
    """
    n, nodes = len(q), len(squares)
    r, slope, trace = squares.copy(), np.ones(nodes), np.zeros(nodes)
    for i in range(n):
        next_e = e[i] if i < n - 1 else 0.0
        for j in range(nodes):
            inverse = 1 / (q[i] + r[j])
            trace[j] += slope[j] * inverse
            slope[j] = 1 + next_e * slope[j] * q[i] * inverse * inverse
            r[j] = squares[j] + next_e * r[j] * inverse
    total = 0.0
    for j in range(nodes):
        total += weights[j] * (n - squares[j] * trace[j])
    return max(total, 0.0)  # rounding
