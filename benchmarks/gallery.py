"""`docs/figures.md` and its pictures, made from real runs: `python -m benchmarks.gallery RUN [RUN ...]`.

Of each run, which `fastrnn analyze` must have been through: the commands that made it, how its training ended, its
main figures with their captions, and what became of the paper's claims. A task whose run is not given keeps its place
on the page as it is.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

from fastrnn.errors import FastrnnError, UsageError
from fastrnn.figures.paper import Panel, panels
from fastrnn.progress import counted
from fastrnn.spec import OF_LEAKY, PopulationSpec
from fastrnn.storage import atomic_write
from fastrnn.studies.claims import Claims
from fastrnn.studies.kept import Kept, load_analysis

ROOT = Path(__file__).resolve().parent.parent
TITLES = {"flipflop": "Flip-flop", "cdi": "Context-dependent integration", "sine": "Sine"}
SHOWN = {
    "flipflop": ("1b", "1e", "1-counts", "1d", "1f", "dsa-embedding"),
    "cdi": ("3b-slow-points", "3e", "3f", "3c", "4", "dsa-embedding"),
    "sine": ("2b", "2d", "2f", "2c"),
}
LISTS = {"cells": "cells", "activations": "activations", "sizes": "sizes", "l2": "l2", "excluded": "exclude"}
NUMBERS = {"seeds": "seeds", "iterations": "iterations", "batch": "batch", "seed": "seed", "gate_bias": "gate-bias"}
NUMBERS |= {name: name for name in OF_LEAKY}
TOP = """# Figures from real runs

<!-- made by `python -m benchmarks.gallery {runs}` -->

All of them were drawn by `fastrnn analyze`, which puts them, some more, and all of them as SVG, into `figures/` of a
run and into its `report.html`. Numbers such as 1b are those of the paper's figures. What the claims' rules are, and
their numbers kind by kind, stands in the report too.

What became of the paper's statements, each measured with an interval and judged by a rule:

