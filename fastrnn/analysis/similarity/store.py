"""Reduced responses between the pass that makes them and the pairs: in memory, beyond a budget on disk."""

from __future__ import annotations

import tempfile

import numpy as np

from ...errors import RunError
from .namespace import join, to_numpy
from .reduction import Reduced


class ReducedResponses:
    """The reduced responses of a population, in order.

    Parameters
    ----------
    dtype : of the rows, np.float64 or np.float32
    budget : bytes of rows to hold in memory; the rest goes to a scratch file that is gone afterwards
    scratch : folder of that file, default the system's
    """

    def __init__(self, dtype, budget: float, scratch=None):
        self.dtype = np.dtype(dtype)
        self._budget, self._scratch = budget, scratch
        self._file, self._end = None, 0
        self._rows, self._where = [], []  # rows in memory or None; offset in the file
        self.loadings, self.marks, self.signatures, self.sizes = [], [], [], []
        self.xp, self.samples = np, None

    def __enter__(self) -> ReducedResponses:
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.samples * self.dtype.itemsize

    @property
    def spilled(self) -> int:
        """Bytes on disk."""
        return self._end

    def add(self, reduced: Reduced) -> None:
        """Keep one more."""
        k, samples = reduced.rows.shape
        self.samples = samples
        self._budget -= k * self.row_bytes
        held = self._budget >= 0
        rows = self.xp.asarray(reduced.rows, dtype=getattr(self.xp, self.dtype.name))
        self._rows.append(rows if held else None)
        self._where.append(None if held else self._spill(to_numpy(rows)))
        self.loadings.append(reduced.loadings)
        self.marks.append(reduced.mark)
        self.signatures.append(reduced.signature)
        self.sizes.append(k)

    def rows(self, i: int):
        """The rows (k, m) of response i; a read-only NumPy array where they are on disk."""
        if self._rows[i] is not None:
            return self._rows[i]
        shape = (self.sizes[i], self.samples)
        return np.memmap(self._file, self.dtype, "r", self._where[i], shape)

    def stacked(self, members):
        """The rows of several responses of one size, (len(members) k, m)."""
        xp = self.xp
        parts = [part if part is self._rows[i] else xp.asarray(part) for i in members for part in [self.rows(i)]]
        return parts[0] if len(parts) == 1 else join(xp, parts)

    def _spill(self, rows: np.ndarray) -> int:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="fastrnn-similarity-", dir=self._scratch)
            start = self._end
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"could not keep reduced responses in {self._scratch or tempfile.gettempdir()!r}: "
                f"{error.strerror or error}; give a folder with space as scratch=, more memory=, or fewer components="
            ) from error
        self._end += rows.nbytes
        return start
