"""The search of hyperparameters: what is drawn, who leaves when, who wins, and the same tables however it was cut."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from populations import assert_same_bits, small

from fastrnn import training
from fastrnn.engines.cpu.engine import CPUEngine
from fastrnn.errors import RunError, UsageError
from fastrnn.folder import RunFolder
from fastrnn.groups import TrainingGroup
from fastrnn.hyperparameters import VALUES
from fastrnn.progress import Interrupted
from fastrnn.runs import load_run
from fastrnn.search import SearchSpec, load_search, search_hyperparameters
from fastrnn.search.results import candidates_of, chosen_table, finalists_table
from fastrnn.search.rounds import DrawTraining
from fastrnn.search.spec import RANGES, configuration_of
from fastrnn.training import Training, train

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("draws.csv", "finalists.csv", "chosen.csv")
WILD = {"learning_rate": (1e-3, 1e30)}  # about nine draws in ten diverge


def spec_of(draws=6, rounds=3, ranges=None, population=None, **changes):
    """A search of vanilla and GRU networks with two values of L2."""
    population = small(l2=(1e-5, 1e-3)) if population is None else population
    return SearchSpec(population, draws=draws, rounds=rounds, ranges=ranges or {}, **changes)


def search(path, spec=None, **options):
    return search_hyperparameters(spec or spec_of(), path, "cpu", progress=False, **options)


def assert_same_tables(path, other):
    for name in TABLES:
        assert (path / name).read_bytes() == (other / name).read_bytes(), name
    for part in ("draws", "finalists"):
        assert_same_bits(path / part, other / part)


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Figures take longer than everything else here; one test looks at them."""
    if "figures" not in request.fixturenames:
        monkeypatch.setattr("fastrnn.search.search._draw_figures", lambda result: None)


@pytest.fixture
def figures():
    """To be asked for by a test that looks at the figures."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A search that nothing disturbed."""
    path = tmp_path_factory.mktemp("search") / "reference"
    search(path)
    return path


# --------------------------------------------------------------------------------------------------------- draws


def draws_of(spec, count, kind=0):
    return pandas.DataFrame([spec.draw(spec.configurations[kind], i) for i in range(count)])


@pytest.mark.parametrize("optimizer", RANGES)
def test_draws_fill_the_ranges(optimizer):
    drawn = draws_of(spec_of(population=small(optimizer=optimizer)), 2000)
    assert set(drawn) == set(VALUES)
    for name, (low, high) in RANGES[optimizer].items():
        assert drawn[name].between(low, high).all()
        place = (drawn[name] - low) / (high - low)
        if name in ("clip", "learning_rate"):
            place = np.log(drawn[name] / low) / np.log(high / low)
        kolmogorov = np.abs(np.sort(place) - np.arange(2000) / 2000).max()
        assert kolmogorov < 1.63 / np.sqrt(2000)  # passes 99 of 100 uniform samples
    assert np.abs(drawn.corr() - np.eye(4)).max(axis=None) < 0.1


def test_other_ranges():
    drawn = draws_of(spec_of(ranges={"momentum": (0.9, 0.95), "clip": (2.0, 2.0)}), 100)
    assert drawn.momentum.between(0.9, 0.95).all()
    assert set(drawn["clip"]) == {2.0}
    assert drawn.decay.equals(draws_of(spec_of(), 100).decay)


def test_a_rounded_draw_stays_in_its_range():
    drawn = draws_of(spec_of(ranges={"momentum": (0.987651, 0.987652), "clip": (1.00001, 1.00002)}), 20)
    assert drawn.momentum.between(0.987651, 0.987652).all() and drawn["clip"].between(1.00001, 1.00002).all()


