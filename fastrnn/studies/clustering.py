"""Claims on factors: what distances between networks say of the cell and the activation that they differ in."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from ..analysis.comparison import NAMES
from ..analysis.statistics import permanova
from ..analysis.statistics.summary import CLUSTERED_P, CLUSTERED_SHARE, HARDLY_SHARE, dispersion_said
from ..errors import UsageError
from ..hyperparameters import CONFIGURATION
from .resampling import FEWEST, jackknife_interval, mean_interval, pair_interval
from .topology import HARDLY_TOLD
from .verdicts import FAILS, HOLDS, UNDECIDED, below, claim_row, too_few

RANKED = 300  # networks, at most, whose distances are ranked
CLUSTERS, HARDLY, NOT_STRONGLY = "clusters", "hardly", "not strongly"  # what is said of a factor


def similarity_rows(svcca, cka) -> list[dict]:
    """Claim 2, of a `Comparison` by each metric; either may be None."""
    rows, verdicts = [], {}
    for made in (svcca, cka):
        if made is None or made.statistics is None:
            continue
        name = NAMES[made.metric]
        for factor in ("cell", "activation"):
            if factor in made.statistics.table.index:
                statement = f"{name} distances cluster by {factor}"
                table = made.statistics.table
                rows += _clusters(2, statement, CLUSTERS, name, table, made.distances, made.table, factor)
                verdicts[made.metric, factor] = rows[-2]["verdict"]
    factors = [factor for factor in ("cell", "activation") if {("svcca", factor), ("cka", factor)} <= verdicts.keys()]
    if factors and svcca.table.id.tolist() == cka.table.id.tolist():
        pairs = [{verdicts["svcca", factor], verdicts["cka", factor]} for factor in factors]
        alike = HOLDS if all(len(pair) == 1 for pair in pairs) else FAILS
        alike = UNDECIDED if any(UNDECIDED in pair for pair in pairs) and {HOLDS, FAILS} not in pairs else alike
        rule = "the verdicts by CKA on cell and activation are those by SVCCA; undecided where one of them is"
        what, N = "rank correlation of SVCCA and CKA distances", len(svcca.table)
        some = np.unique(np.linspace(0, N - 1, RANKED).astype(int))  # all, unless there are very many
        a, b = (made.distances[np.ix_(some, some)] for made in (svcca, cka))
        value = pair_interval(lambda drawn: _rank_correlation(a, b, drawn), len(some))
        rows.append(claim_row(2, "CKA agrees with SVCCA", "all", what, value, len(some), rule, alike))
    return rows


def topology_rows(made, task: str) -> list[dict]:
    """Claim 4, of a `Topology` on a task; where it is of `path_topology`, the notes say how little that tells."""
    same = len(made.table) > 1 and not made.distances.any()
    about = [] if task == "flipflop" else [HARDLY_TOLD]
    if made.statistics is None and not same:
        return []
    rows = []
    for factor in ("cell", "activation"):
        if made.table[factor].nunique() < 2 or (factor == "activation" and task != "cdi"):
            continue
        if factor == "activation":
            statement, asked = "fixed-point graphs cluster by activation", CLUSTERS
        elif task == "cdi":
            statement, asked = "fixed-point graphs do not cluster strongly by cell", NOT_STRONGLY
        else:
            statement, asked = "fixed-point graphs hardly separate cells", HARDLY
        if same:
            found = [_all_the_same(statement, made.table, factor, FAILS if asked == CLUSTERS else HOLDS)]
        else:
            table = made.statistics.table
            found = _clusters(4, statement, asked, "graph", table, made.distances, made.table, factor)
            found = [row | {"note": f"{row['note']}; {made.measure}"} for row in found]
        rows += [row | {"note": "; ".join([row["note"], *about])} for row in found]
    return rows


def cells_apart(table, curves, subject: str, most: float) -> list[dict]:
    """Claim 5, how cells differ in frequency curves (N, inputs): one row, or none where it can't be told."""
    known = np.isfinite(curves).all(axis=1)
    error, table, curves = table.absolute_error, table[known].reset_index(drop=True), curves[known]
    factors = [name for name in CONFIGURATION if table[name].nunique() > 1]
    if "cell" not in factors:
        return []
    away = squareform(pdist(curves))
    try:
        found = permanova(away, table[factors], ["cell"]).loc["cell"]
    except UsageError:  # too few networks for so many levels, or curves that are all the same
        return []
    share, small = explained(away, table[factors], "cell"), below(mean_interval(error), most)
    verdict = HOLDS if found.p < CLUSTERED_P and small == HOLDS else UNDECIDED
    verdict = FAILS if small == FAILS or (found.p >= CLUSTERED_P and share[2] < HARDLY_SHARE) else verdict
    rule = (
        f"p < {CLUSTERED_P:g} for the cell, and mean absolute differences from the commanded frequency below "
        f"{most:.2g} with their interval; does not hold: share below {HARDLY_SHARE:g}, or differences above "
        f"{most:.2g}, with their interval"
    )
    note = f"with what chance explains {found.share:.3g}, p = {found.p:.3g}"
    what = "share of squared distance between frequency curves explained by cell beyond chance"
    statement = "linear frequencies differ between cells, systematically and by little"
    return [claim_row(5, statement, subject, what, share, len(table), rule, verdict, note)]


