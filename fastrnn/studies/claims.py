"""The paper's claims, each as a statistic with an interval and a rule that was fixed beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas
from scipy.stats import rankdata

from ..analysis.statistics import permanova
from ..analysis.statistics.neighbours import wilson
from ..errors import Status, UsageError
from .resampling import CONFIDENCE, FEWEST, difference_interval, jackknife_interval, mean_interval, pair_interval
from .result import Result

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
COLUMNS = (
    *("claim", "task", "statement", "subject", "statistic", "value", "low", "high"),
    *("networks", "rule", "verdict", "note"),
)
SMALLEST_L2 = 1e-5  # up to which L2 low error is asked for
MOST = 0.9  # "over 90% of the networks"
NEAR_ONE = (0.8, 1.2)  # a linear integral near 1
ABOUT_ONE = (0.5, 1.5)  # a number of modes that is one
RANKED = 300  # networks, at most, whose distances are ranked
MANY = 2  # modes: more are many
MILD = 1.1  # magnitude up to which an unstable pair is mildly so
SMALL = 0.1  # of the range of commanded frequencies: a small difference
LINE_DIMENSION = 2.0  # participation ratio below which slow points lie on a line, however bent
NAMES = {"svcca": "SVCCA", "cka": "CKA"}


@dataclass(eq=False)
class Claims(Result):
    """What a run says of the paper's claims that can be measured on its task.

    Attributes
    ----------
    table : DataFrame, one row a statistic: `claim` (number in the paper's order, 1 to 7), `task`, `statement` (the
        claim, in words), `subject` (of which networks: "all", a cell, an activation, a kind), `statistic` (what the
        value is, in words), `value`, `low`, `high` (95% interval; NaN where it has none), `networks` (how many it is
        of), `rule` (when the statement holds, in words), `verdict` ("holds", "does not hold", "undecided"),
        `note` (what one must know beside it; may be empty)
    """

    table: pandas.DataFrame


def measure_claims(kept) -> Claims:
    """The claims table of a run, of the studies there are.

    kept : `Kept`
    """
    rows = [*_low_error(kept.run), *_similarity(kept.svcca, kept.cka)]
    for study, measure in ((kept.flipflop, _flipflop), (kept.sine, _sine), (kept.cdi, _cdi)):
        rows += [] if study is None else measure(study)
    rows += [] if kept.topology is None else _topology(kept.topology, kept.run.task_name)
    rows += [] if kept.untrained is None else _untrained(kept.untrained)
    table = pandas.DataFrame(sorted(rows, key=lambda row: row["claim"]), columns=list(COLUMNS))
    table["task"] = kept.run.task_name
    return Claims(table)


# ------------------------------------------------------------------------------------------------------- the claims


def _low_error(run) -> list[dict]:
    """Claim 1."""
    statement = "all networks reach low error"
    table = run.table[(run.table.l2 <= SMALLEST_L2) & ~run.table.status.isin([Status.TRAINING.label])]
    rule = f"every network with L2 at most {SMALLEST_L2:g} has a validation loss below {run.threshold:g}"
    if not len(table):
        return [_row(1, statement, "all", "share of networks", (np.nan,) * 3, 0, rule, UNDECIDED, "none with such L2")]
    rows = []
    for subject, part in [("all", table), *_kinds(table)]:
        learnt = int(run.learnt(part).sum())
        note = "" if learnt == len(part) else f"worst {part.validation_loss.max():.3g}"
        verdict = HOLDS if learnt == len(part) else FAILS
        share = _share(learnt, len(part))
        rows.append(
            _row(1, statement, subject, "share of networks below the bound", share, len(part), rule, verdict, note)
        )
    return rows


def _similarity(svcca, cka) -> list[dict]:
    """Claim 2."""
    rows, verdicts = [], {}
    for made in (svcca, cka):
        if made is None or made.statistics is None:
            continue
        name = NAMES[made.metric]
        for factor in ("cell", "activation"):
            if factor in made.statistics.table.index:
                statement = f"{name} distances cluster by {factor}"
                rows += _clusters(2, statement, name, made.statistics.table, made.distances, made.table, factor)
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
        rows.append(_row(2, "CKA agrees with SVCCA", "all", what, value, len(some), rule, alike))
    return rows


def _topology(made, task: str) -> list[dict]:
    """Claim 4."""
    same = len(made.table) > 1 and not made.distances.any()
    if made.statistics is None and not same:
        return []
    rows = []
    for factor in ("cell", "activation"):
        wanted = task == "cdi" and factor == "activation"
        if made.table[factor].nunique() < 2 or not (wanted or factor == "cell"):
            continue
        if wanted:
            statement = "fixed-point graphs cluster by activation"
        elif task == "cdi":
            statement = "fixed-point graphs do not cluster strongly by cell"
        else:
            statement = "fixed-point graphs hardly separate cells"
        if same:
            what = f"share of squared graph distance explained by {factor}"
            made_row = (what, (0.0, np.nan, np.nan), len(made.table), "graphs that are all the same separate nothing")
            rows.append(_row(4, statement, "all", *made_row, FAILS if wanted else HOLDS, "all graphs are the same"))
        else:
            table = made.statistics.table
            rows += _clusters(4, statement, "graph", table, made.distances, made.table, factor, wanted, task == "cdi")
    return rows


def _clusters(claim, statement, name, table, distances, networks, factor, wanted=True, hardly_or_between=False):
    """Two rows: the share of squared distance that a factor explains, and how well neighbours name it."""
    row = table.loc[factor]
    factors = networks[list(table.index)]

    def share(kept):
        try:
            part = permanova(distances[np.ix_(kept, kept)], factors.iloc[kept], [factor], permutations=1)
        except UsageError:
            return np.nan
        return float(part.share[factor])

    value = jackknife_interval(share, len(networks))
    clustered, hardly = row.verdict == "clustered", row.verdict == "hardly"
    if wanted:
        rule = "share at least 0.1, p < 0.01, accuracy above chance with its interval; not below a share of 0.05"
        verdict = HOLDS if clustered else FAILS if hardly else UNDECIDED
    elif hardly_or_between:
        rule = "not: share at least 0.1, p < 0.01, accuracy above chance with its interval"
        verdict = FAILS if clustered else HOLDS
    else:
        rule = "share below 0.05; not where the graphs cluster"
        verdict = HOLDS if hardly else FAILS if clustered else UNDECIDED
    note = f"p = {row.p:.3g}, dispersion p = {row.dispersion_p:.3g}"
    what = f"share of squared {name} distance explained by {factor}"
    said = f"accuracy of naming the {factor} by the nearest neighbour"
    accuracy = (row.accuracy, row.accuracy_low, row.accuracy_high)
    N, chance = len(networks), f"chance {row.chance:.2f}, p = {row.accuracy_p:.3g}"
    return [
        _row(claim, statement, "all", what, value, N, rule, verdict, note),
        _row(claim, statement, "all", said, accuracy, N, rule, verdict, chance),
    ]


def _flipflop(study) -> list[dict]:
    """Claim 3."""
    rows, channels = [], study.slots.shape[1]
    corners = 2**channels
    table = study.table.assign(
        stable=(study.table.unstable_0 == corners) & (study.table.corners == corners),
        saddles=(study.table[[f"unstable_{d}" for d in range(1, min(channels, 3) + 1)]] > 0).all(axis=1),
    )
    over = f"more than {MOST:.0%} of the networks, with the interval"
    for name, statement in (
        ("stable", f"{corners} stable fixed points, one at each corner of the cube"),
        ("saddles", "saddles with 1, 2 and 3 unstable dimensions"),
    ):
        for subject, part in [("all", table), *_kinds(table)]:
            value = _share(int(part[name].sum()), len(part))
            row = _row(3, statement, subject, "share of networks", value, len(part), over, _above(value, MOST))
            rows.append(row)
    for row in study.counts.to_dict("records"):
        value = (row["share"], row["low"], row["high"])
        note = f"modal count {row['modal_count']}"
        statement = f"over {MOST:.0%} of the networks share the modal number of fixed points"
        made = (row["kind"], "share with the modal count", value, row["networks"], over, _above(value, MOST), note)
        rows.append(_row(3, statement, *made))
    return rows


def _sine(study) -> list[dict]:
    """Claim 5."""
    rows = []
    for name, statement, what in (
        ("one_point", "one fixed point for each input", "share of inputs with exactly one fixed point"),
        ("unstable_pair", "one unstable complex pair", "share of inputs with one unstable pair and nothing else"),
        ("correlation", "the linear frequency follows the input", "correlation with the commanded frequency"),
    ):
        rule = f"mean over networks above {MOST:g}, with its interval"
        for subject, part in [("all", study.table), *_kinds(study.table)]:
            rows.append(_mean_row(5, statement, subject, what, part[name], rule, partial(_above, bound=MOST)))
    rule, statement = f"mean over networks from 1 to {MILD:g}, with its interval", "the pair is mildly unstable"
    what = "median magnitude of the leading pair"
    for subject, part in [("all", study.table), *_cells(study.table)]:
        rows.append(_mean_row(5, statement, subject, what, part.magnitude, rule, partial(_within, low=1, high=MILD)))
    return rows + _frequencies(study)


def _frequencies(study) -> list[dict]:
    """How cells differ in their linear frequencies."""
    rows, statement = [], "linear frequencies differ between cells, systematically and by little"
    most = SMALL * float(np.ptp(study.commanded))
    known = np.isfinite(study.frequency).all(axis=1)
    table, curves = study.table[known].reset_index(drop=True), study.frequency[known]
    factors = [name for name in ("cell", "activation", "n", "l2") if table[name].nunique() > 1]
    rule = f"p < 0.01 for the cell, and mean absolute differences from the commanded frequency below {most:.2g}"
    value = mean_interval(study.table.absolute_error)
    small = value[0] < most
    if "cell" in factors:
        away = np.linalg.norm(curves[:, None] - curves[None], axis=2)
        try:
            found = permanova(away, table[factors], ["cell"]).loc["cell"]
        except UsageError:
            found = None
        if found is not None:
            verdict = HOLDS if found.p < 0.01 and small else FAILS
            note, what = f"p = {found.p:.3g}", "share of squared distance between frequency curves explained by cell"
            share = (float(found.share), np.nan, np.nan)
            rows.append(_row(5, statement, "all", what, share, len(table), rule, verdict, note))

    def near(value):
        return UNDECIDED if np.isnan(value[0]) else HOLDS if value[0] < most else FAILS

    what, statement = "mean absolute difference, cycles a step", "linear frequencies are near the commanded ones"
    for subject, part in [("all", study.table), *_kinds(study.table)]:
        rows.append(_mean_row(5, statement, subject, what, part.absolute_error, f"below {most:.2g}", near))
    return rows


def _cdi(study) -> list[dict]:
    """Claim 6."""
    table, N = study.table, len(study.table)
    names = ("dimension", "near_one", "relevant", "irrelevant", "modes")
    mean = {name: table[[f"{name}_0", f"{name}_1"]].mean(axis=1, skipna=False) for name in names}
    statement, note = "slow points in each context", "slow: moves by at most 1e-3 of the states' spread in a step"
    value = _share(int(mean["dimension"].notna().sum()), N)
    rule = f"more than {MOST:.0%} of the networks have several in both contexts, with the interval"
    rows = [_row(6, statement, "all", "share of networks", value, N, rule, _above(value, MOST), note)]
    statement, rule = "the slow points lie on a line", f"mean below {LINE_DIMENSION:g}, with its interval"
    for subject, part in [("all", table), *_kinds(table)]:
        values, what = mean["dimension"][part.index], "participation ratio"
        rows.append(_mean_row(6, statement, subject, what, values, rule, partial(_below, bound=LINE_DIMENSION)))
    what = f"eigenvalues of magnitude above {study.near:g}"
    rows += _modes(table, mean["near_one"], what, "integrates with one mode", "have many eigenvalues near 1")
    what = "slowest modes that keep the integral within a tenth"
    rows += _modes(table, mean["modes"], what, "needs one mode", "need several modes")
    gated = table.cell != "vanilla"
    value = difference_interval(mean["near_one"][gated], mean["near_one"][~gated])
    statement, rule = "gated cells have more eigenvalues near 1 than vanilla", "the interval excludes 0"
    what = f"gated less vanilla, eigenvalues of magnitude above {study.near:g}"
    rows.append(_row(6, statement, "all", what, value, mean["near_one"].notna().sum(), rule, _above(value, 0.0)))
    for name, statement, low, high in (
        ("relevant", "the linear integral of a unit input is near 1", *NEAR_ONE),
        ("irrelevant", "an irrelevant unit input is not integrated", NEAR_ONE[0] - 1, NEAR_ONE[1] - 1),
    ):
        rule = f"mean over networks from {low:.1f} to {high:.1f}, with its interval"
        what = f"linear integral of the {name} input, median along the line"
        for subject, part in [("all", table), *_kinds(table)]:
            values, judge = mean[name][part.index], partial(_within, low=low, high=high)
            rows.append(_mean_row(6, statement, subject, what, values, rule, judge))
    return rows


def _modes(table, count, what: str, of_vanilla: str, of_gated: str) -> list[dict]:
    """Rows on a number of modes, which is one in vanilla networks and more in gated ones."""
    rows = []
    for subject, part in _cells(table):
        values = count[part.index]
        if subject == "vanilla":
            low, high = ABOUT_ONE
            rule = f"mean from {low} to {high}, with its interval"
            judge = partial(_within, low=low, high=high)
            rows.append(_mean_row(6, f"vanilla {of_vanilla}", subject, what, values, rule, judge))
        else:
            rule = f"mean above {MANY}, with its interval"
            judge = partial(_above, bound=MANY)
            rows.append(_mean_row(6, f"gated cells {of_gated}", subject, what, values, rule, judge))
    return rows


def _untrained(study) -> list[dict]:
    """Claim 7."""
    if np.isnan(study.difference):
        return []
    statement = "trained and untrained relu networks correlate more than trained tanh and trained relu networks"
    what = "difference of average canonical correlations"
    counts = [(study.table["class"] == name).sum() for name in ("trained tanh", "trained relu", "untrained relu")]
    interval = (study.difference_low, study.difference_high) if min(counts) >= FEWEST else (np.nan, np.nan)
    value = (study.difference, *interval)
    losses = dict(zip(study.classes, study.losses, strict=True))
    note = f"median loss {losses['trained relu']:.3g} trained, {losses['untrained relu']:.3g} untrained"
    note += f"; {study.components} components"
    rule, N = "the interval of the difference excludes 0", int(study.table.id.nunique())
    return [_row(7, statement, "vanilla", what, value, N, rule, _above(value, 0.0), note)]


# ---------------------------------------------------------------------------------------------------------- rows


def _row(claim, statement, subject, statistic, value, networks, rule, verdict, note="") -> dict:
    value, low, high = (float(number) for number in value)
    columns = (claim, "", statement, subject, statistic, value, low, high, int(networks), rule, verdict, note)
    return dict(zip(COLUMNS, columns, strict=True))


def _mean_row(claim, statement, subject, statistic, values, rule, judge) -> dict:
    """A row on the mean of one number a network, of those that have it; `judge` makes the verdict of its interval."""
    value, known = mean_interval(values), int(np.isfinite(np.asarray(values, np.float64)).sum())
    note = "" if known == len(values) else f"{len(values) - known} more networks have none"
    return _row(claim, statement, subject, statistic, value, known, rule, judge(value), note)


def _kinds(table) -> list:
    return [(f"{cell} {act}", part) for (cell, act), part in table.groupby(["cell", "activation"], sort=False)]


def _cells(table) -> list:
    return list(table.groupby("cell", sort=False))


def _share(count: int, total: int) -> tuple[float, float, float]:
    return count / total, *wilson(count / total, total, CONFIDENCE)


def _above(value, bound: float) -> str:
    """Whether an estimate is above a bound with its interval."""
    _, low, high = value
    return HOLDS if low > bound else FAILS if high < bound else UNDECIDED


def _below(value, bound: float) -> str:
    return _above([-number for number in (value[0], value[2], value[1])], -bound)


def _within(value, low: float, high: float) -> str:
    """Whether an estimate is within bounds with its interval."""
    if low < value[1] and value[2] < high:
        return HOLDS
    return FAILS if value[1] > high or value[2] < low else UNDECIDED


def _rank_correlation(a, b, drawn) -> float:
    """Spearman's, over pairs of different networks among those drawn; NaN where all distances are the same."""
    i, j = np.triu_indices(len(drawn), 1)
    i, j = drawn[i], drawn[j]
    different = i != j
    ranks = [rankdata(part[i, j][different]) for part in (a, b)]
    if not ranks[0].size or min(np.ptp(ranks[0]), np.ptp(ranks[1])) == 0:
        return np.nan
    return float(np.corrcoef(*ranks)[0, 1])
