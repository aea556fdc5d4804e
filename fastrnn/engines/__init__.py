"""Engines advance all networks of a stack at once; `get` gives one for a device."""

from __future__ import annotations

import sys

from ..errors import UsageError

DEVICES = ("auto", "cpu", "cuda")


def get(device: str = "auto", threads: int | None = None, precision: str = "float32"):
    """The engine of a device.

    Parameters
    ----------
    device : "cpu"; "cuda" is an error that says why where no GPU can be used; "auto" takes the GPU if there is one, the
        CPU otherwise, and says which
    threads : threads of the CPU engine, default all processors this process may use
    precision : of a GPU's matrix products: "float32", or "bf16x3" on tensor cores, each operand in two parts of bf16

    >>> get("cpu", threads=1).name
    'cpu'
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; the devices are {', '.join(DEVICES)}")
    if device == "cpu" and precision != "float32":
        raise UsageError(f"the CPU engine computes in float32; precision is {precision!r}: leave it out, or use a GPU")
    why_not = ""
    if device != "cpu":
        from .cuda.engine import CUDAEngine

        try:
            engine = CUDAEngine(precision=precision)
        except UsageError as error:
            if device == "cuda":
                raise UsageError(f"device 'cuda' can't be used: {error}") from None
            why_not = f"; no GPU: {error}"
        else:
            if device == "auto":
                print(f"device auto: {engine.description}", file=sys.stderr)
            return engine
    from .cpu.engine import CPUEngine

    engine = CPUEngine(threads)
    if device == "auto":
        print(f"device auto: {engine.description}{why_not}", file=sys.stderr)
    return engine
