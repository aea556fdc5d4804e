"""The panels of the paper's figures, and some more: which of them a run has results for, drawn, with captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from ..errors import Status
from ..progress import counted
from ..studies.cdi import LINEARIZED
from ..studies.kept import Kept
from ..studies.resampling import FEWEST
from ..studies.topology import HARDLY_TOLD
from . import cdi, distances, flipflop, losses, portraits, sine, tasks, untrained
from .figure import is_crowd
from .learning_curves import learning_curves

ARRANGED = (
    "Points are networks, placed in the plane so that their distances are as nearly as possible those measured "
    "(metric MDS); axes have no units"
)
TYPICAL = "one of each kind, that of the median validation loss among those that learnt the task, if any did"
KINDS_OF_POINTS = "stable black; with 1, 2, 3 unstable dimensions red, green, blue; with more grey"
ON_TOP = "Of degenerate points eigenvalues don't tell the stability: they lie in a continuum, or on a kink of relu."
IN_ORDER = "Kinds of very many networks are in the order of their numbers, and only the largest of those is told."
FAR = (
    "Points far from all trajectories are not drawn, but counted kind by kind: exact (fixed, and not degenerate), "
    "degenerate, slow."
)
LINES = "in both contexts, or in the one where it has a line"
COLOURED_BY = {"flipflop": "what the first channel holds", "sine": "their input", "cdi": "the sum to be held"}


@dataclass(frozen=True)
class Panel:
    """A panel: what it is called, what it shows, what it needs.

    name : what it is, in a word or two
    heading : a few words more, for people
    draw : of the results, which are there
    caption : of the results, in sentences, with counts
    needs : attributes of `Kept` that must be there
    paper : by task, where it stands in the paper
    everywhere : also drawn for tasks that are not in `paper`, those in `but` aside
    least : how many networks the results must be of
    wide : whether it takes a page's whole width
    """

    name: str
    heading: str
    draw: Callable[[Kept], Figure]
    caption: Callable[[Kept], str]
    needs: tuple[str, ...] = ()
    paper: dict[str, str] = field(default_factory=dict)
    everywhere: bool = False
    but: tuple[str, ...] = ()
    least: int = 1
    wide: bool = False

    def file(self, task: str) -> str:
        """Name of its files, without ending: figure-1d where it is in the paper."""
        return f"figure-{self.paper[task]}" if task in self.paper else self.name

    def there(self, kept: Kept) -> bool:
        """Whether it belongs to the run's task and there are results to draw."""
        for name in self.needs:
            value = getattr(kept, name)
            if value is None or len(getattr(value, "table", value)) < self.least:
                return False
        task = kept.run.task_name
        return task in self.paper or (self.everywhere and task not in self.but)


def panels(kept: Kept) -> list[Panel]:
    """The panels that there are results for."""
    return [panel for panel in PANELS if panel.there(kept)]


def _each(kept: Kept) -> list:
    """Portraits, those of the same activation and size together: a row of a figure."""
    activations = list(dict.fromkeys(kept.run.table.activation))
    return sorted(kept.portraits.values(), key=lambda one: (activations.index(one.activation), one.n))


def _networks(value) -> str:
    """How many networks results are of, and how many were left out."""
    left_out = f", {len(value.left_out):,} left out" if len(value.left_out) else ""
    return counted(len(value.table), "network") + left_out


def _with_lines(study) -> str:
    """Those networks of a `CdiStudy` that have a line of slow points in some context."""
    return counted(int(study.groups.lines.sum()), "network")


def _asked(kept: Kept) -> str:
    return counted(len(kept.run.table), "network")


def _among(kept: Kept, number: int) -> str:
    """So many networks of all that were asked for."""
    asked = _asked(kept)
    return asked if number == len(kept.run.table) else f"{number:,} of {asked}"


def _finished(kept: Kept) -> int:
    """How many networks have a learning curve: those whose training is over."""
    return sum(len(kept.run.finished(group).ids) for group in kept.run.finished_groups())


def _trained(kept: Kept) -> int:
    """How many networks were trained to the end."""
    return int((kept.run.table.status == Status.TRAINED.label).sum())


def _blurred(value) -> str:
    """What a pixel of a matrix is, where there are fewer pixels than networks."""
    return " A pixel is a mean over neighbours." if distances.is_blurred(len(value.table)) else ""


def _medians(kept: Kept) -> str:
    """What a thick line among learning curves means, where there is one."""
    crowds = [len(kept.run.finished(group).ids) for group in kept.run.finished_groups()]
    return " Thick: the median of very many." if any(map(is_crowd, crowds)) else ""


def _dashed(kept: Kept) -> str:
    """What a dashed line of the threshold means, where there is one."""
    return "" if kept.run.threshold is None else " Dashed: below it a network counts as having learnt the task."


def _embedding(made, distance: str) -> Figure:
    return distances.embedding(made.table, made.embedding.points, made.embedding.stress, distance)


def _shade(kept: Kept) -> str:
    """What the colour of trajectories means."""
    return COLOURED_BY.get(kept.run.task_name, "the first target")


