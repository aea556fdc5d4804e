"""Runs that were trained in parts, on one machine or on many, put together to one."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import product
from pathlib import Path

from .cells import any_leaks
from .errors import UsageError
from .folder import POPULATION, RunFolder
from .groups import FinishedGroup, check_group
from .hyperparameters import BY_RULE, CONFIGURATION, VALUES
from .progress import Progress, counted
from .runs import Run, load_run
from .spec import OF_LEAKY, PopulationSpec, configuration_id
from .tasks import Task
from .training import default_folder, draw_learning_curves
from .values import a_path

SHOWN = 5  # parts named in a message


def merge_runs(runs, out=None, task: Task | None = None, *, progress: bool = True) -> Run:
    """Put the finished networks of several runs of one population into one run folder.

    The population of the result is the smallest one that contains all of them. Since nothing that a network is depends
    on the others, the result is the same bits as if that population had been trained in one folder, on one kind of
    processor. Networks that are still missing are counted: `train` on the result, with the result's specification,
    trains them, or another call takes them once their runs have come further; what is in `out` already stays. Where the
    runs' tables of hyperparameters differ, each configuration of the result has a row of its own.

    Parameters
    ----------
    runs : folders or `Run`s, such as of the parts of a population (`PopulationSpec(part="3/40")`); the folder of a run
        that has not begun, still empty, is passed over
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
    runs = _several(runs)
    waiting = [run for run in runs if not isinstance(run, Run) and _is_empty(Path(run))]
    sources = [run if isinstance(run, Run) else load_run(run, task) for run in runs if run not in waiting]
    if not sources:
        raise UsageError(f"nothing is in {', '.join(repr(str(run)) for run in waiting)} yet; give runs that have begun")
    known = list(sources)
    out = default_folder(replace(sources[0].spec, part=None)) if out is None else a_path("out", out)
    if (out / POPULATION).is_file():
        known.append(load_run(out, sources[0].given_task))
        sources = [source for source in sources if source.path.resolve() != out.resolve()]
    _check_agreement(known)
    spec = whole_of([run.spec for run in known])
    with RunFolder(out, spec) as folder, Progress(progress) as shown:
        for group in spec.groups:  # a damaged file shows before the folder is changed
            _collect(group, sources, folder)
        folder.begin()
        for group in spec.groups:
            if found := _collect(group, sources, folder):
                folder.save_finished(group, found)
                if len(found.engines) > 1:
                    shown.say(f"warning: {group} was trained on {' and '.join(found.engines)}, which give other bits")
        folder.write_table()
        for path in waiting:
            shown.say(f"{str(path)!r} has not begun; merge again when it has")
        for message in _messages(folder, sources):
            shown.say(message)
        run = load_run(out, spec.resolved_task)
        draw_learning_curves(run)
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
    tables = [(spec.hyperparameters, spec.default_hyperparameters) for spec in specs]
    changes = {} if all(table == tables[0] for table in tables) else {"hyperparameters": _rows_in_use(specs)}
    seeds = max(spec.seeds for spec in specs)
    if leaky := [spec for spec in specs if any_leaks(spec.cells)]:
        changes |= {name: getattr(leaky[0], name) for name in OF_LEAKY}
    return replace(specs[0], **union, seeds=seeds, excluded=excluded, part=None, **changes)


def _rows_in_use(specs: list[PopulationSpec]) -> list[dict]:
    """A row of hyperparameters for each configuration of some populations, or, where its seeds differ, each network."""
    unsearched = {name for spec in specs for name in spec.unsearched}
    configurations: dict[tuple, dict[int, dict]] = {}
    for row in (row for spec in specs for row in spec.rows):
        seeds = configurations.setdefault(tuple(row[key] for key in CONFIGURATION), {})
        seeds[row["seed"]] = {name: row[name] for name in VALUES}
    rows = []
    for values, seeds in configurations.items():
        names = dict(zip(CONFIGURATION, values, strict=True))
        found = {"found": BY_RULE} if configuration_id(**names) in unsearched else {}
        first, *others = seeds.values()
        if all(other == first for other in others):
            rows.append(names | first | found)
        else:
            rows += [names | {"seed": seed} | row | found for seed, row in seeds.items()]
    return rows


def _check_agreement(runs: list[Run]) -> None:
    """`UsageError` naming two runs that no population contains."""
    seen: dict[str, tuple[Run, dict]] = {}
    leaky = [run for run in runs if any_leaks(run.spec.cells)]  # have more to agree on
    for run in runs:
        for first in (runs[0], *leaky[:1]):
            if reasons := first.spec.differences(run.settings):
                raise _disagreement(run, first, reasons)
        for row in run.spec.rows:
            other, there = seen.setdefault(row["id"], (run, row))
            for name in VALUES:
                if row[name] != there[name]:
                    text = f"hyperparameters: {name} of {row['id']} is {there[name]} there, {row[name]} here"
                    raise _disagreement(other, run, [text])


def _disagreement(there: Run, here: Run, reasons: list[str]) -> UsageError:
    return UsageError(
        f"{str(there.path)!r} and {str(here.path)!r} are not of one population ({'; '.join(reasons)}); give runs that "
        "differ in their networks only"
    )


def _is_empty(path: Path) -> bool:
    """Whether a run was about to begin here: a folder in which nothing is to be seen."""
    return path.is_dir() and all(entry.name.startswith(".") for entry in path.iterdir())


def _several(runs) -> list:
    if isinstance(runs, (str, Path, Run)):
        return [runs]
    if not isinstance(runs, (list, tuple)) or not runs or not all(isinstance(run, (str, Path, Run)) for run in runs):
        raise UsageError(f"runs must be the folders of one or several runs; it is {runs!r}")
    return list(runs)


def _collect(group: str, sources: list[Run], folder: RunFolder) -> FinishedGroup | None:
    """The group's networks that are finished in a source and not yet in the folder; of several, the first's."""
    found, seen = [], set(folder.done)
    for source in sources:
        if group not in source.finished_groups():
            continue
        finished = check_group(source.group_path(group), source.finished(group), folder.spec, group)
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
            f"{counted(len(nowhere), 'network')} in none of the runs, {nowhere[0]} for one"
            f"{_parts(sources, nowhere)}: merge again with the runs that have them, or train them here: "
            f"fastrnn train-population --spec {shlex.quote(f'{where}/{POPULATION}')} --out {shlex.quote(where)}"
        )
    return lines


def _parts(sources: list[Run], missing: list[str]) -> str:
    """Of which parts the missing networks are, in words, where the sources are parts of one population."""
    specs = {source.spec.part.split("/")[1]: source.spec for source in sources if source.spec.part}
    if len(specs) != 1:
        return ""
    ((parts, spec),) = specs.items()
    place = {name: i for i, name in enumerate(replace(spec, part=None).ids)}
    numbers = sorted({place[name] % int(parts) + 1 for name in missing if name in place})
    shown = ", ".join(map(str, numbers[:SHOWN])) + (" ..." if len(numbers) > SHOWN else "")
    return f" (no part {shown} of {parts})" if numbers else ""
