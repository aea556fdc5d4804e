"""Fixed points of one network under one held input, from many starts: the compiled methods, called with arrays."""

from __future__ import annotations

import numpy as np

from ...cells import get_cell
from .elimination import padded
from .equations import Weights, Work
from .levenberg_marquardt import descend_from_starts
from .newton import newton_from_starts
from .pointwise import pointwise_function, rows_of
from .products64 import LANES


class Solver:
    """Methods for h = F(h, x) of one network.

    A network is filled up to a number of units that makes whole vectors: with zeros for weights, biases and states the
    units added stay at 0 and touch no other.

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

    def newton(self, h, tolerance: float, iterations: int, known, radius: float):
        """As `analysis.newton.newton`: ends (M, S), q (M,) there and iterations (M,)."""
        known = self._filled(np.empty((0, np.shape(h)[1])) if known is None else known)
        return self._from_starts(newton_from_starts, h, tolerance, iterations, known, radius)

    def levenberg_marquardt(self, h, tolerance: float, iterations: int, floor: float, enough: float):
        """As `analysis.levenberg_marquardt.levenberg_marquardt`, `enough` being speed^2 / 2 there; the same three."""
        S = self._rows.H * padded(self._n)
        product = np.zeros((S, S + LANES))
        return self._from_starts(descend_from_starts, h, tolerance, iterations, floor, enough, product)

    def _from_starts(self, method, h, *arguments):
        M, n = len(h), padded(self._n)
        ends, q, taken = self._filled(h), np.empty(M), np.empty(M, np.int64)
        work = Work.of(self._height, n, ends.shape[1])
        method(self._kind, self._rows, self._weights, self._limit, *arguments, work, ends, q, taken)
        return ends.reshape(M, self._rows.H, n)[:, :, : self._n].reshape(M, self._rows.H * self._n), q, taken