def _all_the_same(statement: str, table, factor: str, verdict: str) -> dict:
    """Claim 4 where there is no distance to explain; `verdict` if no level of the factor has few networks only."""
    fewest = int(table[factor].value_counts().min())
    what, note = f"share of squared graph distance explained by {factor} beyond chance", "all graphs are the same"
    rule = "graphs that are all the same separate nothing"
    if fewest < FEWEST:
        verdict, note = UNDECIDED, f"{note}; of a {factor}, {too_few(fewest, FEWEST)}"
    return claim_row(4, statement, "all", what, (0.0, np.nan, np.nan), len(table), rule, verdict, note)


def _clusters(claim, statement, asked, name, table, distances, networks, factor) -> list[dict]:
    """Two rows: the share of squared distance that a factor explains, and how well neighbours name it."""
    found = table.loc[factor]
    value = explained(distances, networks[list(table.index)], factor)
    clustered, hardly = found.verdict == "clustered", value[0] < HARDLY_SHARE
    excluded = value[2] < CLUSTERED_SHARE  # no clusters, with the interval
    clusters = (
        f"share as it is, with what chance explains, at least {CLUSTERED_SHARE:g}, p < {CLUSTERED_P:g}, "
        "accuracy above chance with its interval"
    )
    little = f"share below {HARDLY_SHARE:g}, and below {CLUSTERED_SHARE:g} with its interval"
    if asked == CLUSTERS:
        rule = f"{clusters}; does not hold: {little}"
        verdict = HOLDS if clustered else FAILS if hardly and excluded else UNDECIDED
    elif asked == NOT_STRONGLY:
        rule = f"share below {CLUSTERED_SHARE:g} with its interval; does not hold: {clusters}"
        verdict = FAILS if clustered else HOLDS if excluded else UNDECIDED
    else:
        rule = f"{little}; does not hold: {clusters}"
        verdict = FAILS if clustered else HOLDS if hardly and excluded else UNDECIDED
    note = f"with what chance explains {found.share:.3g}, p = {found.p:.3g}, {dispersion_said(found.dispersion_p)}"
    if found.difference_high < 0:
        note += f"; on average those of one {factor} are farther from each other ({found.within:.2g}) than from others"
        note += f" ({found['between']:.2g})"
    what = f"share of squared {name} distance explained by {factor} beyond chance"
    said = f"accuracy of naming the {factor} by the nearest neighbour"
    accuracy = (found.accuracy, found.accuracy_low, found.accuracy_high)
    N, chance = len(networks), f"chance {found.chance:.2f}, p = {found.accuracy_p:.3g}"
    return [
        claim_row(claim, statement, "all", what, value, N, rule, verdict, note),
        claim_row(claim, statement, "all", said, accuracy, N, rule, verdict, chance),
    ]


def explained(distances, factors, factor: str) -> tuple[float, float, float]:
    """Share of squared distances (N, N) that a factor explains beside the others, and its interval over networks.

    Beyond chance: as many mean squares of what no factor explains are taken off as the factor has degrees of freedom
    (epsilon squared, Kelley 1935). As it is, a factor of L levels that has nothing to do with the distances explains
    (L - 1) / (N - 1) of them.
    """

    def share(kept):
        try:
            found = permanova(distances[np.ix_(kept, kept)], factors.iloc[kept], [factor], permutations=1)
        except UsageError:  # without these networks a level is missing, or nothing is left to explain
            return np.nan
        share, F = found.share[factor], found.F[factor]
        return float(share - share / F) if np.isfinite(F) and F else float(share)

    value, low, high = jackknife_interval(share, len(factors))
    low = low if value < 0 else np.maximum(low, 0.0)  # cut off at a negative estimate it would look certain
    return value, float(low), float(np.minimum(high, 1.0))


def _rank_correlation(a, b, drawn) -> float:
    """Spearman's, over pairs of different networks among those drawn; NaN where all distances are the same."""
    i, j = np.triu_indices(len(drawn), 1)
    i, j = drawn[i], drawn[j]
    different = i != j
    ranks = [rankdata(part[i, j][different]) for part in (a, b)]
    if not ranks[0].size or min(np.ptp(ranks[0]), np.ptp(ranks[1])) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
