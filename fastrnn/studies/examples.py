"""One network of every kind to look at: trajectories, fixed points and paths in its first principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from .result import Result


@dataclass(eq=False)
class Examples(Result):
    """E networks, the best of each kind (cell and activation), drawn in their own first three principal components.

    B probe trials, T steps, D inputs, K outputs; P points and L paths of all networks together. The components are
    those of a network's states on the probe trials; coordinates are of the state less its mean, not scaled.

    Attributes
    ----------
    table : DataFrame, one row an example: the run's columns (id, cell, activation, n, l2, seed, validation_loss, ...)
        and `points`, `paths`, how many of each it has
    inputs : float32 (B, T, D), targets : float32 (B, T, K) of the probe trials; sine: u rises from trial to trial
    label : (B,) what tells trials apart: sine: the commanded frequency, cycles a step; cdi: the context, 0 or 1; else 0
    outputs : float32 (E, B, T, K)
    trajectories : float32 (E, B, T, 3)
    explained : (E, 3) share of the variance of the states that each component has
    readout : (E, K, 3) the readout weights of each output, seen in the components
    conditions : (C, D) the held inputs; condition_label : (C,) as `label`; flip-flop: one condition, no input
    point_example : int (P,) whose point it is, index into `table`; point_condition : int (P,) index into `conditions`
    points : (P, 3); point_readout : (P, K) the output there
    point_unstable : int (P,) eigenvalues of magnitude above 1; point_slow : bool (P,) a slow point, not fixed
    point_eigenvalues : complex (P, 8) the largest ones of the Jacobian; NaN where there are fewer
    point_direction : (P, 2, 3) real and imaginary part of the first eigenvector, unit length in the whole space,
        seen in the components
    path_example : int (L,); path_source, path_target : int (L,) indices into `points`, target -1 for elsewhere
    path_start : int (L + 1,) path l is `path_states[path_start[l] : path_start[l + 1]]`
    path_states : float32 (states, 3)
    """

    table: pandas.DataFrame
    inputs: np.ndarray
    targets: np.ndarray
    label: np.ndarray
    outputs: np.ndarray
    trajectories: np.ndarray
    explained: np.ndarray
    readout: np.ndarray
    conditions: np.ndarray
    condition_label: np.ndarray
    point_example: np.ndarray
    point_condition: np.ndarray
    points: np.ndarray
    point_readout: np.ndarray
    point_unstable: np.ndarray
    point_slow: np.ndarray
    point_eigenvalues: np.ndarray
    point_direction: np.ndarray
    path_example: np.ndarray
    path_source: np.ndarray
    path_target: np.ndarray
    path_start: np.ndarray
    path_states: np.ndarray

    def __len__(self) -> int:
        return len(self.table)
