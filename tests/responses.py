"""Responses made for tests of similarity: a few shared signals, seen through networks of different sizes."""

import numpy as np


def population(sizes=(5, 8, 8, 3, 12), samples=60, signals=6, noise=0.05, seed=0):
    """One response (samples, n) for each n: mixtures of common signals of falling strength, noise, and an offset."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(samples, signals)) * 0.6 ** np.arange(signals)
    return [
        common @ rng.normal(size=(signals, n)) + noise * rng.normal(size=(samples, n)) + rng.normal(size=n)
        for n in sizes
    ]


def invertible(n, seed=1):
    """A matrix (n, n) of condition number 10."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return left @ np.diag(np.geomspace(1, 10, n)) @ right


def rotation(n, seed=2):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
