"""All pairs of reduced responses as blocks of matrix products, each block's small matrices handled together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from .namespace import singular_values, swap_middle, to_numpy, transposed, workers_for
from .store import ReducedResponses

LARGEST = 48  # smaller side up to which `nuclear` is faster than a library
COLUMNS = 1024  # components in one block: products this large run at the processor's rate, and stay small in memory


@dataclass(frozen=True)
class Block:
    """Responses that kept the same number of components, k."""

    members: np.ndarray
    k: int

    def bytes(self, row: int) -> int:
        return len(self.members) * self.k * row


def make_blocks(sizes, columns: int = COLUMNS) -> list[Block]:
    """Responses sorted by size and cut into blocks of one size; those of size 0 are left out."""
    sizes = np.asarray(sizes)
    blocks = []
    for k in np.unique(sizes[sizes > 0]):
        members = np.flatnonzero(sizes == k)
        step = max(1, columns // int(k))
        blocks += [Block(members[start : start + step], int(k)) for start in range(0, len(members), step)]
    return blocks


def all_pairs(store: ReducedResponses, metric: str, coefficients: str, similarity, threads, memory, moved) -> None:
    """Fill in `similarity` (N, N), where it is still NaN, for all pairs of responses with at least one component.

    `moved(work)` is called after every few blocks with the multiplications done. The blocks of a part of the
    population, at most half of `memory`, stay in memory while all blocks before them pass by.
    """
    blocks = make_blocks(store.sizes, COLUMNS if metric != "pwcca" else COLUMNS // 2)
    parts, filled = [[]], 0
    for block in blocks:
        size = block.bytes(store.row_bytes)
        if parts[-1] and filled + size > memory / 2:
            parts, filled = [*parts, []], 0
        parts[-1].append(block)
        filled += size
    before = 0
    with threadpool_limits(1, user_api="blas"), workers_for(store.xp, threads) as pool:
        for part in parts:
            held = {}
            for j, other in enumerate(blocks[: before + len(part)]):
                todo = [
                    (i, block) for i, block in enumerate(part) if before + i >= j and _missing(similarity, block, other)
                ]
                if not todo:
                    continue
                for i, block in todo:
                    if i not in held:
                        held[i] = store.stacked(block.members)
                rows = held[j - before] if j - before in held else store.stacked(other.members)
                work = [pool.submit(_compare, store, metric, block, held[i], other, rows) for i, block in todo]
                for (_, block), done in zip(todo, work, strict=True):
                    values = done.result()
                    if coefficients == "larger":
                        values = values * (min(block.k, other.k) / max(block.k, other.k))
                    similarity[np.ix_(block.members, other.members)] = values
                    similarity[np.ix_(other.members, block.members)] = values.T
                moved(sum(len(b.members) * b.k for _, b in todo) * len(other.members) * other.k)
            before += len(part)


def work_of(sizes) -> float:
    """Multiplications (per sample) that `all_pairs` will report."""
    columns = np.array([len(block.members) * block.k for block in make_blocks(sizes)], float)
    return float((columns.sum() ** 2 + (columns**2).sum()) / 2)


def _missing(similarity, block: Block, other: Block) -> bool:
    return bool(np.isnan(similarity[np.ix_(block.members, other.members)]).any())


def _compare(store, metric, block: Block, rows, other: Block, other_rows) -> np.ndarray:
    """Similarities (a, b) of the responses of two blocks."""
    xp = store.xp
    a, b = len(block.members), len(other.members)
    product = xp.asarray(rows @ other_rows.T, dtype=xp.float64)
    if metric == "svcca" and xp is np and min(block.k, other.k) <= LARGEST:
        from .nuclear import sums_of_singular_values  # numba is loaded where it is needed

        return sums_of_singular_values(product, block.k, other.k) / min(block.k, other.k)
    cross = xp.reshape(product, (a, block.k, b, other.k))
    if metric == "cka":
        return to_numpy(xp.sum(cross * cross, axis=(1, 3)))
    cross = swap_middle(xp, cross)  # (a, b, k, l)
    if metric == "pwcca":
        ours = [store.loadings[i] for i in block.members]
        theirs = [store.loadings[j] for j in other.members]
        return to_numpy(projection_weighted(xp, cross, ours, theirs))
    total = xp.sum(singular_values(xp, cross), axis=-1)
    return to_numpy(total) / (min(block.k, other.k) if metric == "svcca" else 1)


def projection_weighted(xp, cross, ours, theirs):
    """Mean of the canonical correlations of `cross` (a, b, k, l), weighted both ways; (a, b).

    `ours` holds a loadings (k, n_i), `theirs` b loadings (l, n_j); n may differ.
    """
    u, s, vh = xp.linalg.svd(cross, full_matrices=False)
    one_way = xp.stack([_weighted(xp, s[i, ...], transposed(xp, u[i, ...]), x) for i, x in enumerate(ours)])
    other_way = xp.stack([_weighted(xp, s[:, j, :], vh[:, j, :, :], y) for j, y in enumerate(theirs)], axis=1)
    return (one_way + other_way) / 2


def _weighted(xp, s, directions, loadings):
    """Correlations s (b, c), each weighted by sum over units of |direction . loadings|: (b,)."""
    weights = xp.sum(xp.abs(directions @ loadings), axis=-1)  # (b, c)
    return xp.sum(weights * s, axis=-1) / xp.sum(weights, axis=-1)
