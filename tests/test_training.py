"""The training loop: the same bits however it is cut, stopped, killed or extended, and nothing lost when it fails."""

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import small_disk
from populations import assert_same_bits, contents, small

from fastrnn import plan, progress, training
from fastrnn.engines.cpu.engine import CPUEngine
from fastrnn.errors import RunError, UsageError
from fastrnn.folder import RunFolder
from fastrnn.groups import TrainingGroup
from fastrnn.plan import duration, make_plan, size, work_of
from fastrnn.progress import Interrupted, Interruption, Progress, Share
from fastrnn.runs import load_run
from fastrnn.tasks import Task
from fastrnn.training import train

ROOT = Path(__file__).resolve().parents[1]


def run(path, spec=None, **options):
    return train(spec or small(), path, "cpu", progress=False, **options)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run that nothing disturbed."""
    path = tmp_path_factory.mktemp("reference") / "run"
    run(path)
    return path


# ------------------------------------------------------------------------------------------------------ results


def test_a_run_is_what_the_engine_makes_of_its_networks(reference):
    spec, engine = small(), CPUEngine()
    for group, rows in spec.groups.items():
        alone = TrainingGroup.start(spec, rows)
        losses = engine.advance(alone.networks, alone.optimizer, spec.resolved_task, 20, 4)
        finished = load_run(reference).finished(group)
        np.testing.assert_array_equal(finished.networks.parameters, alone.networks.parameters)
        np.testing.assert_array_equal(finished.loss_curve, losses)
        np.testing.assert_array_equal(finished.validation_loss, engine.loss(alone.networks, spec.resolved_task))
        assert finished.engines == (f"cpu ({engine.processor})",)


def test_what_is_in_the_folder(reference):
    names = {path.relative_to(reference).as_posix() for path in reference.rglob("*") if path.is_file()}
    assert names - {".lock"} == {
        "population.toml",
        "networks.csv",
        "groups/vanilla-tanh-4.safetensors",
        "groups/gru-tanh-4.safetensors",
        "figures/learning_curves.svg",
        "figures/learning_curves.png",
    }


def test_threads_rounds_turns_and_waves_do_not_change_a_bit(reference, tmp_path, monkeypatch):
    run(tmp_path / "one thread", threads=1)
    monkeypatch.setattr(plan, "WAVE_NETWORKS", 1)  # one group after the other
    monkeypatch.setattr(training, "ROUND_SECONDS", 1e-9)  # each network by itself, iteration by iteration
    run(tmp_path / "in pieces", checkpoint_seconds=0)
    for name in ("one thread", "in pieces"):
        assert_same_bits(tmp_path / name, reference)


def test_rounds_are_longer_where_copies_take_time(reference, tmp_path, monkeypatch):
    lengths, advance = {}, training.Training.advance

    def noting(self, turn):
        lengths.setdefault(id(turn), []).append(turn.iterations)
        advance(self, turn)

    monkeypatch.setattr(training, "ROUND_SECONDS", 1e-9)
    monkeypatch.setattr(training.Training, "advance", noting)
    for overhead, longest in ((0.0, 1), (1000.0, 4)):
        monkeypatch.setattr(CPUEngine, "overhead", overhead)
        lengths.clear()
        run(tmp_path / str(overhead))
        assert {one for counts in lengths.values() for one in counts[:2]} == {1, longest}
        assert_same_bits(tmp_path / str(overhead), reference)


@pytest.mark.parametrize("batch", [1, 64])
def test_validation_stops_to_look_at_the_clock_as_often_for_any_batch(tmp_path, monkeypatch, batch):
    """A loss of 512 trials costs more iterations of training, the smaller the batch."""
    spec, counts, loss = small(cells="gru", seeds=32, iterations=1, batch=batch), [], 1.5 / 4.5

    def counting(self, networks, task):
        counts.append(len(networks))
        return np.ones(len(networks))

    monkeypatch.setattr(CPUEngine, "seconds_per_iteration", lambda *_: loss * 3 / 512 * batch)
    monkeypatch.setattr(CPUEngine, "loss", counting)
    run(tmp_path / "run", spec, threads=1)
    assert counts == [4] * 8


def test_waves_are_bounded_by_memory(reference, tmp_path, monkeypatch):
    spec, engine = small(), CPUEngine()
    work = [work_of(group, rows, 20 * len(rows), spec, engine) for group, rows in spec.groups.items()]
    assert len(work) == 2 and len(make_plan(work, spec, engine).waves) == 1
    monkeypatch.setattr(plan, "WAVE_BYTES", 1)
    assert len(make_plan(work, spec, engine).waves) == 2
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)


def test_more_seeds_cells_and_sizes_extend_a_run(reference, tmp_path):
    run(tmp_path / "run", small(cells="gru", seeds=1))
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)
    larger = small(cells=("lstm", "gru", "vanilla"), seeds=5, sizes=(3, 4))
    run(tmp_path / "run", larger)
    assert_same_bits(tmp_path / "run", reference, of=small().ids)
    run(tmp_path / "at once", larger)
    assert_same_bits(tmp_path / "run", tmp_path / "at once")
    assert load_run(tmp_path / "run").table.id.tolist() == larger.ids
    assert (tmp_path / "run" / "networks.csv").read_bytes() == (tmp_path / "at once" / "networks.csv").read_bytes()


def test_zero_iterations_give_untrained_networks(tmp_path):
    spec = small(iterations=0)
    finished = run(tmp_path / "run", spec).finished("gru-tanh-4")
    start = TrainingGroup.start(spec, spec.groups["gru-tanh-4"])
    np.testing.assert_array_equal(finished.networks.parameters, start.networks.parameters)
    assert finished.loss_curve.shape == (2, 0)
    table = load_run(tmp_path / "run").table
    assert set(table.status) == {"untrained"}
    assert table.training_loss.isna().all()
    assert table.validation_loss.notna().all()


def test_a_diverged_network_is_marked_and_the_others_go_on(reference, tmp_path):
    wild = ({"cell": "vanilla", "seed": 1, "learning_rate": 1e30, "clip": float("inf")},)
    train(small(hyperparameters=wild), tmp_path / "run", "cpu", progress=False)
    table = load_run(tmp_path / "run").table.set_index("id")
    lost = "vanilla-tanh-4-1e-05-1"
    assert table.status[lost] == "diverged"
    assert 0 < table.iterations[lost] < 20
    others = [name for name in table.index if name != lost]
    assert set(table.status[others]) == {"trained"}
    assert_same_bits(tmp_path / "run", reference, of=others)
    assert np.isfinite(contents(tmp_path / "run")[lost]["W_rec"]).all()
    assert load_run(tmp_path / "run").report()["failures"][0]["id"] == lost


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"batch": 5},
        {"gate_bias": 0.0},
        {"task_settings": {"steps": 6, "pulse_probability": 0.5}},
        {"optimizer": "adam"},
        {"hyperparameters": ({"learning_rate": 0.01},)},
        {"hyperparameters": ({"decay": 0.9},)},
        {"hyperparameters": ({"momentum": 0.1},)},
        {"hyperparameters": ({"clip": 0.01},)},
    ],
    ids=str,
)
def test_every_setting_changes_the_networks(reference, tmp_path, changes):
    run(tmp_path / "run", small(**changes))
    here, there = contents(tmp_path / "run"), contents(reference)
    assert all((here[name]["W_rec"] != there[name]["W_rec"]).any() for name in there if name.startswith("gru"))


def test_a_finished_run_is_left_alone(reference, capsys):
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    train(small(), reference, "cpu")
    assert "nothing left to do, all 4 networks are there" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()} == before


def test_the_figure_is_drawn_again_where_it_is_missing(tmp_path):
    run(tmp_path / "run")
    (tmp_path / "run/figures/learning_curves.svg").unlink()
    run(tmp_path / "run")
    assert (tmp_path / "run/figures/learning_curves.svg").exists()


# --------------------------------------------------------------------------------------------- stopped and killed


def interrupt_after(monkeypatch, rounds):
    """Ctrl-C, as it were, when that many rounds are done."""
    count = 0
    advance = training.Training.advance

    def counting(self, turn):
        nonlocal count
        advance(self, turn)
        count += 1
        self.interruption.requested |= count >= rounds

    monkeypatch.setattr(training, "ROUND_SECONDS", 1e-9)
    monkeypatch.setattr(training.Training, "advance", counting)


@pytest.mark.parametrize("rounds", [1, 30, 80])
def test_ctrl_c_saves_and_says_how_to_go_on(reference, tmp_path, monkeypatch, rounds):
    with monkeypatch.context() as patch:
        interrupt_after(patch, rounds)
        with pytest.raises(Interrupted, match=r"everything is saved in .*run': the same command goes on"):
            run(tmp_path / "run")
    table = load_run(tmp_path / "run").table
    assert table.iterations.sum() == rounds
    monkeypatch.setattr(TrainingGroup, "start", None)  # nothing starts afresh
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)


def test_adam_goes_on_where_it_stopped(tmp_path, monkeypatch):
    run(tmp_path / "whole", small(optimizer="adam"))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 30)
        with pytest.raises(Interrupted):
            run(tmp_path / "run", small(optimizer="adam"))
    monkeypatch.setattr(TrainingGroup, "start", None)  # nothing starts afresh
    run(tmp_path / "run", small(optimizer="adam"))
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_a_run_may_be_extended_while_it_is_not_finished(reference, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Interrupted):
            run(tmp_path / "run", small(seeds=1))
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)


def test_ctrl_c_before_the_first_iteration(reference, tmp_path, monkeypatch):
    def interrupt(self, cell, activation):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(CPUEngine, "warm_up", interrupt)
        with pytest.raises(Interrupted):
            run(tmp_path / "run")
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)


def test_ctrl_c_twice_in_a_moment_waits_for_the_saving_and_later_stops_at_once(capfd, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested
        assert "stopping after this round; again after 5 seconds to stop at once" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGINT)
        assert "still saving; again after 5 seconds to stop at once" in capfd.readouterr().err
        monkeypatch.setattr(progress, "PATIENCE", 0.0)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


SLOW = """
import sys
from populations import small
from fastrnn import training
training.ROUND_SECONDS = 0.01
training.train(small(iterations=600), sys.argv[1], "cpu", progress=False, checkpoint_seconds=0)
"""


def start_slow(path):
    """The training of 600 iterations with many checkpoints in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return subprocess.Popen([sys.executable, "-c", SLOW, str(path)], env=environment)


