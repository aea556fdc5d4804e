"""Engines advance all networks of a stack at once; `get` gives one for a device."""

from __future__ import annotations

import sys

from ..errors import UsageError

DEVICES = ("auto", "cpu", "cuda")


def get(device: str = "auto", threads: int | None = None):
    """The engine of a device.

    Parameters
    ----------
    device : "cpu"; "cuda" is an error where no CUDA engine can run; "auto" takes the best there is and says which
    threads : threads of the CPU engine, default all processors this process may use

    >>> get("cpu", threads=1).name
    'cpu'
    """
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; the devices are {', '.join(DEVICES)}")
    if device == "cuda":
        raise UsageError("device 'cuda' is not available in this version; use device 'cpu' or 'auto'")
    from .cpu.engine import CPUEngine

    engine = CPUEngine(threads)
    if device == "auto":
        print(f"device auto: {engine.description}", file=sys.stderr)
    return engine
