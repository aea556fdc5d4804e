"""Each claim is measured as its rule says, and its verdict follows from the numbers."""

import functools
import itertools
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from scipy.spatial.distance import pdist, squareform

from fastrnn.analysis.statistics import permanova, statistics
from fastrnn.analysis.statistics.neighbours import wilson
from fastrnn.errors import Status
from fastrnn.studies import claims, verdicts
from fastrnn.studies.claims import FAILS, HOLDS, UNDECIDED, Claims, measure_claims
from fastrnn.studies.clustering import explained
from fastrnn.studies.kept import Kept
from fastrnn.studies.topology import HARDLY_TOLD, make_topology

NONE_LEFT_OUT = pandas.DataFrame({"id": [], "reason": []})


def table(per_kind=5, cells=("vanilla", "gru"), activations=("tanh", "relu"), loss=0.001):
    kinds = [kind for kind in itertools.product(cells, activations) for _ in range(per_kind)]
    made = pandas.DataFrame(kinds, columns=["cell", "activation"])
    made["id"] = [f"{i}" for i in range(len(made))]
    return made.assign(n=64, l2=1e-5, seed=range(len(made)), validation_loss=loss, status=Status.TRAINED.label)


def run_of(rows, task="flipflop", threshold=0.01):
    return SimpleNamespace(
        task_name=task, threshold=threshold, table=rows, learnt=lambda part: part.validation_loss < threshold
    )