"""


def gallery(runs: list[Kept], page: str = "") -> str:
    """Markdown: how many claims hold, and a section a task; tasks of no run are taken from the `page` there was."""
    counts, sections = _of_page(page)
    counts |= {kept.run.task_name: kept.claims.counts() for kept in runs}
    sections |= {kept.run.task_name: _section(kept) for kept in runs}
    tasks = [task for task in TITLES if task in sections]
    names = " ".join(f"runs/{task}" for task in tasks)
    table = _counts({task: counts[task] for task in tasks})
    return "\n".join([TOP.format(runs=names) + table, *(sections[task] for task in tasks)])


def _of_page(page: str) -> tuple[dict[str, dict], dict[str, str]]:
    """By task, how many statements have each verdict and the whole section, of a page made before."""
    counts, sections = {}, {}
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in parts[0].splitlines() if line.startswith("|")]
    for task, title in TITLES.items():
        for part in parts[1:]:
            if part.startswith(f"## {title}: "):
                (row,) = (row for row in rows if row[0] == task)
                counts[task] = dict(zip(rows[0][2:], map(int, row[2:]), strict=True))
                sections[task] = part.rstrip("\n") + "\n"
    return counts, sections


def chosen(kept: Kept) -> list[tuple[str, Panel]]:
    """Number in the paper, or name, and panel of the figures shown, in their order."""
    there = {panel.paper.get(kept.run.task_name, panel.name): panel for panel in panels(kept)}
    return [(name, there[name]) for name in SHOWN[kept.run.task_name] if name in there]


def image(kept: Kept, number: str) -> str:
    """Name of a figure among those of all runs."""
    return f"{kept.run.task_name}-{number}.png"


def command(settings: dict) -> str:
    """The call of `fastrnn train-population` that asks for the population of a `population.toml`."""
    task = settings["task"]
    usual, words = PopulationSpec.preset("quick", task), [f"fastrnn train-population --task {task}"]
    words += [
        f"--{option} {shlex.quote(','.join(map(str, settings[name])))}"
        for name, option in LISTS.items()
        if tuple(settings[name]) != tuple(getattr(usual, name))
    ]
    numbers = {n: OF_LEAKY.get(n, getattr(usual, n)) for n in NUMBERS}
    words += [f"--{option} {settings[n]}" for n, option in NUMBERS.items() if settings.get(n, numbers[n]) != numbers[n]]
    constants = usual.to_settings()["task_settings"]
    words += [f"--setting {n}={v}" for n, v in settings["task_settings"].items() if v != constants[n]]
    return " ".join(words)


def main(arguments: list[str], root=ROOT) -> None:
    """Copy the pictures and write the page."""
    if not arguments:
        raise UsageError("which runs? give the folders of runs that were analyzed: runs/flipflop runs/cdi runs/sine")
    runs = [load_analysis(path) for path in arguments]
    tasks = [kept.run.task_name for kept in runs]
    if len(set(tasks)) < len(tasks) or not set(tasks) <= set(SHOWN):
        raise UsageError(f"one run each of {', '.join(SHOWN)} at most; the tasks are {', '.join(tasks)}")
    sources = {
        image(kept, number): kept.run.path / "figures" / f"{panel.file(kept.run.task_name)}.png"
        for kept in runs
        for number, panel in chosen(kept)
    }
    missing = [str(path) for path in sources.values() if not path.exists()]
    if missing or any(kept.claims is None for kept in runs):
        raise UsageError(
            f"not all is there ({', '.join(missing) or 'no claims'}); run fastrnn analyze on the runs first"
        )
    folder = Path(root) / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    page = folder.with_suffix(".md")
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    stay = set(_of_page(before)[1]) - set(tasks)
    for path in folder.iterdir():
        if path.is_file() and path.name.split("-")[0] not in stay:
            path.unlink()
    for name, path in sources.items():
        shutil.copyfile(path, folder / name)
    atomic_write(page, gallery(runs, before).encode())


def _section(kept: Kept) -> str:
    run, report = kept.run, kept.run.report()
    lost = f", {report['diverged']} diverged" if report["diverged"] else ""
    said = (
        f"{counted(report['networks'], 'network')}, {report['learnt']} of which learnt the task (validation loss below "
        f"{report['threshold']:g}){lost}; {len(kept.selection.table)} were studied."
    )
    commands = f"```sh\n{command(run.settings)}\nfastrnn analyze runs/{run.task_name}\n```\n"
    parts = [f"## {TITLES[run.task_name]}: {counted(report['networks'], 'network')}\n", commands, said + "\n"]
    for number, panel in chosen(kept):
        parts.append(f"![{panel.heading}](figures/{image(kept, number)})\n")
        of_paper = f"{number.split('-')[0]}: " if run.task_name in panel.paper else ""
        parts.append(f"**{of_paper}{panel.heading}.** {panel.caption(kept)}\n")
    return "\n".join([*parts, _claims(kept.claims)])


def _counts(rows: dict[str, dict]) -> str:
    """How many statements have each verdict, task by task and together."""
    verdicts = list(next(iter(rows.values())))
    if len(rows) > 1:
        rows = rows | {"together": {name: sum(counts[name] for counts in rows.values()) for name in verdicts}}
    heads = ["", "statements", *verdicts]
    table = [heads, ["---"] * len(heads)] + [[name, sum(made.values()), *made.values()] for name, made in rows.items()]
    return "".join("| " + " | ".join(map(str, row)) + " |\n" for row in table)


def _claims(claims: Claims) -> str:
    """A row a statistic; a statement that stands on several is named once."""
    rows = ["| claim | statement | | statistic | value, 95% interval | networks |", "|---|---|---|---|---|---|"]
    for made in claims.statements():
        first = (made.claim, made.statement, made.said)
        for row in made.rows.itertuples():
            interval = f" ({row.low:.3g} to {row.high:.3g})" if np.isfinite(row.low) else ""
            networks = str(row.networks) if row.subject == "all" else f"{row.networks} {row.subject}"
            fields = (*first, row.statistic, f"{row.value:.3g}{interval}", networks)
            rows.append("| " + " | ".join(str(field).replace("|", r"\|") for field in fields) + " |")
            first = ("", "", "")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FastrnnError as error:
        sys.exit(f"error: {error}")
