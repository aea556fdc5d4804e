"""The run folder: who may write to it, what it refuses, what can be read from it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from populations import small

import fastrnn
from fastrnn import storage
from fastrnn.cells import get_cell
from fastrnn.errors import RunError, Status, UsageError
from fastrnn.folder import FolderLock, RunFolder
from fastrnn.groups import TrainingGroup
from fastrnn.runs import load_run
from fastrnn.storage import save_arrays
from fastrnn.tasks import Task
from fastrnn.training import train

GROUP = "gru-tanh-4"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small finished run, to be copied before it is changed."""
    path = tmp_path_factory.mktemp("runs") / "small"
    train(small(), path, "cpu", progress=False)
    return path


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def group_file(path, group=GROUP):
    return path / "groups" / f"{group}.safetensors"


# ---------------------------------------------------------------------------------------------------- the lock


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with RunFolder(tmp_path / "run", small()) as folder:
        folder.begin()
        with pytest.raises(RunError, match=rf"run' is in use by process {os.getpid()} on .*; wait until it is done"):
            RunFolder(tmp_path / "run", small()).__enter__()
        load_run(tmp_path / "run")  # reading is free
    with RunFolder(tmp_path / "run", small()):
        pass


def test_a_lock_is_released_where_its_holder_can_not_be_removed(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    (tmp_path / ".holder").unlink()
    (tmp_path / ".holder").mkdir()
    with pytest.raises(OSError, match=r"\.holder"):
        lock.release()
    (tmp_path / ".holder").rmdir()
    other = FolderLock(tmp_path)
    other.acquire()
    other.release()


def test_a_lock_whose_holder_is_not_known(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    (tmp_path / ".holder").write_text("half a te")
    with pytest.raises(RunError, match="is in use by another process"):
        FolderLock(tmp_path).acquire()
    lock.release()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_leaves_no_lock(tmp_path):
    code = f"""
import time
from pathlib import Path
from fastrnn.folder import FolderLock
lock = FolderLock(Path({str(tmp_path)!r}))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"in use by process {process.pid}"):
            FolderLock(tmp_path).acquire()
        process.send_signal(signal.SIGKILL)
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()


# --------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 21}, r"holds another population \(iterations: 20 there, 21 here\); a run can be extended"),
        ({"task": "cdi", "task_settings": {}}, r"\(task: flipflop there, cdi here\)"),
        ({"seeds": 1, "batch": 5}, r"\(batch: 4 there, 5 here; seeds: 2 there, 1 here\)"),
        ({"hyperparameters": ({"clip": 0.5},)}, r"\(hyperparameters: clip of vanilla-tanh-4-1e-05-0 is"),
    ],
)
def test_another_population_is_refused_and_nothing_is_lost(copy, changes, message):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=message):
        train(small(**changes), copy, "cpu", progress=False)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_a_folder_without_networks_takes_any_population(tmp_path):
    with RunFolder(tmp_path / "run", small()) as folder:
        folder.begin()  # and killed before the first checkpoint
    train(small(seeds=1, batch=5), tmp_path / "run", "cpu", progress=False)
    assert load_run(tmp_path / "run").spec == small(seeds=1, batch=5)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.tex\) and no population\.toml; choose an empty"):
        RunFolder(tmp_path, small()).__enter__()
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="run' is a file; choose a folder"):
        RunFolder(tmp_path / "run", small()).__enter__()


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"could not write .*; choose a place that can be written"):
        RunFolder(tmp_path / "file" / "run", small()).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_file_system_that_takes_no_files():
    with pytest.raises(RunError, match=r"could not write '/proc.*; choose a place that can be written"):
        RunFolder("/proc/fastrnn", small()).__enter__()


@pytest.mark.parametrize("where", ["groups", "checkpoints"])
@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_damaged_weights_are_noticed_before_the_work(copy, where, damage):
    path = copy / where / f"{GROUP}.safetensors"
    if where == "checkpoints":
        with RunFolder(copy, small(seeds=3)) as folder:
            folder.save_checkpoint(GROUP, folder.unfinished(GROUP))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data[:-9] if damage == "truncated" else data)
    with pytest.raises(RunError, match=rf"{where}.*is damaged.*restore it from a copy, or remove it to train again"):
        train(small(seeds=3), copy, "cpu", progress=False)
    if where == "groups":
        with pytest.raises(RunError, match="is damaged"):
            load_run(copy).networks(GROUP)
    path.unlink()
    train(small(seeds=3), copy, "cpu", progress=False)
    assert len(load_run(copy).networks(GROUP)) == 3


def test_weights_of_another_schema_version(copy, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA_VERSION", 7)
    save_arrays(group_file(copy), {"W_rec": np.zeros(1)})
    monkeypatch.undo()
    with pytest.raises(RunError, match="has schema version 7; this fastrnn reads version 1"):
        train(small(), copy, "cpu", progress=False)


def test_a_folder_of_another_schema_version(copy):
    toml = copy / "population.toml"
    toml.write_text(toml.read_text().replace("schema = 1", "schema = 2"))
    for use in (load_run, lambda path: train(small(), path, "cpu", progress=False)):
        with pytest.raises(RunError, match=r"population\.toml' has schema version 2; this fastrnn reads version 1"):
            use(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 3], r"population\.toml' is not a TOML file|has schema version none"),
        (lambda text: text.replace("batch = 4\n", ""), r"population\.toml' is damaged: batch is missing"),
        (lambda text: "record = 3\n" + text.split("[record]")[0], "is damaged: record is 3, not a table"),
        (lambda text: text.replace("fingerprint", "print"), r"damaged: record\.fingerprint is missing"),
        (lambda text: "", r"population\.toml' is damaged: task is missing; restore it"),
        (lambda text: text.replace("schema = 1", ""), r"damaged: record\.schema is missing"),
        (lambda text: re.sub(r"cells = \[[^]]*\]", "cells = 5", text), r"population\.toml' is damaged: .*cells.* 5"),
        (lambda text: text.replace("seeds = 2", 'seeds = "x"'), "damaged: seeds must be a positive whole number"),
        (
            lambda text: text.replace("sizes = [", "sizes = 3 #["),
            r"population\.toml' is not a TOML file|damaged: sizes",
        ),
        (lambda text: text.replace("steps = 6", "steps = 'x'"), "damaged: task 'flipflop': setting 'steps' must be"),
        (lambda text: text.replace('task = "flipflop"', "task = 3"), "damaged: task must be a name"),
        (lambda text: text.replace("threshold = 0.01", "threshold = 'x'"), "damaged: .*threshold must be a number"),
    ],
)
def test_a_damaged_population_file(copy, change, message):
    toml = copy / "population.toml"
    toml.write_text(change(toml.read_text()))
    for use in (load_run, lambda path: train(small(), path, "cpu", progress=False)):
        with pytest.raises(RunError, match=message):
            use(copy)


def test_what_leaky_cells_need_is_missing(tmp_path):
    train(small(cells="leaky", iterations=0), tmp_path, "cpu", progress=False)
    toml = tmp_path / "population.toml"
    for name, line in (("alpha", "alpha = 0.2\n"), ("noise", "noise = 0.0\n")):
        whole = toml.read_text()
        toml.write_text(whole.replace(line, ""))
        with pytest.raises(RunError, match=rf"population\.toml' is damaged: {name} is missing"):
            load_run(tmp_path)
        toml.write_text(whole)
    assert load_run(tmp_path).report()["alpha"] == 0.2


def test_a_checkpoint_of_the_other_optimizer_is_noticed(tmp_path):
    spec = small(cells="gru", optimizer="adam")
    with RunFolder(tmp_path / "run", spec) as folder:
        folder.begin()
        state = TrainingGroup.start(small(cells="gru"), spec.groups[GROUP])
        folder.save_checkpoint(GROUP, state)
    with pytest.raises(RunError, match=r"gru-tanh-4\.safetensors' holds networks of another population; remove it"):
        train(spec, tmp_path / "run", "cpu", progress=False)


def test_a_setting_that_the_task_does_not_take_is_damage(copy):
    toml = copy / "population.toml"
    toml.write_text(toml.read_text().replace("steps = 6", "steps = 0"))
    with pytest.raises(RunError, match=r"population\.toml' is damaged: task 'flipflop': steps must be .*restore it"):
        _ = load_run(copy).spec


def test_networks_of_another_population_are_noticed(copy, tmp_path):
    train(small(seed=1), tmp_path / "other", "cpu", progress=False)
    os.replace(group_file(tmp_path / "other"), group_file(copy))
    with pytest.raises(RunError, match=r"gru-tanh-4\.safetensors' holds networks of another population; remove it"):
        train(small(), copy, "cpu", progress=False)
    with pytest.raises(RunError, match=r"gru-tanh-4\.safetensors' holds networks of another population; remove it"):
        load_run(copy).networks(GROUP)
    shutil.copy(group_file(copy, "vanilla-tanh-4"), group_file(copy))
    with pytest.raises(RunError, match=r"gru-tanh-4\.safetensors' holds networks of another population; remove it"):
        load_run(copy).networks(GROUP)


# --------------------------------------------------------------------------------------- left by a killed process


def test_leftovers_are_put_in_order(copy, trained):
    with RunFolder(copy, small(seeds=3)) as folder:
        folder.save_checkpoint(GROUP, folder.unfinished(GROUP))
    train(small(seeds=3), copy, "cpu", progress=False)
    # killed after the group's file, before the checkpoint's removal and the table
    with RunFolder(copy, small(seeds=3)) as folder:
        folder.save_checkpoint(GROUP, TrainingGroup.start(small(seeds=3), small(seeds=3).groups[GROUP][2:]))
    (copy / "networks.csv").unlink()
    (copy / "groups" / ".half.1234.tmp").write_bytes(b"half")
    train(small(seeds=3), copy, "cpu", progress=False)
    assert sorted(os.listdir(copy / "groups")) == ["gru-tanh-4.safetensors", "vanilla-tanh-4.safetensors"]
    assert os.listdir(copy / "checkpoints") == []
    assert set(load_run(copy).table.status) == {"trained"}


# --------------------------------------------------------------------------------------------------- reading a run


def test_the_table(trained):
    run = fastrnn.load_run(trained)
    assert run.spec == small()
    assert run.table.id.tolist() == small().ids
    assert set(run.table.status) == {"trained"}
    assert set(run.table.iterations) == {20}
    assert np.isfinite(run.table[["training_loss", "validation_loss"]]).all(axis=None)
    of = run.group_table(GROUP)
    np.testing.assert_array_equal(of.validation_loss, run.finished(GROUP).validation_loss)
    assert repr(run) == f"<Run {str(trained)!r}: 4 networks, task 'flipflop'>"


def test_networks_losses_and_rollout(trained):
    run = load_run(trained)
    assert run.groups == ["vanilla-tanh-4", GROUP] == run.finished_groups()
    networks = run.networks(GROUP)
    assert networks.W_rec.shape == (2, 4, 12)
    iteration, losses = run.losses(GROUP)
    assert losses.shape == (2, 20)
    assert iteration[-1] == 20
    inputs, targets, _ = run.task.probe(3)
    states, outputs = run.rollout(GROUP, inputs)
    assert states.shape == (2, 3, 6, 4)
    assert outputs.shape == (2, *targets.shape)
    network = {name: array[1].astype(float) for name, array in networks.arrays.items()}
    h = get_cell("gru").step(network, "tanh", networks.gate_bias, network["h0"], inputs[2, 0].astype(float))
    np.testing.assert_allclose(states[1, 2, 0], h, rtol=1e-5, atol=1e-6)


def test_the_validation_loss_is_that_of_the_stored_networks(trained):
    run = load_run(trained)
    loss = fastrnn.engines.get("cpu").loss(run.networks(GROUP), run.task)
    np.testing.assert_array_equal(loss, run.group_table(GROUP).validation_loss)


def test_summary_and_report(trained):
    run = load_run(trained)
    summary = run.summary()
    assert summary.group.tolist() == run.groups
    assert summary.l2.tolist() == [1e-5, 1e-5]
    assert summary.networks.tolist() == summary.trained.tolist() == [2, 2]
    report = json.loads(json.dumps(run.report()))
    assert {name: report[name] for name in ("networks", "trained", "diverged", "learnt", "iterations")} == {
        "networks": 4, "trained": 4, "diverged": 0, "learnt": 0, "iterations": 20,
    }  # fmt: skip
    best = float(run.table.validation_loss.min())
    run.settings["record"]["threshold"] = np.nextafter(best, 2.0)
    assert run.report()["learnt"] == 1
    assert sorted(run.summary().share) == [0.0, 0.5]
    run.settings["record"]["threshold"] = 100.0
    assert run.report()["learnt"] == 4
    assert run.summary().learnt.tolist() == [2, 2]
    assert run.report()["failures"] == []
    del run.settings["record"]["threshold"]
    report = json.loads(json.dumps(run.report()))
    assert report["learnt"] is None  # nobody knows
    assert all(row["learnt"] is None and row["share"] is None for row in report["configurations"])
    assert report["failures"] == []


def test_a_group_whose_file_is_gone(tmp_path):
    run = train(small(), tmp_path / "run", "cpu", progress=False)
    run.group_path(GROUP).unlink()
    with pytest.raises(RunError, match=r"the file of group 'gru-tanh-4' is missing, .*train its networks anew"):
        run.networks(GROUP)
    again = train(small(), tmp_path / "run", "cpu", progress=False)
    assert len(again.networks(GROUP)) == 2


def test_configurations_of_one_group_are_told_apart(tmp_path):
    run = train(small(l2=(1e-5, 1e-3), seeds=1), tmp_path / "run", "cpu", progress=False)
    rows = run.summary().set_index(["group", "l2"])
    assert rows.index.tolist() == [(group, l2) for group in run.groups for l2 in (1e-5, 1e-3)]
    for row in run.table.itertuples():
        assert rows.median_validation_loss[f"{row.cell}-{row.activation}-4", row.l2] == row.validation_loss


def test_failures_have_their_reasons(copy):
    run = load_run(copy)
    finished = run.finished(GROUP)
    half = finished.loss_curve.shape[1] - 2  # the last two of 20 iterations are the last tenth
    finished.loss_curve[0] = np.where(np.arange(20) < half, 1.0, 0.8)
    finished.loss_curve[1] = np.where(np.arange(20) < half, 1.0, 0.95)
    finished.validation_loss[:] = 0.5, 0.6
    finished.save(group_file(copy, GROUP))
    vanilla = run.finished("vanilla-tanh-4")
    vanilla.status[0], vanilla.iterations[0] = Status.DIVERGED, 7
    vanilla.validation_loss[:] = 0.001
    vanilla.save(group_file(copy, "vanilla-tanh-4"))
    train(small(), copy, "cpu", progress=False)
    failures = load_run(copy).failures().set_index("id")
    assert failures.index.tolist() == ["vanilla-tanh-4-1e-05-0", "gru-tanh-4-1e-05-0", "gru-tanh-4-1e-05-1"]
    assert failures.status.tolist() == ["diverged", "trained", "trained"]
    first, second, third = failures.reason
    assert first.startswith("diverged after 7 iterations: its loss or gradient was no longer finite")
    assert second == "validation loss 0.5 after 20 iterations, not below 0.01, still falling: more iterations may do"
    assert third == "validation loss 0.6 after 20 iterations, not below 0.01, no longer falling"


def test_a_group_in_training(tmp_path):
    with RunFolder(tmp_path / "run", small()) as folder:
        folder.begin()
        state = folder.unfinished(GROUP)
        state.optimizer.iteration[:] = 5, 3
        state.optimizer.status[:] = Status.TRAINING, Status.DIVERGED
        folder.save_checkpoint(GROUP, state)
        folder.write_table()
    run = load_run(tmp_path / "run")
    assert run.summary().set_index("group").iterations[GROUP] == 5
    run.table.loc[run.table.status == "diverged", "status"] = "training"
    assert run.summary().set_index("group").iterations[GROUP] == 3  # of those that are not done the fewest
    assert run.table.validation_loss.isna().all()
    assert run.finished_groups() == []
    with pytest.raises(RunError, match=r"'gru-tanh-4' of .* is not finished \(3 of 20 iterations\); run train-pop"):
        run.networks(GROUP)


def test_what_is_not_there(trained, tmp_path):
    with pytest.raises(UsageError, match=r"is not a run: it has no population\.toml"):
        load_run(tmp_path)
    with pytest.raises(UsageError, match=r"a run is given by the path of its folder; it is 3"):
        load_run(3)
    with pytest.raises(UsageError, match=r"unknown group 'gru-tanh-5'.*did you mean 'gru-tanh-4'"):
        load_run(trained).networks("gru-tanh-5")


def without(text, number):
    lines = text.splitlines(True)
    return "".join(lines[:number] + lines[number + 1 :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("id,", "name,", 1), r"networks\.csv': its columns must be id, cell"),
        (lambda text: text + "gru\n", r"could not read .*networks\.csv"),
        (lambda text: text.replace(",20,", ",twenty,"), r"networks\.csv': invalid literal.*run train-population again"),
        (lambda text: "", r"could not read .*networks\.csv"),
        (lambda text: text + "\0", r"could not read .*networks\.csv"),
        (
            lambda text: without(text, 2),
            r"networks\.csv': line 3: id must be 'vanilla-tanh-4-1e-05-1'; it is 'gru-tanh",
        ),
        (lambda text: without(text, 4), r"networks\.csv': it must have the 4 networks of population\.toml; it has 3"),
        (lambda text: text.splitlines(True)[0], r"must have the 4 networks of population\.toml; it has 0"),
        (lambda text: text + text.splitlines(True)[-1], r"must have the 4 networks of population\.toml; it has 5"),
        (lambda text: text[: text.rindex(",")], r"line 5: it must have 14 fields; it has 13"),
        (lambda text: text.replace(",vanilla,", ",vanila,"), r"line 2: cell must be 'vanilla'; it is 'vanila'"),
        (lambda text: text.replace(",4,1e-05,1,", ",5,1e-05,1,"), r"line 3: n must be 4; it is 5"),
        (lambda text: text.replace(",4,1e-05,1,", ",4,1e-05,7,"), r"line 3: seed must be 1; it is 7"),
        (lambda text: text.replace(",trained,", ",done,"), r"unknown status 'done'"),
    ],
)
def test_a_damaged_table(copy, change, message):
    table = copy / "networks.csv"
    text = table.read_text()
    table.write_text(change(text))
    with pytest.raises(RunError, match=message):
        _ = load_run(copy).table
    train(small(), copy, "cpu", progress=False)
    assert table.read_text() == text


TASK = """
from fastrnn import Task

def batch(rng, settings, trials):
    inputs = rng.uniform(size=(trials, 3, 1))
    return inputs, {sign}inputs

mine = Task("mine", D=1, K=1, T=3, batch=batch)
"""


def test_a_task_whose_code_has_changed_is_not_that_of_the_run(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(TASK.format(sign=""))
    train(small(task=f"{file}:mine", task_settings={}, iterations=2), tmp_path / "run", "cpu", progress=False)
    assert load_run(tmp_path / "run").task.T == 3
    file.write_text(TASK.format(sign="-"))
    message = r"run': the code of its task 'mine' is not what the networks were trained on \(.*mine\.py:mine\); put it"
    for use in (lambda run: run.task, lambda run: fastrnn.analyze(run, progress=False)):
        with pytest.raises(UsageError, match=message):
            use(load_run(tmp_path / "run"))
    assert len(load_run(tmp_path / "run").table) == 4  # for which no task is needed
    (tmp_path / "elsewhere").mkdir()
    file.rename(tmp_path / "elsewhere" / "mine.py")  # another of the same name, where a moved one would be looked for
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=message):
        _ = load_run(tmp_path / "run").task
    with pytest.raises(UsageError, match=r"not what the networks were trained on \(task=\)"):
        _ = load_run(tmp_path / "run", Task("mine", D=1, K=1, T=3, batch=lambda *given: None)).task


def test_names_that_a_run_does_not_have(trained):
    run = load_run(trained)
    with pytest.raises(UsageError, match=r"unknown group 'gru-tanh-5' of .*did you mean 'gru-tanh-4'"):
        run.ids("gru-tanh-5")
    with pytest.raises(UsageError, match="has no network 'nobody'"):
        run.rows([run.table.id[0], "nobody"])


@pytest.mark.parametrize("out", [5, b"run"])
def test_a_folder_that_is_no_path(out):
    with pytest.raises(UsageError, match=f"out must be a path; it is {out!r}"):
        train(small(), out, "cpu", progress=False)
    with pytest.raises(UsageError, match="runs must be the folders"):
        fastrnn.runs.load_runs(5)


def test_a_task_given_as_an_object_is_asked_for(tmp_path):
    task = Task("noise", D=1, K=1, T=3, batch=lambda rng, settings, trials: (np.ones((trials, 3, 1)),) * 2)
    spec = small(task=task, task_settings={}, iterations=1)
    train(spec, tmp_path / "run", "cpu", progress=False)
    assert load_run(tmp_path / "run").networks(GROUP).D == 1
    with pytest.raises(UsageError, match=r"unknown task 'noise'.*give its task: load_run\(path, task=\.\.\.\)"):
        _ = load_run(tmp_path / "run").spec
    assert load_run(tmp_path / "run", task).spec == spec
    assert load_run(tmp_path / "run", task).task is task
