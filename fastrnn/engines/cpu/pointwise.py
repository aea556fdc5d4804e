"""A cell's pointwise stages in float64, one unit at a time: compiled for each kind from the stages, called by address.

The stages are run once on `Scalar`s, which write down what is done to them; numba compiles that. Derivatives are the
stages' own ways back, run from unit gradients: with dh = 1 the gradient da_X of unit u is d h'_u / d a_X_u.

All values of a state stand in a table, one row a value, n columns. In this order (`Rows`):

    halves   h, and cell (LSTM, current)
    a        a_X for every block
    rh       left operand of the second product, if there is one
    next     h_next, cell_next
    by_a     d next_o / d a_X for every half o, every block X; 0 where it passes through rh
    direct   d next_o / d half for every half o and half, beside all products
    rh_by_a  d rh / d a_X for every block of the first product
    rh_by_h  d rh / d h, direct
    rest     what the stages keep for each other
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numba
from numba import types
from numba.extending import intrinsic

from ...cells import get_cell
from ...cells.cell import Cell
from ...compiled import call_by_address, compiled_callback, part

FIRST, SECOND, BACK = 0, 1, 2  # what a pointwise function does: a forward stage, or all derivatives
SIGNATURE = types.void(types.int64, types.float64, types.int64, types.CPointer(types.float64))
HALVES = ("h", "cell")


class Rows(NamedTuple):
    """First rows of the table's parts for a cell of H halves, G blocks, `first` of them in the first product."""

    H: int
    G: int
    first: int
    a: int
    rh: int
    next: int
    by_a: int
    direct: int
    rh_by_a: int
    rh_by_h: int
    rest: int


def rows_of(cell: Cell) -> Rows:
    """Where a cell's values stand.

    >>> rows_of(get_cell("vanilla"))[3:]
    (1, 2, 3, 4, 5, 6, 7, 8)
    """
    H, G, first = cell.state_multiple, cell.gates, len(cell.first)
    sizes = (H, G, 1, H, H * G, H * H, first, 1)
    starts = [sum(sizes[:place]) for place in range(1, len(sizes) + 1)]
    return Rows(H, G, first, *starts)


class Scalar:
    """A number in the function being written; operations append lines to it. Factors 1 and 0 leave none."""

    def __init__(self, lines: list[str], text: str):
        self.lines, self.text = lines, text

    def new(self, text: str) -> Scalar:
        """The value of an expression under a name of its own."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return Scalar(self.lines, name)

    def __neg__(self):
        return self.new(f"-{self.text}")

    def __add__(self, other):
        return self if _is(other, 0) else self.new(f"{self.text} + {_text(other)}")

    def __sub__(self, other):
        return self if _is(other, 0) else self.new(f"{self.text} - {_text(other)}")

    def __rsub__(self, other):
        return self.new(f"{_text(other)} - {self.text}")

    def __mul__(self, other):
        if _is(other, 0):
            return 0.0
        return self if _is(other, 1) else self.new(f"{self.text} * {_text(other)}")

    __radd__, __rmul__ = __add__, __mul__


class ScalarMath:
    """The operations of a cell's pointwise stages on `Scalar`s; `cells.ArrayMath` is the same on arrays."""

    def __init__(self, activation: str):
        self.activation = activation

    def phi(self, x):
        """The activation function."""
        return x.new(f"math.tanh({x.text})" if self.activation == "tanh" else f"rectified({x.text})")

    def phi_slope(self, y):
        """phi' from the value y = phi(x); 0 at the kink of relu."""
        return 1.0 - y * y if self.activation == "tanh" else y.new(f"1.0 if {y.text} > 0.0 else 0.0")

    def sigmoid(self, x):
        """1 / (1 + exp(-x))."""
        return x.new(f"sigmoid({x.text})")


def _is(value, number) -> bool:
    return not isinstance(value, Scalar) and value == number


