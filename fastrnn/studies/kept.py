"""Where `fastrnn analyze` keeps what it finds about a run, and all of it read for figures and reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..analysis.comparison import DSA, load_comparison, similarity_file
from ..analysis.points import FixedPoints
from ..analysis.portrait import Portrait
from ..errors import FastrnnError
from ..folder import ANALYSIS, SUFFIX
from ..runs import Run, as_run
from .cdi import CdiStudy
from .claims import Claims
from .flipflop import FlipflopStudy
from .selection import Selection
from .sine import SineStudy
from .topology import Topology
from .untrained import UntrainedStudy

WHOLE = {
    "selection": Selection,
    "topology": Topology,
    "flipflop": FlipflopStudy,
    "sine": SineStudy,
    "cdi": CdiStudy,
    "untrained": UntrainedStudy,
    "claims": Claims,
}
OF_THE_PAPER = ("svcca", "cka")  # metrics that claims are made of
METRICS = (*OF_THE_PAPER, DSA)


def whole_file(name: str) -> str:
    """File of a result of the whole run, inside the run's folder."""
    return f"{ANALYSIS}/{name}{SUFFIX}"


def group_file(kind: str, group: str) -> str:
    """File of a result of one group: kind is "points", "graphs", "lines", "modes" or "portraits"."""
    return f"{ANALYSIS}/{kind}/{group}{SUFFIX}"


@dataclass(repr=False)
class Kept:
    """What there is of each analysis of a run; None, or an empty dict, for what there is not.

    run : Run
    selection : which networks were studied, and why the others were not
    svcca, cka, dsa : `Comparison`; topology : the same kind of thing for fixed-point graphs
    flipflop, sine, cdi, untrained : the task's studies
    claims : `Claims`
    portraits : by group, `Portrait` of its typical network
    points : by group, path of the file of its `FixedPoints`, in the order of `selection.rows(group)`
    problems : by name, why a file could not be read
    """

    run: Run
    selection: Selection | None = None
    svcca: object = None
    cka: object = None
    dsa: object = None
    topology: Topology | None = None
    flipflop: FlipflopStudy | None = None
    sine: SineStudy | None = None
    cdi: CdiStudy | None = None
    untrained: UntrainedStudy | None = None
    claims: Claims | None = None
    portraits: dict[str, Portrait] = field(default_factory=dict)
    points: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        there = [name for name in (*METRICS, *WHOLE) if getattr(self, name) is not None]
        there += [name for name in ("portraits", "points", "problems") if getattr(self, name)]
        return f"<analysis of {self.run!r}: {', '.join(there) or 'nothing yet'}>"

    def out_of_date(self) -> list[str]:
        """Analyses whose results were made from other networks or by other code; `fastrnn.analyze` makes them again."""
        from .ledger import out_of_date

        return out_of_date(self.run)

    def fixed_points(self, group: str) -> FixedPoints:
        """The fixed points of a group's networks, read from their file."""
        return FixedPoints.load(self.points[group])


def load_analysis(run) -> Kept:
    """What `fastrnn analyze` kept of a run.

    Parameters
    ----------
    run : Run, or path of its folder

    Returns
    -------
    Kept; what is missing is None, what can't be read is None and named in `problems`
    """
    run = as_run(run)
    kept = Kept(run)

    def read(name, path, load):
        try:
            return load() if path.exists() else None
        except FastrnnError as error:
            kept.problems[name] = str(error)
            return None

    for metric in METRICS:
        path = run.path / similarity_file(metric)
        setattr(kept, metric, read(metric, path, lambda metric=metric: load_comparison(run, metric)))
    for name, kind in WHOLE.items():
        path = run.path / whole_file(name)
        setattr(kept, name, read(name, path, lambda kind=kind, path=path: kind.load(path)))
    for group in run.groups if kept.selection is None else kept.selection.groups:  # files of others are left over
        path = run.path / group_file("portraits", group)
        found = read(f"portrait of {group}", path, lambda path=path: Portrait.load(path))
        if found is not None:
            kept.portraits[group] = found
        path = run.path / group_file("points", group)
        if path.exists():
            kept.points[group] = path
    return kept