def _seen(kept: Kept, text: str) -> str:
    """Caption of a panel of portraits."""
    return (
        f"{counted(len(kept.portraits), 'network')} ({TYPICAL}), each in its own first three principal components, "
        f"which have one scale; what is far away is fainter. {text}"
    )


PANELS = (
    Panel(
        "learning_curves",
        "Learning curves",
        lambda kept: learning_curves(kept.run),
        lambda kept: (
            f"Training loss (mean squared error) of {_among(kept, _finished(kept))}, a line each, in the colour of the "
            f"activation.{_medians(kept)} A cross: a network diverged.{_dashed(kept)}"
        ),
        everywhere=True,
        wide=True,
    ),
    Panel(
        "figure-c",
        "Losses at the end",
        lambda kept: losses.final_losses(kept.run),
        lambda kept: (
            f"Histograms of the validation losses (mean squared error) of {_among(kept, _trained(kept))}, trained to "
            f"the end.{_dashed(kept)}"
        ),
        everywhere=True,
        wide=True,
    ),
    Panel(
        "task",
        "The task",
        lambda kept: tasks.task(_each(kept)[0], kept.run.task_name),
        lambda kept: (
            f"Probe trials: inputs, targets (dashed), and the outputs of the network {_each(kept)[0].id}, 1 of "
            f"{_asked(kept)}."
        ),
        ("portraits",),
        {"flipflop": "1a", "sine": "2a", "cdi": "3a"},
        everywhere=True,
    ),
    Panel(
        "trajectories",
        "Trajectories",
        lambda kept: portraits.trajectories(_each(kept), kept.run.task_name),
        lambda kept: _seen(kept, f"Lines are probe trials, in the colour of {_shade(kept)}."),
        ("portraits",),
        {"flipflop": "1b", "sine": "2b", "cdi": "3b"},
        everywhere=True,
        wide=True,
    ),
    Panel(
        "slow-points",
        "Slow points",
        lambda kept: cdi.slow_points(_each(kept)),
        lambda kept: _seen(
            kept,
            "Markers are slow points, in the colour of the network's output there; their numbers in context 1 and 2 "
            f"are given. Thin lines are probe trials, coloured by context. {FAR}",
        ),
        ("portraits",),
        {"cdi": "3b-slow-points"},
        wide=True,
    ),
    Panel(
        "fixed-points",
        "Fixed points",
        lambda kept: portraits.fixed_points(_each(kept), kept.run.task_name),
        lambda kept: _seen(
            kept,
            f"Fixed points under held inputs: {KINDS_OF_POINTS}; numbers are given in this order, and how many of "
            "the points are degenerate (their linearization doesn't tell: a continuum, or a kink of relu) or slow (not "
            "fixed), where any are. Lines of the same colours, where there are any, lead away from unstable points "
            f"along their unstable directions. {FAR}",
        ),
        ("portraits",),
        {"flipflop": "1e", "sine": "2d"},
        everywhere=True,
        but=("cdi",),  # slow points are drawn there
        wide=True,
    ),
    Panel(
        "eigenvalues",
        "Linearisation at the fixed points",
        lambda kept: sine.eigenvalues(_each(kept)),
        lambda kept: (
            f"{counted(len(kept.portraits), 'network')} ({TYPICAL}): the {sine.MODES} largest eigenvalues of the "
            "Jacobian, but for half a complex pair, at the fixed points of each input. A mode grows beyond the dashed "
            "unit circle; its angle is its frequency."
        ),
        ("portraits",),
        {"sine": "2d-eigenvalues"},
        wide=True,
    ),
    Panel(
        "svcca-matrix",
        "SVCCA distances",
        lambda kept: distances.distance_matrix(kept.svcca.table, kept.svcca.distances, "SVCCA distance"),
        lambda kept: (
            f"SVCCA distances (1 - mean canonical correlation) between {_networks(kept.svcca)}; rows and columns are "
            f"networks, kind by kind.{_blurred(kept.svcca)}"
        ),
        ("svcca",),
        {"flipflop": "1c"},
        least=2,
    ),
    Panel(
        "svcca-embedding",
        "Networks by SVCCA distance",
        lambda kept: _embedding(kept.svcca, "SVCCA distance"),
        lambda kept: (
            f"SVCCA distances between {_networks(kept.svcca)}. {ARRANGED}. Stress {kept.svcca.embedding.stress:.2f}."
        ),
        ("svcca",),
        {"flipflop": "1d", "sine": "2c", "cdi": "3c"},
        everywhere=True,
        least=2,
        wide=True,
    ),
    Panel(
        "topology",
        "Networks by the graphs of their fixed points",
        lambda kept: distances.embedding(
            kept.topology.table, kept.topology.points, kept.topology.stress, "Distance of graphs"
        ),
        lambda kept: (
            f"Distances between the graphs of the fixed points of {_networks(kept.topology)} "
            f"({kept.topology.measure}). {ARRANGED}. Stress {kept.topology.stress:.2f}."
            + ("" if kept.run.task_name == "flipflop" else f" Beware: {HARDLY_TOLD}.")
        ),
        ("topology",),
        {"flipflop": "1f", "sine": "2e", "cdi": "3d"},
        least=2,
        wide=True,
    ),
    Panel(
        "counts",
        "Numbers of fixed points",
        lambda kept: flipflop.counts(kept.flipflop),
        lambda kept: (
            f"Fixed points without input of {_networks(kept.flipflop)}, a bar each, stacked by unstable dimensions. "
            "Dashed: the number that most have; where a network has far more, that stands above its bar. Points far "
            "from all states that a network visits are left out."
            + (f" {ON_TOP}" if kept.flipflop.table.degenerate.any() else "")
            + (f" {IN_ORDER}" if flipflop.has_slender(kept.flipflop) else "")
        ),
        ("flipflop",),
        {"flipflop": "1-counts"},
        wide=True,
    ),
    Panel(
        "graph",
        "Mean transition graph",
        lambda kept: flipflop.graph(kept.flipflop),
        lambda kept: (
            "Where networks go from near a fixed point: rows are points, by their three outputs rounded to -1, 0 and "
            f"+1, columns where the starts settle. Mean share of the starts over those of {_networks(kept.flipflop)} "
            "that have a point there; where not all have one, their number is in brackets."
        ),
        ("flipflop",),
        {"flipflop": "1-graph"},
    ),
    Panel(
        "frequencies",
        "Linear and commanded frequency",
        lambda kept: sine.frequencies(kept.sine),
        lambda kept: (
            "Frequency of the leading complex pair of eigenvalues at the fixed point of each input, "
            f"{_networks(kept.sine)}, against the frequency that the input commands. Thin lines are networks, thick "
            "ones medians of a cell. Below: the difference of both frequencies. What is far from all medians is "
            "counted, not drawn."
        ),
        ("sine",),
        {"sine": "2f"},
    ),
    Panel(
        "spectra",
        "Eigenvalues at the slow points",
        lambda kept: cdi.spectra(kept.cdi),
        lambda kept: (
            f"Magnitudes of the eigenvalues, largest first, averaged over at most {LINEARIZED} slow points evenly "
            f"along a network's line, {LINES}; mean over {_with_lines(kept.cdi)}, kind by kind, with bands of one "
            "standard error. Dashed: a mode that neither grows nor decays."
        ),
        ("cdi",),
        {"cdi": "3e"},
    ),
    Panel(
        "modes",
        "Modes that integrate",
        lambda kept: cdi.modes(kept.cdi),
        lambda kept: (
            "Linear prediction of the integral of a unit input with the slowest modes only, median over at most "
            f"{LINEARIZED} slow points evenly along a network's line, {LINES}; mean over "
            f"{_with_lines(kept.cdi)}, kind by kind, with bands of one standard error. A perfect integrator gives 1 "
            "for the relevant stream and 0 for the other (dashed)."
        ),
        ("cdi",),
        {"cdi": "3f"},
    ),
    Panel(
        "untrained",
        "Trained and untrained networks",
        lambda kept: untrained.trained_and_untrained(kept.untrained),
        lambda kept: (
            f"{counted(len(kept.untrained.table), 'vanilla network')}, trained or not. Left, of the network of each "
            "class that has the lowest loss: trajectories in its first three principal components, and its output at "
            "the last step of each trial against the target. Right: average canonical correlation of the first "
            f"{kept.untrained.components} components, mean over the pairs of networks of two classes, with its 95% "
            f"interval where both have at least {FEWEST} networks; black: what the paper compares."
        ),
        ("untrained",),
        {"cdi": "4"},
        wide=True,
    ),
    Panel(
        "dsa-embedding",
        "Networks by DSA distance",
        lambda kept: _embedding(kept.dsa, "DSA distance"),
        lambda kept: (
            f"How alike the states of {_networks(kept.dsa)} move: angles between linear maps of rank "
            f"{kept.dsa.settings['rank']}, fitted to {counted(kept.dsa.settings['delays'], 'step')} in a row, after "
            "the best alignment of each pair, which is at most "
            f"{float((kept.dsa.distances - kept.dsa.bounds).max()):.3f} radians below the one found. "
            f"{ARRANGED}. Stress {kept.dsa.embedding.stress:.2f}."
        ),
        ("dsa",),
        {},
        everywhere=True,
        least=2,
        wide=True,
    ),
    Panel(
        "figure-e",
        "SVCCA beside CKA",
        lambda kept: distances.both_metrics(kept.svcca, kept.cka),
        lambda kept: (
            f"Distances between {_networks(kept.svcca)} by SVCCA (above) and CKA (below); in the matrices each cell's "
            f"networks are in the order {', '.join(kept.svcca.table.activation.unique())}."
            f"{_blurred(kept.svcca)} {ARRANGED}. "
            f"Stress {kept.svcca.embedding.stress:.2f} and {kept.cka.embedding.stress:.2f}."
        ),
        ("svcca", "cka"),
        everywhere=True,
        least=2,
        wide=True,
    ),
)
