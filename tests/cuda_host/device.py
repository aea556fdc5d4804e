"""The processor in the place of a GPU: what the CUDA engine needs of a device."""

from __future__ import annotations

from fastrnn.engines.cuda.gpu import GPU

from .library import Library


class HostDevice(GPU):
    """Runs kernels on the processor, by a library that stands in for CuPy.

    schedule : as of `HostModule`; may be changed between launches
    check : of `module.CHECKS`
    launches : kernel and blocks of each, in order
    """

    def __init__(self, shared_limit=227 << 10, schedule=("forward", True, 0), check=None, kernels=None):
        self.shared_limit, self.schedule, self.check, self.kernels = shared_limit, schedule, check, kernels
        self.launches = []
        super().__init__(self.library(), 0)
        self.rate = 1e9

    def library(self) -> Library:
        """What stands in for CuPy."""
        return Library(self)

    def module(self, *, options, **source):
        if self.kernels is not None:  # other sources than those of this tree
            options = tuple(f"-I{self.kernels}" if option.startswith("-I") else option for option in options)
        return super().module(options=options, **source)
