"""What networks are shown when they are studied: held inputs, and trials to draw."""

from __future__ import annotations

import numpy as np

from ..analysis.responses import probe_inputs

SINE_INPUTS = 21  # held inputs, evenly in [0, 1]
DRAWN_TRIALS = {"flipflop": 24, "sine": 51, "cdi": 24}
OTHER_DRAWN_TRIALS = 24


def held_inputs(task) -> np.ndarray:
    """Inputs (C, D) under which fixed points are searched: static ones as they are, those that vary in time 0.

    >>> from fastrnn.tasks import get_task
    >>> held_inputs(get_task("cdi")).astype(int).tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0]]
    """
    if task.built_in and task.name == "sine":
        return np.linspace(0, 1, SINE_INPUTS)[:, None]
    if task.built_in and task.name == "cdi":
        return np.eye(2, task.D)
    return np.zeros((1, task.D))


def drawn_trials(task) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (B, T, D) and targets (B, T, K) of the trials on which single networks are drawn."""
    if task.built_in and task.name == "sine":
        inputs = probe_inputs(task, DRAWN_TRIALS["sine"])
        return inputs, sine_targets(task, inputs[:, 0, 0])
    inputs, targets, _ = task.probe(DRAWN_TRIALS[task.name] if task.built_in else OTHER_DRAWN_TRIALS)
    return inputs, targets


def commanded_frequency(task, u) -> np.ndarray:
    """Frequency that the sine task asks for under input u, cycles a step."""
    return task.settings["frequency_slope"] * np.asarray(u, np.float64) + task.settings["frequency_offset"]


def sine_targets(task, u) -> np.ndarray:
    """Targets (B, T, 1) of the sine task under inputs u (B,).

    >>> from fastrnn.tasks import get_task
    >>> task = get_task("sine", steps=4)
    >>> inputs, targets, _ = task.probe(3)
    >>> bool(np.allclose(sine_targets(task, inputs[:, 0, 0]), targets, atol=1e-6))
    True
    """
    steps = np.arange(1, task.T + 1)
    return np.sin(2 * np.pi * commanded_frequency(task, u)[:, None, None] * steps[:, None]).astype(np.float32)