def test_a_draw_hangs_on_seed_task_configuration_and_number_alone():
    spec = spec_of()
    first = spec.draw(spec.configurations[0], 3)
    assert first == spec_of(draws=50, rounds=1).draw(spec.configurations[0], 3)
    others = [spec.draw(configuration, 3) for configuration in spec.configurations[1:]]
    others += [spec_of(population=replace(spec.population, seed=1)).draw(spec.configurations[0], 3)]
    others += [spec_of(population=small(task="cdi", task_settings={})).draw(spec.configurations[0], 3)]
    others += [spec.draw(spec.configurations[0], 4)]
    assert len({tuple(values.values()) for values in (first, *others)}) == 1 + len(others)


def test_the_rounds_cost_less_than_a_third_of_a_plain_search():
    spec = spec_of(draws=32, rounds=4, population=small(iterations=1600))
    assert spec.ends == (200, 400, 800, 1600)
    assert spec.stay == (16, 8, 4)
    assert spec.plain_cost == 2 * 32 * 1600
    assert spec.cost == 2 * (32 * 200 + 16 * 200 + 8 * 400 + 4 * 800) == 0.3125 * spec.plain_cost
    plain = spec_of(draws=32, rounds=1, population=small(iterations=1600))
    assert (plain.ends, plain.stay, plain.cost) == ((1600,), (), plain.plain_cost)


def test_iterations_left_of_draws_that_have_begun():
    spec = spec_of(draws=4, rounds=2, population=small(iterations=10))  # all to 5, the better two to 10
    assert spec.iterations_left([0, 0, 0, 0]) == 4 * 5 + 2 * 5
    assert spec.iterations_left([3, 0, 0, 0]) == 4 * 5 + 2 * 5 - 3
    assert spec.iterations_left([5, 7]) == 5 + 3
    assert spec.iterations_left([]) == 0


# -------------------------------------------------------------------------------------------------------- rounds


def test_the_draws_of_a_plain_search_are_a_population(tmp_path):
    spec = spec_of(draws=3, rounds=1, repeats=0)
    found = search(tmp_path / "search", spec)
    train(spec.drawn, tmp_path / "run", "cpu", progress=False)
    assert_same_bits(tmp_path / "search" / "draws", tmp_path / "run")
    assert set(found.draws.fate) == {"trained"}
    for _, draws in found.draws.groupby(["cell", "l2"]):
        best = draws.loc[draws.validation_loss.idxmin()]
        here = found.chosen[(found.chosen.cell == best.cell) & (found.chosen.l2 == best.l2)]
        assert here[list(VALUES)].to_numpy().tolist() == [[best[name] for name in VALUES]]
        assert here.validation_loss.tolist() == [best.validation_loss]
    assert found.chosen.repeats.dtype == int and set(found.chosen.repeats) == {0}
    assert not (tmp_path / "search" / "finalists").exists()


def test_after_each_round_the_better_half_by_validation_loss_goes_on(reference):
    spec, engine = spec_of(), CPUEngine()
    draws, task = load_search(reference).draws, spec.population.resolved_task
    assert spec.ends == (5, 10, 20)
    for group, rows in spec.drawn.groups.items():
        alone = TrainingGroup.start(spec.drawn, rows)  # all draws to the end, measured at the end of each round
        table = pandas.DataFrame(rows)
        here = draws.cell + "-" + draws.activation + "-4" == group
        fate, left_in, kept = (draws[here][name].to_numpy() for name in ("fate", "round", "validation_loss"))
        going = np.full(len(rows), True)
        for number, (end, stay) in enumerate(zip(spec.ends, (3, 2, 2), strict=True), 1):
            engine.advance(alone.networks, alone.optimizer, task, end - int(alone.optimizer.iteration[0]), 4)
            loss = engine.loss(alone.networks, task)
            for l2 in (1e-5, 1e-3):
                mine = np.flatnonzero(going & (table.l2 == l2))
                out = mine[np.argsort(loss[mine])[stay:]]
                assert (fate[out] == "dropped").all()
                assert (left_in[out] == number).all()
                np.testing.assert_array_equal(kept[out], loss[out])
                going[out] = False
        assert (fate[going] == "trained").all()
        np.testing.assert_array_equal(kept[going], loss[going])
        assert going.sum() == 4


