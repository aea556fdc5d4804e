"""Where searches start: states on trajectories, and points between them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ..networks import Networks

TRIALS, STEPS, PULSE = 64, 100, 0.05  # of the trajectories of a network without a task
NOISE = 0.3  # on starts, in spreads
ESCAPED = 1e6  # states beyond this length are no sample of what a network does


class Origin(IntEnum):
    """How a start was made."""

    STATE = 0  # a state on a trajectory
    MIDPOINT = 1  # halfway between two such states
    BETWEEN = 2  # anywhere between two such states
    GIVEN = 3  # by the caller
    MEAN = 4  # between points found before: not independent of them


SHARES = ((Origin.STATE, 0.25), (Origin.MIDPOINT, 0.5), (Origin.BETWEEN, 0.25))


def trajectory_inputs(networks: Networks, inputs, task, trials: int, rng) -> np.ndarray:
    """Inputs (B, T, D): the task's probe trials; without a task random pulses of +-1 on the held inputs."""
    if task is not None:
        return task.probe(trials)[0].astype(np.float64)
    pulses = rng.random((trials, STEPS, networks.D)) < PULSE
    signs = rng.choice([-1.0, 1.0], size=pulses.shape)
    return inputs[rng.integers(len(inputs), size=trials), None] + pulses * signs


def random_states(networks: Networks, count: int, rng) -> np.ndarray:
    """States (count, S) of the size that the activation allows: uniform in the cube, or half normal."""
    if networks.activation == "tanh":
        return rng.uniform(-1.0, 1.0, (count, networks.S))
    return np.abs(rng.normal(size=(count, networks.S)))


def trajectory_states(step, h, inputs) -> np.ndarray:
    """States (B T, S) visited from h (B, S) under inputs (B, T, D) by step(h, x), those that escaped left out."""
    visited = np.empty((inputs.shape[1], *h.shape))
    for t in range(inputs.shape[1]):
        h = step(h, inputs[:, t])
        visited[t] = h
    visited = visited.reshape(-1, h.shape[1])
    return visited[np.einsum("mu,mu->m", visited, visited) < ESCAPED**2]


def spread_of(states) -> float:
    """Root mean square distance of states (M, S) to their mean."""
    return float(np.sqrt(((states - states.mean(axis=0)) ** 2).sum(axis=1).mean()))


def draw_starts(states, count: int, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Starts (count, S) and their origins (count,): states, midpoints and points between, with noise.

    Every start has the same chance of each origin, whatever `count`; `noise` is the standard deviation of each unit.
    """
    origins = rng.choice([int(origin) for origin, _ in SHARES], p=[share for _, share in SHARES], size=count)
    weight = np.select([origins == Origin.STATE, origins == Origin.MIDPOINT], [0.0, 0.5], rng.random(count))[:, None]
    a, b = states[rng.integers(len(states), size=(2, count))]
    return a + weight * (b - a) + noise * rng.normal(size=a.shape), origins


def draw_means(points, count: int, rng) -> np.ndarray:
    """Starts (count, S) from points found (P, S): their mean, midpoints of pairs, means of random triples to octets."""
    sizes = rng.choice([2, 2, 2, 3, 4, 6, 8], size=count)
    starts = np.stack([points[rng.integers(len(points), size=size)].mean(axis=0) for size in sizes])
    starts[0] = points.mean(axis=0)
    return starts
