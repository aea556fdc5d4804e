"""A device that is short of memory."""

from __future__ import annotations

import weakref

import numpy as np

from .device import HostDevice


class Scarce(HostDevice):
    """A device without room for large arrays."""

    def __init__(self, most):
        super().__init__()
        self.most, self.refused, self.released = most, 0, 0
        self.made, self.held = [], 0  # arrays; how many of them were still held when memory was to be released
        self.xp = self

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self.most:
            self.refused += 1
            raise MemoryError(f"no room for {shape}")
        array = np.empty(shape, dtype)
        self.made.append(weakref.ref(array))
        return array

    def release(self):
        self.released += 1
        self.held += sum(array() is not None for array in self.made)