def test_the_table_of_draws_has_the_key_points_of_each_curve(reference):
    draws = load_search(reference).draws
    run = load_run(reference / "draws")
    assert len(draws) == 2 * 2 * 6
    for group in run.groups:
        finished = run.finished(group)
        here = draws[draws.cell + "-" + draws.activation + "-4" == group]
        assert here.draw.tolist() == run.rows(finished.ids).seed.tolist()
        for point in (3, 5, 10, 20):
            np.testing.assert_allclose(here[f"loss_at_{point}"], finished.loss_curve[:, point - 1], rtol=1e-6)
        assert (here.iterations < 20).equals(here.loss_at_20.isna())


def test_a_draw_that_diverges_is_recorded_and_costs_its_neighbours_nothing(tmp_path):
    spec = spec_of(ranges=WILD, population=small(cells="vanilla"), repeats=1)
    draws = search(tmp_path / "search", spec).draws
    lost = draws.fate == "diverged"
    assert 1 <= lost.sum() < 6
    assert (draws["round"][lost] == 1).all()
    assert (draws.iterations[lost] < 5).all()
    assert (draws.iterations[~lost] >= 5).all()
    calm = [row for row in spec.drawn.rows if row["id"] in set(load_run(tmp_path / "search" / "draws").table.id[~lost])]
    alone = TrainingGroup.start(spec.drawn, calm)
    losses = CPUEngine().advance(alone.networks, alone.optimizer, spec.population.resolved_task, 5, 4)
    np.testing.assert_allclose(draws.loss_at_5[~lost], losses[:, 4], rtol=1e-6)


def test_what_leaves_is_no_longer_advanced(tmp_path, monkeypatch):
    stacks, advance_all = [], CPUEngine.advance_all

    def counting(self, groups, *arguments):
        stacks.append(sum(len(networks) for networks, _ in groups))
        return advance_all(self, groups, *arguments)

    monkeypatch.setattr(CPUEngine, "advance_all", counting)
    found = search(tmp_path / "search", spec_of(population=small(cells="gru"), repeats=0))
    assert list(dict.fromkeys(stacks)) == [6, 3, 2]
    assert found.report()["network_iterations"] == 6 * 5 + 3 * 5 + 2 * 10 == spec_of().cost / 4


# ----------------------------------------------------------------------------------------------------- the winner


def finalists(losses, spec=None, **changes):
    """What becomes of one configuration whose finalists have those losses of repeats."""

    class OfRepeats:
        table = pandas.DataFrame(
            {"cell": "gru", "activation": "tanh", "n": 4, "l2": 1e-5, "status": "trained", "validation_loss": losses}
            | changes
        )

    spec = spec or spec_of(population=small(cells="gru"))
    values = dict.fromkeys(VALUES, 0.5)
    name = configuration_of(spec.configurations[0])
    candidates = {name: [{"draw": draw, "validation_loss": 0.1} | values for draw in (3, 1, None)]}
    return finalists_table(spec, candidates, OfRepeats)


def test_the_worst_repeat_decides_where_none_diverged():
    table = finalists([0.1, 0.3, 0.2, 0.9, 0.4, 0.3])  # repeats go through the finalists in turn
    assert table.worst_loss.tolist() == [0.9, 0.4, 0.3]
    assert table[["repeat_1", "repeat_2"]].to_numpy().tolist() == [[0.1, 0.9], [0.3, 0.4], [0.2, 0.3]]
    assert table.chosen.tolist() == [False, False, True]
    assert table.origin.tolist() == ["drawn", "drawn", "in use"]
    assert table.draw.isna().tolist() == [False, False, True]


def test_the_fewest_that_diverged_decide_first():
    table = finalists([0.1, 0.3, 0.2, 0.1, 0.4, 0.5], status=["diverged"] + 5 * ["trained"])
    assert table.diverged.tolist() == [1, 0, 0]
    assert table.worst_loss.tolist() == [0.1, 0.4, 0.5]
    assert table.repeat_1.tolist() == [np.inf, 0.3, 0.2]
    assert table.chosen.tolist() == [False, True, False]
    table = finalists([np.nan, 0.3, 0.2, 0.4, np.inf, np.inf])
    assert table.diverged.tolist() == [1, 1, 1]
    assert table.worst_loss.tolist() == [0.4, 0.3, 0.2]
    assert table.chosen.tolist() == [False, False, True]


