"""The one training loop: advance, measure, keep, say."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import engines
from .counters import TRAINING, VALIDATION
from .engines.engine import VALIDATION_TRIALS
from .errors import Status, UsageError
from .folder import FIGURES, SEARCH, RunFolder
from .groups import FinishedGroup, TrainingGroup
from .plan import Plan, duration, make_plan, work_of
from .progress import Interrupted, Interruption, Progress
from .runs import Run, load_run
from .spec import PopulationSpec
from .values import a_path, check_not_negative

ROUND_SECONDS = 1.5  # between two looks at the clock and at Ctrl-C; more where copies to a device take long
MOST_OVERHEAD = 0.1  # of a round's time, for those copies
SHOWN = 4  # configurations named in a warning
WAY_THERE = 1 / 3  # of an iteration's time; a validation loss has no way back


def train(
    spec: PopulationSpec,
    out=None,
    device: str = "auto",
    threads: int | None = None,
    *,
    precision: str = "float32",
    checkpoint_seconds: float = 60.0,
    progress: bool = True,
) -> Run:
    """Train a population into a run folder, or go on with what the folder holds.

    The result is the same bits on one kind of processor, whatever the number of threads and however often the
    training was stopped, killed or extended in between. A network whose loss becomes non-finite is frozen and marked
    `diverged`; the others go on.

    Parameters
    ----------
    spec : what to train; where the folder holds a population already, one that contains it
    out : the folder, default `runs/<task>`; of a part of a population `parts/<task>/<part>`
    device, threads, precision : as for `engines.get`; a run may go on on another device or in another precision, with a
        warning, and every group's file records what trained it
    checkpoint_seconds : how often to save; a kill loses at most so much
    progress : whether to write messages to stderr, and a bar where it is a terminal

    Raises
    ------
    UsageError
        when the folder holds another population or other files
    RunError
        when another process holds the folder, it can't be written, there is too little space or memory, or a file is
        damaged
    Interrupted
        after Ctrl-C, a `KeyboardInterrupt`; everything is saved

    >>> import tempfile
    >>> spec = PopulationSpec("cdi", cells="vanilla", activations="tanh", sizes=4, seeds=2, iterations=3, batch=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train(spec, folder, "cpu", progress=False)
    ...     run.table.status.tolist(), run.networks("vanilla-tanh-4")
    (['trained', 'trained'], <2 networks: vanilla tanh, n = 4, D = 4, K = 1>)
    """
    if not isinstance(spec, PopulationSpec):
        raise UsageError(f"spec must be a PopulationSpec; it is {spec!r}")
    check_not_negative(checkpoint_seconds=checkpoint_seconds)
    out = default_folder(spec) if out is None else a_path("out", out)
    check_no_search(out)
    engine = engines.get(device, threads, precision)
    if spec.noisy:
        engine.check_noise()
    with RunFolder(out, spec) as folder, Interruption() as interruption, Progress(progress) as shown:
        training = Training(folder, engine, shown, interruption, checkpoint_seconds)
        worked = training.run()
        run = load_run(out, spec.resolved_task)
        if worked or not (out / FIGURES / "learning_curves.svg").exists():
            draw_learning_curves(run)
    return run


def check_no_search(out: Path) -> None:
    """`UsageError` where a folder is one of a search's, which trains its networks round by round."""
    if out.name in ("draws", "finalists") and (out.parent / SEARCH).exists():
        raise UsageError(
            f"{str(out)!r} is part of a search: fastrnn search --spec {str(out.parent / SEARCH)!r} --out "
            f"{str(out.parent)!r} goes on with it; choose another folder for a run"
        )


def default_folder(spec: PopulationSpec) -> Path:
    """`runs/<task>`, of a part `parts/<task>/<part>`, with nothing in the task's name that could lead elsewhere.

    >>> default_folder(PopulationSpec("cdi")).as_posix(), default_folder(PopulationSpec("cdi", part="3/40")).as_posix()
    ('runs/cdi', 'parts/cdi/3-of-40')
    """
    task = re.sub(r"[^\w-]+", "_", spec.resolved_task.name).strip("_") or "task"
    return Path("runs") / task if spec.part is None else Path("parts") / task / spec.part.replace("/", "-of-")


@dataclass
class Part:
    """Networks `where` of a group, which stand at one iteration; seconds : for the next of all on one thread."""

    state: TrainingGroup
    where: slice
    seconds: float

    @property
    def iterations_left(self) -> int:
        """To the goal, the same for all of them that are in training."""
        return int(self.state.iterations_left()[self.where].max())


@dataclass
class Turn:
    """Parts that are advanced in one call of the engine, `iterations` at a time."""

    parts: list[Part]
    iterations: int = 1

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)


