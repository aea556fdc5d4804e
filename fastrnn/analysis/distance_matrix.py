"""The check of a distance matrix that every analysis of distances begins with."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..shapes import check_finite, check_shape

ASYMMETRY = 1e-9  # of the largest distance


def check_distances(distances, networks: int = 1) -> np.ndarray:
    """`distances` as float64 (N, N): finite, symmetric, not negative, zero on the diagonal, of so many networks.

    >>> check_distances([[0, 1], [1, 0]]).dtype
    dtype('float64')
    """
    distances = check_shape("distances", distances, ("N", "N")).astype(np.float64)
    if distances.shape[0] != distances.shape[1]:
        raise UsageError(f"distances must be square, (N, N); they have shape {distances.shape}")
    if len(distances) < networks:
        raise UsageError(f"distances must be of {networks} networks or more; they are of {len(distances)}")
    check_finite("distances", distances)
    if np.any(np.diag(distances) != 0) or np.any(distances < 0):
        raise UsageError("distances must not be negative, and zero on the diagonal: are these similarities?")
    if np.abs(distances - distances.T).max() > ASYMMETRY * distances.max():
        raise UsageError("distances must be symmetric; average both directions: (d + d.T) / 2")
    return (distances + distances.T) / 2


def centred_gram(distances: np.ndarray) -> np.ndarray:
    """Gower's matrix: -1/2 of the squared distances with the means of rows and columns taken off, (N, N)."""
    squares = -(distances**2) / 2
    means = squares.mean(axis=0)
    return squares - means[:, None] - means + means.mean()
