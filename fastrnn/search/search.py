"""The whole search: draws round by round, finalists on fresh seeds, tables and figures."""

from __future__ import annotations

import datetime
from pathlib import Path

import pandas
import tomli_w

from .. import engines
from ..errors import UsageError
from ..folder import FIGURES, SEARCH, RunFolder, check_place, holds_networks
from ..progress import Interruption, Progress
from ..runs import load_run
from ..spec import RECORD, optimizer_of
from ..storage import atomic_write, make_folder, write_csv
from ..training import Training, default_folder
from ..values import a_path, check_not_negative
from .results import (
    CHOSEN,
    DRAWS,
    FINALISTS,
    SearchResult,
    candidates_of,
    chosen_table,
    draws_table,
    finalists_table,
    load_search,
)
from .rounds import DrawTraining
from .spec import SearchSpec, read_settings


def search_hyperparameters(
    spec: SearchSpec,
    out=None,
    device: str = "auto",
    threads: int | None = None,
    *,
    precision: str = "float32",
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
    command: str = "",
) -> SearchResult:
    """Search hyperparameters for every configuration of a population, or go on with a search.

    All draws of all configurations of a group train as one stack, each with its own weights and trials. Successive
    halving: after each round but the last, the half of a configuration's draws with the larger validation loss leaves
    and the stack is compacted. Some draws win by luck and blow up with other weights, so the best ones are trained
    again with fresh weights and trials, beside the values in use. The values of which the fewest networks diverge are
    chosen, and among equals those whose worst network is best. The tables are the same bits on one kind of processor,
    however often the search was stopped or killed.

    Parameters
    ----------
    spec : what to search; where the folder holds a search already, the same one, maybe of more configurations
    out : the folder, default `searches/<task>`
    device, threads, precision, checkpoint_seconds, progress : as for `train`
    command : what was typed, for the record

    Raises
    ------
    UsageError
        when the folder holds another search or other files
    RunError
        when another process holds the folder, it can't be written, there is no space, or a file is damaged
    Interrupted
        after Ctrl-C, a `KeyboardInterrupt`; everything is saved

    References
    ----------
    Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (AISTATS 2016)

    >>> import tempfile
    >>> from fastrnn import PopulationSpec
    >>> population = PopulationSpec("cdi", cells="gru", activations="tanh", sizes=4, iterations=8, batch=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = search_hyperparameters(SearchSpec(population, draws=4, rounds=2), folder, "cpu", progress=False)
    >>> result.draws.fate.value_counts().to_dict()
    {'dropped': 2, 'trained': 2}
    """
    if not isinstance(spec, SearchSpec):
        raise UsageError(f"spec must be a SearchSpec; it is {spec!r}")
    check_not_negative(checkpoint_seconds=checkpoint_seconds)
    out = Path("searches") / default_folder(spec.population).name if out is None else a_path("out", out)
    check_place(out, SEARCH)
    engine = engines.get(device, threads, precision)
    if spec.population.noisy:
        engine.check_noise()
    _check_settings(out, spec)
    with Interruption() as interruption, Progress(progress) as shown:
        tools = (engine, shown, interruption, checkpoint_seconds)
        with RunFolder(out / "draws", spec.drawn) as folder:
            DrawTraining(spec, lambda: _note_settings(out, spec, command), folder, *tools).run()
            draws = draws_table(spec, load_run(out / "draws", spec.population.resolved_task))
            write_csv(out / DRAWS, draws)
            finalists = _finals(out / "finalists", spec, draws, tools)
            write_csv(out / FINALISTS, finalists)
            write_csv(out / CHOSEN, chosen_table(spec, finalists))
            result = load_search(out)
            _draw_figures(result)
    return result


def _check_settings(out: Path, spec: SearchSpec) -> None:
    """Make a new search's folder, with its search.toml; `UsageError` where there is another search."""
    path = out / SEARCH
    if not path.exists():
        make_folder(out)
        _note_settings(out, spec, "")
        return
    there = read_settings(path)
    if holds_networks(out / "draws") and (obstacles := spec.obstacles(there)):
        raise UsageError(
            f"{str(out)!r} holds another search ({'; '.join(obstacles)}); a search can be extended by further "
            f"configurations, not changed: choose another folder, or give {str(path)!r} as the specification"
        )


def _note_settings(out: Path, spec: SearchSpec, command: str) -> None:
    """Write search.toml; where the search is more than it was, its old result goes, and the command is the new one."""
    settings, path = spec.to_settings(), out / SEARCH
    record = {"command": command, "date": datetime.date.today().isoformat()}
    if path.exists():
        there = read_settings(path)
        there["optimizer"] = optimizer_of(there)
        if any(settings[name] != there.get(name) for name in settings if name != RECORD):
            (out / CHOSEN).unlink(missing_ok=True)  # first: with it the search counts as finished
        else:
            record = {name: there[RECORD].get(name) or value for name, value in record.items()}
    atomic_write(path, tomli_w.dumps(settings | {RECORD: settings[RECORD] | record}).encode())


def _finals(out: Path, spec: SearchSpec, draws: pandas.DataFrame, tools: tuple) -> pandas.DataFrame:
    """Train the finalists' repeats, where there are any, and compare them."""
    candidates = candidates_of(spec, draws)
    if not spec.repeats:
        return finalists_table(spec, candidates, None)
    with RunFolder(out, spec.repeated(candidates)) as folder:
        Training(folder, *tools).run()
        return finalists_table(spec, candidates, load_run(out, spec.population.resolved_task))


def _draw_figures(result: SearchResult) -> None:
    """Write a figure for each size and L2."""
    from ..figures.figure import write_figure
    from ..figures.hyperparameters import hyperparameters

    folder = result.path / FIGURES
    make_folder(folder)
    for n, l2 in result.draws[["n", "l2"]].drop_duplicates().itertuples(index=False):
        write_figure(hyperparameters(result, n, l2), folder, f"hyperparameters-{n}-{l2!r}")