class Training:
    """Works off what a folder's population still lacks, wave by wave; see `train`."""

    what = "training"  # the bar's name

    def __init__(self, folder: RunFolder, engine, progress: Progress, interruption: Interruption, checkpoint_seconds):
        self.folder, self.engine, self.spec = folder, engine, folder.spec
        self.task = folder.spec.resolved_task
        self.progress, self.interruption = progress, interruption
        self.checkpoint_seconds = checkpoint_seconds
        self.states: dict[str, TrainingGroup] = {}  # groups of the present wave that are not finished
        self.cost: dict[str, float] = {}  # by group, estimated seconds for one iteration of one network
        self.saved = time.monotonic()
        self.blamed = False  # whether the task was found to be why a network has no loss

    def run(self) -> bool:
        """Do all there is to do; whether there was anything."""
        plan = self.plan()
        say = self.progress.say
        if not plan.work:
            self.begin()
            say(f"{self.folder.path}: nothing left to do, all {len(self.spec):,} networks are there")
            return False
        say(f"{self.task.name} into {self.folder.path}: {plan}")
        self.warn_of_unsearched()
        self.warn_of_unused()
        plan.check_disk(self.folder.path)
        if warning := plan.check_memory():
            say(f"warning: {warning}")
        self.cost = {work.name: work.seconds for work in plan.work}
        self.warm_up(plan)
        self.task.try_out()  # a mistake in a user's task shows before the folder is changed
        self.begin()
        start = self.saved = time.monotonic()
        self.progress.start(self.what, max(sum(work.iterations * work.seconds for work in plan.work), 1e-9))
        for wave in plan.waves:
            self.train_wave([work.name for work in wave])
        say(f"done in {duration(time.monotonic() - start)}")
        return True

    def begin(self) -> None:
        """Nothing speaks against the work: make the population the folder's own."""
        self.folder.begin()

    def plan(self) -> Plan:
        """What is left to do and what it will take."""
        left = {group: self.left(group) for group in self.spec.groups}
        work = [work_of(group, *todo, self.spec, self.engine) for group, todo in left.items() if todo[0]]
        return make_plan(work, self.spec, self.engine)

    def left(self, group: str) -> tuple[list[dict], int]:
        """Rows of the group's networks that are not finished, and the iterations they have to go together."""
        return self.folder.left(group)

    def warm_up(self, plan: Plan) -> None:
        """Compile the kinds there are to train, before the clock starts."""
        kinds = list(dict.fromkeys((work.cell, work.activation) for work in plan.work))
        for i, (cell, activation) in enumerate(kinds, 1):
            self.stop_if_asked()
            start = time.monotonic()
            self.engine.warm_up(cell, activation)
            if (took := time.monotonic() - start) > 0.5:
                self.progress.say(f"compiled {cell} {activation} in {took:.1f} s ({i} of {len(kinds)})")

    def warn_of_unsearched(self) -> None:
        """Say which configurations train with values that were not searched for them."""
        names = self.spec.unsearched
        if names:
            self.progress.say(
                f"warning: no search found hyperparameters for {_some(names)}: these train with values found for "
                "others, and may train badly; `fastrnn search` finds better ones"
            )

    def warn_of_unused(self) -> None:
        """Say which rows of the hyperparameters that were given are of no network here."""
        if rows := self.spec.unused:
            self.progress.say(
                f"warning: of the hyperparameters given, these rows are of no network here: {_some(rows)}"
            )

    # ----------------------------------------------------------------------------------------------- one wave

    def train_wave(self, groups: list[str]) -> None:
        """Train some groups together until all of them are finished."""
        self.states = {group: self.take_up(group) for group in groups}
        for group, state in self.states.items():
            self._note_processor(group, state)
        self._finish()
        turns = self._turns()
        while self.states:
            for turn in turns:
                self.advance(turn)
                changed = self._finish()
                self.stop_if_asked()
                if time.monotonic() - self.saved >= self.checkpoint_seconds:
                    self.save()
                if changed:
                    turns = self._turns()
                    break

    def take_up(self, group: str) -> TrainingGroup:
        """The group's networks that are not finished, each as far as it is."""
        return self.folder.unfinished(group)

    def advance(self, turn: Turn) -> None:
        """One round: some iterations of the turn's networks."""
        parts = [part for part in turn.parts if part.iterations_left]
        if not parts:
            return
        iterations = min(turn.iterations, *(part.iterations_left for part in parts))
        start = time.monotonic()
        stacks = [(part.state.networks[part.where], part.state.optimizer[part.where]) for part in parts]
        before = [optimizer.iteration.copy() for _, optimizer in stacks]
        were = [optimizer.status.copy() for _, optimizer in stacks]
        all_losses = self.engine.advance_all(stacks, self.task, iterations, self.spec.batch)
        work = 0.0
        for part, (_, optimizer), first, losses in zip(parts, stacks, before, all_losses, strict=True):
            part.state.record(part.where, first, losses)
            per_network = part.seconds / len(first)
            work += per_network * float((optimizer.iteration - first).sum())
        for part, (networks, optimizer), was in zip(parts, stacks, were, strict=True):
            ids = part.state.ids[part.where]
            for i in np.flatnonzero((optimizer.status == Status.DIVERGED) & (was != Status.DIVERGED)):
                self._blame_task(ids[i], networks.keys[i], TRAINING, optimizer.iteration[i], self.spec.batch)
        finite = np.concatenate([losses[np.isfinite(losses)] for losses in all_losses])
        self.progress.advance(work, f"median loss {np.median(finite):.3g}" if len(finite) else "")
        elapsed = max(time.monotonic() - start, 1e-6)
        turn.iterations = min(iterations_of_round(iterations, elapsed, self.engine.overhead), 4 * turn.iterations)

    def _blame_task(self, name: str, key, purpose: int, iteration: int, trials: int) -> None:
        """Where a user's trials are why a network's loss is not finite, say so, for the first of them."""
        if not self.blamed and (fault := self.task.fault(int(key), purpose, int(iteration), trials)):
            self.blamed = True
            self.progress.say(f"warning: the loss of {name} is not finite because of its trials: {fault}")

    def save(self) -> None:
        """Write checkpoints of the groups in training, and the table."""
        for group, state in self.states.items():
            self.folder.save_checkpoint(group, state)
        if self.states:
            self.folder.write_table()
        self.saved = time.monotonic()

    def stop_if_asked(self) -> None:
        """After Ctrl-C save everything and raise `Interrupted`."""
        if self.interruption.requested:
            self.save()
            where = str(self.folder.path)
            raise Interrupted(f"interrupted; everything is saved in {where!r}: the same command goes on from there")

    def _turns(self) -> list[Turn]:
        """Parts of the wave's groups so that one iteration of a turn takes no longer than a round should."""
        budget = ROUND_SECONDS * self.engine.threads
        turns = [Turn([])]
        for group, state in self.states.items():
            cost = self.cost[group]
            for start, end in state.stretches():
                while start < end:
                    room = int((budget - turns[-1].seconds) / cost)
                    if room < 1 and turns[-1].parts:
                        turns.append(Turn([]))
                        continue
                    stop = min(end, start + max(room, 1))
                    turns[-1].parts.append(Part(state, slice(start, stop), cost * (stop - start)))
                    start = stop
        turns = [turn for turn in turns if turn.parts]
        for turn in turns:
            turn.iterations = max(1, int(budget / turn.seconds / 10))  # a short first round: the estimate may be off
        return turns

    def _finish(self) -> bool:
        """Put away the groups that have come to their goal; whether there were any."""
        arrived = {group: state for group, state in self.states.items() if not state.in_training}
        for group, state in arrived.items():
            self.put_away(group, state)
            self.folder.write_table()
        return bool(arrived)

    def put_away(self, group: str, state: TrainingGroup) -> None:
        """Validate a group whose training is over and keep its results."""
        finished = FinishedGroup.of(state, self.validation_loss(group, state))
        for i in np.flatnonzero((finished.status == Status.TRAINED) & ~np.isfinite(finished.validation_loss)):
            self._blame_task(state.ids[i], state.networks.keys[i], VALIDATION, 0, VALIDATION_TRIALS)
        del self.states[group]
        self.folder.save_finished(group, finished)
        self.progress.say(f"{group}: {describe(finished)}")

    def validation_loss(self, group: str, state: TrainingGroup) -> np.ndarray:
        """Loss of each network on its validation trials, float64 (N,)."""
        iterations = WAY_THERE * VALIDATION_TRIALS / self.spec.batch  # that take as long as the loss of one network
        step = max(self.engine.threads, int(ROUND_SECONDS * self.engine.threads / (iterations * self.cost[group])))
        losses = []
        for start in range(0, len(state.ids), step):
            self.stop_if_asked()
            losses.append(self.engine.loss(state.networks[start : start + step], self.task))
        return np.concatenate(losses)

    def _note_processor(self, group: str, state: TrainingGroup) -> None:
        """Record what trains the group, on which the bits depend; with a warning where something else began it."""
        engine = self.engine.of(state.networks.n)
        processor = f"{engine.name} ({engine.processor})"
        if state.engines and state.engines[-1] != processor:
            self.progress.say(
                f"warning: {group} was trained on {state.engines[-1]} so far and goes on on {processor}: the "
                "results will be sound, but not the same bits as on one kind of processor"
            )
        state.engines = tuple(dict.fromkeys((*state.engines, processor)))


