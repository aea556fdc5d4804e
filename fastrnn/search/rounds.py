"""The draws' training: at the end of each round the worse ones leave the stack, and the time goes to the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import Status
from ..groups import FinishedGroup, TrainingGroup
from ..training import Training
from .spec import SearchSpec


class DrawTraining(Training):
    """Trains the draws of a search round by round.

    A draw's planned iterations, and with them the decay of its learning rate, are the same in every round, so that
    one that stays goes on where it was. Which draws leave is a function of losses at the end of a round and of how
    many may stay: deciding it again, after a kill, changes nothing.
    """

    what = "searching"

    def __init__(self, search: SearchSpec, note: Callable[[], None], *arguments):
        super().__init__(*arguments)
        self.search, self.note = search, note

    def begin(self) -> None:
        """Note what is searched, and begin."""
        self.note()
        super().begin()

    def left(self, group: str) -> tuple[list[dict], int]:
        """As for every training, but for the iterations of the draws that will leave."""
        rows, _ = self.folder.left(group)
        done: dict[float, list[int]] = {}
        for row in rows:
            result = self.folder.result(row)
            if result["status"] == Status.TRAINING.label:
                done.setdefault(row["l2"], []).append(result["iterations"])
        return rows, sum(map(self.search.iterations_left, done.values()))

    def take_up(self, group: str) -> TrainingGroup:
        """The group's draws that are not finished, on their way to the next end of a round."""
        state = super().take_up(group)
        begun = state.optimizer.iteration[state.optimizer.status == Status.TRAINING]
        state.goal = min(end for end in self.search.ends if end >= begun.min(initial=self.search.ends[-1]))
        return state

    def put_away(self, group: str, state: TrainingGroup) -> None:
        """At the end of the last round keep the results; at the end of another keep those of the draws that leave."""
        number = self.search.ends.index(state.goal)
        if number + 1 == self.search.rounds:
            super().put_away(group, state)
            return
        losses = self.validation_loss(group, state)
        stays = self._staying(group, state, losses, self.search.stay[number])
        names = np.array(state.ids)
        if not stays.all():
            leaving = state.pick(names[~stays].tolist())
            leaving.optimizer.status[leaving.optimizer.status == Status.TRAINING] = Status.DROPPED
            self.folder.save_finished(group, FinishedGroup.of(leaving, losses[~stays]))
        del self.states[group]
        if stays.any():
            staying = state.pick(names[stays].tolist())
            staying.goal = self.search.ends[number + 1]
            self.folder.save_checkpoint(group, staying)
            self.states[group] = staying
        best = f", the best validation loss is {losses[stays].min():.3g}" if stays.any() else ""
        self.progress.say(
            f"{group}: round {number + 1} of {self.search.rounds}, {stays.sum()} of {len(stays)} draws go on{best}"
        )

    def _staying(self, group: str, state: TrainingGroup, losses: np.ndarray, most: int) -> np.ndarray:
        """Which networks go on, bool (N,): of each configuration the best so many that stand at the round's end.

        Those that are further already (the search was extended since) stay as they are.
        """
        l2 = {row["id"]: row["l2"] for row in self.spec.groups[group]}
        configuration = np.array([l2[name] for name in state.ids])
        training = state.optimizer.status == Status.TRAINING
        arrived = training & (state.optimizer.iteration == state.goal)
        stays = training & ~arrived
        for value in np.unique(configuration):
            here = np.flatnonzero(arrived & (configuration == value))
            order = np.argsort(np.where(np.isfinite(losses[here]), losses[here], np.inf), kind="stable")
            stays[here[order[:most]]] = True
        return stays
