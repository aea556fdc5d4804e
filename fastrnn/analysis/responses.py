"""Responses of a run's networks to the probe trials on which they are compared."""

from __future__ import annotations

import numpy as np

from .. import engines
from ..errors import Status
from ..runs import Run
from ..values import check_sizes

PROBE_TRIALS = {"flipflop": 64, "sine": 51, "cdi": 128}
OTHER_PROBE_TRIALS = 64  # of a user's own task
ROLLOUT_BYTES = 2.5e8  # of states held at once


def probe_inputs(task, trials: int | None = None) -> np.ndarray:
    """Inputs (B, T, D) of the trials on which all networks of a task are compared.

    Probe trials of the task; for `sine` constant inputs evenly from 0 to 1.

    Parameters
    ----------
    task : Task
    trials : B, default 64 for flipflop, 51 for sine, 128 for cdi, 64 for any other

    >>> from fastrnn.tasks import get_task
    >>> probe_inputs(get_task("sine"), trials=3)[:, 0, 0]
    array([0. , 0.5, 1. ], dtype=float32)
    """
    trials = probe_trials(task) if trials is None else trials
    check_sizes(trials=trials)
    if task.built_in and task.name == "sine":
        return np.repeat(np.linspace(0, 1, trials, dtype=np.float32), task.T).reshape(trials, task.T, 1)
    return task.probe(trials)[0]


def probe_trials(task) -> int:
    """How many probe trials a task's networks are compared on, unless told otherwise."""
    return PROBE_TRIALS[task.name] if task.built_in else OTHER_PROBE_TRIALS


def probe_states(run: Run, trials: int | None = None, device: str = "cpu", left_out: list | None = None, only=None):
    """Responses of a run's networks to the probe trials, one network after another.

    Groups are rolled out a few networks at a time, so that a population need not fit in memory. Where the state has two
    parts, the response is h, which the readout sees.

    Parameters
    ----------
    run : Run
    trials : as for `probe_inputs`
    device : as for `engines.get`
    left_out : gets the ids of networks that diverged, or whose states are not finite on these trials
    only : ids of the networks wanted, default all; files of other groups are not read

    Yields
    ------
    id of the network, states (B T, n) float32
    """
    engine = engines.get(device)
    inputs = probe_inputs(run.task, trials)
    B, T, _ = inputs.shape
    left_out = [] if left_out is None else left_out
    only = None if only is None else set(only)
    for group in run.finished_groups():
        if only is not None and not only & set(run.ids(group)):
            continue
        networks, rows = run.networks(group), run.group_table(group)
        wanted = np.full(len(rows), True) if only is None else rows.id.isin(only)
        diverged = rows.status == Status.DIVERGED.label
        sound = np.flatnonzero(wanted & ~diverged)
        left_out += rows.id[wanted & diverged].tolist()
        at_once = max(1, int(ROLLOUT_BYTES / (4 * B * T * networks.S)))
        for start in range(0, len(sound), at_once):
            chosen = sound[start : start + at_once]
            states, _ = engine.run(networks[chosen], inputs)  # (N, B, T, S)
            for name, response in zip(rows.id[chosen], states[..., : networks.n], strict=True):
                if np.isfinite(response).all():
                    yield name, response.reshape(B * T, -1)
                else:
                    left_out.append(name)
