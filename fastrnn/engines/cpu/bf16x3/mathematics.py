"""tanh from tables in registers.

While the matrix unit works, and for some 1,500 cycles after, a core does one floating-point operation on 16 lanes a
cycle instead of two (measured on Emerald Rapids); whole numbers and shuffles go on at nearly their usual rate. So
coefficients are looked up, and few operations are left.

Relative error below 3e-7 (tests/test_bf16x3.py); products in two parts err by more. NaN goes in, NaN comes out. A
sigmoid made the same way has a small absolute error, not a small relative one, and with it half of the LSTMs with relu
diverged that learnt otherwise: there a gate that is nearly shut keeps out what is very large.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ..vectors import MASK, ROUNDING, VECTOR, Vector, VectorMath, int_constant

PLACES = 32  # of a table: two registers of 16
DEGREE = 4
SPACING = 17 / 64  # of the points around which tanh(x) / x is a polynomial of |x|; exact in float32
LIMIT = (PLACES - 0.51) * SPACING  # 8.36, where tanh is 1 - 1e-7
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
    """`VectorMath` with another tanh; for 16 lanes."""

    def tanh(self, x: Vector) -> Vector:
        size = self.from_bits(self.builder.and_(x.bits(), int_constant(0x7FFFFFFF)))
        near = size.where(">", LIMIT, LIMIT) * (1.0 / SPACING) + ROUNDING
        off = size - (near - ROUNDING) * SPACING
        coefficients = [self.at_place(row, near.bits()) for row in tables().astype(float)]
        ratio = coefficients[-1]
        for c in coefficients[-2::-1]:
            ratio = ratio * off + c
        beyond = self.builder.fcmp_ordered(">", size.value, size.filled(LIMIT).value)
        value = self.builder.select(beyond, size.filled(1.0).value, (size * ratio).value)
        sign = self.builder.and_(x.bits(), int_constant(SIGN))
        return self.from_bits(self.builder.or_(Vector(self.builder, value).bits(), sign))

    def at_place(self, values: np.ndarray, place: ir.Value) -> Vector:
        """Of 32 values those at the places, int32, whose low bits count."""
        kind = ir.FunctionType(VECTOR, [VECTOR, MASK, VECTOR])
        name = "llvm.x86.avx512.vpermi2var.ps.512"
        low, high = (ir.Constant(VECTOR, [float(value) for value in half]) for half in np.split(values, 2))
        return Vector(
            self.builder,
            self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [low, place, high]),
        )
