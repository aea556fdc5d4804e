"""The studies of a whole run, and the graphs of its networks, put together from the files of its groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..analysis.line_attractor import LineAttractor
from ..analysis.points import FixedPoints
from ..analysis.transitions import TransitionGraph
from ..errors import RunError
from ..networks import Networks
from ..runs import Run
from .cdi import FEWEST_ON_LINE, LEAST_RANGE, LineModes, cdi_study
from .flipflop import flipflop_study
from .kept import group_file, whole_file
from .selection import Selection
from .sine import SineStudy, sine_study
from .topology import path_topology, states_along, transition_topology, without

NONE_STUDIED = "no network of the run is studied"


class Parts:
    """What steps read, group by group: the networks of a selection, and the files that other steps wrote of them."""

    def __init__(self, run: Run, selection: Selection):
        self.run, self.selection = run, selection

    def networks(self, group: str) -> Networks:
        return self.selection.networks(self.run, group)

    def points(self, group: str) -> FixedPoints:
        found = FixedPoints.load(self.found(group_file("points", group), "fixed-points"))
        if len(found.search_status) != len(self.selection.rows(group)):
            raise RunError(
                f"the fixed points of {group} are those of other networks: run fastrnn analyze --only fixed-points"
            )
        return found

    def graphs(self, group: str) -> list[TransitionGraph]:
        return TransitionGraph.load_list(self.found(group_file("graphs", group), "topology"))

    def lines(self, group: str) -> list[LineAttractor]:
        return LineAttractor.load_list(self.found(group_file("lines", group), "topology"))

    def modes(self, group: str) -> LineModes:
        return LineModes.load(self.found(group_file("modes", group), "linearization"))

    def found(self, file: str, step: str) -> Path:
        """Path of a file that another step writes."""
        path = self.run.path / file
        if not path.exists():
            raise RunError(f"{file} is missing: run fastrnn analyze --only {step}")
        return path

    def rows(self, groups):
        """The run's rows of the networks of some groups."""
        return self.selection.table[self.selection.table.group.isin(groups)].reset_index(drop=True)

    def complete(self, kinds):
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


def _flipflop(parts: Parts, groups, left_out):
    points, graphs = [], []
    for group in groups:
        found = parts.points(group)
        points += [(found, i) for i in range(len(found.search_status))]
        graphs += parts.graphs(group)
    return flipflop_study(points, graphs, parts.rows(groups), left_out)


def _sine(parts: Parts, groups, left_out):
    found = [(parts.networks(group), parts.points(group), parts.selection.rows(group)) for group in groups]
    return sine_study(parts.run.task, found, left_out)


def _cdi(parts: Parts, groups, left_out):
    return cdi_study([parts.modes(group) for group in groups], left_out)


def _flipflop_topology(parts: Parts, groups, left_out):
    return transition_topology([g for group in groups for g in parts.graphs(group)], parts.rows(groups), left_out)


def _sine_topology(parts: Parts, groups, left_out):
    study = SineStudy.load(parts.found(whole_file("sine"), "study"))
    taken = dict(zip(study.table.id, study.taken, strict=True))
    states = []
    for group in groups:
        found = parts.points(group)
        states += [_at(found.xstar, taken[name]) for name in parts.selection.rows(group).id]
    return path_topology(states, parts.rows(groups), left_out, "fixed points of all inputs, in their order")


def _at(states, index):
    """Of states (F, S), of which there may be none, those at an index (C,), (C, S); NaN where it is negative."""
    made = np.full((len(index), states.shape[1]), np.nan)
    made[index >= 0] = states[index[index >= 0]]
    return made


def _cdi_topology(parts: Parts, groups, left_out):
    states, whole = [], []
    for group in groups:
        points = parts.points(group)
        known = {(line.network, line.condition): line for line in parts.lines(group)}
        made = parts.modes(group).table
        both = (made.line_0 & made.line_1).tolist()
        states += [
            np.concatenate([states_along(points, known[i, c]) for c in range(2)]) for i in np.flatnonzero(both).tolist()
        ]
        whole += both
    reason = (
        f"no line in one of the contexts: fewer than {FEWEST_ON_LINE} slow points, or over less than "
        f"{LEAST_RANGE:.0%} of the outputs' range"
    )
    table, left_out = without(parts.rows(groups), left_out, [not both for both in whole], reason)
    return path_topology(states, table, left_out, "states evenly along the lines of slow points of both contexts")


# of each task: kinds of files of every group, and what is made from those of the groups that have them all
STUDIED = {
    "flipflop": (("points", "graphs"), _flipflop),
    "sine": (("points",), _sine),
    "cdi": (("modes",), _cdi),
}
TOPOLOGIES = {
    "flipflop": (("graphs",), _flipflop_topology),
    "sine": (("points",), _sine_topology),
    "cdi": (("points", "lines", "modes"), _cdi_topology),
}
