"""The command line: what it prints where, and with which code it ends."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import small_disk
from populations import assert_same_bits, small
from typer.testing import CliRunner

import fastrnn
from fastrnn.cells import LEAKY_CELLS
from fastrnn.cli import app
from fastrnn.hyperparameters import VALUES
from fastrnn.runs import load_run
from fastrnn.search import SearchSpec, load_search
from fastrnn.search.spec import RANGES
from fastrnn.studies.steps import NAMES
from fastrnn.training import train

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["train-population", "--setting", "steps=6", "--batch", "4"]
SMALL += "--cells gru,vanilla --activations tanh --sizes 4 --seeds 2 --iterations 20".split()
RESULTS = {"id", "status", "iterations", "training_loss", "validation_loss"}


def call(*arguments, code=0):
    """stdout and stderr of a command that must end with `code`."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="fastrnn")
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def in_a_process(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, "-m", "fastrnn", *map(str, arguments)], env=environment, **pipes, **options
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "small"
    train(small(), path, "cpu", progress=False)
    return path


# --------------------------------------------------------------------------------------------------------- help


def test_help_is_there_in_a_moment():
    best = 10.0
    for _ in range(3):  # processor time: how long one waits depends on what else the machine does
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with in_a_process("--help") as process:
            said, _ = process.communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "train-population" in said
    assert best < 0.5


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"numpy", "numba", "pandas", "matplotlib", "cupy"}
    code = f"import sys, fastrnn; dir(fastrnn); print({heavy} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout == "set()\n"


def test_public_names_are_all_there():
    for name in fastrnn.__all__:
        assert getattr(fastrnn, name).__doc__
    assert fastrnn.__version__
    with pytest.raises(AttributeError, match="module 'fastrnn' has no attribute 'trian'"):
        _ = fastrnn.trian


@pytest.mark.parametrize("command", [made.callback.__name__.replace("_", "-") for made in app.registered_commands])
def test_every_option_is_explained_with_examples(command):
    text, _ = call(command, "--help")
    assert "Examples:" in text
    lines = text[text.index("Options:") :].splitlines()[1:]
    options = " ".join(line.strip() for line in lines)
    for name in re.findall(r"--[a-z0-9-]+(?= )", options):
        assert re.search(rf"{name}( <\S+>| / --\S+)? +[A-Za-z]", options), name
    readme = (ROOT / "README.md").read_text()
    assert f"fastrnn {command}" in readme


def test_the_analyses_are_named_in_the_help():
    text = "".join(call("analyze", "--help")[0].split())  # a line may end after a hyphen
    assert f"joinedbycommas:{','.join(NAMES)}." in text


def test_version():
    assert call("--version")[0] == f"fastrnn {fastrnn.__version__}\n"
    with in_a_process("--version") as process:
        assert process.communicate()[0] == f"fastrnn {fastrnn.__version__}\n"


# ----------------------------------------------------------------------------------------------- train-population


def test_results_on_stdout_progress_on_stderr(tmp_path, trained):
    out, err = call(*SMALL, "--out", tmp_path / "run", "--device", "cpu")
    assert out.startswith(
        f"{tmp_path}/run: 4 networks on flipflop, 4 trained\n0 learnt the task (validation loss below 0.01)"
    )
    assert "gru-tanh-4" in out
    assert "4 networks in 2 groups" in err
    assert_same_bits(tmp_path / "run", trained)
    again, err = call(*SMALL, "--out", tmp_path / "run", "--device", "cpu")
    assert again == out
    assert "nothing left to do" in err


def test_json(tmp_path):
    out, _ = call(*SMALL, "--out", tmp_path / "run", "--json", "--iterations", 0)
    report = json.loads(out)
    assert (report["networks"], report["untrained"]) == (4, 4)
    assert report["configurations"][0]["median_training_loss"] is None  # NaN is no JSON
    assert report == json.loads(call("info", tmp_path / "run", "--json")[0])


