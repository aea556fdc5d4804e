"""Whether the nearest neighbour of a network tells what kind of network it is."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ...values import check_sizes
from ..distance_matrix import check_distances
from .factors import check_confidence, check_labels, indicators, permutation_p


@dataclass(frozen=True)
class NeighbourAccuracy:
    """How often the nearest other network has the same label.

    accuracy, low, high : share of networks, with its interval; chance : share expected of labels dealt out at random
    p : share of permutations of the labels that do at least as well
    levels : labels; of_level : (levels,) the accuracy among the networks of each
    """

    accuracy: float
    low: float
    high: float
    chance: float
    p: float
    levels: list
    of_level: np.ndarray


def neighbour_accuracy(
    distances,
    labels,
    *,
    confidence: float = 0.95,
    permutations: int = 999,
    seed: int = 0,
    name: str = "labels",
) -> NeighbourAccuracy:
    """Accuracy of naming a factor from the distances alone: leave one network out, give it its neighbour's label.

    Parameters
    ----------
    distances : (N, N)
    labels : (N,)
    confidence : of the interval, Wilson's (1927), networks counted as independent
    permutations, seed : as for `permanova`
    name : of the factor, for messages

    Returns
    -------
    NeighbourAccuracy; of several nearest networks at the same distance each counts for its share

    Raises
    ------
    UsageError
        for distances or labels that are not as they must be

    >>> points = np.array([0, 1, 2, 10, 11, 12.0])
    >>> made = neighbour_accuracy(np.abs(points[:, None] - points), ["a", "a", "a", "b", "b", "b"])
    >>> made.accuracy, round(made.chance, 3)
    (1.0, 0.4)
    """
    check_sizes(permutations=permutations)
    check_confidence(confidence)
    distances = check_distances(distances, networks=2)
    N = len(distances)
    levels, codes = check_labels(name, labels, N)
    np.fill_diagonal(distances, np.inf)
    nearest = distances == distances.min(axis=1, keepdims=True)
    network, neighbour = np.nonzero(nearest)
    weight = 1 / nearest.sum(axis=1)[network]
    right = np.bincount(network, weight * (codes[network] == codes[neighbour]), N)
    accuracy = float(right.mean())
    members = indicators(codes)
    counts = members.sum(axis=0)
    random, drawn = np.random.default_rng(seed), np.empty(permutations)
    for i in range(permutations):
        shuffled = random.permutation(codes)
        drawn[i] = np.sum(weight * (shuffled[network] == shuffled[neighbour])) / N
    low, high = wilson(accuracy, N, confidence)
    chance = float(np.sum(counts * (counts - 1)) / (N * (N - 1)))
    p = permutation_p(accuracy, drawn)
    return NeighbourAccuracy(accuracy, low, high, chance, p, levels, right @ members / counts)


def wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    """Interval of a share of `count` independent trials (Wilson 1927).

    >>> [round(end, 3) for end in wilson(0.5, 20, 0.95)]
    [0.299, 0.701]
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    # both ends are exact where no trial, or every trial, succeeded
    return float(middle - half) if share > 0 else 0.0, float(middle + half) if share < 1 else 1.0
