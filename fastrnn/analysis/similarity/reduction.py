"""One response reduced once, for all the pairs it will be in: centred, rotated to principal axes, cut, scaled.

All metrics here are functions of `A_i A_j^T` with one small matrix `A_i (k_i, m)` for each response `X_i (m, n_i)`,
m samples:

=========== ============================== =================================================
metric      A_i                            similarity of i and j
=========== ============================== =================================================
svcca       first left singular vectors    mean of the singular values of `A_i A_j^T`
pwcca       the same                       their mean weighted by what they account for
cka         scores / (sum s^4)^(1/4)       sum of squares of `A_i A_j^T`
procrustes  scores / (sum s^2)^(1/2)       sum of the singular values of `A_i A_j^T`
=========== ============================== =================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from ...errors import UsageError
from .namespace import namespace_of, own, to_numpy

WHITENED = ("svcca", "pwcca")
ACCURATE = 1e-4  # singular values this far below the largest come from an SVD: squaring them would cost digits
LARGEST = 1e70  # value of a response, beyond what float32 can hold
STEP = 8  # cka and procrustes keep a multiple of this many components, so that many responses share a shape


class ResponseMark(IntFlag):
    """What was unusual about a response; marks add up.

    >>> ResponseMark(3)
    <ResponseMark.FEWER_COMPONENTS|CONSTANT: 3>
    """

    NONE = 0
    FEWER_COMPONENTS = 1  # its rank is below the number of components asked for; all of its rank was kept
    CONSTANT = 2  # it doesn't vary (dead units); as far as can be from every other response by definition
    IDENTICAL = 4  # the metric can't tell it from some other response


@dataclass(frozen=True)
class Reduced:
    """A response as its pairs need it.

    rows : (k, m), the matrix A of the table above; k may be 0
    loadings : (k, n), singular values times right singular vectors; None where the metric needs none
    mark : ResponseMark
    signature : total variance and largest singular value, to recognise the response when work is resumed
    """

    rows: object
    loadings: object
    mark: ResponseMark
    signature: tuple[float, float]


def check_response(name: str, response):
    """The response `(samples, n)` as a float64 array of its own library, and the rounding step of its dtype."""
    if not hasattr(response, "__array_namespace__") and namespace_of(response) is np:
        response = np.asarray(response)
    xp = namespace_of(response)
    if response.ndim != 2 or 0 in response.shape:
        raise UsageError(f"{name} must have shape (samples, n), both at least 1; it has shape {tuple(response.shape)}")
    if response.shape[0] < 2:
        raise UsageError(f"{name} has one sample; similarity needs two or more, and many more than units to say much")
    if getattr(response.dtype, "kind", "f") not in "fiub" or "complex" in str(response.dtype):
        raise UsageError(f"{name} must be real numbers; its dtype is {response.dtype}")
    narrow = [n for n in ("float16", "float32") if hasattr(xp, n) and response.dtype == getattr(xp, n)]
    response = xp.asarray(response, dtype=xp.float64)
    finite = xp.isfinite(response)
    if not bool(xp.all(finite)):
        where = tuple(int(i) for i in np.argwhere(~to_numpy(finite))[0])
        raise UsageError(
            f"{name} must be finite; its value at sample {where[0]}, unit {where[1]} is {float(response[where])}: "
            "leave out networks that diverged"
        )
    largest = float(xp.max(xp.abs(response)))
    if largest > 0 and not 1 / LARGEST <= largest <= LARGEST:
        raise UsageError(
            f"{name} must have its largest value between {1 / LARGEST:g} and {LARGEST:g}, so that fourth powers can be "
            f"summed; it is {largest:g}: scale it, no metric depends on that"
        )
    return response, float(np.finfo(narrow[0] if narrow else "float64").eps)


def centre(xp, x):
    """Each unit's mean over samples taken off."""
    return x - xp.mean(x, axis=0, keepdims=True)


def check_components(components) -> float | int:
    """A share in (0, 1] as a float, or a whole number of at least 1 as an int; `UsageError` for anything else."""
    if isinstance(components, (int, np.integer)) and not isinstance(components, bool) and components >= 1:
        return int(components)
    if isinstance(components, (float, np.floating)) and 0 < components <= 1:
        return float(components)
    raise UsageError(
        "components must be a share of the variance above 0 and at most 1.0, or a whole number of components; "
        f"it is {components!r}"
    )


def count_components(s: np.ndarray, rank: int, components) -> int:
    """How many components to keep, by share of the variance or by number, never more than the rank."""
    if isinstance(components, (int, np.integer)):
        return min(int(components), rank)
    if components == 1:
        return rank
    variance = np.cumsum(s**2)
    return min(int(np.searchsorted(variance, components * variance[-1] * (1 - 1e-12))) + 1, rank)


def reduce_response(name: str, response, metric: str, components, tolerance: float, rank_tolerance) -> Reduced:
    """Centre, rotate, cut and scale one response; see the module for what `rows` is."""
    raw, eps = check_response(name, response)
    xp = namespace_of(raw)
    # storing a response in its dtype moves its singular values by at most eps / 2 times this norm
    noise = (10 * eps if rank_tolerance is None else rank_tolerance) * float(xp.sum(raw * raw)) ** 0.5
    x = centre(xp, raw)
    s, scores, right = _principal_axes(xp, x)
    rank = int((s > noise).sum())
    signature = (float(np.sum(s**2)), float(s[0]))
    if rank == 0:
        return Reduced(x[:, :0].T, None, ResponseMark.CONSTANT, signature)
    k = count_components(s, rank, components)
    counted = isinstance(components, (int, np.integer))
    if (metric in WHITENED or counted) and scores is None and s[k - 1] < ACCURATE * s[0]:
        s, scores, right = _singular_vectors(xp, x)
        rank = int((s > noise).sum())
        k = count_components(s, rank, components)
    few = counted and k < components
    mark = ResponseMark.FEWER_COMPONENTS if few else ResponseMark.NONE
    if metric not in WHITENED:
        scale = np.sum(s[:k] ** 4) ** 0.25 if metric == "cka" else np.sum(s[:k] ** 2) ** 0.5
        k = _within_tolerance(s[:k] ** (4 if metric == "cka" else 2), tolerance)
        scores = x @ right[:, :k] if scores is None else scores[:, :k]
        return Reduced(own(xp, scores.T / float(scale)), None, mark, signature)
    scores = x @ right[:, :k] if scores is None else scores[:, :k]
    scale = xp.asarray(s[:k])
    loadings = own(xp, (right[:, :k] * scale).T) if metric == "pwcca" else None
    return Reduced(own(xp, (scores / scale).T), loadings, mark, signature)


def _principal_axes(xp, x):
    """Singular values (host), scores or None where they have not been needed yet, right singular vectors."""
    m, n = x.shape
    if m <= n:
        return _singular_vectors(xp, x)
    values, vectors = xp.linalg.eigh(x.T @ x)
    s = np.sqrt(np.maximum(to_numpy(values)[::-1], 0))
    return s, None, xp.flip(vectors, axis=1)


def _singular_vectors(xp, x):
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return to_numpy(s), u * s, vh.T


def _within_tolerance(weights: np.ndarray, tolerance: float) -> int:
    """Fewest components whose dropped rest is at most `tolerance` of the norm, up to a multiple of STEP."""
    dropped = np.sqrt(np.maximum(np.cumsum(weights[::-1])[::-1], 0) / np.sum(weights))  # norm of component i and later
    needed = max(int((dropped > tolerance).sum()), 1)
    return min(-(-needed // STEP) * STEP, len(weights))
