"""The run folder as training sees it: one process at a time holds it, and every file in it is whole.

    population.toml     what was asked: all settings, and a record of the task and the schema version
    networks.csv        one row a network: configuration, hyperparameters, status, losses
    groups/             networks whose training is over, one file a group, with their results
    checkpoints/        networks in training, one file a group
    figures/

A network's state is looked up by its id in its group's file, then in the checkpoint; found in neither, it starts
afresh. So whenever a process is killed, the next one goes on from what it finds, in whatever order files were written;
`networks.csv` is made from the others.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import filelock

from .cells import any_leaks
from .errors import RunError, Status, UsageError
from .groups import FinishedGroup, TrainingGroup, check_group
from .hyperparameters import KEYS, RESULTS, VALUES
from .spec import OF_LEAKY, RECORD, PopulationSpec, read_toml
from .storage import atomic_write, check_schema, make_folder, remove_temporaries, write_csv, write_error

POPULATION = "population.toml"
SEARCH = "search.toml"  # what marks the folder of a search
TABLE = "networks.csv"
COLUMNS = ("id", *KEYS, *VALUES, *RESULTS)
SUFFIX = ".safetensors"
GROUPS, CHECKPOINTS, FIGURES = "groups", "checkpoints", "figures"  # folders of a run
ANALYSIS = "analysis"  # the folder of what `analyze` and `compare_networks` find
NOT_STARTED = {"status": Status.TRAINING.label, "iterations": 0, "training_loss": None, "validation_loss": None}


class RunFolder:
    """A run folder held for writing; use as a context manager.

    Parameters
    ----------
    path : the folder, made if it is not there
    spec : what to train; must contain the population that the folder holds; `begin` writes it down

    Raises
    ------
    UsageError
        when the folder holds another population, or other files
    RunError
        when another process holds it, it can't be written, or a file in it is damaged
    """

    def __init__(self, path, spec: PopulationSpec):
        self.path, self.spec = Path(path), spec
        self.results: dict[str, dict] = {}  # by id, what networks.csv says of it
        self.done: set[str] = set()  # ids of the networks in the groups' files
        self._lock = FolderLock(self.path)

    def __enter__(self) -> RunFolder:
        check_place(self.path, POPULATION)
        make_folder(self.path)
        self._lock.acquire()
        try:
            self._check_population()
            for name in ("", GROUPS, CHECKPOINTS, FIGURES):
                remove_temporaries(self.path / name)
            self._read_results()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._lock.release()

    def begin(self) -> None:
        """Make the population the folder's own; to be called once nothing speaks against the work."""
        atomic_write(self.path / POPULATION, self.spec.to_toml().encode())  # first: it marks the folder as ours
        for name in (GROUPS, CHECKPOINTS, FIGURES):
            make_folder(self.path / name)
        self.write_table()

    # ------------------------------------------------------------------------------------------------- groups

    def finished(self, group: str) -> FinishedGroup | None:
        """The group's networks whose training is over."""
        path = self.path / networks_file(group)
        return check_group(path, FinishedGroup.load(path), self.spec, group) if path.exists() else None

    def checkpoint(self, group: str) -> TrainingGroup | None:
        """The group's networks at the last checkpoint."""
        path = self.path / checkpoint_file(group)
        return check_group(path, TrainingGroup.load(path), self.spec, group) if path.exists() else None

    def left(self, group: str) -> tuple[list[dict], int]:
        """Rows of the group's networks that are not finished, and the iterations they have to go together."""
        rows = [row for row in self.spec.groups[group] if row["id"] not in self.done]
        results = [self.result(row) for row in rows]
        in_training = [result for result in results if result["status"] == Status.TRAINING.label]
        return rows, sum(self.spec.iterations - result["iterations"] for result in in_training)

    def result(self, row: dict) -> dict:
        """What networks.csv says of a network beside its configuration."""
        return self.results.get(row["id"], NOT_STARTED)

    def unfinished(self, group: str) -> TrainingGroup:
        """The group's networks that are not finished (at least one), each as far as it is."""
        rows, _ = self.left(group)
        checkpoint = self.checkpoint(group)
        begun = set(checkpoint.ids) if checkpoint else set()
        parts = []
        if ids := [row["id"] for row in rows if row["id"] in begun]:
            parts.append(checkpoint.pick(ids))
        if new := [row for row in rows if row["id"] not in begun]:
            parts.append(TrainingGroup.start(self.spec, new))
        together = parts[0] if len(parts) == 1 else parts[0].join(parts[1])
        return together.pick([row["id"] for row in rows])

    def save_checkpoint(self, group: str, state: TrainingGroup) -> None:
        """Keep where the group's networks stand."""
        state.save(self.path / checkpoint_file(group))
        self._note_training(state)

    def save_finished(self, group: str, state: FinishedGroup) -> None:
        """Keep the group's results beside those it has already; drop its checkpoint once nothing else is to do."""
        before = self.finished(group)
        whole = before.join(state) if before else state
        known = set(whole.ids)
        whole = whole.pick([row["id"] for row in self.spec.groups[group] if row["id"] in known])
        whole.save(self.path / networks_file(group))
        self._note_finished(whole)
        if not self.left(group)[0]:
            self._remove_checkpoint(group)

    def write_table(self) -> None:
        """Write networks.csv."""
        import pandas

        rows = [row | self.result(row) for row in self.spec.rows]
        write_csv(self.path / TABLE, pandas.DataFrame(rows, columns=list(COLUMNS)))

    # ----------------------------------------------------------------------------------------------- the inside

    def _check_population(self) -> None:
        """The folder's population must be contained in the one asked for, once any of its networks was kept."""
        path = self.path / POPULATION
        if not path.exists() or not holds_networks(self.path):
            return
        obstacles = self.spec.obstacles(read_population(path))
        if obstacles:
            raise UsageError(
                f"{str(self.path)!r} holds another population ({'; '.join(obstacles)}); a run can be extended (more "
                f"seeds, sizes, l2, cells, activations), not changed: choose another folder, or use {str(path)!r} as "
                "the specification, the code of its task being what it was, to go on with the one it holds"
            )

    def _read_results(self) -> None:
        """What every file says of its networks; a damaged one is found here, before the work."""
        for group in self.spec.groups:
            if checkpoint := self.checkpoint(group):
                self._note_training(checkpoint)
            if finished := self.finished(group):
                self._note_finished(finished)
            if not self.left(group)[0]:
                self._remove_checkpoint(group)  # killed between writing the one file and removing the other

    def _note_training(self, state: TrainingGroup) -> None:
        losses = state.training_loss()
        for i, name in enumerate(state.ids):
            status = Status(int(state.optimizer.status[i])).label
            done = int(state.optimizer.iteration[i])
            self.results[name] = NOT_STARTED | {"status": status, "iterations": done, "training_loss": losses[i]}

    def _note_finished(self, state: FinishedGroup) -> None:
        self.done.update(state.ids)
        for i, name in enumerate(state.ids):
            self.results[name] = {
                "status": Status(int(state.status[i])).label,
                "iterations": int(state.iterations[i]),
                "training_loss": state.training_loss[i],
                "validation_loss": state.validation_loss[i],
            }

    def _remove_checkpoint(self, group: str) -> None:
        (self.path / checkpoint_file(group)).unlink(missing_ok=True)


