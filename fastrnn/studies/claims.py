"""The paper's claims, each as a statistic with an interval and a rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas

from ..analysis.fixed_points import OUTLIER
from ..cells import PAPER_CELLS, get_cell
from ..errors import Status
from .cdi import FEWEST_ON_LINE, LEAST_RANGE
from .clustering import cells_apart, similarity_rows, topology_rows
from .resampling import difference_interval, share_interval
from .result import Result
from .verdicts import COLUMNS, FAILS, HOLDS, UNDECIDED, above, below, claim_row, mean_row, share_row, within

SMALLEST_L2 = 1e-5  # up to which L2 low error is asked for
MOST = 0.9  # "over 90% of the networks"
NEAR_ONE = (0.8, 1.2)  # a linear integral near 1
ABOUT_ONE = (0.5, 1.5)  # a number of modes that is one
MANY = 2  # modes: more are many
MILD = 1.1  # magnitude up to which an unstable pair is mildly so
SMALL = 0.1  # of the range of commanded frequencies: a small difference
OFF_LINE = 0.1  # share of variance off a curve below which points lie on a line, however bent
FAR = f"points farther than {OUTLIER:g} spreads from the mean of the states visited don't count"
A_LINE = (
    f"a line: {FEWEST_ON_LINE} slow points or more, over at least {LEAST_RANGE:.0%} of the range of the outputs on the "
    "probe trials; networks without one in both contexts don't count"
)
SADDLES = {
    1: "saddles with 1 unstable dimension",
    2: "saddles with 1 and 2 unstable dimensions",
    3: "saddles with 1, 2 and 3 unstable dimensions",
}
BUT_LSTM_RELU = "all networks but LSTMs with relu reach low error"
ASIDE = {BUT_LSTM_RELU: "lstm relu"}  # subjects that a statement leaves out itself


class Statement(NamedTuple):
    """What became of a statement: its number among the claims, its words, the verdict, and the rows that it is of.

    exceptions : subjects of which it does not hold, though it holds of all networks together
    """

    claim: int
    statement: str
    verdict: str
    rows: pandas.DataFrame
    exceptions: list[str]

    @property
    def said(self) -> str:
        """The verdict with its exceptions."""
        return f"{self.verdict}, but not of {', '.join(self.exceptions)}" if self.exceptions else self.verdict


@dataclass(eq=False, repr=False)
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

    def statements(self) -> list[Statement]:
        """Each statement once, in the table's order, with its verdict.

        Its rows are those on all networks; where there are none, all it has. It holds if all of them say so; one that
        says otherwise is enough for the verdict that it does not hold, or is undecided.
        """
        found = []
        for (claim, statement), rows in self.table.groupby(["claim", "statement"], sort=False):
            failing = [name for name in rows.subject[rows.verdict == FAILS].unique() if name != ASIDE.get(statement)]
            rows = rows[rows.subject == "all"] if (rows.subject == "all").any() else rows
            said = set(rows.verdict)
            verdict = next((verdict for verdict in (FAILS, UNDECIDED) if verdict in said), HOLDS)
            found.append(Statement(claim, statement, verdict, rows, failing if verdict == HOLDS else []))
        return found

    def counts(self) -> dict[str, int]:
        """How many statements have each verdict."""
        said = [made.verdict for made in self.statements()]
        return {verdict: said.count(verdict) for verdict in (HOLDS, UNDECIDED, FAILS)}


def measure_claims(kept) -> Claims:
    """The claims table of a run, of the studies there are.

    kept : `Kept`
    """
    rows = [*_low_error(kept.run), *similarity_rows(kept.svcca, kept.cka)]
    for study, measure in ((kept.flipflop, _flipflop), (kept.sine, _sine), (kept.cdi, _cdi)):
        rows += [] if study is None else measure(study)
    rows += [] if kept.topology is None else topology_rows(kept.topology, kept.run.task_name)
    rows += [] if kept.untrained is None else _untrained(kept.untrained)
    table = pandas.DataFrame(sorted(rows, key=lambda row: row["claim"]), columns=list(COLUMNS))
    table["task"] = kept.run.task_name
    return Claims(table)


# ------------------------------------------------------------------------------------------------------- the claims


def _low_error(run) -> list[dict]:
    """Claim 1."""
    statement = "all networks reach low error"
    asked = run.table[run.table.l2 <= SMALLEST_L2]
    table = asked[asked.status != Status.TRAINING.label]
    rule = f"every network with L2 at most {SMALLEST_L2:g} has a validation loss below {run.threshold:g}"
    if not len(table):
        none = ((np.nan,) * 3, 0, rule, UNDECIDED, "none is trained yet" if len(asked) else "none with such L2")
        return [claim_row(1, statement, "all", "share of networks", *none)]
    rows, every = [], table
    if run.task_name == "sine":
        statement = BUT_LSTM_RELU
        every = table[(table.cell != "lstm") | (table.activation != "relu")]
    for subject, part in [*([("all", every)] if len(every) else []), *_kinds(table)]:
        learnt, what = run.learnt(part), "share of networks below the bound"
        verdict = HOLDS if learnt.all() else FAILS  # of these very networks: no interval is needed
        note = "" if learnt.all() else _worst(part)
        rows.append(claim_row(1, statement, subject, what, share_interval(learnt), len(part), rule, verdict, note))
    return rows


def _worst(table) -> str:
    """The largest loss of those that did not diverge, and how many did."""
    diverged = table.status == Status.DIVERGED.label
    notes = [f"worst {table.validation_loss[~diverged].max():.3g}"] if not diverged.all() else []
    return ", ".join([*notes, f"{diverged.sum()} diverged"] if diverged.any() else notes)


def _flipflop(study) -> list[dict]:
    """Claim 3."""
    rows, channels = [], study.slots.shape[1]
    corners = 2**channels
    table = study.table.assign(
        stable=(study.table.unstable_0 == corners) & (study.table.corners == corners),
        saddles=(study.table[[f"unstable_{d}" for d in range(1, min(channels, 3) + 1)]] > 0).all(axis=1),
    )
    over = f"more than {MOST:.0%} of the networks, with the interval; {FAR}"
    for name, statement in (
        ("stable", f"{corners} stable fixed points, one at each corner of the cube"),
        ("saddles", SADDLES[min(channels, 3)]),
    ):
        for subject, part in [("all", table), *_kinds(table)]:
            made = (part[name], MOST, over, _searches(part))
            rows.append(share_row(3, statement, subject, "share of networks", *made))
    statement = f"over {MOST:.0%} of the networks share the modal number of fixed points"
    for kind in study.counts.to_dict("records"):
        modal = np.arange(kind["networks"]) < kind["modal_networks"]
        note = f"modal count {kind['modal_count']}"
        rows.append(share_row(3, statement, kind["kind"], "share with the modal count", modal, MOST, over, note))
    return rows


def _searches(table) -> str:
    """How sure it is that the searches of some networks missed no point, in words."""
    counts = table.search_status.value_counts(sort=False)
    return "searches: " + ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items())


def _sine(study) -> list[dict]:
    """Claim 5."""
    rows, rule = [], f"mean over networks above {MOST:g}, with its interval"
    counted = f"{rule}; {FAR}"
    for name, statement, what in (
        ("one_point", "one fixed point for each input", "share of inputs with exactly one fixed point"),
        ("unstable_pair", "one unstable complex pair", "share of inputs with one unstable pair and nothing else"),
    ):
        for subject, part in [("all", study.table), *_kinds(study.table)]:
            rows.append(share_row(5, statement, subject, what, part[name], MOST, counted))
    statement = "the linear frequency follows the input"
    what = "correlation with the commanded frequency, 0 where it does not change"
    correlation = study.table.correlation.fillna(0.0)  # one that stands still, or is not there, follows nothing
    for subject, part in [("all", study.table), *_kinds(study.table)]:
        values, judge = correlation[part.index], partial(above, bound=MOST)
        rows.append(mean_row(5, statement, subject, what, values, rule, judge))
    rule, statement = f"mean over networks from 1 to {MILD:g}, with its interval", "the pair is mildly unstable"
    what = "median magnitude of the leading pair"
    for subject, part in [("all", study.table), *_cells(study.table)]:
        rows.append(mean_row(5, statement, subject, what, part.magnitude, rule, partial(within, low=1, high=MILD)))
    return rows + _frequencies(study)


def _frequencies(study) -> list[dict]:
    """How cells differ in their linear frequencies; within each activation too, which may go opposite ways."""
    table, most = study.table.reset_index(drop=True), SMALL * float(np.ptp(study.commanded))
    activations = list(table.groupby("activation", sort=False))
    parts = [("all", table), *(activations if len(activations) > 1 else [])]
    rows = [row for subject, part in parts for row in cells_apart(part, study.frequency[part.index], subject, most)]
    what, statement = "mean absolute difference, cycles a step", "linear frequencies are near the commanded ones"
    rule, judge = f"mean below {most:.2g}, with its interval", partial(below, bound=most)
    for subject, part in [("all", study.table), *_kinds(study.table)]:
        rows.append(mean_row(5, statement, subject, what, part.absolute_error, rule, judge))
    return rows


def _cdi(study) -> list[dict]:
    """Claim 6."""
    table = study.table
    names = ("off_line", "near_one", "relevant", "irrelevant", "modes")
    line = table.line_0 & table.line_1  # networks without a line have no modes along it
    mean = {name: table[[f"{name}_0", f"{name}_1"]].mean(axis=1, skipna=False).where(line) for name in names}
    statement, note = "slow points in each context", "slow: moves by at most 1e-3 of the states' spread in a step"
    rule = (
        f"more than {MOST:.0%} of the networks have {FEWEST_ON_LINE} or more in both contexts, over at least "
        f"{LEAST_RANGE:.0%} of the range of the outputs on its probe trials, with the interval"
    )
    rows = [share_row(6, statement, "all", "share of networks", line, MOST, rule, note)]
    statement, rule = "the slow points lie on a line", f"mean below {OFF_LINE:g}, with its interval; {A_LINE}"
    for subject, part in [("all", table), *_kinds(table)]:
        values, what = mean["off_line"][part.index], "share of the points' variance off a curve along the readout"
        rows.append(mean_row(6, statement, subject, what, values, rule, partial(below, bound=OFF_LINE)))
    what = f"eigenvalues of magnitude within {study.near:g} of 1"
    rows += _modes(table, mean["near_one"], what, "integrates with one mode", "have many eigenvalues near 1")
    what = "slowest modes that keep the integral within a tenth"
    rows += _modes(table, mean["modes"], what, "needs one mode", "need several modes")
    gated, vanilla = table.cell.isin([c for c in PAPER_CELLS if get_cell(c).gates > 1]), table.cell == "vanilla"
    if gated.any() or vanilla.any():
        value = difference_interval(mean["near_one"][gated], mean["near_one"][vanilla])
        statement = "gated cells have more eigenvalues near 1 than vanilla"
        rule = f"the interval excludes 0; {A_LINE}"
        what = f"gated less vanilla, eigenvalues of magnitude within {study.near:g} of 1"
        N = mean["near_one"][gated | vanilla].notna().sum()
        rows.append(claim_row(6, statement, "all", what, value, N, rule, above(value, 0.0)))
    for name, statement, low, high in (
        ("relevant", "the linear integral of a unit input is near 1", *NEAR_ONE),
        ("irrelevant", "an irrelevant unit input is not integrated", NEAR_ONE[0] - 1, NEAR_ONE[1] - 1),
    ):
        rule = f"mean over networks from {low:.1f} to {high:.1f}, with its interval; {A_LINE}"
        what = f"linear integral of the {name} input, median along the line"
        for subject, part in [("all", table), *_kinds(table)]:
            values, judge = mean[name][part.index], partial(within, low=low, high=high)
            rows.append(mean_row(6, statement, subject, what, values, rule, judge))
    return rows


def _modes(table, count, what: str, of_vanilla: str, of_gated: str) -> list[dict]:
    """Rows on a number of modes, which is one in vanilla networks and more in gated ones; of the paper's cells."""
    rows = []
    for subject, part in _cells(table[table.cell.isin(PAPER_CELLS)]):
        values = count[part.index]
        if subject == "vanilla":
            low, high = ABOUT_ONE
            rule = f"mean from {low} to {high}, with its interval; {A_LINE}"
            judge = partial(within, low=low, high=high)
            rows.append(mean_row(6, f"vanilla {of_vanilla}", subject, what, values, rule, judge))
        else:
            rule = f"mean above {MANY}, with its interval; {A_LINE}"
            judge = partial(above, bound=MANY)
            rows.append(mean_row(6, f"gated cells {of_gated}", subject, what, values, rule, judge))
    return rows


def _untrained(study) -> list[dict]:
    """Claim 7."""
    if np.isnan(study.difference):
        return []
    statement = "trained and untrained relu networks correlate more than trained tanh and trained relu networks"
    what = "difference of average canonical correlations"
    value = (study.difference, study.difference_low, study.difference_high)
    losses = dict(zip(study.classes, study.losses, strict=True))
    note = f"median loss {losses['trained relu']:.3g} trained, {losses['untrained relu']:.3g} untrained"
    note += f"; {study.components} components"
    rule, N = "the interval of the difference excludes 0", int(study.table.id.nunique())
    return [claim_row(7, statement, "vanilla", what, value, N, rule, above(value, 0.0), note)]


# --------------------------------------------------------------------------------------------------- what they need


def _kinds(table) -> list:
    return [(f"{cell} {act}", part) for (cell, act), part in table.groupby(["cell", "activation"], sort=False)]


def _cells(table) -> list:
    return list(table.groupby("cell", sort=False))
