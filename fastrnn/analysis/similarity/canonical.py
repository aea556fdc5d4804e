"""Similarity of two responses: canonical correlations, SVCCA, linear CKA."""

from __future__ import annotations

import numpy as np

from ...errors import UsageError
from .gram import normalised
from .namespace import namespace_of, singular_values, to_numpy
from .reduction import check_components, reduce_response


def canonical_correlations(x, y, components: float | int = 1.0, *, rank_tolerance: float | None = None) -> np.ndarray:
    """Canonical correlations of two responses (Hotelling 1936), after keeping their first principal components.

    Parameters
    ----------
    x, y : (samples, n_x), (samples, n_y), arrays of one library
    components : share of the variance (float in (0, 1]) or number (int) of components; default all
    rank_tolerance : as for `pairwise_distances`

    Returns
    -------
    (min(k_x, k_y),) from largest to smallest, in [0, 1]; empty where a response is constant. All are 1 where the
    responses keep as many components as there are samples less one: take fewer.

    Raises
    ------
    UsageError
        as for `pairwise_distances`

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 3))
    >>> y = np.hstack([x[:, :1] + x[:, 1:2], rng.normal(size=(500, 1))])
    >>> canonical_correlations(x, y).round(1)
    array([1. , 0.1])
    """
    a, b = _two("svcca", x, y, components, rank_tolerance)
    xp = namespace_of(a)
    if 0 in (a.shape[0], b.shape[0]):
        return np.zeros(0)
    return np.clip(to_numpy(singular_values(xp, a @ b.T)), 0, 1)


def svcca(x, y, components: float | int = 0.95, *, rank_tolerance: float | None = None) -> float:
    """Mean canonical correlation of the first components of two responses (Raghu et al. 2017): 1 on itself.

    `pairwise_distances` gives 1 minus this, for all pairs at once. Parameters and errors as for
    `canonical_correlations`; 0 where a response is constant.

    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(svcca(x, x), 12)
    1.0
    """
    correlations = canonical_correlations(x, y, components, rank_tolerance=rank_tolerance)
    return float(correlations.mean()) if len(correlations) else 0.0


def cka(x, y, *, debiased: bool = False) -> float:
    """Linear centred kernel alignment of two responses (Kornblith et al. 2019): 1 on itself.

    `pairwise_distances(..., "cka")` gives 1 minus this, for all pairs at once.

    Parameters
    ----------
    x, y : (samples, n_x), (samples, n_y), arrays of one library
    debiased : from the unbiased estimate of HSIC (Song et al. 2012); needs 4 samples; may be negative

    Returns
    -------
    float; 0 where a response is constant

    Raises
    ------
    UsageError
        as for `pairwise_distances`

    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(cka(x, 2 * x[:, ::-1] + 1), 12)
    1.0
    """
    a, b = (to_numpy(rows) for rows in _two("cka", x, y, 1.0, None))
    if debiased and a.shape[1] < 4:
        raise UsageError(f"debiased=True needs 4 samples or more; there are {a.shape[1]}")
    products = np.array([[np.sum((p @ q.T) ** 2) for q in (a, b)] for p in (a, b)])
    norms = np.array([np.sum(p * p, axis=0) for p in (a, b)]) if debiased else None
    return float(normalised(products, norms)[0, 1])


def _two(metric: str, x, y, components, rank_tolerance):
    """Both responses reduced, (k, m)."""
    check_components(components)
    rows = [
        reduce_response(name, response, metric, components, 0.0, rank_tolerance).rows
        for name, response in (("x", x), ("y", y))
    ]
    if rows[0].shape[1] != rows[1].shape[1]:
        raise UsageError(f"x has {rows[0].shape[1]} samples and y {rows[1].shape[1]}; they must be of the same inputs")
    return rows
