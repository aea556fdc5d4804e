"""Vectors of the host's processor: pointwise mathematics traced from Python into LLVM vector code.

A function written for a `VectorMath` (the arguments are `Vector`s, the operations `+ - * /` and the methods of
`VectorMath`) is run once, at compile time, and leaves behind the instructions of the whole expression, `LANES`
float32 values wide. numba's own loop vectoriser is not relied on: it gives up where it can't prove that a dozen
arrays don't overlap, and it never vectorises `math.tanh`.

Accuracy, in units in the last place of float32 (tests/test_vectors.py): tanh 6 for all arguments; sigmoid 4 and exp 3
from -87 to 88, beyond which they stay what they are there. NaN goes in, NaN comes out.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, codegen, config

FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLAGS = ("contract", "nsz")  # a*b+c may become one fused operation; nothing else may change


def host_features() -> str:
    """Features of the processor numba compiles for, as `+avx512f,-...` (NUMBA_CPU_FEATURES overrides)."""
    return config.CPU_FEATURES if config.CPU_FEATURES is not None else codegen.get_host_cpu_features()


def float_lanes(features: str) -> int:
    """Number of float32 in the widest vector that the features allow.

    >>> float_lanes("+sse2,+avx,+avx2"), float_lanes("+sse2"), float_lanes("+avx512f")
    (8, 4, 16)
    """
    present = set(features.split(","))
    if "+avx512f" in present:
        return 16
    return 8 if "+avx" in present else 4


LANES = float_lanes(host_features())
HAS_FMA = bool({"+fma", "+neon"} & set(host_features().split(",")))
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.VectorType(INT32, LANES)

# x P(x^2) / Q(x^2), relative error 1.3e-9 up to 9.01, where tanh rounds to 1 (weighted least squares, reweighted
# towards the largest error)
TANH_LIMIT = 9.01
TANH_P = (
    1.0,
    0.13680392503738403,
    0.0038689258508384228,
    2.8019534511258826e-05,
    3.061407838345076e-08,
    -1.2225030016077554e-11,
)
TANH_Q = (1.0, 0.47013723850250244, 0.02724802866578102, 0.00039396859938278794, 1.28821056932793e-06)
# Taylor coefficients of exp; on |r| <= ln(2)/2 the first left out is 2e-8 relative
EXP_P = tuple(1.0 / f for f in (1, 1, 2, 6, 24, 120, 720))
EXP_LIMITS = (-87.3, 88.3)
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
LOG2_E = 1.4426950408889634
ROUNDING = 12582912.0  # 1.5 * 2^23: what is added to it is rounded to a whole number, in its low bits


class Vector:
    """Numbers side by side inside the function being compiled, of one kind of vector: `LANES` float32 as a rule."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder, self.value = builder, value

    def _lift(self, other) -> ir.Value:
        return other.value if isinstance(other, Vector) else _everywhere(self.value.type, other)

    def _do(self, name: str, left: ir.Value, right: ir.Value) -> Vector:
        return Vector(self.builder, getattr(self.builder, name)(left, right, flags=FLAGS))

    def __add__(self, other):
        return self._do("fadd", self.value, self._lift(other))

    def __sub__(self, other):
        return self._do("fsub", self.value, self._lift(other))

    def __rsub__(self, other):
        return self._do("fsub", self._lift(other), self.value)

    def __mul__(self, other):
        return self._do("fmul", self.value, self._lift(other))

    def __truediv__(self, other):
        return self._do("fdiv", self.value, self._lift(other))

    def __rtruediv__(self, other):
        return self._do("fdiv", self._lift(other), self.value)

    def __neg__(self):
        return self._do("fsub", _everywhere(self.value.type, -0.0), self.value)

    __radd__, __rmul__ = __add__, __mul__

    def clamp(self, low: float, high: float) -> Vector:
        """Into [low, high]; NaN stays NaN."""
        return self.where(">", high, high).where("<", low, low)

    def compare(self, relation: str, bound) -> ir.Value:
        """In which lanes `self relation bound`."""
        return self.builder.fcmp_ordered(relation, self.value, self._lift(bound))

    def replace(self, where: ir.Value, replacement) -> Vector:
        """`replacement` in the lanes that a comparison holds in, self elsewhere."""
        return Vector(self.builder, self.builder.select(where, self._lift(replacement), self.value))

    def where(self, relation: str, bound, replacement) -> Vector:
        """`replacement` in the lanes where `self relation bound`, self elsewhere."""
        return self.replace(self.compare(relation, bound), replacement)

    def filled(self, number: float) -> Vector:
        """A number in every lane of such a vector."""
        return Vector(self.builder, self._lift(number))

    def sqrt(self) -> Vector:
        """Square root, correctly rounded."""
        kind = self.value.type
        width = 32 if kind.element == FLOAT else 64
        name = f"llvm.sqrt.v{kind.count}f{width}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind]), name)
        return Vector(self.builder, self.builder.call(function, [self.value]))

    def bits(self) -> ir.Value:
        """The same bits as int32 lanes."""
        return self.builder.bitcast(self.value, ir.VectorType(INT32, self.value.type.count))


