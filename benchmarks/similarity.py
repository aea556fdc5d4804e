"""All pairs of a population compared: time by the number of networks, and memory beyond the responses.

One case by itself, here the whole population of the paper, is

    python -m benchmarks.similarity '{"metric": "svcca", "components": 20, "sizes": [64, 128, 256],
                                      "samples": 4096, "precision": "double", "networks": 2880, "threads": 2}'
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from fastrnn.analysis.similarity import pairwise_distances
from fastrnn.plan import duration, size

from . import beside
from .allocator import keep_freed_memory
from .children import run_python
from .memory import resident, restart_peak
from .peers import svcca_pairs
from .rounds import significant
from .section import Bench, Section, Step

SIGNALS = 32  # shared by all networks, of falling strength
NOISE = 0.03  # beside them, so that responses have full rank
POPULATION = 2880  # networks of the paper, which the growth is carried on to
CASES = (
    {"metric": "svcca", "components": 20, "sizes": [64, 128, 256], "samples": 4096, "precision": "double"},
    {"metric": "svcca", "components": 20, "sizes": [64], "samples": 6400, "precision": "double"},
    {"metric": "cka", "components": None, "sizes": [64, 128, 256], "samples": 4096, "precision": "double"},
    {"metric": "cka", "components": None, "sizes": [64, 128, 256], "samples": 4096, "precision": "single"},
)
BESIDE = CASES[0] | {"networks": 30, "few": 6}  # beside NumPy, which does every pair by itself for a few of them only
TOLERANCE = 1e-6  # of a similarity that NumPy computes


def responses(networks: int, sizes, samples: int) -> list[np.ndarray]:
    """Responses (samples, n) float32, n in turn from `sizes`: signals mixed at random, and noise."""
    rng = np.random.default_rng(0)
    signals = rng.normal(size=(samples, SIGNALS)).astype(np.float32)
    signals *= (0.8 ** np.arange(SIGNALS)).astype(np.float32)
    noise = (NOISE * rng.normal(size=samples * max(sizes) + networks)).astype(np.float32)
    made = []
    for i in range(networks):
        n = sizes[i % len(sizes)]
        weights = rng.normal(size=(SIGNALS, n)).astype(np.float32)
        made.append(np.tanh(signals @ weights) + noise[i : i + samples * n].reshape(samples, n))
    return made


def compared(case: dict) -> dict:
    """Seconds and memory of one call of `pairwise_distances`.

    case : metric, components, networks, sizes, samples, threads, and precision, default double
    """
    case = {"precision": "double"} | case
    states = responses(case["networks"], case["sizes"], case["samples"])
    options = {name: case[name] for name in ("metric", "components", "precision", "threads")}
    pairwise_distances(states[:4], **options)  # everything is loaded
    told = restart_peak()
    before = resident("VmRSS") if told else 0
    start = time.perf_counter()
    found = pairwise_distances(states, **options, details=True)
    seconds = time.perf_counter() - start
    kept = [int(found.components.min()), int(found.components.max())]
    return {"seconds": seconds, "bytes": resident("VmHWM") - before if told else None, "kept": kept}


def beside_numpy(case: dict) -> dict:
    """Seconds a pair of all pairs of the networks, ours and NumPy's: with an SVD a network, and for a few by pairs.

    case : of svcca, as for `compared`, with a number of components, and `few`, how many networks are done by pairs
    """
    keep_freed_memory()
    states = responses(case["networks"], case["sizes"], case["samples"])
    few = states[: case["few"]]
    options = {name: case[name] for name in ("metric", "components", "precision", "threads")}
    ours = 1 - pairwise_distances(few, **options)[np.triu_indices(len(few), 1)]

    def instead(name, title, compute, given):
        def run(threads, given=given):
            with threadpool_limits(threads, user_api="blas"):
                return compute(given, case["components"])

        def check(threads):
            error = float(np.max(np.abs(run(threads, few) - ours)))
            if not error < TOLERANCE:
                return {"failed": f"its similarities differ from ours by up to {error:.2g}"}
            return {"networks": len(given), "error": significant(error, 2)}

        title = f"{title}, {len(given)} networks"
        return beside.Instead(name, title, pairs_of(len(given)), run, partial(run, given=few[-2:]), check)

    others = [
        instead("numpy-pairs", "NumPy, SVDs for each pair", svcca_pairs.pair_by_pair, few),
        instead("numpy-once", "NumPy, one SVD a network", svcca_pairs.svd_once, states),
    ]
    pairs = pairs_of(len(states))
    return case | beside.compare(lambda: pairwise_distances(states, **options), pairs, others, case["threads"])


def pairs_of(networks: int) -> int:
    """How many pairs there are."""
    return networks * (networks - 1) // 2


def steps(bench: Bench) -> list[Step]:
    """One process a case and number of networks, and one beside NumPy."""
    made = [
        Step(f"similarity, {_name(case)} of {N} networks", 2 + N / 20, _measure(bench, case, N))
        for case in CASES
        for N in bench.settings.compared
    ]
    if made and bench.settings.peers:
        asked = BESIDE | {"threads": bench.engine.threads}
        made.append(Step("similarity beside NumPy", 20.0, lambda: {"beside": _in_its_own_process(asked)}))
    return made


def _name(case: dict) -> str:
    return case["metric"] + (" in single precision" if case["precision"] == "single" else "")


def _measure(bench: Bench, case: dict, networks: int):
    asked = case | {"networks": networks, "threads": bench.engine.threads}
    return lambda: asked | _in_its_own_process(asked)


def _in_its_own_process(asked: dict) -> dict:
    return json.loads(run_python("-m", __name__, json.dumps(asked)))


def carried_on(points: list[dict], networks: int) -> float:
    """Seconds for so many networks: a share for each network and one for each pair, fitted to all points.

    >>> carried_on([{"networks": N, "seconds": N + N * (N - 1)} for N in (2, 4, 8)], 10)
    100.0
    """
    counts = np.array([point["networks"] for point in points], float)
    seconds = np.array([point["seconds"] for point in points])
    # relative errors weigh alike
    shares, *_ = np.linalg.lstsq(
        np.stack([counts, counts * (counts - 1) / 2], axis=1) / seconds[:, None], np.ones(len(counts)), rcond=None
    )
    return significant(float(shares @ [networks, networks * (networks - 1) / 2]))


def gather(bench: Bench, measured: list[dict]) -> dict:
    """The cases, each with its numbers of networks and what follows for the population; what was beside NumPy."""
    cases, others = [], [entry for entry in measured if "beside" in entry]
    measured = [entry for entry in measured if "beside" not in entry]
    for case in CASES if measured else ():
        points = [
            {name: entry[name] for name in ("networks", "seconds", "bytes", "kept")}
            for entry in measured
            if all(entry[name] == value for name, value in case.items())
        ]
        points = [point | {"seconds": significant(point["seconds"])} for point in points]
        cases.append(case | {"points": points, "population": POPULATION, "carried_on": carried_on(points, POPULATION)})
    return {"cases": cases} | (others[0] if others else {})


def lines(result: dict) -> list[str]:
    """A line a number of networks."""
    if not result["cases"]:
        return ["Similarity of all pairs: not timed in a quick run"]
    text = ["Similarity of all pairs: time, milliseconds a pair, memory beyond the responses"]
    for case in result["cases"]:
        sizes, kept = case["sizes"], case["points"][-1]["kept"]
        units = f"n = {sizes[0]}" if len(sizes) == 1 else f"n {sizes[0]} to {sizes[-1]}"
        text += ["", f"{_name(case)}, {units}, {case['samples']:,} samples, {kept[0]} to {kept[1]} components kept"]
        for point in case["points"]:
            N, memory = point["networks"], point["bytes"]
            each = 1e3 * point["seconds"] / pairs_of(N)
            told = "" if memory is None else f"{size(memory):>12}"
            text.append(f"{N:>6} networks{point['seconds']:>10.3g} s{each:>10.3g} ms{told}")
        total = case["carried_on"]
        each = 1e3 * total / pairs_of(case["population"])
        text.append(f"{case['population']:>6} by this growth: {duration(total)}, {each:.3g} ms a pair")
    if made := result.get("beside"):
        text += ["", f"{made['metric']}, such networks: time of a pair (range), times as fast as NumPy (range)"]
        text += beside.lines(made, f"ours, {made['networks']} networks")
    return text


SECTION = Section("similarity", steps, gather, lines)

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps((beside_numpy if "few" in asked else compared)(asked)))
