"""What `benchmarks.gpu` finds: said as it is found, and kept in files that are whole whenever one looks."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

from fastrnn.storage import write_json


class Report:
    """A JSON file of results, and a log of what is said beside it; processes take turns at them.

    results : by section and item; also `wrong` (what is off by more than it may), `failed` (how, by "section item"),
        `left_out` (for want of time) and `running` (section and item that were begun and are not there yet)
    """

    def __init__(self, path: Path):
        self.path, self.log = path, path.with_suffix(".log")
        self.results: dict = {"wrong": [], "failed": {}, "left_out": [], "running": None}

    def begin(self) -> Report:
        """New files."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.save()
        return self

    def load(self) -> Report:
        """What another process has written."""
        self.results = json.loads(self.path.read_text())
        return self

    def save(self) -> None:
        """All results so far, in one move."""
        write_json(self.path, self.results)

    def say(self, text: str) -> None:
        """One line, at once."""
        print(text, flush=True)
        with self.log.open("a") as log:
            print(text, file=log)

    def has(self, section: str, item: str) -> bool:
        """Whether an item was tried."""
        return item in self.results.get(section, {}) or f"{section} {item}" in self.results["failed"]

    def keep(self, section: str, item: str, work) -> None:
        """The result of `work()`, or how it failed."""
        self.results["running"] = [section, item]
        self.save()
        try:
            made = work()
        except Exception as error:  # the rest is still worth having
            self.say(traceback.format_exc())
            self.fail(section, item, f"{type(error).__name__}: {error}")
        else:
            self.results.setdefault(section, {})[item] = made
            self.results["running"] = None
            self.save()

    def judge(self, what: str, errors, tolerance: float) -> str:
        """A word for what is said of some errors, and a note of it, where one is not within the tolerance."""
        if all(error < tolerance for error in errors):
            return ""
        self.results["wrong"].append(what)
        return "   WRONG"

    def fail(self, section: str, item: str, why: str) -> None:
        """An item that did not come to its end."""
        self.results["failed"][f"{section} {item}"] = why
        self.results["running"] = None
        self.say(f"{section} {item} FAILED: {why}")
        self.save()

    def leave_out(self, section: str, item: str) -> None:
        """An item for which there is no time."""
        self.results["left_out"].append(f"{section} {item}")
        self.say(f"{section} {item}: left out, no time")
        self.save()