def test_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(*SMALL, "--iterations", 1)
    assert load_run("runs/flipflop").table.iterations.tolist() == [1] * 4


def test_options_go_before_the_file(tmp_path):
    (tmp_path / "my.toml").write_text(
        'preset = "tiny"\ntask = "cdi"\nseeds = 5\nsizes = [3]\niterations = 9\n'
        "[task_settings]\nsteps = 4\nnoise = 2.0\n"
    )
    call(
        *("train-population", "--spec", tmp_path / "my.toml", "--seeds", 1, "--iterations", 2, "--l2", "0,1e-3"),
        *("--setting", "steps=5", "--cells", "gru, lstm", "--exclude", "lstm-relu", "--seed", 3, "--gate-bias", 0.5),
        *("--out", tmp_path / "run", "--threads", 1, "--checkpoint-seconds", 5, "--batch", 2),
    )
    spec = load_run(tmp_path / "run").spec
    assert (spec.resolved_task.name, spec.task_settings) == ("cdi", {"steps": 5, "mean_limit": 1.0, "noise": 2.0})
    assert (spec.seeds, spec.iterations, spec.sizes, spec.l2, spec.seed, spec.batch) == (1, 2, (3,), (0.0, 1e-3), 3, 2)
    assert (spec.cells, spec.excluded, spec.gate_bias) == (("gru", "lstm"), ("lstm-relu",), 0.5)


