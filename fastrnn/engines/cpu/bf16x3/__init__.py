"""Training with matrix products in bf16x3 on the matrix unit of Intel's server processors (AMX).

A float32 x is kept as two bf16, high = x rounded and low = (x - high) rounded, which have 16 bits of its 24. A product
is high a x low b + high a x high b + low a x high b, summed in float32; errors are some 1e-5 of the factors.

Beside the unit the rest of the processor is slow (see `mathematics`), so that little is left for it to do: what a
pointwise stage makes is split into its parts while it is in registers, readouts and errors go through the unit too.

    unit          the unit's instructions, and vector code that does the same where there is none
    operands      matrices in two parts, in the order in which the unit reads them
    mathematics   tanh from tables
    stages        pointwise stages that leave what they make as operands
    tiles         a tile of trials through time and back
"""

from .unit import HAS_UNIT, measured_rate, why_not

__all__ = ["HAS_UNIT", "measured_rate", "why_not"]
