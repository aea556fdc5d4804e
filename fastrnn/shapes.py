"""The shape letters, declared once, and the check of an array argument against them.

N networks, B trials, T time steps, n units, D inputs, K outputs, G gate blocks, S state size (n; 2n for the LSTM),
M parameters of one network. The network axis comes first, units innermost.
"""

from __future__ import annotations

import numpy as np

from .errors import UsageError


def check_shape(name: str, array, letters: tuple[str, ...], **sizes: int) -> np.ndarray:
    """`array` as a NumPy array if its shape agrees with `letters` and the sizes given; `UsageError` otherwise.

    >>> check_shape("inputs", np.zeros((2, 3)), ("T", "D"), D=3).shape
    (2, 3)
    """
    array = np.asarray(array)
    wanted = ", ".join(f"{letter} = {sizes[letter]}" if letter in sizes else letter for letter in letters)
    if array.ndim != len(letters) or any(
        letter in sizes and size != sizes[letter] for letter, size in zip(letters, array.shape, strict=True)
    ):
        raise UsageError(f"{name} must have shape ({wanted}); it has shape {array.shape}")
    return array


def check_finite(name: str, array: np.ndarray) -> np.ndarray:
    """`array` if all its values are finite; `UsageError` naming the first that is not otherwise."""
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UsageError(
            f"{name} must be finite; {name}{list(where)} is {array[where]} ({int(bad.sum())} values are not finite)"
        )
    return array
