"""What to search: configurations, how many draws of each, from which ranges, and when the worse half leaves."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np
import tomli_w

from ..counters import WEIGHTS, network_key, stream, uniforms
from ..errors import RunError, UsageError
from ..folder import check_there, check_written, read_written
from ..hyperparameters import CONFIGURATION, VALUES
from ..optimizer import ADAM, SGD, check_averaged, check_hyperparameter
from ..spec import RECORD, PopulationSpec, configuration_id, read_toml
from ..values import check_name, real_number, whole_number

RANGES = {
    SGD: {  # the paper's; the scale of the learning rate is ours
        "clip": (0.1, 10.0),
        "learning_rate": (1e-5, 0.1),
        "decay": (0.1, 0.9),
        "momentum": (0.0, 1.0),
    },
    # around the values that ship
    ADAM: {"clip": (0.01, 1.0), "learning_rate": (3e-4, 0.03), "decay": (0.01, 0.9), "momentum": (0.8, 0.99)},
}
LOGARITHMIC = ("clip", "learning_rate")
DIGITS = 4  # of a drawn value, so that it reads well and is the same number wherever it is drawn
TABLE = "search"  # what a TOML file holds beside the settings of the population


@dataclass(frozen=True)
class SearchSpec:
    """A search of hyperparameters for every configuration (cell, activation, n, L2) of a population.

    Parameters
    ----------
    population : its configurations, task, planned iterations, batch and seed; its `seeds` are not used, and its
        hyperparameters are the values in use, which the winner has to beat
    draws : random draws of each configuration
    rounds : after each but the last, half of the draws leave; 1 for a plain random search
    finalists : how many of the best draws are trained again
    repeats : fresh networks of each finalist: the one of which the fewest diverge wins, and among equals the one whose
        worst network is best; 0: the draw's own network decides
    incumbent : whether the values in use are a finalist too
    ranges : other ranges (lowest, highest) than the optimizer's `RANGES`; clip and learning_rate are drawn by their
        logarithm

    Raises
    ------
    UsageError
        naming the value, what is allowed and what to do

    >>> spec = SearchSpec(PopulationSpec("cdi", cells="gru", activations="tanh", iterations=1000), draws=16, rounds=4)
    >>> spec.ends, spec.stay
    ((125, 250, 500, 1000), (8, 4, 2))
    >>> round(spec.cost / spec.plain_cost, 4)
    0.3125
    """

    population: PopulationSpec
    draws: int = 32
    rounds: int = 4
    finalists: int = 2
    repeats: int = 2
    incumbent: bool = True
    ranges: dict = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.population, PopulationSpec):
            raise UsageError(f"population must be a PopulationSpec; it is {self.population!r}")
        if self.population.part is not None:
            raise UsageError(f"a search is of a whole population; remove part {self.population.part} from its settings")
        for name, least in (("draws", 1), ("rounds", 1), ("finalists", 1), ("repeats", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if not isinstance(self.incumbent, bool):
            raise UsageError(f"incumbent must be true or false; it is {self.incumbent!r}")
        if not isinstance(self.ranges, dict):
            raise UsageError(f"ranges must be a table such as {{momentum = [0.8, 0.99]}}; it is {self.ranges!r}")
        optimizer = self.population.optimizer
        usual = RANGES[optimizer]
        ranges = {name: _range(name, self.ranges.get(name, default)) for name, default in usual.items()}
        for name in self.ranges:
            check_name("range", name, tuple(usual))
        if optimizer == ADAM:
            check_averaged(ranges["momentum"][1], "the range of ")
        object.__setattr__(self, "ranges", ranges)
        if self.population.iterations < 2 ** (self.rounds - 1):
            raise UsageError(
                f"{self.rounds} rounds need at least {2 ** (self.rounds - 1):,} iterations, one for the first; there "
                f"are {self.population.iterations}: take fewer rounds or more iterations"
            )

    # ------------------------------------------------------------------------------------------------- rounds

    @property
    def ends(self) -> tuple[int, ...]:
        """Iterations done at the end of each round: each round is as long as all before it together."""
        return tuple(-(-self.population.iterations // 2**k) for k in reversed(range(self.rounds)))

    @property
    def stay(self) -> tuple[int, ...]:
        """How many draws of a configuration stay after each round but the last."""
        return tuple(-(-self.draws // 2**k) for k in range(1, self.rounds))

    def iterations_left(self, done) -> int:
        """Iterations that a configuration's draws will run yet, given those that each one not dropped has done."""
        done = np.sort(np.asarray(done, np.int64))[::-1]
        left, start = 0, 0
        for end, count in zip(self.ends, (self.draws, *self.stay), strict=True):
            left += int(np.maximum(end - np.maximum(done[:count], start), 0).sum())
            start = end
        return left

    @property
    def cost(self) -> int:
        """Network-iterations of all draws if none diverges, repeats apart."""
        return len(self.configurations) * self.iterations_left([0] * self.draws)

    @property
    def plain_cost(self) -> int:
        """Network-iterations of as many draws, each trained to the end."""
        return len(self.configurations) * self.draws * self.population.iterations

    # -------------------------------------------------------------------------------------------- populations

    @cached_property
    def configurations(self) -> tuple[dict, ...]:
        """Cell, activation, n and l2 of each, with the hyperparameters in use."""
        names = (*CONFIGURATION, *VALUES)
        return tuple({name: row[name] for name in names} for row in self.population.rows if row["seed"] == 0)

    def draw(self, configuration: dict, number: int) -> dict[str, float]:
        """The hyperparameters of one draw: a function of seed, task, configuration and number alone."""
        names = [configuration[name] for name in CONFIGURATION]
        task = self.population.resolved_task.name
        uniform = np.empty(len(self.ranges), np.float32)
        key = network_key("hyperparameters", self.population.seed, task, *names, number)
        uniforms(stream(key, WEIGHTS), uniform)
        drawn = {}
        for u, (name, (low, high)) in zip(uniform.tolist(), self.ranges.items(), strict=True):
            value = low * (high / low) ** u if name in LOGARITHMIC else low + (high - low) * u
            drawn[name] = min(max(float(f"{value:.{DIGITS}g}"), low), high)
        return drawn

    @cached_property
    def drawn(self) -> PopulationSpec:
        """All draws of all configurations, as a population whose seeds are the draws' numbers."""
        rows = [
            {name: configuration[name] for name in CONFIGURATION} | {"seed": i} | self.draw(configuration, i)
            for configuration in self.configurations
            for i in range(self.draws)
        ]
        return replace(self.population, seeds=self.draws, hyperparameters=tuple(rows))

    def repeated(self, candidates: dict[tuple, list[dict]]) -> PopulationSpec:
        """`repeats` fresh networks for each of a configuration's candidates, given by `configuration_of`.

        Their seeds go through the candidates in turn; where a configuration has fewer than another, more than once.
        """
        count = self.repeats * max(len(values) for values in candidates.values())
        rows = []
        for configuration in self.configurations:
            names = {name: configuration[name] for name in CONFIGURATION}
            values = [{value: c[value] for value in VALUES} for c in candidates[configuration_of(configuration)]]
            rows += [names | {"seed": i} | values[i % len(values)] for i in range(count)]
        seed = network_key("repeats", self.population.seed) >> 32
        return replace(self.population, seeds=count, seed=seed, hyperparameters=tuple(rows))

    # --------------------------------------------------------------------------------------------------- TOML

    @classmethod
    def from_settings(cls, settings: dict, **changes) -> SearchSpec:
        """From a population's settings with a table `search` of those of the search, some of these changed."""
        settings = dict(settings)
        mine = settings.pop(TABLE, {})
        if not isinstance(mine, dict):
            raise UsageError(f"{TABLE} must be a table of settings, such as draws = 32; it is {mine!r}")
        mine = mine | changes
        for name in mine:
            check_name("setting of a search", name, _names())
        return cls(PopulationSpec.from_settings(settings), **mine)

    @classmethod
    def from_toml(cls, path, **changes) -> SearchSpec:
        """From a TOML file, with some settings of the search changed."""
        return cls.from_settings(read_toml(path), **changes)

    def to_settings(self) -> dict:
        """All settings as TOML can hold them."""
        mine = {name: getattr(self, name) for name in _names()}
        mine["ranges"] = {name: list(limits) for name, limits in self.ranges.items()}
        return self.population.to_settings() | {TABLE: mine}

    def to_toml(self) -> str:
        """Text of a TOML file that gives this search again."""
        return tomli_w.dumps(self.to_settings())

    def obstacles(self, other: dict) -> list[str]:
        """Why a search, given as by its `to_settings`, can't be gone on with as this one; a phrase a setting."""
        mine, its = self.to_settings(), dict(other)
        search = its.pop(TABLE)
        reasons = [
            f"{name}: {search.get(name)} there, {value} here"
            for name, value in mine[TABLE].items()
            if search.get(name) != value
        ]
        its |= {name: mine[name] for name in ("seeds", "hyperparameters", "default_hyperparameters")}  # no draw's
        return reasons or self.population.obstacles(its) or self._other_values_in_use(other)

    def _other_values_in_use(self, other: dict) -> list[str]:
        """In which the values in use, which finalists are compared with or stand in for draws, differ; the first."""
        if not self.repeats:
            return []
        there = type(self).from_settings(other | {"task": self.population.task})
        known = {configuration_of(row): row for row in there.configurations}
        for row in self.configurations:
            before = known.get(configuration_of(row), row)
            for name in VALUES:
                if row[name] != before[name]:
                    which = configuration_id(*configuration_of(row))
                    return [f"values in use: {name} of {which} is {before[name]} there, {row[name]} here"]
        return []


