"""Dynamical similarity analysis: maps as the textbook fits them, alignments no worse than a general optimiser's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import similarity_oracle as oracle
from responses import invertible, rotation
from scipy.sparse.linalg import ArpackError

import fastrnn
from fastrnn.analysis.dsa import alignment, distances, dynamical_distances, fit_operator, operators
from fastrnn.analysis.dsa.distances import largest_possible
from fastrnn.analysis.similarity import ResponseMark, ResponseWarning
from fastrnn.errors import UsageError
from fastrnn.progress import Interrupted

RNG = np.random.default_rng


def driven(n=6, trials=5, T=40, seed=0, scale=0.9):
    """Trajectories (trials, T, n) of a random network of tanh units with random inputs."""
    rng = RNG(seed)
    weights, inputs = rng.normal(size=(n, n)) * scale / n**0.5, rng.normal(size=(2, n))
    x, h = np.zeros((trials, T, n)), np.zeros((trials, n))
    for t in range(T):
        h = np.tanh(h @ weights + rng.normal(size=(trials, 2)) @ inputs)
        x[:, t] = h
    return x


def population(count=5, **options):
    return [driven(n=5 + i % 3, seed=i, **options) for i in range(count)]


def unit_maps(count, r, seed=0):
    maps = RNG(seed).normal(size=(count, r, r))
    return maps / np.linalg.norm(maps, axis=(1, 2), keepdims=True)


def angle(a, b):
    """The angle of the best alignment found of two maps of norm 1."""
    starts, frames = alignment.starts_of(np.array([a, b]))
    found = np.empty(1)
    alignment.align_pairs(np.array([a, b]), starts, frames, np.array([[0, 1]]), found)
    return np.arccos(min(found[0], 1.0))


@pytest.mark.parametrize(("delays", "rank"), [(1, 3), (1, 6), (4, 5), (7, 10)])
@pytest.mark.parametrize("n", [6, 40])
def test_the_map_is_the_textbooks(delays, rank, n):
    x = driven(n)
    wanted, found = oracle.linear_map(x, delays, rank), fit_operator("x", x, delays, rank)
    # singular vectors have no sign: the same up to signs of coordinates
    np.testing.assert_allclose(np.abs(found.matrix), np.abs(wanted), atol=2e-4)
    np.testing.assert_allclose(np.diag(found.matrix), np.diag(wanted), atol=2e-4)
    np.testing.assert_allclose(np.linalg.det(found.matrix), np.linalg.det(wanted), rtol=1e-3, atol=1e-12)
    assert found.kept == rank and found.mark == ResponseMark.NONE and 0 < found.explained < 1


def test_one_trial_may_come_without_its_axis():
    x = driven(trials=1)
    np.testing.assert_array_equal(fit_operator("x", x[0], 3, 4).matrix, fit_operator("x", x, 3, 4).matrix)


def test_a_linear_system_is_found_and_explained():
    """A rotation by 0.3 and one by 0.9: their eigenvalues."""
    t = np.arange(60)[:, None]
    x = np.cos(t * [0.3, 0.9] + [0.0, 1.0]) @ RNG(0).normal(size=(2, 7))
    made = fit_operator("x", x, 4, 4)
    angles = np.sort(np.angle(np.linalg.eigvals(made.matrix)))
    np.testing.assert_allclose(angles, [-0.9, -0.3, 0.3, 0.9], atol=1e-9)
    assert made.explained > 1 - 1e-12


@pytest.mark.parametrize(("T", "delays"), [(2, 1), (3, 1), (4, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_only_last_windows_have_is_not_fitted_to_rounding(T, delays, dtype):
    """Linear units: without the last windows there are fewer directions than with them."""
    rng = RNG(0)
    weights, inputs = 0.9 * rotation(16), rng.normal(size=(2, 16))
    x, h = np.zeros((64, T, 16)), np.zeros((64, 16))
    for t in range(T):
        x[:, t] = h = h @ weights + rng.normal(size=(64, 2)) @ inputs
    turned = (x @ rotation(16, 5)).astype(dtype)
    x = x.astype(dtype)
    assert np.linalg.norm(fit_operator("x", x, delays, 10).matrix) < 10
    assert dynamical_distances([x, turned], delays, 10)[0, 1] < 1e-3


def test_states_that_lead_nowhere_are_marked():
    for t in (0, -1):
        x = np.zeros((6, 8, 5))
        x[:, t] = RNG(0).normal(size=(6, 5))
        made = fit_operator("x", x, 1, 4)
        assert made.mark == ResponseMark.CONSTANT and made.explained == 0 and not made.matrix.any()


def test_fewer_coordinates_than_the_rank_are_filled_up():
    x = driven(n=2)
    made = fit_operator("x", x, 2, 6)
    assert made.kept == 4 and made.mark == ResponseMark.FEWER_COMPONENTS
    np.testing.assert_array_equal(made.matrix[4:], 0)
    np.testing.assert_array_equal(made.matrix[:, 4:], 0)
    assert np.any(made.matrix[:4, :4])


@pytest.mark.parametrize("r", [3, 5])
def test_alignments_are_as_good_as_a_general_optimisers(r):
    """Maps at random, which are harder than networks', may end a little above the best."""
    pairs = [unit_maps(2, r, seed) for seed in range(4)]
    above = [angle(a, b) - oracle.least_angle(a, b, starts=8) for a, b in pairs]
    assert max(above) < 2e-3 if r < 5 else np.mean(above) < 1e-2


