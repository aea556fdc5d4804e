"""The whole analysis of a run: done once, then only what is out of date, to the bit after a kill, around failures."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from populations import small
from typer.testing import CliRunner

import fastrnn
from fastrnn import pipeline
from fastrnn.cli import app
from fastrnn.errors import RunError, UsageError
from fastrnn.figures import figure
from fastrnn.folder import FolderLock
from fastrnn.groups import FinishedGroup
from fastrnn.pipeline import analyze, analyze_all, find_runs
from fastrnn.progress import Interrupted
from fastrnn.runs import load_run
from fastrnn.storage import hash_sources
from fastrnn.studies import ledger, load_analysis, steps
from fastrnn.studies.ledger import RECORD, Ledger

ROOT = Path(__file__).resolve().parents[1]
STEPS = ["similarity svcca", "similarity cka", "similarity dsa"] + [
    f"{name} {group}-tanh-4" for name in ("fixed-points", "topology") for group in ("vanilla", "gru")
]
STEPS += ["study", "topology", "portraits vanilla-tanh-4", "portraits gru-tanh-4", "claims"]


def learning(**changes):
    return small(**({"iterations": 800, "batch": 16, "task_settings": {"steps": 12, "channels": 1}} | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Six networks that have learnt enough to be studied."""
    path = tmp_path_factory.mktemp("runs") / "small"
    fastrnn.train(learning(seeds=3), out=path, progress=False)
    return path


@pytest.fixture(scope="module")
def analyzed(trained, tmp_path_factory):
    path = shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "analyzed")
    analyze(path, progress=False)
    return path


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Figures are made but not rendered, which takes most of a report's time; test_report.py does that."""
    monkeypatch.setattr(figure, "render", lambda one: {"svg": b"<svg/>", "png": b"png"})


@pytest.fixture
def fresh(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "fresh"))


@pytest.fixture
def done(analyzed, tmp_path):
    return Path(shutil.copytree(analyzed, tmp_path / "done"))


