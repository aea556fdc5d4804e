"""Memory of a network in flight: what the system says a process gained, against the engine's formula."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastrnn.plan import size
from fastrnn.tasks import get_task

from .children import run_python
from .rounds import significant
from .section import Bench, Section, Step
from .work import Work

STATUS = Path("/proc/self/status")


def steps(bench: Bench) -> list[Step]:
    """One process a kind: every cell at the largest size, and all tasks with the last of them."""
    s = bench.settings
    n = max(s.sizes)
    kinds = [(s.tasks[0], cell, n) for cell in s.cells] + [(task, s.cells[-1], n) for task in s.tasks[1:]]
    if not s.memory or not restart_peak():
        return []
    return [Step(f"memory, {task} {cell}-{n}", 2.0, _measure(bench, task, cell, n)) for task, cell, n in kinds]


def _measure(bench: Bench, task: str, cell: str, n: int):
    def measure():
        s = bench.settings
        asked = {"task": task, "cell": cell, "activation": s.activations[0], "n": n, "batch": s.batch}
        asked["threads"] = bench.engine.threads
        stated = bench.engine.workspace_bytes(cell, n, get_task(task), s.batch)
        return asked | {"stated": stated} | json.loads(run_python("-m", __name__, json.dumps(asked)))

    return measure


def gained(asked: dict) -> int:
    """Bytes by which this process grew at most, for each network, while as many as there are threads were trained."""
    from fastrnn import engines
    from fastrnn.engines.cpu.layout import make_layout, packing

    from .ours import Ours

    threads = asked["threads"]
    # everything is compiled, loaded and drawn before the measurement starts, by another engine with small networks
    small = Work(get_task(asked["task"], steps=2), asked["cell"], asked["activation"], 16, 8)
    Ours(engines.get("cpu", threads), small, threads)(1)
    work = Work(get_task(asked["task"]), asked["cell"], asked["activation"], asked["n"], asked["batch"])
    task = work.task
    packing(work.cell, make_layout(work.cell, work.n, task.D, task.K, task.T, work.batch))  # common to all networks
    ours = Ours(engines.get("cpu", threads), work, threads)
    before = resident("VmRSS")
    restart_peak()
    ours(1)
    return round((resident("VmHWM") - before) / threads)


def restart_peak() -> bool:
    """Have this process's peak counted from here on; False where the system does not tell it."""
    try:
        (STATUS.parent / "clear_refs").write_text("5")
        return resident("VmHWM") > 0
    except (OSError, ValueError):
        return False


def resident(name: str) -> int:
    """A line of this process's status, in bytes."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])


def gather(bench: Bench, kinds: list[dict]) -> dict:
    """The kinds, each with measured over stated bytes."""
    return {"kinds": [kind | {"ratio": significant(kind["measured"] / kind["stated"], 4)} for kind in kinds]}


def lines(result: dict) -> list[str]:
    """A line a kind."""
    if not result["kinds"]:
        return ["Memory: not measured (a quick run, or a system that tells no process's peak)"]
    text = ["Memory of one network in flight: measured, as stated by the engine, ratio"]
    for kind in result["kinds"]:
        name = f"{kind['task']} {kind['cell']}-{kind['activation']}"
        text.append(
            f"{name:<24}{kind['n']:>4}{size(kind['measured']):>12}{size(kind['stated']):>12}{kind['ratio']:>8.2f}"
        )
    return text


SECTION = Section("memory", steps, gather, lines)

if __name__ == "__main__":
    print(json.dumps({"measured": gained(json.loads(sys.argv[1]))}))
