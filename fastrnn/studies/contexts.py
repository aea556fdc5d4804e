"""Slow points of each context of the cdi task, searched from where networks are in that context."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from ..analysis.fixed_points import find_fixed_points
from ..analysis.points import FixedPoints
from ..analysis.responses import probe_inputs
from ..analysis.starts import spread_of
from ..engines import get as get_engine
from ..networks import Networks
from .probes import held_inputs

SPEED = 1e-3  # of a slow point, in spreads: in the T = 30 steps of a trial it moves by 3% of the spread
STARTS = 128  # visited states in each context
NOISE = 0.1  # on them, in spreads of the whole state
SEED = 0  # of their choice and the noise
PER_POINT = ("network", "condition", "xstar", "readout", "qstar", "status", "eigenvalues", "n_unstable",
             "index_sign", "conditioning", "outlier", "hits")  # fmt: skip
PER_SEARCH = ("index_sum", "search_status", "seen_once", "unseen_mass", "starts")


def context_points(task, networks: Networks) -> FixedPoints:
    """Slow points in each context, from states visited in it on the probe trials, with some noise.

    States of the other context, and far from any trajectory, are no starts: in a gated network, most of whose modes
    are slow, much is slow there that no trial leads to.
    """
    inputs = probe_inputs(task)
    states, _ = get_engine("cpu").run(networks, inputs)  # (N, B, T, S)
    spread = np.array([spread_of(visited.reshape(-1, networks.S).astype(np.float64)) for visited in states])
    parts = []
    for c, held in enumerate(held_inputs(task)):
        visited = states[:, inputs[:, 0, c] == 1].reshape(len(networks), -1, networks.S).astype(np.float64)
        rng = np.random.default_rng([SEED, c])
        starts = visited[:, rng.integers(visited.shape[1], size=STARTS)]
        starts += NOISE * (spread / np.sqrt(networks.S))[:, None, None] * rng.normal(size=starts.shape[1:])
        parts.append(find_fixed_points(networks, held, starts, task=task, method="slow_points", speed=SPEED))
    return join_conditions(parts)


def join_conditions(parts: list[FixedPoints]) -> FixedPoints:
    """Searches of the same networks, each under its own inputs, as one search under all of them."""
    first_point = np.cumsum([0, *map(len, parts)])[:-1]
    first_condition = np.cumsum([0, *(len(part.inputs) for part in parts)])[:-1]
    columns: dict[str, list] = {field.name: [] for field in fields(FixedPoints)}
    for part, point, condition in zip(parts, first_point, first_condition, strict=True):
        for name, column in columns.items():
            array = getattr(part, name)
            if name in ("condition", "candidate_condition"):
                array = array + condition
            elif name == "candidate_point":
                array = np.where(array < 0, array, array + point)
            column.append(array)
    made = {name: np.concatenate(column, axis=1 if name in PER_SEARCH else 0) for name, column in columns.items()}
    order = np.lexsort((made["condition"], made["network"]))
    rank = np.append(np.argsort(order), -1)  # where each point goes; nowhere stays nowhere
    made["candidate_point"] = rank[made["candidate_point"]]
    made |= {name: made[name][order] for name in PER_POINT}
    return FixedPoints(**made | {"spread": parts[0].spread})
