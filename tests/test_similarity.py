"""Similarity of pairs against the textbook: values, invariances, and responses that are unusual."""

import numpy as np
import pytest
import similarity_oracle as oracle
from responses import invertible, population, rotation

from fastrnn.analysis.similarity import (
    METRICS,
    ResponseMark,
    ResponseWarning,
    canonical_correlations,
    cka,
    pairwise_distances,
    svcca,
)
from fastrnn.errors import UsageError

AGREEMENT = 1e-8  # absolute, of distances in [0, 1] or radians

CASES = {
    "svcca": ({}, oracle.svcca_distance),
    "svcca-number": ({"components": 3}, lambda x, y: oracle.svcca_distance(x, y, 3)),
    "svcca-half": ({"components": 0.5}, lambda x, y: oracle.svcca_distance(x, y, 0.5)),
    "svcca-all": ({"components": 1.0}, lambda x, y: oracle.svcca_distance(x, y, 1.0)),
    "svcca-larger": ({"coefficients": "larger"}, lambda x, y: oracle.svcca_distance(x, y, 0.95, "larger")),
    "pwcca": ({}, oracle.pwcca_distance),
    "pwcca-number": ({"components": 2}, lambda x, y: oracle.pwcca_distance(x, y, 2)),
    "cka": ({}, oracle.cka_distance),
    "cka-debiased": ({"debiased": True}, oracle.debiased_cka_distance),
    "cka-number": (
        {"components": 2},
        lambda x, y: oracle.cka_distance(oracle.truncated(x, 2), oracle.truncated(y, 2)),
    ),
    "procrustes": ({}, oracle.procrustes_distance),
}


def distance(x, y, metric, **options):
    return pairwise_distances([x, y], metric, **options)[0, 1]


@pytest.mark.parametrize("case", CASES)
def test_every_pair_agrees_with_the_textbook(case):
    options, textbook = CASES[case]
    states = population()
    distances = pairwise_distances(states, case.split("-")[0], **options)
    assert distances.dtype == np.float64
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(np.diag(distances), 0)
    for i in range(len(states)):
        for j in range(i):
            assert abs(distances[i, j] - textbook(states[i], states[j])) < AGREEMENT, (i, j)


@pytest.mark.parametrize("metric", METRICS)
def test_more_units_than_samples(metric):
    states = population(sizes=(20, 30, 25), samples=15)
    distances = pairwise_distances(states, metric, 4 if metric in ("svcca", "pwcca") else None)
    textbook = {
        "svcca": lambda x, y: oracle.svcca_distance(x, y, 4),
        "pwcca": lambda x, y: oracle.pwcca_distance(x, y, 4),
        "cka": oracle.cka_distance,
        "procrustes": oracle.procrustes_distance,
    }[metric]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        assert abs(distances[i, j] - textbook(states[i], states[j])) < AGREEMENT


