"""The command line: parse, call, print. Results on stdout, everything else on stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done, but some networks, analyses or
searches failed, 130 interrupted with everything saved.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from typing import Annotated

import typer

FAILED, USAGE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130
FAILURES_SHOWN = 20

app = typer.Typer(
    name="fastrnn",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# which networks, and how they train
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="flipflop, cdi, sine, or your own as path/to/file.py:name.  [default: flipflop]"),
]
SpecFile = Annotated[
    str | None, typer.Option("--spec", help="TOML file with any of these settings; options go before it.")
]
Cells = Annotated[str | None, typer.Option(help="Any of vanilla,ugrnn,gru,lstm.  [default: all]")]
Activations = Annotated[str | None, typer.Option(help="Any of tanh,relu.  [default: all]")]
Sizes = Annotated[str | None, typer.Option(help="Numbers of units, such as 64,128.")]
L2 = Annotated[str | None, typer.Option("--l2", help="Weights of the squared parameters, such as 1e-5,1e-3.")]
Exclude = Annotated[str | None, typer.Option(help="Kinds to leave out, such as lstm-relu; '' for none.")]
Iterations = Annotated[int | None, typer.Option(help="Training iterations of each network.")]
Batch = Annotated[int | None, typer.Option(help="Trials an iteration.  [default: 64]")]
Seed = Annotated[int | None, typer.Option(help="Seed of the whole population.  [default: 0]")]
GateBias = Annotated[float | None, typer.Option(help="Constant in the forget or update gate.  [default: 1]")]
TaskSettings = Annotated[
    list[str] | None,
    typer.Option("--setting", help="A constant of the task, such as steps=50; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the CPU.  [default: all there are]")]
CheckpointSeconds = Annotated[float, typer.Option(help="Seconds between checkpoints.")]


def main() -> None:
    """Run the command line."""
    app(prog_name="fastrnn")


def command(function):
    """A subcommand whose errors become a line on stderr and an exit code."""

    @functools.wraps(function)
    def guarded(*args, debug: bool = False, **kwargs):
        from .errors import FastrnnError, UsageError

        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            _complain(str(interrupt) or "stopped at once; what the last checkpoint saved is kept")
            code = INTERRUPTED
        except BrokenPipeError:  # whoever read our output is gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        except Exception as error:
            if debug:
                raise
            expected = isinstance(error, FastrnnError)
            _complain(f"error: {error}" if expected else f"error: {_unexpected(error)}")
            code = USAGE if isinstance(error, UsageError) else FAILED
        if code:
            raise typer.Exit(code)

    return app.command()(guarded)


@app.callback(invoke_without_command=True)
def fastrnn(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Train populations of small recurrent networks and compare their dynamics.

    \b
    fastrnn train-population --task flipflop    # 24 networks, minutes
    fastrnn info runs/flipflop                  # what came of them
    fastrnn analyze runs/flipflop               # what they have in common
    fastrnn search --task cdi                   # other hyperparameters
    fastrnn train-population --help             # all there is to choose
    """
    if version:
        from . import __version__

        print(f"fastrnn {__version__}")