def test_finalists_are_compared_by_equally_many_repeats():
    table = finalists([0.1, 0.3, 0.2, 0.1, 0.4, 0.3, 0.9, 0.9])  # 8 seeds for 3 finalists: of another configuration's 4
    assert table.worst_loss.tolist() == [0.1, 0.4, 0.3]
    assert chosen_table(spec_of(), table).repeats.tolist() == [2]
    assert chosen_table(spec_of(), finalists([0.1] * 9)).repeats.tolist() == [3]


def test_a_configuration_whose_finalists_all_diverged_has_no_winner():
    table = finalists([0.1] * 6, status="diverged")
    assert not table.chosen.any()
    assert len(chosen_table(spec_of(), table)) == 0


def test_finalists_are_the_best_draws_that_were_trained_and_the_values_in_use():
    spec = spec_of(finalists=2, population=small(cells="gru"))
    (configuration,) = spec.configurations
    rows = [
        {"draw": i, "fate": fate, "validation_loss": loss} | {name: configuration[name] for name in configuration}
        for i, (fate, loss) in enumerate(
            [
                ("trained", 0.4),
                ("dropped", 0.1),
                ("trained", 0.2),
                ("diverged", 0.05),
                ("trained", np.nan),
                ("trained", 0.3),
            ]
        )
    ]
    draws = pandas.DataFrame(rows)
    (best,) = candidates_of(spec, draws).values()
    assert [candidate["draw"] for candidate in best] == [2, 5, None]
    assert {name: best[-1][name] for name in VALUES} == {name: configuration[name] for name in VALUES}
    (alone,) = candidates_of(replace(spec, incumbent=False), draws).values()
    assert [candidate["draw"] for candidate in alone] == [2, 5]
    (one,) = candidates_of(replace(spec, repeats=0), draws).values()
    assert [candidate["draw"] for candidate in one] == [2]
    none = draws.assign(fate="diverged")
    assert [
        c["draw"] for c in candidates_of(replace(spec, incumbent=False), none)[configuration_of(configuration)]
    ] == [None]
    assert candidates_of(replace(spec, repeats=0), none) == {configuration_of(configuration): []}


def test_repeats_are_fresh_networks_with_the_finalists_values(reference):
    found, run = load_search(reference), load_run(reference / "finalists")
    assert len(found.finalists) == 2 * 2 * 3
    assert len(run.table) == 2 * len(found.finalists)
    for i, row in enumerate(found.finalists.itertuples()):
        here = (run.table.cell == row.cell) & (run.table.l2 == row.l2) & (run.table.seed % 3 == i % 3)
        for name in VALUES:
            assert (run.table[name][here] == getattr(row, name)).all()
        assert run.table.validation_loss[here].tolist() == [row.repeat_1, row.repeat_2]
    keys = {key for part in ("draws", "finalists") for group in run.groups
            for key in load_run(reference / part).networks(group).keys.tolist()}  # fmt: skip
    assert len(keys) == len(run.table) + len(found.draws)


def test_the_chosen_values_are_a_table_for_training(reference, tmp_path):
    found = load_search(reference)
    spec = small(l2=(1e-5, 1e-3), hyperparameters=tuple(found.rows), seeds=1, iterations=1)
    assert spec.unsearched == ()
    run = train(spec, tmp_path / "run", "cpu", progress=False)
    merged = run.table.merge(found.chosen, on=["cell", "activation", "n", "l2"], suffixes=("", "_chosen"))
    assert len(merged) == 4
    for name in VALUES:
        assert merged[name].equals(merged[f"{name}_chosen"])


