"""The study of context-dependent integration: a line of slow points in each context, and its modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .result import Result


@dataclass(eq=False)
class CdiStudy(Result):
    """Slow points of N networks in both contexts, and the system linearised there; means are over a line's points.

    S is the largest state size of the networks; what a smaller network does not have is NaN. Streams come in the
    order relevant, irrelevant.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss, group; and for each
        context c in 0, 1 `points_c`, `pieces_c` (parts of the neighbour graph), `dimension_c` (participation ratio of
        the points; 1 for a straight line), `readout_low_c`, `readout_high_c` (range of the outputs along the line),
        `near_one_c` (mean number of eigenvalues with magnitude above `near`), `relevant_c`, `irrelevant_c` (linear
        integral of a unit input), `modes_c` (fewest slowest modes that keep the relevant integral within a tenth)
    near : the magnitude from which an eigenvalue counts as near one
    magnitudes : (N, 2, S) magnitudes of eigenvalues, largest first
    integral : (N, 2, 2) linear integral of a unit input: context, stream; all modes
    kept : (N, 2, 2, S) the same with the m + 1 slowest modes only
    groups : DataFrame, one row a group of G: `group`, `cell`, `activation`, `n`, `networks`
    spectrum_mean, spectrum_sem : (G, S) of `magnitudes` over the group's networks and both contexts (a network's two
        contexts are averaged first)
    kept_mean, kept_sem : (G, 2, S) of `kept`, stream by stream, over networks
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    near: float
    magnitudes: np.ndarray
    integral: np.ndarray
    kept: np.ndarray
    groups: pandas.DataFrame
    spectrum_mean: np.ndarray
    spectrum_sem: np.ndarray
    kept_mean: np.ndarray
    kept_sem: np.ndarray
    left_out: pandas.DataFrame
