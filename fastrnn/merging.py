"""Runs that were trained in parts, on one machine or on many, put together to one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import product
from pathlib import Path

from .errors import UsageError
from .folder import POPULATION, RunFolder
from .groups import FinishedGroup
from .hyperparameters import KEYS, VALUES
from .progress import Progress, counted
from .runs import Run, load_run
from .spec import PopulationSpec
from .tasks import Task
from .training import default_folder, draw_learning_curves

SHOWN = 5  # parts named in a message


def merge_runs(runs, out=None, task: Task | None = None, *, progress: bool = True) -> Run:
    """Put the finished networks of several runs of one population into one run folder.

    The population of the result is the smallest one that contains all of them. Since nothing that a network is depends
    on the others, the result is the same bits as if that population had been trained in one folder, on one kind of
    processor. Networks that are still missing are named; `train` on the result, with the result's specification, trains
    them, and so does another call once their runs have come further: what is in `out` already stays.

    Parameters
    ----------
    runs : folders or `Run`s, such as of the parts of a population (`PopulationSpec(part="3/40")`)
    out : the folder, default `runs/<task>`
    task : only for runs of a `Task` that was given as an object
    progress : whether to write messages to stderr

    Raises
    ------
    UsageError
        where a folder is no run, or the runs can't be of one population: another task, other iterations, the same
        network with other hyperparameters ...
    RunError
        when another process holds `out`, it can't be written, there is no space, or a file is damaged

    >>> import tempfile
    >>> from .training import train
    >>> parts = [PopulationSpec("cdi", cells="gru", sizes=4, seeds=3, iterations=2, part=f"{i}/2") for i in (1, 2)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = [train(part, f"{folder}/{i}", "cpu", progress=False) for i, part in enumerate(parts)]
    ...     whole = merge_runs(runs, f"{folder}/whole", progress=False)
    ...     [len(run.table) for run in (*runs, whole)], set(whole.table.status)
    ([3, 3, 6], {'trained'})
    """
    sources = [run if isinstance(run, Run) else load_run(run, task) for run in _several(runs)]
    known = list(sources)
    out = default_folder(replace(sources[0].spec, part=None)) if out is None else Path(out)
    if (out / POPULATION).is_file():
        known.append(load_run(out, sources[0].given_task))
        sources = [source for source in sources if source.path.resolve() != out.resolve()]
    spec = whole_of([run.spec for run in known])
    for run in known:
        if obstacles := spec.obstacles(run.settings):
            raise UsageError(
                f"{str(run.path)!r} and {str(known[0].path)!r} are not of one population ({'; '.join(obstacles)}); "
                "give runs that differ in their networks only"
            )
    with RunFolder(out, spec) as folder, Progress(progress) as shown:
        for group in spec.groups:  # a damaged file shows before the folder is changed
            _collect(group, sources, folder)
        folder.begin()
        for group in spec.groups:
            if found := _collect(group, sources, folder):
                folder.save_finished(group, found)
                folder.write_table()
        for message in _messages(folder, sources):
            shown.say(message)
        run = load_run(out, spec.resolved_task)
        draw_learning_curves(run, folder)
    return run


def whole_of(specs: list[PopulationSpec]) -> PopulationSpec:
    """The smallest population that contains some others, if one does; no part of one.

    >>> some = [PopulationSpec(cells="gru", activations="tanh", seeds=2), PopulationSpec(cells="lstm", sizes=32)]
    >>> whole = whole_of(some)
    >>> whole.kinds, whole.sizes, whole.seeds
    ((('gru', 'tanh'), ('lstm', 'tanh'), ('lstm', 'relu')), (64, 32), 3)
    """
    union = {
        name: list(dict.fromkeys(value for spec in specs for value in getattr(spec, name)))
        for name in ("cells", "activations", "sizes", "l2")
    }
    there = {kind for spec in specs for kind in spec.kinds}
    left_out = dict.fromkeys(name for spec in specs for name in spec.excluded)
    left_out |= dict.fromkeys(map("-".join, product(union["cells"], union["activations"])))
    excluded = [name for name in left_out if tuple(name.split("-")) not in there]
    whole = replace(specs[0], **union, seeds=max(spec.seeds for spec in specs), excluded=excluded, part=None)
    # what the first one's tables don't give to networks of the others, each gets by a row of its own
    given = {row["id"]: row for row in whole.rows}
    rows = {_key(row): row for row in whole.hyperparameters}
    for row in (row for spec in specs for row in spec.rows):
        if any(row[name] != given[row["id"]][name] for name in VALUES):
            rows[_key(row)] = {name: row[name] for name in (*KEYS, *VALUES)}
    return replace(whole, hyperparameters=tuple(rows.values()))


def _key(row: dict) -> tuple:
    return tuple(row.get(name) for name in KEYS)


def _several(runs) -> list:
    if isinstance(runs, (str, Path, Run)):
        return [runs]
    if not isinstance(runs, (list, tuple)) or not runs:
        raise UsageError(f"runs must be the folders of one or several runs; it is {runs!r}")
    return list(runs)


def _collect(group: str, sources: list[Run], folder: RunFolder) -> FinishedGroup | None:
    """The group's networks that are finished in a source and not yet in the folder; of several, the first's."""
    found, seen = [], set(folder.done)
    for source in sources:
        if group not in source.finished_groups():
            continue
        finished = folder.checked(source.group_path(group), source.finished(group), group)
        if new := [name for name in finished.ids if name not in seen]:
            found.append(finished.pick(new))
            seen.update(new)
    return found[0].join(*found[1:]) if found else None


def _messages(folder: RunFolder, sources: list[Run]) -> list[str]:
    """What was put together, and what is missing and where to get it from."""
    spec, where = folder.spec, str(folder.path)
    missing = [name for name in spec.ids if name not in folder.done]
    if not missing:
        return [f"{where}: all {counted(len(spec), 'network')} of {counted(len(sources), 'run')} are there"]
    lines = [f"{where}: {len(spec) - len(missing):,} of {counted(len(spec), 'network')} are there"]
    begun = set()
    for source in sources:
        left = [name for name in source.spec.ids if name not in folder.done]
        begun.update(left)
        if left:
            lines.append(
                f"{str(source.path)!r} has {counted(len(left), 'network')} that did not finish, {left[0]} for one: its "
                "command goes on with them; then merge again"
            )
    if nowhere := [name for name in missing if name not in begun]:
        lines.append(
            f"{counted(len(nowhere), 'network')} in none of the runs, {nowhere[0]} for one{_parts(sources)}: merge "
            "again with the runs that have them, or train them here: "
            f"fastrnn train-population --spec {shlex.quote(f'{where}/{POPULATION}')} --out {shlex.quote(where)}"
        )
    return lines


def _parts(sources: list[Run]) -> str:
    """Which parts of the population were not given, in words."""
    given = [source.spec.part.split("/") for source in sources if source.spec.part]
    if len({parts for _, parts in given}) != 1:
        return ""
    parts = given[0][1]
    missing = sorted(set(range(1, int(parts) + 1)) - {int(number) for number, _ in given})
    if not missing:
        return ""
    shown = ", ".join(map(str, missing[:SHOWN])) + (" ..." if len(missing) > SHOWN else "")
    return f" (no part {shown} of {parts})"