def wait_for_progress(process, path):
    """Until the process has written to the folder."""
    table = path / "networks.csv"
    seen = table.stat().st_mtime_ns if table.exists() else 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if table.exists() and table.stat().st_mtime_ns != seen:
            return
        time.sleep(0.002)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path):
    spec, moments = small(iterations=600), random.Random(0)
    killed = 0
    for _ in range(4):
        process = start_slow(tmp_path / "run")
        wait_for_progress(process, tmp_path / "run")
        time.sleep(moments.uniform(0, 0.8))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed
    run(tmp_path / "run", spec)
    run(tmp_path / "undisturbed", spec)
    assert_same_bits(tmp_path / "run", tmp_path / "undisturbed")
    assert os.listdir(tmp_path / "run" / "checkpoints") == []


# -------------------------------------------------------------------------------------------------- things that fail


def test_a_full_disk_loses_nothing_that_was_saved(reference, tmp_path, monkeypatch):
    with small_disk(tmp_path, "2M") as disk:
        ballast = disk / "ballast"
        save = RunFolder.save_checkpoint

        def fill_then_save(self, group, state):
            if state.optimizer.iteration.min() >= 5:
                ballast.write_bytes(bytes(1 << 16))
                with pytest.raises(OSError, match="No space left"), open(ballast, "ab") as file:
                    while True:
                        file.write(bytes(1 << 12))
                        file.flush()
            save(self, group, state)

        with monkeypatch.context() as patch:
            patch.setattr(training, "ROUND_SECONDS", 1e-9)
            patch.setattr(RunFolder, "save_checkpoint", fill_then_save)
            with pytest.raises(RunError, match=r"could not write .*No space left.*run the same command again"):
                run(disk / "run", checkpoint_seconds=0)
        ballast.unlink()
        assert load_run(disk / "run").table.iterations.min() >= 4
        monkeypatch.setattr(TrainingGroup, "start", None)  # the checkpoints before are whole
        run(disk / "run")
        assert_same_bits(disk / "run", reference)


