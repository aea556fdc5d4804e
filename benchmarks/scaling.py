"""How time grows with the numbers of networks N, units n, trials B and steps T, one at a time."""

from __future__ import annotations

import numpy as np

from fastrnn.tasks import get_task

from . import ours
from .rounds import interleave, significant, spread
from .section import Bench, Section, Step
from .work import Work

PREFERRED = ("vanilla", "lstm")
TASK, BASE_SIZE = "flipflop", 64  # what is not varied is as in this task, with so many units
AT_ONCE = 8  # iterations a call of the engine for every N: a call costs each network the same, however many there are
NAMES = {"N": "networks N", "n": "units n", "B": "trials B", "T": "steps T"}


def steps(bench: Bench) -> list[Step]:
    """One step a cell and quantity."""
    s = bench.settings
    cells = [cell for cell in PREFERRED if cell in s.cells] or s.cells[:1]
    made = []
    for cell in cells:
        for axis, values in s.scaling:
            guess = len(values) * (s.rounds + 2) * max(s.turn_seconds, 0.1)
            made.append(Step(f"growth with {axis}, {cell}", guess, _measure(bench, cell, axis, values)))
    return made


def _measure(bench: Bench, cell: str, axis: str, values: tuple[int, ...]):
    return lambda: measure_axis(bench, cell, axis, values)


def measure_axis(bench: Bench, cell: str, axis: str, values: tuple[int, ...]) -> dict:
    """Rates for all values of one quantity, in turns."""
    s = bench.settings
    contenders, points = {}, []
    for value in values:
        value = value * bench.engine.threads if axis == "N" else value
        task = get_task(TASK, steps=value) if axis == "T" else get_task(TASK)
        n, batch = (value if axis == "n" else BASE_SIZE), (value if axis == "B" else s.batch)
        work = Work(task, cell, s.activations[0], n, batch)
        networks = (value, AT_ONCE) if axis == "N" else ()
        mine, N, _ = ours.contender(bench.engine, work, s.turn_seconds, *networks)
        contenders[str(value)] = mine
        points.append({"value": value, "networks": N, "flops": work.flops})
    rates = interleave(contenders, s.rounds)
    for point in points:
        speeds = rates[str(point["value"])]
        point["gflops"] = spread(rate / 1e9 for rate in speeds)
        point["milliseconds"] = spread(1e3 * point["flops"] / rate for rate in speeds)
    growth = {"axis": axis, "cell": cell, "activation": s.activations[0], "task": TASK, "points": points}
    growth |= {name: value for name, value in (("n", BASE_SIZE), ("B", s.batch)) if name != axis}
    if axis == "N":
        growth["deviation"] = deviation([point["milliseconds"]["median"] for point in points])
    return growth


def deviation(per_network: list[float]) -> float:
    """How far a network's share of the time strays from its median over all N: 0 where time is linear in N.

    >>> deviation([1.0, 1.0, 1.1])
    0.1
    """
    values = np.asarray(per_network)
    return significant(float(np.max(np.abs(values / np.median(values) - 1))), 3)


def gather(bench: Bench, growths: list[dict]) -> dict:
    """All of them in a list."""
    return {"growth": growths}


def lines(result: dict) -> list[str]:
    """A line a value."""
    text = ["How time grows: an iteration of one network, all threads at work"]
    for growth in result["growth"]:
        text += ["", f"{growth['cell']}-{growth['activation']} on {growth['task']}, by {NAMES[growth['axis']]}"]
        for point in growth["points"]:
            ms = point["milliseconds"]
            text.append(
                f"{point['value']:>6}{ms['median']:>12.4g} ms  ({ms['low']:.4g} to {ms['high']:.4g})".ljust(52)
                + f"{point['gflops']['median']:>6.0f} GFLOP/s"
            )
        if "deviation" in growth:
            text.append(f"linear in N within {100 * growth['deviation']:.1f}%")
    return text


SECTION = Section("scaling", steps, gather, lines)
