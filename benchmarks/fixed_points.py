"""Fixed points of networks that solved the flip-flop: time for each to its verdict, kind by kind."""

from __future__ import annotations

import tempfile
import time

import numpy as np

import fastrnn

from .rounds import significant
from .section import Bench, Section, Step

UNITS, ITERATIONS, SEARCHES = 64, 1500, 5


def steps(bench: Bench) -> list[Step]:
    """One kind of network a step, trained and then searched; none in a quick run."""
    if not bench.settings.compared:
        return []
    kinds = [(cell, activation) for cell in bench.settings.cells for activation in bench.settings.activations]
    return [
        Step(f"fixed points, {cell} {activation}", 20.0, lambda kind=(cell, activation): searched(bench, *kind))
        for cell, activation in kinds
    ]


def searched(bench: Bench, cell: str, activation: str, n: int = UNITS, iterations: int = ITERATIONS) -> dict:
    """Train one network, search it several times over, and say what the best search took and found."""
    threads = bench.engine.threads
    spec = fastrnn.PopulationSpec(
        "flipflop", cells=(cell,), activations=(activation,), sizes=(n,), l2=(1e-5,), seeds=1, iterations=iterations
    )
    with tempfile.TemporaryDirectory() as folder:
        run = fastrnn.train(spec, out=folder, device="cpu", threads=threads, progress=False)
        networks, loss = run.networks(f"{cell}-{activation}-{n}"), float(run.table.validation_loss[0])
    kind = {"cell": cell, "activation": activation, "n": n, "loss": loss, "threads": threads}
    if not np.isfinite(networks.parameters).all() or not np.isfinite(loss):
        return kind | {"loss": None, "seconds": None}
    seconds = []
    for _ in range(SEARCHES):
        start = time.perf_counter()
        points = fastrnn.find_fixed_points(networks, np.zeros(networks.D), task=run.task, threads=threads)
        seconds.append(time.perf_counter() - start)
    row = points.summary.iloc[0]
    found = {name: str(row[name]) for name in ("search_status", "by_unstable")}
    found |= {name: int(row[name]) for name in ("exact", "starts")}
    return kind | found | {"seconds": significant(min(seconds))}


def gather(bench: Bench, measured: list[dict]) -> dict:
    """The kinds in order."""
    return {"kinds": measured}


def lines(result: dict) -> list[str]:
    """A line a kind."""
    if not result["kinds"]:
        return ["Fixed points: not timed in a quick run"]
    text = [f"Fixed points of a flip-flop network, best of {SEARCHES} searches: time, points by unstable dimensions"]
    for kind in result["kinds"]:
        name = f"{kind['cell']} {kind['activation']} {kind['n']}"
        if kind["seconds"] is None:
            text.append(f"{name:<20}diverged in training")
            continue
        told = f"{kind['search_status']:<16}{kind['exact']:>4} points ({kind['by_unstable']}), {kind['starts']} starts"
        text.append(f"{name:<20}{1e3 * kind['seconds']:>8.0f} ms  {told}")
    return text


SECTION = Section("fixed_points", steps, gather, lines)
