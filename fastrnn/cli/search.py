"""`fastrnn search`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .exits import SOME_FAILED
from .options import (
    L2,
    Activations,
    Alpha,
    Batch,
    Cells,
    CheckpointSeconds,
    Debug,
    Device,
    Exclude,
    GateBias,
    Iterations,
    Json,
    Noise,
    Optimizer,
    Precision,
    Seed,
    Sizes,
    SpecFile,
    TaskName,
    TaskSettings,
    Threads,
    population_settings,
)
from .printing import print_json, print_training


def search(
    task: TaskName = None,
    preset: Annotated[
        str | None, typer.Option(help="quick, tiny or paper: which configurations.  [default: quick]")
    ] = None,
    spec: SpecFile = None,
    cells: Cells = None,
    activations: Activations = None,
    sizes: Sizes = None,
    l2: L2 = None,
    exclude: Exclude = None,
    iterations: Iterations = None,
    batch: Batch = None,
    seed: Seed = None,
    optimizer: Optimizer = None,
    gate_bias: GateBias = None,
    alpha: Alpha = None,
    noise: Noise = None,
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
    precision: Precision = "float32",
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
      fastrnn search --task my.py:mine --optimizer adam
      fastrnn search --task cdi --cells gru,lstm --range momentum=0.8:0.99
      fastrnn search --spec my.toml --plain
      fastrnn train-population --hyperparameters searches/cdi/chosen.csv \\
          --task cdi
    """
    import shlex

    from ..errors import UsageError
    from ..search import SearchSpec, search_hyperparameters

    given = {"task": task, "preset": preset, "iterations": iterations}
    given |= {"batch": batch, "seed": seed, "optimizer": optimizer}
    given |= {"gate_bias": gate_bias, "alpha": alpha, "noise": noise}
    lists = {"cells": cells, "activations": activations, "sizes": sizes, "l2": l2, "exclude": exclude}
    settings = population_settings(spec, given, lists, setting, hyperparameters)
    if plain and (rounds, finalists, repeats, incumbent) != (None,) * 4:
        raise UsageError(
            "--plain has one round and no finalists: leave out --rounds, --finalists, --repeats and "
            "--incumbent, or --plain"
        )
    mine = {"rounds": 1, "repeats": 0, "incumbent": False} if plain else {}
    own = {"draws": draws, "rounds": rounds, "finalists": finalists, "repeats": repeats, "incumbent": incumbent}
    own["ranges"] = dict(map(_range, draw_range)) if draw_range else None
    mine |= {name: value for name, value in own.items() if value is not None}
    found = search_hyperparameters(
        SearchSpec.from_settings(settings, **mine),
        out,
        device,
        threads,
        precision=precision,
        checkpoint_seconds=checkpoint_seconds,
        command=shlex.join(["fastrnn", *sys.argv[1:]]),
    )
    report = found.report()
    if as_json:
        print_json(report)
    else:
        _print_for_people(found, report)
    return SOME_FAILED if report["without_winner"] else 0


def _print_for_people(found, report: dict) -> None:
    """For people: lines on the whole, and a table of what was chosen."""
    from ..progress import counted

    share = report["network_iterations"] / max(report["plain_network_iterations"], 1)
    fates = ", ".join(f"{count:,} {fate}" for fate, count in report["fates"].items() if count)
    print(
        f"{report['search']}: {counted(report['draws'], 'draw')} of "
        f"{counted(report['configurations'], 'configuration')} on {report['task']}"
    )
    print_training(report)
    print(f"{fates}; {report['network_iterations']:,} network-iterations, {share:.0%} of a plain search's")
    chosen = found.chosen
    table = chosen[["l2", "learning_rate", "decay", "momentum", "clip", "origin"]].assign(loss=chosen.validation_loss)
    table.insert(0, "group", [f"{row.cell}-{row.activation}-{row.n}" for row in chosen.itertuples()])
    if chosen.diverged.any():
        table["diverged"] = chosen.diverged
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    for row in report["without_winner"]:
        print("no winner: {cell}-{activation}-{n}-{l2!r}, every draw diverged".format(**row))


def _range(text: str) -> tuple[str, list[float]]:
    """Name, lowest and highest value of a hyperparameter to be drawn."""
    from ..errors import UsageError

    name, _, limits = text.partition("=")
    try:
        low, high = map(float, limits.split(":"))
    except ValueError:
        raise UsageError(f"--range must be name=lowest:highest, such as momentum=0.8:0.99; it is {text!r}") from None
    return name.strip(), [low, high]
