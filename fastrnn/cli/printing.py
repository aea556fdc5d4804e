"""What several commands print: JSON, and a run."""

from __future__ import annotations

import json
import math

from .exits import SOME_FAILED

JSON_HAS_ALL = "--json lists all of them"


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


def print_some(what: str, lines: list[str], where: str, shown: int = 20) -> None:
    """What failed or was left out, a line each; of many the first, and where the others are, in words."""
    for line in lines[:shown]:
        print(f"{what}: {line}")
    if (more := len(lines) - shown) > 0:
        print(f"... and {more:,} more {what}: {where}")


def print_training(report: dict) -> None:
    """The optimizer where it is not the usual one, and what leaky cells have where there are any."""
    from ..cells.leaky import leak_in_words
    from ..optimizer import SGD

    if report["optimizer"] != SGD:
        print(f"optimizer: {report['optimizer']}")
    if leak := leak_in_words(report):
        print(leak)


def print_run(run, as_json: bool) -> int:
    """Print a run; the exit code that it deserves."""
    report = run.report()
    if as_json:
        print_json(report)
    else:
        _print_for_people(run, report)
    return SOME_FAILED if report["diverged"] else 0


def _print_for_people(run, report: dict) -> None:
    """For people: a line on the whole, a table of the configurations, a list of what failed and why."""
    from ..progress import counted

    fates = ("trained", "training", "dropped", "diverged", "untrained")
    counts = [f"{report[status]:,} {status}" for status in fates if report[status]]
    part = "" if report["part"] is None else f" (part {report['part']} of a population)"
    print(f"{report['run']}: {counted(report['networks'], 'network')} on {report['task']}{part}, {', '.join(counts)}")
    print_training(report)
    if report["threshold"] is not None:
        print(f"{report['learnt']:,} learnt the task (validation loss below {report['threshold']:g})")
    print(_table(run.summary(), report["threshold"] is not None))
    print_some("failed", [f"{failure['id']}: {failure['reason']}" for failure in report["failures"]], JSON_HAS_ALL)


def _table(summary, bounded: bool) -> str:
    """The summary in 80 columns: of the statuses other than "trained" only what there is."""
    fates = [name for name in ("diverged", "dropped", "training", "untrained") if summary[name].any()]
    table = summary[["group", "l2"]].copy()
    if bounded:
        table["learnt"] = [f"{row.learnt} of {row.networks}" for row in summary.itertuples()]
    else:
        table["networks"] = summary.networks
    table[fates] = summary[fates]
    table["iterations"] = summary.iterations
    table["median loss"], table["worst loss"] = summary.median_validation_loss, summary.worst_validation_loss
    return table.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.3g}")
