"""What a cell is: blocks of pre-activations and pointwise stages between matrix products.

One step of any cell, rows being trials, states and inputs row vectors:

    a_<block> = (h | x | 1) @ W            for the blocks of the first product
    stage 1                                 pointwise
    a_<block> = (rh | x | 1) @ W           for the blocks of the second product, if there is one (GRU)
    stage 2                                 pointwise

and backward through it, last stage first:

    stage 2, pointwise;  drh = da @ W_rec^T    for the blocks of the second product
    stage 1, pointwise;  dh += da @ W_rec^T    for the blocks of the first product

A stage is a function of `m` (the mathematics to use: `ArrayMath` on arrays, `engines.cpu.vectors.VectorMath` in
compiled code), `k` (gate_bias) and of values named by its arguments; it returns the values it makes by name:

    a_X, X        pre-activation and activation of block X; da_X, gradient of the loss by a_X
    h, cell       state before the step; h_next, cell_next after it
    phi_cell      phi(cell_next), kept for the way back (LSTM)
    rh            left operand of the second product; drh its gradient
    dh, dcell     gradient by the state: after the step when read, before it when returned; a stage returns only
                  the part that does not pass through a matrix product
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ACTIVATIONS = ("tanh", "relu")


class ArrayMath:
    """The operations of the pointwise stages on NumPy arrays of any float type."""

    def __init__(self, activation: str):
        self.activation = activation

    def phi(self, x):
        """The activation function."""
        return np.tanh(x) if self.activation == "tanh" else np.where(x < 0, np.zeros_like(x), x)

    def phi_slope(self, y):
        """phi' from the value y = phi(x); 0 at the kink of relu."""
        return 1 - y * y if self.activation == "tanh" else np.where(y > 0, np.ones_like(y), np.zeros_like(y))

    def sigmoid(self, x):
        """1 / (1 + exp(-x)) without overflow."""
        e = np.exp(-np.abs(x))
        s = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
        return s if np.ndim(x) else s.item()  # of a number a number, so that arrays beside it keep their type


@dataclass(frozen=True)
class Stage:
    """A pointwise stage with the names of what it reads."""

    function: Callable[..., dict]

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Names of the values it takes."""
        return tuple(inspect.signature(self.function).parameters)[2:]

    def __call__(self, m, k, values: dict) -> dict:
        return self.function(m, k, *(values[name] for name in self.reads))


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    `first` and `second` name the blocks of the two products, in column order of the weights; `state_multiple` is
    S / n. Where a cell `leaks`, k is no gate's constant but says what alpha is (`cells.leaky`), and its units may have
    noise in training.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    state_multiple: int
    forward: tuple[Stage, ...]
    backward: tuple[Stage, ...]
    jacobian_by: Callable
    leaks: bool = False

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks in column order of `W_rec`, `W_in` and `b`."""
        return self.first + self.second

    @property
    def gates(self) -> int:
        """G, the number of blocks."""
        return len(self.blocks)

    @property
    def keeps_gates(self) -> bool:
        """Whether the way back reads activations of blocks, which are kept for it at every step."""
        return any(name in self.blocks for stage in self.backward for name in stage.reads)

    @cached_property
    def dh_passes(self) -> bool:
        """Whether part of the gradient by h passes a step outside of the matrix products."""
        last = self.backward[0]
        return isinstance(last(ArrayMath("relu"), 0.0, dict.fromkeys(last.reads, np.ones(1)))["dh"], np.ndarray)

    def state_size(self, n: int) -> int:
        """S for n units."""
        return self.state_multiple * n

    def values(self, parameters, activation: str, gate_bias: float, h, x) -> dict:
        """Every named value of one step, from states h (..., S) and inputs x (..., D)."""
        W_rec, W_in, b = parameters["W_rec"], parameters["W_in"], parameters["b"]
        n = W_rec.shape[0]
        m = ArrayMath(activation)
        values = {"k": gate_bias, "h": h[..., :n], "cell": h[..., n:]}
        operand, done = values["h"], 0
        for blocks, stage in zip((self.first, self.second), self.forward, strict=False):
            columns = slice(done * n, (done + len(blocks)) * n)
            a = operand @ W_rec[:, columns] + x @ W_in[:, columns] + b[columns]
            values |= {f"a_{block}": a[..., j * n : (j + 1) * n] for j, block in enumerate(blocks)}
            values |= stage(m, gate_bias, values)
            operand, done = values.get("rh"), done + len(blocks)
        return values

    def step(self, parameters, activation: str, gate_bias: float, h, x) -> np.ndarray:
        """One update h' = F(h, x).

        Parameters
        ----------
        parameters : arrays of one network by name, shapes as in `parameter_shapes` (without the network axis)
        h, x : states (..., S) and inputs (..., D); leading axes broadcast

        Returns
        -------
        h' (..., S)

        >>> p = {"W_rec": np.zeros((2, 2)), "W_in": np.eye(2), "b": np.zeros(2)}
        >>> from fastrnn.cells import CELLS
        >>> CELLS["vanilla"].step(p, "relu", 1.0, np.zeros(2), np.array([3.0, -4.0]))
        array([3., 0.])
        """
        values = self.values(parameters, activation, gate_bias, h, x)
        if self.state_multiple == 1:
            return values["h_next"]
        return np.concatenate([values["h_next"], values["cell_next"]], axis=-1)

    def jacobian(self, parameters, activation: str, gate_bias: float, h, x) -> tuple[np.ndarray, np.ndarray]:
        """Jacobians of the update, J[u, v] = dF_u / dh_v (..., S, S) and dF_u / dx_v (..., S, D).

        Arguments as for `step`.
        """
        values = self.values(parameters, activation, gate_bias, h, x)
        return self.jacobian_by(_Weights(parameters, self.blocks), ArrayMath(activation), values)


class _Weights:
    """Transposed blocks of the weights, so that row u, column v is d a_u / d (source)_v."""

    def __init__(self, parameters, blocks: tuple[str, ...]):
        n = parameters["W_rec"].shape[0]
        self.eye = np.eye(n, dtype=parameters["W_rec"].dtype)
        self.recurrent, self.input = (
            {block: parameters[name][:, j * n : (j + 1) * n].T for j, block in enumerate(blocks)}
            for name in ("W_rec", "W_in")
        )


def rows(factor, matrix) -> np.ndarray:
    """diag(factor) @ matrix for factors (..., n)."""
    return factor[..., :, None] * matrix


def columns(matrix, factor) -> np.ndarray:
    """matrix @ diag(factor) for factors (..., n)."""
    return matrix * factor[..., None, :]
