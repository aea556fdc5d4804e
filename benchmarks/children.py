"""Other Python processes that see the same fastrnn and the same benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fastrnn
from fastrnn.errors import RunError

SAFELY = ("-P",)  # of Python: no module is taken from the current folder


def environment() -> dict[str, str]:
    """The environment of this process, with fastrnn's place first among those where Python looks for modules."""
    here = str(Path(fastrnn.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([here, others] if others else [here])}


def run_python(*arguments: str, variables: dict[str, str] | None = None) -> str:
    """What a Python process prints; `RunError` with its last words where it fails."""
    done = subprocess.run(
        [sys.executable, *SAFELY, *arguments], env=environment() | (variables or {}), capture_output=True, text=True
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise RunError(
            f"python {' '.join(arguments)} failed with code {done.returncode}: {words[-1] if words else 'no message'}"
        )
    return done.stdout
