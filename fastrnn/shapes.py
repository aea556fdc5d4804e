"""The shape letters, declared once, and the check of an array argument against them.

N networks, B trials, T time steps, n units, D inputs, K outputs, G gate blocks, S state size (n; 2n for LSTM and
current), M parameters of one network. The network axis comes first, units innermost.
"""

from __future__ import annotations

import numpy as np

from .errors import UsageError


def real_array(name: str, array) -> np.ndarray:
    """`array` as a NumPy array of real numbers; `UsageError` for complex ones, texts and rows of different lengths.

    >>> real_array("inputs", [[1, 2]]).shape
    (1, 2)
    """
    try:
        array = np.asarray(array)
    except ValueError:
        raise UsageError(f"{name} must be an array of real numbers; its rows have different lengths") from None
    except TypeError as error:  # of CuPy, whose arrays lie on a device, and of others
        raise UsageError(f"{name} must be an array that NumPy can read ({error})") from None
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{name} must be an array of real numbers; it holds {array.dtype}")
    return array


def check_shape(name: str, array, letters: tuple[str, ...], **sizes: int) -> np.ndarray:
    """`array` as a NumPy array if its shape agrees with `letters` and the sizes given; `UsageError` otherwise.

    >>> check_shape("inputs", np.zeros((2, 3)), ("T", "D"), D=3).shape
    (2, 3)
    """
    array = real_array(name, array)
    wanted = ", ".join(f"{letter} = {sizes[letter]}" if letter in sizes else letter for letter in letters)
    if array.ndim != len(letters) or any(
        letter in sizes and size != sizes[letter] for letter, size in zip(letters, array.shape, strict=True)
    ):
        raise UsageError(f"{name} must have shape ({wanted}); it has shape {array.shape}")
    return array


def network_index(index, N: int):
    """An index of N networks that keeps their axis: a slice in place of an integer."""
    if isinstance(index, (int, np.integer)):
        if not -N <= index < N:
            raise IndexError(f"network {index} of {N}")
        index = slice(index % N, index % N + 1)
    return index


def as_float32(name: str, array, whose: str = "") -> np.ndarray:
    """`array` in float32, contiguous and writable; `UsageError` where a value is not finite there."""
    given = real_array(whose + name, array)
    with np.errstate(over="ignore"):
        made = np.require(given, np.float32, ["C", "W"])
    beyond = np.isinf(made) & np.isfinite(given)
    if beyond.any():
        where = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise UsageError(
            f"{whose}{name} must be finite in float32, at most 3.4e+38; {name}{list(where)} is {given[where]}"
        )
    return check_finite(name, made, whose)


def check_finite(name: str, array: np.ndarray, whose: str = "") -> np.ndarray:
    """`array` if all its values are finite; `UsageError` naming the first that is not otherwise."""
    bad = ~np.isfinite(array)
    if bad.any():
        where, count = tuple(int(i) for i in np.argwhere(bad)[0]), int(bad.sum())
        raise UsageError(
            f"{whose}{name} must be finite; {name}{list(where)} is {array[where]} ({count} values are not finite)"
        )
    return array
