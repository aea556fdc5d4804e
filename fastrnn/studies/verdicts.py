"""A claim's row: a statistic of networks with its interval, and the verdict that follows from it by a rule."""

from __future__ import annotations

from itertools import count

import numpy as np

from ..analysis.statistics.neighbours import wilson
from .resampling import CONFIDENCE, FEWEST, mean_interval, share_interval

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
COLUMNS = ("claim", "task", "statement", "subject", "statistic", "value", "low", "high",
           "networks", "rule", "verdict", "note")  # fmt: skip


def claim_row(claim, statement, subject, statistic, value, networks, rule, verdict, note="") -> dict:
    """One row of the claims table; value : estimate, low end and high end of its interval."""
    value, low, high = (float(number) for number in value)
    columns = (claim, "", statement, subject, statistic, value, low, high, int(networks), rule, verdict, note)
    return dict(zip(COLUMNS, columns, strict=True))


def mean_row(claim, statement, subject, statistic, values, rule, judge) -> dict:
    """A row on the mean of one number a network, of those that have it; `judge` makes the verdict of its interval."""
    known = int(np.isfinite(np.asarray(values, np.float64)).sum())
    missing = len(values) - known
    notes = [f"{missing} more network{'s have' if missing > 1 else ' has'} none"] if missing else []
    notes += [too_few(known, FEWEST)] if known < FEWEST else []
    value = mean_interval(values)
    return claim_row(claim, statement, subject, statistic, value, known, rule, judge(value), "; ".join(notes))


def share_row(claim, statement, subject, statistic, values, bound: float, rule, note="") -> dict:
    """A row on a share of networks that must be above `bound`; values : True or False, or a share, one a network."""
    value, networks, needed = share_interval(values), len(values), networks_needed(bound)
    verdict = above(value, bound) if networks >= FEWEST else UNDECIDED
    if verdict == UNDECIDED and networks < needed:
        note = "; ".join(filter(None, (note, f"{too_few(networks, needed)}, even if all agree")))
    return claim_row(claim, statement, subject, statistic, value, networks, rule, verdict, note)


def too_few(networks: int, needed: int) -> str:
    """Why nothing could be decided, in words."""
    return f"{networks} network{'s are' if networks != 1 else ' is'} too few: at least {needed} are needed"


def networks_needed(bound: float) -> int:
    """Fewest networks from which a share can be above a bound with its interval: that of which all have what is asked.

    >>> networks_needed(0.9)
    35
    """
    return next(networks for networks in count(FEWEST) if wilson(1.0, networks, CONFIDENCE)[0] > bound)


def above(value, bound: float) -> str:
    """Whether an estimate is above a bound with its interval."""
    _, low, high = value
    return HOLDS if low > bound else FAILS if high < bound else UNDECIDED


def below(value, bound: float) -> str:
    """Whether an estimate is below a bound with its interval."""
    return above([-number for number in (value[0], value[2], value[1])], -bound)


def within(value, low: float, high: float) -> str:
    """Whether an estimate is within bounds with its interval."""
    if low < value[1] and value[2] < high:
        return HOLDS
    return FAILS if value[1] > high or value[2] < low else UNDECIDED