def test_alignment_turns_and_does_nothing_else():
    a, b = unit_maps(2, 6)
    turned = np.repeat(b[:, :, None], alignment.LANES, axis=2)
    found, sweeps = alignment.largest_inner_product(a, turned)
    assert 1 < sweeps <= alignment.SWEEPS
    products = [np.sum(a * turned[:, :, v]) for v in range(alignment.LANES)]
    np.testing.assert_allclose(max(products), found, atol=1e-12)
    for v in range(alignment.LANES):
        end = turned[:, :, v]
        np.testing.assert_allclose(np.poly(end), np.poly(b), atol=1e-12)
        np.testing.assert_allclose(np.poly(end @ end.T), np.poly(b @ b.T), atol=1e-12)


def test_two_by_two_over_all_angles():
    turns = np.linspace(0, 2 * np.pi, 20001)
    c, s = np.cos(turns), np.sin(turns)
    for seed in range(10):
        a, b = unit_maps(2, 2, seed)
        best = -1.0
        for sign in (1, -1):
            turn = np.moveaxis(np.array([[c, -sign * s], [s, sign * c]]), 2, 0)
            best = max(best, np.max(np.sum(a * (turn @ b @ turn.transpose(0, 2, 1)), axis=(1, 2))))
        assert abs(np.cos(angle(a, b)) - best) < 1e-7


@pytest.mark.parametrize("sign", [1, -1], ids=["symmetric", "skew"])
def test_the_bound_is_met_by_symmetric_and_by_skew_maps(sign):
    maps = unit_maps(2, 5, 3)
    maps = maps + sign * maps.transpose(0, 2, 1)
    maps /= np.linalg.norm(maps, axis=(1, 2), keepdims=True)
    possible = largest_possible(maps)[0, 1]
    assert abs(np.cos(angle(*maps)) - possible) < 1e-4
    values = np.linalg.eigvals(maps)
    part = values.real if sign == 1 else values.imag
    assert abs(np.sort(part, axis=1)[0] @ np.sort(part, axis=1)[1] - possible) < 1e-12


@pytest.mark.parametrize("r", [2, 6, 10])
@pytest.mark.parametrize("reflected", [False, True])
def test_turned_maps_are_found_to_be_the_same(r, reflected):
    a = unit_maps(1, r, 8)[0]
    turn = rotation(r, 5)
    if reflected == (np.linalg.det(turn) > 0):
        turn[0] *= -1
    assert angle(a, turn @ a @ turn.T) < 1e-6


def test_distances_of_a_population():
    made = dynamical_distances(population(), 4, 6, details=True)
    D = made.distances
    assert D.shape == (5, 5) and D.dtype == np.float64
    np.testing.assert_array_equal(D, D.T)
    np.testing.assert_array_equal(np.diag(D), 0)
    assert np.all(D[~np.eye(5, dtype=bool)] > 1e-3) and np.all(D <= np.pi / 2 + 0.5)
    assert np.all(made.bounds <= D) and np.all(D - made.bounds < 0.3) and np.any(made.bounds < D - 1e-4)
    unit = made.operators / np.linalg.norm(made.operators, axis=(1, 2), keepdims=True)
    assert np.all(np.cos(D) <= largest_possible(unit) + 1e-12)  # whatever `bounds` are cut to
    np.testing.assert_array_equal(made.components, 6)
    np.testing.assert_array_equal(made.operators[2], fit_operator("x", population()[2], 4, 6).matrix)
    assert np.all((made.explained > 0) & (made.explained < 1)) and not made.marks.any()
    assert (made.settings.delays, made.settings.rank) == (4, 6)
    np.testing.assert_array_equal(D, dynamical_distances(iter(population()), 4, 6))


