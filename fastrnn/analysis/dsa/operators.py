"""A linear map fitted to trajectories in delay coordinates: what a network's responses do from one step to the next.

Hankel alternative view of Koopman (Brunton et al. 2017), as Ostrow et al. (2023) fit it: the states of `delays` steps
in a row are one long vector, the `rank` first left singular vectors of all of these are the coordinates, and a map from
each step's to the next one's is fitted by least squares. Nothing is centred: the mean is one of the coordinates.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, eigsh

from ...errors import UsageError
from ...progress import counted
from ..similarity.namespace import to_numpy
from ..similarity.reduction import ResponseMark, check_response

REST = 1e-4  # components of the states together this small, relative to the least that counts, are left out
FEW = 20  # times the rank: of larger matrices the largest eigenvalues are looked for alone
SEED = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}  # newer versions draw restarts
NOISE = 1.2e-6  # singular values up to this share of the largest are rounding noise of float32


@dataclass(frozen=True)
class Operator:
    """The map of one network.

    matrix : (rank, rank), takes coordinates to the next step's; rows and columns beyond `kept` are 0
    kept : coordinates there are, fewer than `rank` where the trajectories have fewer
    explained : share of the next coordinates' squares that the map explains, at most 1
    mark : ResponseMark
    signature : norms of the trajectories and of the map, to recognise them when work is resumed
    """

    matrix: np.ndarray
    kept: int
    explained: float
    mark: ResponseMark
    signature: tuple[float, float]


def fit_operator(name: str, states, delays: int, rank: int) -> Operator:
    """The map of trajectories (trials, T, n), or of one (T, n)."""
    x = _check_trajectories(name, states, delays)
    matrix = np.zeros((rank, rank))
    norm = float(np.sum(x * x)) ** 0.5
    if norm <= 0:
        return Operator(matrix, 0, 0.0, ResponseMark.CONSTANT, (0.0, 0.0))
    x = _main_components(x, rank)
    values, vectors = _largest(_delayed_products(x, delays), rank)
    s = np.sqrt(np.maximum(values, 0))
    kept = int((s > NOISE * s[0]).sum())
    coordinates = _delayed(x, vectors[:, :kept], delays) / s[:kept]  # (trials, windows, kept)
    coordinates *= np.where(np.sum(coordinates**3, axis=(0, 1)) < 0, -1.0, 1.0)  # an eigenvector has no sign
    before, after = (part.reshape(-1, kept) for part in (coordinates[:, :-1], coordinates[:, 1:]))
    # trials' last windows are not in `before`: what it lacks without them must not be fitted to rounding
    fitted = (s[:kept, None] * linalg.lstsq(before * s[:kept], after, cond=NOISE)[0]).T
    matrix[:kept, :kept] = fitted
    square = float(np.sum(after**2))
    explained = 1 - float(np.sum((after - before @ fitted.T) ** 2)) / square if square > 0 else 0.0
    mark = ResponseMark.FEWER_COMPONENTS if kept < rank else ResponseMark.NONE
    if not fitted.any():  # nothing leads anywhere
        mark |= ResponseMark.CONSTANT
    return Operator(matrix, kept, explained, mark, (norm, float(np.linalg.norm(fitted))))


def _check_trajectories(name: str, states, delays: int) -> np.ndarray:
    """Trajectories (trials, T, n), float64."""
    try:
        x = to_numpy(states) if hasattr(states, "shape") else np.asarray(states)
    except ValueError as error:
        raise UsageError(f"{name} must be an array (trials, T, n); {error}") from error
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or 0 in x.shape:
        raise UsageError(
            f"{name} must have shape (trials, T, n), or (T, n) for one trial, all at least 1; "
            f"it has shape {np.shape(states)}"
        )
    trials, T, n = x.shape
    if T < delays + 1:
        said = "give fewer delays" if delays > 1 else "a map leads from one step to the next"
        needed = f"with {counted(delays, 'delay')} there must be {delays + 1} or more"
        raise UsageError(f"{name} has {counted(T, 'step')}; {needed}: {said}")
    return check_response(name, x.reshape(trials * T, n))[0].reshape(trials, T, n)


def _main_components(x: np.ndarray, rank: int) -> np.ndarray:
    """Scores (trials, T, k) of the principal components that matter to `rank` coordinates."""
    n = x.shape[2]
    flat = x.reshape(-1, n)
    values, vectors = linalg.eigh(flat.T @ flat)
    squares = np.maximum(values[::-1], 0)
    rest = np.sqrt(np.cumsum(squares[::-1])[::-1])  # norm of component k and later
    k = int((rest > REST * np.sqrt(squares[min(rank, n) - 1])).sum())
    return x @ vectors[:, ::-1][:, : max(k, 1)]


def _delayed_products(x: np.ndarray, delays: int) -> np.ndarray:
    """Products (delays k, delays k) of all delay vectors, summed over windows: `H^T H` of the Hankel matrix H.

    Blocks along a diagonal differ by the windows' ends alone.
    """
    _, T, k = x.shape
    windows = T - delays + 1
    blocks = np.empty((delays, k, delays, k))
    first = x[:, :windows].reshape(-1, k)
    for b in range(delays):
        blocks[0, :, b] = first.T @ x[:, b : b + windows].reshape(-1, k)
    for a in range(1, delays):
        for b in range(a, delays):
            left, right = x[:, a - 1].T @ x[:, b - 1], x[:, a + windows - 1].T @ x[:, b + windows - 1]
            blocks[a, :, b] = blocks[a - 1, :, b - 1] - left + right
    for a in range(delays):
        for b in range(a):
            blocks[a, :, b] = blocks[b, :, a].T
    return blocks.reshape(delays * k, delays * k)


def _largest(products: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (k,), from the largest on, and their vectors (m, k)."""
    m = len(products)
    if m >= FEW * rank:
        try:
            values, vectors = eigsh(products, rank, v0=np.ones(m), **SEED)
            return values[::-1], vectors[:, ::-1]
        except ArpackError:  # not converged: rare, and only slower
            pass
    values, vectors = linalg.eigh(products, subset_by_index=[max(m - rank, 0), m - 1])
    return values[::-1], vectors[:, ::-1]


def _delayed(x: np.ndarray, vectors: np.ndarray, delays: int) -> np.ndarray:
    """Delay vectors of all windows on some directions (delays k, r): (trials, windows, r)."""
    windows, k = x.shape[1] - delays + 1, x.shape[2]
    return sum(x[:, d : d + windows] @ vectors[d * k : (d + 1) * k] for d in range(delays))
