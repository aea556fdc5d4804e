"""Freed memory stays with the process, for the peers' sake: they allocate the values of every iteration anew.

Where fresh pages are dear, on virtual machines above all, a batched peer can spend most of its time in the system
otherwise, and more of it in some rounds than in others.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of settings, from malloc.h of the GNU C library
NEVER = -1


def keep_freed_memory() -> bool:
    """Have the C library give no memory back to the system; whether it knows how."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another library, or another system
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, NEVER))
