"""Tasks: `get_task` gives one by name; `Task` makes one of your own."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..values import check_name, is_number
from . import cdi, flipflop, sine
from .task import Task

__all__ = ["TASKS", "Task", "get_task", "moved", "with_whole_path"]


@dataclass(frozen=True)
class BuiltIn:
    """A task of the paper: its settings decide its shape."""

    name: str
    trial: object
    settings: dict
    shape: Callable[[dict], tuple[int, int, int]]  # settings -> D, K, T
    threshold: float
    ranges: dict[str, tuple[float, float]]

    def make(self, **given) -> Task:
        """The task with some settings changed."""
        unknown = [name for name in given if name not in self.settings]
        if unknown:
            raise UsageError(
                f"task {self.name!r} has no setting {unknown[0]!r}; its settings are {', '.join(self.settings)}"
            )
        settings = self.settings | given
        for name, value in settings.items():
            low, high = self.ranges[name]
            whole = isinstance(self.settings[name], int)
            if not is_number(value) or not low <= value <= high or (whole and value != int(value)):
                kind = "a whole number" if whole else "a number"
                raise UsageError(f"task {self.name!r}: {name} must be {kind} from {low} to {high}; it is {value!r}")
        settings = {name: type(self.settings[name])(value) for name, value in settings.items()}
        D, K, T = self.shape(settings)
        return Task(self.name, D, K, T, trial=self.trial, settings=settings, threshold=self.threshold, built_in=True)


TASKS = {
    task.name: task
    for task in (
        BuiltIn(
            "flipflop",
            flipflop.trial,
            flipflop.SETTINGS,
            lambda s: (s["channels"], s["channels"], s["steps"]),
            0.01,
            {"channels": (1, 16), "steps": (1, 100_000), "pulse_probability": (0, 1)},
        ),
        BuiltIn(
            "sine",
            sine.trial,
            sine.SETTINGS,
            lambda s: (1, 1, s["steps"]),
            0.02,
            {"steps": (1, 100_000), "frequency_slope": (-0.5, 0.5), "frequency_offset": (-0.5, 0.5)},
        ),
        BuiltIn(
            "cdi",
            cdi.trial,
            cdi.SETTINGS,
            lambda s: (4, 1, s["steps"]),
            0.6,
            {"steps": (1, 100_000), "mean_limit": (0, 100), "noise": (0, 100)},
        ),
    )
}


def get_task(task: str | Task, **settings) -> Task:
    """A task by name, or a user's own as `path/to/file.py:name` (the name of a `Task` in that file).

    >>> get_task("flipflop", steps=50).T
    50
    """
    if not isinstance(task, (str, Task)):
        raise UsageError(f"task must be a name, file.py:name or a Task; it is {task!r}")
    if isinstance(task, Task):
        if settings:
            raise UsageError(f"task {task.name!r} is given as an object; change its settings there, not by {settings}")
        return _of_own_name(task)
    if ".py:" in task:
        return _of_own_name(_from_file(task, settings))
    check_name("task", task, TASKS, also=", or your own as file.py:name")
    return TASKS[task].make(**settings)


def with_whole_path(task: str | Task) -> str | Task:
    """`file.py:name` with the file's absolute path, for use from any folder; any other task as it is."""
    if isinstance(task, Task) or task in TASKS or ".py:" not in task:
        return task
    file, _, name = task.rpartition(":")
    return f"{os.path.abspath(file)}:{name}"


def moved(task: str | Task) -> str | Task:
    """`file.py:name`, where its file is no longer at its path but under the current folder: there; any other as it is.

    Where a project was moved, the end of the path is the same as before.
    """
    if not isinstance(task, str) or task in TASKS or ".py:" not in task:
        return task
    file, _, name = task.rpartition(":")
    path = Path(file)
    ends = [path, *(Path(*path.parts[start:]) for start in range(1, len(path.parts)))]
    found = next((end for end in ends if end.is_file()), path)
    return task if found == path else f"{found}:{name}"


def _of_own_name(task: Task) -> Task:
    """The task, if it has no built-in one's name: runs and analyses know a task by that."""
    if task.name in TASKS and not task.built_in:
        raise UsageError(f"a task of your own can't be named {task.name!r}, as a built-in one is; give it another name")
    return task


def _from_file(where: str, settings: dict) -> Task:
    """The `Task` called `name` in `file.py:name`, with some settings changed."""
    file, _, name = where.rpartition(":")
    if not name:
        raise UsageError(f"task {where!r}: give the name of the Task in {file} after the colon, as in {file}:echo")
    if not Path(file).is_file():
        raise UsageError(f"task {where!r}: there is no file {file!r}")
    try:
        task = runpy.run_path(file).get(name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"task {where!r}: {file} could not be run ({type(error).__name__}: {error})") from error
    if not isinstance(task, Task):
        raise UsageError(f"task {where!r}: {file} must define {name} = fastrnn.Task(...)")
    unknown = [key for key in settings if key not in task.settings]
    if unknown:
        known = f"its settings are {', '.join(task.settings)}" if task.settings else "it has none at all"
        raise UsageError(f"task {where!r} has no setting {unknown[0]!r}; {known}")
    return Task(
        task.name,
        task.D,
        task.K,
        task.T,
        trial=task.trial,
        batch=task.batch,
        settings=dict(task.settings) | settings,
        threshold=task.threshold,
    )
