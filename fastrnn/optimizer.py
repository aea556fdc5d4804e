"""Gradient descent with exponential decay, clip by global norm and L2, each network its own values; by two methods.

lr = learning_rate * decay ** (iteration / decay_steps)
g  = dloss + 2 l2 p;  g *= min(1, clip / |g|)

sgd   v = momentum v + g;  p -= lr v
adam  v = momentum v + (1 - momentum) g;  s = SQUARES_DECAY s + (1 - SQUARES_DECAY) g^2
      p -= lr v / (1 - momentum^t) / (sqrt(s / (1 - SQUARES_DECAY^t)) + EPSILON),  t = iteration + 1

Adam is that of Kingma and Ba (2015), with their constants.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .cells import get_cell
from .errors import Status, UsageError
from .shapes import network_index
from .values import check_name

METHODS = SGD, ADAM = ("sgd", "adam")
SQUARES_DECAY, EPSILON = 0.999, 1e-8

# name -> (test, words)
RANGES = {
    "learning_rate": (lambda v: v > 0, "greater than 0"),
    "decay": (lambda v: (v > 0) & (v <= 1), "greater than 0 and at most 1"),
    "momentum": (lambda v: (v >= 0) & (v <= 1), "from 0 to 1"),
    "clip": (lambda v: v > 0, "greater than 0 (inf for no clipping)"),
    "l2": (lambda v: (v >= 0) & np.isfinite(v), "0 or greater"),
    "noise": (lambda v: (v >= 0) & np.isfinite(v), "0 or greater"),
}


def check_hyperparameter(name: str, value) -> np.ndarray:
    """`value` as float64 if every entry is allowed; `UsageError` otherwise."""
    value = np.asarray(value, np.float64)
    test, words = RANGES[name]
    finite = np.isfinite(value) | (name == "clip")
    ok = test(value) & finite
    if not np.all(ok):
        words = words if np.all(finite) else f"finite and {words}"
        raise UsageError(f"{name} must be {words}; got {value[~ok].flat[0] if value.ndim else float(value)!r}")
    return value


def check_averaged(momentum, where: str = "") -> None:
    """`UsageError` for a momentum with which Adam's mean of gradients would never move."""
    if np.any(np.asarray(momentum) >= 1):
        raise UsageError(f"{where}momentum must be below 1 with adam, such as 0.9; got 1.0")


@dataclass
class Optimizer:
    """Hyperparameters and state of N networks; indexing gives those of a sub-stack.

    learning_rate, decay, momentum, clip, l2 : float64 (N,)
    noise : float64 (N,), of the units of leaky cells, see `cells.leaky`; 0 for all others
    decay_steps : int64 (N,), planned iterations
    velocity : float32 (N, M)
    squares : float32 (N, M), of Adam; (N, 0) of SGD, which has none
    iteration : int64 (N,), done so far
    status : int8 (N,), see `errors.Status`
    """

    learning_rate: np.ndarray
    decay: np.ndarray
    momentum: np.ndarray
    clip: np.ndarray
    l2: np.ndarray
    noise: np.ndarray
    decay_steps: np.ndarray
    velocity: np.ndarray
    squares: np.ndarray
    iteration: np.ndarray
    status: np.ndarray

    @classmethod
    def start(
        cls, networks, *, learning_rate, decay=1.0, momentum=0.9, clip=1.0, l2=0.0, noise=0.0, iterations, method=SGD
    ) -> Optimizer:
        """The state before the first iteration; every value a number or (N,), `method` one of `METHODS`."""
        check_name("method", method, METHODS)
        N = len(networks)
        given = {"learning_rate": learning_rate, "decay": decay, "momentum": momentum, "clip": clip}
        given |= {"l2": l2, "noise": noise}
        values = {name: np.broadcast_to(check_hyperparameter(name, value), N).copy() for name, value in given.items()}
        if not get_cell(networks.cell).leaks and values["noise"].any():
            raise UsageError(f"noise is for leaky cells; these are {networks.cell}: leave it at 0")
        if method == ADAM:
            check_averaged(values["momentum"])
        steps = np.broadcast_to(np.asarray(iterations), N).astype(np.int64)
        if np.any(steps < 0):
            raise UsageError(f"iterations must be 0 or more; got {int(steps.min())}")
        status = np.where(steps == 0, Status.UNTRAINED, Status.TRAINING).astype(np.int8)
        return cls(
            **values,
            decay_steps=steps,
            velocity=np.zeros((N, networks.count), np.float32),
            squares=np.zeros((N, networks.count if method == ADAM else 0), np.float32),
            iteration=np.zeros(N, np.int64),
            status=status,
        )

    @property
    def method(self) -> str:
        """One of `METHODS`."""
        return ADAM if self.squares.shape[1] else SGD

    def __len__(self) -> int:
        return len(self.learning_rate)

    def __getitem__(self, index) -> Optimizer:
        index = network_index(index, len(self))
        return Optimizer(**{name: array[index] for name, array in self.to_arrays().items()})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by field name, as stored in a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Optimizer:
        """Inverse of `to_arrays`; checkpoints of before there was noise, or Adam, had none."""
        N = len(arrays["learning_rate"])
        arrays = {"noise": np.zeros(N), "squares": np.zeros((N, 0), np.float32)} | arrays
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    @classmethod
    def concatenate(cls, parts) -> Optimizer:
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})
