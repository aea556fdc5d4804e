"""Everything that `fastrnn analyze` kept of a run, read for figures and reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..analysis.comparison import FOLDER, Comparison, load_comparison
from ..errors import FastrnnError
from ..folder import SUFFIX
from ..runs import Run, load_run
from .cdi import CdiStudy
from .claims import Claims
from .examples import Examples
from .flipflop import FlipflopStudy
from .result import Result
from .sine import SineStudy
from .topology import Topology
from .untrained import UntrainedStudy

KEPT = {
    "examples": Examples,
    "topology": Topology,
    "flipflop": FlipflopStudy,
    "sine": SineStudy,
    "cdi": CdiStudy,
    "untrained": UntrainedStudy,
    "claims": Claims,
}
METRICS = ("svcca", "cka")


@dataclass
class Kept:
    """What there is of each analysis; None for what there is not.

    run : Run
    problems : by name, why a file could not be read
    """

    run: Run
    svcca: Comparison | None = None
    cka: Comparison | None = None
    examples: Examples | None = None
    topology: Topology | None = None
    flipflop: FlipflopStudy | None = None
    sine: SineStudy | None = None
    cdi: CdiStudy | None = None
    untrained: UntrainedStudy | None = None
    claims: Claims | None = None
    problems: dict[str, str] = field(default_factory=dict)


def load_analysis(run) -> Kept:
    """What `fastrnn analyze` kept of a run.

    Parameters
    ----------
    run : Run, or path of its folder

    Returns
    -------
    Kept; what is missing is None, what can't be read is None and named in `problems`
    """
    run = run if isinstance(run, Run) else load_run(run)
    kept = Kept(run)
    for name in (*METRICS, *KEPT):
        try:
            setattr(kept, name, _load(run, name))
        except FastrnnError as error:
            kept.problems[name] = str(error)
    return kept


def _load(run: Run, name: str) -> Comparison | Result | None:
    file = f"similarity-{name}" if name in METRICS else name
    path = run.path / FOLDER / (file + SUFFIX)
    if not path.exists():
        return None
    return load_comparison(run, name) if name in METRICS else KEPT[name].load(path)
