"""The pieces of an analysis: which files each reads and writes, what it takes, and how it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..analysis.comparison import DSA, compare_networks, similarity_file
from ..analysis.fixed_points import find_fixed_points
from ..analysis.line_attractor import LineAttractor, line_attractors
from ..analysis.portrait import portrait, typical
from ..analysis.responses import probe_trials
from ..analysis.similarity.gram import features_cost, gram_cost
from ..analysis.transitions import TransitionGraph, heteroclinic_paths, transition_graphs
from ..errors import RunError, UsageError
from ..folder import POPULATION, SUFFIX, TABLE, networks_file
from ..progress import Progress, Share
from ..runs import Run
from ..storage import make_folder
from .assembly import NONE_STUDIED, STUDIED, TOPOLOGIES, Parts
from .cdi import line_modes
from .claims import measure_claims
from .contexts import NOISE, SPEED, STARTS, context_points
from .kept import METRICS, OF_THE_PAPER, group_file, load_analysis, whole_file
from .probes import drawn_trials, held_inputs
from .selection import Selection, select_networks
from .untrained import untrained_study

NAMES = ("similarity", "fixed-points", "linearization", "topology", "study", "untrained", "portraits", "claims")
OF_CDI = ("linearization", "untrained")
STUDIES = ("studies/**/*.py",)
SEARCHES = ("studies/contexts.py", "studies/probes.py")  # beside `find_fixed_points`, and the settings
SILENT = Progress(show=False)
DRAWN_STEPS = 2000  # of a path between fixed points
MULTIPLICATIONS_A_SECOND = 4e10  # in float64, of two threads (AMD Zen 4)
SECONDS = {  # for one network of n = 64 on two threads (AMD Zen 4), by cell, relative to vanilla
    "vanilla": 1.0,
    "ugrnn": 1.6,
    "gru": 1.6,
    "lstm": 4.0,
    "leaky": 1.0,
    "current": 4.0,
}


@dataclass(frozen=True)
class Step:
    """A piece of an analysis; what it writes depends on what it reads and its settings alone.

    name : as `--only` takes it; part : of which group or metric; empty for the whole run
    reads, writes : files, inside the run's folder
    work : does it
    settings : what else it depends on (JSON); seconds : estimate
    sources : of the package, which do it beside the tools of `analysis`
    """

    name: str
    part: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    work: Callable[[], None]
    settings: dict = field(default_factory=dict)
    seconds: float = 1.0
    sources: tuple[str, ...] = STUDIES

    @property
    def key(self) -> str:
        return f"{self.name} {self.part}".strip()


def _with_table(file: str) -> tuple[str, str]:
    """A result's file, and that of its table."""
    return file, file.removesuffix(SUFFIX) + ".csv"


def selection_step(run: Run) -> Step:
    """The choice of the networks, which all others start from."""
    reads = (POPULATION, TABLE, *(networks_file(group) for group in run.groups))
    file = whole_file("selection")
    return Step(
        "selection", "", reads, _with_table(file), lambda: select_networks(run).save(run.path / file), seconds=0.1
    )


def names_for(run: Run) -> tuple[str, ...]:
    """Those of `NAMES` that there are for a run's task."""
    task = run.settings["task"]
    names = NAMES if task in TOPOLOGIES else ("similarity", "fixed-points", "portraits")
    return tuple(name for name in names if task == "cdi" or name not in OF_CDI)