def networks_file(group: str) -> str:
    """Where in a run's folder a group's networks are whose training is over."""
    return f"{GROUPS}/{group}{SUFFIX}"


def checkpoint_file(group: str) -> str:
    """Where in a run's folder a group's networks in training are."""
    return f"{CHECKPOINTS}/{group}{SUFFIX}"


def holds_networks(path: Path) -> bool:
    """Whether there is anything in a run's folder that another population could spoil."""
    folders = [path / name for name in (GROUPS, CHECKPOINTS)]
    return any(folder.is_dir() and any(folder.glob("*" + SUFFIX)) for folder in folders)


def check_place(path: Path, marker: str) -> None:
    """`UsageError` unless a folder to be written to is new, empty, or ours: then it holds a file named `marker`."""
    if os.path.exists(path) and not path.is_dir():
        raise UsageError(f"{str(path)!r} is a file; choose a folder to write the run to")
    if os.path.isdir(path) and not (path / marker).exists():
        others = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        if others:
            raise UsageError(
                f"{str(path)!r} holds other files ({', '.join(others[:3])}) and no {marker}; "
                "choose an empty or a new folder"
            )


class FolderLock:
    """Held by one process at a time; the system releases it when that process ends, however it ends.

    Use as a context manager, or `acquire` and `release` it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._holder = folder / ".holder"
        self._lock = filelock.FileLock(folder / ".lock")

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock at once, or raise `RunError` naming who has it."""
        try:
            self._lock.acquire(timeout=0)
            self._holder.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))
        except filelock.Timeout:
            raise RunError(
                f"{str(self._folder)!r} is in use by {self._who()}; wait until it is done, stop it, or choose another "
                "folder"
            ) from None
        except OSError as error:
            self._lock.release()
            raise write_error(self._folder, error) from error

    def release(self) -> None:
        try:
            self._holder.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text())
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"


def read_population(path) -> dict:
    """The settings in a run's population.toml; `RunError` where it is damaged or of another schema version."""
    settings = read_written(path)
    check_written(path, settings)
    try:
        PopulationSpec.recorded(settings)
    except UsageError as error:
        raise RunError(f"{str(path)!r} is damaged: {error}; restore it from a copy") from None
    return settings


def read_written(path) -> dict:
    """Content of a TOML file that fastrnn wrote; `RunError` where it is torn."""
    try:
        return read_toml(path)
    except UsageError as error:
        raise RunError(f"{error}; restore it from a copy") from None


def check_written(path, settings: dict) -> None:
    """`RunError` unless a file's settings are all that a population has, of this schema version."""
    record = settings.get(RECORD, {})
    if not isinstance(record, dict):
        raise RunError(f"{str(path)!r} is damaged: {RECORD} is {record!r}, not a table; restore it from a copy")
    if "schema" in record:
        check_schema(path, record["schema"])
    cells = settings.get("cells")
    cells = [cells] if isinstance(cells, str) else cells
    not_in_all = {"part", "optimizer"}  # there was one only, once
    if not (isinstance(cells, list) and any_leaks(cells)):
        not_in_all |= {*OF_LEAKY}
    check_there(path, settings, [name for name in PopulationSpec.__dataclass_fields__ if name not in not_in_all])
    check_there(path, record, ["schema", "task", "fingerprint"], f"{RECORD}.")


def check_there(path, table: dict, names, prefix: str = "") -> None:
    """`RunError` unless a table of a file has those settings."""
    for name in names:
        if name not in table:
            raise RunError(f"{str(path)!r} is damaged: {prefix}{name} is missing; restore it from a copy")
