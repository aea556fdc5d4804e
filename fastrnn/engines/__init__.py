"""Engines advance all networks of a stack at once; `get` gives one for a device."""

from __future__ import annotations

import sys

from ..errors import UsageError
from ..values import check_name
from .checks import check_precision

DEVICES = ("auto", "cpu", "cuda")


def get(device: str = "auto", threads: int | None = None, precision: str = "float32"):
    """The engine of a device.

    Parameters
    ----------
    device : "cpu"; "cuda" is an error that says why where no GPU can be used; "auto" takes the GPU if there is one, the
        CPU otherwise and, in float32, for sizes that the GPU's kernels don't do, and says which
    threads : threads of the CPU engine, default all processors this process may use
    precision : of the matrix products: "float32", or "bf16x3", each operand in two parts of bf16: on a GPU's tensor
        cores, for sizes that are multiples of 64 (others are an error), or on the matrix unit (AMX) of Intel's server
        processors, for all

    Raises
    ------
    UsageError
        for an unknown device or precision, a GPU that is asked for and can't be used, and bf16x3 where neither a GPU
        nor the processor can do it

    >>> get("cpu", threads=1).name
    'cpu'
    """
    check_name("device", device, DEVICES)
    check_precision(precision)
    why_not = ""
    if device != "cpu":
        from .cuda.engine import CUDAEngine
        from .divided import DividedEngine

        try:
            engine = CUDAEngine(precision=precision)
        except UsageError as error:
            if device == "cuda":
                raise UsageError(f"device 'cuda' can't be used: {error}") from None
            why_not = f"; no GPU: {error}"
        else:
            if device == "cuda":
                return engine
            print(f"device auto: {engine.description}", file=sys.stderr)
            return DividedEngine(engine, threads) if precision == "float32" else engine
    if precision == "bf16x3":
        from .cpu.bf16x3 import why_not as why_no_unit

        if why := why_no_unit():
            raise UsageError(f"precision {precision!r} needs a GPU or a matrix unit: {why}{why_not}; take 'float32'")
    from .cpu.engine import CPUEngine

    engine = CPUEngine(threads, precision)
    if device == "auto":
        print(f"device auto: {engine.description}{why_not}", file=sys.stderr)
    return engine
