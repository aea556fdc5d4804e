"""The search of one network under one held input: round after round of starts until nothing new turns up.

A search says what starts it wants to be solved and is given where they led, so that searches can go on by themselves,
each on a thread, or all together on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .completeness import DEGENERATE, PointStatus, SearchStatus, index_signs, judge
from .levenberg_marquardt import MU_LOW, Problem, levenberg_marquardt, levenberg_marquardt_on_device
from .newton import Solved, half_square, nearest_of, newton, polish, threshold
from .slow_points import descend
from .starts import Origin, draw_means, draw_starts
from .threads import chunk_size, chunks, rows_for_threads

METHODS = ("auto", "newton", "levenberg_marquardt", "slow_points", "gradient_descent")
STOP_WHEN_SLOW = METHODS[-2:]
ON_DEVICE = ("auto", "levenberg_marquardt", "slow_points")  # what a GPU does, all three by Levenberg-Marquardt
# rounds at least: from few starts a search that missed points can look complete, the more so without an index
ROUNDS = {SearchStatus.CONSISTENT: 4, SearchStatus.NOT_APPLICABLE: 8}
DAMPING_FLOOR = 1e-4  # of Levenberg-Marquardt for slow points
NEWTON_STEPS, LM_STEPS, DESCENT_STEPS = 50, 100, 3000
# Of starts that compiled methods solve, pieces for each thread, since some take ten times as long as others; and starts
# of a piece at most, since nothing can be interrupted meanwhile.
PIECES, LARGEST_PIECE = 4, 32
NOWHERE = -1  # the point of a candidate that did not converge


@dataclass(frozen=True)
class Settings:
    """Of a search; see `fixed_points.find_fixed_points`."""

    method: str
    tolerance: float
    speed: float
    unique: float
    noise: float
    batch: int
    budget: int


class Search:
    """Points and candidates of one network under one input, growing round by round.

    points (P, S), q (P,), status (P,), signs (P,), conditioning (P,), hits (P,): independent starts that ended there
    candidates : rounds of (point (M,), origin (M,), iterations (M,), q (M,))
    unconverged : rounds of final states (U, S)
    spent : independent starts so far; verdict : on completeness
    wanted : starts (M, S) that it waits to be told the ends of; None when it is done
    """

    def __init__(self, map, spread: float, settings: Settings, team):
        self.map, self.spread, self.settings, self.team = map, spread, settings, team
        self.points = np.empty((0, map.S))
        self.q, self.conditioning = np.empty(0), np.empty(0)
        self.status, self.signs = np.empty(0, np.int8), np.empty(0, np.int8)
        self.hits = np.empty(0, np.int64)
        self.candidates, self.unconverged = [], []
        self.spent, self.verdict = 0, SearchStatus.NOTHING_FOUND
        self.wanted = None

    def begin(self, states, given, rng) -> Search:
        """A search from `given` starts (M, S), all of them, or from starts drawn from `states` until consistent."""
        self._rounds = self._search(states, given, rng)
        self.wanted = next(self._rounds)
        return self

    def receive(self, solved: Solved) -> None:
        """Where the wanted starts led; goes on to the next."""
        try:
            self.wanted = self._rounds.send(solved)
        except StopIteration:
            self.wanted = None

    def run(self) -> None:
        """To its end, by itself."""
        while self.wanted is not None:
            self.receive(self._solve(self.wanted))

    def _search(self, states, given, rng):
        """Yields what is wanted, is sent what came of it."""
        budget = self.settings.budget if given is None else len(given)
        last_new = 0  # independent starts spent when the last new exact point was found
        while self.spent < budget:
            count = min(max(self.settings.batch, self.spent // 4), budget - self.spent)
            if given is None:
                noise = self.settings.noise * self.spread / np.sqrt(self.map.S)
                starts, origins = draw_starts(states, count, noise, rng)
            else:
                starts = given[self.spent : self.spent + count]
                origins = np.full(count, Origin.GIVEN)
            known = self._exact
            yield from self._try(starts, origins)
            self.spent += count
            if self._exact > known:
                last_new = self.spent
                if given is None:
                    means = draw_means(self.points, max(1, count // 4), rng)
                    yield from self._try(means, np.full(len(means), Origin.MEAN))
            ball = self.map.ball and self.settings.method not in STOP_WHEN_SLOW
            self.verdict = judge(self.status, self.signs, self.hits, ball, 2 * last_new > self.spent)
            if given is None and self.spent >= ROUNDS.get(self.verdict, np.inf) * self.settings.batch:
                break

    @property
    def _exact(self) -> int:
        return int((self.status == PointStatus.EXACT).sum())

    def _try(self, starts, origins):
        """Have starts (M, S) solved and sort what comes out into the points."""
        h, q, iterations = yield self.map.inside(starts)
        status = np.full(len(h), NOWHERE, np.int8)
        status[q <= 0.5 * self.slow**2] = PointStatus.SLOW
        status[q <= threshold(h, self.settings.tolerance)] = PointStatus.EXACT
        point = self._merge(h, q, status)
        independent = point[(origins != Origin.MEAN) & (point != NOWHERE)]
        np.add.at(self.hits, independent, 1)
        self.candidates.append((point, origins, iterations, q))
        self.unconverged.append(h[point == NOWHERE])

    def _solve(self, starts) -> Solved:
        """Where the method leads from starts (M, S)."""
        s, tolerance = self.settings, self.settings.tolerance
        if s.method == "gradient_descent":
            return self._each(lambda h: descend(self.map, h, self.slow, DESCENT_STEPS), starts)
        if s.method in ("slow_points", "levenberg_marquardt"):
            return self._each(lambda h: levenberg_marquardt(self.map, h, tolerance, LM_STEPS, *self.damping), starts)
        known, radius = self.points[self.status == PointStatus.EXACT], s.unique * self.spread
        solved = self._each(lambda h: newton(self.map, h, tolerance, NEWTON_STEPS, known, radius), starts)
        left = np.flatnonzero(~(solved.q <= threshold(solved.h, tolerance)))
        if s.method == "auto" and len(left):
            again = self._each(lambda h: levenberg_marquardt(self.map, h, tolerance, LM_STEPS), solved.h[left])
            solved.h[left], solved.q[left] = again.h, again.q
            solved.iterations[left] += again.iterations
        return solved

    @property
    def slow(self) -> float:
        """|F(h) - h| of what counts as slow."""
        return self.settings.speed * self.spread

    @property
    def damping(self) -> tuple[float, float]:
        """Floor under mu, and speed at which to stop, of Levenberg-Marquardt."""
        return (DAMPING_FLOOR, self.slow) if self.settings.method == "slow_points" else (MU_LOW, 0.0)

    def _each(self, solve, starts) -> Solved:
        """`solve(some starts)`, as many at a time as a core holds in its cache; of compiled methods a few.

        Compiled methods treat every start by itself: shared out in any way, the ends are the same.
        """
        size = chunk_size(self.map.S)
        if self.map.solver and self.settings.method != "gradient_descent":  # which is not compiled
            size = min(-(-len(starts) // (PIECES * self.team.threads)), LARGEST_PIECE)
        pieces = chunks(len(starts), size)
        solved = self.team.each(lambda piece: solve(starts[piece]), pieces)
        return Solved(*(np.concatenate(parts) for parts in zip(*solved, strict=True)))

    def _merge(self, h, q, status) -> np.ndarray:
        """The point of each end h (M, S), best first: one known, or a new one; NOWHERE for not converged."""
        radius = self.settings.unique * self.spread
        point = np.full(len(h), NOWHERE)
        left = np.flatnonzero(status != NOWHERE)
        left = left[np.argsort(q[left], kind="stable")]
        if len(left) and len(self.points):
            nearest, away = nearest_of(h[left], self.points)
            near = away <= radius
            point[left[near]] = nearest[near]
            left = left[~near]
        for k in np.unique(point[(point != NOWHERE) & (status == PointStatus.EXACT)]):
            if self.status[k] == PointStatus.SLOW:  # what seemed slow is beside an exact one
                first = np.flatnonzero((point == k) & (status == PointStatus.EXACT))[:1]
                for array, value in zip(self._arrays(), self._describe(h[first], status[first]), strict=True):
                    array[k] = value[0]
        found = []
        while len(left):
            near = np.linalg.norm(h[left] - h[left[0]], axis=1) <= radius
            point[left[near]] = len(self.points) + len(found)
            found.append(left[0])
            left = left[~near]
        if found:
            new = self._describe(h[found], status[found])
            joined = (np.concatenate(pair) for pair in zip(self._arrays(), new, strict=True))
            self.points, self.q, self.status, self.signs, self.conditioning = joined
            self.hits = np.concatenate([self.hits, np.zeros(len(found), np.int64)])
        return point

    def _arrays(self) -> tuple:
        return self.points, self.q, self.status, self.signs, self.conditioning

    def _describe(self, h, status) -> tuple:
        """New points h (P, S), exact ones polished: state, q, status, index sign (0: none), conditioning."""
        h, status = h.copy(), status.copy()
        exact = np.flatnonzero(status == PointStatus.EXACT)
        if self.settings.method not in STOP_WHEN_SLOW:  # Newton's method would run along a line of slow points
            pieces = [exact[piece] for piece in chunks(len(exact), rows_for_threads(self.map.S))]
            for rows, fine in zip(pieces, self.team.each(lambda rows: polish(self.map, h[rows]), pieces), strict=True):
                h[rows] = fine
        pieces = chunks(len(h), rows_for_threads(self.map.S))
        checked = self.team.each(lambda piece: index_signs(self.map.jacobian(h[piece])), pieces)
        signs, conditioning = (np.concatenate(parts) for parts in zip(*checked, strict=True))
        status[exact[conditioning[exact] > DEGENERATE]] = PointStatus.DEGENERATE
        if self.map.kinked is not None:
            status[exact[self.map.kinked(h[exact])]] = PointStatus.DEGENERATE
        signs[status != PointStatus.EXACT] = 0
        return h, half_square(self.map.step(h) - h), status, signs, conditioning


def run_together(engine, networks, searches, team) -> None:
    """Searches to their ends on a GPU: the starts that all of them want side by side, round after round.

    Parameters
    ----------
    engine : a CUDA engine
    networks : Networks, a stack; searches : (network i, input x (D,), Search) of each, one method and tolerance
    team : does what is left to the processor, search by search
    """
    waiting = list(searches)
    while waiting:
        problems = [Problem(i, x, s.map.limit, *s.damping, s.wanted) for i, x, s in waiting]
        tolerance = waiting[0][2].settings.tolerance
        solved = levenberg_marquardt_on_device(engine, networks, problems, tolerance, LM_STEPS)
        team.each(lambda pair: pair[0][2].receive(pair[1]), zip(waiting, solved, strict=True))
        waiting = [one for one in waiting if one[2].wanted is not None]