def test_too_little_space_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(CPUEngine, "warm_up", None)  # before compiling, too
    with small_disk(tmp_path, "64k") as disk:
        with pytest.raises(
            RunError, match=r"the run needs about .* of disk, but .* free at .*free some space or choose"
        ):
            run(disk / "run", small(sizes=64))


def test_an_extension_that_can_not_be_done_leaves_the_run_as_it_was(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="the run needs about"):
        run(tmp_path / "run", small(sizes=(4, 10_000_000)))
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("failing", ["trial", "batch", "later"])
def test_a_mistake_in_a_task_is_mended_in_the_same_folder(tmp_path, failing):
    drawn = []

    def batch(rng, settings, trials):
        drawn.append(trials)
        if failing != "later" or len(drawn) > 10:  # a few are drawn before the training
            raise ValueError("a fault in the task")
        return np.ones((trials, 3, 1)), np.ones((trials, 3, 1))

    def wrong(stream, settings, inputs, targets, mask):
        inputs[0, 5] = 1.0

    def right(stream, settings, inputs, targets, mask):
        inputs[0, 0] = 1.0

    function = {"trial": wrong} if failing == "trial" else {"batch": batch}
    with pytest.raises((UsageError, ValueError), match=r"beyond its arrays|a fault in the task"):
        run(tmp_path / "run", small(task=Task("own", D=1, K=1, T=3, **function), task_settings={}))
    assert (tmp_path / "run" / "population.toml").exists() == (failing == "later")
    mended = small(task=Task("own", D=1, K=1, T=3, trial=right), task_settings={})
    run(tmp_path / "run", mended)
    assert load_run(tmp_path / "run").table.status.tolist() == ["trained"] * 4


