"""Learning rate, decay, momentum and clip of every network, from tables in which the most specific row wins.

A row names the networks it is for by any of the key columns (an empty field means any) and gives some of the
values. In defaults/ lies one table a task, and `general.csv` for users' tasks; in defaults/adam/ those for Adam.
"""

from __future__ import annotations

import csv
from pathlib import Path

from .cells import ACTIVATIONS, CELLS
from .errors import UsageError
from .optimizer import METHODS, SGD, check_hyperparameter
from .values import check_name

CONFIGURATION = ("cell", "activation", "n", "l2")
KEYS = (*CONFIGURATION, "seed")
VALUES = ("learning_rate", "decay", "momentum", "clip")
# how a row's values were found, in its column `found`; those in common were tried on networks of all kinds at once
SEARCHED, BY_RULE, BY_HAND, IN_COMMON = FOUND = ("search", "rule", "hand", "common")
COLUMNS = (*KEYS, *VALUES, "found", "optimizer")  # the last: whose values they are, where that is known
RESULTS = ("status", "iterations", "training_loss", "validation_loss")  # in a run's networks.csv
# there too, or in the record of a search
PASSED_OVER = ("id", *RESULTS, "origin", "diverged", "repeats", "draws", "search_seed", "date", "command")
DEFAULTS = Path(__file__).resolve().parent / "defaults"


class HyperparameterTable:
    """Rows, each with some of `KEYS` (which networks; a key not given means any) and some of `VALUES`.

    Parameters
    ----------
    rows : dicts, with texts `found`, one of `FOUND`, and `optimizer`, one of its `METHODS`, too if they are known
    source : what to call the table in errors

    Raises
    ------
    UsageError
        for an unknown column, a value out of range, a row without values, two rows for the same networks

    >>> rows = [{"learning_rate": 0.03, "clip": 1.0}, {"cell": "gru", "learning_rate": 0.1}]
    >>> table = HyperparameterTable(rows)
    >>> network = {"cell": "gru", "activation": "tanh", "n": 64, "l2": 1e-5, "seed": 0}
    >>> table.lookup(network)
    {'learning_rate': 0.1, 'clip': 1.0}
    """

    def __init__(self, rows, source: str = "hyperparameters"):
        self.rows = tuple(_clean(row, f"{source}, row {i}") for i, row in enumerate(rows, 1))
        self.source = source
        # for each combination of keys that rows name: the keys' values -> row number
        self._index: dict[tuple[str, ...], dict[tuple, int]] = {}
        for i, row in enumerate(self.rows):
            keys = tuple(key for key in KEYS if key in row)
            same = self._index.setdefault(keys, {})
            networks = tuple(row[key] for key in keys)
            if networks in same:
                raise UsageError(
                    f"{source}: rows {same[networks] + 1} and {i + 1} are for the same networks "
                    f"({describe(row)}); remove one"
                )
            same[networks] = i

    def lookup(self, network: dict) -> dict[str, float]:
        """Values for a network (given all of `KEYS`), each from the most specific row that has it."""
        return {value: row[value] for value, row in self.sources(network).items()}

    def sources(self, network: dict) -> dict[str, dict]:
        """For each value that some row gives to a network, the row it is taken from."""
        matching = [
            (len(keys), same[named])
            for keys, same in self._index.items()
            if (named := tuple(network[key] for key in keys)) in same
        ]
        found = {}
        for value in VALUES:
            rows = sorted(((size, i) for size, i in matching if value in self.rows[i]), reverse=True)
            if len(rows) > 1 and rows[0][0] == rows[1][0]:
                first, second = sorted((rows[0][1], rows[1][1]))
                raise UsageError(
                    f"{self.source}: rows {first + 1} ({describe(self.rows[first])}) and {second + 1} "
                    f"({describe(self.rows[second])}) both give {value} to {describe(network)}; "
                    "add a row that names both, or remove one"
                )
            if rows:
                found[value] = self.rows[rows[0][1]]
        return found


def describe(row: dict) -> str:
    """The networks a row is for, in words."""
    return ", ".join(f"{key} {row[key]}" for key in KEYS if key in row) or "all networks"