def test_a_search_without_a_winner_is_told(tmp_path):
    spec = spec_of(rounds=2, ranges={"learning_rate": (1e29, 1e30)}, repeats=0, population=small(cells="vanilla"))
    report = search(tmp_path / "search", spec).report()
    assert report["fates"] == {"trained": 0, "dropped": 0, "diverged": 6}
    assert report["without_winner"] == [{"cell": "vanilla", "activation": "tanh", "n": 4, "l2": 1e-5}]
    assert report["chosen"] == []


# ----------------------------------------------------------------------------------------- stopped and gone on with


def test_threads_and_pieces_do_not_change_a_bit(reference, tmp_path, monkeypatch):
    search(tmp_path / "one thread", threads=1)
    monkeypatch.setattr(training, "ROUND_SECONDS", 1e-9)
    search(tmp_path / "in pieces")
    for name in ("one thread", "in pieces"):
        assert_same_tables(tmp_path / name, reference)


@pytest.mark.parametrize("rounds", [3, 70, 110, 150, 260])
def test_ctrl_c_and_the_same_search_again(reference, tmp_path, monkeypatch, rounds):
    count, advance = 0, training.Training.advance

    def counting(self, turn):
        nonlocal count
        advance(self, turn)
        count += 1
        self.interruption.requested |= count >= rounds

    with monkeypatch.context() as patch:
        patch.setattr(training, "ROUND_SECONDS", 1e-9)  # each network by itself, iteration by iteration
        patch.setattr(training.Training, "advance", counting)
        with pytest.raises(Interrupted, match=r"everything is saved in .*: the same command goes on"):
            search(tmp_path / "search")
    with pytest.raises(RunError, match="is not finished; run the same search again"):
        load_search(tmp_path / "search")
    search(tmp_path / "search")
    assert_same_tables(tmp_path / "search", reference)


@pytest.mark.parametrize("after", range(4))
def test_killed_between_the_losers_file_and_the_winners_checkpoint(reference, tmp_path, monkeypatch, after):
    save, count = RunFolder.save_checkpoint, 0

    def failing(self, group, state):
        nonlocal count
        count += 1
        if count > after:
            raise SystemError("killed")
        save(self, group, state)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_checkpoint", failing)
        with pytest.raises(SystemError, match="killed"):
            search(tmp_path / "search")
    search(tmp_path / "search")
    assert_same_tables(tmp_path / "search", reference)


SLOW = """
import sys
from test_search import search, slow_spec
from fastrnn import training
training.ROUND_SECONDS = 0.01
search(sys.argv[1], slow_spec(), checkpoint_seconds=0)
"""


def slow_spec():
    return spec_of(draws=8, population=small(l2=(1e-5, 1e-3), iterations=400))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_and_resumed_it_gives_the_same_tables(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    table, killed = tmp_path / "search" / "draws" / "networks.csv", 0
    for marker in ("training", "dropped"):  # in the first round, and after it
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path / "search")], env=environment)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if table.exists() and marker in table.read_text():
                break
            time.sleep(0.002)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed == 2
    search(tmp_path / "search", slow_spec())
    search(tmp_path / "undisturbed", slow_spec())
    assert_same_tables(tmp_path / "search", tmp_path / "undisturbed")


def test_a_finished_search_is_not_done_again(reference, monkeypatch):
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    monkeypatch.setattr(CPUEngine, "advance_all", None)
    search(reference)
    assert {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()} == before


def test_further_configurations_extend_a_search(reference, tmp_path, monkeypatch):
    def stop(self, turn):
        advance(self, turn)
        self.interruption.requested = int(turn.parts[0].state.optimizer.iteration.max()) >= 7  # in the second round

    advance = DrawTraining.advance
    with monkeypatch.context() as patch:
        patch.setattr(training, "ROUND_SECONDS", 1e-9)
        patch.setattr(DrawTraining, "advance", stop)
        with pytest.raises(Interrupted):
            search(tmp_path / "search", spec_of(population=small(l2=1e-5)))
    search(tmp_path / "search")
    assert_same_tables(tmp_path / "search", reference)


