"""A run to read: its table, its networks, their losses and what they do with inputs."""

from __future__ import annotations

import csv
import os
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas

from .errors import RunError, Status, UsageError
from .folder import COLUMNS, POPULATION, RECORD, TABLE, networks_file, read_population
from .groups import FinishedGroup, check_group
from .hyperparameters import KEYS, VALUES
from .networks import Networks
from .progress import counted
from .spec import PopulationSpec, leak_of, optimizer_of
from .tasks import TASKS, Task
from .values import check_name


class Run:
    """What is in a run folder, read when asked for; made by `load_run` and `train`.

    path : the folder
    settings : what was asked, as in `population.toml`
    given_task : where the task was given as an object
    """

    def __init__(self, path, task: Task | None = None):
        self.path = Path(path)
        if not os.path.isfile(self.path / POPULATION):
            raise UsageError(
                f"{str(path)!r} is not a run: it has no {POPULATION}; give the folder that train-population wrote to"
            )
        self.settings = read_population(self.path / POPULATION)
        self.given_task = task

    def __repr__(self) -> str:
        return f"<Run {str(self.path)!r}: {len(self.table)} networks, task {self.task_name!r}>"

    @property
    def task_name(self) -> str:
        return self.settings[RECORD]["task"]

    @property
    def task(self) -> Task:
        """The task, its settings applied."""
        return self.spec.resolved_task

    @property
    def threshold(self) -> float | None:
        """Loss below which a network counts as having learnt the task."""
        return self.settings[RECORD].get("threshold")

    @cached_property
    def recorded(self) -> PopulationSpec:
        """The networks that were asked for; for all but the task itself, which may be out of reach."""
        return PopulationSpec.recorded(self.settings)

    @cached_property
    def spec(self) -> PopulationSpec:
        """What was asked; a `Task` that was given as an object must be given to `load_run` too."""
        settings = self.settings if self.given_task is None else self.settings | {"task": self.given_task}
        try:
            spec = PopulationSpec.from_settings(settings)
        except UsageError as error:
            if self.given_task is not None:
                raise UsageError(f"{str(self.path)!r}: {error}") from None
            if self.settings["task"] in TASKS:
                raise RunError(f"{str(self.path / POPULATION)!r} is damaged: {error}; restore it from a copy") from None
            there = "run from the folder that has the task's file, or " if ".py:" in self.settings["task"] else ""
            raise UsageError(f"{str(self.path)!r}: {error}; {there}give its task: load_run(path, task=...)") from None
        if spec.resolved_task.fingerprint != self.settings[RECORD]["fingerprint"]:
            where = spec.task if isinstance(spec.task, str) else "task="
            raise UsageError(
                f"{str(self.path)!r}: the code of its task {self.task_name!r} is not what the networks were trained on "
                f"({where}); put it back as it was, or give that task: load_run(path, task=...)"
            )
        return spec

    @cached_property
    def table(self) -> pandas.DataFrame:
        """One row a network: id, cell, activation, n, l2, seed, hyperparameters, status, iterations, losses."""
        path = self.path / TABLE
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = _rows(list(csv.reader(file)), self.recorded.rows)
        except (OSError, ValueError, csv.Error) as error:
            raise RunError(
                f"could not read {str(path)!r}: {error}; run train-population again, with the same settings, to write "
                "it anew"
            ) from error
        return pandas.DataFrame(rows, columns=list(COLUMNS))

    @cached_property
    def _group_of(self) -> pandas.Series:
        return self.table.cell + "-" + self.table.activation + "-" + self.table.n.astype(str)

    @property
    def groups(self) -> list[str]:
        """Names of the groups: networks of one cell, activation and size."""
        return list(dict.fromkeys(self._group_of))

    def ids(self, group: str) -> list[str]:
        """Ids of all networks of a group, finished or not."""
        check_name("group", group, tuple(self.groups), f" of {str(self.path)!r}")
        return self.table.id[self._group_of == group].tolist()

    # ------------------------------------------------------------------------------------------------ a group

    def finished(self, group: str) -> FinishedGroup:
        """All that the run keeps of the group's networks whose training is over; read from disk at each call."""
        check_name("group", group, tuple(self.groups), f" of {str(self.path)!r}")
        if not self.group_path(group).exists():
            rows = self.table[self._group_of == group]
            done = _iterations(rows)
            if not (rows.status == Status.TRAINING.label).any():
                raise RunError(
                    f"the file of group {group!r} is missing, {str(self.group_path(group))!r}, though its training is "
                    "over; put it back, or run train-population again to train its networks anew"
                )
            raise RunError(
                f"group {group!r} of {str(self.path)!r} is not finished ({done} of "
                f"{self.settings['iterations']} iterations); run train-population again to go on"
            )
        path = self.group_path(group)
        return check_group(path, FinishedGroup.load(path), self.recorded, group)

    def networks(self, group: str) -> Networks:
        """The group's networks whose training is over, in the order of `group_table(group)`."""
        return self.finished(group).networks

    def group_table(self, group: str) -> pandas.DataFrame:
        """The rows of `table` for `networks(group)`, in their order."""
        return self.rows(self.finished(group).ids)

    def rows(self, ids: list[str]) -> pandas.DataFrame:
        """The rows of `table` of those networks, in that order."""
        if unknown := sorted(set(ids) - set(self.table.id)):
            raise UsageError(f"{str(self.path)!r} has no network {unknown[0]!r}; run.table.id has their names")
        return self.table.set_index("id", drop=False).loc[ids].reset_index(drop=True)

    def losses(self, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Learning curves of `networks(group)`.

        Returns
        -------
        iteration : int64 (R,), iterations done at the end of each window
        losses : float32 (N, R), mean training loss in the window; NaN after a network diverged
        """
        finished = self.finished(group)
        return finished.loss_curve_iteration, finished.loss_curve

    def rollout(self, group: str, inputs, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
        """What the group's networks do with some inputs.

        Parameters
        ----------
        inputs : (N, B, T, D), or (B, T, D) common to all networks; `task.probe(B)` makes some
        device : as for `engines.get`

        Returns
        -------
        states (N, B, T, S) after each step, outputs (N, B, T, K), float32
        """
        from . import engines

        return engines.get(device).run(self.networks(group), inputs)

    def finished_groups(self) -> list[str]:
        """Names of the groups with networks whose training is over."""
        return [group for group in self.groups if self.group_path(group).exists()]

    def learnt(self, rows: pandas.DataFrame) -> pandas.Series:
        """Which rows of `table` are of networks that learnt the task: validation loss below its threshold."""
        threshold = -np.inf if self.threshold is None else self.threshold
        return (rows.validation_loss < threshold) & (rows.status != Status.DIVERGED.label)

    def _count_learnt(self, rows: pandas.DataFrame) -> int | None:
        """How many, where the task has a threshold: otherwise nobody knows."""
        return None if self.threshold is None else int(self.learnt(rows).sum())

    def summary(self) -> pandas.DataFrame:
        """One row a configuration: numbers of networks, of each status and of those that learnt; iterations; losses.

        Losses are of the networks that did not diverge; `share` is that of the networks that learnt the task, which
        like `learnt` is None where the task has no threshold.
        Iterations are the most that a network had; while some are in training, the fewest of these.
        """
        table = self.table.assign(group=self._group_of)
        rows = []
        for (group, l2), part in table.groupby(["group", "l2"], sort=False):
            count = {status.label: int((part.status == status.label).sum()) for status in Status}
            sound = part[part.status != Status.DIVERGED.label]
            rows.append(
                {"group": group, "l2": l2, "networks": len(part)}
                | count
                | {"iterations": _iterations(part)}
                | {f"median_{name}": sound[name].dropna().median() for name in ("training_loss", "validation_loss")}
                | {"worst_validation_loss": sound.validation_loss.max(), "learnt": self._count_learnt(part)}
                | {"share": None if self.threshold is None else float(self.learnt(part).mean())}
            )
        return pandas.DataFrame(rows)

    def failures(self) -> pandas.DataFrame:
        """Networks whose training is over without success: id, status, iterations, losses and the reason in words.

        First those that diverged, then those that did not get below the task's threshold, where it has one.
        """
        table = self.table
        diverged = table.status == Status.DIVERGED.label
        missed = pandas.Series(False, table.index)
        if self.threshold is not None:
            missed = (table.status == Status.TRAINED.label) & table.validation_loss.notna() & ~self.learnt(table)
        falling = self._still_falling(set(self._group_of[missed]))
        failed = pandas.concat([table[diverged], table[missed]])
        reasons = [self._reason(row, falling) for row in failed.to_dict("records")]
        columns = ["id", "status", "iterations", "training_loss", "validation_loss"]
        return failed[columns].assign(reason=reasons).reset_index(drop=True)

    def _still_falling(self, groups: set[str]) -> dict[str, bool]:
        """By id whether a network's training loss fell by a tenth or more over the last tenth of its curve.

        Networks of the groups; those of too short a curve to say are left out.
        """
        falling = {}
        for group in groups:
            try:
                finished = self.finished(group)
            except RunError:  # a damaged file; what else is known of its networks is in the table
                continue
            tenth = finished.loss_curve.shape[1] // 10
            if tenth >= 2:
                before, last = (finished.loss_curve[:, -k * tenth :][:, :tenth].mean(axis=1) for k in (2, 1))
                falling |= zip(finished.ids, last < 0.9 * before, strict=True)
        return falling

    def _reason(self, row: dict, falling: dict[str, bool]) -> str:
        done = f"after {counted(row['iterations'], 'iteration')}"
        if row["status"] == Status.DIVERGED.label:
            return (
                f"diverged {done}: its loss or gradient was no longer finite (training loss {row['training_loss']:.3g})"
            )
        loss = f"validation loss {row['validation_loss']:.3g} {done}, not below {self.threshold:g}"
        if row["id"] not in falling:
            return loss
        return f"{loss}, {'still falling: more iterations may do' if falling[row['id']] else 'no longer falling'}"

    def report(self) -> dict:
        """The whole run in numbers that JSON can hold: counts, `summary` by configuration, and `failures`."""
        table = self.table
        settings = {name: self.settings[name] for name in ("iterations", "batch", "seed")}
        settings["optimizer"] = optimizer_of(self.settings)
        return (
            {"run": str(self.path), "task": self.task_name, "part": self.settings.get("part"), **settings}
            | leak_of(self.settings)
            | {"threshold": self.threshold}
            | {"networks": len(table), "learnt": self._count_learnt(table)}
            | {status.label: int((table.status == status.label).sum()) for status in Status}
            | {"configurations": self.summary().to_dict("records")}
            | {"failures": self.failures().to_dict("records")}
        )

    def group_path(self, group: str) -> Path:
        """Where the group's networks whose training is over are kept."""
        return self.path / networks_file(group)


def _iterations(rows: pandas.DataFrame) -> int:
    """The most that a network had; while some are in training, the fewest of these."""
    in_training = rows.iterations[rows.status == Status.TRAINING.label]
    return int(in_training.min() if len(in_training) else rows.iterations.max())


def load_run(path, task: Task | None = None) -> Run:
    """The run in a folder that `train` or `fastrnn train-population` wrote.

    Parameters
    ----------
    path : the folder
    task : only for a run of a `Task` that was given as an object

    Raises
    ------
    UsageError
        where there is no run
    RunError
        where a file is damaged or of another schema version
    """
    if not isinstance(path, (str, Path)):
        raise UsageError(f"a run is given by the path of its folder; it is {path!r}")
    return Run(path, task)


def as_run(run) -> Run:
    """A `Run`, or the one in a folder given by its path."""
    return run if isinstance(run, Run) else load_run(run)


def load_runs(runs) -> list[Run]:
    """Several `Run`s, from those or paths of their folders, or from one alone."""
    runs = [runs] if isinstance(runs, (str, Path, Run)) else runs
    if not hasattr(runs, "__iter__"):
        raise UsageError(f"runs must be the folders of one or several runs; it is {runs!r}")
    return [as_run(run) for run in runs]


def _rows(lines: list[list[str]], networks) -> list[dict]:
    """Rows of networks.csv; `ValueError` unless they are those of the population's networks, in their order."""
    columns, *lines = lines or [[]]
    if columns != list(COLUMNS):
        raise ValueError(f"its columns must be {', '.join(COLUMNS)}")
    rows = []
    for number, (line, network) in enumerate(zip(lines, networks, strict=False), 2):
        if len(line) != len(columns):
            raise ValueError(f"line {number}: it must have {len(columns)} fields; it has {len(line)}")
        row = {name: _value(name, text) for name, text in zip(columns, line, strict=True)}
        for name in ("id", *KEYS, *VALUES):
            if row[name] != network[name]:
                raise ValueError(f"line {number}: {name} must be {network[name]!r}; it is {row[name]!r}")
        check_name("status", row["status"], [status.label for status in Status], f" in line {number}")
        rows.append(row)
    if len(lines) != len(networks):
        raise ValueError(f"it must have the {len(networks)} networks of {POPULATION}; it has {len(lines)}")
    return rows


def _value(column: str, text: str):
    """A field of networks.csv, numbers to the bit; an empty one is NaN."""
    if column in ("id", "cell", "activation", "status"):
        return text
    return int(text) if column in ("n", "seed", "iterations") else float(text or "nan")
