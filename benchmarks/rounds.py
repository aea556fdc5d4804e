"""Fair timing on a machine that is not always equally fast: contenders take turns, round by round.

A contender is a function of the round's number that does its work once and returns its rates (one or more numbers,
work per second). Ratios are taken within a round, so that what slows the machine for a while slows both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

REST = 0.01  # seconds; in a rest, this process's threads use less than a tenth of them
LONGEST_REST = 0.5
SPINNING = 0.12  # seconds for which OpenBLAS's threads look for more work, by which they'd slow the next contender
LONGEST = 100_000  # iterations in a turn

Contender = Callable[[int], list[float]]


def settle() -> None:
    """Wait until no thread of this process is at work: libraries' threads spin for a while when their work is done."""
    end = time.perf_counter() + LONGEST_REST
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(REST)
        if time.process_time() - before < REST / 10:
            return


def interleave(contenders: dict[str, Contender], rounds: int, rest=settle) -> dict[str, list[float]]:
    """The rates of every contender, in the order of the rounds; each round begins with another contender."""
    names = list(contenders)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for r in range(rounds):
        first = r % len(names)
        for name in names[first:] + names[:first]:
            rest()
            rates[name] += contenders[name](r)
    return rates


def seconds_of(run, *arguments) -> float:
    """Time of one call."""
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


def iterations_for(run: Callable[[int], None], seconds: float) -> int:
    """How many iterations `run` does in so many seconds, at least 1; warms it up first."""
    run(1)
    settle()
    one = max(seconds_of(run, 1), 1e-7)
    if one < seconds:  # it may have been a slow one
        one = max(min(one, seconds_of(run, 1), seconds_of(run, 1)), 1e-7)
    count = int(min(max(seconds / one, 1), LONGEST))
    if count > 10:  # a single short call says little
        one = max(seconds_of(run, count // 5), 1e-7) / (count // 5)
        count = int(min(max(seconds / one, 1), LONGEST))
    return count


def turn(run: Callable[[int], None], iterations: int, work: float) -> Contender:
    """The contender that runs so many iterations, each of `work`, in every round."""

    def take(_: int) -> list[float]:
        return [work * iterations / seconds_of(run, iterations)]

    return take


def spread_over(rounds: int, rate: Callable[[], float], times: int) -> Contender:
    """The contender that measures a rate so many times in all, spread over the rounds."""
    shares = [len(part) for part in np.array_split(np.arange(times), rounds)]
    return lambda r: [rate() for _ in range(shares[r])]


def spread(values) -> dict:
    """Median, lowest and highest of the rounds, and all of them.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 3.0, 'rounds': [3.0, 1.0, 2.0]}
    """
    values = [significant(value) for value in values]
    return {
        "median": significant(float(np.median(values))),
        "low": min(values),
        "high": max(values),
        "rounds": values,
    }


def ratios(ours, theirs) -> dict:
    """How many times as fast we are, as a `spread` over rounds.

    >>> ratios([10.0, 30.0], [5.0, 10.0])["median"]
    2.5
    """
    return spread(mine / other for mine, other in zip(ours, theirs, strict=True))


def significant(value: float, digits: int = 5) -> float:
    """`value` rounded to so many significant digits."""
    return float(f"{value:.{digits}g}")