def comparison(rows, metric, cell=5.0, activation=0.0, seed=0):
    """Networks as points, apart by cell and by activation as far as given, with unit noise."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(len(rows), 3))
    points[:, 0] += cell * (rows.cell == "gru")
    points[:, 1] += activation * (rows.activation == "relu")
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = statistics(distances, rows[["cell", "activation"]], permutations=499, resamples=100)
    return SimpleNamespace(metric=metric, table=rows, distances=distances, statistics=found)


def measured(rows=None, task="flipflop", **parts):
    rows = table() if rows is None else rows
    return measure_claims(Kept(run_of(rows, task), **parts)).table


def row_of(made, statement, subject="all", at=0):
    return made[made.statement.str.contains(statement) & (made.subject == subject)].iloc[at]


# ----------------------------------------------------------------------------- every claim, with few networks and many

ENOUGH = 20  # of each of four kinds


def flipflop_of(pro, per_kind):
    rows = table(per_kind)
    counts = rows.assign(
        points=27, unstable_0=8, unstable_1=12, unstable_2=6, unstable_3=1, corners=8, search_status="consistent"
    )
    if not pro:
        counts = counts.assign(unstable_0=7, unstable_2=0)
    kind = {"kind": "all", "modal_count": 27, "networks": len(rows), "modal_networks": len(rows) if pro else 1}
    return SimpleNamespace(table=counts, counts=pandas.DataFrame([kind]), slots=np.zeros((27, 3)))


def untrained_of(pro, per_kind):
    rows = table(per_kind, cells=("vanilla",))
    trained = rows.assign(**{"class": "trained " + rows.activation})
    before = trained[trained.activation == "relu"].assign(**{"class": "untrained relu"})
    ends = {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3}
    ends = ends if pro else {"difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    ends |= {"difference_low": np.nan, "difference_high": np.nan} if 2 * per_kind < 5 else {}
    classes = ["trained tanh", "trained relu", "untrained relu"]
    both = pandas.concat([trained, before])
    return SimpleNamespace(classes=classes, losses=[0.1, 0.2, 90.0], components=20, table=both, **ends)


def topology_of(rows, **apart):
    distances = comparison(rows, "svcca", **apart).distances
    return make_topology("planted", rows, distances, NONE_LEFT_OUT, permutations=499, resamples=100)


@functools.cache
def claims_of(task, pro, per_kind):
    """Everything that is measured on a task, of networks that agree with the paper, or with the contrary."""
    rows = table(per_kind, loss=0.001 if pro else 0.9)
    apart = {"cell": 5.0, "activation": 5.0} if pro else {"cell": 0.0, "activation": 0.0}
    parts = {metric: comparison(rows, metric, **apart) for metric in ("svcca", "cka")}
    if task == "flipflop":
        parts["flipflop"] = flipflop_of(pro, per_kind)
    if task == "sine" and pro:
        parts["sine"] = sine_of(noise=1e-4, apart=1e-3, per_kind=per_kind, unstable_pair=1.0)
    elif task == "sine":
        other = {"one_point": 0.5, "unstable_pair": 0.5, "correlation": 0.1, "magnitude": 1.5}
        parts["sine"] = sine_of(noise=2e-2, per_kind=per_kind, **other)
    if task == "cdi":
        other = {"vanilla": 8, "gated": 1, "integral": 0.5, "irrelevant": 0.6, "off_line": 0.5}
        parts["cdi"] = cdi_of(per_kind=per_kind, **({} if pro else other))
        parts["untrained"] = untrained_of(pro, per_kind)
        parts["topology"] = topology_of(rows, cell=0.0 if pro else 5.0, activation=5.0 if pro else 0.0)
    else:
        parts["topology"] = topology_of(rows, cell=0.0 if pro else 5.0)
    return measured(rows, task, **parts)


CLUSTERING = [f"{name} distances cluster by {factor}" for name in ("SVCCA", "CKA") for factor in ("cell", "activation")]
EVERY_CLAIM = [
    *[(task, statement, "all") for task in ("flipflop", "sine", "cdi") for statement in CLUSTERING],
    ("flipflop", "8 stable fixed points, one at each corner of the cube", "all"),
    ("flipflop", "saddles with 1, 2 and 3 unstable dimensions", "all"),
    ("flipflop", "over 90% of the networks share the modal number of fixed points", "all"),
    ("flipflop", "fixed-point graphs hardly separate cells", "all"),
    ("sine", "fixed-point graphs hardly separate cells", "all"),
    ("sine", "one fixed point for each input", "all"),
    ("sine", "one unstable complex pair", "all"),
    ("sine", "the linear frequency follows the input", "all"),
    ("sine", "the pair is mildly unstable", "all"),
    ("sine", "linear frequencies differ between cells, systematically and by little", "all"),
    ("sine", "linear frequencies are near the commanded ones", "all"),
    ("cdi", "fixed-point graphs do not cluster strongly by cell", "all"),
    ("cdi", "fixed-point graphs cluster by activation", "all"),
    ("cdi", "the slow points lie on a line", "all"),
    ("cdi", "vanilla integrates with one mode", "vanilla"),
    ("cdi", "gated cells have many eigenvalues near 1", "gru"),
    ("cdi", "vanilla needs one mode", "vanilla"),
    ("cdi", "gated cells need several modes", "gru"),
    ("cdi", "gated cells have more eigenvalues near 1 than vanilla", "all"),
    ("cdi", "the linear integral of a unit input is near 1", "all"),
    ("cdi", "an irrelevant unit input is not integrated", "all"),
    (
        "cdi",
        "trained and untrained relu networks correlate more than trained tanh and trained relu networks",
        "vanilla",
    ),
]
APART = {
    "all networks reach low error",
    "all networks but LSTMs with relu reach low error",
    "CKA agrees with SVCCA",
    "slow points in each context",
}  # tests of their own


@pytest.mark.parametrize(("task", "statement", "subject"), EVERY_CLAIM)
def test_few_networks_decide_nothing_and_many_do(task, statement, subject):
    def verdict(pro, per_kind):
        made = claims_of(task, pro, per_kind)
        return set(made[(made.statement == statement) & (made.subject == subject)].verdict)

    assert verdict(True, 1) == verdict(False, 1) == {UNDECIDED}
    assert verdict(True, ENOUGH) == {HOLDS}
    assert verdict(False, ENOUGH) == {FAILS}


def test_no_claim_is_forgotten():
    known = {(task, statement) for task, statement, _ in EVERY_CLAIM}
    for task in ("flipflop", "sine", "cdi"):
        assert {(task, said) for said in claims_of(task, True, ENOUGH).statement if said not in APART} <= known


def test_the_table_says_how_many_networks_are_too_few():
    made = claims_of("flipflop", True, 1)
    corners = row_of(made, "8 stable fixed points")
    few = "4 networks are too few: at least 35 are needed, even if all agree"
    assert corners.note == f"searches: 4 consistent; {few}"
    modal = row_of(made, "modal number")
    assert modal.note == f"modal count 27; {few}" and (modal.low, modal.high) == (
        pytest.approx(0.51, abs=0.01),
        1,
    )
    assert wilson(1.0, 34, 0.95)[0] < 0.9 < wilson(1.0, 35, 0.95)[0]
    assert row_of(claims_of("sine", True, 1), "mildly").note == "4 networks are too few: at least 5 are needed"


# ------------------------------------------------------------------------------------------------------ claim by claim


def test_low_error_counts_networks_by_kind():
    rows = table(per_kind=2)
    rows.loc[7, "validation_loss"] = 0.3
    rows.loc[0, ["l2", "validation_loss"]] = [1e-3, 0.5]  # a large L2 keeps some error: not asked
    rows.loc[1, "status"] = Status.TRAINING.label
    made = measured(rows)
    assert set(made.claim) == {1} and set(made.task) == {"flipflop"}
    everyone = row_of(made, "low error")
    assert (everyone.value, everyone.networks, everyone.verdict, everyone.note) == (5 / 6, 6, FAILS, "worst 0.3")
    rows.loc[3, ["status", "validation_loss"]] = [Status.DIVERGED.label, np.nan]
    assert row_of(measured(rows), "low error").note == "worst 0.3, 1 diverged"
    assert row_of(measured(rows.loc[[3]]), "low error").note == "1 diverged"
    assert everyone.low < everyone.value < everyone.high
    assert row_of(made, "low error", "gru tanh").verdict == HOLDS
    assert row_of(made, "low error", "gru relu").verdict == FAILS
    assert "vanilla tanh" not in set(made.subject)
    lstm = table(per_kind=1, cells=("gru", "lstm"))
    lstm.loc[(lstm.cell == "lstm") & (lstm.activation == "relu"), "validation_loss"] = 0.3
    made = measured(lstm, task="sine")
    assert row_of(made, "all networks but LSTMs with relu").verdict == HOLDS  # which failed in the paper too
    assert row_of(made, "low error", "lstm relu").verdict == FAILS
    none = measured(table(per_kind=1).assign(l2=1e-2))
    assert none.verdict.tolist() == [UNDECIDED] and none.networks.tolist() == [0]


def test_clustering_is_decided_by_the_rules_that_were_fixed():
    rows = table()
    svcca, cka = comparison(rows, "svcca"), comparison(rows, "cka", seed=1)
    made = measured(rows, svcca=svcca, cka=cka)
    share = row_of(made, "SVCCA distances cluster by cell")
    expected = permanova(svcca.distances, rows[["cell", "activation"]], permutations=9)
    by_chance = expected.share["cell"] / expected.F["cell"]  # one mean square of what is left, of the sum of squares
    assert share.value == pytest.approx(expected.share["cell"] - by_chance) and share.low < share.value < share.high
    assert share.verdict == HOLDS and share.note.startswith("with what chance explains 0.758, p = 0.00")
    accuracy = row_of(made, "SVCCA distances cluster by cell", at=1)
    assert accuracy.value > 0.9 and "chance 0.47" in accuracy.note and accuracy.verdict == HOLDS
    assert row_of(made, "SVCCA distances cluster by activation").verdict == FAILS
    agreement = row_of(made, "CKA agrees")
    assert agreement.verdict == HOLDS and 0 < agreement.low < agreement.value < agreement.high < 1


def test_metrics_that_differ_in_a_verdict_do_not_agree():
    rows = table()
    made = measured(rows, svcca=comparison(rows, "svcca"), cka=comparison(rows, "cka", cell=0, activation=5))
    assert row_of(made, "CKA agrees").verdict == FAILS
    undecided = comparison(rows, "cka", seed=1)
    undecided.statistics.table.loc["cell", "verdict"] = "between"
    assert row_of(measured(rows, svcca=comparison(rows, "svcca"), cka=undecided), "CKA agrees").verdict == UNDECIDED
    alone = measured(rows, cka=comparison(rows, "cka"))
    assert not alone.statement.str.contains("agrees").any()
    few = row_of(claims_of("cdi", True, 1), "CKA agrees")
    assert few.verdict == UNDECIDED and np.isnan([few.low, few.high]).all()


@pytest.mark.parametrize(
    ("task", "cell", "activation", "verdicts"),
    [
        ("flipflop", 0.0, 5.0, {"hardly separate cells": HOLDS}),
        ("sine", 5.0, 0.0, {"hardly separate cells": FAILS}),
        ("cdi", 0.0, 5.0, {"not cluster strongly by cell": HOLDS, "cluster by activation": HOLDS}),
        ("cdi", 5.0, 0.0, {"not cluster strongly by cell": FAILS, "cluster by activation": FAILS}),
    ],
)
def test_graphs_that_separate_cells_or_activations(task, cell, activation, verdicts):
    rows = table()
    points = comparison(rows, "svcca", cell, activation)
    topology = make_topology("planted", rows, points.distances, NONE_LEFT_OUT, permutations=499, resamples=100)
    made = measured(rows, task, topology=topology)
    for statement, verdict in verdicts.items():
        assert row_of(made, statement).verdict == verdict, statement
    made = made[made.claim == 4]
    assert len(made) == 2 * len(verdicts)
    assert (made.note.str.endswith("; planted" if task == "flipflop" else f"; planted; {HARDLY_TOLD}")).all()


@pytest.mark.parametrize(("task", "verdicts"), [("sine", [HOLDS]), ("cdi", [HOLDS, FAILS])])
def test_graphs_that_are_all_the_same_separate_nothing(task, verdicts):
    topology = make_topology("planted", table(), np.zeros((20, 20)), NONE_LEFT_OUT)
    made = measured(task=task, topology=topology)
    made = made[made.claim == 4]
    assert made.verdict.tolist() == verdicts and set(made.value) == {0}
    assert set(made.note) == {f"all graphs are the same; {HARDLY_TOLD}"}
    one_cell = make_topology("planted", table(cells=("gru",)), np.zeros((10, 10)), NONE_LEFT_OUT)
    assert not (measured(task="sine", topology=one_cell).claim == 4).any()
    few = make_topology("planted", table(per_kind=2), np.zeros((8, 8)), NONE_LEFT_OUT)
    row = row_of(measured(task="sine", topology=few), "hardly")
    assert row.verdict == UNDECIDED
    few = "of a cell, 4 networks are too few: at least 5 are needed"
    assert row.note == f"all graphs are the same; {few}; {HARDLY_TOLD}"


def test_fixed_points_are_counted_over_networks():
    rows = table(per_kind=10)[["id", "cell", "activation", "n", "l2", "seed", "validation_loss"]]
    counts = rows.assign(
        points=27, unstable_0=8, unstable_1=12, unstable_2=6, unstable_3=1, corners=8, search_status="consistent"
    )
    counts.loc[counts.cell == "gru", ["points", "unstable_0", "unstable_3"]] = [26, 7, 0]
    share = {"kind": "all", "modal_count": 27, "networks": 40, "modal_networks": 20}
    study = SimpleNamespace(table=counts, counts=pandas.DataFrame([share]), slots=np.zeros((27, 3)))
    made = measured(flipflop=study)
    assert row_of(made, "8 stable fixed points").value == 0.5
    assert row_of(made, "8 stable fixed points").verdict == FAILS
    assert row_of(made, "8 stable fixed points", "vanilla tanh").verdict == UNDECIDED  # 10 of 10: at least 72%
    assert row_of(made, "saddles", "gru tanh").value == 0
    assert set(made[made.claim == 3].rule.str.contains("5 spreads from the mean of the states visited don't")) == {True}
    counts.loc[:4, "search_status"] = "not_applicable"
    assert row_of(measured(flipflop=study), "saddles").note == "searches: 5 not applicable, 35 consistent"
    modal = row_of(made, "modal number")
    assert (modal.value, modal.verdict, modal.note) == (0.5, FAILS, "modal count 27") and 0.3 < modal.low < 0.4


def sine_of(noise=0.0, apart=0.0, per_kind=3, **columns):
    rows = table(per_kind)
    commanded = np.linspace(0.01, 0.05, 21)
    shift = np.where(rows.cell == "gru", apart, 0.0)[:, None]
    rng = np.random.default_rng(0)
    frequency = commanded + shift + noise * rng.normal(size=(len(rows), 21))
    error = np.abs(frequency - commanded).mean(axis=1)
    usual = {"one_point": 1.0, "unstable_pair": 0.5, "correlation": 0.99, "magnitude": 1.05, "absolute_error": error}
    return SimpleNamespace(table=rows.assign(**(usual | columns)), commanded=commanded, frequency=frequency)


def test_frequencies_differ_systematically_and_by_little():
    made = measured(task="sine", sine=sine_of(noise=1e-4, apart=1e-3))
    assert row_of(made, "one fixed point").verdict == UNDECIDED  # 12 of 12: at least 76%
    assert row_of(made, "one fixed point").rule.endswith("5 spreads from the mean of the states visited don't count")
    assert row_of(made, "one unstable complex pair").verdict == FAILS
    assert row_of(made, "mildly unstable").verdict == HOLDS
    assert row_of(made, "differ between cells").verdict == HOLDS
    assert row_of(made, "near the commanded").verdict == HOLDS
    large = measured(task="sine", sine=sine_of(noise=1e-4, apart=2e-2, per_kind=5))
    assert row_of(large, "differ between cells").verdict == row_of(large, "near the commanded").verdict == FAILS
    chance = row_of(measured(task="sine", sine=sine_of(noise=1e-3)), "differ between cells")
    assert chance.verdict == UNDECIDED and 0 <= chance.low < chance.value < chance.high
    many = row_of(measured(task="sine", sine=sine_of(noise=1e-3, per_kind=40)), "differ between cells")
    assert many.verdict == FAILS and many.high < 0.05  # near the commanded ones, but no different by cell


def test_cells_that_differ_in_opposite_ways_differ_within_each_activation():
    study = sine_of(noise=1e-4, per_kind=10)
    turn = np.where(study.table.activation == "tanh", 1.0, -1.0) * np.where(study.table.cell == "gru", 1.0, -1.0)
    study.frequency = study.frequency + 5e-4 * turn[:, None]
    made = measured(task="sine", sine=study)
    assert row_of(made, "differ between cells").verdict == FAILS
    for activation in ("tanh", "relu"):
        row = row_of(made, "differ between cells", activation)
        assert row.verdict == HOLDS and row.value > 0.9
    one = study.table.activation == "tanh"
    alone = SimpleNamespace(table=study.table[one], commanded=study.commanded, frequency=study.frequency[one])
    made = measured(task="sine", sine=alone)
    assert made[made.statement.str.contains("differ between cells")].subject.tolist() == ["all"]


def test_a_network_whose_frequency_stands_still_follows_nothing():
    study = sine_of(correlation=[0.99] * 10 + [np.nan] * 2)
    row = row_of(measured(task="sine", sine=study), "follows the input")
    assert row.value == pytest.approx(0.99 * 10 / 12) and row.networks == 12 and row.verdict == UNDECIDED


def cdi_of(vanilla=1.0, gated=10.0, integral=1.0, irrelevant=0.01, off_line=0.02, per_kind=6):
    rows = table(per_kind)
    modes = np.where(rows.cell == "vanilla", vanilla, gated)
    both = {"off_line": off_line, "near_one": modes, "relevant": integral, "irrelevant": irrelevant, "modes": modes}
    columns = {f"{name}_{c}": value for name, value in (both | {"line": True}).items() for c in (0, 1)}
    return SimpleNamespace(table=rows.assign(**columns), near=0.05)


def test_one_mode_or_many():
    made = measured(task="cdi", cdi=cdi_of())
    assert set(made[made.claim == 6].verdict) == {HOLDS, UNDECIDED}
    undecided = made[(made.claim == 6) & (made.verdict == UNDECIDED)]
    assert set(undecided.statement) == {"slow points in each context"}  # 24 of 24: at least 86%
    other = measured(task="cdi", cdi=cdi_of(vanilla=8, gated=1, integral=0.5))
    for statement, subject in (
        ("vanilla integrates with one mode", "vanilla"),
        ("gated cells have many", "gru"),
        ("more eigenvalues near 1", "all"),
        ("unit input is near 1", "all"),
        ("vanilla needs one mode", "vanilla"),
        ("gated cells need several", "gru"),
    ):
        assert row_of(other, statement, subject).verdict == FAILS


def test_leaky_networks_are_neither_vanilla_nor_gated():
    """The paper says nothing of them: what is claimed of either kind is as it is without them."""
    study = cdi_of()
    leaky = study.table.assign(cell="leaky", near_one_0=60.0, near_one_1=60.0, id="leaky" + study.table.id)
    both = SimpleNamespace(table=pandas.concat([study.table, leaky], ignore_index=True), near=study.near)
    alone, beside = (measured(task="cdi", cdi=cdi) for cdi in (study, both))
    for words in ("one mode", "many eigenvalues", "several modes", "more eigenvalues"):
        expected, made = (part[part.statement.str.contains(words)] for part in (alone, beside))
        assert len(expected) and made.subject.tolist() == expected.subject.tolist()
        pandas.testing.assert_frame_equal(made.reset_index(drop=True), expected.reset_index(drop=True))


def test_a_kind_of_which_a_statement_does_not_hold_is_named():
    study = cdi_of(per_kind=10)
    relu = (study.table.cell == "gru") & (study.table.activation == "relu")
    study.table.loc[relu, ["off_line_0", "off_line_1"]] = 0.2
    made = {one.statement: one for one in Claims(measured(task="cdi", cdi=study)).statements()}
    line = made["the slow points lie on a line"]
    assert line.verdict == HOLDS and line.exceptions == ["gru relu"]
    assert line.said == "holds, but not of gru relu"
    assert made["vanilla needs one mode"].said == "holds"


def test_what_a_statement_leaves_out_is_no_exception():
    lstm = table(per_kind=1, cells=("gru", "lstm"))
    lstm.loc[(lstm.cell == "lstm") & (lstm.activation == "relu"), "validation_loss"] = 0.3
    (low, *_) = Claims(measured(lstm, task="sine")).statements()
    assert low.statement == "all networks but LSTMs with relu reach low error" and low.said == "holds"


def test_a_network_without_a_line_in_one_context_counts_as_that():
    study = cdi_of()
    study.table.loc[:5, "line_1"] = False  # a cluster, with numbers of its own
    study.table.loc[:5, ["off_line_1", "near_one_1", "relevant_1", "irrelevant_1", "modes_1"]] = 9.0
    made = measured(task="cdi", cdi=study)
    of_lines = made[made.statement.str.contains("near 1|integrate|mode")]
    assert len(of_lines) > 10 and not (of_lines.value.round(6) % 1 > 0.011).any()  # no 9 was averaged
    assert of_lines.networks.max() == 18
    rules = made[made.claim == 6].rule
    assert rules.str.contains("10 ").all() and rules.str.contains("at least 10% of the range of the outputs").all()
    line = row_of(made, "the slow points lie on a line")
    assert (line.networks, line.note) == (18, "6 more networks have none")
    row = row_of(made, "slow points in each context")
    assert row.value == 18 / 24 and row.verdict == FAILS  # at most 88%
    assert row_of(claims_of("cdi", True, ENOUGH), "slow points in each context").verdict == HOLDS
    assert row_of(claims_of("cdi", True, 1), "slow points in each context").verdict == UNDECIDED


def test_untrained_networks_may_be_as_close():
    names = {"classes": list(("trained tanh", "trained relu", "untrained relu")), "losses": [0.1, 0.2, 90.0]}
    trained = table().assign(**{"class": lambda rows: "trained " + rows.activation})
    before = trained[trained.activation == "relu"].assign(**{"class": "untrained relu"})
    names |= {"components": 20, "table": pandas.concat([trained, before]), "left_out": NONE_LEFT_OUT}
    for low, high, verdict in ((0.1, 0.3, HOLDS), (-0.1, 0.3, UNDECIDED), (-0.3, -0.1, FAILS)):
        study = SimpleNamespace(difference=(low + high) / 2, difference_low=low, difference_high=high, **names)
        row = row_of(measured(task="cdi", untrained=study), "trained and untrained", "vanilla")
        assert (row.claim, row.verdict, row.networks) == (7, verdict, 20) and "0.2 trained, 90 untrained" in row.note
    study = SimpleNamespace(difference=0.2, difference_low=np.nan, difference_high=np.nan, **names)
    row = row_of(measured(task="cdi", untrained=study), "trained and untrained", "vanilla")
    assert row.verdict == UNDECIDED and row.value == 0.2 and np.isnan([row.low, row.high]).all()
    study = SimpleNamespace(difference=np.nan, **names)
    assert set(measured(task="cdi", untrained=study).claim) == {1}


@pytest.mark.parametrize(
    ("value", "bound", "verdict"),
    [((1, 0.95, 1), 0.9, HOLDS), ((1, 0.7, 1), 0.9, UNDECIDED), ((0.5, 0.3, 0.8), 0.9, FAILS)],
)
def test_more_than_means_with_the_interval(value, bound, verdict):
    assert verdicts.above(value, bound) == verdict
    assert verdicts.below([-number for number in (value[0], value[2], value[1])], -bound) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.9, 1.1, HOLDS), (0.7, 1.1, UNDECIDED), (0.1, 0.7, FAILS), (1.3, 2, FAILS), (np.nan, np.nan, UNDECIDED)],
)
def test_near_means_within_with_the_interval(low, high, verdict):
    assert verdicts.within((1.0, low, high), 0.8, 1.2) == verdict


def test_the_table_is_a_file(tmp_path):
    made = Claims(measured())
    made.save(tmp_path / "claims.safetensors")
    people = pandas.read_csv(tmp_path / "claims.csv")
    assert people.columns.tolist() == list(claims.COLUMNS) and len(people) == len(made.table) == 5


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_what_chance_explains_is_taken_off(apart):
    rows = table(per_kind=5, cells=("vanilla", "ugrnn", "gru", "lstm"))
    levels = rows.cell.astype("category").cat.codes.to_numpy()
    rng = np.random.default_rng(0)
    made = []
    for _ in range(60):
        x = rng.normal(size=(len(rows), 6))
        x[:, 0] += apart * levels
        made.append(explained(squareform(pdist(x)), rows[["cell", "activation"]], "cell"))
    value, low, high = np.array(made).T
    truth = apart * np.var(levels) / (apart * np.var(levels) + 6)  # of the variance of a population of such networks
    chance = 3 / (len(rows) - 1)
    assert abs(value.mean() - truth) < 0.02 < chance  # as it is, the share is larger by some `chance`
    assert np.mean((low <= truth) & (truth <= high)) > 0.9


def test_an_interval_holds_its_estimate_also_where_a_share_is_negative():
    rows = table(per_kind=8)
    within = rows.cell.to_numpy()[:, None] == rows.cell.to_numpy()
    noise = np.random.default_rng(0).uniform(0, 0.01, within.shape)
    distances = np.where(within, 2.0, 1.0) + noise + noise.T  # of no points: farther apart within a cell than between
    np.fill_diagonal(distances, 0)
    value, low, high = explained(distances, rows[["cell", "activation"]], "cell")
    assert low < value < high
    assert value < -0.5
    # the interval is the jackknife's, as wide below the estimate as above
    assert value - low == pytest.approx(high - value)


def test_a_note_says_where_networks_of_one_level_are_farther_from_each_other_than_from_others():
    rows = table(per_kind=8)
    within = rows.cell.to_numpy()[:, None] == rows.cell.to_numpy()
    distances = np.where(within, 2.0, 1.0)
    np.fill_diagonal(distances, 0)
    found = statistics(distances, rows[["cell", "activation"]], permutations=99, resamples=100)
    svcca = SimpleNamespace(metric="svcca", table=rows, distances=distances, statistics=found)
    made = measured(rows, svcca=svcca)
    said = "; on average those of one cell are farther from each other (2) than from others (1)"
    assert row_of(made, "SVCCA distances cluster by cell").note.endswith(said)
    assert "farther" not in row_of(made, "SVCCA distances cluster by activation").note


# ---------------------------------------------------------------------------------------------------------- statements


def test_a_statement_is_as_good_as_its_worst_statistic_on_all_networks():
    rows = [
        verdicts.claim_row(claim, statement, subject, "a share", (0.5, 0.4, 0.6), 9, "a rule", verdict)
        for claim, statement, subject, verdict in (
            (1, "low error", "all", HOLDS),
            (1, "low error", "gru tanh", FAILS),
            (2, "clusters", "all", HOLDS),
            (2, "clusters", "all", UNDECIDED),
            (6, "many modes", "gru", UNDECIDED),
            (6, "many modes", "lstm", FAILS),
        )
    ]
    made = Claims(pandas.DataFrame(rows))
    assert [(s.claim, s.statement, s.verdict, s.rows.index.tolist()) for s in made.statements()] == [
        (1, "low error", HOLDS, [0]),
        (2, "clusters", UNDECIDED, [2, 3]),
        (6, "many modes", FAILS, [4, 5]),
    ]
    assert made.counts() == {HOLDS: 1, UNDECIDED: 1, FAILS: 1}
