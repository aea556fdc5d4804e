"""Eigenvalues of Jacobians, in the order of the analyses."""

from __future__ import annotations

import numpy as np


def eigenvalues_of(J) -> np.ndarray:
    """Eigenvalues (F, S) of J (F, S, S), largest magnitude first; NaN where J is not finite."""
    values = np.full(J.shape[:-1], np.nan + 0j)
    finite = np.isfinite(J).all(axis=(1, 2))
    if finite.any():
        found = np.linalg.eigvals(J[finite])
        values[finite] = np.take_along_axis(found, magnitude_order(found), axis=1)
    return values


def magnitude_order(values) -> np.ndarray:
    """Order of eigenvalues (F, S) by falling magnitude; a pair stays together, positive angle first.

    Magnitudes are compared to 12 digits, so that a complex pair ties; then by real part, then by the imaginary part's
    size. Of pairs that are equal to the bit one follows the other.
    """
    magnitude = np.abs(values)
    scale = np.where(magnitude > 0, 10.0 ** (np.floor(np.log10(np.where(magnitude > 0, magnitude, 1.0))) - 12), 1.0)
    rounded = np.round(magnitude / scale) * scale
    pairs = (-np.abs(values.imag), -values.real, -rounded)
    order = np.lexsort((-values.imag, *pairs), axis=-1)
    ordered, place = np.take_along_axis(values, order, axis=-1), np.arange(values.shape[-1])
    first = np.ones(values.shape, bool)
    first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    which = np.empty(values.shape, np.int64)  # of equal values
    np.put_along_axis(which, order, place - np.maximum.accumulate(np.where(first, place, 0), axis=-1), axis=-1)
    return np.lexsort((-values.imag, which, *pairs), axis=-1)


def count_unstable(values) -> np.ndarray:
    """Number of eigenvalues (F, S) of magnitude above 1, (F,)."""
    return (np.abs(values) > 1.0).sum(axis=-1)


def paired(values) -> np.ndarray:
    """Which eigenvalues (F, S), ordered as above, are the first of a complex pair.

    >>> paired(np.array([[1 + 1j, 1 - 1j, 0.5]]))
    array([[ True, False, False]])
    """
    return values.imag > 0
