"""`fastrnn train-population`."""

from __future__ import annotations

from typing import Annotated

import typer

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
from .printing import print_run


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
    optimizer: Optimizer = None,
    gate_bias: GateBias = None,
    alpha: Alpha = None,
    noise: Noise = None,
    setting: TaskSettings = None,
    hyperparameters: Annotated[
        str | None,
        typer.Option(
            help="CSV table with any of the columns cell, activation, n, l2, seed (which networks; empty: any) and "
            "learning_rate, decay, momentum, clip; a search's chosen.csv is one. The most specific row counts."
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Train a part of the population only, such as 3/40, one of 40; fastrnn merge puts them together."
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "float32",
    out: Annotated[
        str | None, typer.Option(help="Folder of the run.  [default: runs/<task>; of a part: parts/<task>/<part>]")
    ] = None,
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
      fastrnn train-population --task flipflop --cells leaky --noise 0.05
      fastrnn train-population --task my.py:mine --optimizer adam
      fastrnn train-population --spec my.toml --threads 2
      fastrnn train-population --preset paper --part 3/40
    """
    from ..spec import PopulationSpec
    from ..training import train

    given = {"task": task, "preset": preset, "seeds": seeds, "iterations": iterations}
    given |= {"batch": batch, "seed": seed, "optimizer": optimizer, "part": part}
    given |= {"gate_bias": gate_bias, "alpha": alpha, "noise": noise}
    lists = {"cells": cells, "activations": activations, "sizes": sizes, "l2": l2, "exclude": exclude}
    settings = population_settings(spec, given, lists, setting, hyperparameters)
    population = PopulationSpec.from_settings(settings)
    run = train(population, out, device, threads, precision=precision, checkpoint_seconds=checkpoint_seconds)
    return print_run(run, as_json)
