"""Whether the levels of a factor differ in spread: distances to the middle of each level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...values import check_sizes
from ..distance_matrix import centred_gram, check_distances
from .factors import check_labels, indicators, permutation_p

FEWEST = 5  # networks of a level whose spread is compared


@dataclass(frozen=True)
class Dispersion:
    """Spread of the levels of a factor.

    levels : labels; means : (levels,) mean distance of a level's networks to its centroid
    F, p : of the hypothesis that all levels spread alike
    distances : (N,) of each network to the centroid of its level
    """

    levels: list
    means: np.ndarray
    F: float
    p: float
    distances: np.ndarray


def dispersion(distances, labels, *, permutations: int = 999, seed: int = 0, name: str = "labels") -> Dispersion:
    """Homogeneity of spread (Anderson 2006): analysis of variance of distances to centroids.

    Centroids are those of the space of principal coordinates; where distances are not Euclidean, squared distances
    along its imaginary axes count negative, and the root is of the absolute value. p from permutations of residuals.
    Networks are nearer to a centroid that they are a part of the fewer they are: by the root of (n - 1) / n, which is
    divided out before levels are compared (Stier et al. 2013; `bias.adjust` of betadisper in R's vegan).

    Parameters
    ----------
    distances : (N, N)
    labels : (N,) the level of each network
    permutations, seed : as for `permanova`
    name : of the factor, for messages

    Returns
    -------
    Dispersion; F is 0 and p 1 where no network is off its level's mean spread and all levels spread alike; both are NaN
    where a level has fewer than `FEWEST` networks, of which nothing can be said

    Raises
    ------
    UsageError
        for distances or labels that are not as they must be

    >>> points = np.array([[0.0], [1], [2], [10], [20], [30]])
    >>> dispersion(np.abs(points - points.T), ["a", "a", "a", "b", "b", "b"]).means.round(2)
    array([0.67, 6.67])
    """
    check_sizes(permutations=permutations)
    distances = check_distances(distances, networks=3)
    N = len(distances)
    levels, codes = check_labels(name, labels, N)
    gram, members = centred_gram(distances), indicators(codes)
    weights = members / members.sum(axis=0)
    to_mean = gram @ weights  # (N, levels)
    between = np.sum(weights * to_mean, axis=0)
    squares = np.diag(gram) - 2 * to_mean[np.arange(N), codes] + between[codes]
    spread = np.sqrt(np.abs(squares))
    means = spread @ weights
    sizes = members.sum(axis=0)
    if sizes.min() < FEWEST:
        return Dispersion(levels, means, np.nan, np.nan, spread)
    random = np.random.default_rng(seed)
    fair = np.sqrt(sizes / (sizes - 1))[codes]
    residuals = (spread - means[codes]) * fair**2  # means of few networks follow them
    drawn = np.array([random.permutation(residuals) for _ in range(permutations)])
    F = float(_anova((spread * fair)[None], members, distances.max())[0])
    p = permutation_p(F, _anova(drawn, members, distances.max())) if F > 0 else 1.0
    return Dispersion(levels, means, F, p, spread)


def _anova(values: np.ndarray, members: np.ndarray, scale: float) -> np.ndarray:
    """One-way F of each row of values (draws, N); 0 where there is no variance beyond rounding."""
    N, levels = members.shape
    values = values - values.mean(axis=1, keepdims=True)
    total = np.sum(values**2, axis=1)
    between = np.sum((values @ members) ** 2 / members.sum(axis=0), axis=1)
    rounding = N * (1e-9 * scale) ** 2
    between = np.where(between > rounding, between, 0)
    within = np.maximum(total - between, rounding if rounding > 0 else 1.0)
    return between / (levels - 1) / (within / max(N - levels, 1))
