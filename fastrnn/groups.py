"""What a run keeps of one group: its networks while they train, and its networks with their results when done.

A group is the networks of one cell, activation and size. A network is found by its id, wherever in a file it stands,
so that adding networks to a group and going on after a stop are the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .counters import network_key
from .errors import RunError, Status
from .hyperparameters import KEYS, VALUES
from .networks import Networks
from .optimizer import Optimizer
from .storage import load_arrays, save_arrays

CURVE_POINTS = 500  # windows of a loss curve, at most
RECENT = 100  # iterations whose mean is the training loss
OPTIMIZER = "optimizer."  # before the names of the optimizer's arrays in a checkpoint


@dataclass
class TrainingGroup:
    """Networks in training, or about to be.

    ids : names of the N networks
    losses : float32 (N, iterations), the data term at each iteration; NaN where none was run
    engines : engine and kind of processor of everything done so far, in order
    goal : iteration at which the networks are looked at next, default the last
    """

    ids: list[str]
    networks: Networks
    optimizer: Optimizer
    losses: np.ndarray
    engines: tuple[str, ...] = ()
    goal: int | None = None

    def __post_init__(self):
        if self.goal is None:
            self.goal = self.losses.shape[1]

    @classmethod
    def start(cls, spec, rows: list[dict]) -> TrainingGroup:
        """Untrained networks for some rows of `spec`, all of one group."""
        task, row = spec.resolved_task, rows[0]
        keys = keys_of(spec, rows)
        kind, k = (row["cell"], row["activation"], row["n"], task.D, task.K), spec.gate_bias_of(row["cell"])
        networks = Networks.initialize(*kind, keys, k)
        values = {name: np.array([row[name] for row in rows]) for name in (*VALUES, "l2")}
        noise = spec.noise_of(row["cell"])
        optimizer = Optimizer.start(networks, **values, noise=noise, iterations=spec.iterations, method=spec.optimizer)
        losses = np.full((len(rows), spec.iterations), np.nan, np.float32)
        return cls([row["id"] for row in rows], networks, optimizer, losses)

    @property
    def in_training(self) -> bool:
        """Whether an iteration is still to be done before the goal."""
        return bool(self.iterations_left().any())

    def iterations_left(self) -> np.ndarray:
        """Iterations of each network to the goal, int64 (N,)."""
        left = np.maximum(self.goal - self.optimizer.iteration, 0)
        return np.where(self.optimizer.status == Status.TRAINING, left, 0)

    def stretches(self) -> list[tuple[int, int]]:
        """First and last but one of each stretch of networks that stand at the same iteration."""
        edges = np.flatnonzero(np.diff(self.optimizer.iteration)) + 1
        return list(pairwise([0, *edges.tolist(), len(self.ids)]))

    def record(self, part: slice, before: np.ndarray, losses: np.ndarray) -> None:
        """Keep the losses (N, iterations) that a round gave to a part that stood at iteration `before` (N,)."""
        for i, start, row in zip(range(*part.indices(len(self.ids))), before, losses, strict=True):
            done = int(self.optimizer.iteration[i] - start)
            self.losses[i, start : start + done] = row[:done]

    def training_loss(self) -> np.ndarray:
        """Mean over the last iterations done, float64 (N,); NaN before the first."""
        recent = [
            row[max(0, done - RECENT) : done] for row, done in zip(self.losses, self.optimizer.iteration, strict=True)
        ]
        return np.array([row.mean(dtype=np.float64) if len(row) else np.nan for row in recent])

    def pick(self, ids) -> TrainingGroup:
        """The networks of those names, in that order, as copies."""
        index = _positions(self.ids, ids)
        return replace(
            self,
            ids=list(ids),
            networks=self.networks[index],
            optimizer=self.optimizer[index],
            losses=self.losses[index],
        )

    def join(self, other: TrainingGroup) -> TrainingGroup:
        """These networks and further ones of the same group."""
        return TrainingGroup(
            self.ids + other.ids,
            Networks.concatenate([self.networks, other.networks]),
            Optimizer.concatenate([self.optimizer, other.optimizer]),
            np.concatenate([self.losses, other.losses]),
            tuple(dict.fromkeys(self.engines + other.engines)),
        )

    def save(self, path) -> None:
        """Write a checkpoint."""
        arrays, metadata = self.networks.to_arrays_and_metadata()
        arrays |= {OPTIMIZER + name: array for name, array in self.optimizer.to_arrays().items()}
        save_arrays(path, arrays | {"losses": self.losses}, metadata | {"ids": self.ids, "engines": list(self.engines)})

    @classmethod
    def load(cls, path) -> TrainingGroup:
        """Read a checkpoint; `RunError` where it is damaged."""
        arrays, metadata = load_arrays(path)
        networks = Networks.from_arrays_and_metadata(arrays, metadata)
        try:
            state = {name.removeprefix(OPTIMIZER): arrays[name] for name in arrays if name.startswith(OPTIMIZER)}
            optimizer = Optimizer.from_arrays(state)
            return cls(metadata["ids"], networks, optimizer, arrays["losses"], tuple(metadata["engines"]))
        except KeyError as missing:
            raise RunError(f"{str(path)!r} is not a checkpoint: {missing} is missing; remove it") from None


@dataclass
class FinishedGroup:
    """Networks whose training is over, with what came of it.

    ids : names of the N networks
    status : int8 (N,), see `errors.Status`
    iterations : int64 (N,), done
    training_loss, validation_loss : float64 (N,); NaN training loss where no iteration was done
    loss_curve : float32 (N, R), mean training loss in R windows of equal length; NaN where none was run
    loss_curve_iteration : int64 (R,), iterations done at the end of each window
    engines : engine and kind of processor of everything done, in order
    """

    ids: list[str]
    networks: Networks
    status: np.ndarray
    iterations: np.ndarray
    training_loss: np.ndarray
    validation_loss: np.ndarray
    loss_curve: np.ndarray
    loss_curve_iteration: np.ndarray
    engines: tuple[str, ...] = ()

    ARRAYS = ("status", "iterations", "training_loss", "validation_loss", "loss_curve")

    @classmethod
    def of(cls, group: TrainingGroup, validation_loss: np.ndarray) -> FinishedGroup:
        """What `group` came to."""
        curve, iteration = loss_curve(group.losses)
        return cls(
            group.ids,
            group.networks,
            group.optimizer.status,
            group.optimizer.iteration,
            group.training_loss(),
            validation_loss,
            curve,
            iteration,
            group.engines,
        )

    def pick(self, ids) -> FinishedGroup:
        """The networks of those names, in that order, as copies."""
        index = _positions(self.ids, ids)
        arrays = {name: getattr(self, name)[index] for name in self.ARRAYS}
        return replace(self, ids=list(ids), networks=self.networks[index], **arrays)

    def join(self, *others: FinishedGroup) -> FinishedGroup:
        """These networks and further ones of the same group."""
        parts = (self, *others)
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in self.ARRAYS}
        ids = [name for part in parts for name in part.ids]
        networks = Networks.concatenate([part.networks for part in parts])
        engines = tuple(dict.fromkeys(engine for part in parts for engine in part.engines))
        return replace(self, ids=ids, networks=networks, engines=engines, **arrays)

    def save(self, path) -> None:
        """Write the group's file."""
        arrays, metadata = self.networks.to_arrays_and_metadata()
        arrays |= {name: getattr(self, name) for name in (*self.ARRAYS, "loss_curve_iteration")}
        save_arrays(path, arrays, metadata | {"ids": self.ids, "engines": list(self.engines)})

    @classmethod
    def load(cls, path) -> FinishedGroup:
        """Read a group's file; `RunError` where it is damaged."""
        arrays, metadata = load_arrays(path)
        networks = Networks.from_arrays_and_metadata(arrays, metadata)
        try:
            named = {name: arrays[name] for name in (*cls.ARRAYS, "loss_curve_iteration")}
            return cls(metadata["ids"], networks, **named, engines=tuple(metadata["engines"]))
        except KeyError as missing:
            raise RunError(f"{str(path)!r} is not a group of a run: {missing} is missing; remove it") from None