def files(path):
    """Checksum of every file of the analysis."""
    found = sorted(file for file in (Path(path) / "analysis").rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def times(path):
    return {str(file): file.stat().st_mtime_ns for file in (Path(path) / "analysis").rglob("*") if file.is_file()}


# ------------------------------------------------------------------------------------------------- what is computed


def test_everything_is_there_and_the_second_time_nothing_is_done(fresh, capsys):
    made = analyze(fresh)
    said = capsys.readouterr().err
    assert made.done == STEPS and made.fresh == [] and made.failed == {} and made.studied == 6
    assert "12 of 12 steps for 6 networks; estimated time" in said and "memory" in said
    kept = load_analysis(fresh)
    assert kept.problems == {} and list(kept.portraits) == list(kept.points) == ["vanilla-tanh-4", "gru-tanh-4"]
    assert None not in (kept.selection, kept.svcca, kept.cka, kept.topology, kept.flipflop, kept.claims)
    assert kept.sine is kept.cdi is kept.untrained is None
    assert set(kept.claims.table.claim) == {1, 2, 3, 4} and set(kept.claims.table.task) == {"flipflop"}
    assert (fresh / "analysis" / "claims.csv").read_text().startswith("claim,task,statement,subject,statistic,value")
    before = times(fresh)
    again = analyze(fresh)
    assert again.done == [] and again.fresh == STEPS and times(fresh) == before
    assert "nothing to do, all 12 steps for 6 networks are up to date" in capsys.readouterr().err


def test_a_log_tells_each_long_step(fresh, monkeypatch, capsys):
    """Without a terminal there is no bar."""
    noted, started, do = [], [], pipeline._Analysis._do
    monkeypatch.setattr(pipeline.Progress, "note", lambda progress, text: noted.append((text, len(started))))
    monkeypatch.setattr(pipeline._Analysis, "_do", lambda work, step: (started.append(step.key), do(work, step)))
    monkeypatch.setattr(pipeline, "WORTH_SAYING", 0)
    only = ["fixed-points", "study"]
    analyze(fresh, only=only)
    assert noted == [(key, i) for i, key in enumerate(started)] and len(started) == 3  # what is done next, not last
    said = capsys.readouterr().err
    assert re.findall(r"^fixed-points (.*): done in \d+ s$", said, re.M) == ["vanilla-tanh-4", "gru-tanh-4"]
    assert "study: done" not in said  # it failed
    analyze(fresh, only=only)
    assert ": done" not in capsys.readouterr().err


def test_a_log_tells_beforehand_what_a_very_long_step_takes(fresh, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "LONG", 0.6)  # seconds: between what CKA and what DSA is estimated at
    analyze(fresh, only="similarity")
    assert re.findall(r"^(.*): estimated time \d+ s$", capsys.readouterr().err, re.M) == ["similarity dsa"]
    analyze(fresh, only="similarity")
    assert ": estimated" not in capsys.readouterr().err


def test_the_bar_moves_while_all_pairs_are_compared(fresh, monkeypatch):
    moved = {}
    advance = pipeline.Progress.advance

    def note(progress, work, note):
        if note in doing:
            moved.setdefault(note, []).append(work)
        advance(progress, work, note)

    doing, do = [], pipeline._Analysis._do

    def during(work, step):
        doing.append(step.key)
        do(work, step)
        doing.clear()

    monkeypatch.setattr(pipeline.Progress, "advance", note)
    monkeypatch.setattr(pipeline._Analysis, "_do", during)
    analyze(fresh, only="similarity")
    every = {step.key: step for step in steps.Steps(load_run(fresh), load_analysis(fresh).selection).all()}
    assert list(moved) == STEPS[:3]
    for key, parts in moved.items():
        assert sum(parts) == pytest.approx(every[key].seconds)


def test_the_memory_foretold_is_not_less_than_was_measured():
    """Of 1,440 networks of 64 units, on 64 trials of 100 steps."""
    task = fastrnn.tasks.get_task("flipflop")
    selection = SimpleNamespace(table=pandas.DataFrame({"n": [64] * 1440}))
    todo = [SimpleNamespace(name=name) for name in ("fixed-points", "similarity")]
    assert 4.3e9 < pipeline.bytes_for(task, todo, selection) < 6e9
    assert 0.55e9 < pipeline.bytes_for(task, todo[:1], selection) < 1e9


def test_results_are_those_of_the_tools_called_by_hand(done):
    run, kept = load_run(done), load_analysis(done)
    networks = run.networks("gru-tanh-4")
    points = fastrnn.find_fixed_points(networks, [0.0], task=run.task)
    np.testing.assert_array_equal(kept.fixed_points("gru-tanh-4").xstar, points.xstar)
    graphs = fastrnn.transition_graphs(networks, points)
    at = kept.topology.table.group == "gru-tanh-4"
    np.testing.assert_allclose(kept.topology.distances[np.ix_(at, at)], fastrnn.graph_distances(graphs))
    table = kept.flipflop.table.set_index("id")
    assert table.points[run.ids("gru-tanh-4")].tolist() == [len(points.of(i)) for i in range(3)]


def test_only_what_was_asked_for_is_done(fresh):
    made = analyze(fresh, only=["similarity", "fixed-points"], progress=False)
    assert made.done == STEPS[:5]
    assert analyze(fresh, only="fixed-points", progress=False).done == []
    assert analyze(fresh, progress=False).done == STEPS[5:]


def test_a_step_without_what_it_needs_says_so_and_the_rest_is_done(fresh, capsys):
    made = analyze(fresh, only=["topology", "study", "claims", "portraits"])
    assert made.done == ["portraits vanilla-tanh-4", "portraits gru-tanh-4", "claims"]
    missing = "analysis/points/gru-tanh-4.safetensors is missing: run fastrnn analyze --only fixed-points"
    assert made.failed["topology gru-tanh-4"] == missing
    assert "is missing: run fastrnn analyze" in made.failed["study"] and "study" in made.failed
    assert f"topology gru-tanh-4: {missing}" in capsys.readouterr().err
    assert set(load_analysis(fresh).claims.table.claim) == {1}
    assert analyze(fresh, progress=False).failed == {}
    assert set(load_analysis(fresh).claims.table.claim) == {1, 2, 3, 4}


def test_changed_networks_make_what_hangs_on_them_out_of_date(done):
    path = done / "groups" / "gru-tanh-4.safetensors"
    state = FinishedGroup.load(path)
    state.networks.W_rec[0] *= 1.01
    state.save(path)
    made = analyze(done, progress=False)
    assert made.fresh == ["fixed-points vanilla-tanh-4", "topology vanilla-tanh-4", "portraits vanilla-tanh-4"]
    assert made.failed == {}


def test_a_damaged_result_is_made_again_and_is_the_same(done):
    before = files(done)
    (done / "analysis" / "points" / "gru-tanh-4.safetensors").write_bytes(b"torn")
    (done / "analysis" / "claims.csv").unlink()
    assert load_analysis(done).problems == {}
    made = analyze(done, progress=False)
    assert made.done == ["fixed-points gru-tanh-4", "claims"] and files(done) == before


def test_a_damaged_record_means_everything_is_made_again(done, capsys):
    before = files(done)
    (done / RECORD).write_text("{torn")
    made = analyze(done)
    assert made.done == STEPS and files(done) == before
    assert "the record of what was done is damaged, so everything is computed again" in capsys.readouterr().err


def test_another_version_makes_it_again(done, monkeypatch):
    monkeypatch.setattr("fastrnn.__version__", "9.9", raising=False)
    assert analyze(done, progress=False).done == STEPS


def test_other_code_makes_it_again(done, monkeypatch):
    real = ledger.sources
    edited = {"studies/**/*.py"}
    monkeypatch.setattr(ledger, "sources", lambda patterns: real(patterns) + "".join(sorted(edited & {*patterns})))
    made = analyze(done, progress=False)
    assert made.fresh == STEPS[:5] and made.done == STEPS[5:]  # by tools that stayed as they were
    edited.add("analysis/**/*.py")
    assert analyze(done, progress=False).done == STEPS


def test_the_sources_of_a_step_are_those_of_the_package(tmp_path):
    copy = shutil.copytree(ledger.PACKAGE, tmp_path / "fastrnn", ignore=shutil.ignore_patterns("__pycache__"))
    patterns = (*ledger.TOOLS, *steps.STUDIES)
    seen = {hash_sources(copy, patterns)}
    assert seen == {ledger.sources(patterns)}
    edited = ("analysis/statistics/permanova.py", "cells/gru.py", "engines/cpu/newton.py", "studies/sine.py")
    for source in (*edited, "compiled.py", "runs.py", "groups.py"):
        with (copy / source).open("a") as file:
            file.write("# edited\n")
        seen.add(hash_sources(copy, patterns))
    (copy / "cli" / "info.py").write_text("")
    assert len(seen) == 8 and hash_sources(copy, patterns) in seen
    assert all(list(copy.glob(pattern)) for pattern in (*patterns, *steps.SEARCHES))


def test_of_all_that_steps_load_only_what_decides_no_result_is_not_among_their_sources():
    code = "import sys, fastrnn.studies.steps; print(*(name for name in sys.modules if name.startswith('fastrnn.')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    loaded = {name.split(".")[1] for name in said.split()}
    sources = {Path(pattern).parts[0].removesuffix(".py") for pattern in (*ledger.TOOLS, *steps.STUDIES)}
    assert loaded - sources == {"folder", "optimizer", "processors", "progress", "values"}
    assert sources <= loaded


# ------------------------------------------------------------------------------------- results that are out of date


def test_a_part_of_the_analysis_of_an_extended_population_says_what_is_out_of_date(done, capsys):
    claims = (done / "analysis" / "claims.csv").read_text()
    fastrnn.train(learning(seeds=4), out=done, progress=False)
    out_of_date = [step for step in STEPS if step != "claims"]
    made = analyze(done, only="claims")
    assert made.studied == 8 and made.done == made.fresh == [] and made.stale == STEPS
    reads = "similarity svcca, similarity cka, study, topology"
    again = "fastrnn analyze, without --only, makes it again"
    assert load_analysis(done).out_of_date() == STEPS
    assert made.failed == {"claims": f"what it needs is out of date ({reads}); {again}"}
    assert (done / "analysis" / "claims.csv").read_text() == claims
    assert f"out of date: {', '.join(STEPS)}; {again}" in capsys.readouterr().err
    said, _ = call(done, "--only", "fixed-points,similarity", "--threads", 1, code=0)
    left = [step for step in out_of_date if not step.startswith(("similarity", "fixed-points"))] + ["claims"]
    assert f"out of date: {', '.join(left)}: fastrnn analyze, without --only, makes them again" in said
    page = (done / "report.html").read_text()
    assert f"Out of date, made from other networks or by other code: {', '.join(left)}." in page
    made = analyze(done, progress=False)
    assert made.stale == load_analysis(done).out_of_date() == [] and made.failed == {} and made.done == left
    call(done)
    assert "Out of date" not in (done / "report.html").read_text()


def test_a_page_says_what_is_out_of_date_until_it_was_done_again_with_the_same_result(done, monkeypatch):
    real = ledger.sources
    monkeypatch.setattr(ledger, "sources", lambda patterns: f"edited {real(patterns)}")
    before = files(done)
    call(done, "--only", "portraits", code=3)
    assert "Out of date" in (done / "report.html").read_text()
    call(done)
    assert "Out of date" not in (done / "report.html").read_text()
    assert {name for name, was in files(done).items() if was != before[name]} == {RECORD}


def test_a_step_that_fails_leaves_nothing_that_is_out_of_date(done, monkeypatch):
    def fail(*args, **kwargs):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    fastrnn.train(learning(seeds=4), out=done, progress=False)
    monkeypatch.setattr(steps, "transition_graphs", fail)
    made = analyze(done, progress=False)
    assert made.failed["study"] == "analysis/graphs/gru-tanh-4.safetensors is missing: run fastrnn analyze"
    assert not (done / "analysis" / "flipflop.safetensors").exists()
    assert set(load_analysis(done).claims.table.claim) == {1, 2} and made.stale == []


def test_results_made_by_hand_are_nobodys(fresh):
    fastrnn.compare_networks(load_run(fresh), "svcca")
    made = analyze(fresh, only="claims", progress=False)
    assert made.done == ["claims"] and made.stale == [] and 2 in set(load_analysis(fresh).claims.table.claim)


def test_settings_of_a_step_make_it_out_of_date(done, monkeypatch):
    monkeypatch.setattr(steps, "held_inputs", lambda task: np.array([[0.1]]))
    assert analyze(done, only="fixed-points", progress=False).done == STEPS[3:5]


# ------------------------------------------------------------------------------------------------ interrupted, killed


@pytest.mark.parametrize("at", [0, 4, 8])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(fresh, analyzed, monkeypatch, at):
    count, note = [], Ledger.note

    def stop(self, step, inputs):
        if step.key in STEPS:
            count.append(step.key)
            if len(count) == at + 1:
                raise KeyboardInterrupt  # after the files were written, before they were noted
        note(self, step, inputs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "note", stop)
        analyze(fresh, progress=False)
    made = analyze(fresh, progress=False)
    assert made.fresh == STEPS[:at] and made.done == STEPS[at:]
    assert files(fresh) == files(analyzed)


def test_ctrl_c_finishes_the_step_and_says_how_to_go_on(fresh, monkeypatch):
    work = steps.find_fixed_points

    def press(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return work(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=r"everything done is kept in .*: the same"):
        patch.setattr(steps, "find_fixed_points", press)
        analyze(fresh, progress=False)
    assert analyze(fresh, progress=False).fresh == STEPS[:4]


def test_killed_through_the_command_line_it_comes_out_the_same(fresh, analyzed):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastrnn", "analyze", str(fresh)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not (fresh / "analysis" / "points").exists() and time.monotonic() < limit:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert files(fresh) != files(analyzed)
    analyze(fresh, progress=False)
    assert files(fresh) == files(analyzed)


# -------------------------------------------------------------------------------------------- runs that are not whole


def test_a_damaged_group_is_left_out_and_the_rest_studied(fresh):
    (fresh / "groups" / "gru-tanh-4.safetensors").write_bytes(b"torn")
    made = analyze(fresh, progress=False)
    assert made.studied == 3 and made.failed == {} and len(made.done) == 9
    assert len(made.left_out) == 3 and all("is damaged" in reason for reason in made.left_out.values())
    assert load_analysis(fresh).flipflop.table.cell.unique().tolist() == ["vanilla"]


def test_one_network(tmp_path):
    fastrnn.train(learning(cells="gru", seeds=1), out=tmp_path / "one", progress=False)
    made = analyze(tmp_path / "one", progress=False)
    kept = load_analysis(tmp_path / "one")
    assert made.failed == {} and made.studied == 1
    assert len(kept.svcca.distances) == len(kept.topology.distances) == 1
    assert kept.topology.statistics is None and "too few networks" in kept.topology.note
    assert set(kept.claims.table.claim) == {1, 3}


def test_an_unexpected_failure_is_named_and_the_rest_is_done(fresh, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "transition_graphs", fail)
        made = analyze(fresh)
    assert made.failed["topology gru-tanh-4"] == "LinAlgError: Eigenvalues did not converge"
    assert set(made.failed) == {"topology vanilla-tanh-4", "topology gru-tanh-4", "study", "topology"}
    assert "topology gru-tanh-4: LinAlgError: Eigenvalues did not converge" in capsys.readouterr().err
    assert analyze(fresh, progress=False).failed == {}


def test_no_network_has_learnt(tmp_path):
    fastrnn.train(small(iterations=1), out=tmp_path / "run", progress=False)
    made = analyze(tmp_path / "run", progress=False)
    assert made.studied == 0 and len(made.left_out) == 4
    assert all(reason.startswith("did not learn: validation loss") for reason in made.left_out.values())
    assert made.failed["study"] == made.failed["topology"] == "no network of the run is studied"
    assert made.done == ["claims"]
    assert load_analysis(tmp_path / "run").out_of_date() == []


@pytest.mark.parametrize("T", [1, 2])
def test_a_task_of_a_step_or_two(tmp_path, T):
    """How states move is compared where there is a step to move on."""
    own = tmp_path / "own.py"
    own.write_text(OWN_TASK.replace("3", str(T)))
    spec = small(task=f"{own}:echo", task_settings={}, cells=("vanilla", "gru"), iterations=300)
    fastrnn.train(spec, out=tmp_path / "run", progress=False)
    made = analyze(tmp_path / "run", progress=False)
    assert made.failed == {} and ("similarity dsa" in made.done) == (T == 2) and made.studied == 4
    kept = load_analysis(tmp_path / "run")
    assert (kept.dsa is None) == (T == 1) and kept.out_of_date() == []


@pytest.mark.parametrize("task", ["sine", "cdi"])
def test_the_other_tasks(tmp_path, monkeypatch, task):
    monkeypatch.setattr("fastrnn.studies.selection.FAILED_SHARE", 1e9)
    cells = ("vanilla", "lstm")
    spec = small(
        task=task,
        task_settings={"steps": 20},
        cells=cells,
        activations=("tanh", "relu"),
        excluded=(),
        iterations=30,
        seeds=2,
    )
    fastrnn.train(spec, out=tmp_path / "run", progress=False)
    made = analyze(tmp_path / "run", progress=False)
    kept = load_analysis(tmp_path / "run")
    assert made.failed == {} and len(kept.topology.table) + len(kept.topology.left_out) == made.studied
    table = (kept.sine or kept.cdi).table
    assert table.id.tolist() == kept.selection.table.id.tolist()
    claims = set(kept.claims.table.claim)
    if task == "sine":
        assert kept.sine.frequency.shape == (len(table), 21) and claims >= {1, 2, 5}
    else:
        assert kept.cdi.magnitudes.shape == (len(table), 2, 8) and claims >= {1, 2, 6, 7}
        assert np.isnan(kept.cdi.magnitudes[table.cell == "vanilla"][:, :, 4:]).all()
        assert kept.untrained.classes == ["trained tanh", "trained relu", "untrained tanh", "untrained relu"]
    assert analyze(tmp_path / "run", progress=False).done == []


def test_what_is_refused(fresh, tmp_path):
    with pytest.raises(UsageError, match="unknown analysis 'graphs'"):
        analyze(fresh, only="graphs")
    with pytest.raises(UsageError, match="only must name at least one analysis: similarity"):
        analyze(fresh, only=[])
    for only, message in (("linearization", "no linearization"), (["untrained"], "no untrained")):
        for call in (analyze, lambda run, only, progress: analyze_all([run], only, progress=progress)):
            with pytest.raises(UsageError, match=rf"there is {message} for flipflop; there are similarity, .*claims"):
                call(fresh, only, progress=False)
    with pytest.raises(UsageError, match="is not a run"):
        analyze_all([fresh, fresh / "no-run"], progress=False)
    assert not (fresh / "analysis").exists()  # the first one was not begun
    with pytest.raises(UsageError, match="is not a run"):
        analyze(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"there is no run under .*; train one with train-population"):
        find_runs(tmp_path / "nothing")
    lock = FolderLock(fresh)
    lock.acquire()
    try:
        with pytest.raises(RunError, match="is in use by process"):
            analyze(fresh, progress=False)
    finally:
        lock.release()


def test_a_place_that_can_not_be_written(fresh):
    (fresh / "analysis").write_text("in the way")
    with pytest.raises(RunError, match=r"could not write .*analysis'"):
        analyze(fresh, progress=False)
    (fresh / "analysis").unlink()
    (fresh / "analysis").mkdir()
    (fresh / "analysis" / "points").write_text("in the way")
    made = analyze(fresh, only="fixed-points", progress=False)
    assert made.failed["fixed-points gru-tanh-4"].startswith(f"could not write '{fresh}/analysis/points': File exists")


def test_a_run_that_can_not_be_used_does_not_stop_the_others(fresh, tmp_path):
    other = Path(shutil.copytree(fresh, tmp_path / "other"))
    lock = FolderLock(other)
    lock.acquire()
    try:
        first, second = analyze_all([other, fresh], only="similarity", progress=False)
    finally:
        lock.release()
    assert "is in use" in first.failed["run"] and first.done == []
    assert second.done == STEPS[:3] and second.failed == {}


OWN_TASK = """
import numpy as np
from fastrnn import Task


def batch(rng, settings, trials):
    inputs = rng.normal(size=(trials, 3, 1))
    return inputs, inputs


echo = Task("echo", D=1, K=1, T=3, batch=batch)
"""


def test_of_all_runs_those_that_can_not_be_used_are_named_and_the_others_done(done, tmp_path):
    runs = done.parent
    damaged, moved, unwritable = (runs / name for name in ("damaged", "moved", "unwritable"))
    for copy in (damaged, unwritable):
        shutil.copytree(done, copy)
    (damaged / "networks.csv").write_text("torn")
    (unwritable / "figures" / "learning_curves.svg").unlink()
    (unwritable / "report.html").mkdir()
    own = tmp_path / "own.py"
    own.write_text(OWN_TASK)
    fastrnn.train(small(task=f"{own}:echo", task_settings={}, cells="gru"), out=moved, progress=False)
    own.unlink()
    said, _ = call("--all", "--folder", runs, "--only", "claims", "--json", code=3)
    made = {Path(report["run"]).name: report for report in json.loads(said)}
    assert list(made) == ["damaged", "done", "moved", "unwritable"]
    assert "could not read" in made["damaged"]["failed"]["run"] and made["damaged"]["claims"] == []
    assert "give its task" in made["moved"]["failed"]["run"] and made["moved"]["claims"] == []
    assert "could not write" in made["unwritable"]["failed"]["report"] and made["unwritable"]["claims"] != []
    assert made["done"]["failed"] == {} and made["done"]["claims"] == made["unwritable"]["claims"]
    said, _ = call(moved, "--only", "similarity", code=3)
    assert said.startswith(f"{moved}: not analyzed: ") and "give its task" in said and said.count("\n") == 1
    (done / "analysis" / "claims.safetensors").write_bytes(b"torn")
    assert pipeline.Analyzed(load_run(done)).report()["claims"] == []


# --------------------------------------------------------------------------------------------------- command line


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["analyze", *map(str, arguments)], prog_name="fastrnn")
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_command_says_what_was_done_and_what_holds(done):
    said, _ = call(done)
    first, *claims = said.splitlines()
    assert first == f"{done}: 6 networks on flipflop; nothing to do, 12 analyses are up to date"
    assert any(line.startswith("1. all networks reach low error: ") for line in claims)
    (report,) = json.loads(call(done, "--json")[0])
    assert report["studied"] == 6 and report["done"] == [] and report["up_to_date"] == 12
    assert len(report["claims"]) == len(load_analysis(done).claims.table)


def test_every_run_of_a_folder(done):
    made = json.loads(call("--all", "--folder", done.parent, "--only", "similarity", "--json")[0])
    assert [report["run"] for report in made] == [str(path) for path in find_runs(done.parent)]
    _, said = call("--all", "--folder", done.parent / "none", code=2)
    assert "there is no run under" in said


def test_an_analysis_that_one_of_several_runs_has_is_none_of_the_others(done, tmp_path):
    fastrnn.train(small(task="cdi", cells="vanilla", iterations=1), out=done.parent / "lines", progress=False)
    made = {analyzed.run.path.name: analyzed for analyzed in pipeline.analyze_all(find_runs(done.parent), "untrained")}
    assert made["done"].failed == {} == made["lines"].failed and made["done"].done == []
    assert "untrained" in made["lines"].done or made["lines"].left_out
    with pytest.raises(UsageError, match="there is no untrained for flipflop"):
        pipeline.analyze_all([done], "untrained")


def test_a_run_has_its_report_as_soon_as_it_is_done(done, monkeypatch):
    other = Path(shutil.copytree(done, done.parent / "other"))
    work = pipeline._analyze

    def stopped(run, *args, **kwargs):
        if run.path == other:
            raise Interrupted("interrupted")
        return work(run, *args, **kwargs)

    monkeypatch.setattr(pipeline, "_analyze", stopped)
    _, said = call("--all", "--folder", done.parent, code=130)
    assert said.endswith("fastrnn: interrupted\n")
    assert (done / "report.html").exists() and not (other / "report.html").exists()
    index = (done.parent / "index.html").read_text()
    assert 'href="done/report.html"' in index and "<td>other</td>" in index


def test_networks_left_out_are_counted_and_few_are_named(tmp_path):
    fastrnn.train(small(iterations=1, seeds=4), out=tmp_path / "run", progress=False)
    said, _ = call(tmp_path / "run", "--only", "claims", "--no-report")
    assert said.startswith(f"{tmp_path}/run: 0 networks on flipflop (8 left out); 1 analysis done, 0 were up to date\n")
    assert said.count("\nleft out: ") == 5
    where = tmp_path / "run" / "analysis" / "selection-left_out.csv"
    assert f"... and 3 more left out: {where} lists all of them\n" in said
    assert len(where.read_text().splitlines()) == 1 + 8


def test_exit_codes(fresh):
    said, _ = call(fresh, "--only", "topology", code=3)
    assert "failed: topology gru-tanh-4: analysis/points/gru-tanh-4.safetensors is missing" in said
    for arguments in ([], [fresh, "--all"]):
        assert "name folders of runs, or give --all" in call(*arguments, code=2)[1]
    assert "unknown analysis 'graphs'" in call(fresh, "--only", "graphs", code=2)[1]
    assert "threads must be a positive whole number; it is 0" in call(fresh, "--threads", 0, code=2)[1]
