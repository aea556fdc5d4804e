"""Which steps of an analysis are up to date: checksums of what each read and wrote, kept with the run.

A step's key holds the files it read, its settings, and the sources of the package that it is done by: no result
outlives an edit of the code that made it. Sources are compared as text, so that an edited comment costs a computation:
whole folders of them and the files that read a run (`TOOLS`), and those named by the step (`Step.sources`). Left out is
what decides no result: training, checks, places of files, progress, how many threads there are.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import RunError
from ..folder import ANALYSIS
from ..runs import Run
from .selection import select_networks
from .steps import Step, Steps, selection_step

RECORD = f"{ANALYSIS}/record.json"
PACKAGE = Path(__file__).resolve().parents[1]
TOOLS = ("analysis/**/*.py", "cells/**/*.py", "tasks/**/*.py", "engines/**/*.py", "compiled.py", "counters.py")
TOOLS += (
    "errors.py",
    "groups.py",
    "hyperparameters.py",
    "networks.py",
    "runs.py",
    "shapes.py",
    "spec.py",
    "storage.py",
)


def out_of_date(run: Run) -> list[str]:
    """Steps that `analyze` did once and whose results are still there, but which would not come out the same now."""
    ledger = Ledger(run.path)
    if not ledger.steps and not ledger.damaged:
        return []
    steps = [selection_step(run), *Steps(run, select_networks(run)).all()]
    return list(dict.fromkeys(ledger.stale(steps).values()))


class Ledger:
    """The record of a run's analysis.

    path : folder of the run
    steps : by `Step.key`, checksum of the inputs, and of each file written
    """

    def __init__(self, path):
        self.path = Path(path)
        self.steps: dict[str, dict] = {}
        self.damaged = False
        self._known: dict[tuple, str] = {}
        if (self.path / RECORD).exists():
            try:
                self.steps = json.loads(storage.read_bytes(self.path / RECORD))["steps"]
                if not all({"inputs", "files"} <= entry.keys() for entry in self.steps.values()):
                    raise ValueError("a step without inputs or files")
            except (ValueError, TypeError, KeyError, AttributeError, RunError):
                self.steps, self.damaged = {}, True  # everything counts as out of date

    def fresh(self, step: Step) -> bool:
        """Whether a step's files are there, as it wrote them, from inputs that are the same now."""
        entry = self.steps.get(step.key)
        if entry is None or entry["inputs"] != self.inputs(step) or set(entry["files"]) != set(step.writes):
            return False
        return all(self.checksum(file) == entry["files"][file] for file in step.writes)

    def stale(self, steps: list[Step]) -> dict[str, str]:
        """Files that are there but not what their step would write now, and the step's key.

        steps : in an order in which each finds what it reads. A file that no record is kept of is nobody's.
        """
        found: dict[str, str] = {}
        for step in steps:
            recorded = self.damaged or step.key in self.steps
            there = any((self.path / file).exists() for file in step.writes)
            if recorded and there and (found.keys() & set(step.reads) or not self.fresh(step)):
                found |= dict.fromkeys(step.writes, step.key)
        return found

    def note(self, step: Step, inputs: str) -> None:
        """Keep that a step was done from `inputs`, as `inputs(step)` gave them before."""
        self.steps[step.key] = {"inputs": inputs, "files": {file: self.checksum(file) for file in step.writes}}
        self._write()

    def inputs(self, step: Step) -> str:
        """Checksum of everything that a step's results depend on."""
        from .. import __version__

        files = {file: self.checksum(file) for file in step.reads}
        said = [__version__, sources((*TOOLS, *step.sources)), step.key, step.settings, files]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def checksum(self, file: str) -> str:
        """SHA-256 of a file in the folder; "missing" where there is none."""
        path = self.path / file
        try:
            state = path.stat()
        except OSError:
            return "missing"
        key = (file, state.st_mtime_ns, state.st_size, state.st_ino)
        if key not in self._known:
            self._known[key] = hashlib.sha256(storage.read_bytes(path)).hexdigest()
        return self._known[key]

    def _write(self) -> None:
        from .. import __version__

        made = {"fastrnn": __version__, "numpy": np.__version__, "steps": dict(sorted(self.steps.items()))}
        storage.write_json(self.path / RECORD, made)


@cache
def sources(patterns: tuple[str, ...]) -> str:
    """Digest of sources of the package."""
    return storage.hash_sources(PACKAGE, patterns)
