"""What a benchmark measures, validated once; the two presets."""

from __future__ import annotations

from dataclasses import dataclass

from fastrnn.cells import ACTIVATIONS, CELLS, PAPER_CELLS
from fastrnn.errors import UsageError
from fastrnn.tasks import TASKS
from fastrnn.values import check_name, check_sizes


@dataclass(frozen=True)
class Settings:
    """Everything that can be chosen; the defaults are those of a full run.

    Parameters
    ----------
    tasks, cells, activations, sizes : kinds of networks to train
    batch : trials an iteration, B
    threads : of the engine and of every peer; default all processors this process may use
    peers : whether to time the other libraries that are installed
    peer_tasks, peer_cells, peer_activations, peer_sizes : kinds for which the peers are timed; None: all of the above
    peer_networks : numbers of networks to try for peers that train many at once; the fastest is timed
    rounds : how often each contender has its turn
    turn_seconds : length of a turn, at least one iteration
    products : how many matrix products the peak is the best of, for each kind, and how many turns the limit
    scaling : values of N, n, B and T to time; N in multiples of the threads
    compared : numbers of networks whose responses are compared, all pairs of them; none: not timed
    starts : how often each start-up is timed
    cold : whether to time a start with nothing compiled
    memory : whether to measure the memory of a network in flight
    """

    tasks: tuple[str, ...] = ("flipflop", "cdi", "sine")
    cells: tuple[str, ...] = PAPER_CELLS
    activations: tuple[str, ...] = ACTIVATIONS
    sizes: tuple[int, ...] = (64, 128, 256)
    batch: int = 64
    threads: int | None = None
    peers: bool = True
    peer_tasks: tuple[str, ...] | None = ("flipflop",)
    peer_cells: tuple[str, ...] | None = None
    peer_activations: tuple[str, ...] | None = ("tanh",)
    peer_sizes: tuple[int, ...] | None = None
    peer_networks: tuple[int, ...] = (1, 2, 4, 16, 64)
    rounds: int = 5
    turn_seconds: float = 0.3
    products: int = 8
    scaling: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("N", (1, 2, 4, 8, 16, 32, 64, 128)),
        ("n", (16, 32, 50, 64, 100, 128, 192, 256, 384, 512)),
        ("B", (1, 4, 16, 32, 64, 100, 128, 256)),
        ("T", (1, 10, 30, 100, 300, 1000)),
    )
    compared: tuple[int, ...] = (90, 180, 360)
    starts: int = 5
    cold: bool = True
    memory: bool = True

    def __post_init__(self):
        for what, names, allowed in (
            ("task", self.tasks, tuple(TASKS)),
            ("cell", self.cells, tuple(CELLS)),
            ("activation", self.activations, ACTIVATIONS),
        ):
            for name in names:
                check_name(what, name, allowed)
        for name in ("tasks", "cells", "activations", "sizes"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UsageError(f"{name} must name at least one, each once; they are {list(values)!r}")
        sizes = [
            ("sizes", self.sizes),
            ("networks of a peer", self.peer_networks),
            ("networks compared", self.compared),
        ]
        for name, values in (*sizes, *self.scaling):
            for value in values:
                check_sizes(**{name: value})
        check_sizes(batch=self.batch, rounds=self.rounds, products=self.products, starts=self.starts)
        if self.threads is not None:
            check_sizes(threads=self.threads)
        if not self.turn_seconds > 0:
            raise UsageError(f"turn_seconds must be greater than 0; it is {self.turn_seconds!r}")

    def times_peers(self, task: str, cell: str, activation: str, n: int) -> bool:
        """Whether the peers are timed on this kind."""
        chosen = (
            (task, self.peer_tasks),
            (cell, self.peer_cells),
            (activation, self.peer_activations),
            (n, self.peer_sizes),
        )
        return self.peers and all(allowed is None or value in allowed for value, allowed in chosen)


def choose(quickly: bool, **given) -> Settings:
    """A full or a quick run with those settings changed that are given (not None); lists will do for tuples.

    Peers are timed on the cells and sizes that are given, and on the first of the tasks.
    """
    changes = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None}
    compared = {}  # of the kinds that someone chose; of all of them where no one did, those of the preset
    if "tasks" in changes:
        compared["peer_tasks"] = changes["tasks"][:1]
    compared |= {f"peer_{name}": None for name in ("cells", "sizes") if name in changes}
    changes = compared | changes
    return quick(**changes) if quickly else Settings(**changes)


def quick(**changes) -> Settings:
    """Under a minute on two free cores: flip-flop only, short turns, peers on two cells with n = 64, growth with N."""
    return Settings(
        **{
            "tasks": ("flipflop",),
            "peer_cells": ("vanilla", "lstm"),
            "peer_sizes": (64,),
            "peer_networks": (8,),
            "rounds": 3,
            "turn_seconds": 0.05,
            "products": 2,
            "scaling": (("N", (1, 4)),),
            "compared": (),
            "starts": 1,
            "cold": False,
            "memory": False,
        }
        | changes
    )