def check_owner(name: str, rows, optimizer: str, unsaid: str | None = None) -> None:
    """`UsageError` where a row is for the other optimizer; one that doesn't say is for `unsaid`, by default for any."""
    for i, row in enumerate(rows, 1):
        if (its := row.get("optimizer", unsaid or optimizer)) != optimizer:
            shipped = ", or leave them out for those shipped" if unsaid else ""
            raise UsageError(
                f"{name}, row {i} ({describe(row)}), must be for optimizer {optimizer}; it is for {its}: "
                f"take the optimizer {its}, or other rows{shipped}"
            )


def is_searched(row: dict) -> bool:
    """Whether a row's values come from a search for just the networks that it names.

    >>> is_searched({"cell": "gru", "activation": "tanh", "n": 64, "l2": 1e-5, "clip": 1.0, "found": "search"})
    True
    """
    return row.get("found") == SEARCHED and {*CONFIGURATION} <= row.keys()


def read_rows(path) -> list[dict]:
    """Rows of a CSV file whose first line names the columns, any of `KEYS` and `VALUES`.

    An empty field means any. A run's `networks.csv` will do, or a search's `chosen.csv`: columns that only hold results
    are passed over.
    """
    columns, lines = _read_csv(path)
    for column in columns:
        if column not in PASSED_OVER:
            check_name("column", column, COLUMNS, f" of {str(path)!r}")
    if not set(columns) & set(VALUES):
        raise UsageError(f"{str(path)!r} has no column of {', '.join(VALUES)}; its first line must name the columns")
    if twice := next((column for i, column in enumerate(columns) if column in columns[:i]), None):
        raise UsageError(f"{str(path)!r} has two columns {twice!r}; remove one")
    if not lines:
        raise UsageError(f"{str(path)!r} has no rows; below the line with the columns' names there must be one")
    rows = []
    for number, line in lines:
        where = f"{str(path)!r}, line {number}"
        if len(line) != len(columns):
            raise UsageError(f"{where}: it must have {len(columns)} fields, as the first line has")
        fields = zip(columns, line, strict=True)
        known = {name: field for name, field in fields if field and name not in PASSED_OVER}
        rows.append(_clean(known, where))
    return rows


def _read_csv(path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns, and line number and fields of every further line that is not empty."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [field.strip() for field in line]) for line in reader if line]
    except OSError as error:
        raise UsageError(f"could not read the table {str(path)!r}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{str(path)!r} is not a CSV file: {error}") from error
    return (lines[0][1] if lines else []), lines[1:]


def defaults_folder(optimizer: str = SGD) -> Path:
    """Where the tables for an optimizer lie."""
    return DEFAULTS if optimizer == SGD else DEFAULTS / optimizer


def default_rows(task: str, optimizer: str = SGD) -> list[dict]:
    """The rows shipped for a task, the general ones for a task without a table of its own."""
    folder = defaults_folder(optimizer)
    path = folder / f"{task}.csv"
    rows = read_rows(path if task.isidentifier() and path.is_file() else folder / "general.csv")
    return rows if optimizer == SGD else [row | {"optimizer": optimizer} for row in rows]


def _clean(row: dict, where: str) -> dict:
    """The row with numbers for texts, every field checked."""
    clean = {}
    for name, field in row.items():
        check_name("column", name, COLUMNS, f" in {where}")
        if name in ("cell", "activation"):
            check_name(name, field, tuple(CELLS) if name == "cell" else ACTIVATIONS, f" in {where}")
            clean[name] = field
        elif name in ("found", "optimizer"):
            check_name(name, field, FOUND if name == "found" else METHODS, f" in {where}")
            clean[name] = field
        elif name in ("n", "seed"):
            clean[name] = _number(int, name, field, where, "a whole number")
            if clean[name] < (least := int(name == "n")):
                raise UsageError(f"{where}: {name} must be {least} or more; it is {field!r}")
        else:
            clean[name] = _number(float, name, field, where, "a number")
            if name in VALUES:
                _in_range(name, clean[name], where)
    if not clean.keys() & set(VALUES):
        raise UsageError(f"{where}: the row gives none of {', '.join(VALUES)}; fill one in or remove the row")
    return clean


def _number(kind, name: str, field, where: str, words: str):
    try:
        number = kind(field)
    except (TypeError, ValueError, OverflowError):
        number = None
    same = number is not None and number == (number if isinstance(field, str) else field)  # NaN is no number
    if not same or isinstance(field, bool):
        raise UsageError(f"{where}: {name} must be {words}; it is {field!r}")
    return number


def _in_range(name: str, value: float, where: str) -> None:
    try:
        check_hyperparameter(name, value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
