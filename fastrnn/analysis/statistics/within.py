"""Mean distance between networks of one kind and of two, with intervals from resampled networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ...values import check_sizes
from ..distance_matrix import check_distances
from .factors import check_confidence, check_labels

AT_ONCE = 128  # resamples


@dataclass(frozen=True)
class WithinBetween:
    """Mean distances over pairs of networks; each interval is (low, high).

    within : pairs of the same label; between : of two labels; difference : between - within
    levels : labels; of_level : (levels,) the mean over the pairs of each; NaN for a level of one network
    """

    within: float
    within_interval: tuple[float, float]
    between: float
    between_interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    levels: list
    of_level: np.ndarray


def within_and_between(
    distances,
    labels,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    name: str = "labels",
) -> WithinBetween:
    """Mean distance within and between the levels of a factor.

    Intervals are percentiles of the bootstrap over networks (Efron 1979), drawn with replacement within each level.
    Pairs share networks and are not independent, so they are not what is drawn; a network drawn twice makes no pair
    with itself, and a draw without any pair of one level is left out.

    Parameters
    ----------
    distances : (N, N)
    labels : (N,)
    confidence : of the intervals
    resamples, seed : number of draws, and what they are drawn from
    name : of the factor, for messages

    Returns
    -------
    WithinBetween

    Raises
    ------
    UsageError
        for distances or labels that are not as they must be, and where every level has one network only

    >>> points = np.array([0, 1, 2, 10, 11, 12.0])
    >>> made = within_and_between(np.abs(points[:, None] - points), ["a", "a", "a", "b", "b", "b"])
    >>> round(made.within, 3), made.between
    (1.333, 10.0)
    """
    check_sizes(resamples=resamples)
    check_confidence(confidence)
    distances = check_distances(distances, networks=2)
    levels, codes = check_labels(name, labels, len(distances))
    parts = [np.flatnonzero(codes == level) for level in range(len(levels))]
    if max(len(part) for part in parts) < 2:
        raise UsageError(f"factor {name!r}: every level has one network only, so there are no pairs within a level")
    weights = np.ones((1, len(distances)))
    sums, pairs = _sums(distances, weights, parts)
    with np.errstate(invalid="ignore"):
        of_level = sums[0, :-1] / pairs[0, :-1]
    within, between = (float(mean[0]) for mean in _means(sums, pairs))
    random, drawn = np.random.default_rng(seed), []
    for start in range(0, resamples, AT_ONCE):
        weights = np.zeros((min(AT_ONCE, resamples - start), len(distances)))
        for part in parts:
            weights[:, part] = random.multinomial(len(part), np.full(len(part), 1 / len(part)), len(weights))
        drawn.append(np.array(_means(*_sums(distances, weights, parts))))
    drawn = np.concatenate(drawn, axis=1)  # (2, resamples)
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]

    def interval(values):
        return tuple(float(end) for end in np.quantile(values, ends))

    return WithinBetween(
        within,
        interval(drawn[0]),
        between,
        interval(drawn[1]),
        between - within,
        interval(drawn[1] - drawn[0]),
        levels,
        of_level,
    )


def _sums(distances, weights, parts):
    """Weighted sums of distances and numbers of ordered pairs, (draws, levels + 1): within each level, then in all."""
    sums, pairs = [], []
    for part in [*parts, np.arange(len(distances))]:
        w = weights[:, part]
        sums.append(np.sum(w * (w @ distances[np.ix_(part, part)]), axis=1))
        pairs.append(w.sum(axis=1) ** 2 - np.sum(w * w, axis=1))
    return np.array(sums).T, np.array(pairs).T


def _means(sums, pairs):
    """Mean distance within all levels, and between any two, of each draw.

    Pairs of one network drawn twice have distance 0 and are not counted: they are of one level.
    """
    within_sum, within_pairs = sums[:, :-1].sum(axis=1), pairs[:, :-1].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return within_sum / within_pairs, (sums[:, -1] - within_sum) / (pairs[:, -1] - within_pairs)
