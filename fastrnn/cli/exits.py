"""How a command ends: exit codes, and errors as a line on stderr.

0 done, 1 failed, 2 wrong usage, 3 done, but some networks, analyses or searches failed or are missing, 130 interrupted
with everything saved.
"""

from __future__ import annotations

import functools
import os
import sys

import typer

FAILED, USAGE, SOME_FAILED, INTERRUPTED = 1, 2, 3, 130


def guarded(function):
    """A subcommand whose errors become a line on stderr and an exit code."""

    @functools.wraps(function)
    def command(*args, debug: bool = False, **kwargs):
        from ..errors import FastrnnError, UsageError

        try:
            code = function(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            _complain(str(interrupt) or "stopped at once; what was written before is kept")
            code = INTERRUPTED
        except BrokenPipeError:  # whoever read our output is gone
            _silence(sys.stdout)
            code = FAILED
        except Exception as error:
            if debug:
                raise
            expected = isinstance(error, FastrnnError)
            _complain(f"error: {error}" if expected else f"error: {_unexpected(error)}")
            code = USAGE if isinstance(error, UsageError) else FAILED
        if code:
            raise typer.Exit(code)

    return command


def _unexpected(error: Exception) -> str:
    return f"{type(error).__name__}: {error}; --debug shows where"


def _complain(text: str) -> None:
    if sys.stderr is not None:
        try:
            print(f"fastrnn: {text}", file=sys.stderr, flush=True)
        except OSError:  # nobody reads it any more: the exit code says it
            _silence(sys.stderr)


def _silence(stream) -> None:
    """What a stream still holds goes nowhere, or Python would fail to write it at its end and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
