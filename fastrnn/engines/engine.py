"""What every engine does, whatever its device: its methods, what they are given, and the checks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..counters import VALIDATION
from ..values import whole_number
from .checks import check_networks, check_points, check_run_inputs, check_trials

VALIDATION_TRIALS = 512  # of a network, unless another number is asked for


def matrix_flops(gates: int, n: int, D: int, K: int, T: int, B: int) -> int:
    """FLOPs of the matrix products in one training iteration of one network, forward and backward.

    Each of the G n^2 recurrent weights, G n D input weights and n K output weights takes part in a product forward, one
    for its gradient and, but for the input weights, one for the gradient of the states: 2 FLOPs each.

    >>> matrix_flops(gates=1, n=64, D=3, K=3, T=100, B=64)
    169574400
    """
    return T * B * (6 * gates * n * n + 4 * gates * n * D + 6 * n * K)


class Engine(ABC):
    """Advances all networks of a stack at once, each independent of its neighbours.

    The public methods check what they are given; a device does by its own means what begins with an underscore.

    name : of the device
    threads : as seen by who shares work out
    overhead : seconds of the last `advance_all` that do not hang on the number of iterations: copies to a device
    """

    name: str
    threads: int
    overhead: float = 0.0

    @property
    @abstractmethod
    def processor(self) -> str:
        """Kind of processor, on which the bits of a result depend."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is, for people."""

    def of(self, n: int) -> Engine:
        """The engine that does networks of n units."""
        return self

    def check_noise(self) -> None:  # noqa: B027
        """`UsageError` where units can't have noise in training; unless a precision says so, they can."""

    def _check_size(self, n: int) -> None:  # noqa: B027
        """`UsageError` where networks of n units can't be trained or run; unless a device says so, all can."""

    # ------------------------------------------------------------------------------------------------- training

    def advance(self, networks, optimizer, task, iterations: int, batch: int = 64) -> np.ndarray:
        """Advance every network that is in training by at most `iterations`, in place.

        Returns
        -------
        losses : float32 (N, iterations), the data term at each iteration; NaN where none was run or it diverged
        """
        return self.advance_all([(networks, optimizer)], task, iterations, batch)[0]

    def advance_all(self, groups, task, iterations: int, batch: int = 64) -> list[np.ndarray]:
        """`advance` for several groups, which fill the device together.

        Parameters
        ----------
        groups : list of (Networks, Optimizer)
        task : Task; each network draws its own trials from its key
        iterations : at most so many for each network, never beyond its `decay_steps`
        batch : trials an iteration, B

        Raises
        ------
        UsageError
            for a size that the engine can't do
        RunError
            when not even one network fits into the device's memory
        """
        iterations = whole_number("iterations", iterations, 0)
        batch = whole_number("batch", batch, 1)
        for networks, optimizer in groups:
            check_networks(networks, task, optimizer)
            self._check_size(networks.n)
        return self._advance_all(groups, task, iterations, batch)

    @abstractmethod
    def _advance_all(self, groups, task, iterations: int, batch: int) -> list[np.ndarray]: ...

    # -------------------------------------------------------------------------------------- losses and gradients

    def loss(self, networks, task, trials: int = VALIDATION_TRIALS, purpose: int = VALIDATION) -> np.ndarray:
        """The data term of each network on its own validation trials (or another purpose's), float64 (N,)."""
        check_networks(networks, task)
        self._check_size(networks.n)
        return self._loss(networks, task, whole_number("trials", trials, 1), purpose)

    @abstractmethod
    def _loss(self, networks, task, trials: int, purpose: int) -> np.ndarray: ...

    def loss_and_gradients(self, networks, inputs, targets, mask=None):
        """The data term and its gradient by every parameter.

        Parameters
        ----------
        inputs (N, B, T, D), targets (N, B, T, K) : each network's own trials
        mask (N, B, T) : weights of the steps, default one; the loss is the weighted mean of the squared error

        Returns
        -------
        losses : float64 (N,)
        gradients : dict of float32 arrays named and shaped as `networks.arrays`
        """
        trials = check_trials(networks, inputs, targets, mask)
        self._check_size(networks.n)
        losses, gradients = self._loss_and_gradients(networks, *trials)
        return losses, networks.named(gradients)

    @abstractmethod
    def _loss_and_gradients(self, networks, inputs, targets, mask) -> tuple[np.ndarray, np.ndarray]:
        """Losses (N,) and gradients (N, M)."""

    def run(self, networks, inputs):
        """Roll networks out from their initial states.

        Parameters
        ----------
        inputs : (N, B, T, D), or (B, T, D) common to all networks

        Returns
        -------
        states (N, B, T, S) after each step, outputs (N, B, T, K), float32
        """
        inputs = check_run_inputs(networks, inputs)
        self._check_size(networks.n)
        return self._run(networks, inputs)

    @abstractmethod
    def _run(self, networks, inputs) -> tuple[np.ndarray, np.ndarray]: ...

    # ----------------------------------------------------------------------------------------------- for analyses

    def step(self, networks, states, inputs) -> np.ndarray:
        """One update in float64: states (N, M, S), inputs (N, M, D) or (M, D) -> (N, M, S); any n."""
        return self._step(networks, *check_points(networks, states, inputs))

    @abstractmethod
    def _step(self, networks, states, inputs) -> np.ndarray: ...

    def jacobian(self, networks, states, inputs):
        """Jacobians of the update in float64, by state (N, M, S, S) and by input (N, M, S, D); any n."""
        return self._jacobian(networks, *check_points(networks, states, inputs))

    @abstractmethod
    def _jacobian(self, networks, states, inputs) -> tuple[np.ndarray, np.ndarray]: ...

    # -------------------------------------------------------------------------------------------------- estimates

    @abstractmethod
    def warm_up(self, cell: str, activation: str) -> None:
        """Compile a kind, or read its machine code from the cache, so far as that does not depend on sizes."""

    @abstractmethod
    def seconds_per_iteration(
        self, cell: str, activation: str, n: int, task, batch: int = 64, noisy: bool = False
    ) -> float:
        """Estimated time of one training iteration of one network on one thread; `UsageError` for what is not done.

        noisy : whether units have noise
        """

    @abstractmethod
    def workspace_bytes(self, cell: str, n: int, task, batch: int = 64) -> int:
        """Memory of the computer that a network in flight takes beyond its state; as many are in flight as threads."""
