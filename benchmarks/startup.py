"""Start-up, each time in a process of its own: the help text, and the first training iteration."""

from __future__ import annotations

import tempfile

from fastrnn.cells import PAPER_CELLS

from .children import run_python
from .rounds import seconds_of, spread
from .section import Bench, Section, Step

WORDS = {
    "python": "python, nothing imported",
    "help": "fastrnn --help",
    "first_iteration": "first iteration, compiled before",
    "first_iteration_all": "first iteration of four cells, compiled before",
    "first_iteration_cold": "first iteration, nothing compiled",
    "first_iteration_all_cold": "first iteration of four cells, nothing compiled",
}


def steps(bench: Bench) -> list[Step]:
    """One step a start."""
    s = bench.settings
    one, every = (",".join(cells) for cells in (s.cells[:1], PAPER_CELLS))
    commands = {
        "python": ("-c", ""),
        "help": ("-m", "fastrnn", "--help"),
        "first_iteration": ("-m", __name__, one),
        "first_iteration_all": ("-m", __name__, every),
    }
    made = [Step(WORDS[name], s.starts, _measure(name, command, s.starts)) for name, command in commands.items()]
    if s.cold:
        for name, cells, guess in (("first_iteration_cold", one, 8), ("first_iteration_all_cold", every, 15)):
            made.append(Step(WORDS[name], guess, _measure(name, ("-m", __name__, cells), 1, cold=True)))
    return made


def _measure(name: str, command: tuple[str, ...], starts: int, cold: bool = False):
    def measure():
        if not cold:
            run_python(*command)  # files are read and code is compiled before the first start that counts
        return {"name": name, "seconds": spread(_start(command, cold) for _ in range(starts))}

    return measure


def _start(command: tuple[str, ...], cold: bool) -> float:
    """Seconds of one process, with an empty cache of compiled code if `cold`."""
    if not cold:
        return seconds_of(run_python, *command)
    with tempfile.TemporaryDirectory() as folder:
        return seconds_of(lambda: run_python(*command, variables={"FASTRNN_CACHE_DIR": folder}))


def gather(bench: Bench, starts: list[dict]) -> dict:
    """Seconds by name."""
    return {start["name"]: start["seconds"] for start in starts}


def lines(result: dict) -> list[str]:
    """A line a start."""
    text = ["Start-up, the whole process"]
    for name, seconds in result.items():
        text.append(f"{WORDS[name]:<54}{seconds['median']:>6.2f} s  ({seconds['low']:.2f} to {seconds['high']:.2f})")
    return text


def first_iteration(cells: list[str]) -> None:
    """Train one network of each cell for one iteration."""
    from fastrnn import engines
    from fastrnn.tasks import get_task

    from .ours import Ours
    from .work import Work

    engine = engines.get("cpu")
    for cell in cells:
        Ours(engine, Work(get_task("flipflop"), cell, "tanh", 64, 64), 1)(1)


SECTION = Section("startup", steps, gather, lines)

if __name__ == "__main__":
    import sys

    first_iteration(sys.argv[1].split(","))
