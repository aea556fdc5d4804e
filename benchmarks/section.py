"""A section of the benchmark: the steps it takes, what they add up to, and how that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastrnn.engines.cpu.engine import CPUEngine

from .limit import MultiplyAdds
from .peak import MatrixProduct
from .peers import Peer
from .settings import Settings


@dataclass(frozen=True)
class Bench:
    """What all sections share: the settings, our engine, the machine's matrix product and its limit, and the peers.

    bf16x3 : our engine in bf16x3, None where the processor has no matrix unit
    """

    settings: Settings
    engine: CPUEngine
    product: MatrixProduct
    limit: MultiplyAdds
    peers: tuple[Peer, ...]
    bf16x3: CPUEngine | None = None


@dataclass(frozen=True)
class Step:
    """One measurement: its name, roughly how many seconds it takes, and the function that makes it."""

    label: str
    seconds: float
    measure: Callable[[], dict]


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


@dataclass(frozen=True)
class Section:
    """Three functions and a name.

    name : its key in the results
    steps : the measurements for a `Bench`
    gather : what `steps` gave, in order, to the section's result (plain data, as JSON has it)
    lines : the result in words and tables for a terminal
    """

    name: str
    steps: Callable[[Bench], list[Step]]
    gather: Callable[[Bench, list[dict]], dict]
    lines: Callable[[dict], list[str]]
