"""The paper's claims, each as a statistic with an interval and a rule that was fixed beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import pandas

from .result import Result


@dataclass(eq=False)
class Claims(Result):
    """What a run says of the paper's claims that can be measured on its task.

    Attributes
    ----------
    table : DataFrame, one row a statistic: `claim` (number in the paper's order, 1 to 7), `task`, `statement` (the
        claim, in words), `subject` (of which networks: "all", a cell, an activation, a kind), `statistic` (what the
        value is, in words), `value`, `low`, `high` (95% interval; NaN where it has none), `networks` (how many it is
        of), `rule` (when the statement holds, in words), `verdict` ("holds", "does not hold", "undecided"),
        `note` (what one must know beside it; may be empty)
    """

    table: pandas.DataFrame