def _text(value) -> str:
    return value.text if isinstance(value, Scalar) else repr(float(value))


@part
def rectified(x):
    """relu; NaN stays NaN."""
    return 0.0 if x < 0.0 else x


@part
def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


def source_of(cell: Cell, activation: str) -> tuple[str, int]:
    """Python text of a kind's function pointwise(which, k, n, values), and how many rows its table has."""
    rows, m = rows_of(cell), ScalarMath(activation)
    places = {name: half for half, name in enumerate(HALVES[: rows.H])}
    places |= {f"a_{block}": rows.a + g for g, block in enumerate(cell.blocks)} | {"rh": rows.rh}
    places |= {f"{name}_next": rows.next + half for half, name in enumerate(HALVES[: rows.H])}
    bodies = []
    for stage in cell.forward:
        lines: list[str] = []
        made = stage(m, Scalar(lines, "k"), _loaded(lines, stage, places))
        for name in made:
            places.setdefault(name, rows.rest + sum(place >= rows.rest for place in places.values()))
        bodies.append(lines + [f"v[{places[name]}, u] = {_text(value)}" for name, value in made.items()])
    bodies += [[]] * (SECOND - len(cell.forward) + 1) + [_backward(cell, m, rows, places)]
    height = max(rows.rest, 1 + max(places.values()))
    text = ["def pointwise(which, k, n, values):", f"    v = numba.carray(values, ({height}, n))"]
    for which, body in enumerate(bodies):
        if body:
            text += [f"    if which == {which}:", "        for u in range(n):"]
            text += [f"            {line}" for line in body]
    return "\n".join(text), height


def _loaded(lines, stage, places, **known) -> dict:
    """The values that a stage reads, from the table; `known` ones are numbers."""
    values = dict(known)
    for name in stage.reads:
        if name not in known:
            values[name] = Scalar(lines, "k").new(f"v[{places[name]}, u]")
    return values


def _backward(cell: Cell, m, rows: Rows, places: dict) -> list[str]:
    """Lines that fill in all derivatives."""
    lines: list[str] = []
    for o in range(rows.H):
        unit = {f"d{name}": float(half == o) for half, name in enumerate(HALVES[: rows.H])}
        back = cell.backward[-1]
        made = back(m, Scalar(lines, "k"), _loaded(lines, back, places, **unit))
        parts = [(rows.by_a + o * rows.G + g, f"da_{block}") for g, block in enumerate(cell.blocks)]
        parts += [(rows.direct + o * rows.H + half, f"d{name}") for half, name in enumerate(HALVES[: rows.H])]
        lines += [f"v[{row}, u] = {_text(made.get(name, 0.0))}" for row, name in parts]
    if cell.second:
        back = cell.backward[0]
        made = back(m, Scalar(lines, "k"), _loaded(lines, back, places, dh=0.0, drh=1.0))
        parts = [(rows.rh_by_a + g, f"da_{block}") for g, block in enumerate(cell.first)] + [(rows.rh_by_h, "dh")]
        lines += [f"v[{row}, u] = {_text(made.get(name, 0.0))}" for row, name in parts]
    return lines


@cache
def pointwise_function(cell: str, activation: str) -> tuple[int, int]:
    """Address of a kind's function for `call_pointwise`, compiled or from the cache, and its table's rows."""
    text, rows = source_of(get_cell(cell), activation)
    names = {"__name__": __name__, "math": math, "numba": numba, "rectified": rectified, "sigmoid": sigmoid}
    exec(compile(text, __file__, "exec"), names)
    return compiled_callback(SIGNATURE, name=f"pointwise-{cell}-{activation}")(names["pointwise"]), rows


@intrinsic
def call_pointwise(typing_context, address, which, k, n, values):
    """Run a pointwise function (`FIRST`, `SECOND` or `BACK` of it) on the table at the address `values`."""
    return call_by_address(SIGNATURE)
