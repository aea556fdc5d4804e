"""Exceptions that say what to do next, and the status every network carries.

A caller's mistake raises `UsageError` at the boundary. What goes wrong outside the program (a damaged file, a full
disk, a folder in use) raises `RunError`. Numerical outcomes are data, not exceptions: see `Status`.
"""

from __future__ import annotations

from enum import IntEnum


class FastrnnError(Exception):
    """Base of all errors raised on purpose; its text names the value, what is allowed and what to do."""


class UsageError(FastrnnError, ValueError):
    """An argument, option or setting is not what it must be (exit code 2 on the command line)."""


class RunError(FastrnnError):
    """The work can't go on: a damaged file, a folder in use, no space (exit code 1 on the command line)."""


class Labelled(IntEnum):
    """Numbers in files, and words in tables and messages."""

    @property
    def label(self) -> str:
        """The name in lower case, with spaces, as written in tables."""
        return self.name.lower().replace("_", " ")


class Status(Labelled):
    """Where a network stands in its training.

    >>> Status.DIVERGED.label
    'diverged'
    """

    UNTRAINED = 0  # zero iterations were planned
    TRAINING = 1  # some planned iterations are still to do
    TRAINED = 2  # all planned iterations are done
    DIVERGED = 3  # loss or gradient became non-finite; weights frozen as they were before that iteration
    DROPPED = 4  # left a search of hyperparameters at the end of a round, to make room for better ones
