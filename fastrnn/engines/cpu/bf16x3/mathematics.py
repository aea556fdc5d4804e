"""tanh and sigmoid from tables in registers.

While the matrix unit works, and for some 1,500 cycles after, a core does one floating-point operation on 16 lanes a
cycle instead of two (measured on Emerald Rapids); whole numbers and shuffles go on at nearly their usual rate. So
coefficients are looked up, and few operations are left.

Relative error of tanh below 3e-7, absolute error of sigmoid below 2e-7 (tests/test_bf16x3.py); products in two parts
err by more. NaN goes in, NaN comes out.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ..vectors import MASK, VECTOR, Vector, VectorMath, int_constant

PLACES = 32  # of a table: two registers of 16
DEGREE = 4
SPACING = 17 / 64  # of the points around which tanh(x) / x is a polynomial of |x|; exact in float32
MAGIC = 12582912.0  # 1.5 * 2^23: what is added to it is rounded to a whole number, in its low bits
SIGN = -0x80000000


@cache
def tables() -> np.ndarray:
    """Coefficients (DEGREE + 1, PLACES) of tanh(x) / x around i * SPACING, lowest power first, float32."""
    made = np.empty((DEGREE + 1, PLACES))
    nodes = np.polynomial.chebyshev.chebpts1(3 * DEGREE) * SPACING / 2
    for i in range(PLACES):
        x = i * SPACING + (nodes if i else np.abs(nodes))
        made[:, i] = np.polynomial.polynomial.polyfit(x - i * SPACING, np.tanh(x) / x, DEGREE)
    return made.astype(np.float32)


class TableMath(VectorMath):
    """`VectorMath` with other tanh and sigmoid; for 16 lanes."""

    def looked_up(self, x: Vector, scale: float) -> tuple[Vector, Vector]:
        """x within the table's limits, and tanh(scale x) / x there."""
        spacing = SPACING / scale
        size = self.from_bits(self.builder.and_(x.bits(), int_constant(0x7FFFFFFF)))
        size = size.where(">", (PLACES - 0.51) * spacing, (PLACES - 0.51) * spacing)
        near = size * (1.0 / spacing) + MAGIC
        off = size - (near - MAGIC) * spacing
        coefficients = [
            self.at_place(row * scale ** (power + 1), near.bits()) for power, row in enumerate(tables().astype(float))
        ]
        total = coefficients[-1]
        for c in coefficients[-2::-1]:
            total = total * off + c
        sign = self.builder.and_(x.bits(), int_constant(SIGN))
        return self.from_bits(self.builder.or_(size.bits(), sign)), total

    def at_place(self, values: np.ndarray, place: ir.Value) -> Vector:
        """Of 32 values those at the places, int32, whose low bits count."""
        kind = ir.FunctionType(VECTOR, [VECTOR, MASK, VECTOR])
        name = "llvm.x86.avx512.vpermi2var.ps.512"
        low, high = (ir.Constant(VECTOR, [float(value) for value in half]) for half in np.split(values, 2))
        return Vector(
            self.builder,
            self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [low, place, high]),
        )

    def tanh(self, x: Vector) -> Vector:
        within, ratio = self.looked_up(x, 1.0)
        return within * ratio

    def sigmoid(self, x: Vector) -> Vector:
        within, ratio = self.looked_up(x, 0.5)
        return within * (0.5 * ratio) + 0.5
