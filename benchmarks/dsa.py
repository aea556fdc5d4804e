"""Dynamical similarity of all pairs of a population, from trajectories to angles, beside PyTorch for a few pairs."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastrnn.analysis.dsa import dynamical_distances
from fastrnn.analysis.dsa.distances import largest_possible

from . import beside
from .peers import cayley_descent
from .rounds import significant
from .section import Bench, Section, Step
from .similarity import pairs_of

CASE = {"networks": 60, "units": 64, "trials": 16, "steps": 100, "delays": 10, "rank": 10}
INPUTS = 3  # of noise, the same for all networks
GAINS = 0.5, 1.5  # of the recurrent weights of the first and the last network
FEW, MANY = 4, 64  # pairs that PyTorch aligns one after the other, and at once
TRIED = 20  # steps, to see how many threads suit it
TOLERANCE = 1e-3  # radians


def trajectories(networks: int, units: int, trials: int, steps: int) -> list[np.ndarray]:
    """States (trials, steps, units) of random tanh networks of rising gain, driven by the same noise."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(steps, trials, INPUTS))
    made = []
    for gain in np.linspace(*GAINS, networks):
        W_rec = gain / np.sqrt(units) * rng.normal(size=(units, units))
        driven = inputs @ rng.normal(size=(INPUTS, units)) / np.sqrt(INPUTS)
        states, h = np.empty((trials, steps, units)), np.zeros((trials, units))
        for t in range(steps):
            states[:, t] = h = np.tanh(h @ W_rec + driven[t])
        made.append(states)
    return made


def steps(bench: Bench) -> list[Step]:
    """One step; none in a quick run."""
    if not bench.settings.compared:
        return []
    with_peers = bench.settings.peers and cayley_descent.is_installed()
    seconds = 30.0 if with_peers else 5.0
    return [Step("dynamical similarity", seconds, lambda: compared(CASE, bench.engine.threads, with_peers))]


def compared(case: dict, threads: int, with_peers: bool) -> dict:
    """Seconds a pair, ours of all pairs and with the fit of the maps, PyTorch's of a few pairs of our maps.

    case : networks, units, trials and steps of the trajectories, delays, rank
    """
    states = trajectories(*(case[name] for name in ("networks", "units", "trials", "steps")))
    ours = partial(dynamical_distances, states, case["delays"], case["rank"], threads=threads, progress=False)
    others = others_for(ours(details=True)) if with_peers else []
    return case | {"threads": threads} | beside.compare(ours, pairs_of(len(states)), others, threads)


def others_for(found) -> list[beside.Instead]:
    """PyTorch on the first of all pairs in random order: one after the other, and more of them at once."""
    maps = found.operators / np.linalg.norm(found.operators, axis=(1, 2), keepdims=True)
    rows, columns = np.random.default_rng(0).permutation(np.transpose(np.triu_indices(len(maps), 1)))[:MANY].T
    ours = found.distances[rows, columns]
    bounds = np.arccos(np.minimum(largest_possible(maps)[rows, columns], 1))

    def instead(name, title, count, abreast):
        def run(threads, count=count, **bound):
            pieces = [slice(start, start + abreast) for start in range(0, count, abreast)]
            return np.concatenate(
                [cayley_descent.angles(maps[rows[some]], maps[columns[some]], threads, **bound) for some in pieces]
            )

        def check(threads):
            theirs = run(threads)
            below = float(np.max(bounds[:count] - np.minimum(theirs, ours[:count])))
            if not below < TOLERANCE:
                return {"failed": f"angles are up to {below:.2g} below a bound"}
            more = theirs - ours[:count]
            if smaller := int((more < -TOLERANCE).sum()):
                return {"failed": f"{smaller} of its angles are smaller, by up to {-more.min():.2g}"}
            return {"pairs": count, "larger": int((more > TOLERANCE).sum()), "most": significant(float(more.max()), 2)}

        return beside.Instead(name, title, count, run, partial(run, count=abreast, steps=TRIED), check)

    few, many = (min(count, len(rows)) for count in (FEW, MANY))
    return [
        instead("torch-pairs", f"PyTorch, Adam, {few} pairs one by one", few, 1),
        instead("torch-together", f"PyTorch, Adam, {many} pairs together", many, many),
    ]


def gather(bench: Bench, measured: list[dict]) -> dict:
    """What the step measured, if there was one."""
    return measured[0] if measured else {}


def lines(result: dict) -> list[str]:
    """A line for us, two for each of the others."""
    if not result:
        return ["Dynamical similarity of all pairs: not timed in a quick run"]
    text = [
        "Dynamical similarity (DSA): time of a pair (range), times as fast (range)",
        f"n = {result['units']}, {result['trials']} trials of {result['steps']} steps, {result['delays']} delays, rank "
        f"{result['rank']}; ours with the fit of the maps",
        "",
        *beside.lines(result, f"ours, all pairs of {result['networks']} networks"),
    ]
    for entry in result["peers"]:
        if "failed" not in entry:
            larger = f"{entry['larger']} of {entry['pairs']} angles are over {TOLERANCE:g} larger than ours"
            text.append(f"Adam: {larger}, the largest by {entry['most']:.2g}")
    return text


SECTION = Section("dsa", steps, gather, lines)