def test_a_finished_search_that_grows_is_not_finished(reference, tmp_path, monkeypatch):
    search(tmp_path / "search", spec_of(population=small(cells="gru", l2=(1e-5, 1e-3))))
    before = (tmp_path / "search" / "chosen.csv").read_bytes()

    def stop(self, turn):
        self.interruption.requested = True

    with monkeypatch.context() as patch:
        patch.setattr(DrawTraining, "advance", stop)
        with pytest.raises(Interrupted):
            search(tmp_path / "search")
    with pytest.raises(RunError, match="is not finished; run the same search again"):
        load_search(tmp_path / "search")
    search(tmp_path / "search")
    assert_same_tables(tmp_path / "search", reference)
    assert (tmp_path / "search" / "chosen.csv").read_bytes() != before


def test_the_draws_count_what_is_left(tmp_path):
    spec = spec_of()
    with RunFolder(tmp_path / "run", spec.drawn) as folder:
        left = DrawTraining(spec, None, folder, CPUEngine(), None, None, 60).left("gru-tanh-4")
        assert left == (spec.drawn.groups["gru-tanh-4"], spec.cost // 2)
        assert Training(folder, CPUEngine(), None, None, 60).left("gru-tanh-4")[1] == spec.plain_cost // 2


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draws": 0}, "draws must be a positive whole number; it is 0"),
        ({"rounds": 0}, "rounds must be a positive whole number; it is 0"),
        ({"finalists": 1.5}, r"finalists must be a positive whole number; it is 1\.5"),
        ({"repeats": -1}, "repeats must be a whole number, 0 or more; it is -1"),
        ({"incumbent": 1}, "incumbent must be true or false; it is 1"),
        ({"rounds": 6}, "6 rounds need at least 32 iterations, one for the first; there are 20: take fewer rounds"),
        ({"ranges": 5}, "ranges must be a table such as .*; it is 5"),
        ({"ranges": {"lr": (0.1, 1.0)}}, "unknown range 'lr'.*; allowed are clip, learning_rate, decay, momentum"),
        ({"ranges": {"clip": 5}}, "the range of clip must be its lowest and highest value; it is 5"),
        ({"ranges": {"clip": (5.0, 1.0)}}, r"the range of clip must begin with its lowest value; it is 5\.0 to 1\.0"),
        ({"ranges": {"clip": (1.0, np.inf)}}, "the range of clip must be a number; it is inf"),
        ({"ranges": {"learning_rate": (0.0, 1.0)}}, "learning_rate must be greater than 0"),
        (
            {"population": small(optimizer="adam"), "ranges": {"momentum": (0.5, 1.0)}},
            "^the range of momentum must be below 1 with adam",
        ),
        ({"population": "cdi"}, "population must be a PopulationSpec; it is 'cdi'"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(UsageError, match=message):
        SearchSpec(**({"population": small()} | changes))


def test_bad_arguments(tmp_path):
    with pytest.raises(UsageError, match="spec must be a SearchSpec; it is 'cdi'"):
        search_hyperparameters("cdi", tmp_path / "search")
    with pytest.raises(UsageError, match="checkpoint_seconds must be 0 or more; it is -1"):
        search(tmp_path / "search", checkpoint_seconds=-1)
    with pytest.raises(UsageError, match="checkpoint_seconds must be 0 or more; it is None"):
        search(tmp_path / "search", checkpoint_seconds=None)
    assert not (tmp_path / "search").exists()


def test_a_folder_of_something_else_is_refused(reference, tmp_path):
    train(small(iterations=1), tmp_path / "run", "cpu", progress=False)
    with pytest.raises(UsageError, match=r"holds other files \(checkpoints, figures, groups\)"):
        search(tmp_path / "run")
    with pytest.raises(UsageError, match=r"is not a search: it has no search\.toml"):
        load_search(tmp_path / "run")
    message = r"holds another search \(draws: 6 there, 8 here\); a search can be extended by further configurations"
    with pytest.raises(UsageError, match=message):
        search(reference, spec_of(draws=8))
    before = (reference / "search.toml").read_bytes()
    for changes, words in (
        ({"iterations": 30}, "iterations: 20 there, 30 here"),
        ({"task": "cdi", "task_settings": {}}, "task: flipflop there, cdi here"),
        ({"cells": "gru"}, "cells: vanilla there and not here"),
    ):
        with pytest.raises(UsageError, match=rf"holds another search \({words}\).*search\.toml' as the specification"):
            search(reference, spec_of(population=small(l2=(1e-5, 1e-3), **changes)))
    assert (reference / "search.toml").read_bytes() == before


def test_an_extension_that_is_refused_leaves_the_search_as_it_was(tmp_path):
    """Of lack of disk, for one: what was found is still there, and the first command still goes on with it."""
    first = spec_of(population=small(cells="gru"))
    search(tmp_path / "search", first)
    before = {path: path.read_bytes() for path in (tmp_path / "search").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"needs about .* of disk"):
        search(tmp_path / "search", spec_of(population=small(cells="gru", sizes=(4, 400_000))))
    assert {path: path.read_bytes() for path in before} == before
    search(tmp_path / "search", first)


def test_other_values_in_use_are_another_search(tmp_path):
    """Finalists were compared with the ones before."""
    first = spec_of(population=small(cells="gru"))
    search(tmp_path / "search", first)
    before = (tmp_path / "search" / "search.toml").read_bytes()
    other = spec_of(population=small(cells="gru", hyperparameters=[{"learning_rate": 0.02}]))
    words = r"values in use: learning_rate of gru-tanh-4-1e-05 is .* there, 0\.02 here"
    with pytest.raises(UsageError, match=rf"holds another search \({words}\)"):
        search(tmp_path / "search", other)
    assert (tmp_path / "search" / "search.toml").read_bytes() == before
    load_search(tmp_path / "search")
    again = SearchSpec.from_toml(tmp_path / "search" / "search.toml")
    assert len(search(tmp_path / "search", again).chosen) == 1
    without = {"population": small(cells="gru"), "repeats": 0}
    search(tmp_path / "without", spec_of(**without))
    search(tmp_path / "without", spec_of(**without | {"population": other.population}))  # which it does not compare


def test_a_search_that_kept_nothing_yet_takes_any_settings(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DrawTraining, "train_wave", stop)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "search", spec_of(draws=4))
    search(tmp_path / "search", spec_of(draws=6, population=small(cells="gru")))
    assert load_search(tmp_path / "search").settings["search"]["draws"] == 6


@pytest.mark.parametrize("part", ["draws", "finalists"])
def test_the_parts_of_a_search_are_no_runs_to_train(reference, part):
    before = (reference / part / "networks.csv").read_bytes()
    with pytest.raises(UsageError, match=rf"{part}' is part of a search: fastrnn search --spec '.*search\.toml' --out"):
        train(load_run(reference / part).spec, reference / part, "cpu", progress=False)
    assert (reference / part / "networks.csv").read_bytes() == before


@pytest.mark.parametrize("text", ["", "[record]\n", "search = 4\n[record]\n", "[search]\ndraws = 6\n"])
def test_a_search_toml_of_something_else(tmp_path, text):
    (tmp_path / "search.toml").write_text(text)
    with pytest.raises(
        RunError, match=r"search\.toml' has no table \[(search|record)\] and is not what a search writes"
    ):
        search(tmp_path)
    assert (tmp_path / "search.toml").read_text() == text and os.listdir(tmp_path) == ["search.toml"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text[: text.index("draws")] + "draws = ", r"is not a TOML file: .*; restore it from a copy"),
        (lambda text: text.replace("schema = 1", "schema = 2"), "has schema version 2; this fastrnn reads version 1"),
        (lambda text: text.replace("draws = ", "drows = "), r"is damaged: search\.draws is missing; restore it"),
        (lambda text: text.replace("iterations = ", "iteration = "), "is damaged: iterations is missing; restore it"),
        (lambda text: text.replace("fingerprint = ", "finger = "), r"is damaged: record\.fingerprint is missing"),
    ],
)
def test_a_damaged_search_toml(reference, tmp_path, spoil, message):
    path = Path(shutil.copytree(reference, tmp_path / "search")) / "search.toml"
    whole = path.read_text()
    path.write_text(spoil(whole))
    assert path.read_text() != whole
    for use in (load_search, search):
        with pytest.raises(RunError, match=rf"search\.toml' {message}"):
            use(path.parent)


