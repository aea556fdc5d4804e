"""Distances drawn: metric multidimensional scaling, from classical scaling as the start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..values import check_positive, check_sizes
from .distance_matrix import centred_gram, check_distances

NUDGE = 1e-3  # of the mean distance: moves starts off a flat configuration, in which stress can't fall any more


@dataclass(frozen=True)
class Embedding:
    """Points whose distances are those asked for, as nearly as the dimensions allow.

    points : (N, dimensions), centred; axes are the points' principal axes, signs fixed
    stress : Kruskal's stress-1, root of sum (d - D)^2 / sum d^2 over pairs, d between points, D asked for; 0 is
        perfect, and Kruskal called 0.1 fair and 0.2 poor
    classical_stress : the same of the start
    iterations : of SMACOF
    converged : False where the iterations ended before the stress stood still
    """

    points: np.ndarray
    stress: float
    classical_stress: float
    iterations: int
    converged: bool


def embed(
    distances,
    dimensions: int = 2,
    *,
    start: str = "classical",
    iterations: int = 300,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> Embedding:
    """Metric multidimensional scaling of a distance matrix.

    Points start at classical scaling (Torgerson 1952) and are moved by SMACOF (de Leeuw 1977; scikit-learn's), which
    lowers the sum of squared differences between the distances of points and those asked for.

    Parameters
    ----------
    distances : (N, N)
    dimensions : of the points
    start : "classical", the same for every call; or "random", from `seed`
    iterations : of SMACOF at most
    tolerance : SMACOF ends when the stress falls by less, relative to the squared distances
    seed : of the random start, and of the small nudge a start gets where the distances fit fewer dimensions

    Returns
    -------
    Embedding

    Raises
    ------
    UsageError
        for distances that are not finite, symmetric and zero on the diagonal, and unknown options

    >>> corners = np.array([[0, 0], [3, 0], [3, 4], [0, 4.0]])
    >>> made = embed(np.linalg.norm(corners[:, None] - corners, axis=2))
    >>> made.points.shape, bool(made.stress < 1e-3)
    ((4, 2), True)
    """
    distances = check_distances(distances)
    check_sizes(dimensions=dimensions, iterations=iterations)
    check_positive(tolerance=tolerance)
    if start not in ("classical", "random"):
        raise UsageError(f"start must be 'classical' or 'random'; it is {start!r}")
    N, mean = len(distances), float(distances.mean())
    if mean == 0:
        return Embedding(np.zeros((N, dimensions)), 0.0, 0.0, 0, True)
    from sklearn.manifold import smacof

    random = np.random.default_rng(seed)
    classical = classical_scaling(distances, dimensions)
    if start == "random":
        points = mean * random.normal(size=(N, dimensions))
    else:
        points = classical.copy()
        flat = np.abs(points).max(axis=0) < NUDGE * mean
        points[:, flat] = NUDGE * mean * random.normal(size=(N, int(flat.sum())))
    points, _, done = smacof(
        distances / mean,
        n_components=dimensions,
        init=points / mean,
        n_init=1,
        max_iter=iterations,
        eps=tolerance,
        random_state=seed,
        normalized_stress=False,
        return_n_iter=True,
    )
    points = _principal(points * mean)
    return Embedding(points, stress(distances, points), stress(distances, classical), int(done), done < iterations)


def classical_scaling(distances: np.ndarray, dimensions: int) -> np.ndarray:
    """Principal coordinates (N, dimensions) (Torgerson 1952): first eigenvectors of Gower's matrix, scaled."""
    from scipy.linalg import eigh

    N = len(distances)
    kept = min(dimensions, N)
    values, vectors = eigh(centred_gram(distances), subset_by_index=(N - kept, N - 1))
    points = np.zeros((N, dimensions))
    points[:, :kept] = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    return _signed(points)


def stress(distances: np.ndarray, points: np.ndarray) -> float:
    """Kruskal's stress-1 of points (N, dimensions); 1 where all points coincide."""
    from scipy.spatial.distance import pdist

    between = pdist(points)
    wanted = distances[np.triu_indices(len(distances), 1)]
    size = np.sum(between**2)
    return float(np.sqrt(np.sum((between - wanted) ** 2) / size)) if size > 0 else 1.0


def _principal(points: np.ndarray) -> np.ndarray:
    """Points centred and turned to their principal axes."""
    points = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    turned = np.zeros_like(points)
    turned[:, : len(axes)] = points @ axes.T
    return _signed(turned)


def _signed(points: np.ndarray) -> np.ndarray:
    """The coordinate farthest from zero on each axis made positive."""
    farthest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
    return points * np.where(farthest < 0, -1.0, 1.0)