def test_a_disk_with_no_space_at_all(tmp_path):
    with small_disk(tmp_path, "64k") as disk:
        with pytest.raises(OSError, match="No space left"), open(disk / "ballast", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        with pytest.raises(RunError, match="No space left"):
            run(disk / "run")


def test_a_failing_task_leaves_the_last_checkpoint(reference, tmp_path, monkeypatch):
    advance_all, calls = CPUEngine.advance_all, []

    def fail_later(self, *arguments):
        calls.append(1)
        if len(calls) > 9:
            raise ValueError("broken task")
        return advance_all(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "ROUND_SECONDS", 1e-9)
        patch.setattr(CPUEngine, "advance_all", fail_later)
        with pytest.raises(ValueError, match="broken task"):
            run(tmp_path / "run", checkpoint_seconds=0)
    assert load_run(tmp_path / "run").table.iterations.sum() == 9
    run(tmp_path / "run")
    assert_same_bits(tmp_path / "run", reference)


def test_going_on_with_another_processor_warns(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(Interrupted):
            run(tmp_path / "run")
    monkeypatch.setattr(CPUEngine, "processor", "another")
    train(small(), tmp_path / "run", "cpu")
    assert "warning: gru-tanh-4 was trained on cpu (" in capsys.readouterr().err
    assert load_run(tmp_path / "run").finished("gru-tanh-4").engines[-1] == "cpu (another)"


def test_bad_arguments(tmp_path):
    with pytest.raises(UsageError, match="spec must be a PopulationSpec; it is 'flipflop'"):
        train("flipflop", tmp_path / "run")
    with pytest.raises(UsageError, match="checkpoint_seconds must be 0 or more; it is -1"):
        run(tmp_path / "run", checkpoint_seconds=-1)
    with pytest.raises(UsageError, match="checkpoint_seconds must be 0 or more; it is 'never'"):
        run(tmp_path / "run", checkpoint_seconds="never")
    with pytest.raises(UsageError, match="threads must be a positive whole number"):
        run(tmp_path / "run", threads=0)
    with pytest.raises(UsageError, match="device 'cuda' can't be used"):
        train(small(), tmp_path / "run", "cuda")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------------- said beforehand


def test_the_plan_is_said_before_the_work(tmp_path, capsys):
    train(small(), tmp_path / "run", "cpu")
    said = capsys.readouterr()
    assert said.out == ""
    assert "4 networks in 2 groups, 332 parameters; estimated time 1 s, memory " in said.err
    assert "gru-tanh-4: 2 trained, median validation loss" in said.err


def test_silence_where_it_is_wished(tmp_path, capsys):
    run(tmp_path / "run")
    assert capsys.readouterr() == ("", "")


def test_a_plan_counts_what_is_left():
    spec, engine = small(seeds=300), CPUEngine(2)
    work = [work_of(group, rows, 100 * len(rows), spec, engine) for group, rows in spec.groups.items()]
    made = make_plan(work, spec, engine)
    assert [len(wave) for wave in made.waves] == [1, 1]
    one = engine.seconds_per_iteration("gru", "tanh", 4, spec.resolved_task, 4)
    other = engine.seconds_per_iteration("vanilla", "tanh", 4, spec.resolved_task, 4)
    assert made.seconds == pytest.approx(300 * 100 * (one + other) / 2)
    assert work[0].parameters == TrainingGroup.start(spec, spec.groups["vanilla-tanh-4"][:1]).networks.count
    half = make_plan(work[:1], spec, engine)
    assert half.disk < made.disk
    assert make_plan([], spec, engine).waves == ()
    adam = work_of("gru-tanh-4", spec.groups["gru-tanh-4"], 100, small(seeds=300, optimizer="adam"), engine)
    assert adam.state_bytes - work[1].state_bytes == 4 * 300 * adam.parameters  # the squares


def test_memory_is_looked_at_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "physical_memory", lambda: 1000)
    with pytest.raises(
        RunError, match=r"needs \d+ kB of memory for weights, optimizer and losses alone, .* has 1 kB; tak"
    ):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "population.toml").exists()
    monkeypatch.setattr(plan, "physical_memory", lambda: 10**6)  # the estimate is larger, what must be there smaller
    train(small(), tmp_path / "run", "cpu")
    assert "warning: the run may need" in capsys.readouterr().err
    monkeypatch.setattr(plan, "physical_memory", lambda: None)
    train(small(seeds=3), tmp_path / "run", "cpu")
    assert "warning: the run may need" not in capsys.readouterr().err


