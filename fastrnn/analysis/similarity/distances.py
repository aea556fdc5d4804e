"""Distances between the responses of all pairs of networks: SVCCA, PWCCA, CKA, angular Procrustes."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from ...errors import UsageError
from ...processors import usable_processors
from ...progress import Interruption, Progress
from ...values import check_sizes, is_number
from .checkpoint import Checkpoint, advance
from .gram import gram_is_cheaper, gram_products, normalised, tiles_of
from .namespace import namespace_of, to_numpy, workers_for
from .pairs import all_pairs, work_of
from .reduction import ResponseMark, centre, check_response, reduce_response
from .settings import DEFAULT_COMPONENTS, METRICS, Distances, Settings, warn
from .store import ReducedResponses

INDISTINGUISHABLE = 1e-10  # similarity this close to 1 marks two responses as identical to the metric
END = object()  # behind the last response
SAMPLED = 16  # responses looked at to foresee how many components all will keep


def pairwise_distances(
    states,
    metric: str = "svcca",
    components: float | int | None = None,
    *,
    coefficients: str = "smaller",
    debiased: bool = False,
    tolerance: float = 1e-10,
    rank_tolerance: float | None = None,
    precision: str = "double",
    memory: float = 4e9,
    threads: int | None = None,
    scratch=None,
    checkpoint=None,
    progress: bool = True,
    details: bool = False,
):
    """Distances between all pairs of responses to the same inputs.

    Each response is centred and reduced once; all pairs are then blocks of matrix products.

    Parameters
    ----------
    states : N responses (samples, n_i), row by row of the same samples, n_i may differ: a list, a stack (N, samples,
        n), or anything that yields them once (they need not fit in memory then). NumPy arrays; CuPy arrays, or
        others of the array API standard, are worked on where they are
    metric : "svcca", 1 - mean canonical correlation of the first components (Raghu et al. 2017);
        "pwcca", the same with correlations weighted by the share of the response each accounts for (Morcos et al.
        2018), mean of both directions, as neither is symmetric; where correlations tie the weights are arbitrary;
        "cka", 1 - linear centred kernel alignment (Kornblith et al. 2019);
        "procrustes", the angle in radians between responses scaled to norm 1, after the best rotation (Williams et
        al. 2021): the only one that keeps the triangle inequality. It resolves no angle below 2e-8
    components : share of the variance (float in (0, 1]) or number (int) of principal components to keep first; default
        0.95 for svcca and pwcca, 1.0 (all) for cka and procrustes. With all of them svcca is invariant to every
        invertible map of the units; with fewer, and cka and procrustes always, to rotations and scaling; pwcca, whose
        weights sum over units, to permutations and scaling
    coefficients : svcca of responses that keep different numbers k of components: "smaller", the mean over the
        min(k_i, k_j) correlations there are; "larger", over max(k_i, k_j), missing ones counting as 0
    debiased : cka from the unbiased estimate of HSIC (Song et al. 2012), for few samples; needs 4 samples; distances
        may exceed 1
    tolerance : cka and procrustes, for speed: share of a response's norm (of its Gram matrix for cka) that may be
        dropped with its last components. Changes a similarity by at most twice as much
    rank_tolerance : singular values up to this share of the response's norm (before centring) are rounding noise and
        never kept; default 10 rounding steps of the dtype: 1.2e-6 for float32, 2.2e-15 for float64
    precision : "double"; or "single", for speed: responses are centred and reduced in float64, multiplied in float32,
        and what comes of the products is float64 again. About twice as fast where products take the time (cka above
        all). Measured on 4,096 samples of 64 to 256 units, similarities change by less than 2e-8 (cka), 7e-8 (svcca),
        2e-7 (procrustes), 6e-7 (pwcca, whose weights hang on correlations that are close)
    memory : bytes to use at most, beyond the responses; what doesn't fit goes to a scratch file
    threads : default all processors this process may use
    scratch : folder for the scratch file; default the system's
    checkpoint : file that keeps the work done so far once a minute and at Ctrl-C; the same call then goes on
        from it, and removes it when done
    progress : show a bar, if stderr is a terminal; or a `progress.Share` of another bar
    details : return `Distances` instead of the array

    Returns
    -------
    (N, N) float64, symmetric, zero on the diagonal. A constant response gets the distance of a similarity of 0 to
    every other one. `ResponseWarning` names constant responses and those of a rank below the number of components.

    Raises
    ------
    UsageError
        for values that are not finite, differing sample counts, fewer than 2 samples, unknown options, and a
        checkpoint of other work
    RunError
        where scratch file or checkpoint can't be written

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3))
    >>> rotated = x @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    >>> pairwise_distances([x, rotated, rng.normal(size=(200, 5))], "cka").round(2) + 0.0
    array([[0.  , 0.  , 0.99],
           [0.  , 0.  , 0.99],
           [0.99, 0.99, 0.  ]])
    """
    if components is None:
        components = DEFAULT_COMPONENTS[metric] if metric in METRICS else 1.0
    settings = Settings(metric, components, coefficients, debiased, tolerance, rank_tolerance, precision)
    if not (is_number(memory) and memory > 0):
        raise UsageError(f"memory must be a positive number of bytes; it is {memory!r}")
    if threads is not None:
        check_sizes(threads=threads)
    if not hasattr(states, "__iter__") and not hasattr(states, "__getitem__"):
        raise UsageError(f"states must hold responses (samples, n), one after another; it is {states!r}")
    threads = int(threads or usable_processors())
    with Interruption() as interruption, Progress.of(progress) as shown:
        work = _Work(settings, memory, threads, checkpoint, shown, interruption)
        result = work.from_responses(states) if _takes_gram(states, settings) else work.reduced(states, scratch)
    warn(result.marks)
    return result if details else result.distances


class _Work:
    """One call of `pairwise_distances`."""

    def __init__(self, settings, memory, threads, checkpoint, progress, interruption):
        self.settings, self.memory, self.threads = settings, memory, threads
        self.path, self.progress, self.interruption = checkpoint, progress, interruption

    def reduced(self, states, scratch) -> Distances:
        """Reduce every response, then compare."""
        with ReducedResponses(self.settings.dtype, self.memory / 2, scratch) as store:
            self._reduce(states, store)
            N, sizes = len(store), np.array(store.sizes)
            marks = np.array(store.marks, np.int64)
            debiased = self.settings.debiased
            if debiased and store.samples < 4:
                raise UsageError(f"debiased=True needs 4 samples or more; there are {store.samples}")
            numpy = store.xp is np
            gram = self.settings.metric == "cka" and numpy and gram_is_cheaper(sizes, store.samples)
            signatures = np.array(store.signatures)
            if gram:

                def part(i, samples):
                    return np.ascontiguousarray(store.rows(i)[:, samples].T)

                similarity = self._gram(N, store.samples, part, signatures, self.memory / 2)  # the store has the rest
            else:
                similarity = self._blocks(store, N, sizes, signatures)
            if self.settings.metric == "cka":
                norms = np.zeros((N, store.samples)) if debiased else None
                if debiased:
                    for i in range(N):
                        norms[i] = np.sum(np.square(to_numpy(store.rows(i))), axis=0, dtype=np.float64)
                similarity = normalised(similarity, norms)
            return self._finish(similarity, sizes, marks)

    def from_responses(self, states) -> Distances:
        """CKA from Gram matrices of the responses as they are."""
        N, means, marks, signatures, norms = len(states), [], [], [], []
        self.progress.start("responses", N)
        samples = None
        for i in range(N):
            raw, eps = check_response(f"responses[{i}]", states[i])
            samples = _same_samples(i, raw.shape[0], samples)
            x = centre(np, raw)
            variance, norm = np.sum(x * x), np.sum(raw * raw)
            share = 10 * eps if self.settings.rank_tolerance is None else self.settings.rank_tolerance
            marks.append(ResponseMark.CONSTANT if variance <= share**2 * norm else ResponseMark.NONE)
            means.append(raw.mean(axis=0))
            signatures.append((variance, norm))
            if self.settings.debiased:
                norms.append(np.sum(x * x, axis=1))
            self._moved(1)

        def part(i, rows):
            return (np.asarray(states[i][rows], np.float64) - means[i]).astype(self.settings.dtype, copy=False)

        products = self._gram(N, samples, part, np.array(signatures), self.memory)
        constant = np.array(marks) == ResponseMark.CONSTANT
        products[constant, :] = products[:, constant] = 0
        similarity = normalised(products, np.array(norms) if self.settings.debiased else None)
        return self._finish(similarity, np.array([np.shape(state)[1] for state in states]), np.array(marks, np.int64))

    def _reduce(self, states, store: ReducedResponses) -> None:
        """Fill the store, responses being reduced in several threads as they come."""
        settings, waiting, samples = self.settings, deque(), None
        options = (settings.metric, settings.components, settings.tolerance, settings.rank_tolerance)
        if hasattr(states, "__len__"):
            self.progress.start("responses", len(states))
        with threadpool_limits(1, user_api="blas"), ExitStack() as stack:
            for i, response in enumerate(chain(states, [END])):
                if response is not END:
                    xp = namespace_of(response)
                    if i == 0:
                        store.xp, pool = xp, stack.enter_context(workers_for(xp, self.threads))
                    if xp is not store.xp:
                        raise UsageError(f"responses[{i}] is an array of another library than responses[0]")
                    waiting.append(pool.submit(reduce_response, f"responses[{i}]", response, *options))
                while waiting and (response is END or len(waiting) > self.threads):
                    reduced = waiting.popleft().result()
                    samples = _same_samples(len(store), reduced.rows.shape[1], samples)
                    store.add(reduced)
                    self._moved(1)
        if not len(store):
            raise UsageError("states holds no responses; give at least one array (samples, n)")

    def _blocks(self, store, N, sizes, signatures) -> np.ndarray:
        similarity = np.full((N, N), np.nan)
        empty = sizes == 0
        similarity[empty, :] = similarity[:, empty] = 0
        checkpoint = self._checkpoint({"samples": store.samples}, signatures)
        checkpoint.restore(similarity=similarity)
        self.progress.start("pairs", work_of(sizes))
        all_pairs(
            store,
            self.settings.metric,
            self.settings.coefficients,
            similarity,
            self.threads,
            self.memory / 2,
            lambda done: self._moved(done, checkpoint, similarity=similarity),
        )
        checkpoint.remove()
        return similarity

    def _gram(self, N, samples, part, signatures, memory) -> np.ndarray:
        products, done, dtype = np.zeros((N, N)), np.zeros(1, np.int64), self.settings.dtype
        tiles = tiles_of(N, samples, memory, self.threads, np.dtype(dtype).itemsize)
        checkpoint = self._checkpoint({"samples": samples, "tiles": len(tiles)}, signatures)
        checkpoint.restore(products=products, done=done)
        self.progress.start("pairs", len(tiles))

        def moved(count):
            done[0] = count
            self._moved(1, checkpoint, products=products, done=done)

        gram_products(N, part, dtype, tiles, self.threads, int(done[0]), products, moved)
        checkpoint.remove()
        return products

    def _checkpoint(self, sizes: dict, signatures) -> Checkpoint:
        return Checkpoint(self.path, asdict(self.settings) | sizes, signatures)

    def _moved(self, work, checkpoint: Checkpoint | None = None, **arrays) -> None:
        advance(self.progress, self.interruption, self.path, work, checkpoint, **arrays)

    def _finish(self, similarity, sizes, marks) -> Distances:
        """Similarity to distances, exact where it must be; marks responses that can't be told apart."""
        twins = similarity >= 1 - INDISTINGUISHABLE
        np.fill_diagonal(twins, False)
        marks[twins.any(axis=1)] |= ResponseMark.IDENTICAL
        similarity = (similarity + similarity.T) / 2
        angular = self.settings.metric == "procrustes"
        distances = np.arccos(np.clip(similarity, -1, 1)) if angular else np.maximum(1 - similarity, 0)
        np.fill_diagonal(distances, 0)
        return Distances(distances, sizes, marks, self.settings)


