"""What to train: a grid of networks on one task, or a part of one, validated once; presets; TOML in and out."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import product

import tomli_w

from .cells import ACTIVATIONS, CELLS, LEAKY_CELLS, PAPER_CELLS, any_leaks
from .cells.leaky import ALPHA, check_alpha, gate_bias_of
from .errors import UsageError
from .hyperparameters import (
    IN_COMMON,
    KEYS,
    VALUES,
    HyperparameterTable,
    check_owner,
    default_rows,
    describe,
    is_searched,
)
from .optimizer import ADAM, METHODS, SGD, check_averaged, check_hyperparameter
from .storage import SCHEMA_VERSION, check_schema
from .tasks import TASKS, Task, get_task, moved, with_whole_path
from .values import a_path, check_name, distinct, one_or_several, real_number, whole_number

KINDS = tuple(f"{cell}-{activation}" for cell in CELLS for activation in ACTIVATIONS)
RECORD = "record"  # what a run folder's population.toml holds beside the settings

PRESETS = {
    "quick": {"sizes": (64,), "l2": (1e-5,), "seeds": 3},
    "tiny": {"sizes": (16,), "l2": (1e-5,), "seeds": 2},
    "paper": {"sizes": (64, 128, 256), "l2": (1e-5, 1e-4, 1e-3, 1e-2), "seeds": 30},
}
# planned iterations by preset and task; "" for any other task
ITERATIONS = {
    "quick": {"flipflop": 2_500, "cdi": 6_000, "sine": 5_000, "": 3_000},
    "tiny": {"flipflop": 2_500, "cdi": 5_000, "sine": 2_500, "": 500},
    "paper": {"": 20_000},
}
OF_LEAKY = {"alpha": ALPHA, "noise": 0.0}  # defaults of what is set for `LEAKY_CELLS` alone
MOST_NETWORKS = 1_000_000  # each has a row in memory and in networks.csv
EXCLUDED = {"sine": ("lstm-relu",)}  # as in the paper, where it did not train


@dataclass(frozen=True)
class PopulationSpec:
    """A population: every cell with every activation, size, L2 and seed, on one task.

    Parameters
    ----------
    task : name of a task, `path/to/file.py:name`, or a `Task`
    task_settings : changes to the task's documented constants
    cells, activations, sizes, l2 : names, names, units n, weights of the squared parameters in the loss
    seeds : how many networks of each configuration; their seeds are 0, 1, ...
    iterations : planned training iterations, on which the learning rate's decay depends; default by task
    batch : trials an iteration, B
    seed : of the whole population; another gives other weights and trials
    optimizer : "sgd" (gradient descent with momentum, as in the paper) or "adam", see `optimizer`
    gate_bias : constant inside the forget or update gate, not of leaky cells
    alpha : time step over time constant of leaky cells (`leaky`, `current`), above 0 and below 1; default 0.2
    noise : of each unit of leaky cells in training, see `cells.leaky`; default 0
    excluded : kinds left out, as `cell-activation`; default by task
    hyperparameters : rows for `HyperparameterTable`, going before the defaults
    default_hyperparameters : rows for what the ones above leave open; default by task and optimizer
    part : "3/40" is the third of 40 parts of the population, equal in numbers and within one network in every group;
        together they are the whole, to be put together by `merge_runs`

    Raises
    ------
    UsageError
        naming the value, what is allowed and what to do

    >>> spec = PopulationSpec("flipflop", cells=("gru", "lstm"), seeds=2)
    >>> len(spec), spec.iterations, spec.ids[0]
    (8, 2500, 'gru-tanh-64-1e-05-0')
    """

    task: str | Task = "flipflop"
    task_settings: dict = field(default_factory=dict)
    cells: tuple[str, ...] = PAPER_CELLS
    activations: tuple[str, ...] = ACTIVATIONS
    sizes: tuple[int, ...] = PRESETS["quick"]["sizes"]
    l2: tuple[float, ...] = PRESETS["quick"]["l2"]
    seeds: int = PRESETS["quick"]["seeds"]
    iterations: int | None = None
    batch: int = 64
    seed: int = 0
    optimizer: str = SGD
    gate_bias: float = 1.0
    alpha: float | None = None
    noise: float | None = None
    excluded: tuple[str, ...] | None = None
    hyperparameters: tuple[dict, ...] = ()
    default_hyperparameters: tuple[dict, ...] | None = None
    part: str | None = None

    def __post_init__(self):
        task = _resolve(self.task, self.task_settings)
        excluded, iterations, defaults = self.excluded, self.iterations, self.default_hyperparameters
        excluded = EXCLUDED.get(task.name, ()) if excluded is None else excluded
        iterations = planned_iterations("quick", task.name) if iterations is None else iterations
        check_name("optimizer", self.optimizer, METHODS)
        defaults = default_rows(task.name, self.optimizer) if defaults is None else defaults
        checked = {
            "task": with_whole_path(self.task),
            "task_settings": dict(task.settings),
            "cells": _names("cells", self.cells, tuple(CELLS)),
            "activations": _names("activations", self.activations, ACTIVATIONS),
            "sizes": distinct("sizes", [whole_number("sizes", n, 1) for n in one_or_several("sizes", self.sizes)]),
            "l2": distinct("l2", [real_number("l2", value, 0.0) for value in one_or_several("l2", self.l2)]),
            "seeds": whole_number("seeds", self.seeds, 1),
            "iterations": whole_number("iterations", iterations, 0),
            "batch": whole_number("batch", self.batch, 1),
            "seed": whole_number("seed", self.seed, 0),
            "gate_bias": real_number("gate_bias", self.gate_bias),
            **self._of_leaky_cells(),
            "excluded": _names("excluded", excluded, KINDS, may_be_empty=True),
            "hyperparameters": _rows("hyperparameters", self.hyperparameters),
            "default_hyperparameters": _rows("default_hyperparameters", defaults),
            "part": None if self.part is None else "{}/{}".format(*_part(self.part)),
            "_task": task,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_owner("hyperparameters", self.hyperparameters, self.optimizer)
        check_owner("default_hyperparameters", self.default_hyperparameters, self.optimizer, unsaid=SGD)
        if not self.kinds:
            raise UsageError(f"no networks are left: excluded takes away {', '.join(self.excluded)}; leave one in")
        count = len(self.kinds) * len(self.sizes) * len(self.l2) * self.seeds
        if count > MOST_NETWORKS:
            raise UsageError(
                f"{count:,} networks are too many for one population (at most {MOST_NETWORKS:,}); take fewer seeds "
                f"(there are {self.seeds:,}), or several folders"
            )
        if not self.rows:  # an ambiguous or missing hyperparameter is noticed here too
            raise UsageError(f"part {self.part} of {count:,} networks has none; take fewer parts")

    # ------------------------------------------------------------------------------------------- the networks

    @property
    def resolved_task(self) -> Task:
        """The task itself, its settings applied."""
        return self._task

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Cell and activation of every kind that is not excluded."""
        both = product(self.cells, self.activations)
        return tuple(kind for kind in both if "-".join(kind) not in self.excluded)

    def gate_bias_of(self, cell: str) -> float:
        """k of a cell's networks."""
        return float(gate_bias_of(self.alpha)) if cell in LEAKY_CELLS else self.gate_bias

    @property
    def noisy(self) -> bool:
        """Whether some networks have noise in training."""
        return bool(self.noise)

    def noise_of(self, cell: str) -> float:
        """Noise of a cell's networks in training."""
        return self.noise if cell in LEAKY_CELLS else 0.0

    def _of_leaky_cells(self) -> dict:
        """`alpha` and `noise`, checked; None where there are no leaky cells."""
        given = {name: getattr(self, name) for name in OF_LEAKY if getattr(self, name) is not None}
        if any_leaks(one_or_several("cells", self.cells)):
            made = {name: real_number(name, value) for name, value in (OF_LEAKY | given).items()}
            check_alpha(made["alpha"])
            check_hyperparameter("noise", made["noise"])
            return made
        if given:
            name, cells = next(iter(given)), ", ".join(map(str, one_or_several("cells", self.cells)))
            add = " or ".join(LEAKY_CELLS)
            raise UsageError(f"{name} is for leaky cells; the cells are {cells}: leave {name} out, or add {add}")
        return dict.fromkeys(OF_LEAKY)

    @cached_property
    def rows(self) -> tuple[dict, ...]:
        """A dict for each network: group, id, cell, activation, n, l2, seed and hyperparameters."""
        first = HyperparameterTable(self.hyperparameters)
        then = HyperparameterTable(self.default_hyperparameters, "default_hyperparameters")
        rows = []
        for (cell, activation), n, l2, seed in product(self.kinds, self.sizes, self.l2, range(self.seeds)):
            network = {"cell": cell, "activation": activation, "n": n, "l2": l2, "seed": seed}
            values = then.lookup(network) | first.lookup(network)
            missing = [name for name in VALUES if name not in values]
            if missing:
                raise UsageError(
                    f"no row of default_hyperparameters gives {missing[0]} to {network_id(**network)}; "
                    "add a row for all networks"
                )
            if self.optimizer == ADAM:
                check_averaged(values["momentum"], f"{network_id(**network)}: ")
            names = {"group": f"{cell}-{activation}-{n}", "id": network_id(**network)}
            rows.append(names | network | {name: values[name] for name in VALUES})
        if self.part is not None:
            number, parts = _part(self.part)
            rows = rows[number - 1 :: parts]
        return tuple(rows)

    @cached_property
    def groups(self) -> dict[str, list[dict]]:
        """Rows by group: networks of one cell, activation and size, which share stacked arrays."""
        groups: dict[str, list[dict]] = {}
        for row in self.rows:
            groups.setdefault(row["group"], []).append(row)
        return groups

    @cached_property
    def unsearched(self) -> tuple[str, ...]:
        """Configurations (cell, activation, n, L2) with a default value that no search found for just them.

        Values that are good for all in common need none.
        """
        first = HyperparameterTable(self.hyperparameters)
        then = HyperparameterTable(self.default_hyperparameters, "default_hyperparameters")
        names = []
        for row in self.rows:
            given = first.sources(row)
            taken = [source for value, source in then.sources(row).items() if value not in given]
            taken += [source for source in given.values() if "found" in source]  # a row of one's own needs no search
            if not all(source.get("found") == IN_COMMON or is_searched(source) for source in taken):
                names.append(configuration_id(**row))
        return tuple(dict.fromkeys(names))

    @cached_property
    def unused(self) -> tuple[str, ...]:
        """Rows of `hyperparameters` that are of no network here: their numbers, from 1, and what they are for."""
        there: dict[tuple, set] = {}
        names = []
        for i, row in enumerate(self.hyperparameters, 1):
            keys = tuple(key for key in KEYS if key in row)
            if keys not in there:
                there[keys] = {tuple(network[key] for key in keys) for network in self.rows}
            if tuple(row[key] for key in keys) not in there[keys]:
                names.append(f"row {i} ({describe(row)})")
        return tuple(names)

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def table(self):
        """One row a network: id, cell, activation, n, l2, seed and hyperparameters (pandas DataFrame)."""
        import pandas

        return pandas.DataFrame(self.rows).drop(columns="group")

    # ----------------------------------------------------------------------------------------- TOML and dicts

    @classmethod
    def preset(cls, name: str = "quick", task: str | Task = "flipflop", **changes) -> PopulationSpec:
        """One of `PRESETS` for a task, with some settings changed.

        >>> len(PopulationSpec.preset("paper")), len(PopulationSpec.preset("quick", "sine"))
        (2880, 21)
        """
        return cls.from_settings({"preset": name, "task": task} | changes)

    @classmethod
    def from_settings(cls, settings: dict) -> PopulationSpec:
        """From a dict of parameters, with `preset` naming what the ones left out default to."""
        if not isinstance(settings, dict):
            raise UsageError(f"settings must be a dict of parameters; it is {settings!r}")
        settings = dict(settings)
        record = settings.pop(RECORD, {})
        if not isinstance(record, dict):
            raise UsageError(f"{RECORD} must be a table as a run's population.toml has; it is {record!r}: remove it")
        check_schema("the population's settings", record.get("schema", SCHEMA_VERSION))
        for name in settings:
            check_name("setting", name, ("preset", *(f.name for f in fields(cls))))
        preset = settings.pop("preset", "quick")
        check_name("preset", preset, tuple(PRESETS))
        task = settings.setdefault("task", "flipflop")
        if record:
            settings["task"] = task = moved(task)
        iterations = planned_iterations(preset, str(getattr(task, "name", task)))
        return cls(**(PRESETS[preset] | {"iterations": iterations} | settings))

    @classmethod
    def recorded(cls, settings: dict) -> PopulationSpec:
        """From a run's population.toml, without the task itself: one of its name and settings stands in for it."""
        record = settings[RECORD]
        if not isinstance(settings["task"], str):
            raise UsageError(f"task must be a name or file.py:name; it is {settings['task']!r}")
        given = {"settings": settings["task_settings"], "threshold": record.get("threshold")}
        given["built_in"] = settings["task"] in TASKS
        return cls.from_settings(settings | {"task": Task(record["task"], 1, 1, 1, batch=_no_trials, **given)})

    @classmethod
    def from_toml(cls, path, **changes) -> PopulationSpec:
        """From a TOML file with any of the parameters (and `preset`), some of them changed."""
        return cls.from_settings(read_toml(path) | changes)

    def to_settings(self) -> dict:
        """All parameters as TOML can hold them, a `Task` by its name, and a record of what the task was.

        `part` is there only for a part, `alpha` and `noise` only beside leaky cells.
        """
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        settings = {name: value for name, value in settings.items() if value is not None}
        settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return settings | {
            "task": self.task if isinstance(self.task, str) else self.task.name,
            RECORD: self._record(),
        }

    def to_toml(self) -> str:
        """Text of a TOML file that gives this population again."""
        return tomli_w.dumps(self.to_settings())

    def _record(self) -> dict:
        from . import __version__

        task = self.resolved_task
        record = {
            "schema": SCHEMA_VERSION,
            "fastrnn": __version__,
            "task": task.name,
            "fingerprint": task.fingerprint,
        }
        return record if task.threshold is None else record | {"threshold": task.threshold}

    # ---------------------------------------------------------------------------------------------- comparing

    def contains(self, other: PopulationSpec) -> bool:
        """Whether every network of `other` is here too, trained in the same way.

        >>> three, ten = PopulationSpec(seeds=3), PopulationSpec(seeds=10)
        >>> ten.contains(three), three.contains(ten)
        (True, False)
        """
        return not self.obstacles(other.to_settings())

    def differences(self, other: dict) -> list[str]:
        """What a population, given as by its `to_settings`, differs in beside its networks; a phrase a setting."""
        mine, its = self.to_settings(), other
        tasks = its[RECORD]["task"], mine[RECORD]["task"]
        if tasks[0] != tasks[1]:
            return [f"task: {tasks[0]} there, {tasks[1]} here"]
        its = its | {"optimizer": optimizer_of(its)}
        shared = ("task_settings", "iterations", "batch", "seed", "optimizer", "gate_bias")
        shared += tuple(name for name in OF_LEAKY if name in mine and name in its)
        reasons = [f"{name}: {its[name]} there, {mine[name]} here" for name in shared if mine[name] != its[name]]
        if not reasons and mine[RECORD]["fingerprint"] != its[RECORD]["fingerprint"]:
            reasons = [f"task: the code of {tasks[1]!r} has changed"]
        return reasons

    def obstacles(self, other: dict) -> list[str]:
        """Why a population, given as by its `to_settings`, is not contained here; a phrase a setting."""
        reasons, mine, its = self.differences(other), self.to_settings(), other
        if its[RECORD]["task"] != mine[RECORD]["task"]:
            return reasons
        for name in ("cells", "activations", "sizes", "l2"):
            if missing := [str(value) for value in its[name] if value not in mine[name]]:
                reasons += [f"{name}: {', '.join(missing)} there and not here"]
        if self.seeds < its["seeds"]:
            reasons += [f"seeds: {its['seeds']} there, {self.seeds} here"]
        return reasons or self._network_obstacles(self.from_settings(other | {"task": self.task}))

    def _network_obstacles(self, other: PopulationSpec) -> list[str]:
        """The networks of `other` that are missing here, else the first with other hyperparameters."""
        mine = {row["id"]: row for row in self.rows}
        missing = [row["id"] for row in other.rows if row["id"] not in mine]
        if missing:
            name = "excluded" if self.part is None else f"part {self.part}"
            return [f"{name}: {len(missing):,} networks there and not here, {missing[0]} for one"]
        for row in other.rows:
            here = mine[row["id"]]
            for name in VALUES:
                if here[name] != row[name]:
                    return [f"hyperparameters: {name} of {row['id']} is {row[name]} there, {here[name]} here"]
        return []


