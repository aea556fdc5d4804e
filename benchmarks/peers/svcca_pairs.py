"""SVCCA in NumPy as published scripts have it (Raghu et al. 2017): an SVD of each response, then correlations."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def pair_by_pair(responses, components: int) -> np.ndarray:
    """Mean canonical correlation of every pair, (pairs,) in the order of `combinations`; both SVDs for each pair.

    responses : N arrays (samples, n)
    """
    return np.array(
        [_mean_correlation(_axes(x, components), _axes(y, components)) for x, y in combinations(responses, 2)]
    )


def svd_once(responses, components: int) -> np.ndarray:
    """As `pair_by_pair`, with one SVD a network that is kept for its pairs."""
    return np.array([_mean_correlation(a, b) for a, b in combinations([_axes(x, components) for x in responses], 2)])


def _axes(x, components: int) -> np.ndarray:
    """The first left singular vectors (samples, k) of a centred response."""
    x = x.astype(np.float64)
    u, _, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return u[:, :components]


def _mean_correlation(a, b) -> float:
    return float(np.linalg.svd(a.T @ b, compute_uv=False).mean())
