"""Fixed points of networks that solved the flip-flop: time to the verdict, kind by kind; and of many given starts."""

from __future__ import annotations

import tempfile
import time

import numpy as np

import fastrnn
from fastrnn.analysis.fixed_points import sample_states
from fastrnn.analysis.starts import NOISE, TRIALS, draw_starts, spread_of
from fastrnn.tasks import get_task

from .rounds import significant
from .section import Bench, Section, Step

UNITS, ITERATIONS, SEARCHES = 64, 1500, 7
LEARNT = get_task("flipflop").threshold  # loss of a network whose searches are worth telling
LARGE = {"cell": "vanilla", "activation": "tanh", "n": 256, "iterations": 800, "starts": 2000}  # all starts are used


def steps(bench: Bench) -> list[Step]:
    """One kind of network a step, trained and then searched, and the large network; none in a quick run."""
    if not bench.settings.compared:
        return []
    kinds = [(cell, activation) for cell in bench.settings.cells for activation in bench.settings.activations]
    each = [
        Step(f"fixed points, {cell} {activation}", 20.0, lambda kind=(cell, activation): searched(bench, *kind))
        for cell, activation in kinds
    ]
    return [*each, Step("fixed points of a large network", 60.0, lambda: searched(bench, **LARGE))]


def searched(
    bench: Bench, cell: str, activation: str, n: int = UNITS, iterations: int = ITERATIONS, starts: int | None = None
) -> dict:
    """Train one network, search it several times over, and say what the searches took and the last one found.

    With a number of `starts` all of them are used, once; without, each search goes on until its verdict.
    """
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
    seconds, held = [], np.zeros(networks.D)
    given = None if starts is None else many_starts(networks, held, run.task, starts)
    fastrnn.find_fixed_points(networks, held, many_starts(networks, held, run.task, 2), threads=threads)  # compiles
    for seed in range(SEARCHES if given is None else 1):
        start = time.perf_counter()
        points = fastrnn.find_fixed_points(networks, held, given, task=run.task, seed=seed, threads=threads)
        seconds.append(time.perf_counter() - start)
    row = points.summary.iloc[0]
    found = {name: str(row[name]) for name in ("search_status", "by_unstable")}
    found |= {name: int(row[name]) for name in ("exact", "starts")}
    times = {"seconds": significant(float(np.median(seconds))), "slowest_seconds": significant(max(seconds))}
    return kind | found | times


def many_starts(networks, held, task, count: int) -> np.ndarray:
    """Starts (count, S) as a search would draw them."""
    states = sample_states(networks, 0, held[None], task, TRIALS, seed=0)
    noise = NOISE * spread_of(states) / np.sqrt(networks.S)
    return draw_starts(states, count, noise, np.random.default_rng(0))[0]


def gather(bench: Bench, measured: list[dict]) -> dict:
    """The kinds in order."""
    return {"kinds": measured}


def lines(result: dict) -> list[str]:
    """A line a kind."""
    if not result["kinds"]:
        return ["Fixed points: not timed in a quick run"]
    text = [
        f"Fixed points of a flip-flop network, median (slowest) of {SEARCHES} searches to their verdicts, and the last",
        f"one's points by unstable dimensions; at n = {LARGE['n']}, {LARGE['starts']:,} given starts once",
    ]
    for kind in result["kinds"]:
        name = f"{kind['cell']} {kind['activation']} {kind['n']}"
        if kind["seconds"] is None:
            text.append(f"{name:<20}diverged in training")
            continue
        if not kind["loss"] < LEARNT:
            text.append(f"{name:<20}did not learn the task, loss {kind['loss']:.2g}")
            continue
        told = f"{kind['search_status']:<16}{kind['exact']:>4} points ({kind['by_unstable']}), {kind['starts']} starts"
        slowest = f"({1e3 * kind['slowest_seconds']:.0f})"
        text.append(f"{name:<18}{1e3 * kind['seconds']:>6.0f} {slowest:>7} ms  {told}")
    return text


SECTION = Section("fixed_points", steps, gather, lines)
