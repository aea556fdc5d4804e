"""Figures and pages written to the run folder, only where something has changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__
from ..errors import RunError
from ..figures.figure import write_figure
from ..figures.paper import panels
from ..folder import ANALYSIS, FIGURES, GROUPS, POPULATION, SUFFIX, TABLE, FolderLock
from ..progress import Interrupted, Interruption, Progress
from ..runs import Run, as_run, load_runs
from ..storage import atomic_write, make_folder, read_bytes, write_json
from ..studies.kept import load_analysis
from ..studies.ledger import RECORD as DONE
from ..studies.ledger import TOOLS, out_of_date, sources
from ..studies.steps import STUDIES
from .pages import INDEX, REPORT, index, page

RECORD = f"{FIGURES}/record.json"
DRAWN_BY = ("figures/**/*.py", "report/*.*", *STUDIES, *TOOLS)  # the last two tell what is out of date


@dataclass(frozen=True)
class Report:
    """What came of `write_report`.

    path : of the page; written : False where everything was up to date; failed : by figure, why it could not be drawn
    """

    path: Path
    written: bool
    failed: dict[str, str] = field(default_factory=dict)


def write_report(run, *, progress: bool = True) -> Report:
    """Draw every panel that there are results for into `figures/` of a run's folder, and write its `report.html`.

    Nothing is done where everything is there and was made from the same results, by checksum. A figure that can't be
    drawn is named, and the others are done.

    Parameters
    ----------
    run : Run, or path of its folder
    progress : whether to write messages to stderr, and a bar where it is a terminal

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        where there is no run
    RunError
        where another process holds the folder, or a file can't be written
    Interrupted
        after Ctrl-C, between two figures
    """
    run = as_run(run)
    inputs = _inputs(run)
    if _is_fresh(run, inputs):
        return Report(run.path / REPORT, written=False)
    with FolderLock(run.path):
        return _write(run, inputs, progress)


def write_index(folder, runs) -> Path:
    """Write `index.html`, a page over several runs.

    Parameters
    ----------
    folder : where the page goes, usually that of the runs
    runs : Runs, or paths of their folders; those whose table can't be read are not on it

    Returns
    -------
    Path of the page
    """
    path = Path(folder) / INDEX
    runs = load_runs(runs)
    atomic_write(path, index([load_analysis(run) for run in runs if _has_table(run)], folder).encode())
    return path


def _has_table(run: Run) -> bool:
    try:
        return run.table is not None
    except RunError:
        return False


def _write(run: Run, inputs: str, progress: bool) -> Report:
    """Draw and write everything, into a folder that is held; inputs : checksum of what it is made from."""
    path, folder = run.path / REPORT, run.path / FIGURES
    make_folder(folder)
    with Interruption() as interruption, Progress(progress) as shown:
        kept = load_analysis(run)
        wanted = panels(kept)
        shown.start("figures", len(wanted))
        files, failed = [], {}
        for panel in wanted:
            name = panel.file(run.task_name)
            if interruption.requested:
                raise Interrupted(f"interrupted before figure {name!r}; the same command draws them all again")
            try:
                files += write_figure(panel.draw(kept), folder, name)
            except RunError:
                raise
            except Exception as error:  # the other figures don't depend on it
                failed[name] = f"{type(error).__name__}: {error}"
                shown.say(f"{folder / name}: {failed[name]}")
            shown.advance(1, name)
    atomic_write(path, page(kept, failed, out_of_date(run)).encode())
    if not failed:
        files = [*(f"{FIGURES}/{file}" for file in files), REPORT]
        record = {"inputs": inputs, "files": {file: _checksum(run.path / file) for file in files}}
        write_json(run.path / RECORD, record)
    return Report(path, written=True, failed=failed)


def _inputs(run: Run) -> str:
    """Checksum of all that figures and page are made from."""
    groups, results = (sorted((run.path / name).rglob(f"*{SUFFIX}")) for name in (GROUPS, ANALYSIS))
    files = [*(run.path / name for name in (POPULATION, TABLE, DONE)), *groups, *results]
    said = [__version__, sources(DRAWN_BY), {path.relative_to(run.path).as_posix(): _checksum(path) for path in files}]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _is_fresh(run: Run, inputs: str) -> bool:
    try:
        record = json.loads(read_bytes(run.path / RECORD))
        kept = record["files"].items()
        return record["inputs"] == inputs and all(_checksum(run.path / file) == known for file, known in kept)
    except (RunError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no record, or a damaged one


def _checksum(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest() if path.exists() else "missing"
