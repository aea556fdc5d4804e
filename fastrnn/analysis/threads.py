"""Work of an analysis shared out over threads, each with a BLAS of one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import numpy as np

from ..processors import usable_processors
from ..values import whole_number

CACHED = 1 << 17  # numbers that stay in a core's cache


class Team:
    """Runs pieces of work on some threads; the results don't depend on how many there are."""

    def __init__(self, threads: int):
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def each(self, work, pieces) -> list:
        """`[work(piece) for piece in pieces]`, at once; floating-point trouble shows in the results only."""

        def quietly(piece):
            with np.errstate(all="ignore"):
                return work(piece)

        pieces = list(pieces)
        if self._pool is None or len(pieces) < 2:
            return [quietly(piece) for piece in pieces]
        return list(self._pool.map(quietly, pieces))

    def alone(self) -> Team:
        """A team of one, for work inside a piece."""
        return self if self.threads == 1 else Team(1)


@contextmanager
def team(threads: int | None):
    """A `Team` of so many threads (default: the processors this process may use)."""
    if threads is None:
        threads = usable_processors()
    made = Team(whole_number("threads", threads, 1))
    try:
        with _blas().limit(limits=1, user_api="blas"):
            yield made
    finally:
        if made._pool is not None:
            made._pool.shutdown()


def chunks(count: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `count` rows."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def chunk_size(S: int) -> int:
    """Rows whose (S, S) matrices together hold about `CACHED` numbers."""
    return int(np.clip(CACHED // (S * S), 4, 256))


def rows_for_threads(S: int) -> int:
    """Fewest (S, S) matrices for which NumPy's linear algebra lets other threads run: it does from 500 rows on.

    >>> rows_for_threads(64), rows_for_threads(1024)
    (8, 1)
    """
    return 500 // S + 1


@cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