def keys_of(spec, rows: list[dict]) -> list[int]:
    """What the networks of some rows draw their weights and trials from."""
    return [network_key(spec.seed, spec.resolved_task.name, *(row[name] for name in KEYS)) for row in rows]


def check_group(path, state, spec, group: str):
    """A group's networks, read from `path`, if they are those of a population; `RunError` otherwise."""
    rows = {row["id"]: row for row in spec.groups[group]}
    ours = set(state.ids) <= set(rows) and list(state.networks.keys) == keys_of(spec, [rows[i] for i in state.ids])
    if isinstance(state, TrainingGroup):
        ours = ours and state.optimizer.method == spec.optimizer
    if not ours:
        raise RunError(f"{str(path)!r} holds networks of another population; remove it to train them again")
    return state


def loss_curve(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of losses (N, iterations) in at most `CURVE_POINTS` windows, and the iterations done at their ends.

    >>> loss_curve(np.array([[4.0, 2.0, np.nan]], np.float32))
    (array([[ 4.,  2., nan]], dtype=float32), array([1, 2, 3]))
    """
    N, iterations = losses.shape
    points = min(CURVE_POINTS, iterations)
    edges = np.round(np.linspace(0, iterations, points + 1)).astype(np.int64)
    curve = np.full((N, points), np.nan)
    if points:
        run = np.isfinite(losses)
        total = np.add.reduceat(np.where(run, losses, 0), edges[:-1], axis=1, dtype=np.float64)
        count = np.add.reduceat(run, edges[:-1], axis=1, dtype=np.int64)
        np.divide(total, count, out=curve, where=count > 0)
    return curve.astype(np.float32), edges[1:]


def _positions(ids: list[str], wanted) -> np.ndarray:
    place = {name: i for i, name in enumerate(ids)}
    return np.array([place[name] for name in wanted], np.int64)
