"""Partial results of a long computation on disk, recognised by what they were computed from."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ... import storage
from ...errors import UsageError
from ...progress import Interrupted

SECONDS = 60.0  # between two saves
SAME = 1e-6  # relative difference up to which a response's signature counts as the same


class Checkpoint:
    """A file that holds the arrays of unfinished work; does nothing where `path` is None.

    Parameters
    ----------
    path : the file
    identity : settings (JSON) that must be the same when the work goes on
    signatures : (N, q) numbers that tell the responses apart
    """

    def __init__(self, path, identity: dict, signatures: np.ndarray):
        self._path = None if path is None else Path(path)
        self._identity, self._signatures = identity, signatures
        self._saved = time.monotonic()

    def restore(self, **arrays: np.ndarray) -> None:
        """Fill the arrays from the file if there is one; `UsageError` if it is of other work."""
        if self._path is None or not self._path.exists():
            return
        kept, identity = storage.load_arrays(self._path)
        signatures = kept.get("signatures")
        same = identity == self._identity and np.shape(signatures) == self._signatures.shape
        if not same or not np.allclose(signatures, self._signatures, rtol=SAME, atol=0):
            raise UsageError(
                f"checkpoint {str(self._path)!r} holds pairs of other responses or settings; "
                "give the same ones to go on, or remove it, or give another file"
            )
        for name, array in arrays.items():
            array[...] = kept[name]

    def save(self, **arrays: np.ndarray) -> None:
        """Write the arrays now."""
        if self._path is not None:
            storage.save_arrays(self._path, arrays | {"signatures": self._signatures}, self._identity)
            self._saved = time.monotonic()

    def save_if_due(self, **arrays: np.ndarray) -> None:
        """Write the arrays if the last time was a while ago."""
        if time.monotonic() - self._saved >= SECONDS:
            self.save(**arrays)

    def remove(self) -> None:
        """The work is done."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def advance(progress, interruption, path, work, checkpoint: Checkpoint | None = None, **arrays: np.ndarray) -> None:
    """Show that `work` more is done and save the arrays if that is due; at Ctrl-C save them and stop.

    `path` is the checkpoint's; there is no `checkpoint` yet before the first pair.
    """
    progress.advance(work, "")
    if interruption.requested:
        if path is None:
            raise Interrupted("interrupted; give checkpoint= a file to be able to go on from where it stopped")
        if checkpoint is None:
            raise Interrupted("interrupted before the first pair was compared; the same call starts again")
        checkpoint.save(**arrays)
        raise Interrupted(f"interrupted; the same call goes on from {str(path)!r}")
    if checkpoint is not None:
        checkpoint.save_if_due(**arrays)
