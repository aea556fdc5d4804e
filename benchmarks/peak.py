"""The machine's matrix peak: NumPy's 2048 x 2048 float32 product, its BLAS on as many threads as the engine."""

from __future__ import annotations

import numpy as np
from threadpoolctl import ThreadpoolController

from .rounds import seconds_of

SIZE = 2048


class MatrixProduct:
    """Times the product; its arrays are kept."""

    def __init__(self, threads: int, size: int = SIZE):
        rng = np.random.default_rng(0)
        self.size = size
        self._a, self._b = (rng.random((size, size), np.float32) for _ in range(2))
        self._product = np.zeros((size, size), np.float32)
        self._threads = threads
        self._libraries = ThreadpoolController().select(user_api="blas")
        self.rate()

    def rate(self) -> float:
        """FLOP/s of one product."""
        with self._libraries.limit(limits=self._threads):
            return 2 * self.size**3 / seconds_of(np.matmul, self._a, self._b, self._product)
