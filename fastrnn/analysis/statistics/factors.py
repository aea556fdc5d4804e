"""Factors: labels of networks, checked once; and how often something is drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas

from ...errors import UsageError
from ...values import is_number


def check_factors(factors) -> dict:
    """Labels by name of factor; `UsageError` unless it is a mapping of lists of them or a DataFrame."""
    factors = dict(factors) if isinstance(factors, (Mapping, pandas.DataFrame)) else None
    if factors is None or any(isinstance(labels, str) or not np.iterable(labels) for labels in factors.values()):
        raise UsageError("factors must be a mapping or a DataFrame, from the name of each to its networks' labels")
    return {str(name): labels for name, labels in factors.items()}


def check_labels(name: str, labels, N: int) -> tuple[list, np.ndarray]:
    """Levels in order of appearance, and each network's level as an index (N,).

    >>> check_labels("cell", ["gru", "lstm", "gru"], 3)
    (['gru', 'lstm'], array([0, 1, 0]))
    """
    labels = list(labels)
    if len(labels) != N:
        raise UsageError(f"factor {name!r} must have a label for each of {N} networks; it has {len(labels)}")
    if any(pandas.api.types.is_scalar(label) and pandas.isna(label) for label in labels):
        raise UsageError(f"factor {name!r} has missing labels; leave those networks out, of the distances too")
    levels = list(dict.fromkeys(labels))
    if len(levels) < 2:
        raise UsageError(f"factor {name!r} has one level only, {levels[0]!r}; leave it out")
    index = {level: i for i, level in enumerate(levels)}
    return levels, np.array([index[label] for label in labels])


def check_confidence(confidence: float) -> None:
    """`UsageError` unless between 0 and 1."""
    if not is_number(confidence) or not 0 < confidence < 1:
        raise UsageError(f"confidence must be between 0 and 1; it is {confidence!r}")


def indicators(codes: np.ndarray) -> np.ndarray:
    """(N, levels), 1 where a network has a level."""
    return (codes[:, None] == np.arange(codes.max() + 1)).astype(float)


def permutation_p(observed: float, drawn: np.ndarray) -> float:
    """Share of draws at least as large as what was observed, which counts as one of them."""
    slack = 1e-9 * abs(observed)  # the same arrangement, summed in another order
    return float((1 + np.sum(drawn >= observed - slack)) / (1 + len(drawn)))
