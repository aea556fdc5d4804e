"""Share of squared distance that factors explain: permutational analysis of variance of a distance matrix."""

from __future__ import annotations

import numpy as np
import pandas

from ...errors import UsageError
from ...values import check_sizes
from ..distance_matrix import centred_gram, check_distances
from .factors import check_factors, check_labels, indicators, permutation_p

COLUMNS = 512  # of permuted designs multiplied at once
NEGLIGIBLE = 1e-8  # part of a design's column that counts as nothing left
ROUNDING = 1e-12  # of the total sum of squares


def permanova(distances, factors, terms=None, *, permutations: int = 999, seed: int = 0) -> pandas.DataFrame:
    """How much of the squared distance between networks each factor explains, alone and beside the others.

    Sums of squares are traces of projections of Gower's centred matrix (McArdle and Anderson 2001), for one factor
    the classical partition of squared distances (Anderson 2001). p-values come from permutations of the residuals of
    the model without the term (Freedman and Lane 1983; Anderson and ter Braak 2003), for a single factor of the
    networks themselves. Groups that differ in spread only can be significant too: see `dispersion`.

    Parameters
    ----------
    distances : (N, N)
    factors : mapping or DataFrame, name -> label of each network, (N,); every distinct label is a level
    terms : names of factors, or of their interaction as "cell:activation"; default every factor
    permutations : number of them; the smallest p-value is 1 / (permutations + 1)
    seed : of the permutations

    Returns
    -------
    DataFrame, one row a term: `df`; `share`, `F`, `p`, marginal: of what the term adds to a model of all other
    factors (an interaction: of all factors; factors never take interactions into account); `share_alone`, `F_alone`,
    `p_alone`: of a model of the term only (an interaction: with the factors it is made of). Shares are of the total
    sum of squares; in an unbalanced design they need not add up. Where distances are not Euclidean a model can
    explain more than there is: F is NaN then.

    Raises
    ------
    UsageError
        for distances or labels that are not as they must be, a factor that the others determine, no residual degrees
        of freedom, networks that are all the same

    >>> distances = np.array([[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0.0]])
    >>> table = permanova(distances, {"cell": ["gru", "gru", "lstm", "lstm"]})
    >>> round(float(table.share["cell"]), 3)
    0.939
    """
    check_sizes(permutations=permutations)
    distances = check_distances(distances, networks=3)
    N = len(distances)
    codes = {name: check_labels(name, labels, N)[1] for name, labels in check_factors(factors).items()}
    if not codes:
        raise UsageError("factors must name at least one factor")
    gram = centred_gram(distances)
    if not np.trace(gram) > 0:
        raise UsageError("all distances are zero: there is nothing to explain")
    random = np.random.default_rng(seed)
    rows = {}
    for term in codes if terms is None else terms:
        parts = term.split(":")
        unknown = [part for part in parts if part not in codes]
        if unknown:
            raise UsageError(f"term {term!r}: there is no factor {unknown[0]!r}; the factors are {', '.join(codes)}")
        others = [name for name in codes if len(parts) > 1 or name != term]
        marginal = _test(gram, term, _design(codes, term), _designs(codes, others), permutations, random)
        below = parts if len(parts) > 1 else []
        alone = marginal
        if set(below) != set(others):
            alone = _test(gram, term, _design(codes, term), _designs(codes, below), permutations, random)
        rows[term] = marginal | {f"{key}_alone": alone[key] for key in ("share", "F", "p")}
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("term")


def _design(codes, term: str) -> np.ndarray:
    """Indicators of a factor's levels, or of the combinations of several factors' levels, (N, levels)."""
    parts = [codes[name] for name in term.split(":")]
    combined = parts[0]
    for part in parts[1:]:
        combined = combined * (part.max() + 1) + part
    return indicators(np.unique(combined, return_inverse=True)[1])


def _designs(codes, names) -> np.ndarray:
    """Intercept, and indicators of several factors."""
    N = len(next(iter(codes.values())))
    return np.hstack([np.ones((N, 1)), *[_design(codes, name) for name in names]])


def _basis(design: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span a design."""
    u, s, _ = np.linalg.svd(design, full_matrices=False)
    return u[:, s > NEGLIGIBLE * s[0]]


def _test(gram, term: str, design, reduced_design, permutations: int, random) -> dict:
    """Share, pseudo-F and p of what `design` adds to `reduced_design`."""
    N = len(gram)
    reduced = _basis(reduced_design)  # (N, q)
    rest = design - reduced @ (reduced.T @ design)
    if np.abs(rest).max() < NEGLIGIBLE:
        raise UsageError(f"term {term!r} adds nothing: the other factors determine it; leave one of them out")
    added = _basis(rest)  # (N, df)
    df, residual_df = added.shape[1], N - reduced.shape[1] - added.shape[1]
    if residual_df < 1:
        raise UsageError(
            f"term {term!r}: {N} networks leave no degrees of freedom beside the factors; "
            "take factors with fewer levels, or more networks"
        )
    # what the model without the term leaves, permuted instead of the networks themselves
    left = gram - reduced @ (reduced.T @ gram)
    left -= (left @ reduced) @ reduced.T
    total, bases = np.trace(left), np.hstack([added, reduced])

    def explained(orders):
        """Sums of squares of the added and of all columns, for each order of the networks: (2, draws)."""
        columns = bases[orders].transpose(1, 0, 2).reshape(N, -1)  # (N, draws (df + q))
        parts = np.sum(columns * (left @ columns), axis=0).reshape(len(orders), -1)
        return parts[:, :df].sum(axis=1), parts.sum(axis=1)

    def pseudo_f(added_squares, all_squares):
        residual = np.maximum(total - all_squares, np.finfo(float).tiny)
        with np.errstate(over="ignore"):  # nothing is left unexplained: infinite
            return (added_squares / df) / (residual / residual_df)

    observed, everything = (float(value[0]) for value in explained(np.arange(N)[None]))
    overfull = total - everything < -ROUNDING * np.trace(gram)
    F = float(pseudo_f(observed, everything))
    at_once = max(1, COLUMNS // bases.shape[1])
    drawn = []
    for start in range(0, permutations, at_once):
        orders = np.array([random.permutation(N) for _ in range(min(at_once, permutations - start))])
        drawn.append(pseudo_f(*explained(orders)))
    p = permutation_p(F, np.concatenate(drawn))
    return {"df": df, "share": observed / float(np.trace(gram)), "F": np.nan if overfull else F, "p": p}