def read_settings(path) -> dict:
    """What a search's folder says was asked; `RunError` where that is no search's, or damaged, or of another schema."""
    settings = read_written(path)
    missing = [name for name in (TABLE, RECORD) if not isinstance(settings.get(name), dict)]
    if missing:
        raise RunError(
            f"{str(path)!r} has no table [{missing[0]}] and is not what a search writes; choose another folder for the "
            "search, or put the file back from a copy"
        )
    check_written(path, settings)
    check_there(path, settings[TABLE], _names(), f"{TABLE}.")
    return settings


def configuration_of(row) -> tuple:
    """Cell, activation, n and l2 of a row of any table."""
    return tuple(row[name] for name in CONFIGURATION)


def _names() -> tuple[str, ...]:
    return tuple(f.name for f in fields(SearchSpec) if f.name != "population")


def _range(name: str, limits) -> tuple[float, float]:
    """Lowest and highest value of a range, checked."""
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:
        raise UsageError(f"the range of {name} must be its lowest and highest value; it is {limits!r}")
    low, high = (real_number(f"the range of {name}", limit) for limit in limits)
    for limit in (low, high):
        check_hyperparameter(name, limit)
    if low > high:
        raise UsageError(f"the range of {name} must begin with its lowest value; it is {low} to {high}")
    return low, high