@pytest.mark.parametrize("cell", LEAKY_CELLS)
def test_leaky_cells(cell, tmp_path):
    asked = ("--preset", "tiny", "--cells", cell, "--activations", "tanh", "--iterations", 1, "--threads", 1)
    call("train-population", *asked, "--alpha", 0.5, "--noise", 0.1, "--out", tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (run.spec.alpha, run.spec.noise) == (0.5, 0.1)
    shown, _ = call("info", tmp_path / "run")
    assert "leaky cells: alpha 0.5, noise in training 0.1" in shown
    shown, _ = call("info", tmp_path / "run", "--json")
    assert (json.loads(shown)["alpha"], json.loads(shown)["noise"]) == (0.5, 0.1)
    assert run.networks(f"{cell}-tanh-16").gate_bias == 0.0
    _, error = call("train-population", *asked, "--alpha", 0.25, "--out", tmp_path / "run", code=2)
    assert "alpha: 0.5 there, 0.25 here" in error and "noise: 0.1 there, 0.0 here" in error


def test_presets(tmp_path):
    call("train-population", "--preset", "tiny", "--task", "sine", "--iterations", 0, "--out", tmp_path / "run")
    assert len(load_run(tmp_path / "run").table) == 14


def test_a_table_of_hyperparameters(tmp_path):
    (tmp_path / "table.csv").write_text("cell,seed,learning_rate,clip\ngru,,0.5,\ngru,1,,7\n")
    call(*SMALL, "--iterations", 1, "--hyperparameters", tmp_path / "table.csv", "--out", tmp_path / "run")
    table = load_run(tmp_path / "run").table.set_index("id")
    assert table.learning_rate["gru-tanh-4-1e-05-0"] == 0.5
    assert table["clip"]["gru-tanh-4-1e-05-1"] == 7.0
    assert table.learning_rate["vanilla-tanh-4-1e-05-0"] != 0.5
    # what another run had, network by network
    call(*SMALL, "--iterations", 1, "--hyperparameters", tmp_path / "run/networks.csv", "--out", tmp_path / "again")
    again = load_run(tmp_path / "again").table.set_index("id")
    assert again.drop(columns=list(RESULTS - {"id"})).equals(table.drop(columns=list(RESULTS - {"id"})))


def test_diverged_networks_give_code_3(tmp_path):
    (tmp_path / "wild.csv").write_text("cell,seed,learning_rate,clip\nvanilla,1,1e30,inf\n")
    arguments = (*SMALL, "--hyperparameters", tmp_path / "wild.csv", "--out", tmp_path / "run")
    out, _ = call(*arguments, code=3)
    assert "3 trained, 1 diverged" in out
    assert re.search(r"failed: vanilla-tanh-4-1e-05-1: diverged after \d+ iterations?: its loss or gradient", out)
    assert re.search(r"failed: gru-tanh-4-1e-05-0: validation loss \S+ after 20 iterations, not below 0\.01, ", out)
    assert json.loads(call(*arguments, "--json", code=3)[0])["failures"][0]["id"] == "vanilla-tanh-4-1e-05-1"
    call("info", tmp_path / "run")


def test_a_task_of_ones_own(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\nfrom fastrnn import Task\n\n"
        "def batch(rng, settings, trials):\n"
        "    inputs = rng.normal(size=(trials, 3, 1))\n"
        "    return inputs, settings['gain'] * inputs\n\n"
        "echo = Task('echo', D=1, K=1, T=3, batch=batch, settings={'gain': 2.0})\n"
    )
    task = f"{tmp_path}/own.py:echo"
    arguments = ("train-population", "--task", task, "--preset", "tiny", "--iterations", 1, "--out", tmp_path / "run")
    out, _ = call(*arguments, "--setting", "gain=3.5")
    assert "learnt" not in out  # it has no threshold
    assert load_run(tmp_path / "run").spec.task_settings == {"gain": 3.5}
    _, err = call(*arguments, code=2)
    assert "task_settings: {'gain': 3.5} there, {'gain': 2.0} here" in err


# ---------------------------------------------------------------------------------------------------------- search

SEARCH = ["search", "--setting", "steps=6", "--batch", "4"]
SEARCH += "--cells gru --activations tanh --sizes 4 --iterations 20 --draws 6 --rounds 3 --device cpu".split()


def test_a_search_and_the_training_with_what_it_found(tmp_path):
    out, err = call(*SEARCH, "--l2", "1e-5,1e-3", "--out", tmp_path / "search")
    assert out.startswith(f"{tmp_path}/search: 6 draws of 2 configurations on flipflop\n4 trained, 8 dropped; 130 netw")
    assert "130 network-iterations, 54% of a plain search's" in out
    assert "gru-tanh-4: round 1 of 3, 6 of 12 draws go on, the best validation loss is" in err
    report = json.loads(call(*SEARCH, "--l2", "1e-5,1e-3", "--out", tmp_path / "search", "--json")[0])
    assert report["fates"] == {"trained": 4, "dropped": 8, "diverged": 0}
    chosen = {row["l2"]: row for row in report["chosen"]}
    arguments = (*SMALL, "--cells", "gru", "--l2", "1e-5,1e-3", "--iterations", 1)
    _, err = call(*arguments, "--hyperparameters", tmp_path / "search/chosen.csv", "--out", tmp_path / "run")
    assert "no search found" not in err
    for row in load_run(tmp_path / "run").table.to_dict("records"):
        assert {name: row[name] for name in VALUES} == {name: chosen[row["l2"]][name] for name in VALUES}


def test_settings_of_a_search(tmp_path):
    arguments = (
        *SEARCH,
        "--finalists",
        3,
        "--repeats",
        1,
        "--no-incumbent",
        "--range",
        "momentum=0.8:0.99",
        "--seed",
        2,
    )
    call(*arguments, "--out", tmp_path / "search")
    spec = SearchSpec.from_toml(tmp_path / "search" / "search.toml")
    assert (spec.draws, spec.rounds, spec.finalists, spec.repeats, spec.incumbent) == (6, 3, 3, 1, False)
    assert spec.ranges == RANGES["sgd"] | {"momentum": (0.8, 0.99)}
    assert spec.population.seed == 2
    call("search", "--spec", tmp_path / "search" / "search.toml", "--device", "cpu", "--out", tmp_path / "again")
    tables = [(tmp_path / name / "draws.csv").read_bytes() for name in ("search", "again")]
    assert tables[0] == tables[1]


def test_a_plain_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, _ = call(*[word for word in SEARCH if word not in ("--rounds", "3")], "--plain")
    assert "6 trained; 120 network-iterations, 100% of a plain search's" in out
    assert load_search("searches/flipflop").settings["search"]["repeats"] == 0


def test_a_search_of_leaky_cells_tells_what_they_have(tmp_path):
    asked = [word.replace("gru", "leaky,current") for word in SEARCH] + ["--noise", "0.1", "--out", tmp_path / "search"]
    shown, _ = call(*asked)
    assert "of 2 configurations on flipflop\nleaky cells: alpha 0.2, noise in training 0.1\n" in shown
    report = json.loads(call(*asked, "--json")[0])
    assert (report["alpha"], report["noise"]) == (0.2, 0.1)


def test_adam(tmp_path):
    asked = ("--preset", "tiny", "--cells", "gru", "--activations", "tanh", "--iterations", 1, "--threads", 1)
    call("train-population", *asked, "--optimizer", "adam", "--out", tmp_path / "run")
    assert load_run(tmp_path / "run").spec.optimizer == "adam"
    assert "\noptimizer: adam\n" in call("info", tmp_path / "run")[0]
    assert json.loads(call("info", tmp_path / "run", "--json")[0])["optimizer"] == "adam"
    _, error = call("train-population", *asked, "--out", tmp_path / "run", code=2)
    assert "optimizer: adam there, sgd here" in error
    written = tmp_path / "run" / "population.toml"
    _, error = call("train-population", "--spec", written, "--optimizer", "sgd", "--out", tmp_path / "other", code=2)
    assert "default_hyperparameters, row 1 (all networks), must be for optimizer sgd; it is for adam: take the" in error
    shown, _ = call(*SEARCH, "--optimizer", "adam", "--out", tmp_path / "search")
    assert "on flipflop\noptimizer: adam\n" in shown
    assert SearchSpec.from_toml(tmp_path / "search" / "search.toml").ranges == RANGES["adam"]
    found = ("--hyperparameters", tmp_path / "search" / "chosen.csv", "--out", tmp_path / "found")
    call("train-population", *asked, "--optimizer", "adam", *found)
    _, error = call("train-population", *asked, *found, code=2)
    assert "must be for optimizer sgd; it is for adam: take the optimizer adam, or other rows" in error


def test_a_search_without_a_winner_gives_code_3(tmp_path):
    wild = ("--range", "learning_rate=1e29:1e30", "--repeats", 0)
    out, _ = call(*SEARCH, *wild, "--out", tmp_path / "search", code=3)
    assert "no winner: gru-tanh-4-1e-05, every draw diverged" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--range", "momentum=0.8"), r"--range must be name=lowest:highest, such as momentum=0\.8:0\.99; it is 'mom"),
        (("--range", "lr=0.1:0.2"), r"unknown range 'lr'"),
        (("--plain",), "--plain has one round and no finalists: leave out --rounds"),
        (("--draws", "0"), "draws must be a positive whole number; it is 0"),
        (("--precision", "half"), "unknown precision 'half'; allowed are float32, bf16x3"),
        (("--rounds", "9"), "9 rounds need at least 256 iterations"),
        (("--task", "flipflp"), "unknown task 'flipflp'"),
    ],
)
def test_bad_input_of_a_search(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    out, err = call(*SEARCH, *arguments, code=2)
    assert re.search(message, err)
    assert out == ""
    assert os.listdir(tmp_path) == []


def test_configurations_without_searched_values_are_named(tmp_path):
    _, err = call(*SMALL, "--sizes", "4,5", "--l2", "0,1e-5", "--iterations", 1, "--out", tmp_path / "run")
    assert re.search(r"warning: no search found hyperparameters for gru-tanh-4-0\.0, .*\d and 4 more: these", err)
    (tmp_path / "mine.csv").write_text("learning_rate,decay,momentum,clip\n0.1,0.5,0.9,1\n")
    _, err = call(*SMALL, "--hyperparameters", tmp_path / "mine.csv", "--iterations", 1, "--out", tmp_path / "own")
    assert "warning" not in err


def test_many_failures_are_not_all_printed(tmp_path):
    out, _ = call(*SMALL, "--seeds", 15, "--iterations", 1, "--out", tmp_path / "run")
    assert len(re.findall("^failed: ", out, re.MULTILINE)) == 20
    assert "... and 10 more failed: --json lists all of them" in out


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--task", "flipflp"), 2, r"unknown task 'flipflp' \(did you mean 'flipflop'\?\); allowed are flipflop"),
        (("--preset", "huge"), 2, "unknown preset 'huge'; allowed are quick, tiny, paper"),
        (("--cells", "gru,lstmm"), 2, r"unknown cells 'lstmm' \(did you mean 'lstm'\?\); allowed are vanilla"),
        (("--activations", "gelu"), 2, "unknown activations 'gelu'.*; allowed are tanh, relu"),
        (("--sizes", "64,0"), 2, "sizes must be a positive whole number; it is 0"),
        (("--sizes", "64,many"), 2, "--sizes must be whole numbers separated by commas; it is '64,many'"),
        (("--sizes", ""), 2, r"sizes must be one or several values; it is \[\]"),
        (("--l2", "small"), 2, "--l2 must be numbers separated by commas; it is 'small'"),
        (("--seeds", "-3"), 2, "seeds must be a positive whole number; it is -3"),
        (("--seeds", "x"), 2, "Invalid value for '--seeds'"),
        (("--iterations", "-1"), 2, "iterations must be a whole number, 0 or more; it is -1"),
        (("--setting", "steps"), 2, "--setting must be name=number, such as steps=50; it is 'steps'"),
        (("--setting", "step=5"), 2, "has no setting 'step'; its settings are channels, steps"),
        (("--spec", "none.toml"), 2, r"could not read 'none\.toml': No such file"),
        (("--hyperparameters", "none.csv"), 2, r"could not read the table 'none\.csv': No such file"),
        (("--device", "tpu"), 2, "unknown device 'tpu'; allowed are auto, cpu, cuda"),
        (("--precision", "half"), 2, "unknown precision 'half'; allowed are float32, bf16x3"),
        (("--threads", "0"), 2, "threads must be a positive whole number; it is 0"),
        (("--checkpoint-seconds", "-1"), 2, r"checkpoint_seconds must be 0 or more; it is -1\.0"),
        (("--no-such-option",), 2, "No such option"),
        (("--out", "/proc/fastrnn"), 1, "could not write '/proc/fastrnn'.*; choose a place that can be written"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    out, err = call("train-population", *arguments, code=code)
    assert re.search(message, err)
    assert out == ""
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_another_population_or_a_damaged_file(tmp_path, trained):
    _, err = call(*SMALL, "--out", trained, "--batch", 5, code=2)
    assert "holds another population (batch: 4 there, 5 here)" in err
    train(small(), tmp_path / "run", "cpu", progress=False)
    weights = tmp_path / "run/groups/gru-tanh-4.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    _, err = call(*SMALL, "--out", tmp_path / "run", code=1)
    assert "is damaged" in err


def test_a_full_disk(tmp_path):
    with small_disk(tmp_path, "32k") as disk:
        _, err = call(*SMALL, "--out", disk / "run", "--sizes", 256, code=1)
    assert re.search("fastrnn: error: the run needs about .* free some space or choose another folder", err)


def test_a_traceback_only_with_debug(monkeypatch, capsys):
    def broken(path, task=None):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("fastrnn.runs.load_run", broken)
    _, err = call("info", "x", code=1)
    assert err == "fastrnn: error: ZeroDivisionError: a fault of ours; --debug shows where\n"
    result = CliRunner().invoke(app, ["info", "x", "--debug"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_info_of_no_run(tmp_path):
    _, err = call("info", tmp_path, code=2)
    assert "is not a run: it has no population.toml" in err


def test_a_reader_that_goes_away(trained):
    process = in_a_process("info", trained)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()


# ------------------------------------------------------------------------------------------------------- processes


def until_it_trains(process):
    """Read messages up to the one that training begins with."""
    for line in process.stderr:
        if "networks in" in line:
            break


ABOUT_A_SECOND = {"iterations": 1000, "batch": 128}


def for_a_second(folder):
    """Arguments of a training that lasts about as long."""
    return [*SMALL, "--out", folder, *(word for name, value in ABOUT_A_SECOND.items() for word in (f"--{name}", value))]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT")
def test_ctrl_c_then_the_same_command(tmp_path):
    arguments = for_a_second(tmp_path / "run")
    with in_a_process(*arguments) as process:
        until_it_trains(process)
        for _ in range(2):  # two in a moment are as good as one
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "fastrnn: interrupted; everything is saved in" in err
    assert "Traceback" not in err
    call(*arguments)
    train(small(**ABOUT_A_SECOND), tmp_path / "undisturbed", "cpu", progress=False)
    assert_same_bits(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT")
def test_ctrl_c_saves_where_the_reader_of_stderr_is_gone(tmp_path):
    arguments = for_a_second(tmp_path / "run")
    with in_a_process(*arguments) as process:
        until_it_trains(process)
        process.stderr.close()  # as `tee` does, which dies of the same Ctrl-C
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(timeout=60) == 130
    call(*arguments)
    train(small(**ABOUT_A_SECOND), tmp_path / "undisturbed", "cpu", progress=False)
    assert_same_bits(tmp_path / "run", tmp_path / "undisturbed")


def test_two_processes_never_share_a_folder(tmp_path):
    arguments = [*SMALL, "--iterations", 3000, "--out", tmp_path / "run"]
    with in_a_process(*arguments) as first:
        until_it_trains(first)
        _, err = call(*arguments, code=1)
        first.kill()
        first.communicate()
    assert re.search(rf"run' is in use by process {first.pid} on .*; wait until it is done, stop it, or choose", err)


def test_a_preset_goes_before_a_file(tmp_path):
    (tmp_path / "mine.toml").write_text(small().to_toml(), encoding="utf-8-sig")
    arguments = ["train-population", "--spec", tmp_path / "mine.toml", *"--iterations 1 --cells gru --batch 4".split()]
    call(*arguments, "--preset", "tiny", "--out", tmp_path / "tiny")
    (row,) = {tuple(row) for row in load_run(tmp_path / "tiny").table[["n", "l2"]].to_numpy().tolist()}
    assert row == (16, 1e-5)
    call(*arguments, "--task", "flipflop", "--out", tmp_path / "same")
    _, said = call(*arguments, "--task", "cdi", code=2)
    assert "has the settings of another task, 'flipflop'; leave out --task" in said


def test_rows_of_hyperparameters_for_nobody_are_told(tmp_path):
    (tmp_path / "table.csv").write_text("n,learning_rate\n64,0.1\n")
    _, said = call(*SMALL, "--out", tmp_path / "run", "--hyperparameters", tmp_path / "table.csv")
    assert "warning: of the hyperparameters given, these rows are of no network here: row 1 (n 64)" in said


def test_settings_of_a_file_that_are_no_table_are_refused(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text("task_settings = 5\n")
    said = call("train-population", "--spec", file, "--setting", "steps=6", "--out", tmp_path / "run", code=2)
    assert "task_settings must be a table of settings, such as steps = 50; it is 5" in "".join(said)
