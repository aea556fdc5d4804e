"""The work that is timed: training iterations of one kind of network, and how many FLOPs they hold."""

from __future__ import annotations

from typing import NamedTuple

from fastrnn.cells import get_cell
from fastrnn.counters import TRAINING, network_key
from fastrnn.engines.engine import matrix_flops
from fastrnn.networks import Networks
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import Task

# small steps: no network diverges while it is timed
HYPERPARAMETERS = {"learning_rate": 1e-4, "momentum": 0.9, "clip": 1.0, "l2": 1e-5}
FOREVER = 1 << 40  # planned iterations


class Work(NamedTuple):
    """Training of one kind of network on one task."""

    task: Task
    cell: str
    activation: str
    n: int
    batch: int

    @property
    def flops(self) -> int:
        """Of one network and iteration."""
        return matrix_flops(get_cell(self.cell).gates, self.n, self.task.D, self.task.K, self.task.T, self.batch)

    @property
    def label(self) -> str:
        return f"{self.task.name} {self.cell}-{self.activation}-{self.n}"

    def networks(self, N: int) -> Networks:
        """N untrained networks, the same at every call."""
        keys = [network_key("benchmark", i) for i in range(N)]
        networks = Networks.initialize(self.cell, self.activation, self.n, self.task.D, self.task.K, keys)
        if (self.cell, self.activation) == ("lstm", "relu"):  # or the states of some grow beyond float32 in 500 steps
            networks.W_rec[:] *= 0.1
        return networks

    def optimizer(self, networks: Networks) -> Optimizer:
        """Their state before the first of very many iterations."""
        return Optimizer.start(networks, **HYPERPARAMETERS, iterations=FOREVER)

    def trials(self, networks: Networks):
        """Each network's trials of one iteration: inputs (N, B, T, D), targets (N, B, T, K)."""
        inputs, targets, _ = self.task.draw(networks.keys, TRAINING, 0, self.batch)
        return inputs, targets
