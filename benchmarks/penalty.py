"""What an L2 costs by itself: networks that have learnt their task go on under another L2 until they settle.

    python -m benchmarks.penalty runs/cdi 1e-3 6000

prints, for two networks of each group that have learnt it, the validation loss and the sum of squared parameters before
and after so many iterations under that L2, with the run's optimizer, the group's learning rate, momentum and clip and a
decay to a tenth.
"""

from __future__ import annotations

import sys

import numpy as np

from fastrnn import engines
from fastrnn.errors import FastrnnError, UsageError
from fastrnn.optimizer import Optimizer
from fastrnn.runs import Run, load_run
from fastrnn.spec import optimizer_of

NETWORKS, DECAY = 2, 0.1  # of each group; what the learning rate falls to


def go_on(run: Run, group: str, l2: float, iterations: int, batch: int = 64) -> dict[str, np.ndarray]:
    """Losses and sums of squared parameters of a group's first networks that learnt the task.

    Returns
    -------
    "loss" and "squares": (2, N), before and after; N may be 0
    """
    rows = run.group_table(group)
    chosen = np.flatnonzero(run.learnt(rows))[:NETWORKS]
    networks, rows, engine = run.networks(group)[chosen], rows.iloc[chosen], engines.get("cpu")
    kept = {name: rows[name].to_numpy() for name in ("learning_rate", "momentum", "clip")}
    kept["method"] = optimizer_of(run.settings)
    optimizer = Optimizer.start(networks, **kept, decay=DECAY, l2=l2, iterations=iterations)
    losses, squares = [], []
    for steps in (0, iterations):
        engine.advance(networks, optimizer, run.task, steps, batch)
        losses.append(engine.loss(networks, run.task))
        squares.append(np.square(networks.parameters, dtype=np.float64).sum(axis=1))
    return {"loss": np.array(losses), "squares": np.array(squares)}


def main(arguments: list[str]) -> None:
    """Print a line a group."""
    try:
        path, l2, iterations = arguments[0], float(arguments[1]), int(arguments[2])
    except (IndexError, ValueError):
        raise UsageError("give the folder of a run, an L2 and a number of iterations: runs/cdi 1e-3 6000") from None
    run = load_run(path)
    for group in run.finished_groups():
        found = go_on(run, group, l2, iterations)
        said = [
            f"{name} {np.array2string(before, precision=4)} -> {np.array2string(after, precision=4)}"
            for name, (before, after) in found.items()
        ]
        print(f"{group}: {', '.join(said)}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FastrnnError as error:
        sys.exit(f"error: {error}")
