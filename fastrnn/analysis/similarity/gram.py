"""Linear CKA of all pairs from sample Gram matrices, tile by tile: the cost of a pair does not depend on n.

`|X^T Y|^2 = <X X^T, Y Y^T>`, so tiles of all networks' Gram matrices, each written as one long row, need a single
symmetric product. Cheaper than cross products of the responses where they keep more than about sqrt(samples / 2)
components.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

TILE_SHARE = 0.8  # of the memory budget that the rows of one tile may take
LARGEST_TILE = 256  # samples; larger ones gain nothing
DEPTH = 8192  # numbers multiplied in their own precision before the sum goes on in float64


def features_cost(sizes, samples: int) -> float:
    """Multiplications of all cross products."""
    total = float(np.sum(sizes))
    return samples * (total**2 + float(np.sum(np.square(sizes, dtype=float)))) / 2


def gram_cost(sizes, samples: int) -> float:
    """Multiplications of the Gram matrices' tiles and of their product."""
    tiles = samples * (samples + LARGEST_TILE) / 2
    return tiles * (float(np.sum(sizes)) + len(sizes) ** 2 / 2)


def gram_is_cheaper(sizes, samples: int) -> bool:
    """Whether Gram matrices take fewer multiplications for responses of so many components."""
    return gram_cost(sizes, samples) < features_cost(sizes, samples)


def tiles_of(N: int, samples: int, memory: float, threads: int, itemsize: int) -> list[tuple[slice, slice]]:
    """Tiles on and below the diagonal of a (samples, samples) matrix; `threads` of them fit in memory."""
    side = int(max(8, min(LARGEST_TILE, samples, np.sqrt(memory * TILE_SHARE / (itemsize * N * threads)))))
    edges = [slice(start, min(start + side, samples)) for start in range(0, samples, side)]
    return [(one, two) for i, one in enumerate(edges) for two in edges[: i + 1]]


def gram_products(N: int, part, dtype, tiles, threads: int, start: int, products: np.ndarray, moved) -> None:
    """Add `<X_i X_i^T, X_j X_j^T>` to `products` (N, N), in place, from tile number `start` on.

    A thread takes a tile; they are added in order, so that threads change no bit.

    Parameters
    ----------
    part : function of (i, slice of samples) to the centred rows (len, n_i) of response i, NumPy, of `dtype`
    moved : called as moved(done) after each tile; `products` then holds the first `done` tiles
    """
    largest = N * (tiles[0][0].stop - tiles[0][0].start) ** 2
    buffers = [np.empty(largest, dtype) for _ in range(threads)]

    def product(one, two):
        size = (one.stop - one.start, two.stop - two.start)
        buffer = buffers.pop()
        rows = buffer[: N * size[0] * size[1]].reshape(N, *size)
        for i in range(N):
            ours = part(i, one)
            np.matmul(ours, (ours if one == two else part(i, two)).T, out=rows[i])
        flat, result = rows.reshape(N, -1), np.zeros((N, N))
        for first in range(0, flat.shape[1], DEPTH):
            columns = flat[:, first : first + DEPTH]
            result += columns @ columns.T
        buffers.append(buffer)
        return result

    waiting, done = deque(), start
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for tile in [*tiles[start:], *[None] * threads]:
            if tile is not None:
                waiting.append((1 if tile[0] == tile[1] else 2, pool.submit(product, *tile)))
            if waiting and (tile is None or len(waiting) > threads):
                times, result = waiting.popleft()
                products += times * result.result()
                done += 1
                moved(done)


def normalised(products: np.ndarray, norms: np.ndarray | None) -> np.ndarray:
    """CKA from products of Gram matrices; debiased where `norms` (N, m), squared norms of centred samples, are given.

    The U-centred Gram matrices' products (Song et al. 2012) in terms of the centred ones, whose rows sum to zero.
    """
    if norms is not None:
        m = norms.shape[1]
        sums = norms.sum(axis=1)
        products = products - norms @ norms.T * (m / (m - 2)) + np.outer(sums, sums) / ((m - 1) * (m - 2))
    scale = np.sqrt(np.maximum(np.diag(products), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.outer(scale, scale) > 0, products / np.outer(scale, scale), 0.0)
