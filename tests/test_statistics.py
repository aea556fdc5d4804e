"""Statistics of distances against the textbook; what they find is what was planted."""

import numpy as np
import pandas
import pytest
import similarity_oracle as oracle

from fastrnn.analysis.statistics import dispersion, neighbour_accuracy, permanova, statistics, within_and_between
from fastrnn.analysis.statistics import within as within_module
from fastrnn.analysis.statistics.neighbours import wilson
from fastrnn.errors import UsageError

SAME = 1e-9
CELLS = ["gru"] * 5 + ["lstm"] * 6 + ["vanilla"] * 7
ACTIVATIONS = ["tanh", "relu", "tanh"] * 6  # crossed with cells, unbalanced
SIZES = [64, 64, 128, 256, 128, 64] * 3


def distances_of(points):
    return np.linalg.norm(points[:, None] - points, axis=2)


def planted(cell=1.0, activation=0.3, seed=0, dimensions=4):
    """Distances in which labels shift networks by so much."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(18, dimensions))
    points[:, 0] += 3 * cell * np.array([["gru", "lstm", "vanilla"].index(c) for c in CELLS])
    points[:, 1] += 3 * activation * np.array([a == "relu" for a in ACTIVATIONS])
    return distances_of(points)


def not_euclidean(seed=0):
    d = np.random.default_rng(seed).uniform(0.1, 1, size=(18, 18))
    d = d + d.T
    np.fill_diagonal(d, 0)
    return d


@pytest.mark.parametrize("distances", [planted(), not_euclidean()], ids=["euclidean", "not"])
def test_one_way_is_the_partition_of_squared_distances(distances):
    table = permanova(distances, {"cell": CELLS}, permutations=9)
    share, F = oracle.one_way_share(distances, CELLS)
    assert abs(table.share["cell"] - share) < SAME and abs(table.F["cell"] - F) < SAME * max(1, abs(F))
    assert table.share_alone["cell"] == table.share["cell"] and table.df["cell"] == 2


@pytest.mark.parametrize("distances", [planted(), not_euclidean()], ids=["euclidean", "not"])
def test_marginal_shares_are_what_a_factor_adds(distances):
    factors = {"cell": CELLS, "activation": ACTIVATIONS, "n": SIZES}
    table = permanova(distances, factors, permutations=9)
    for name, labels in factors.items():
        others = [other for key, other in factors.items() if key != name]
        share, F = oracle.marginal_share(distances, labels, others)
        alone, F_alone = oracle.marginal_share(distances, labels, [])
        wanted = {"share": share, "F": F, "share_alone": alone, "F_alone": F_alone}
        for key, value in wanted.items():
            assert abs(table[key][name] - value) < SAME * max(1, abs(value)), (name, key)


def test_more_explained_than_there_is_has_no_F():
    d = np.random.default_rng(4).uniform(0.1, 1, size=(6, 6)) ** 3
    d = d + d.T
    np.fill_diagonal(d, 0)
    labels = {"a": list("xxyyzz"), "b": list("uvuvuv")}
    share, F = oracle.marginal_share(d, labels["a"], [labels["b"]])
    table = permanova(d, labels, permutations=9)
    assert F < 0 and abs(table.share["a"] - share) < SAME
    assert table.F.isna().all() and table.F_alone.notna().all()
    assert table.p.between(0.1, 1).all()
    exact = permanova(distances_of(np.array([[0.0], [0.0], [1.0], [1.0]])), {"a": list("xxyy")}, permutations=9)
    assert exact.F["a"] > 1e12 and exact.p["a"] < 1


def test_an_interaction_is_what_combinations_add_to_the_factors():
    distances = planted()
    table = permanova(distances, {"cell": CELLS, "activation": ACTIVATIONS}, ["cell:activation"], permutations=9)
    both = [f"{c}-{a}" for c, a in zip(CELLS, ACTIVATIONS, strict=True)]
    full, total = oracle.explained(distances, oracle.dummies(both))
    main, _ = oracle.explained(distances, oracle.dummies(CELLS, ACTIVATIONS))
    assert abs(table.share["cell:activation"] - (full - main) / total) < SAME
    assert table.df["cell:activation"] == 2


def test_in_a_balanced_design_marginal_and_alone_agree():
    labels = {"a": ["x", "y"] * 8, "b": ["u"] * 8 + ["v"] * 8}
    table = permanova(distances_of(np.random.default_rng(0).normal(size=(16, 3))), labels, permutations=9)
    np.testing.assert_allclose(table.share, table.share_alone, atol=SAME)


def test_a_confounded_factor_explains_only_alone():
    """Labels that follow the cell but for one network look explanatory only as long as the cell is not asked."""
    shadow = ["left"] * 5 + ["right"] * 13
    shadow[0] = "right"
    table = permanova(planted(cell=3), {"cell": CELLS, "shadow": shadow})
    assert table.share_alone["shadow"] > 0.2 and table.p_alone["shadow"] < 0.01
    assert table.share["shadow"] < 0.02 and table.p["shadow"] > 0.05


def test_p_values_are_uniform_without_an_effect():
    p = [permanova(planted(0, 0, seed), {"cell": CELLS}, permutations=99, seed=seed).p["cell"] for seed in range(60)]
    assert 0.35 < np.mean(p) < 0.65 and np.mean(np.array(p) < 0.1) < 0.25


def test_marginal_p_values_are_uniform_beside_a_strong_factor():
    p = [
        permanova(planted(2, 0, seed), {"a": ACTIVATIONS, "c": CELLS}, ["a"], permutations=99, seed=seed).p["a"]
        for seed in range(60)
    ]
    assert 0.35 < np.mean(p) < 0.65 and np.mean(np.array(p) < 0.1) < 0.25


def test_permutations_and_seed_count():
    distances = planted(0, 0)
    few = permanova(distances, {"cell": CELLS}, permutations=9)
    assert round(few.p["cell"] * 10) == pytest.approx(few.p["cell"] * 10)
    p = {permanova(distances, {"cell": CELLS}, permutations=99, seed=seed).p["cell"] for seed in range(5)}
    assert len(p) > 1
    assert permanova(planted(5), {"cell": CELLS}, permutations=99).p["cell"] == 0.01


def test_dispersion_is_of_distances_to_centroids():
    points = np.random.default_rng(0).normal(size=(18, 3))
    points[:5] *= 6
    made = dispersion(distances_of(points), CELLS)
    wanted = oracle.centroid_distances(points, CELLS)
    np.testing.assert_allclose(made.distances, wanted, atol=1e-8)
    np.testing.assert_allclose(made.means, [wanted[:5].mean(), wanted[5:11].mean(), wanted[11:].mean()], atol=1e-8)
    from scipy.stats import f_oneway

    fair = [np.sqrt(len(x) / (len(x) - 1)) * x for x in (wanted[:5], wanted[5:11], wanted[11:])]
    assert abs(made.F - f_oneway(*fair).statistic) < 1e-6
    assert made.p < 0.01 and made.levels == ["gru", "lstm", "vanilla"]


def test_dispersion_does_not_see_places():
    p = [dispersion(planted(5, 0, seed), CELLS, permutations=99, seed=seed).p for seed in range(40)]
    assert 0.3 < np.mean(p) < 0.7


def test_dispersion_of_distances_all_alike():
    made = dispersion(np.ones((10, 10)) - np.eye(10), [*"aaaaabbbbb"])
    assert made.F == 0 and made.p == 1
    still = dispersion(np.zeros((10, 10)), [*"aaaaabbbbb"])
    assert still.F == 0 and still.p == 1


@pytest.mark.parametrize("sizes", [(5, 5), (5, 20), (5, 5, 5, 5)])
def test_noise_has_no_dispersion(sizes):
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes)
    p = [dispersion(distances_of(rng.normal(size=(len(labels), 4))), labels, permutations=99).p for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.11


def test_dispersion_of_a_few_networks_is_not_known():
    made = dispersion(distances_of(np.random.default_rng(0).normal(size=(9, 3))), [*"aaaabbbbb"])
    assert np.isnan([made.F, made.p]).all() and np.isfinite(made.means).all()
    found = statistics(planted(2), {"cell": [*"aabbccddeeffgghhii"]}, permutations=9, resamples=9)
    assert "too few networks of a level to compare dispersions" in found.sentences()[0]


@pytest.mark.parametrize("labels", [CELLS, ACTIVATIONS], ids=["cell", "activation"])
def test_neighbours_agree_with_the_textbook(labels):
    distances = planted()
    made = neighbour_accuracy(distances, labels)
    assert abs(made.accuracy - oracle.neighbour_accuracy(distances, labels)) < SAME
    assert made.low < made.accuracy < made.high or made.accuracy == 1
    counts = np.array([labels.count(level) for level in made.levels])
    assert abs(made.chance - np.sum(counts * (counts - 1)) / (18 * 17)) < SAME
    assert abs(made.of_level @ counts / 18 - made.accuracy) < SAME


def test_tied_neighbours_share():
    distances = np.ones((4, 4)) - np.eye(4)
    labels = ["a", "a", "b", "b"]
    made = neighbour_accuracy(distances, labels)
    assert abs(made.accuracy - 1 / 3) < SAME
    assert abs(made.accuracy - made.chance) < SAME
    assert oracle.neighbour_accuracy(distances, labels) == pytest.approx(1 / 3)
    assert made.p == 1


def test_neighbours_know_planted_labels_and_no_others():
    assert neighbour_accuracy(planted(3), CELLS).low > neighbour_accuracy(planted(3), CELLS).chance
    assert neighbour_accuracy(planted(3), CELLS).p == 0.001
    assert neighbour_accuracy(planted(0, 0), CELLS).p > 0.01
    wide, narrow = (neighbour_accuracy(planted(), CELLS, confidence=c) for c in (0.99, 0.5))
    assert wide.high - wide.low > narrow.high - narrow.low


def test_wilsons_interval_of_a_published_case():
    """Newcombe 1998, table I: 81 of 263."""
    np.testing.assert_allclose(wilson(81 / 263, 263, 0.95), (0.2553, 0.3662), atol=5e-5)
    assert wilson(0, 10, 0.95)[0] == 0 and wilson(1, 10, 0.95)[1] == 1


def test_within_and_between_agree_with_the_textbook():
    distances = planted()
    made = within_and_between(distances, CELLS)
    within, between = oracle.within_and_between(distances, CELLS)
    assert abs(made.within - within) < SAME and abs(made.between - between) < SAME
    assert abs(made.difference - (between - within)) < SAME
    first = distances[:5, :5][np.triu_indices(5, 1)]
    assert abs(made.of_level[0] - first.mean()) < SAME
    assert made.within_interval[0] < within < made.within_interval[1]
    assert made.difference_interval[0] > 0


def test_a_difference_that_is_not_there():
    made = within_and_between(planted(0, 0), CELLS)
    assert made.difference_interval[0] < 0 < made.difference_interval[1]


def test_intervals_of_networks_cover_more_than_those_of_pairs():
    """Their width follows the number of networks; a mean of so many independent pairs would have a smaller one."""
    rng = np.random.default_rng(0)
    offsets = rng.uniform(0.5, 3, size=18)  # every network is far from all others, or near
    distances = (offsets[:, None] + offsets) * (1 - np.eye(18))
    made = within_and_between(distances, CELLS)
    pairs = distances[np.triu_indices(18, 1)]
    independent = 2 * 1.96 * pairs.std() / np.sqrt(len(pairs))
    assert made.between_interval[1] - made.between_interval[0] > 1.5 * independent


def test_resamples_in_pieces_and_options(monkeypatch):
    distances = planted()
    whole = within_and_between(distances, CELLS)
    assert within_and_between(distances, CELLS).within_interval == whole.within_interval
    assert within_and_between(distances, CELLS, seed=1).within_interval != whole.within_interval
    narrow = within_and_between(distances, CELLS, confidence=0.5)
    assert np.diff(narrow.within_interval) < np.diff(whole.within_interval)
    monkeypatch.setattr(within_module, "AT_ONCE", 7)
    assert within_and_between(distances, CELLS, resamples=10).within == whole.within


def test_levels_of_one_and_two_networks():
    points = np.random.default_rng(0).normal(size=(4, 2))
    made = within_and_between(distances_of(points), ["a", "b", "b", "b"])
    assert np.isnan(made.of_level[0]) and np.all(np.isfinite(made.within_interval))


def test_all_of_it_in_one_table():
    distances = planted(cell=2, activation=0)
    made = statistics(distances, {"cell": CELLS, "activation": ACTIVATIONS})
    table = made.table
    assert list(table.index) == ["cell", "activation"]
    alone = permanova(distances, {"cell": CELLS, "activation": ACTIVATIONS})
    np.testing.assert_array_equal(table.share, alone.share)
    assert table.accuracy["cell"] == neighbour_accuracy(distances, CELLS).accuracy
    assert table.between["cell"] == within_and_between(distances, CELLS).between
    assert table.dispersion_F["cell"] == dispersion(distances, CELLS).F
    assert list(table.verdict) == ["clustered", "hardly"]
    assert not table.isna().any().any()
    assert made.levels[made.levels.factor == "cell"].networks.tolist() == [5, 6, 7]
    first, second = made.sentences("SVCCA distance")
    share = f"{100 * table.share['cell']:.1f}%"
    assert first.startswith(f"cell explains {share} of squared SVCCA distance") and first.endswith(": clustered")
    assert second.startswith("activation explains") and second.endswith(": hardly")


def test_options_reach_every_part():
    distances, factors = planted(0.3), {"cell": CELLS}
    first = statistics(distances, factors, permutations=99, resamples=50)
    for change in ({"permutations": 49}, {"resamples": 70}, {"confidence": 0.8}, {"seed": 1}):
        changed = statistics(distances, factors, **({"permutations": 99, "resamples": 50} | change))
        assert not changed.table.equals(first.table), change


def test_a_data_frame_of_factors():
    frame = pandas.DataFrame({"cell": CELLS, "n": SIZES})
    assert list(statistics(planted(), frame, permutations=9, resamples=9).table.index) == ["cell", "n"]


@pytest.mark.parametrize(
    ("factors", "options", "match"),
    [
        ({"cell": CELLS[:-1]}, {}, "factor 'cell' must have a label for each of 18 networks; it has 17"),
        ({"cell": ["gru"] * 18}, {}, "factor 'cell' has one level only, 'gru'"),
        ({"cell": [None, *CELLS[1:]]}, {}, "factor 'cell' has missing labels"),
        ({"cell": [pandas.NA, *CELLS[1:]]}, {}, "factor 'cell' has missing labels"),
        ({"n": [float("nan")] * 18}, {}, "factor 'n' has missing labels"),
        ({"cell": CELLS, "again": CELLS}, {}, "term 'cell' adds nothing: the other factors determine it"),
        ({"id": list(range(18))}, {}, "term 'id': 18 networks leave no degrees of freedom"),
        (None, {}, "factors must be a mapping or a DataFrame"),
        (
            {"cell": "gru"},
            {},
            "factors must be a mapping or a DataFrame, from the name of each to its networks' labels",
        ),
        ({"cell": 3}, {}, "factors must be a mapping or a DataFrame"),
        ({}, {}, "factors must name at least one factor"),
        ({"cell": CELLS}, {"permutations": 0}, "permutations must be a positive whole number"),
        ({"cell": CELLS}, {"resamples": 0}, "resamples must be a positive whole number"),
        ({"cell": CELLS}, {"confidence": 95}, "confidence must be between 0 and 1"),
        ({"cell": CELLS}, {"confidence": "95%"}, "confidence must be between 0 and 1; it is '95%'"),
    ],
)
def test_what_is_refused(factors, options, match):
    with pytest.raises(UsageError, match=match):
        statistics(planted(), factors, **({"permutations": 9, "resamples": 9} | options))


def test_what_else_is_refused():
    with pytest.raises(UsageError, match="there is no factor 'gate'; the factors are cell"):
        permanova(planted(), {"cell": CELLS}, ["cell:gate"])
    with pytest.raises(UsageError, match="all distances are zero"):
        permanova(np.zeros((18, 18)), {"cell": CELLS})
    with pytest.raises(UsageError, match="every level has one network only"):
        within_and_between(planted(), range(18))
    with pytest.raises(UsageError, match="distances must be of 3 networks or more; they are of 2"):
        permanova(np.zeros((2, 2)), {"cell": CELLS})