class Steps:
    """Makes the steps of one run.

    progress : whose bar is moved on within steps that compare all pairs of networks
    """

    def __init__(self, run: Run, selection: Selection, progress: Progress = SILENT):
        self.run, self.selection, self.parts, self.progress = run, selection, Parts(run, selection), progress
        self.task = run.task
        self.study = self.task.name if self.task.built_in else ""

    def all(self) -> list[Step]:
        """All pieces of the run's analysis, in an order in which each finds what it reads."""
        groups, study = self.selection.groups, self.study
        metrics = [metric for metric in METRICS if metric != DSA or self.task.T > 1]  # one step leads nowhere
        steps = [self.similarity(metric) for metric in metrics]
        steps += [self.fixed_points(group) for group in groups]
        if study == "flipflop":
            steps += [self.graphs(group) for group in groups]
        if study == "cdi":
            steps += [self.lines(group) for group in groups]
            steps += [self.linearization(group) for group in groups]
        if study in TOPOLOGIES:
            steps += [self.whole_study(), self.topology()]
        if study == "cdi" and any(group.startswith("vanilla-") for group in groups):
            steps.append(self.untrained())
        steps += [self.portrait(group) for group in groups]
        if study in TOPOLOGIES:
            steps.append(self.claims())
        return steps

    # ------------------------------------------------------------------------------------------------ the steps

    def similarity(self, metric: str) -> Step:
        ids = self.selection.table.id.tolist()
        file = similarity_file(metric)

        def work():
            (self.run.path / file).unlink(missing_ok=True)
            if not ids:
                raise RunError(NONE_STUDIED)
            try:
                told = Share(self.progress, seconds, f"similarity {metric}", during="pairs")
                compare_networks(self.run, metric, only=ids, held=True, progress=told)
            except UsageError:
                if not (self.run.path / file).exists():
                    raise  # else it is of the statistics only: the distances are there

        reads = [networks_file(group) for group in self.selection.groups]
        samples, n = probe_trials(self.task) * self.task.T, self.selection.table.n.astype(int)  # of none, no number
        seconds = 0.5 + 4e-6 * samples * len(ids) + 1e-5 * len(ids) ** 2
        if metric == "cka":
            seconds += min(features_cost(n, samples), gram_cost(n, samples)) / MULTIPLICATIONS_A_SECOND
        if metric == DSA:
            seconds += 0.03 * len(ids) + 6e-5 * len(ids) ** 2
        return self._step("similarity", metric, reads, [file], work, self._ids, seconds, ())

    def fixed_points(self, group: str) -> Step:
        held = held_inputs(self.task)
        cdi = self.study == "cdi"

        def work():
            networks = self.parts.networks(group)
            if cdi:
                found = context_points(self.task, networks)
            else:
                found = find_fixed_points(networks, held, task=self.task)
            found.save(self._place(group_file("points", group)))

        settings = {"held": held.tolist()} | ({"speed": SPEED, "starts": STARTS, "noise": NOISE} if cdi else {})
        seconds = self._seconds(group, {"flipflop": 0.08, "cdi": 0.18}.get(self.study, 0.12) * len(held))
        return self._of_group("fixed-points", group, "points", work, settings, seconds, sources=SEARCHES)

    def graphs(self, group: str) -> Step:
        def work():
            made = transition_graphs(self.parts.networks(group), self.parts.points(group))
            TransitionGraph.save_list(self._place(group_file("graphs", group)), made)

        relu = self.selection.rows(group).activation.iloc[0] == "relu"
        seconds = self._seconds(group, 0.3 if relu else 0.1)  # more ways lead nowhere
        return self._of_group("topology", group, "graphs", work, {}, seconds, ["points"])

    def lines(self, group: str) -> Step:
        def work():
            made = line_attractors(self.parts.points(group))
            LineAttractor.save_list(self._place(group_file("lines", group)), made)

        return self._of_group("topology", group, "lines", work, {}, self._seconds(group, 0.01), ["points"])

    def linearization(self, group: str) -> Step:
        def work():
            lines, rows = self.parts.lines(group), self.selection.rows(group)
            made = line_modes(self.task, self.parts.networks(group), self.parts.points(group), lines, rows)
            made.save(self._place(group_file("modes", group)))

        seconds = self._seconds(group, 0.05)
        return self._of_group("linearization", group, "modes", work, {}, seconds, ["points", "lines"])

    def whole_study(self) -> Step:
        reads = [networks_file(group) for group in self.selection.groups] if self.study == "sine" else []
        return self._assembled("study", self.study, *STUDIED[self.study], reads)

    def topology(self) -> Step:
        reads = [whole_file("sine")] if self.study == "sine" else []
        return self._assembled("topology", "topology", *TOPOLOGIES[self.study], reads)

    def untrained(self) -> Step:
        groups = [group for group in self.selection.groups if group.startswith("vanilla-")]
        file = whole_file("untrained")

        def work():
            pairs = [(self.parts.networks(group), self.selection.rows(group)) for group in groups]
            untrained_study(self.task, pairs, self.selection.left_out).save(self._place(file))

        reads = [networks_file(group) for group in groups]
        return self._step("untrained", "", reads, _with_table(file), work, self._ids, 0.3)

    def portrait(self, group: str) -> Step:
        def work():
            rows, networks, points = self.selection.rows(group), self.parts.networks(group), None
            if (self.run.path / group_file("points", group)).exists():
                points = self.parts.points(group)
            i = typical(rows, self.run.learnt(rows))
            paths = ()
            if self.study == "flipflop" and points is not None:
                paths = heteroclinic_paths(networks, points, i, steps=DRAWN_STEPS)
            made = portrait(networks, i, rows.id[i], *drawn_trials(self.task), points, paths)
            made.save(self._place(group_file("portraits", group)))

        return self._of_group("portraits", group, "portraits", work, {}, 0.2, ["points"])

    def claims(self) -> Step:
        file = whole_file("claims")

        def work():
            measure_claims(load_analysis(self.run)).save(self._place(file))

        reads = [TABLE, *map(similarity_file, OF_THE_PAPER), *map(whole_file, (self.study, "topology", "untrained"))]
        return self._step("claims", "", reads, _with_table(file), work, {}, 0.3)

    # ------------------------------------------------------------------------------------------------ what helps

    def _step(self, name, part, reads, writes, work, settings, seconds, sources=STUDIES) -> Step:
        settings = {"task": self.task.fingerprint, **settings}
        return Step(name, part, tuple(reads), tuple(writes), work, settings, seconds, sources)

    def _of_group(self, name, group, writes: str, work, settings, seconds, reads=(), sources=STUDIES) -> Step:
        files = [networks_file(group), *(group_file(kind, group) for kind in reads)]
        settings = {"ids": self.selection.rows(group).id.tolist(), **settings}
        return self._step(name, group, files, [group_file(writes, group)], work, settings, seconds, sources)

    def _assembled(self, name, result: str, kinds, assemble, reads) -> Step:
        file = whole_file(result)

        def work():
            assemble(self.parts, *self.parts.complete(kinds)).save(self._place(file))

        reads = [*reads, *(group_file(kind, group) for kind in kinds for group in self.selection.groups)]
        return self._step(name, "", reads, _with_table(file), work, self._ids, 0.2)

    @property
    def _ids(self) -> dict:
        return {"ids": self.selection.table.id.tolist()}

    def _place(self, file: str):
        path = self.run.path / file
        make_folder(path.parent)
        return path

    def _seconds(self, group: str, vanilla: float) -> float:
        """Estimate for a group from that for one vanilla network of n = 64."""
        rows = self.selection.rows(group)
        scale = max(float(rows.n.iloc[0]) / 64, 0.5) ** 1.5
        return vanilla * len(rows) * SECONDS[rows.cell.iloc[0]] * scale
