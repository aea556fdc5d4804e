"""Which networks of a run are studied, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..errors import FastrnnError, Status
from ..networks import Networks
from ..runs import Run
from .result import Result

PROBES = 512  # trials from which the targets' variance is taken
FAILED_SHARE = 0.5  # of the loss of the best constant output; above it a network counts as failed
ROW = ("id", "cell", "activation", "n", "l2", "seed", "validation_loss")  # of the run's table, in every study's


@dataclass(eq=False, repr=False)
class Selection(Result):
    """The networks of a run that are studied: trained to the end, and better than half of what no training gives.

    Attributes
    ----------
    table : DataFrame, the run's rows of the networks studied; a column `group`
    left_out : DataFrame (id, reason) of all others
    rule : which are studied, in words
    """

    table: pandas.DataFrame
    left_out: pandas.DataFrame
    rule: str

    @property
    def groups(self) -> list[str]:
        """Names of the groups with networks studied."""
        return list(dict.fromkeys(self.table.group))

    def rows(self, group: str) -> pandas.DataFrame:
        """The rows of one group's networks, in the order of `networks`."""
        return self.table[self.table.group == group].reset_index(drop=True)

    def networks(self, run: Run, group: str) -> Networks:
        """The group's networks that are studied."""
        finished = run.finished(group)
        place = {name: i for i, name in enumerate(finished.ids)}
        return finished.networks[np.array([place[name] for name in self.rows(group).id], np.int64)]


def select_networks(run: Run) -> Selection:
    """Choose the networks to study.

    Left out are networks that are still in training or untrained, that diverged, whose validation loss is not below
    half of that of the best constant output, and whose group's file can't be read.
    """
    most = FAILED_SHARE * constant_loss(run.task)
    rule = f"trained, not diverged, validation loss below {most:.3g} (half of that of the best constant output)"
    rows, left_out = [], []
    for group in run.groups:
        wanted = run.rows(run.ids(group)).assign(group=group)
        unreadable = _unreadable(run, group)
        for row in wanted.to_dict("records"):
            reason = unreadable or _failure(row, most)
            if reason:
                left_out.append({"id": row["id"], "reason": reason})
            else:
                rows.append(row)
    columns = [*run.table.columns, "group"]
    table = pandas.DataFrame(rows, columns=columns)
    return Selection(table, pandas.DataFrame(left_out, columns=["id", "reason"]), rule)


def constant_loss(task) -> float:
    """Loss of the best constant output on a task's probe trials: the targets' variance."""
    _, targets, mask = task.probe(PROBES)
    weight = np.broadcast_to(mask[..., None], targets.shape).astype(np.float64)
    mean = (weight * targets).sum(axis=(0, 1)) / weight.sum(axis=(0, 1))
    return float((weight * (targets - mean) ** 2).sum() / weight.sum())


def _failure(row: dict, most: float) -> str:
    """Why a network is not studied; empty if it is."""
    if row["status"] == Status.DIVERGED.label:
        return f"diverged after {row['iterations']:,} iterations"
    if row["status"] == Status.TRAINING.label:
        return "still in training: run train-population again"
    if not row["validation_loss"] < most:
        return f"did not learn: validation loss {row['validation_loss']:.3g}, not below {most:.3g}"
    return ""


def _unreadable(run: Run, group: str) -> str:
    """Why a group's file can't be read; empty if it can, or is not there yet."""
    if group not in run.finished_groups():
        return ""
    try:
        run.finished(group)
    except FastrnnError as error:
        return str(error)
    return ""
