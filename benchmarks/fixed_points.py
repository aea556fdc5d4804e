"""Fixed points of networks that solved the flip-flop: time to the verdict, kind by kind; and of many given starts."""

from __future__ import annotations

import tempfile
import time
from functools import partial

import numpy as np

import fastrnn
from fastrnn.analysis.fixed_points import sample_states
from fastrnn.analysis.starts import NOISE, TRIALS, draw_starts, spread_of
from fastrnn.tasks import get_task

from . import beside
from .peers import adam_descent
from .rounds import significant
from .section import Bench, Section, Step

UNITS, ITERATIONS, SEARCHES = 64, 1500, 7
LEARNT = get_task("flipflop").threshold  # loss of a network whose searches are worth telling
LARGE = {"cell": "vanilla", "activation": "tanh", "n": 256, "iterations": 800, "starts": 2000}  # all starts are used
BESIDE, STARTS = ("vanilla", "tanh", UNITS), 256  # the kind that is searched in PyTorch too, and from how many starts
TRIED = 50  # steps, to see how many threads suit it
TOLERANCE = 1e-26  # of our q, over 1 + |h|^2: the default
NEAR = 1e-3  # of ours lie the points that it finds


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
    if (cell, activation, n) == BESIDE and bench.settings.peers and adam_descent.is_installed():
        given = many_starts(networks, held, run.task, STARTS)
        found["beside"] = beside_adam(networks, held, given, run.task, threads)
    return kind | found | times


def beside_adam(networks, held, given, task, threads: int) -> dict:
    """Seconds from the starts `given` (M, S) of one network to their ends, ours and PyTorch's; all of ours count.

    Ours goes on to a tolerance far below the other's.
    """

    def ours():
        return fastrnn.find_fixed_points(networks, held, given, task=task, tolerance=TOLERANCE, threads=threads)

    def descend(threads, **bound):
        return adam_descent.descend(networks, held, given, threads, **bound)

    def check(threads):
        ends, q, taken = descend(threads)
        fixed = q < adam_descent.FIXED
        said = {"steps": taken, "converged": float(fixed.mean())}
        if not fixed.any():
            return said | {"failed": f"none of its starts converged in {taken} steps"}
        distances = np.linalg.norm(ends[fixed, None] - points.xstar, axis=-1)  # (theirs, ours)
        farthest = float(distances.min(axis=1, initial=np.inf).max())
        if not farthest < NEAR:
            return said | {"failed": f"its points lie up to {farthest:.2g} from ours"}
        return said | {"distance": significant(farthest, 2), "points": len(np.unique(distances.argmin(axis=1)))}

    points = ours()
    title = f"PyTorch, Adam to q = {adam_descent.FIXED:g}"
    adam = beside.Instead("torch-adam", title, 1, descend, partial(descend, steps=TRIED), check)
    found = {"starts": len(given), "points": len(points), "converged": float((points.candidate_point >= 0).mean())}
    return found | beside.compare(ours, 1, [adam], threads)


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
    for kind in result["kinds"]:
        if made := kind.get("beside"):
            text += ["", *_beside_lines(f"{kind['cell']} {kind['activation']} {kind['n']}", made)]
    return text


def _beside_lines(name: str, made: dict) -> list[str]:
    """Ours and PyTorch's times from the same starts, and where they end."""
    text = [f"{name}, the same {made['starts']} starts: time (range), times as fast (range)"]
    text += beside.lines(made, f"ours, to q = {TOLERANCE:g} (1 + |h|^2)")
    text.append(f"ours: {made['converged']:.0%} of the starts end there, at {made['points']} points")
    for entry in made["peers"]:
        if "failed" not in entry:
            steps = f"{entry['steps']:,} steps, {adam_descent.STEPS:,} at most"
            text.append(f"Adam: {entry['converged']:.0%}, at {entry['points']} of ours, after {steps}")
    return text


SECTION = Section("fixed_points", steps, gather, lines)
