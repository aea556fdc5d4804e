"""Intervals of means and shares over networks."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from scipy.stats import t as student_t

from ..analysis.statistics.neighbours import wilson

SEED = 0  # of everything that is drawn here
RESAMPLES = 2000
PAIR_RESAMPLES = 200
BLOCKS = 40  # of networks, at most, that are left out one after the other
FEWEST = 5  # networks from which an interval by resampling means anything
CONFIDENCE = 0.95


def ends(networks: int) -> tuple[float, float]:
    """Quantiles of resampled means between which the mean of so many networks lies with 95% confidence.

    Plain percentiles are too narrow where networks are few: resampled means vary as if the variance were divided by n,
    not n - 1, and their spread is taken as known. These are expanded to Student's width (Hesterberg 2015).

    >>> [round(end, 4) for end in (*ends(5), *ends(1000))]
    [0.001, 0.999, 0.0248, 0.9752]
    """
    width = np.sqrt(networks / (networks - 1)) * student_t.ppf((1 + CONFIDENCE) / 2, networks - 1)
    low = NormalDist().cdf(-float(width))
    return low, 1 - low


def mean_interval(values) -> tuple[float, float, float]:
    """Mean of one number a network (N,), and its 95% interval by resampling networks (Efron 1979).

    NaN are left out; the interval is NaN where fewer than `FEWEST` numbers are left.

    >>> [round(end, 1) for end in mean_interval([1.0, 2, 3, 4, 5, np.nan])]
    [3.0, 1.2, 4.8]
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if len(values) < FEWEST:
        return float(values.mean()) if len(values) else np.nan, np.nan, np.nan
    drawn = np.random.default_rng(SEED).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, ends(len(values)))
    return float(values.mean()), float(low), float(high)


def share_interval(values) -> tuple[float, float, float]:
    """Share of networks, and its 95% interval (Wilson 1927).

    values : (N,) True or False, or a share itself, one a network: a mean of shares varies no more than a share of as
        many networks, so that its interval is the wider one

    >>> [round(end, 3) for end in share_interval([True] * 5)]
    [1.0, 0.566, 1.0]
    """
    share = float(np.mean(values))
    return share, *wilson(share, len(values), CONFIDENCE)


def mean_and_sem(values) -> tuple[np.ndarray, np.ndarray]:
    """Mean over networks of values (N, ...) and its standard error, NaN left out; the error of one network is NaN."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0).sum(axis=0) / count
        squares = np.where(known, (values - mean) ** 2, 0).sum(axis=0)
        return mean, np.sqrt(squares / (count - 1) / count)


def difference_interval(first, second) -> tuple[float, float, float]:
    """Mean of `first` less mean of `second`, one number a network each, and its 95% interval by resampling both.

    >>> [round(end, 1) for end in difference_interval([5.0] * 6, [1.0] * 5)]
    [4.0, 4.0, 4.0]
    """
    parts = [np.asarray(values, np.float64) for values in (first, second)]
    first, second = (values[np.isfinite(values)] for values in parts)
    if min(len(first), len(second)) < FEWEST:
        return (np.nan,) * 3
    random = np.random.default_rng(SEED)
    drawn = [random.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in (first, second)]
    low, high = np.quantile(drawn[0] - drawn[1], ends(min(len(first), len(second))))
    return float(first.mean() - second.mean()), float(low), float(high)


def pair_interval(statistic, N: int) -> tuple[float, float, float]:
    """A statistic of the pairs of N networks, and its 95% interval by resampling networks.

    statistic(networks (M,)) gets indices of the networks drawn, some of them several times; the pairs of a network
    with itself are for it to leave out.
    """
    whole = float(statistic(np.arange(N)))
    random = np.random.default_rng(SEED)
    drawn = np.array([statistic(random.integers(N, size=N)) for _ in range(PAIR_RESAMPLES)])
    drawn = drawn[np.isfinite(drawn)]
    if N < FEWEST or not len(drawn):
        return whole, np.nan, np.nan
    low, high = np.quantile(drawn, ends(N))
    return whole, float(low), float(high)


def jackknife_interval(statistic, N: int) -> tuple[float, float, float]:
    """A statistic of N networks, and its 95% interval by leaving out some at a time (Tukey 1958).

    For statistics that a network drawn twice would spoil. Networks i, i + blocks, ... are left out together, so that
    neighbours in a table, which are alike, are not.

    >>> x = np.arange(10.0)
    >>> [round(end, 2) for end in jackknife_interval(lambda kept: x[kept].mean(), 10)]
    [4.5, 2.33, 6.67]
    """
    blocks = min(BLOCKS, N)
    whole = float(statistic(np.arange(N)))
    if blocks < FEWEST:
        return whole, np.nan, np.nan
    block = np.arange(N) % blocks
    values = np.array([statistic(np.flatnonzero(block != b)) for b in range(blocks)])
    error = float(np.sqrt((blocks - 1) / blocks * np.square(values - values.mean()).sum()))
    half = student_t.ppf((1 + CONFIDENCE) / 2, blocks - 1) * error
    return whole, float(whole - half), float(whole + half)