def network_id(cell: str, activation: str, n: int, l2: float, seed: int) -> str:
    """A network's name, unique in its population."""
    return f"{configuration_id(cell, activation, n, l2)}-{seed}"


def configuration_id(cell: str, activation: str, n: int, l2: float, **_) -> str:
    """What the names of a configuration's networks begin with; further keys of a row are passed over."""
    return f"{cell}-{activation}-{n}-{l2!r}"


def optimizer_of(settings: dict) -> str:
    """What trains, of a population's settings; they do not say where they are of before there was a choice."""
    return settings.get("optimizer", SGD)


def leak_of(settings: dict) -> dict:
    """What is set for leaky cells alone, of a population's settings; nothing where it has no such cells."""
    return {name: settings[name] for name in OF_LEAKY if name in settings}


def set_by(preset: str) -> set[str]:
    """Names of the settings that a preset decides."""
    check_name("preset", preset, tuple(PRESETS))
    return {*PRESETS[preset], "iterations"}


def planned_iterations(preset: str, task: str) -> int:
    """Default number of iterations."""
    return ITERATIONS[preset].get(task, ITERATIONS[preset][""])


def read_toml(path) -> dict:
    """Content of a TOML file; `UsageError` where there is none."""
    path = a_path("a file of settings", path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"could not read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is not a TOML file: {error}") from error


def _no_trials(rng, settings, trials):
    """What stands in for a task whose function is out of reach."""
    raise NotImplementedError


def _resolve(task, settings) -> Task:
    """The task with its settings changed; a `Task` that comes with its own settings stays as it is."""
    if not isinstance(settings, dict):
        raise UsageError(f"task_settings must be a table of names and numbers; it is {settings!r}")
    if isinstance(task, Task) and settings == dict(task.settings):
        return get_task(task)
    return get_task(task, **settings)


def _names(name: str, values, allowed: tuple[str, ...], may_be_empty: bool = False) -> tuple[str, ...]:
    values = one_or_several(name, values, may_be_empty)
    for value in values:
        check_name(name, value, allowed)
    return distinct(name, values)


def _part(text) -> tuple[int, int]:
    """Number of a part, from 1, and how many parts there are."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text) if isinstance(text, str) else None
    number, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= parts:
        raise UsageError(f"part must be a number from 1 and how many there are, such as 3/40; it is {text!r}")
    return number, parts


def _rows(name: str, rows) -> tuple[dict, ...]:
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(
            f"{name} must be a list of tables such as {{cell = 'gru', learning_rate = 0.1}}; it is {rows!r}"
        )
    return HyperparameterTable(rows, name).rows
