"""NumPy, CuPy or any other library of the array API standard, chosen by the arrays that come in."""

from __future__ import annotations

import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np


def namespace_of(array):
    """The library of an array: its own by the array API standard, CuPy's, or NumPy.

    >>> namespace_of(np.zeros(2)).__name__
    'numpy'
    """
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    library = type(array).__module__.partition(".")[0]
    return sys.modules["cupy"] if library == "cupy" else np


class CallersThread(Executor):
    """Does work at once, in the thread in which a GPU's device and stream are set."""

    def submit(self, work, /, *arguments):
        """The result, as a future that is there."""
        made = Future()
        made.set_result(work(*arguments))
        return made


def workers_for(xp, threads: int) -> Executor:
    """Threads for arrays of NumPy, none for those of another library."""
    return ThreadPoolExecutor(threads) if xp is np else CallersThread()


def to_numpy(array) -> np.ndarray:
    """The array in the computer's memory."""
    if hasattr(array, "get"):  # CuPy refuses to be converted silently
        return array.get()
    return np.from_dlpack(array) if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray) else array


def swap_middle(xp, array):
    """(a, k, b, l) -> (a, b, k, l)."""
    permute = getattr(xp, "permute_dims", None) or xp.transpose
    return permute(array, (0, 2, 1, 3))


def join(xp, arrays):
    """Arrays one below the other."""
    return (getattr(xp, "concat", None) or xp.concatenate)(arrays, axis=0)


def transposed(xp, matrices):
    """(..., k, l) -> (..., l, k)."""
    transpose = getattr(xp, "matrix_transpose", None)
    return transpose(matrices) if transpose else xp.swapaxes(matrices, -1, -2)


def own(xp, array):
    """A contiguous array that keeps nothing larger alive."""
    return xp.ascontiguousarray(array) if hasattr(xp, "ascontiguousarray") else xp.asarray(array, copy=True)


def singular_values(xp, matrices):
    """Singular values (..., k) of a stack of small matrices (..., k, l), largest first."""
    if hasattr(xp.linalg, "svdvals"):
        return xp.linalg.svdvals(matrices)
    return xp.linalg.svd(matrices, compute_uv=False)
