"""Dynamical similarity analysis (Ostrow et al. 2023) of all pairs of networks."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from ...errors import UsageError
from ...processors import usable_processors
from ...progress import Interruption, Progress
from ...values import check_sizes
from ..similarity.checkpoint import Checkpoint, advance
from ..similarity.reduction import ResponseMark
from ..similarity.settings import warn
from .operators import Operator, fit_operator

DELAYS, RANK = 10, 10
PIECE = 256  # pairs of rank 10, at most, that a thread aligns before it looks up; a pair takes about rank^3
INDISTINGUISHABLE = 1e-10  # inner product this close to 1 marks two operators as identical
END = object()  # behind the last network


@dataclass(frozen=True)
class DynamicsSettings:
    """What decides the distances."""

    delays: int
    rank: int
    metric: str = "dsa"


@dataclass(frozen=True)
class DynamicalDistances:
    """Distances and how they came about.

    distances : (N, N) float64, radians, symmetric, zero diagonal
    bounds : (N, N), what the best alignment of a pair can't be below
    operators : (N, rank, rank), the fitted maps
    components : (N,) coordinates of each map that are not 0
    explained : (N,) share of the next coordinates' squares that each map explains
    marks : (N,) `ResponseMark`, as integers
    settings : delays and rank
    """

    distances: np.ndarray
    bounds: np.ndarray
    operators: np.ndarray
    components: np.ndarray
    explained: np.ndarray
    marks: np.ndarray
    settings: DynamicsSettings


def dynamical_distances(
    trajectories,
    delays: int = DELAYS,
    rank: int = RANK,
    *,
    threads: int | None = None,
    checkpoint=None,
    progress: bool = True,
    details: bool = False,
):
    """Dynamical similarity analysis of all pairs: how alike networks' states move, whatever shape they move in.

    To each network a linear map A is fitted that takes delay vectors, on their first singular vectors, one step on
    (HAVOK). The distance of two is the angle between A and C B C^T, as vectors of their elements, for the best
    orthogonal C (Ostrow, Eisen, Kozachkov and Fiete 2023). It is looked for by Jacobi's method from 16 starts, for
    reflections too, in float64; what is found may be a local best, and `bounds` says how far off it is at most: C
    turns the symmetric and the skew part of B alike, and the best for each alone is known from their eigenvalues.

    Parameters
    ----------
    trajectories : N arrays (trials, T, n_i), or (T, n_i) for one trial, of as many steps each as there are: a list, a
        stack, or anything that yields them once. For a comparison they should be of the same inputs
    delays : steps that make a delay vector; at least 1 and fewer than T
    rank : singular vectors kept, at least 2, the same of all networks. A map of fewer is filled up with zeros. Time
        of a pair grows with its third power or faster, memory is 128 rank^2 bytes a network
    threads : default all processors this process may use
    checkpoint : file that keeps the work done so far once a minute and at Ctrl-C; the same call then goes on from
        it, and removes it when done
    progress : show a bar, if stderr is a terminal; or a `progress.Share` of another bar
    details : return `DynamicalDistances` instead of the array

    Returns
    -------
    (N, N) float64, in radians, symmetric, zero on the diagonal. A network whose map is 0, as that of silent units is,
    is a right angle away from every other one, and a `ResponseWarning` names it.

    Raises
    ------
    UsageError
        for values that are not finite, too few steps, and a checkpoint of other work
    RunError
        where the checkpoint can't be written

    >>> rng = np.random.default_rng(0)
    >>> slow, fast = (np.cos(np.outer(np.arange(200), [w, w, 3 * w]) + [0, 1, 0]) for w in (0.1, 0.3))
    >>> turned = slow @ rng.normal(size=(3, 8))
    >>> dynamical_distances([slow, turned, fast], delays=4, rank=4).round(1)
    array([[0. , 0. , 0.4],
           [0. , 0. , 0.4],
           [0.4, 0.4, 0. ]])
    """
    check_sizes(delays=delays, rank=rank)
    if rank < 2:
        raise UsageError(f"rank must be at least 2; it is {rank!r}")
    if threads is not None:
        check_sizes(threads=threads)
    if not hasattr(trajectories, "__iter__") and not hasattr(trajectories, "__getitem__"):
        raise UsageError(f"trajectories must hold arrays (trials, T, n), one after another; it is {trajectories!r}")
    threads = int(threads or usable_processors())
    settings = DynamicsSettings(int(delays), int(rank))
    with Interruption() as interruption, Progress.of(progress) as shown, ExitStack() as stack:
        stack.enter_context(threadpool_limits(1, user_api="blas"))
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        stack.callback(pool.shutdown, cancel_futures=True)
        work = _Work(settings, threads, pool, checkpoint, shown, interruption)
        result = work.compare(work.fit(trajectories))
    warn(result.marks & ResponseMark.CONSTANT, "silent, or lead nowhere")
    return result if details else result.distances


class _Work:
    """One call of `dynamical_distances`."""

    def __init__(self, settings, threads, pool, path, progress, interruption):
        self.settings, self.threads, self.pool = settings, threads, pool
        self.path, self.progress, self.interruption = path, progress, interruption

    def fit(self, trajectories) -> list[Operator]:
        """The maps, fitted in several threads as the trajectories come."""
        waiting, fitted = deque(), []
        if hasattr(trajectories, "__len__"):
            self.progress.start("maps", len(trajectories))
        for i, states in enumerate(chain(trajectories, [END])):
            if states is not END:
                name = f"trajectories[{i}]"
                waiting.append(self.pool.submit(fit_operator, name, states, self.settings.delays, self.settings.rank))
            while waiting and (states is END or len(waiting) > self.threads):
                fitted.append(waiting.popleft().result())
                self._moved(1)
        if not fitted:
            raise UsageError("trajectories holds no networks; give at least one array (trials, T, n)")
        return fitted

    def compare(self, fitted: list[Operator]) -> DynamicalDistances:
        """All pairs of maps."""
        operators = np.array([one.matrix for one in fitted])
        norms = np.linalg.norm(operators, axis=(1, 2), keepdims=True)
        scaled = np.divide(operators, norms, out=np.zeros_like(operators), where=norms > 0)
        signatures = np.array([one.signature for one in fitted])
        inner = self._inner_products(scaled, norms[:, 0, 0] > 0, signatures)
        twins = inner >= 1 - INDISTINGUISHABLE
        np.fill_diagonal(twins, False)
        marks = np.array([one.mark for one in fitted], np.int64)
        marks[twins.any(axis=1)] |= ResponseMark.IDENTICAL
        distances, bounds = (np.arccos(np.clip(values, -1, 1)) for values in (inner, largest_possible(scaled)))
        np.fill_diagonal(distances, 0)
        np.fill_diagonal(bounds, 0)
        bounds = np.minimum(bounds, distances)  # by rounding only
        components, explained = (np.array([getattr(one, name) for one in fitted]) for name in ("kept", "explained"))
        return DynamicalDistances(distances, bounds, operators, components, explained, marks, self.settings)

    def _inner_products(self, scaled, sound, signatures) -> np.ndarray:
        """The largest inner products (N, N) found for operators of norm 1; 0 where one is 0."""
        from .alignment import align_pairs, starts_of  # numba is loaded where it is needed

        inner = np.where(sound[:, None] & sound, np.nan, 0.0)
        np.fill_diagonal(inner, 1.0)
        checkpoint = Checkpoint(self.path, asdict(self.settings), signatures)
        checkpoint.restore(inner=inner)
        rows, columns = np.nonzero(np.tril(np.isnan(inner)))
        # which of two is turned changes rounding: the order of the networks must not
        traces = np.trace(scaled, axis1=1, axis2=2)
        exchanged = traces[rows] < traces[columns]
        pairs = np.where(exchanged[:, None], np.stack([columns, rows], 1), np.stack([rows, columns], 1))
        starts, frames = starts_of(scaled)
        self.progress.start("pairs", len(pairs))
        size = max(1, min(int(PIECE * (RANK / self.settings.rank) ** 3), len(pairs) // (4 * self.threads)))
        waiting, pieces = deque(), [pairs[start : start + size] for start in range(0, len(pairs), size)]

        def align(piece):
            found = np.empty(len(piece))
            align_pairs(scaled, starts, frames, piece, found)
            return piece, found

        for piece in [*pieces, END]:
            if piece is not END:
                waiting.append(self.pool.submit(align, piece))
            while waiting and (piece is END or len(waiting) > 2 * self.threads):
                done, found = waiting.popleft().result()
                inner[done[:, 0], done[:, 1]] = inner[done[:, 1], done[:, 0]] = found
                self._moved(len(done), checkpoint, inner=inner)
        checkpoint.remove()
        return inner

    def _moved(self, work, checkpoint: Checkpoint | None = None, **arrays) -> None:
        advance(self.progress, self.interruption, self.path, work, checkpoint, **arrays)


def largest_possible(operators: np.ndarray) -> np.ndarray:
    """What inner products (N, N) of operators (N, r, r) can't exceed, however one of each two is turned.

    The symmetric and the skew part are orthogonal and stay so when turned, and the best alignment of two symmetric, or
    two skew, matrices pairs their eigenvalues in order (Hoffman and Wielandt 1953).
    """
    transposed = operators.transpose(0, 2, 1)
    symmetric = np.linalg.eigvalsh((operators + transposed) / 2)
    skew = np.linalg.eigvalsh(1j * (operators - transposed) / 2)
    return symmetric @ symmetric.T + skew @ skew.T