def _takes_gram(states, settings: Settings) -> bool:
    """Whether CKA should take Gram matrices of the responses themselves, judged from some of them."""
    readable = hasattr(states, "__len__") and hasattr(states, "__getitem__")
    if settings.metric != "cka" or settings.components != 1.0 or isinstance(settings.components, int) or not readable:
        return False
    if len(states) == 0 or any(np.ndim(s) != 2 or namespace_of(s) is not np for s in states):
        return False
    samples, units = np.shape(states[0])[0], np.array([np.shape(state)[1] for state in states])
    if not gram_is_cheaper(units, samples) or samples < 2 or (settings.debiased and samples < 4):
        return False
    chosen = np.unique(np.linspace(0, len(states) - 1, SAMPLED).astype(int))
    kept = [
        reduce_response(f"responses[{i}]", states[i], "cka", 1.0, settings.tolerance, settings.rank_tolerance)
        for i in chosen
    ]
    share = np.sum([one.rows.shape[0] for one in kept]) / np.sum(units[chosen])
    return gram_is_cheaper(units * share, samples)


def _same_samples(i: int, samples: int, first: int | None) -> int:
    if first is not None and samples != first:
        raise UsageError(
            f"responses[{i}] has {samples} samples and responses[0] has {first}; "
            "all must be responses to the same inputs"
        )
    return samples
