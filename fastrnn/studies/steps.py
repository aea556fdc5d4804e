"""The pieces of an analysis: which files each reads and writes, what it takes, and how it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..analysis.comparison import compare_networks, probe_trials, similarity_file
from ..analysis.fixed_points import find_fixed_points
from ..analysis.line_attractor import LineAttractor, line_attractors
from ..analysis.points import FixedPoints
from ..analysis.portrait import portrait, typical
from ..analysis.similarity.gram import features_cost, gram_cost
from ..analysis.transitions import TransitionGraph, heteroclinic_paths, transition_graphs
from ..errors import RunError, UsageError
from ..folder import POPULATION, SUFFIX, TABLE
from ..runs import Run
from ..storage import make_folder
from .cdi import FEWEST_ON_LINE, LineModes, cdi_study, line_modes
from .claims import measure_claims
from .contexts import NOISE, SPEED, STARTS, context_points
from .flipflop import flipflop_study
from .kept import METRICS, group_file, load_analysis, whole_file
from .probes import drawn_trials, held_inputs
from .selection import Selection, select_networks
from .sine import SineStudy, sine_study
from .topology import path_topology, states_along, transition_topology, without
from .untrained import untrained_study

NAMES = ("similarity", "fixed-points", "linearization", "topology", "study", "untrained", "portraits", "claims")
OF_CDI = ("linearization", "untrained")
STUDIES = ("studies/**/*.py",)
SEARCHES = ("studies/contexts.py", "studies/probes.py")  # beside `find_fixed_points`, and the settings
NONE_STUDIED = "no network of the run is studied"
DRAWN_STEPS = 2000  # of a path between fixed points
# kinds of files of each group that the task's study, and its topology, are made from
STUDIED = {"flipflop": ("points", "graphs"), "sine": ("points",), "cdi": ("modes",)}
TOPOLOGIES = {"flipflop": ("graphs",), "sine": ("points",), "cdi": ("points", "lines")}
MULTIPLICATIONS_A_SECOND = 4e10  # in float64, of two threads (AMD Zen 4)
SECONDS = {  # for one network of n = 64 on two threads (AMD Zen 4), by cell, relative to vanilla
    "vanilla": 1.0,
    "ugrnn": 1.6,
    "gru": 1.6,
    "lstm": 4.0,
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
    reads = (POPULATION, TABLE, *(f"groups/{group}{SUFFIX}" for group in run.groups))
    file = whole_file("selection")
    return Step(
        "selection", "", reads, _with_table(file), lambda: select_networks(run).save(run.path / file), seconds=0.1
    )


def steps_of(run: Run, selection: Selection) -> list[Step]:
    """All pieces of a run's analysis, in an order in which each finds what it reads."""
    return Steps(run, selection).all()


def names_for(run: Run) -> tuple[str, ...]:
    """Those of `NAMES` that there are for a run's task."""
    task = run.settings["task"]
    names = NAMES if task in TOPOLOGIES else ("similarity", "fixed-points", "portraits")
    return tuple(name for name in names if task == "cdi" or name not in OF_CDI)


