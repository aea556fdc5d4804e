"""Sums of singular values against a library's decomposition, for spectra that are hard for an integral."""

import numpy as np
import pytest

from fastrnn.analysis.similarity import pairs, pairwise_distances
from fastrnn.analysis.similarity.nuclear import LANES, sums_of_singular_values

ERROR = 1e-11  # of one singular value, as the module states

SPECTRA = {
    "ones": np.ones(20),
    "even": np.linspace(0, 1, 20),
    "decay": np.geomspace(1, 1e-14, 20),
    "rank 3": np.repeat([1.0, 0.0], [3, 17]),
    "nearly one": 1 - 1e-9 * np.arange(20),
    "where the integral begins": np.repeat([1.0, 1e-10], [1, 19]),
    "below that": np.repeat([1.0, 1e-11], [1, 19]),
    "far below": 1e-30 * np.ones(20),
    "zero": np.zeros(20),
}


def of_spectrum(values, k, l, rng):  # noqa: E741
    """A matrix (k, l) of these singular values."""
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0][:, : len(values)] for n in (k, l))
    return left * values @ right.T


def in_blocks(matrices):
    """(a, b, k, l) -> (a k, b l)."""
    a, b, k, l = matrices.shape  # noqa: E741
    return matrices.transpose(0, 2, 1, 3).reshape(a * k, b * l)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("k", "l"), [(20, 20), (33, 20), (20, 25)])
def test_planted_spectra(name, k, l):  # noqa: E741
    rng, values = np.random.default_rng(0), SPECTRA[name]
    matrices = np.array([[of_spectrum(values, k, l, rng) for _ in range(3)]])
    sums = sums_of_singular_values(in_blocks(matrices), k, l)
    np.testing.assert_allclose(sums, values.sum(), rtol=0, atol=20 * ERROR)
    assert np.all(sums >= 0)


@pytest.mark.parametrize(("k", "l"), [(1, 1), (1, 5), (5, 1), (2, 2), (3, 2), (4, 9), (48, 48)])
@pytest.mark.parametrize("b", [1, LANES - 1, LANES + 3])
def test_each_block_has_its_own(k, l, b):  # noqa: E741
    matrices = np.random.default_rng(0).normal(size=(2, b, k, l))
    matrices /= np.linalg.norm(matrices, 2, axis=(2, 3), keepdims=True) * np.arange(1, b + 1)[:, None, None]
    wanted = np.linalg.svd(matrices, compute_uv=False).sum(axis=-1)
    sums = sums_of_singular_values(in_blocks(matrices), k, l)
    np.testing.assert_allclose(sums, wanted, rtol=0, atol=min(k, l) * ERROR)


@pytest.mark.parametrize("matrix", [np.eye(6), np.eye(6)[::-1], np.tri(6) / 6, np.diag(np.arange(6)) / 6])
def test_matrices_with_zeros_where_reflections_divide(matrix):
    wanted = np.linalg.svd(matrix, compute_uv=False).sum()
    assert abs(sums_of_singular_values(matrix, 6, 6)[0, 0] - wanted) < 6 * ERROR


def test_distances_are_those_by_the_library(monkeypatch):
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(200, n)) for n in (5, 8, 8, 30, 12)]
    ours = pairwise_distances(states, components=0.9)
    monkeypatch.setattr(pairs, "LARGEST", 0)
    library = pairwise_distances(states, components=0.9)
    assert 0 < np.abs(ours - library).max() < ERROR
