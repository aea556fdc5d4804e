"""Trained and untrained networks on the same inputs: canonical correlation is not function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .result import Result

CLASSES = ("trained tanh", "trained relu", "untrained tanh", "untrained relu")


@dataclass(eq=False)
class UntrainedStudy(Result):
    """N vanilla networks of the cdi task, trained ones and what they were before, compared on the probe inputs.

    Attributes
    ----------
    table : DataFrame, one row a network: id (of the trained network; both have it), activation, n, l2, seed,
        `trained` (bool), `class` (one of `CLASSES`), `loss` on the probe trials
    classes : list of the classes there are, in the order of `CLASSES`
    components : principal components that were kept of each response
    correlations : (N, N) average canonical correlation of each pair
    mean, low, high : (classes, classes) of `correlations` over pairs of two networks, 95% interval from networks
        resampled; a network and what it was before are no pair
    losses : (classes,) median loss
    difference, difference_low, difference_high : trained relu with untrained relu, less trained tanh with trained
        relu; NaN where a class is missing
    trajectories : float32 (classes, B, T, 3) of one network of each class, in its own first principal components
    explained : (classes, 3) share of the variance of each component
    context : int (B,) of the probe trials; output : float32 (classes, B, T); target : float32 (B, T)
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    classes: list
    components: int
    correlations: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    losses: np.ndarray
    difference: float
    difference_low: float
    difference_high: float
    trajectories: np.ndarray
    explained: np.ndarray
    context: np.ndarray
    output: np.ndarray
    target: np.ndarray
    left_out: pandas.DataFrame