def test_a_damaged_table_is_told_and_written_again(reference, tmp_path):
    search(tmp_path / "search")
    for name, spoil, words in (
        ("draws.csv", lambda data: b"", ""),
        ("draws.csv", lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "draws are missing"),
        ("draws.csv", lambda data: data.replace(b"trained", b"trained,1", 1), ""),
        ("finalists.csv", lambda data: data.replace(b"draw,", b"drow,", 1), "it has no column 'draw'"),
        ("chosen.csv", lambda data: data.replace(b"momentum", b"momontum", 1), "it has no column 'momentum'"),
        ("chosen.csv", lambda data: data.replace(b"e-05", b"e-O5"), "could not convert"),
        ("finalists.csv", lambda data: b"\xff\x00" + data[2:], ""),
    ):
        path = tmp_path / "search" / name
        whole = path.read_bytes()
        path.write_bytes(spoil(whole))
        assert path.read_bytes() != whole
        with pytest.raises(RunError, match=rf"could not read .*{name}': .*{words}.*run the search again"):
            load_search(tmp_path / "search")
        path.write_bytes(whole)
    load_search(tmp_path / "search")
    path.write_bytes(b"")
    search(tmp_path / "search")
    assert_same_tables(tmp_path / "search", reference)


# ------------------------------------------------------------------------------------------------------------ files


