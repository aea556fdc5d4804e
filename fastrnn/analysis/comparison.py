"""The networks of a run compared on the task's probe trials: distances, embedding and statistics, kept with the run."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas

from .. import storage
from ..errors import UsageError
from ..folder import ANALYSIS, SUFFIX, FolderLock
from ..hyperparameters import CONFIGURATION
from ..progress import counted
from ..runs import Run, as_run
from ..values import check_name
from .dsa import DELAYS, dynamical_distances
from .embedding import Embedding, embed
from .responses import probe_states, probe_trials
from .similarity import pairwise_distances
from .statistics import Statistics, statistics

EMBEDDED = ("stress", "classical_stress", "iterations", "converged")
DSA = "dsa"
NAMES = {"svcca": "SVCCA", "pwcca": "PWCCA", "cka": "CKA", "procrustes": "Procrustes", DSA: "DSA"}


@dataclass(frozen=True)
class Comparison:
    """The networks of a run compared with each other.

    metric : of `pairwise_distances`, or "dsa" of `dynamical_distances`
    table : DataFrame, the rows of the run's table for the networks compared, in their order
    distances : (N, N); components, marks : (N,), as in `similarity.Distances`
    embedding : `Embedding`
    statistics : `Statistics`; None where no factor has two levels or there are too few networks
    left_out : ids of networks of the run that were not compared: diverged, or not finite on the probe trials
    settings : what it was made with (JSON)
    bounds : (N, N), of "dsa" what the distances can't be below; None of the others
    """

    metric: str
    table: pandas.DataFrame
    distances: np.ndarray
    components: np.ndarray
    marks: np.ndarray
    embedding: Embedding
    statistics: Statistics | None
    left_out: list[str]
    settings: dict
    bounds: np.ndarray | None = None

    def text(self) -> str:
        """All of it in words, to be printed."""
        lines = [
            f"{len(self.table)} networks compared by {NAMES[self.metric]} on {self.settings['trials']} probe trials"
            f" ({len(self.left_out)} left out); stress of the embedding {self.embedding.stress:.3f}"
        ]
        if self.bounds is not None:
            worst, delays = float(np.max(self.distances - self.bounds)), counted(self.settings["delays"], "step")
            lines.append(
                f"maps of rank {self.settings['rank']} from {delays} in a row; the best alignment of two networks is "
                f"at most {worst:.3f} radians below the one found"
            )
        if self.statistics is not None:
            lines += self.statistics.sentences(f"{NAMES[self.metric]} distance")
        return "\n".join(lines)


def similarity_file(metric: str, ending: str = SUFFIX) -> str:
    """File of a comparison, inside the run's folder."""
    return f"{ANALYSIS}/similarity-{metric}{ending}"


