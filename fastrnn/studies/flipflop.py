"""The flip-flop study: how many fixed points of which kind, and how they lead to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .result import Result


@dataclass(eq=False)
class FlipflopStudy(Result):
    """Fixed points of N networks without input, counted.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss; `points` (exact fixed
        points), `unstable_0`, `unstable_1`, `unstable_2`, `unstable_3`, `unstable_more` (by unstable dimensions),
        `slow`, `corners` (corners of the cube that hold a stable point), `search_status`, `index_sum`, `modal`
        (bool: the count is the modal one), `elsewhere` (mean share of starts near its points that settle nowhere)
    counts : DataFrame, one row a kind ("all", then cell and activation): `kind`, `networks`, `modal_count`,
        `modal_networks`, `share`, `low`, `high` (Wilson's 95% interval of the share)
    ordered : (N, N) the paper's distance between graphs; NaN between those of different numbers of points
    matching : (N, N) distance by optimal matching of the points
    violations : share of triples for which `matching` breaks the triangle inequality
    slots : int8 (M, 3) slots of {-1, 0, 1}^3 that any network has a point in
    connectivity : float32 (N, M, M + 1) share of the starts near a slot's points that settle in another, or elsewhere
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    counts: pandas.DataFrame
    ordered: np.ndarray
    matching: np.ndarray
    violations: float
    slots: np.ndarray
    connectivity: np.ndarray
    left_out: pandas.DataFrame
