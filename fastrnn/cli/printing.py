"""What several commands print: JSON, and a run."""

from __future__ import annotations

import json
import math

from .exits import SOME_FAILED

FAILURES_SHOWN = 20


def print_json(value) -> None:
    """A result for machines."""
    print(json.dumps(_without_nan(value), indent=2))


def _without_nan(value):
    """JSON knows no NaN: null instead."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_run(run, as_json: bool) -> int:
    """Print a run; the exit code that it deserves."""
    report = run.report()
    if as_json:
        print_json(report)
    else:
        _print_table(run, report)
    return SOME_FAILED if report["diverged"] else 0


def _print_table(run, report: dict) -> None:
    """For people: a line on the whole, a table of the configurations, a list of what failed and why."""
    fates = ("trained", "training", "dropped", "diverged", "untrained")
    counts = [f"{report[status]:,} {status}" for status in fates if report[status]]
    print(f"{report['run']}: {report['networks']:,} networks on {report['task']}, {', '.join(counts)}")
    if report["threshold"] is not None:
        print(f"{report['learnt']:,} learnt the task (validation loss below {report['threshold']:g})")
    summary = run.summary()
    if report["threshold"] is None:
        summary = summary.drop(columns=["learnt", "share"])
    else:
        summary["share"] = summary.share.map("{:.0%}".format)
    empty = [name for name in ("untrained", "training", "diverged", "dropped") if not summary[name].any()]
    summary = summary.drop(columns=[*empty, "median_training_loss"])
    summary = summary.rename(columns=lambda name: name.replace("validation_", ""))
    print(summary.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3g}"))
    for failure in report["failures"][:FAILURES_SHOWN]:
        print(f"failed: {failure['id']}: {failure['reason']}")
    if (more := len(report["failures"]) - FAILURES_SHOWN) > 0:
        print(f"... and {more:,} more failed: --json lists all of them")