def test_the_memory_of_this_machine(monkeypatch):
    assert plan.physical_memory() > 1 << 28
    monkeypatch.delattr(os, "sysconf")
    assert plan.physical_memory() is None


def test_times_and_sizes_in_words():
    assert [duration(s) for s in (0.1, 59.6, 61, 3599.7, 7200, 90_000)] == [
        *("1 s", "1 min", "1 min 1 s", "1 h", "2 h", "1 d 1 h"),
    ]
    assert [size(b) for b in (1, 15_000, 2_500_000, 7_123_000_000)] == ["1 kB", "15 kB", "2.5 MB", "7.1 GB"]


def test_messages_that_nobody_reads_do_not_stop_the_work(tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    for name, stream in {"closed": None, "gone": Gone()}.items():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            assert len(train(small(iterations=1), tmp_path / name, "cpu").table) == 4


def test_a_share_moves_the_bar_of_the_whole_on(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as whole:
        whole.start("analyze", 10.0)
        share = Share(whole, 4.0, "cka", during="pairs")
        share.advance(3.0, "")  # of how much isn't known yet
        share.start("responses", 10)
        share.advance(10, "")  # another part, which takes no time to speak of
        assert whole._bar.n == 0
        share.start("pairs", 200)
        share.advance(100, "")
        assert whole._bar.n == 2 and "cka" in str(whole._bar)
        share.advance(500, "")
        assert whole._bar.n == 4  # no more than its share
        whole.reach(5.0, "the next")
        assert whole._bar.n == 5
        whole.reach(3.0, "the next")
        assert whole._bar.n == 5


def test_the_bar_shows_on_a_terminal(monkeypatch, capsys):
    with Progress() as progress:
        progress.start("training", 10.0)
        progress.advance(5.0, "loss 0.1")
    assert capsys.readouterr().err == ""  # no terminal here
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress() as progress:
        progress.start("training", 10.0)
        progress.advance(50.0, "loss 0.1")
        progress.say("a line")
    said = capsys.readouterr().err
    assert "training 100%" in said
    assert "loss 0.1" in said
    assert "a line\n" in said
