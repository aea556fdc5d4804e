"""Our analyses beside what others would do instead: checked against ours, then timed in turns with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .rounds import interleave, ratios, seconds_of, significant, spread, turn
from .section import reason
from .training import OURS, guarded, ratio_words

TURNS, TRIES = 3, 2


@dataclass(frozen=True)
class Instead:
    """One way to do without us, a function of the number of threads.

    name : for results; title : for a terminal, 40 letters at most
    work : how much a run does, in the unit of ours
    run : does it once; trial : a part of it that tells how many threads suit it
    check : does it once, for a dictionary of what there is to say of its answer, with "failed" where it isn't ours
    """

    name: str
    title: str
    work: float
    run: Callable[[int], object]
    trial: Callable[[int], object]
    check: Callable[[int], dict]


def compare(run: Callable[[], object], work: float, others: list[Instead], threads: int) -> dict:
    """Seconds for a unit of work, ours and theirs, and how many times as fast we are."""
    contenders, entries = {OURS: turn(lambda _: run(), 1, work)}, []
    for other in others:
        entry = {"peer": other.name, "title": other.title} | _checked(other, threads)
        entries.append(entry)
        if "failed" not in entry:
            again = partial(other.run, entry["threads"])
            contenders[other.name] = guarded(turn(lambda _, again=again: again(), 1, other.work), entry)
    rates = interleave(contenders, TURNS)
    for entry in entries:
        if "failed" not in entry:
            entry["seconds"] = _seconds(rates[entry["peer"]])
            entry["ratio"] = ratios(rates[OURS], rates[entry["peer"]])
    return {"seconds": _seconds(rates[OURS]), "peers": entries}


def _checked(other: Instead, threads: int) -> dict:
    """How many threads suit it, and what its check says."""
    try:
        count = quicker(other.trial, threads)
        return {"threads": count} | other.check(count)
    except Exception as error:  # another library's: the benchmark goes on without it, and says so
        return {"failed": reason(error)}


def quicker(run: Callable[[int], object], threads: int) -> int:
    """1 or all `threads`, whichever makes `run(threads)` quicker: for small work more threads are often slower."""
    taken = {count: min(seconds_of(run, count) for _ in range(TRIES)) for count in {1, threads}}
    return min(taken, key=taken.get)


def _seconds(rates: list[float]) -> dict:
    return spread(1 / rate for rate in rates)


def lines(result: dict, ours: str) -> list[str]:
    """A line for us, with that title, and one for each of the others, with how many times as fast we are."""
    text = [_line(ours, result)]
    for entry in result["peers"]:
        if "failed" in entry:
            text.append(f"! {entry['title']}: {entry['failed']}"[:80])
        else:
            text.append(f"{_line(entry['title'], entry)}  x {ratio_words(entry | {'same_cell': True})}")
    return text


def _line(title: str, entry: dict) -> str:
    median, low, high = (f"{significant(1e3 * entry['seconds'][name], 3):g}" for name in ("median", "low", "high"))
    return f"{title:<40}{median:>6} ms ({low}-{high})"
