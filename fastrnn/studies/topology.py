"""Networks compared by the graphs of their fixed points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..analysis.statistics import Statistics
from .result import Result


@dataclass(eq=False)
class Topology(Result):
    """Distances between the fixed-point graphs of N networks, drawn and put to the test.

    Attributes
    ----------
    measure : what the distance is, in words
    table : DataFrame, the run's rows of the N networks, in the order of the distances
    distances : (N, N)
    points : (N, 2) two-dimensional metric MDS of them; stress : Kruskal's stress-1 of it
    factors, levels : DataFrames of `analysis.statistics.Statistics` (`factors` has a column "factor"); empty where no
        factor has two levels or there are too few networks
    left_out : DataFrame (id, reason) of networks of the run that are not in `table`
    """

    measure: str
    table: pandas.DataFrame
    distances: np.ndarray
    points: np.ndarray
    stress: float
    factors: pandas.DataFrame
    levels: pandas.DataFrame
    left_out: pandas.DataFrame

    @property
    def statistics(self) -> Statistics | None:
        """The tables as `compare_networks` has them."""
        return None if self.factors.empty else Statistics(self.factors.set_index("factor"), self.levels)