@command
def train_population(
    task: TaskName = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="quick: 24 networks, minutes; tiny: a minute at most; paper: 2,880 networks.  [default: quick]"
        ),
    ] = None,
    spec: SpecFile = None,
    cells: Cells = None,
    activations: Activations = None,
    sizes: Sizes = None,
    l2: L2 = None,
    seeds: Annotated[int | None, typer.Option(help="Networks of each configuration.")] = None,
    exclude: Exclude = None,
    iterations: Iterations = None,
    batch: Batch = None,
    seed: Seed = None,
    gate_bias: GateBias = None,
    setting: TaskSettings = None,
    hyperparameters: Annotated[
        str | None,
        typer.Option(
            help="CSV table with any of the columns cell, activation, n, l2, seed (which networks; empty: any) and "
            "learning_rate, decay, momentum, clip; a search's chosen.csv is one. The most specific row counts."
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run.  [default: runs/<task>]")] = None,
    checkpoint_seconds: CheckpointSeconds = 60.0,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Train a population, or go on with one.

    The same command goes on where a run was stopped; a larger population (more seeds, sizes, cells ...) extends the
    one in the folder.

    \b
    Examples:
      fastrnn train-population --task flipflop
      fastrnn train-population --task sine --preset tiny
      fastrnn train-population --task cdi --cells gru,lstm --sizes 64,128 \\
          --seeds 10 --out runs/gated
      fastrnn train-population --spec my.toml --threads 2
    """
    from .spec import PopulationSpec
    from .training import train

    given = {"task": task, "preset": preset, "seeds": seeds, "iterations": iterations}
    given |= {"batch": batch, "seed": seed, "gate_bias": gate_bias}
    lists = {"cells": cells, "activations": activations, "sizes": sizes, "l2": l2, "exclude": exclude}
    settings = _population_settings(spec, given, lists, setting, hyperparameters)
    run = train(PopulationSpec.from_settings(settings), out, device, threads, checkpoint_seconds=checkpoint_seconds)
    return _show(run, as_json)


@command
def search(
    task: TaskName = None,
    preset: Annotated[str | None, typer.Option(help="quick, tiny or paper: which configurations.")] = None,
    spec: SpecFile = None,
    cells: Cells = None,
    activations: Activations = None,
    sizes: Sizes = None,
    l2: L2 = None,
    exclude: Exclude = None,
    iterations: Iterations = None,
    batch: Batch = None,
    seed: Seed = None,
    gate_bias: GateBias = None,
    setting: TaskSettings = None,
    hyperparameters: Annotated[
        str | None, typer.Option(help="CSV table of the values in use, which the winner has to beat.")
    ] = None,
    draws: Annotated[int | None, typer.Option(help="Random draws of each configuration.  [default: 32]")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Half of the draws leave after each round but the last.  [default: 4]")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="One round, no repeats: every draw to the end, the best one wins.")
    ] = False,
    finalists: Annotated[int | None, typer.Option(help="Best draws that are trained again.  [default: 2]")] = None,
    repeats: Annotated[
        int | None,
        typer.Option(help="Fresh networks of each finalist: how they do decides.  [default: 2]"),
    ] = None,
    incumbent: Annotated[
        bool | None,
        typer.Option(
            "--incumbent/--no-incumbent", help="Whether the values in use are a finalist too.  [default: they are]"
        ),
    ] = None,
    draw_range: Annotated[
        list[str] | None,
        typer.Option("--range", help="What to draw from, such as momentum=0.8:0.99; may be repeated."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    out: Annotated[str | None, typer.Option(help="Folder of the search.  [default: searches/<task>]")] = None,
    checkpoint_seconds: CheckpointSeconds = 60.0,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Search learning rate, decay, momentum and clip, or go on with a search.

    All draws of all configurations train side by side. The best draws train again with fresh weights, beside the
    values in use; chosen is the one of which the fewest diverge, and among equals the one whose worst network is
    best. The same command goes on where a search was
    stopped; more sizes, cells ... extend it.

    \b
    Examples:
      fastrnn search --task flipflop
      fastrnn search --task sine --draws 64 --iterations 10000
      fastrnn search --task cdi --cells gru,lstm --range momentum=0.8:0.99
      fastrnn search --spec my.toml --plain
      fastrnn train-population --hyperparameters searches/cdi/chosen.csv \\
          --task cdi
    """
    import shlex

    from .search import SearchSpec, search_hyperparameters

    given = {"task": task, "preset": preset, "iterations": iterations}
    given |= {"batch": batch, "seed": seed, "gate_bias": gate_bias}
    lists = {"cells": cells, "activations": activations, "sizes": sizes, "l2": l2, "exclude": exclude}
    settings = _population_settings(spec, given, lists, setting, hyperparameters)
    mine = {"rounds": 1, "repeats": 0, "incumbent": False} if plain else {}
    own = {"draws": draws, "rounds": rounds, "finalists": finalists, "repeats": repeats, "incumbent": incumbent}
    own["ranges"] = dict(map(_range, draw_range)) if draw_range else None
    mine |= {name: value for name, value in own.items() if value is not None}
    found = search_hyperparameters(
        SearchSpec.from_settings(settings, **mine),
        out,
        device,
        threads,
        checkpoint_seconds=checkpoint_seconds,
        command=shlex.join(["fastrnn", *sys.argv[1:]]),
    )
    report = found.report()
    if as_json:
        print(json.dumps(_without_nan(report), indent=2))
    else:
        _print_search(found, report)
    return SOME_FAILED if report["without_winner"] else 0


@command
def info(
    run: Annotated[str, typer.Argument(help="Folder of the run.")], as_json: Json = False, debug: Debug = False
) -> int:
    """Losses by configuration, and what failed in a run and why.

    \b
    Examples:
      fastrnn info runs/flipflop
      fastrnn info runs/flipflop --json | jq .configurations
    """
    from .runs import load_run

    _show(load_run(run), as_json)
    return 0


@command
def analyze(
    runs: Annotated[list[str] | None, typer.Argument(help="Folders of runs.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run under --folder.")] = False,
    folder: Annotated[str, typer.Option(help="Where --all looks for runs.")] = "runs",
    only: Annotated[
        str | None,
        typer.Option(
            help="Any of similarity,fixed-points,linearization,topology,study,untrained,portraits,claims.  "
            "[default: all]"
        ),
    ] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw figures and write report.html.")] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare the networks of runs, study their dynamics, measure the paper's claims, draw and report it all.

    Results are kept in each run's folder, under analysis/. What is there and was made from the same
    files, by checksum, is not computed again. Networks that did not learn are left out and named. An analysis that
    fails is named too, and the others are done (exit code 3). Figures are under figures/ of the run; report.html
    holds all of it, and index.html beside the runs leads there.

    \b
    Examples:
      fastrnn analyze runs/flipflop
      fastrnn analyze --all
      fastrnn analyze runs/cdi --only similarity,claims --json | jq '.[].claims'
    """
    from .errors import UsageError
    from .pipeline import analyze_all, find_runs

    if bool(runs) == every:
        raise UsageError("name folders of runs, or give --all: one of the two")
    made = [one.report() for one in analyze_all(find_runs(folder) if every else runs, _list(only, str, "only"))]
    if report:
        _write_reports(made, folder if every else None)
    if as_json:
        print(json.dumps(_without_nan(made), indent=2))
    else:
        for one in made:
            _print_analysis(one)
    return SOME_FAILED if any(one["failed"] for one in made) else 0


@command
def bench(
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="Under a minute and less exact, or everything: half an hour.")
    ] = False,
    tasks: Annotated[
        str | None, typer.Option(help="Any of flipflop,cdi,sine.  [default: all; quick: flipflop]")
    ] = None,
    cells: Annotated[str | None, typer.Option(help="Any of vanilla,ugrnn,gru,lstm.  [default: all]")] = None,
    sizes: Annotated[str | None, typer.Option(help="Numbers of units.  [default: 64,128,256]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads, the peers' too.  [default: all there are]")] = None,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Time JAX and PyTorch on the same work, where installed.")
    ] = True,
    results: Annotated[str | None, typer.Option(help="Show saved results instead of measuring.")] = None,
    out: Annotated[str | None, typer.Option(help="JSON file to save the results in.")] = None,
    plot: Annotated[str | None, typer.Option(help="File for a picture of the results, .png or .svg.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure training speed, beside other libraries.

    The peak is NumPy's 2048 x 2048 float32 product. JAX and PyTorch (from pip install 'fastrnn[bench]') take turns
    with fastrnn on the same work, after a check that they compute the same. The machine should have nothing else to
    do meanwhile.

    \b
    Examples:
      fastrnn bench --quick
      fastrnn bench --out results.json --plot speed.png
      fastrnn bench --tasks cdi --cells gru,lstm --sizes 64 --no-peers
    """
    picture, settings, suite = map(_benchmarks, ("picture", "settings", "suite"))
    for path, check in ((out, suite.check_path), (plot, picture.check_path)):
        if path is not None:
            check(path)
    if results is not None:
        measured = suite.load(results)
    else:
        from .progress import Progress

        lists = {"tasks": _list(tasks, str, "tasks"), "cells": _list(cells, str, "cells")}
        lists |= {"sizes": _list(sizes, int, "sizes")}
        with Progress() as progress:
            measured = suite.run(settings.choose(quick, threads=threads, peers=peers, **lists), progress)
    if out is not None:
        suite.save(measured, out)
    if plot is not None:
        picture.save(measured, plot)
    print(json.dumps(measured, indent=1) if as_json else suite.report(measured))
    return 0


def _benchmarks(module: str):
    """A module of the benchmarks: in a wheel they lie inside the package, in the sources beside it."""
    from importlib import import_module
    from importlib.util import find_spec
    from pathlib import Path

    if find_spec("fastrnn._benchmarks") is not None:
        return import_module(f"fastrnn._benchmarks.{module}")
    sources = Path(__file__).resolve().parents[1]
    if not (sources / "benchmarks" / "suite.py").is_file():
        from .errors import RunError

        raise RunError("the benchmarks are not in this installation; install fastrnn from its wheel or its sources")
    sys.path.insert(0, str(sources))
    try:
        return import_module(f"benchmarks.{module}")
    finally:
        sys.path.remove(str(sources))


def _show(run, as_json: bool) -> int:
    """Print a run; the exit code that it deserves."""
    report = run.report()
    if as_json:
        print(json.dumps(_without_nan(report), indent=2))
    else:
        _print_report(run, report)
    return SOME_FAILED if report["diverged"] else 0


def _print_report(run, report: dict) -> None:
    """For people: a line on the whole, a table of the configurations, a list of what failed and why."""
    fates = ("trained", "training", "dropped", "diverged", "untrained")
    counts = [f"{report[status]:,} {status}" for status in fates if report[status]]
    print(f"{report['run']}: {report['networks']:,} networks on {report['task']}, {', '.join(counts)}")
    if report["threshold"] is not None:
        print(f"{report['learnt']:,} learnt the task (validation loss below {report['threshold']:g})")
    summary = run.summary()
    if report["threshold"] is None:
        summary = summary.drop(columns=["learnt", "share"])
    else:
        summary["share"] = summary.share.map("{:.0%}".format)
    empty = [name for name in ("untrained", "training", "diverged", "dropped") if not summary[name].any()]
    summary = summary.drop(columns=[*empty, "median_training_loss"])
    summary = summary.rename(columns=lambda name: name.replace("validation_", ""))
    print(summary.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3g}"))
    for failure in report["failures"][:FAILURES_SHOWN]:
        print(f"failed: {failure['id']}: {failure['reason']}")
    if (more := len(report["failures"]) - FAILURES_SHOWN) > 0:
        print(f"... and {more:,} more failed: --json lists all of them")


def _print_search(found, report: dict) -> None:
    """For people: lines on the whole, and a table of what was chosen."""
    share = report["network_iterations"] / max(report["plain_network_iterations"], 1)
    fates = ", ".join(f"{count:,} {fate}" for fate, count in report["fates"].items() if count)
    print(
        f"{report['search']}: {report['draws']} draws of {report['configurations']} configurations on {report['task']}"
    )
    print(f"{fates}; {report['network_iterations']:,} network-iterations, {share:.0%} of a plain search's")
    columns = ["cell", "activation", "n", "l2", "learning_rate", "decay", "momentum", "clip", "origin"]
    table = found.chosen[[*columns, "diverged", "validation_loss"]]
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    for row in report["without_winner"]:
        print("no winner: {cell}-{activation}-{n}-{l2!r}, every draw diverged".format(**row))


def _population_settings(spec: str | None, given: dict, lists: dict, setting, hyperparameters: str | None) -> dict:
    """Settings of a population from a file and the options that go before it."""
    from .errors import UsageError
    from .hyperparameters import read_rows
    from .spec import read_toml

    kinds = {"sizes": int, "l2": float}
    given = given | {name: _list(text, kinds.get(name, str), name) for name, text in lists.items()}
    given["excluded"] = given.pop("exclude")
    settings = read_toml(spec) if spec is not None else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    if setting:
        in_file = settings.get("task_settings", {})
        if not isinstance(in_file, dict):
            raise UsageError(f"task_settings must be a table of settings, such as steps = 50; it is {in_file!r}")
        settings["task_settings"] = in_file | dict(map(_setting, setting))
    if hyperparameters is not None:
        settings["hyperparameters"] = read_rows(hyperparameters)
    return settings


def _write_reports(made: list[dict], folder: str | None) -> None:
    """A page for each run that could be used, its path and failures noted in `made`; an index in `folder`."""
    from .report import write_index, write_report

    usable = [one for one in made if "run" not in one["failed"]]
    for one in usable:
        written = write_report(one["run"])
        one["report"] = str(written.path)
        one["failed"] |= written.failed
    if folder is not None and usable:
        write_index(folder, [one["run"] for one in usable])


def _print_analysis(report: dict) -> None:
    """For people: what was done, who was left out, what failed, and the claims on all networks."""
    if report["done"]:
        done = f"{len(report['done'])} analyses done, {report['up_to_date']} were up to date"
    else:
        done = f"nothing to do, {report['up_to_date']} analyses are up to date"
    print(f"{report['run']}: {report['studied']:,} networks on {report['task']}; {done}")
    if "report" in report:
        print(f"report: {report['report']}")
    for name, reason in report["left_out"].items():
        print(f"left out: {name}: {reason}")
    for name, reason in report["failed"].items():
        print(f"failed: {name}: {reason}")
    for claim in report["claims"]:
        if claim["subject"] in ("all", "vanilla"):
            interval = f" [{claim['low']:.3g}, {claim['high']:.3g}]" if math.isfinite(claim["low"]) else ""
            print(
                f"{claim['claim']}. {claim['statement']}: {claim['verdict']} "
                f"({claim['statistic']} {claim['value']:.3g}{interval}, {claim['networks']} networks)"
            )


def _list(text: str | None, kind, option: str) -> list | None:
    """Values separated by commas."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return [kind(part) for part in parts]
    except ValueError:
        from .errors import UsageError

        words = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"--{option} must be {words} separated by commas; it is {text!r}") from None


def _setting(text: str) -> tuple[str, float]:
    """Name and value of a task's constant."""
    from .errors import UsageError

    name, _, value = text.partition("=")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    raise UsageError(f"--setting must be name=number, such as steps=50; it is {text!r}")


def _range(text: str) -> tuple[str, list[float]]:
    """Name, lowest and highest value of a hyperparameter to be drawn."""
    from .errors import UsageError

    name, _, limits = text.partition("=")
    try:
        low, high = map(float, limits.split(":"))
    except ValueError:
        raise UsageError(f"--range must be name=lowest:highest, such as momentum=0.8:0.99; it is {text!r}") from None
    return name.strip(), [low, high]


def _without_nan(value):
    """JSON knows no NaN: null instead."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unexpected(error: Exception) -> str:
    return f"{type(error).__name__}: {error}; --debug shows where"


def _complain(text: str) -> None:
    print(f"fastrnn: {text}", file=sys.stderr)
