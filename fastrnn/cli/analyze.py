"""`fastrnn analyze`."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from .exits import SOME_FAILED
from .options import Debug, Json, Threads, values
from .printing import JSON_HAS_ALL, print_json, print_some

LEFT_OUT_SHOWN = 5
LEFT_OUT = "analysis/selection-left_out.csv"  # as a `Result` names it


def analyze(
    runs: Annotated[list[str] | None, typer.Argument(help="Folders of runs.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Every run under --folder.")] = False,
    folder: Annotated[str, typer.Option(help="Where --all looks for runs.")] = "runs",
    only: Annotated[
        str | None,
        typer.Option(
            help="Some of these, joined by commas: similarity, fixed-points, linearization, topology, study, "
            "untrained, portraits, claims.  [default: all]"
        ),
    ] = None,
    threads: Threads = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw figures and write report.html.")] = True,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare the networks of runs, study their dynamics, measure the paper's claims, draw and report it all.

    Results are kept in each run's folder, under analysis/. What is there and was made from the same files by the same
    code, by checksum, is not computed again. Networks that diverged, or whose loss is more than half of what the best
    constant output gives, are left out and named. An analysis that fails is named too, and the others are done (exit
    code 3). Figures are under figures/ of the run; report.html holds all of it, and index.html beside the runs leads
    there.

    \b
    Examples:
      fastrnn analyze runs/flipflop
      fastrnn analyze --all
      fastrnn analyze runs/cdi --only similarity,claims --json | jq '.[].claims'
    """
    from ..errors import UsageError
    from ..pipeline import UNUSABLE, analyze_all, find_runs
    from ..processors import only_processors
    from ..report import write_index

    if bool(runs) == every:
        raise UsageError("name folders of runs, or give --all: one of the two")
    made, paths = [], find_runs(folder) if every else runs
    with only_processors(threads):
        for analyzed in analyze_all(paths, values(only, str, "only")):
            made.append(analyzed.report())
            if report and UNUSABLE not in analyzed.failed:
                _write_report(made[-1])
            if report and every:
                write_index(folder, paths)
    if as_json:
        print_json(made)
    else:
        for one in made:
            _print_for_people(one)
    return SOME_FAILED if any(one["failed"] for one in made) else 0


def _write_report(made: dict) -> None:
    """The page of a run; its path and failures go into `made`."""
    from ..errors import RunError
    from ..report import write_report

    try:
        written = write_report(made["run"])
    except RunError as error:
        made["failed"]["report"] = str(error)
        return
    made["report"] = str(written.path)
    made["failed"] |= written.failed


def _print_for_people(report: dict) -> None:
    """For people: what was done, who was left out, what failed, and the paper's statements."""
    from ..pipeline import UNUSABLE
    from ..progress import counted

    if UNUSABLE in report["failed"]:
        print(f"{report['run']}: not analyzed: {report['failed'][UNUSABLE]}")
        return
    if report["done"]:
        done = f"{_analyses(len(report['done']))} done, {report['up_to_date']} were up to date"
    else:
        are = "is" if report["up_to_date"] == 1 else "are"
        done = f"nothing to do, {_analyses(report['up_to_date'])} {are} up to date"
    without = f" ({len(report['left_out']):,} left out)" if report["left_out"] else ""
    print(f"{report['run']}: {counted(report['studied'], 'network')} on {report['task']}{without}; {done}")
    if "report" in report:
        print(f"report: {report['report']}")
    left_out = [f"{name}: {reason}" for name, reason in report["left_out"].items()]
    print_some("left out", left_out, f"{report['run']}/{LEFT_OUT} lists all of them", LEFT_OUT_SHOWN)
    if report["out_of_date"]:
        print(f"out of date: {', '.join(report['out_of_date'])}: fastrnn analyze, without --only, makes them again")
    print_some("failed", [f"{name}: {reason}" for name, reason in report["failed"].items()], JSON_HAS_ALL)
    _print_claims(report["claims"])


def _analyses(number: int) -> str:
    return f"{number:,} analys{'i' if number == 1 else 'e'}s"


def _print_claims(rows: list[dict]) -> None:
    """A line a statement, with each statistic that it stands on."""
    import pandas

    from ..progress import counted
    from ..studies.claims import Claims

    for made in Claims(pandas.DataFrame(rows)).statements() if rows else []:
        said, notes = [], []
        for row in made.rows.itertuples():
            interval = f" [{row.low:.3g}, {row.high:.3g}]" if math.isfinite(row.low) else ""
            of = "" if row.subject == "all" else f"{row.subject}: "
            said.append(f"{of}{row.statistic} {row.value:.3g}{interval}, {counted(row.networks, 'network')}")
            notes += [row.note] if made.verdict == row.verdict == "undecided" and row.note else []
        why = f": {'; '.join(dict.fromkeys(notes))}" if notes else ""
        print(f"{made.claim}. {made.statement}: {made.said} ({'; '.join(said)}){why}")