def test_each_pair_against_the_oracle():
    states = population(4)
    found = dynamical_distances(states, 3, 4)
    for i in range(4):
        for j in range(i):
            a, b = (oracle.linear_map(states[k], 3, 4) for k in (i, j))
            assert found[i, j] < oracle.least_angle(a, b, starts=8) + 3e-3


def test_the_triangle_inequality_holds_but_for_the_tolerance():
    D = dynamical_distances(population(9), 4, 6)
    for middle in range(9):
        assert np.all(D <= D[:, middle, None] + D[None, middle, :] + 5e-3)


def test_rotated_scaled_states_are_the_same_and_mapped_or_warped_ones_are_not():
    x, other = driven(6), driven(6, seed=9)
    D = dynamical_distances([x, 3 * x @ rotation(6), x @ invertible(6), x**3, other], 4, 8)
    assert D[0, 1] < 1e-6 and abs(D[0, 4] - D[1, 4]) < 1e-6
    assert D[0, 2] > 1e-3 and D[0, 3] > 1e-3


def test_time_matters_as_it_does_not_to_geometry():
    """The same states in another order of time."""
    x = driven(6, trials=4, T=60)
    shuffled = x[:, RNG(1).permutation(60)]
    assert dynamical_distances([x, shuffled], 1, 5)[0, 1] > 0.1
    flat = [states.reshape(-1, 6)[np.lexsort(states.reshape(-1, 6).T)] for states in (x, shuffled)]
    assert fastrnn.pairwise_distances(flat, "procrustes")[0, 1] < 1e-6


def test_neither_order_nor_threads_nor_company_change_a_bit():
    states = population(7)
    D = dynamical_distances(states, 4, 6, threads=1)
    np.testing.assert_array_equal(D, dynamical_distances(states, 4, 6, threads=3))
    order = RNG(0).permutation(7)
    np.testing.assert_array_equal(D[np.ix_(order, order)], dynamical_distances([states[i] for i in order], 4, 6))
    np.testing.assert_array_equal(D[:3, :3], dynamical_distances(states[:3], 4, 6))


def test_settings_change_something():
    states = population(3)
    D = dynamical_distances(states, 4, 6)
    assert not np.allclose(D, dynamical_distances(states, 3, 6)) and not np.allclose(
        D, dynamical_distances(states, 4, 5)
    )


def test_silent_networks_and_twins_are_marked():
    x = driven()
    with pytest.warns(ResponseWarning, match="1 of 3 responses are silent, or lead nowhere.*: 1"):
        made = dynamical_distances([x, np.zeros_like(x), x], 2, 3, details=True)
    np.testing.assert_array_equal(made.distances[1], [np.pi / 2, 0, np.pi / 2])
    assert made.distances[0, 2] == 0 and made.components.tolist() == [3, 0, 3]
    assert made.marks.tolist() == [ResponseMark.IDENTICAL, ResponseMark.CONSTANT, ResponseMark.IDENTICAL]


def test_trials_and_steps_may_differ():
    assert dynamical_distances([driven(T=30), driven(T=50, trials=2), driven()[0]], 3, 4).shape == (3, 3)


def test_one_network():
    np.testing.assert_array_equal(dynamical_distances([driven()], 2, 3), [[0.0]])


@pytest.mark.parametrize(
    ("states", "options", "said"),
    [
        ([], {}, "holds no networks"),
        (3, {}, "trajectories must hold arrays"),
        ([driven()], {"delays": 0}, "delays must be"),
        ([driven()], {"rank": 1}, "rank must be at least 2; it is 1"),
        ([driven()], {"threads": 0}, "threads must be"),
        ([driven(T=8)], {"delays": 8}, r"trajectories\[0\] has 8 steps; with 8 delays there must be 9 or more: give"),
        (
            [driven(T=1)],
            {"delays": 1},
            r"1 step; with 1 delay there must be 2 or more: a map leads from",
        ),
        ([[[1.0], [1.0, 2.0]]], {}, r"trajectories\[0\] must be an array \(trials, T, n\); setting an array"),
        ([driven(), np.zeros(4)], {}, r"trajectories\[1\] must have shape \(trials, T, n\).*shape \(4,\)"),
        ([driven() * np.nan], {}, r"trajectories\[0\] must be finite"),
        ([driven() * 1j], {}, "must be real numbers"),
    ],
)
def test_bad_input_is_refused(states, options, said):
    with pytest.raises(UsageError, match=said):
        dynamical_distances(states, **options)


