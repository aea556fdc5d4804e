"""Has a search found every fixed point? What can be proved, and what can be estimated.

Index sum. For a map of a ball into itself the signs of det(I - J) over all its fixed points sum to 1, if none is
degenerate (Lefschetz; Brouwer's index). Another sum proves that the search missed a point. A sum of 1 is necessary,
not sufficient: one point alone has it.

Good-Turing. If of M independent starts f ended at points that no other reached, the starts' next one goes to a point
not yet seen with a probability of about f / M. Source: Good, "The population frequencies of species and the
estimation of population parameters" (1953).
"""

from __future__ import annotations

import numpy as np

from ..errors import Labelled

DEGENERATE = 1e10  # condition number of I - J from which the sign of its determinant is not trusted


class SearchStatus(Labelled):
    """How the search of one network under one input ended."""

    # nothing speaks against having found all: index sum 1, no rare point, nothing new in the second half
    CONSISTENT = 0
    MISSING = 1  # the index sum proves that a point is missing
    NOT_APPLICABLE = 2  # as consistent, but the index theorem says nothing here (relu, degenerate points)
    OUT_OF_BUDGET = 3  # rare points, or new ones to the end: more starts would find more
    NOTHING_FOUND = 4  # no start converged


class PointStatus(Labelled):
    """What a point is."""

    EXACT = 0  # a fixed point to rounding
    # the same, but its linearization doesn't tell: I - J is so close to singular that it has no index (a continuum of
    # points, say), or it is on a kink of relu, and J that of one side, with slope 0
    DEGENERATE = 1
    SLOW = 2  # not fixed: the state only moves slowly there


def index_signs(J) -> tuple[np.ndarray, np.ndarray]:
    """Sign of det(I - J) and 1-norm condition number of I - J, for Jacobians (F, S, S).

    The sign is the parity of the number of real eigenvalues above 1.

    >>> index_signs(np.array([np.diag([2.0, 0.5]), np.diag([-3.0, 0.5])]))
    (array([-1,  1], dtype=int8), array([2., 8.]))
    """
    A = np.eye(J.shape[-1]) - J
    signs = np.sign(np.linalg.slogdet(A)[0]).astype(np.int8)
    conditioning = np.full(len(A), np.inf)
    regular = np.flatnonzero(signs)
    try:
        inverse = np.linalg.inv(A[regular])
    except np.linalg.LinAlgError:  # rounded to singular in one of the two: say so of those only
        inverse = np.stack([_inverse(a) for a in A[regular]])
    conditioning[regular] = _norm(A[regular]) * _norm(inverse)
    return signs, np.where(np.isnan(conditioning), np.inf, conditioning)


def _inverse(a) -> np.ndarray:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return np.full_like(a, np.inf)


def _norm(A) -> np.ndarray:
    return np.abs(A).sum(axis=1).max(axis=1, initial=0.0)


def unseen_mass(hits) -> float:
    """Good-Turing estimate of the share of starts that would end at points not yet seen, from hits (P,).

    >>> unseen_mass([5, 4, 1])
    0.1
    """
    hits = np.asarray(hits)
    return float((hits == 1).sum() / hits.sum()) if hits.sum() else 1.0


def judge(status, signs, hits, ball: bool, new_in_second_half: bool) -> SearchStatus:
    """The verdict on one search.

    Parameters
    ----------
    status, signs, hits : (P,) `PointStatus`, index sign and independent starts that ended there
    ball : whether the index theorem applies to the map
    new_in_second_half : whether the second half of the independent starts found a point that the first had not

    Only exact points count: slow and degenerate ones come in continua, of which no search has seen all.
    """
    status, signs, hits = np.asarray(status), np.asarray(signs), np.asarray(hits)
    if not len(status):
        return SearchStatus.NOTHING_FOUND
    exact = status == PointStatus.EXACT
    applies = ball and not (status == PointStatus.DEGENERATE).any()
    if applies and signs[exact].sum() != 1:
        return SearchStatus.MISSING
    if (hits[exact] < 2).any() or new_in_second_half:
        return SearchStatus.OUT_OF_BUDGET
    return SearchStatus.CONSISTENT if applies else SearchStatus.NOT_APPLICABLE
