"""What a person sees of long work: messages and a bar on stderr, and a Ctrl-C that waits for a good moment."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress

from tqdm import tqdm

PATIENCE = 5.0  # seconds that the saving is given before Ctrl-C stops at once
BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left{postfix}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after everything was saved; the text says how to go on."""


def counted(number: int, what: str) -> str:
    """A number and what it counts, in the plural where it is one: 1,024 networks, 1 network."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


class Progress:
    """Messages, and a bar where stderr is a terminal; silent with `show=False`.

    Use as a context manager; `start` makes the bar.
    """

    def __init__(self, show: bool = True):
        self._show = show
        self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        """A line on stderr, above the bar if there is one."""
        if self._show and sys.stderr is not None:
            with suppress(OSError):  # nobody reads it any more: no reason to stop the work
                tqdm.write(text, file=sys.stderr)
                sys.stderr.flush()

    @classmethod
    def of(cls, progress: bool | Share) -> Progress:
        """One that shows something or not, or the share of a longer work's bar that was given."""
        return progress if isinstance(progress, Progress) else cls(progress)

    def start(self, what: str, total: float) -> None:
        """Make the bar; `total` in any unit of work."""
        if self._bar is not None:
            self._bar.close()
        show = self._show and sys.stderr is not None
        disable = None if show else True  # None: tqdm shows a bar on a terminal only
        self._bar = tqdm(desc=what, total=total, file=sys.stderr, disable=disable, bar_format=BAR, smoothing=0.1)

    def note(self, text: str) -> None:
        """Show beside the bar, at once, what is being done, where there is one."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def advance(self, work: float, note: str) -> None:
        """Move the bar on by some work, where there is one."""
        if (bar := self._bar) is not None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(max(0.0, min(work, bar.total - bar.n)))

    def reach(self, done: float, note: str) -> None:
        """Move the bar to where so much of the work is done, wherever it is, where there is one."""
        if self._bar is not None:
            self.advance(done - self._bar.n, note)


class Share(Progress):
    """A piece of a longer work, which moves the bar that is there already on by its share of that bar's work.

    during : the part of the piece in which it does so, the one that takes most of its time; as `start` calls it
    """

    def __init__(self, whole: Progress, share: float, note: str, during: str):
        super().__init__(show=False)
        self._whole, self._left, self._note, self._during, self._scale = whole, share, note, during, 0.0

    def start(self, what: str, total: float) -> None:
        """From now on what is left of the share is as much as `total`, in any unit of work, or stays as it is."""
        self._scale = self._left / total if total and what == self._during else 0.0

    def advance(self, work: float, note: str) -> None:
        """Move the bar on; beside it stays what the piece is called."""
        moved = min(work * self._scale, self._left)
        self._left -= moved
        self._whole.advance(moved, self._note)


class Interruption:
    """Between enter and exit Ctrl-C only sets `requested`; one that comes `PATIENCE` seconds later stops at once.

    Two in a moment, as fingers do it, or a terminal that signals a process and its parent, wait for the saving too.
    """

    def __init__(self):
        self.requested = False
        self._since = 0.0
        self._before = None

    def __enter__(self) -> Interruption:
        # only the main thread may choose; where Ctrl-C is ignored (a background job of a script) it stays so
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number, frame) -> None:
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
            said = "stopping after this round"
        elif time.monotonic() - self._since < PATIENCE:
            said = "still saving"
        else:
            raise KeyboardInterrupt
        if sys.stderr is not None:
            with suppress(OSError):  # the reader of a pipe dies of the same Ctrl-C
                # past Python's buffer, which the code that was interrupted may be writing to
                os.write(2, f"\n{said}; again after {PATIENCE:g} seconds to stop at once\n".encode())
