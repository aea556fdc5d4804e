"""Everything a change has to pass: `python tests/gate.py`; further arguments go to pytest."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pytest", *sys.argv[1:]])

if __name__ == "__main__":
    for check in CHECKS:
        print("+", *check, flush=True)
        code = subprocess.run([sys.executable, "-m", *check], cwd=ROOT).returncode
        if code:
            sys.exit(code)
