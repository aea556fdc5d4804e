"""The sine study: one fixed point for each input, and the frequency of its unstable pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .result import Result


@dataclass(eq=False)
class SineStudy(Result):
    """Fixed points of N networks under C held inputs, and what the system linearised there would do.

    Where a network has several fixed points under an input, the one nearest to the mean of its states under that
    input is taken; where it has none, numbers are NaN.

    Attributes
    ----------
    table : DataFrame, one row a network: id, cell, activation, n, l2, seed, validation_loss; `one_point` (share of
        inputs with exactly one fixed point), `unstable_pair` (share with one unstable complex pair and nothing else
        unstable), `magnitude` (median of the pair's), `correlation`, `slope`, `offset` (of the linear frequency
        against the commanded one; 1 and 0 where they are the same), `error` (mean of linear less commanded frequency,
        cycles a step), `absolute_error`
    by_kind : DataFrame, one row a cell and activation: `cell`, `activation`, `networks`, and of `slope` and `error`
        the mean, `_low` and `_high` (bootstrap over networks)
    inputs : (C,) the held inputs; commanded : (C,) their frequencies, cycles a step
    points : int (N, C) exact fixed points found; unstable : int (N, C) unstable dimensions of the one taken
    pair : complex (N, C) eigenvalue of the leading complex pair with positive angle; NaN where there is none
    frequency : (N, C) linear frequency, angle of `pair` / 2 pi, cycles a step
    output_frequency : (N, C) of the network's output in its second half, cycles a step; NaN where it does not
        oscillate
    readout : (N, C) the output at the fixed point
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    by_kind: pandas.DataFrame
    inputs: np.ndarray
    commanded: np.ndarray
    points: np.ndarray
    unstable: np.ndarray
    pair: np.ndarray
    frequency: np.ndarray
    output_frequency: np.ndarray
    readout: np.ndarray
    left_out: pandas.DataFrame
