"""Processors that this process may use, and a way to use fewer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from .values import whole_number

_limit: int | None = None


def usable_processors() -> int:
    """Processors this process may run on; the default number of threads everywhere."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _limit is None else min(found, _limit)


@contextlib.contextmanager
def only_processors(threads: int | None) -> Iterator[None]:
    """Use so many processors at most, here and in processes begun here; None: as many as there are.

    The system keeps to it where it can; elsewhere it is the default number of threads alone.

    Raises
    ------
    UsageError
        where threads is no positive whole number
    """
    global _limit
    if threads is None:
        yield
        return
    threads, before_limit = whole_number("threads", threads, 1), _limit
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    _limit = threads
    try:
        if before is not None:
            os.sched_setaffinity(0, sorted(before)[:threads])
        yield
    finally:
        _limit = before_limit
        if before is not None:
            os.sched_setaffinity(0, before)
