"""`fastrnn bench`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from .options import Debug, Json, values


def bench(
    quick: Annotated[
        bool, typer.Option("--quick/--full", help="Under a minute and less exact, or everything: half an hour.")
    ] = False,
    tasks: Annotated[
        str | None, typer.Option(help="To train, any of flipflop,cdi,sine.  [default: all; quick: flipflop]")
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            help="To train and to search, any of vanilla,ugrnn,gru,lstm,leaky,current.  [default: the first four]"
        ),
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="To train, numbers of units.  [default: 64,128,256]")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads, the peers' too.  [default: all there are]")] = None,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers/--no-peers", help="Time JAX and PyTorch on tanh networks of the first task, where installed."
        ),
    ] = True,
    results: Annotated[str | None, typer.Option(help="Show saved results; measure nothing.")] = None,
    out: Annotated[str | None, typer.Option(help="JSON file to save the results in.")] = None,
    plot: Annotated[str | None, typer.Option(help="File for a picture of the results, .png or .svg.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure training speed, beside other libraries.

    The peak is NumPy's 2048 x 2048 float32 product, the limit the rate of multiply-adds that stay in registers. JAX
    and PyTorch (from pip install 'fastrnn[bench]') take turns with fastrnn on the same work, after a check that they
    compute the same. The machine should have nothing else to do meanwhile.

    \b
    Examples:
      fastrnn bench --quick
      fastrnn bench --out results.json --plot speed.png
      fastrnn bench --tasks cdi --cells gru,lstm --sizes 64 --no-peers
    """
    from ..errors import UsageError
    from ..storage import write_json

    picture, settings, suite = map(_benchmarks, ("picture", "settings", "suite"))
    for path, check in ((out, suite.check_path), (plot, picture.check_path)):
        if path is not None:
            check(path)
    if results is not None:
        if (quick, tasks, cells, sizes, threads, peers) != (False, None, None, None, None, True):
            raise UsageError("--results shows what was measured: leave out the options that say what to measure")
        measured = suite.load(results)
    else:
        from ..progress import Progress

        lists = {"tasks": values(tasks, str, "tasks"), "cells": values(cells, str, "cells")}
        lists |= {"sizes": values(sizes, int, "sizes")}
        with Progress() as progress:
            measured = suite.run(settings.choose(quick, threads=threads, peers=peers, **lists), progress)
    if out is not None:
        write_json(out, measured)
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
    sources = Path(__file__).resolve().parents[2]
    if not (sources / "benchmarks" / "suite.py").is_file():
        from ..errors import RunError

        raise RunError("the benchmarks are not in this installation; install fastrnn from its wheel or its sources")
    sys.path.insert(0, str(sources))
    try:
        return import_module(f"benchmarks.{module}")
    finally:
        sys.path.remove(str(sources))
