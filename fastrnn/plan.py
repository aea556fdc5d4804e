"""What a training run will take, said before it starts: networks, parameters, time, memory, disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from math import prod

from .cells import parameter_shapes
from .errors import RunError
from .groups import CURVE_POINTS
from .optimizer import ADAM
from .progress import counted

WAVE_NETWORKS = 256  # groups are trained together until there are so many networks ...
WAVE_BYTES = 1 << 30  # ... or their state takes so much memory
COMPILED = 200 << 20  # compiler and libraries in memory
VALUE = 4  # bytes of a float32


@dataclass(frozen=True)
class Work:
    """What is left to do of one group.

    name, cell, activation, n : of the group; networks : how many are to be trained; iterations : of all of them
    together; planned : iterations of one; parameters : of one; kept : numbers in memory for each of these; seconds :
    estimate for one iteration of one network on one thread
    """

    name: str
    cell: str
    activation: str
    n: int
    networks: int
    iterations: int
    planned: int
    parameters: int
    kept: int
    seconds: float

    @property
    def state_bytes(self) -> int:
        """Weights, what the optimizer keeps of each, and losses in memory, and in a checkpoint."""
        return self.networks * VALUE * (self.kept * self.parameters + self.planned)

    @property
    def file_bytes(self) -> int:
        """Weights and loss curves in the group's file."""
        return self.networks * VALUE * (self.parameters + min(self.planned, CURVE_POINTS))


def work_of(group: str, rows: list[dict], iterations: int, spec, engine) -> Work:
    """`Work` for some rows of a group that have `iterations` to go, all together."""
    task, row = spec.resolved_task, rows[0]
    shapes = parameter_shapes(row["cell"], row["n"], task.D, task.K)
    return Work(
        group,
        row["cell"],
        row["activation"],
        row["n"],
        networks=len(rows),
        iterations=iterations,
        planned=spec.iterations,
        parameters=sum(prod(shape) for shape in shapes.values()),
        kept=3 if spec.optimizer == ADAM else 2,
        seconds=engine.seconds_per_iteration(
            row["cell"], row["activation"], row["n"], task, spec.batch, spec.noise_of(row["cell"]) > 0
        )
        + task.drawing_seconds(spec.batch),
    )


@dataclass(frozen=True)
class Plan:
    """Work cut into waves of groups that are trained together, and what it will take.

    seconds : estimated time, compilation apart; memory, disk : bytes, of memory rather too many; state : bytes of
        weights, what the optimizer keeps of them, and losses that are in memory together, as they must be
    """

    waves: tuple[tuple[Work, ...], ...]
    seconds: float
    memory: int
    disk: int
    state: int

    @property
    def work(self) -> list[Work]:
        return [work for wave in self.waves for work in wave]

    def __str__(self) -> str:
        networks = sum(work.networks for work in self.work)
        parameters = sum(work.networks * work.parameters for work in self.work)
        return (
            f"{counted(networks, 'network')} in {counted(len(self.work), 'group')}, "
            f"{counted(parameters, 'parameter')}; estimated time "
            f"{duration(self.seconds)}, memory {size(self.memory)}, disk {size(self.disk)}"
        )

    def check_disk(self, folder) -> None:
        """`RunError` where there is too little space for the run's files."""
        free = shutil.disk_usage(folder).free
        if free < self.disk:
            raise RunError(
                f"the run needs about {size(self.disk)} of disk, but {size(free)} are free at {str(folder)!r}; "
                "free some space or choose another folder"
            )

    def check_memory(self) -> str:
        """`RunError` where the machine can't hold what must be in its memory; a warning where it may be too little.

        An error for more than the estimate would refuse runs that fit: it counts copies that are not always there.
        """
        there = physical_memory()
        if there is None or self.memory <= there:
            return ""
        fewer = "take smaller sizes, fewer seeds, or a part of the population"
        if self.state > there:
            raise RunError(
                f"the run needs {size(self.state)} of memory for weights, optimizer and losses alone, but the machine "
                f"has {size(there)}; {fewer}"
            )
        return f"the run may need {size(self.memory)} of memory and the machine has {size(there)}: if it fails, {fewer}"


def physical_memory() -> int | None:
    """Bytes of the machine's memory, where the system says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def make_plan(work: list[Work], spec, engine) -> Plan:
    """Waves and estimates for what is left to do."""
    waves = _waves(work)
    seconds = sum(w.iterations * w.seconds for w in work) / engine.threads
    state = [sum(w.state_bytes for w in wave) for wave in waves]
    # while a file is written there are its arrays, its bytes and a copy of them
    copies = 3 * max((w.state_bytes for w in work), default=0)
    flight = max((engine.workspace_bytes(w.cell, w.n, spec.resolved_task, spec.batch) for w in work), default=0)
    memory = COMPILED + max(state, default=0) + copies + engine.threads * flight
    # checkpoints of a wave, one of them twice while it is replaced, and the files of all groups
    largest = max((w.state_bytes for w in work), default=0)
    disk = max(state, default=0) + largest + sum(w.file_bytes for w in work) + (1 << 16)
    return Plan(tuple(tuple(wave) for wave in waves), seconds, memory, disk, max(state, default=0))


def _waves(work: list[Work]) -> list[list[Work]]:
    waves: list[list[Work]] = []
    for w in work:
        last = waves[-1] if waves else []
        networks, state = sum(v.networks for v in last), sum(v.state_bytes for v in last)
        if not last or networks >= WAVE_NETWORKS or state + w.state_bytes > WAVE_BYTES:
            waves.append([])
        waves[-1].append(w)
    return waves


def duration(seconds: float) -> str:
    """Time in words.

    >>> duration(42), duration(150), duration(5400), duration(200_000)
    ('42 s', '2 min 30 s', '1 h 30 min', '2 d 8 h')
    """
    seconds = round(seconds)
    for unit, smaller, name, rest in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if seconds >= unit:
            whole, part = divmod(round(seconds / smaller), unit // smaller)
            return f"{whole} {name} {part} {rest}" if part else f"{whole} {name}"
    return f"{max(1, seconds)} s"


def size(count: int) -> str:
    """Bytes in words.

    >>> size(812), size(3 * 1024**2), size(5 * 10**9)
    ('1 kB', '3.1 MB', '5.0 GB')
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{max(1, round(count / 1e3))} kB"