class Steps:
    """Makes the steps of one run."""

    def __init__(self, run: Run, selection: Selection):
        self.run, self.selection = run, selection
        self.task = run.task
        self.study = self.task.name if self.task.built_in else ""

    def all(self) -> list[Step]:
        groups, study = self.selection.groups, self.study
        steps = [self.similarity(metric) for metric in METRICS]
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
                compare_networks(self.run, metric, only=ids, held=True, progress=False)
            except UsageError:
                if not (self.run.path / file).exists():
                    raise  # else it is of the statistics only: the distances are there

        reads = [f"groups/{group}{SUFFIX}" for group in self.selection.groups]
        samples, n = probe_trials(self.task) * self.task.T, self.selection.table.n
        seconds = 0.5 + 4e-6 * samples * len(ids) + 1e-5 * len(ids) ** 2
        if metric == "cka":
            seconds += min(features_cost(n, samples), gram_cost(n, samples)) / MULTIPLICATIONS_A_SECOND
        return self._step("similarity", metric, reads, [file], work, self._ids, seconds, ())

    def fixed_points(self, group: str) -> Step:
        held = held_inputs(self.task)
        cdi = self.study == "cdi"

        def work():
            networks = self._networks(group)
            if cdi:
                found = context_points(self.task, networks)
            else:
                found = find_fixed_points(networks, held, task=self.task)
            found.save(self._place(group_file("points", group)))

        settings = {"held": held.tolist()} | ({"speed": SPEED, "starts": STARTS, "noise": NOISE} if cdi else {})
        seconds = self._seconds(group, {"flipflop": 0.08, "cdi": 0.18}.get(self.study, 0.12) * len(held))
        return self._of_group("fixed-points", group, ["points"], work, settings, seconds, sources=SEARCHES)

    def graphs(self, group: str) -> Step:
        def work():
            made = transition_graphs(self._networks(group), self._points(group))
            TransitionGraph.save_list(self._place(group_file("graphs", group)), made)

        return self._of_group("topology", group, ["graphs"], work, {}, self._seconds(group, 0.1), ["points"])

    def lines(self, group: str) -> Step:
        def work():
            made = line_attractors(self._points(group))
            LineAttractor.save_list(self._place(group_file("lines", group)), made)

        return self._of_group("topology", group, ["lines"], work, {}, self._seconds(group, 0.01), ["points"])

    def linearization(self, group: str) -> Step:
        def work():
            lines = LineAttractor.load_list(self._found(group_file("lines", group), "topology"))
            rows = self.selection.rows(group)
            made = line_modes(self.task, self._networks(group), self._points(group), lines, rows)
            made.save(self._place(group_file("modes", group)))

        seconds = self._seconds(group, 0.05)
        return self._of_group("linearization", group, ["modes"], work, {}, seconds, ["points", "lines"])

    def whole_study(self) -> Step:
        kinds = STUDIED[self.study]
        file = whole_file(self.study)

        def work():
            getattr(self, f"_{self.study}")().save(self._place(file))

        reads = [group_file(kind, group) for kind in kinds for group in self.selection.groups]
        reads += [f"groups/{group}{SUFFIX}" for group in self.selection.groups] if self.study == "sine" else []
        return self._step("study", "", reads, _with_table(file), work, self._ids, 0.2)

    def topology(self) -> Step:
        kinds = TOPOLOGIES[self.study]
        file = whole_file("topology")

        def work():
            getattr(self, f"_{self.study}_topology")().save(self._place(file))

        reads = [group_file(kind, group) for kind in kinds for group in self.selection.groups]
        reads += [whole_file("sine")] if self.study == "sine" else []
        return self._step("topology", "", reads, _with_table(file), work, self._ids, 0.2)

    def untrained(self) -> Step:
        groups = [group for group in self.selection.groups if group.startswith("vanilla-")]
        file = whole_file("untrained")

        def work():
            pairs = [(self._networks(group), self.selection.rows(group)) for group in groups]
            untrained_study(self.task, pairs, self.selection.left_out).save(self._place(file))

        reads = [f"groups/{group}{SUFFIX}" for group in groups]
        return self._step("untrained", "", reads, _with_table(file), work, self._ids, 0.3)

    def portrait(self, group: str) -> Step:
        def work():
            rows, networks, points = self.selection.rows(group), self._networks(group), None
            if (self.run.path / group_file("points", group)).exists():
                points = self._points(group)
            i = typical(rows, self.run.learnt(rows))
            paths = ()
            if self.study == "flipflop" and points is not None:
                paths = heteroclinic_paths(networks, points, i, steps=DRAWN_STEPS)
            made = portrait(networks, i, rows.id[i], *drawn_trials(self.task), points, paths)
            made.save(self._place(group_file("portraits", group)))

        return self._of_group("portraits", group, ["portraits"], work, {}, 0.2, ["points"])

    def claims(self) -> Step:
        file = whole_file("claims")

        def work():
            measure_claims(load_analysis(self.run)).save(self._place(file))

        reads = [TABLE, *map(similarity_file, METRICS), *map(whole_file, (self.study, "topology", "untrained"))]
        return self._step("claims", "", reads, _with_table(file), work, {}, 0.3)

    # -------------------------------------------------------------------------------------------------- studies

    def _flipflop(self):
        groups, left_out = self._complete(STUDIED[self.study])
        points, graphs = [], []
        for group in groups:
            found = self._points(group)
            points += [(found, i) for i in range(len(found.search_status))]
            graphs += TransitionGraph.load_list(self.run.path / group_file("graphs", group))
        return flipflop_study(points, graphs, self._rows(groups), left_out)

    def _sine(self):
        groups, left_out = self._complete(STUDIED[self.study])
        parts = [(self._networks(group), self._points(group), self.selection.rows(group)) for group in groups]
        return sine_study(self.task, parts, left_out)

    def _cdi(self):
        groups, left_out = self._complete(STUDIED[self.study])
        return cdi_study([LineModes.load(self.run.path / group_file("modes", group)) for group in groups], left_out)

    def _flipflop_topology(self):
        groups, left_out = self._complete(TOPOLOGIES[self.study])
        graphs = [g for group in groups for g in TransitionGraph.load_list(self.run.path / group_file("graphs", group))]
        return transition_topology(graphs, self._rows(groups), left_out)

    def _sine_topology(self):
        groups, left_out = self._complete(TOPOLOGIES[self.study])
        study = SineStudy.load(self._found(whole_file("sine"), "study"))
        taken = dict(zip(study.table.id, study.taken, strict=True))
        states = []
        for group in groups:
            found = self._points(group)
            for name in self.selection.rows(group).id:
                there = taken[name] >= 0
                states.append(_at(found.xstar, taken[name], there))
        return path_topology(states, self._rows(groups), left_out, "fixed points of all inputs, in their order")

    def _cdi_topology(self):
        groups, left_out = self._complete(TOPOLOGIES[self.study])
        states, whole = [], []
        for group in groups:
            points = self._points(group)
            lines = LineAttractor.load_list(self.run.path / group_file("lines", group))
            known = {(line.network, line.condition): line for line in lines}
            for i in range(len(points.search_status)):
                two = [known.get((i, c)) for c in range(2)]
                whole.append(all(line is not None and len(line) >= FEWEST_ON_LINE for line in two))
                if whole[-1]:
                    states.append([states_along(points, line) for line in two])
        reason = f"fewer than {FEWEST_ON_LINE} slow points in one of the contexts"
        table, left_out = without(self._rows(groups), left_out, [not both for both in whole], reason)
        joined = [np.concatenate(two) for two in states]
        return path_topology(joined, table, left_out, "states evenly along the lines of slow points of both contexts")

    # ------------------------------------------------------------------------------------------------ what helps

    def _step(self, name, part, reads, writes, work, settings, seconds, sources=STUDIES) -> Step:
        settings = {"task": self.task.fingerprint, **settings}
        return Step(name, part, tuple(reads), tuple(writes), work, settings, seconds, sources)

    def _of_group(self, name, group, writes, work, settings, seconds, reads=(), sources=STUDIES) -> Step:
        files = [f"groups/{group}{SUFFIX}", *(group_file(kind, group) for kind in reads)]
        settings = {"ids": self.selection.rows(group).id.tolist(), **settings}
        places = [group_file(kind, group) for kind in writes]
        return self._step(name, group, files, places, work, settings, seconds, sources)

    @property
    def _ids(self) -> dict:
        return {"ids": self.selection.table.id.tolist()}

    def _networks(self, group: str):
        return self.selection.networks(self.run, group)

    def _rows(self, groups):
        return self.selection.table[self.selection.table.group.isin(groups)].reset_index(drop=True)

    def _points(self, group: str) -> FixedPoints:
        found = FixedPoints.load(self._found(group_file("points", group), "fixed-points"))
        if len(found.search_status) != len(self.selection.rows(group)):
            raise RunError(
                f"the fixed points of {group} are those of other networks: run fastrnn analyze --only fixed-points"
            )
        return found

    def _found(self, file: str, step: str):
        """Path of a file that another step writes."""
        path = self.run.path / file
        if not path.exists():
            raise RunError(f"{file} is missing: run fastrnn analyze --only {step}")
        return path

    def _complete(self, kinds):
        """Groups that have all those files, and who is left out with the reason for the networks of the others."""
        left_out, complete, missing = self.selection.left_out, [], ""
        for group in self.selection.groups:
            files = [group_file(kind, group) for kind in kinds]
            absent = [file for file in files if not (self.run.path / file).exists()]
            if absent:
                missing = f"{absent[0]} is missing: run fastrnn analyze"
                rows = self.selection.rows(group)
                _, left_out = without(rows, left_out, [True] * len(rows), missing)
            else:
                complete.append(group)
        if not complete:
            raise RunError(missing or NONE_STUDIED)
        return complete, left_out

    def _place(self, file: str):
        path = self.run.path / file
        make_folder(path.parent)
        return path

    def _seconds(self, group: str, vanilla: float) -> float:
        """Estimate for a group from that for one vanilla network of n = 64."""
        rows = self.selection.rows(group)
        scale = max(float(rows.n.iloc[0]) / 64, 0.25) ** 1.5
        return vanilla * len(rows) * SECONDS[rows.cell.iloc[0]] * scale


def _at(states, index, there):
    """States (C, S) at an index (C,); NaN where it is not there."""
    return np.where(there[:, None], states[np.where(there, index, 0)], np.nan)
