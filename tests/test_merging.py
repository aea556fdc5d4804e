"""Parts of a population, trained apart and put together."""

import re
import shutil
from dataclasses import replace

import pytest
from populations import assert_same_bits, contents, small
from typer.testing import CliRunner

from fastrnn.cells import LEAKY_CELLS
from fastrnn.cli import app
from fastrnn.errors import RunError, UsageError
from fastrnn.groups import FinishedGroup
from fastrnn.merging import merge_runs, whole_of
from fastrnn.progress import Interrupted
from fastrnn.runs import load_run
from fastrnn.search import SearchSpec
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import Task
from fastrnn.training import Training, default_folder, train

WHOLE = {"seeds": 3, "sizes": (4, 6)}  # 2 cells x 2 sizes x 3 seeds = 12 networks
PARTS = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The population in one folder."""
    return train(small(**WHOLE), tmp_path_factory.mktemp("whole") / "run", "cpu", progress=False).path


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Its five parts in five."""
    folder = tmp_path_factory.mktemp("parts")
    specs = [small(**WHOLE, part=f"{i}/{PARTS}") for i in range(1, PARTS + 1)]
    return [train(spec, folder / str(i), "cpu", progress=False).path for i, spec in enumerate(specs)]


@pytest.fixture
def copies(parts, tmp_path):
    return [shutil.copytree(part, tmp_path / "copies" / part.name) for part in parts]


# ----------------------------------------------------------------------------------------------------- the parts


@pytest.mark.parametrize("parts", [1, 2, 7, 40, 120])
def test_parts_share_out_a_population(parts):
    whole = PopulationSpec.preset("paper")
    shares = [PopulationSpec.preset("paper", part=f"{i}/{parts}") for i in range(1, parts + 1)]
    assert sorted(name for share in shares for name in share.ids) == sorted(whole.ids)  # each network once
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for group, rows in whole.groups.items():
        counts = [len(share.groups.get(group, [])) for share in shares]
        assert max(counts) - min(counts) <= 1  # large networks go to every part
        assert sum(counts) == len(rows)
    assert all(whole.contains(share) for share in shares)


def test_a_part_is_written_down_and_a_whole_has_none(tmp_path):
    spec = small(part=" 2 / 3")
    assert spec.part == "2/3"
    (tmp_path / "p.toml").write_text(spec.to_toml())
    assert PopulationSpec.from_toml(tmp_path / "p.toml") == spec
    assert "part" not in small().to_settings()


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5", "", 3, (1, 3), ["1/3"], True])
def test_what_is_no_part(part):
    with pytest.raises(UsageError, match=r"part must be a number from 1 and how many there are, such as 3/40; it is "):
        small(part=part)


def test_more_parts_than_networks():
    assert len(small(part="4/4")) == 1
    with pytest.raises(UsageError, match="part 5/5 of 4 networks has none; take fewer parts"):
        small(part="5/5")


def test_a_part_contains_no_other():
    here, there = small(part="1/2"), small(part="2/2")
    (reason,) = here.obstacles(there.to_settings())
    assert reason == "part 1/2: 2 networks there and not here, vanilla-tanh-4-1e-05-1 for one"
    assert not here.contains(small())
    assert here.contains(small(part="1/4"))  # every fourth network is every second too
    assert small().contains(there)


def test_a_part_has_a_folder_of_its_own():
    assert default_folder(small(seeds=20, part="12/40")).as_posix() == "parts/flipflop/12-of-40"


def test_a_search_is_of_a_whole_population():
    with pytest.raises(UsageError, match="a search is of a whole population; remove part 1/2 from its settings"):
        SearchSpec(small(part="1/2"))


def test_the_rest_can_be_trained_in_the_folder_of_a_part(whole, copies):
    train(small(**WHOLE), copies[0], "cpu", progress=False)
    assert_same_bits(copies[0], whole)
    assert load_run(copies[0]).spec == small(**WHOLE)


# ----------------------------------------------------------------------------------------------------- together


def test_parts_put_together_are_the_whole_to_the_bit(whole, parts, tmp_path, capsys):
    run = merge_runs(parts, tmp_path / "run")
    assert capsys.readouterr().err == f"{tmp_path / 'run'}: all 12 networks of 5 runs are there\n"
    assert_same_bits(run.path, whole)
    for name in ("networks.csv", "population.toml"):
        assert (run.path / name).read_bytes() == (whole / name).read_bytes()
    for group in run.groups:  # the order within a file too
        assert run.finished(group).ids == load_run(whole).finished(group).ids
    assert (run.path / "figures" / "learning_curves.svg").exists()
    assert load_run(run.path).spec == small(**WHOLE)
    assert not any((run.path / "checkpoints").iterdir())