def test_pieces_are_small_where_pairs_take_long_or_are_few(monkeypatch):
    align, sizes = alignment.align_pairs, []

    def noted(operators, starts, frames, pairs, found):
        sizes.append(len(pairs))
        align(operators, starts, frames, pairs, found)

    monkeypatch.setattr(alignment, "align_pairs", noted)
    dynamical_distances(population(8), 3, 4, threads=2)
    assert sum(sizes) == 28 and max(sizes) == 28 // 8
    sizes.clear()
    monkeypatch.setattr(distances, "PIECE", 8)
    dynamical_distances(population(8), 4, 20, threads=1)
    assert sum(sizes) == 28 and max(sizes) == 1


def test_interrupted_before_the_pairs(tmp_path, monkeypatch):
    class Interruption:
        requested = True

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(distances, "Interruption", Interruption)
    with pytest.raises(Interrupted, match="before the first pair was compared; the same call starts again"):
        dynamical_distances(population(3), 3, 4, checkpoint=tmp_path / "partial")
    assert not any(tmp_path.iterdir())


def test_interrupted_work_goes_on(tmp_path, monkeypatch):
    states, path = population(6), tmp_path / "partial"
    whole = dynamical_distances(states, 3, 4)
    monkeypatch.setattr(distances, "PIECE", 2)
    align, done = alignment.align_pairs, []

    class Interruption:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        @property
        def requested(self):
            return len(done) > 3

    def counted(operators, starts, frames, pairs, found):
        done.append(len(pairs))
        align(operators, starts, frames, pairs, found)

    monkeypatch.setattr(alignment, "align_pairs", counted)
    with monkeypatch.context() as patch:
        patch.setattr(distances, "Interruption", Interruption)
        with pytest.raises(Interrupted, match="the same call goes on from"):
            dynamical_distances(states, 3, 4, threads=1, checkpoint=path)
        before, done[:] = len(done), [0] * 9
        with pytest.raises(Interrupted, match="give checkpoint= a file"):
            dynamical_distances(states, 3, 4, threads=1)
        done.clear()
        for other, rank in ((states, 5), ([x[:, ::-1] for x in states], 4)):  # reversed in time
            with pytest.raises(UsageError, match="other responses or settings"):
                dynamical_distances(other, 3, rank, threads=1, checkpoint=path)
    done.clear()
    np.testing.assert_array_equal(dynamical_distances(states, 3, 4, threads=1, checkpoint=path), whole)
    assert before > 3 and 0 < sum(done) < 15 and not path.exists()


def test_of_large_matrices_the_largest_eigenvalues_are_the_same(monkeypatch):
    x = driven(n=40)
    lanczos = fit_operator("x", x, 6, 5)  # 240 coordinates
    monkeypatch.setattr(operators, "FEW", 1000)
    np.testing.assert_allclose(lanczos.matrix, fit_operator("x", x, 6, 5).matrix, atol=1e-9)

    def fails(*_, **__):
        raise ArpackError(-1)

    whole = fit_operator("x", x, 6, 5)
    monkeypatch.setattr(operators, "FEW", 1)
    monkeypatch.setattr(operators, "eigsh", fails)
    np.testing.assert_array_equal(fit_operator("x", x, 6, 5).matrix, whole.matrix)


NARROW = """
import numpy as np
from test_dsa import dynamical_distances, population
from fastrnn.engines.cpu.vectors import LANES
np.save({path!r}, dynamical_distances(population(4), 4, 6))
print(LANES)
"""


@pytest.mark.parametrize(("features", "lanes"), [("+avx2,+avx,+fma", 8), ("+sse2", 4)])
def test_narrower_vectors_find_the_same(features, lanes, tmp_path):
    environment = os.environ | {
        "NUMBA_CPU_NAME": "x86-64",
        "NUMBA_CPU_FEATURES": features,
        "FASTRNN_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    path = str(tmp_path / "distances.npy")
    command = [sys.executable, "-c", NARROW.format(path=path)]
    assert int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout) == lanes
    np.testing.assert_allclose(np.load(path), dynamical_distances(population(4), 4, 6), atol=1e-5)
