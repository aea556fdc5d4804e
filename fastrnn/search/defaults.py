"""The tables of hyperparameters that ship with the package, made from searches.

    python -m fastrnn.search.defaults flipflop searches/flipflop searches/flipflop-lstm-relu

writes `fastrnn/defaults/flipflop.csv`, or from searches with Adam `fastrnn/defaults/adam/flipflop.csv`. Each row says
how its values were found:

search  by a search of just that configuration, with its command, seed and date, the number of draws, how many of the
        winner's fresh networks (repeats) diverged, and the largest loss of the others; origin "in use": the values
        before won against the draws; "in use, ten seeds": they lost there, but did better than the winner with ten
        fresh networks each and the default number of iterations, from which these losses are; "drawn, lower decay":
        the winner, but the decay is lower than the one drawn, for training 2.5 times as long as in the search, whose
        loss this is; "in use, lower decay": likewise, for training twice as long; "second drawn": of the two draws
        trained to the end the one whose loss was the steadier
hand    by a small random search before there was `fastrnn search`; of Adam for all sizes and L2 of a kind
common  tried for all kinds of networks at once
rule    for all other sizes and L2: those of the same kind, n = 64 and the nearest L2 (by its logarithm, the smaller of
        two) that was searched
"""

from __future__ import annotations

import csv
import io
import sys
from math import log10
from pathlib import Path

from ..errors import FastrnnError, UsageError
from ..hyperparameters import BY_HAND, BY_RULE, KEYS, SEARCHED, VALUES, defaults_folder
from ..optimizer import SGD
from ..spec import PRESETS, RECORD, optimizer_of
from ..storage import atomic_write
from .results import load_search

COLUMNS = (
    *(*KEYS, *VALUES, "found", "origin", "validation_loss", "iterations"),
    *("diverged", "repeats", "draws", "search_seed", "date", "command"),
)
SEARCHED_SIZE = 64  # of the networks whose values others take


def searched_rows(task: str, folder, optimizer: str = SGD) -> list[dict]:
    """Rows of the values chosen by a search on the task, with the command and date that made them."""
    found = load_search(folder)
    if found.settings[RECORD]["task"] != task:
        raise UsageError(f"the search in {str(folder)!r} is on {found.settings[RECORD]['task']}, not on {task}")
    if (its := optimizer_of(found.settings)) != optimizer:
        raise UsageError(f"the search in {str(folder)!r} is of {its}, not of {optimizer}: tables hold values of one")
    record = {name: found.settings[RECORD][name] for name in ("command", "date")}
    return [row | record for row in found.chosen.to_dict("records")]


def defaults_table(before: list[dict], searches: list[list[dict]]) -> list[dict]:
    """Rows that give values to every network, from searches and the table there was before.

    Parameters
    ----------
    before : rows of the table that is replaced; what no search covers stays as it was, unless it was taken by rule
    searches : rows of `searched_rows`; a later one replaces an earlier one
    """
    found = {_name(row): row for row in before if row.get("found") in (SEARCHED, BY_HAND) and row.get("n")}
    found |= {_name(row): row for rows in searches for row in rows}
    kinds = dict.fromkeys((cell, activation) for cell, activation, _, _ in found)
    # for kinds that no other row is for
    table = [row for row in before if not row.get("n") and (row.get("cell"), row.get("activation")) not in kinds]
    for cell, activation in kinds:
        kind = {"cell": cell, "activation": activation}
        mine = sorted(name for name in found if name[:2] == (cell, activation))
        known = {l2: found[cell, activation, n, l2] for _, _, n, l2 in mine if n == SEARCHED_SIZE}
        if not known:
            raise UsageError(
                f"no values of {cell}-{activation} with n = {SEARCHED_SIZE}, from which other sizes take theirs: "
                "give a search of it"
            )
        table.append(_by_rule(known[min(known)], **kind))
        for l2 in PRESETS["paper"]["l2"]:
            nearest = min(known, key=lambda other: (abs(round(log10(other / l2), 9)), other))
            if nearest != min(known):
                table.append(_by_rule(known[nearest], **kind, l2=l2))
        table += [found[name] for name in mine]
    return table


def write_defaults(task: str, folders, path=None, optimizer: str = SGD) -> None:
    """Write a task's table from the searches in `folders` and the table at `path`, default the shipped one."""
    path = defaults_folder(optimizer) / f"{task}.csv" if path is None else Path(path)
    with open(path, newline="", encoding="utf-8") as file:
        before = list(csv.DictReader(file))
    table = defaults_table(before, [searched_rows(task, folder, optimizer) for folder in folders])
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    atomic_write(path, text.getvalue().encode())


def _name(row: dict) -> tuple:
    return row["cell"], row["activation"], int(row["n"]), float(row["l2"])


def _by_rule(row: dict, **names) -> dict:
    """The row's values for other networks."""
    return names | {value: row[value] for value in VALUES} | {"found": BY_RULE}


if __name__ == "__main__":
    try:
        if len(sys.argv) < 3:
            raise UsageError("give a task and the folders of its searches")
        task, *folders = sys.argv[1:]
        write_defaults(task, folders, optimizer=optimizer_of(load_search(folders[0]).settings))
    except FastrnnError as error:
        sys.exit(f"error: {error}")
