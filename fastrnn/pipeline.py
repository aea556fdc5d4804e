"""A run's whole analysis: only what is missing or out of date is computed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from threadpoolctl import ThreadpoolController

from .analysis.responses import ROLLOUT_BYTES, probe_trials
from .errors import FastrnnError, RunError, UsageError
from .folder import ANALYSIS, POPULATION, FolderLock
from .plan import duration, size
from .progress import Interrupted, Interruption, Progress, counted
from .runs import Run, as_run, load_runs
from .storage import make_folder, remove_temporaries
from .studies.claims import Claims
from .studies.kept import whole_file
from .studies.ledger import Ledger
from .studies.selection import Selection
from .studies.steps import NAMES, Step, Steps, names_for, selection_step
from .values import check_name

UNUSABLE = "run"  # among the failures: the folder itself can't be used
AGAIN = "fastrnn analyze, without --only, makes it again"
LIBRARIES = 400 << 20  # bytes in memory before any network is looked at
COMPARED = 4e9  # bytes of responses that a comparison keeps at most, as `pairwise_distances` has it
WORTH_SAYING = 10.0  # seconds of a step: a log of hours would say nothing otherwise
LONG = 60.0  # seconds of a step, about, from which on it is said what it will take


@dataclass
class Analyzed:
    """What came of the analysis of one run.

    run : Run
    studied : networks in the studies; left_out : by id, why a network is not
    done : steps that were computed now; fresh : steps that were up to date
    failed : by step, why it could not be done; under "run" where the folder itself can't be used
    stale : steps that were not asked for and whose results are out of date
    """

    run: Run
    studied: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)

    def report(self) -> dict:
        """All of it in what JSON can hold, the claims with it."""
        return {
            "run": str(self.run.path),
            "task": self.run.task_name,
            "studied": self.studied,
            "left_out": self.left_out,
            "done": self.done,
            "up_to_date": len(self.fresh),
            "out_of_date": self.stale,
            "failed": self.failed,
            "claims": self._claims(),
        }

    def _claims(self) -> list[dict]:
        """Rows of the claims kept; none where the run can't be used, or their file can't be read."""
        path = self.run.path / whole_file("claims")
        if UNUSABLE in self.failed or not path.exists():
            return []
        try:
            return Claims.load(path).table.to_dict("records")
        except FastrnnError:
            return []


def analyze(run, only=None, *, progress: bool = True) -> Analyzed:
    """Do all analyses of a run that are missing or out of date, and keep what comes of them.

    Results are kept in the run's folder under `analysis/`; `load_analysis` reads them. What is there already and was
    made from the same inputs by the same code, by checksum, is not computed again. A step that fails is named and the
    others are done.

    Parameters
    ----------
    run : Run, or path of its folder
    only : names of the steps wanted, any of `studies.steps.NAMES`; default all. Steps that they need and
        that were never done, or are out of date, are not done for them: they say so
    progress : whether to write messages to stderr, and a bar where it is a terminal

    Returns
    -------
    Analyzed

    Raises
    ------
    UsageError
        where there is no run, or `only` names something else
    RunError
        where another process holds the folder, or it can't be written
    Interrupted
        after Ctrl-C, a `KeyboardInterrupt`; everything done is kept
    """
    run = as_run(run)
    return _analyze(run, _check_only(only, [run]), progress)


def analyze_all(runs, only=None, *, progress: bool = True) -> Iterator[Analyzed]:
    """`analyze` several runs, one after the other, each when it is asked for.

    Parameters
    ----------
    runs : Runs, or paths of their folders
    only, progress : as for `analyze`

    Returns
    -------
    iterator of Analyzed; a run whose folder can't be used at all has that under `failed`, and the others are done

    Raises
    ------
    UsageError
        before anything is done, where one of them is no run, or `only` names something else
    """
    runs = load_runs(runs)
    wanted = _check_only(only, runs)
    return (_usable_or_not(run, wanted, progress) for run in runs)


def _analyze(run: Run, wanted: set[str], progress: bool) -> Analyzed:
    with FolderLock(run.path), Interruption() as interruption, Progress(progress) as shown:
        return _Analysis(run, wanted, shown, interruption).do_all()


def _usable_or_not(run: Run, wanted: set[str], progress: bool) -> Analyzed:
    try:
        return _analyze(run, wanted, progress)
    except FastrnnError as error:
        with Progress(progress) as shown:
            shown.say(f"{run.path}: {error}")
        return Analyzed(run, failed={UNUSABLE: str(error)})


def find_runs(folder) -> list[Path]:
    """Folders of the runs under a folder, by name.

    Raises
    ------
    UsageError
        where there is none
    """
    folder = Path(folder)
    found = sorted(path.parent for path in folder.glob(f"*/{POPULATION}"))
    if not found:
        raise UsageError(f"there is no run under {str(folder)!r}; train one with train-population, or name its folder")
    return found


def _check_only(only, runs: list[Run]) -> set[str]:
    only = NAMES if only is None else [only] if isinstance(only, str) else list(only)
    if not only:
        raise UsageError(f"only must name at least one analysis: {', '.join(NAMES)}")
    for name in only:
        check_name("analysis", name, NAMES)
    there = {name: None for run in runs for name in names_for(run)}
    if runs and not there.keys() & set(only):
        tasks = ", ".join(dict.fromkeys(run.task_name for run in runs))
        raise UsageError(f"there is no {' and no '.join(only)} for {tasks}; there are {', '.join(there)}")
    return set(only)


def bytes_for(task, steps: list[Step], selection: Selection) -> int:
    """Memory at most, about: responses of some networks as they come; to be compared by CKA, those of all."""
    kept = 0.0
    if any(step.name == "similarity" for step in steps):
        kept = float(selection.table.n.astype(int).sum()) * probe_trials(task) * task.T * 8
    return int(LIBRARIES + min(kept, COMPARED) + 2 * ROLLOUT_BYTES)


class _Analysis:
    """One call of `analyze`."""

    def __init__(self, run: Run, wanted: set[str], progress: Progress, interruption: Interruption):
        self.run, self.wanted, self.progress, self.interruption = run, wanted, progress, interruption
        self.made = Analyzed(run)
        self.stale: dict[str, str] = {}  # files that are out of date, and the steps they are of
        self.one_thread = ThreadpoolController()
        make_folder(run.path / ANALYSIS)
        for folder in (run.path / ANALYSIS, *(path for path in (run.path / ANALYSIS).iterdir() if path.is_dir())):
            remove_temporaries(folder)
        self.ledger = Ledger(run.path)
        if self.ledger.damaged:
            progress.say(f"{run.path}: the record of what was done is damaged, so everything is computed again")

    def do_all(self) -> Analyzed:
        selection = self._select()
        every = Steps(self.run, selection, self.progress).all()
        steps = [step for step in every if step.name in self.wanted]
        self.stale = self.ledger.stale(every)
        self._plan(steps, selection)
        reached = 0.0
        for step in steps:
            self._stop_if_asked()
            self.progress.note(step.key)
            start = time.monotonic()
            self._do(step)
            took = time.monotonic() - start
            if step.key in self.made.done and took >= WORTH_SAYING:
                self.progress.say(f"{step.key}: done in {duration(took)}")
            reached += step.seconds
            self.progress.reach(reached, step.key)
        self.made.stale = list(dict.fromkeys(self.stale.values()))
        if self.made.stale:
            self.progress.say(f"{self.run.path}: out of date: {', '.join(self.made.stale)}; {AGAIN}")
        return self.made

    def _select(self) -> Selection:
        """The networks to study, chosen again where the run has changed."""
        step = selection_step(self.run)
        if not self.ledger.fresh(step):
            inputs = self.ledger.inputs(step)
            step.work()
            self.ledger.note(step, inputs)
        selection = Selection.load(self.run.path / whole_file("selection"))
        self.made.studied = len(selection.table)
        self.made.left_out = dict(zip(selection.left_out.id, selection.left_out.reason, strict=True))
        return selection

    def _plan(self, steps: list[Step], selection: Selection) -> None:
        """Say what there is to do and how long it will take."""
        changed, todo = set(), []
        for step in steps:
            if changed & set(step.reads) or not self.ledger.fresh(step):
                todo.append(step)
                changed |= set(step.writes)
        where, left = self.run.path, len(selection.left_out)
        networks = counted(len(selection.table), "network") + (f" ({left:,} left out)" if left else "")
        if todo:
            seconds = sum(step.seconds for step in todo)
            self.progress.say(
                f"{where}: {len(todo)} of {len(steps)} steps for {networks}; estimated time {duration(seconds)}, "
                f"memory {size(bytes_for(self.run.task, todo, selection))}"
            )
        elif not steps:
            self.progress.say(f"{where}: there is no {' and no '.join(sorted(self.wanted))} of its networks")
        else:
            self.progress.say(f"{where}: nothing to do, all {len(steps)} steps for {networks} are up to date")
        self.progress.start("analyze", sum(step.seconds for step in steps))

    def _do(self, step: Step) -> None:
        outdated = list(dict.fromkeys(self.stale[file] for file in step.reads if file in self.stale))
        if self.ledger.fresh(step) and not outdated:
            self.made.fresh.append(step.key)
            self._settle(step)
            return
        inputs = self.ledger.inputs(step)
        if step.seconds >= LONG:
            self.progress.say(f"{step.key}: estimated time {duration(step.seconds)}")
        try:
            if outdated:
                raise RunError(f"what it needs is out of date ({', '.join(outdated)}); {AGAIN}")
            with self.one_thread.limit(limits=1, user_api="blas"):  # the bits don't depend on the processors there are
                step.work()
        except Interrupted:
            self._stop()
        except Exception as error:  # whatever it is, the other steps don't depend on it
            said = str(error) if isinstance(error, FastrnnError) else f"{type(error).__name__}: {error}"
            self.made.failed[step.key] = said
            self.progress.say(f"{step.key}: {said}")
            if not outdated:
                self._remove_outdated(step)
        else:
            self.ledger.note(step, inputs)
            self.made.done.append(step.key)
            self._settle(step)

    def _remove_outdated(self, step: Step) -> None:
        """Of a step that failed nothing is left that it wrote from other inputs: the next ones would take it."""
        for file in step.writes:
            if self.stale.get(file) == step.key:
                (self.run.path / file).unlink(missing_ok=True)
        self._settle(step)

    def _settle(self, step: Step) -> None:
        """What a step wrote is not out of date any more."""
        for file in step.writes:
            self.stale.pop(file, None)

    def _stop_if_asked(self) -> None:
        if self.interruption.requested:
            self._stop()

    def _stop(self) -> None:
        raise Interrupted(
            f"interrupted; everything done is kept in {str(self.run.path / ANALYSIS)!r}: the same command goes on"
        )