def iterations_of_round(last: int, elapsed: float, overhead: float) -> int:
    """Iterations that fill a round, where `last` took `elapsed` seconds, `overhead` of them whatever their number.

    >>> iterations_of_round(100, 3.0, 0.0)  # 1.5 seconds
    50
    >>> iterations_of_round(1, 2.25, 2.0)  # 20 seconds, of which copies take 2
    72
    """
    seconds = max(ROUND_SECONDS, overhead / MOST_OVERHEAD)
    each = max(elapsed - overhead, 1e-6) / last
    return max(1, round((seconds - overhead) / each))


def _some(names: tuple[str, ...]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def describe(finished: FinishedGroup) -> str:
    """How a group's training ended, in words."""
    counts = [f"{int((finished.status == s).sum())} {s.label}" for s in Status if (finished.status == s).any()]
    loss = finished.validation_loss[np.isfinite(finished.validation_loss) & (finished.status != Status.DIVERGED)]
    return ", ".join(counts) + (f", median validation loss {np.median(loss):.3g}" if len(loss) else "")


def draw_learning_curves(run: Run) -> None:
    """Write the figure of the learning curves."""
    from .figures.figure import write_figure
    from .figures.learning_curves import learning_curves

    write_figure(learning_curves(run), run.path / FIGURES, "learning_curves")