def test_settings_go_to_a_file_and_back(tmp_path):
    spec = spec_of(rounds=2, finalists=3, repeats=1, incumbent=False, ranges={"momentum": (0.5, 0.9)})
    (tmp_path / "search.toml").write_text(spec.to_toml())
    assert SearchSpec.from_toml(tmp_path / "search.toml") == spec
    assert SearchSpec.from_toml(tmp_path / "search.toml", draws=4) == replace(spec, draws=4)
    with pytest.raises(UsageError, match=r"unknown setting of a search 'drwas' \(did you mean 'draws'\?\)"):
        SearchSpec.from_settings({"search": {"drwas": 4}})
    with pytest.raises(UsageError, match="search must be a table of settings, such as draws = 32; it is 4"):
        SearchSpec.from_settings({"search": 4})


def test_the_folder_says_what_made_it(tmp_path, figures):
    search(tmp_path / "search", spec_of(repeats=0, population=small(cells="gru")), command="fastrnn search")
    record = load_search(tmp_path / "search").settings["record"]
    assert record["command"] == "fastrnn search"
    assert len(record["date"]) == 10
    search(tmp_path / "search", spec_of(repeats=0, population=small(cells="gru")), command="another")
    assert load_search(tmp_path / "search").settings["record"] == record
    written = tmp_path / "search" / "search.toml"
    written.write_text(written.read_text().replace('optimizer = "sgd"\n', ""))  # as before there was a choice
    search(tmp_path / "search", spec_of(repeats=0, population=small(cells="gru")), command="another")
    assert load_search(tmp_path / "search").settings["record"] == record
    more = spec_of(repeats=0, population=small(cells="gru", l2=(1e-5, 1e-3)))
    search(tmp_path / "search", more, command="fastrnn search --l2 1e-5,1e-3")
    assert load_search(tmp_path / "search").settings["record"]["command"] == "fastrnn search --l2 1e-5,1e-3"
    assert SearchSpec.from_toml(tmp_path / "search" / "search.toml") == more
    names = {path.name for path in (tmp_path / "search" / "figures").iterdir()}
    assert names == {f"hyperparameters-4-{l2}.{ending}" for l2 in ("1e-05", "0.001") for ending in ("svg", "png")}