def compare_networks(
    run,
    metric: str = "svcca",
    components: float | int | None = None,
    *,
    trials: int | None = None,
    only=None,
    factors=None,
    device: str = "cpu",
    permutations: int = 999,
    resamples: int = 1000,
    seed: int = 0,
    held: bool = False,
    **options,
) -> Comparison:
    """Compare all finished networks of a run, and keep the result in its folder, under `analysis/`.

    Distances are in `similarity-<metric>.safetensors` (with ids, embedding and settings), statistics in
    `similarity-<metric>-factors.csv` and `-levels.csv`. Interrupted, the same call goes on from the pairs done.

    Parameters
    ----------
    run : Run, or path of its folder
    metric, components, options : as for `pairwise_distances`; with "dsa" the options are those of
        `dynamical_distances`, and a delay vector has 10 steps, or half a trial where that is shorter
    trials : probe trials, default 64 for flipflop, 51 for sine, 128 for cdi, 64 for any other task
    only : ids of the networks to compare, default all; `fastrnn.analyze` gives those that it studies
    factors : columns of the run's table; default those of cell, activation, n, l2 that have two levels or more
    device : as for `engines.get`
    permutations, resamples : as for `statistics`
    seed : of the embedding and the statistics
    held : whether the caller holds the run's folder already, by a `FolderLock`

    Returns
    -------
    Comparison; `print(comparison.text())`

    Raises
    ------
    UsageError
        where an option is not what it must be, or no network is finished
    RunError
        where another process holds the folder, or a file is damaged or can't be written
    """
    run = as_run(run)
    _check_call(run, metric, components, factors, options)
    storage.make_folder(run.path / ANALYSIS)
    with nullcontext() if held else FolderLock(run.path):
        ids, left_out = [], []

        def responses():
            for name, states in probe_states(run, trials, device, left_out, only):
                ids.append(name)
                yield states.reshape(-1, run.task.T, states.shape[1]) if metric == DSA else states

        options["checkpoint"] = _path(run, metric, ".partial")
        if metric == DSA:
            options.setdefault("delays", min(DELAYS, max(run.task.T // 2, 1)))
            found = dynamical_distances(responses(), details=True, **options)
        else:
            found = pairwise_distances(responses(), metric, components, details=True, **options)
        table = run.rows(ids)
        settings = asdict(found.settings) | {
            "trials": probe_trials(run.task) if trials is None else int(trials),
            "permutations": permutations,
            "resamples": resamples,
            "seed": seed,
        }
        points = embed(found.distances, seed=seed)
        parts = (metric, table, found.distances, found.components, found.marks, points)
        made = Comparison(*parts, None, left_out, settings, getattr(found, "bounds", None))
        _save(run, made)  # whatever the statistics say of the factors, the distances are there
        chosen = choose_factors(table, factors)
        if chosen:
            draws = {"permutations": permutations, "resamples": resamples, "seed": seed}
            made = replace(made, statistics=statistics(found.distances, table[chosen], **draws))
            _save(run, made)
        return made


def load_comparison(run, metric: str = "svcca") -> Comparison:
    """What `compare_networks` kept of a run.

    Parameters
    ----------
    run : Run, or path of its folder
    metric : of the comparison

    Raises
    ------
    UsageError
        where there is none by that metric
    RunError
        where a file is damaged
    """
    run = as_run(run)
    check_name("metric", metric, tuple(NAMES))
    if not _path(run, metric).exists():
        raise UsageError(f"{str(run.path)!r} has no comparison by {metric}; make one with compare_networks")
    arrays, metadata = storage.load_arrays(_path(run, metric))
    tables = metadata["statistics"]
    return Comparison(
        metric,
        run.rows(metadata["ids"]),
        arrays["distances"],
        arrays["components"],
        arrays["marks"],
        Embedding(arrays["points"], **metadata["embedding"]),
        None if tables is None else Statistics(_frame(tables["factors"], "factor"), _frame(tables["levels"])),
        metadata["left_out"],
        metadata["settings"],
        arrays.get("bounds"),
    )


def _save(run: Run, made: Comparison) -> None:
    """Write the file, and for people the tables of its statistics beside it."""
    names = ("distances", "components", "marks", *(["bounds"] if made.bounds is not None else []))
    arrays = {name: getattr(made, name) for name in names}
    embedding = {name: getattr(made.embedding, name) for name in EMBEDDED}
    tables = None
    if made.statistics is not None:
        frames = {"factors": made.statistics.table.reset_index(), "levels": made.statistics.levels}
        tables = {name: frame.to_dict("list") for name, frame in frames.items()}
        for name, frame in frames.items():
            storage.write_csv(_path(run, made.metric, f"-{name}.csv"), frame)
    metadata = {"settings": made.settings, "ids": made.table.id.tolist(), "left_out": made.left_out}
    metadata |= {"embedding": embedding, "statistics": tables}
    storage.save_arrays(_path(run, made.metric), arrays | {"points": made.embedding.points}, metadata)


def _frame(columns: dict, index: str | None = None) -> pandas.DataFrame:
    frame = pandas.DataFrame(columns)
    return frame if index is None else frame.set_index(index)


def _check_call(run: Run, metric: str, components, factors, options: dict) -> None:
    """Everything that can be refused before the work."""
    check_name("metric", metric, tuple(NAMES))
    if metric == DSA and components is not None:
        raise UsageError(f"components is not for metric 'dsa', which has rank; it is {components!r}")
    refused = sorted({"checkpoint", "details"} & options.keys())
    if refused:
        raise UsageError(f"{refused[0]} is not for compare_networks, which decides it by itself")
    unknown = sorted(set(factors or ()) - set(run.table.columns))
    if unknown:
        raise UsageError(f"factor {unknown[0]!r} is no column of the run's table: {', '.join(run.table.columns)}")
    if not run.finished_groups():
        raise UsageError(f"{str(run.path)!r} has no finished networks yet; run train-population to the end")


def choose_factors(table: pandas.DataFrame, factors=None) -> list[str]:
    """Columns to be statistics' factors; none where there are too few networks for them."""
    if factors is not None:
        return list(factors)
    chosen = [name for name in CONFIGURATION if table[name].nunique() > 1]
    needed = 2 + sum(table[name].nunique() - 1 for name in chosen)
    return chosen if len(table) >= needed else []


def _path(run: Run, metric: str, ending: str = SUFFIX) -> Path:
    return run.path / similarity_file(metric, ending)
