"""Everything a change has to pass: `python tests/gate.py`; further arguments go to pytest.

Without arguments the tests of the CUDA kernels, which mostly compile, run beside all others.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CUDA = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("tests/test_cuda_*.py"))]


def start(check, **options):
    """A check in a process of its own."""
    print("+", *check, flush=True)
    return subprocess.Popen([sys.executable, "-m", *check], cwd=ROOT, **options)


def tests() -> int:
    """Both halves at once; what the second has to say comes last."""
    with tempfile.TemporaryFile("w+") as said:
        beside = start(["pytest", *CUDA], stdout=said, stderr=subprocess.STDOUT)
        code = start(["pytest", *(f"--ignore={path}" for path in CUDA)]).wait()
        code = beside.wait() or code
        said.seek(0)
        print(said.read(), flush=True)
    return code


if __name__ == "__main__":
    for check in (["ruff", "check", "."], ["ruff", "format", "--check", "."]):
        if code := start(check).wait():
            sys.exit(code)
    sys.exit(start(["pytest", *sys.argv[1:]]).wait() if sys.argv[1:] else tests())