def test_small_components_keep_their_digits():
    """Singular values down to 1e-7 of the largest: an eigendecomposition of the covariance would not do."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 4)) * np.array([1, 1e-3, 1e-5, 1e-7])
    y = x @ rotation(4) + 1e-8 * rng.normal(size=(200, 4))
    wanted = canonical_correlations(x / x.std(0), (y @ rotation(4).T) / x.std(0))
    np.testing.assert_allclose(canonical_correlations(x, y), wanted, atol=AGREEMENT)


def test_pairs_by_themselves():
    x, y = population()[:2]
    np.testing.assert_allclose(canonical_correlations(x, y), oracle.canonical_correlations(x, y), atol=AGREEMENT)
    assert abs(svcca(x, y) - (1 - oracle.svcca_distance(x, y))) < AGREEMENT
    assert abs(svcca(x, y, 2) - (1 - oracle.svcca_distance(x, y, 2))) < AGREEMENT
    assert abs(cka(x, y) - (1 - oracle.cka_distance(x, y))) < AGREEMENT
    assert abs(cka(x, y, debiased=True) - (1 - oracle.debiased_cka_distance(x, y))) < AGREEMENT


@pytest.mark.parametrize("metric", METRICS)
def test_invariant_to_rotation_scale_and_offset(metric):
    x, y = population()[:2]
    turn = rotation(x.shape[1]) if metric != "pwcca" else np.eye(x.shape[1])[::-1]
    moved = 7.5 * x @ turn + np.arange(x.shape[1])
    assert abs(distance(moved, y, metric) - distance(x, y, metric)) < AGREEMENT
    assert distance(x, moved, metric) < 1e-7  # the angle's resolution; others are better


@pytest.mark.parametrize(
    ("metric", "components", "invariant"),
    [
        ("svcca", 1.0, True),
        ("svcca", 0.95, False),
        ("svcca", 2, False),
        ("pwcca", 0.95, False),
        ("cka", None, False),
        ("procrustes", None, False),
    ],
)
def test_invariance_to_invertible_maps_is_of_untruncated_cca_only(metric, components, invariant):
    x, y = population()[:2]
    mapped = x @ invertible(x.shape[1])
    change = abs(distance(mapped, y, metric, components=components) - distance(x, y, metric, components=components))
    assert change < AGREEMENT if invariant else change > 1e-3


def test_weights_over_units_make_pwcca_depend_on_rotations():
    x, y = population()[:2]
    assert abs(distance(x @ rotation(x.shape[1]), y, "pwcca") - distance(x, y, "pwcca")) > 1e-4


def test_not_invariant_to_a_nonlinear_map():
    x = population()[0]
    for metric in METRICS:
        assert distance(x, x**3, metric) > 1e-3


def test_procrustes_keeps_the_triangle_inequality():
    distances = pairwise_distances(population(sizes=(3, 4, 5, 6, 7, 8, 9), noise=0.5, samples=40), "procrustes")
    for middle in range(len(distances)):
        assert np.all(distances <= distances[:, middle, None] + distances[None, middle, :] + 1e-12)


def test_debiased_cka_of_unrelated_responses_is_near_zero():
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(30, 20)) for _ in range(8)]
    above = np.triu_indices(8, 1)
    assert np.mean(1 - pairwise_distances(states, "cka")[above]) > 0.3
    assert abs(np.mean(1 - pairwise_distances(states, "cka", debiased=True)[above])) < 0.05


def test_debiased_distances_beyond_one_stay_as_they_are():
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(30, 20)) for _ in range(8)]
    assert pairwise_distances(states, "cka", debiased=True).max() > 1


def test_single_precision_comes_within_its_rounding():
    states = population()
    rounded = [x.astype(np.float32) for x in states]
    for metric in METRICS:
        change = pairwise_distances(rounded, metric) - pairwise_distances(states, metric)
        assert np.abs(change).max() < 1e-5


@pytest.mark.parametrize("metric", METRICS)
def test_constant_responses_are_marked_and_farthest(metric):
    states = [*population()[:2], np.full((60, 4), 0.1), np.zeros((60, 3), np.float32)]
    with pytest.warns(ResponseWarning, match=r"2 of 4 responses are constant .*: 2, 3"):
        result = pairwise_distances(states, metric, details=True)
    farthest = np.pi / 2 if metric == "procrustes" else 1
    np.testing.assert_array_equal(result.distances[2:, :2], farthest)
    assert result.distances[2, 3] == farthest
    np.testing.assert_array_equal(np.diag(result.distances), 0)
    np.testing.assert_array_equal(result.marks, [0, 0, ResponseMark.CONSTANT, ResponseMark.CONSTANT])


def test_a_constant_response_has_no_correlations():
    x = population()[0]
    assert len(canonical_correlations(x, np.ones((60, 2)))) == 0
    assert svcca(x, np.ones((60, 2))) == 0
    assert cka(x, np.ones((60, 2))) == 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_more_components_than_rank(dtype):
    rng = np.random.default_rng(0)
    low = (rng.normal(size=(60, 2)) @ rng.normal(size=(2, 6))).astype(dtype)  # rank 2 of 6 units
    x = population()[1]
    with pytest.warns(ResponseWarning, match="1 of 2 responses are of a rank below the number of components.*: 0"):
        result = pairwise_distances([low, x], "svcca", 4, details=True)
    np.testing.assert_array_equal(result.components, [2, 4])
    np.testing.assert_array_equal(result.marks, [ResponseMark.FEWER_COMPONENTS, 0])
    wanted = np.mean(oracle.canonical_correlations(oracle.truncated(low, 2), oracle.truncated(x, 4)))
    assert abs(1 - result.distances[0, 1] - wanted) < 10 * np.finfo(dtype).eps + AGREEMENT
    assert len(canonical_correlations(low, x)) == 2


@pytest.mark.parametrize("metric", METRICS)
def test_components_may_be_numbers_of_numpy(metric):
    states = list(np.random.default_rng(0).normal(size=(20, 30, 40)))  # cka of all components takes Gram matrices
    for given, plain in ((np.int64(1), 1), (np.float32(0.5), 0.5)):
        made = pairwise_distances(states, metric, given, details=True)
        np.testing.assert_array_equal(made.distances, pairwise_distances(states, metric, plain))
        assert type(made.settings.components) is type(plain)  # a checkpoint keeps it as JSON


@pytest.mark.parametrize(("dtype", "kept"), [(np.float64, 3), (np.float32, 3), (np.float16, 2)])
def test_rounding_of_a_narrow_type_is_no_component(dtype, kept):
    x = np.random.default_rng(0).normal(size=(60, 3)) * np.array([1, 1, 1e-3])
    assert len(canonical_correlations(x.astype(dtype), x)) == kept


def test_rank_tolerance_decides_what_is_noise():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * np.array([1, 1, 1e-6])
    assert len(canonical_correlations(x, x)) == 3
    assert len(canonical_correlations(x, x, rank_tolerance=1e-4)) == 2


def test_dead_units_change_nothing():
    x, y = population()[:2]
    padded = np.hstack([x, np.full((60, 3), 0.3)])
    for metric in METRICS:
        assert abs(distance(padded, y, metric) - distance(x, y, metric)) < AGREEMENT


@pytest.mark.parametrize("metric", METRICS)
def test_identical_responses_are_marked(metric):
    states = population()
    result = pairwise_distances([*states, states[1].copy()], metric, details=True)
    assert result.distances[1, -1] < 1e-7
    np.testing.assert_array_equal(np.flatnonzero(result.marks & ResponseMark.IDENTICAL), [1, 5])


@pytest.mark.parametrize("metric", METRICS)
def test_a_single_network(metric):
    np.testing.assert_array_equal(pairwise_distances(population()[:1], metric), [[0.0]])


@pytest.mark.parametrize(
    ("states", "match"),
    [
        ([], "states holds no responses"),
        ([np.ones((5, 2)), np.ones((6, 2))], r"responses\[1\] has 6 samples and responses\[0\] has 5"),
        ([np.ones((1, 2))], r"responses\[0\] has one sample"),
        ([np.ones((0, 2))], r"responses\[0\] must have shape \(samples, n\), both at least 1"),
        ([np.ones((5, 2)), None], r"responses\[1\] must have shape \(samples, n\), both at least 1; it has shape \(\)"),
        ([np.full((5, 2), 1e80)], r"responses\[0\] must have its largest value between 1e-70 and 1e\+70.*it is 1e\+80"),
        ([np.full((5, 2), 1e-80)], r"responses\[0\] must have its largest value between 1e-70 and 1e\+70.*it is 1e-80"),
        (None, "states must hold responses .*it is None"),
        (np.ones((5, 2)), r"responses\[0\] must have shape \(samples, n\).*\(2,\)"),
        ([np.array([["a"], ["b"]])], r"responses\[0\] must be real numbers"),
        ([np.ones((5, 2), complex)], r"responses\[0\] must be real numbers"),
    ],
)
@pytest.mark.parametrize("metric", ["svcca", "cka"])
def test_responses_that_are_refused(states, match, metric):
    with pytest.raises(UsageError, match=match):
        pairwise_distances(states, metric)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_values_that_are_not_finite_are_refused(metric, bad):
    states = population()
    states[2][7, 1] = bad
    with pytest.raises(UsageError, match=r"responses\[2\] must be finite; its value at sample 7, unit 1 is (nan|inf)"):
        pairwise_distances(states, metric)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"metric": "rsa"}, "unknown metric 'rsa'; allowed are svcca, pwcca, cka, procrustes"),
        ({"components": 0}, "components must be a share"),
        ({"components": 1.5}, "components must be a share"),
        ({"components": True}, "components must be a share"),
        ({"coefficients": "all"}, "coefficients must be 'smaller' or 'larger'"),
        ({"metric": "cka", "coefficients": "larger"}, "coefficients='larger' is for metric 'svcca'"),
        ({"debiased": True}, "debiased=True is for metric 'cka'"),
        ({"tolerance": 1.0}, "tolerance must be at least 0 and below 1"),
        ({"rank_tolerance": -1}, "rank_tolerance must be None"),
        ({"precision": "half"}, "precision must be 'double' or 'single'; it is 'half'"),
        ({"memory": 0}, "memory must be a positive number"),
        ({"threads": 0}, "threads must be a positive whole number"),
        ({"threads": "two"}, "threads must be a positive whole number; it is 'two'"),
        ({"memory": "4 GB"}, "memory must be a positive number of bytes; it is '4 GB'"),
        ({"tolerance": "small"}, "tolerance must be at least 0 and below 1; it is 'small'"),
        ({"tolerance": np.nan}, "tolerance must be at least 0 and below 1; it is nan"),
        ({"rank_tolerance": "small"}, "rank_tolerance must be None, or at least 0 and below 1; it is 'small'"),
        ({"metric": ["svcca"]}, "unknown metric \\['svcca'\\]"),
    ],
)
def test_options_that_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        pairwise_distances(population(), **options)


def test_debiased_cka_needs_four_samples():
    states = population(sizes=(2, 2), samples=3)
    with pytest.raises(UsageError, match="needs 4 samples or more; there are 3"):
        pairwise_distances(states, "cka", debiased=True)
    with pytest.raises(UsageError, match="needs 4 samples or more; there are 3"):
        cka(*states, debiased=True)


def test_pairs_of_different_inputs_are_refused():
    with pytest.raises(UsageError, match="x has 5 samples and y 6"):
        cka(np.eye(5), np.eye(6))
