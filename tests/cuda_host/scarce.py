"""A device that is short of memory."""

from __future__ import annotations

import numpy as np

from .device import HostDevice
from .library import Library, OutOfMemoryError


class ScarceLibrary(Library):
    """Has no room for large arrays."""

    def empty(self, shape, dtype):
        if np.prod(shape) * np.dtype(dtype).itemsize > self.owner.most:
            self.owner.refused += 1
            raise OutOfMemoryError(f"no room for {shape}")
        return super().empty(shape, dtype)


class Scarce(HostDevice):
    """A device without room for arrays of more than `most` bytes.

    refused : how many arrays there was no room for
    held : bytes that were still in use, each time that memory was to be released
    """

    def __init__(self, most):
        self.most, self.refused, self.held = most, 0, []
        super().__init__()

    def library(self):
        return ScarceLibrary(self)

    def release(self):
        super().release()
        self.held.append(self.xp.live)