def _everywhere(kind: ir.VectorType, value: float) -> ir.Constant:
    """A number in every lane of a kind of vector."""
    return ir.Constant(kind, [float(value)] * kind.count)


def int_constant(value: int, lanes: int = LANES) -> ir.Constant:
    """An int32 in every lane."""
    return ir.Constant(ir.VectorType(INT32, lanes), [value] * lanes)


class VectorMath:
    """The operations of a cell's pointwise stages on `Vector`s; `cells.ArrayMath` is the same on arrays.

    `activation` ("tanh" or "relu") decides what `phi` is; without one, `phi` is not available.
    """

    def __init__(self, builder: ir.IRBuilder, activation: str | None = None):
        self.builder, self.activation = builder, activation

    def from_bits(self, bits: ir.Value) -> Vector:
        return Vector(self.builder, self.builder.bitcast(bits, ir.VectorType(FLOAT, bits.type.count)))

    def polynomial(self, x: Vector, coefficients) -> Vector:
        """Horner's rule, lowest power first."""
        total = x.filled(coefficients[-1])
        for c in coefficients[-2::-1]:
            total = total * x + c
        return total

    def reciprocal(self, x: Vector) -> Vector:
        """1 / x for 1e-37 < x < 1e38; with AVX-512 an estimate of 14 bits and one step of Newton's, within 1 ulp.

        A division takes as long as a dozen multiplications.
        """
        if LANES != 16:
            return 1.0 / x
        mask = ir.IntType(16)
        kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR, mask])
        estimate = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.x86.avx512.rcp14.ps.512")
        every_lane = ir.Constant(mask, -1)
        r = Vector(self.builder, self.builder.call(estimate, [x.value, ir.Constant(VECTOR, [0.0] * 16), every_lane]))
        return r + r * (1.0 - x * r)

    def phi(self, x: Vector) -> Vector:
        return self.tanh(x) if self.activation == "tanh" else x.where("<", 0.0, 0.0)

    def phi_slope(self, y: Vector) -> Vector:
        """phi' from the value y = phi(x)."""
        return 1.0 - y * y if self.activation == "tanh" else y.where(">", 0.0, 1.0)

    def tanh(self, x: Vector) -> Vector:
        x = x.clamp(-TANH_LIMIT, TANH_LIMIT)
        s = x * x
        return (x * self.polynomial(s, TANH_P) * self.reciprocal(self.polynomial(s, TANH_Q))).clamp(-1.0, 1.0)

    def exp(self, x: Vector) -> Vector:
        """2^k exp(r): k sits in the low bits of x / ln 2 once `ROUNDING` is added."""
        x = x.clamp(*EXP_LIMITS)
        shifted = x * LOG2_E + ROUNDING
        k = shifted - ROUNDING
        r = x - k * LN2_HIGH - k * LN2_LOW
        p = self.polynomial(r, EXP_P)
        exponent = self.builder.shl(shifted.bits(), int_constant(23, x.value.type.count))
        return self.from_bits(self.builder.add(p.bits(), exponent))

    def sigmoid(self, x: Vector) -> Vector:
        return self.reciprocal(1.0 + self.exp(-x))
