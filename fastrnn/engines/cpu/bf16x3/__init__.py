"""Training with matrix products in bf16x3 on the matrix unit of Intel's server processors (AMX).

A float32 x is kept as two bf16, high = x rounded and low = (x - high) rounded, which have 16 bits of its 24. A product
is high a x low b + high a x high b + low a x high b, summed in float32; errors are some 1e-5 of the factors.

The unit multiplies much faster than the rest of the processor does anything else, and does so beside it: a tile of
trials is cut into two halves, and while the unit multiplies for one of them, the pointwise stage of the other runs.

    unit        the unit's instructions, and vector code that does the same where there is none
    operands    matrices in two parts, in the order in which the unit reads them
    stages      pointwise stages that leave what they make as operands
    tiles       a tile of trials through time and back
"""

from .unit import HAS_UNIT, measured_rate, why_not

__all__ = ["HAS_UNIT", "measured_rate", "why_not"]
