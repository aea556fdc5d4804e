"""The processor in the place of a GPU: what the CUDA engine needs of a device."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from .module import HostModule


class HostDevice:
    """Runs kernels by `HostModule` on NumPy arrays.

    schedule : as of `HostModule`; may be changed between launches
    check : of `module.CHECKS`
    """

    name, capability, rate, xp = "host", (9, 0), 1e9, np

    def __init__(self, shared_limit=227 << 10, schedule=("forward", True, 0), check=None, kernels=None):
        self.shared_limit, self.schedule, self.check, self.kernels = shared_limit, schedule, check, kernels

    def module(self, *, options, **source):
        if self.kernels is not None:  # other sources than those of this tree
            options = [f"-I{self.kernels}" if option.startswith("-I") else option for option in options]
        return HostModule(options=options, **source, owner=self, check=self.check)

    def owns(self, array):
        return isinstance(array, np.ndarray)

    @contextmanager
    def stream(self, index):
        yield

    def release(self):
        pass

    def synchronize(self):
        pass

    def to_host(self, array):
        return array.copy()