def test_the_order_of_the_parts_does_not_matter(whole, parts, tmp_path):
    run = merge_runs([load_run(part) for part in parts[::-1]], tmp_path / "run", progress=False)
    assert (run.path / "networks.csv").read_bytes() == (whole / "networks.csv").read_bytes()


def test_a_part_that_comes_later(whole, parts, tmp_path, capsys):
    out = tmp_path / "run"
    merge_runs([parts[0], parts[3]], out)
    said = capsys.readouterr().err
    assert f"{out}: 5 of 12 networks are there\n" in said
    assert "7 networks in none of the runs, vanilla-tanh-4-1e-05-1 for one (no part 2, 3, 5 of 5): merge again" in said
    assert (load_run(out).table.status == "training").sum() == 7
    merge_runs([parts[1]], out, progress=True)
    assert "(no part 3, 5 of 5)" in capsys.readouterr().err  # the others are there from before
    merge_runs([parts[1], parts[2], parts[4]], out)
    assert capsys.readouterr().err == f"{out}: all 12 networks of 3 runs are there\n"
    assert_same_bits(out, whole)


def test_what_is_missing_trains_where_the_message_says(whole, parts, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    merge_runs(parts[:2], "merged")
    (command,) = re.findall(r"fastrnn (train-population --spec .*)\n", capsys.readouterr().err)
    call(*command.split(), "--device", "cpu")
    assert_same_bits(tmp_path / "merged", whole)


def test_a_part_that_did_not_finish(whole, copies, tmp_path, capsys, monkeypatch):
    shutil.rmtree(copies[2])
    advance = Training.advance

    def interrupted(self, turn):
        advance(self, turn)
        self.interruption.requested = True

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", interrupted)
        patch.setattr("fastrnn.training.ROUND_SECONDS", 1e-9)
        with pytest.raises(Interrupted):
            train(small(**WHOLE, part="3/5"), copies[2], "cpu", progress=False)
    merge_runs(copies, tmp_path / "run")
    said = capsys.readouterr().err
    assert "10 of 12 networks are there" in said
    assert f"{str(copies[2])!r} has 2 networks that did not finish, vanilla-tanh-4-1e-05-2 for one: its command" in said
    assert "in none of the runs" not in said
    train(small(**WHOLE, part="3/5"), copies[2], "cpu", progress=False)
    merge_runs(copies, tmp_path / "run", progress=False)
    assert_same_bits(tmp_path / "run", whole)


def test_runs_of_some_cells_sizes_and_seeds(tmp_path):
    specs = [small(cells="gru"), small(cells="lstm", sizes=6, seeds=1), small(cells="gru", l2=(0.0, 1e-5))]
    runs = [train(spec, tmp_path / str(i), "cpu", progress=False) for i, spec in enumerate(specs)]
    run = merge_runs(runs, tmp_path / "both", progress=False)
    assert (run.spec.cells, run.spec.sizes, run.spec.l2, run.spec.seeds) == (("gru", "lstm"), (4, 6), (1e-5, 0.0), 2)
    for other in runs:
        assert_same_bits(run.path, other.path)
    assert len(contents(run.path)) == 5 == (run.table.status == "trained").sum()  # two are in two runs
    assert len(run.table) == 16


def test_a_run_may_be_merged_into_itself(whole, copies):
    merge_runs(copies, copies[0], progress=False)
    assert_same_bits(copies[0], whole)


def test_the_task_of_the_user(tmp_path):
    def batch(rng, settings, trials):
        inputs = rng.normal(size=(trials, 3, 1))
        return inputs, inputs

    def population(part):
        task = Task("own", D=1, K=1, T=3, batch=batch)
        return PopulationSpec(task, cells="gru", activations="tanh", sizes=4, seeds=2, iterations=2, part=part)

    runs = [train(population(f"{i}/2"), tmp_path / str(i), "cpu", progress=False) for i in (1, 2)]
    for _ in range(2):
        assert len(contents(merge_runs(runs, tmp_path / "run", progress=False).path)) == 2
    paths = [run.path for run in runs]
    with pytest.raises(UsageError, match=r"give its task: load_run\(path, task=...\)"):
        merge_runs(paths, tmp_path / "other", progress=False)
    merge_runs(paths, tmp_path / "other", population("1/2").task, progress=False)


def test_a_kind_that_no_run_has_is_excluded():
    specs = [PopulationSpec("sine", cells="lstm"), PopulationSpec("sine", cells="gru", activations="relu")]
    assert whole_of(specs).excluded == ("lstm-relu", "gru-tanh")
    assert whole_of([PopulationSpec("sine", cells="gru")]).excluded == ("lstm-relu",)  # should LSTMs be added


@pytest.mark.parametrize("cell", LEAKY_CELLS)
def test_the_whole_has_the_alpha_of_its_leaky_cells(cell):
    plain, leaky = PopulationSpec(cells="gru"), PopulationSpec(cells=cell, alpha=0.5)
    assert whole_of([plain, leaky]) == PopulationSpec(cells=("gru", cell), alpha=0.5)
    assert whole_of([leaky, plain]) == PopulationSpec(cells=(cell, "gru"), alpha=0.5)


@pytest.mark.parametrize(("name", "other"), [("alpha", {"alpha": 0.2}), ("noise", {"alpha": 0.5, "noise": 0.1})])
def test_leaky_runs_agree_also_where_the_first_run_has_no_leaky_cells(name, other, tmp_path):
    names = [str(tmp_path / name) for name in ("plain", "one", "other")]
    train(small(cells="gru", iterations=0), names[0], progress=False)
    train(small(cells="leaky", iterations=0, alpha=0.5), names[1], progress=False)
    train(small(cells="current", sizes=5, iterations=0, **other), names[2], progress=False)
    merged = merge_runs(names[:2], tmp_path / "both")
    assert (merged.spec.alpha, merged.spec.noise) == (0.5, 0.0)
    with pytest.raises(UsageError, match=f"other' and .*one' are not of one population .{name}: "):
        merge_runs(names, tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_parts_keep_the_order_of_their_population():
    order = {"cells": ("lstm", "gru"), "sizes": (6, 4), "l2": (1e-3, 1e-5)}
    assert whole_of([small(**order, part=f"{i}/3") for i in (2, 1, 3)]) == small(**order)


def test_a_damaged_source_leaves_the_folder_as_it_was(copies, tmp_path):
    mine = train(small(cells="gru"), tmp_path / "mine", "cpu", progress=False).path
    before = (mine / "population.toml").read_bytes()
    path = copies[1] / "groups" / "gru-tanh-4.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunError, match=re.escape(str(path))):
        merge_runs(copies, mine, progress=False)
    assert (mine / "population.toml").read_bytes() == before
    assert len(load_run(mine).table) == 2


# ----------------------------------------------------------------------------------------------------- refusals


def test_runs_of_different_populations(parts, tmp_path):
    other = train(small(iterations=3), tmp_path / "other", "cpu", progress=False).path
    message = (
        f"{str(other)!r} and {str(parts[0])!r} are not of one population (iterations: 3 there, 20 here); give runs "
        "that differ in their networks only"
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        merge_runs([*parts, other], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match=re.escape(message)):  # the folder's own counts too
        merge_runs(parts, other)
    assert load_run(other).spec == small(iterations=3)


def trained_with(path, **changes):
    return train(small(iterations=2, **changes), path, "cpu", progress=False)


def test_runs_with_their_own_hyperparameters(tmp_path):
    """Each network keeps those it was trained with, so that the result can be gone on with."""
    tables = {
        "gru": ({"clip": 0.7}, {"seed": 1, "clip": 0.6}),
        "vanilla": ({"cell": "vanilla", "clip": 0.5}, {"momentum": 0.25}),
        "lstm": (),
    }
    runs = [trained_with(tmp_path / cell, cells=cell, hyperparameters=rows) for cell, rows in tables.items()]
    run = merge_runs(runs, tmp_path / "run", progress=False)
    for other in runs:
        assert_same_bits(run.path, other.path)
        columns = ["id", "learning_rate", "decay", "momentum", "clip"]
        rows = run.rows(other.table.id.tolist())
        assert rows[columns].to_dict() == other.table[columns].to_dict()
        assert run.spec.contains(other.spec)
    train(run.spec, run.path, "cpu", progress=False)


def test_one_network_with_two_values(tmp_path):
    rows = {"cell": "vanilla", "activation": "tanh", "n": 4, "l2": 1e-5, "seed": 0, "clip": 0.5}
    first = trained_with(tmp_path / "first", cells="vanilla", hyperparameters=(rows,))
    other = trained_with(tmp_path / "other", cells="vanilla", hyperparameters=(rows | {"clip": 0.25},))
    third = trained_with(tmp_path / "third", cells="gru")  # has nothing to do with it
    with pytest.raises(UsageError, match=r"clip of vanilla-tanh-4-1e-05-0 is 0\.5 there, 0\.25 here") as refused:
        merge_runs([third, first, other], tmp_path / "run")
    assert str(refused.value).startswith(f"{str(first.path)!r} and {str(other.path)!r} are not of one population")
    assert not (tmp_path / "run").exists()


def test_seeds_added_later_train_like_those_of_their_configuration():
    """Whatever the order of the runs; of a table for one cell, and of one whose rows would contradict another's."""
    specs = [
        small(cells="vanilla", hyperparameters=({"cell": "vanilla", "clip": 0.5},)),
        small(
            cells="gru", hyperparameters=({"n": 4, "clip": 0.25, "found": "rule"}, {"n": 4, "seed": 1, "decay": 0.2})
        ),
    ]
    for order in (specs, specs[::-1]):
        more = replace(whole_of(order), seeds=4)
        clips = {(row["cell"], row["seed"]): row["clip"] for row in more.rows}
        assert [clips["vanilla", seed] for seed in range(4)] == [0.5] * 4
        assert [clips["gru", seed] for seed in range(2)] == [0.25] * 2  # its seeds differ: later ones take the defaults
        assert set(more.unsearched) == {name for spec in specs for name in spec.unsearched}


def test_the_task_that_differs_is_named_and_not_what_follows_from_it(parts, tmp_path):
    other = trained_with(tmp_path / "cdi", task="cdi", task_settings={})
    for runs in ([parts[0], other], [other, parts[0]]):
        with pytest.raises(UsageError, match=r"are not of one population \(task: \w+ there, \w+ here\)"):
            merge_runs(runs, tmp_path / "run")


def test_a_part_that_has_not_begun_is_passed_over(parts, tmp_path, capsys):
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".lock").touch()
    merge_runs([parts[0], tmp_path / "early"], tmp_path / "run")
    assert f"{str(tmp_path / 'early')!r} has not begun; merge again when it has\n" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"nothing is in '.*early' yet; give runs that have begun"):
        merge_runs([tmp_path / "early"], tmp_path / "run")


def test_parts_of_different_processors_are_told(copies, tmp_path, capsys):
    path = copies[1] / "groups" / "gru-tanh-4.safetensors"
    replace(FinishedGroup.load(path), engines=("cuda (another)",)).save(path)
    run = merge_runs(copies, tmp_path / "run")
    assert re.search(r"warning: gru-tanh-4 was trained on cuda \(another\) and cpu .*, which", capsys.readouterr().err)
    assert "cuda (another)" in run.finished("gru-tanh-4").engines


@pytest.mark.parametrize("runs", [[], (), None, 3, {}, [3]])
def test_no_runs(runs, tmp_path):
    with pytest.raises(UsageError, match="runs must be the folders of one or several runs; it is "):
        merge_runs(runs, tmp_path / "run")


def test_a_folder_that_is_no_run(parts, tmp_path):
    with pytest.raises(UsageError, match=r"is not a run: it has no population\.toml"):
        merge_runs([parts[0], tmp_path / "none"], tmp_path / "run")


def test_a_damaged_part(copies, tmp_path):
    path = copies[1] / "groups" / "gru-tanh-4.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunError, match=re.escape(str(path))):
        merge_runs(copies, tmp_path / "run", progress=False)
    shutil.rmtree(copies[1])
    run = merge_runs([*copies[:1], *copies[2:]], tmp_path / "run", progress=False)
    missing = ["vanilla-tanh-4-1e-05-1", "gru-tanh-4-1e-05-0", "gru-tanh-6-1e-05-2"]
    assert run.table.id[run.table.status == "training"].tolist() == missing


def test_networks_of_another_seed_are_noticed(parts, copies, tmp_path):
    other = train(small(**WHOLE, seed=1, part="2/5"), tmp_path / "other", "cpu", progress=False).path
    shutil.copytree(other / "groups", copies[1] / "groups", dirs_exist_ok=True)
    with pytest.raises(RunError, match="holds networks of another population"):
        merge_runs(copies, tmp_path / "run", progress=False)


def test_a_folder_in_use(parts, tmp_path):
    from fastrnn.folder import RunFolder

    with RunFolder(tmp_path / "run", small(**WHOLE)), pytest.raises(RunError, match="is in use by process"):
        merge_runs(parts, tmp_path / "run")


# ---------------------------------------------------------------------------------------------- the command line


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="fastrnn")
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = "--cells vanilla --activations tanh --sizes 4 --seeds 4 --iterations 20 --batch 4 --setting steps=6"
    for part in (1, 2):
        out, _ = call("train-population", *settings.split(), "--device", "cpu", "--part", f"{part}/2")
        where = f"parts/flipflop/{part}-of-2: 2 networks on flipflop (part {part}/2 of a population), 2 trained"
        assert out.startswith(where)
    _, err = call("merge", "parts/flipflop/1-of-2", code=3)
    assert "(no part 2 of 2)" in err
    out, _ = call("merge", "parts/flipflop/1-of-2", "parts/flipflop/2-of-2")
    assert out.startswith("runs/flipflop: 4 networks on flipflop, 4 trained\n")
    train(small(cells="vanilla", seeds=4), tmp_path / "whole", "cpu", progress=False)
    assert_same_bits(tmp_path / "runs" / "flipflop", tmp_path / "whole")
    _, err = call("train-population", "--part", "3/2", code=2)
    assert "part must be a number from 1 and how many there are, such as 3/40; it is '3/2'" in err
