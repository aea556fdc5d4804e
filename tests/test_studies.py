"""The studies find what was planted: corners and saddles, frequencies, a line with one mode, untrained networks."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from populations import small

import fastrnn
from fastrnn import engines, find_fixed_points, get_task, transition_graphs
from fastrnn.analysis.completeness import PointStatus
from fastrnn.analysis.line_attractor import line_attractors
from fastrnn.analysis.similarity import canonical_correlations
from fastrnn.errors import Status, UsageError
from fastrnn.groups import FinishedGroup
from fastrnn.networks import Networks
from fastrnn.runs import load_run
from fastrnn.studies import selection as selection_module
from fastrnn.studies.assembly import _at, _cdi_topology
from fastrnn.studies.cdi import along_line, cdi_study, is_line, line_modes, off_curve
from fastrnn.studies.contexts import PER_POINT, context_points, join_conditions
from fastrnn.studies.flipflop import flipflop_study
from fastrnn.studies.probes import drawn_trials, held_inputs, sine_targets
from fastrnn.studies.resampling import (
    difference_interval,
    ends,
    jackknife_interval,
    mean_and_sem,
    mean_interval,
    pair_interval,
)
from fastrnn.studies.selection import constant_loss, select_networks
from fastrnn.studies.sine import _fit, output_frequency, sine_study
from fastrnn.studies.topology import neighbour_graph, path_topology, states_along, transition_topology
from fastrnn.studies.untrained import _class_means, untrained_study

NONE_LEFT_OUT = pandas.DataFrame({"id": [], "reason": []})


def vanilla(activation, **arrays):
    """A stack of one or several vanilla networks from W_rec (N, n, n) and what else is not zero."""
    N, n, _ = arrays["W_rec"].shape
    D, K = arrays.pop("D", 1), arrays.pop("K", 1)
    zeros = {"W_in": (D, n), "b": (n,), "W_out": (n, K), "b_out": (K,), "h0": (n,)}
    arrays = {name: np.zeros((N, *shape)) for name, shape in zeros.items()} | arrays
    return Networks.from_arrays(cell="vanilla", activation=activation, arrays=arrays)


def rows(count, cells=("vanilla",), activations=("tanh",)):
    """Rows of a run's table for so many networks, of all kinds in turn."""
    kinds = list(itertools.islice(itertools.cycle(itertools.product(cells, activations)), count))
    table = pandas.DataFrame(kinds, columns=["cell", "activation"])
    table["id"] = [f"{cell}-{act}-{i}" for i, (cell, act) in enumerate(kinds)]
    return table.assign(n=4, l2=1e-5, seed=range(count), validation_loss=0.001, group="group")


# ------------------------------------------------------------------------------------------------------- flip-flop


def three_memories(gains, activation="tanh"):
    """Networks of three independent units; of unit k there are 3 fixed points where its gain is above 1, else 1."""
    return vanilla(
        activation,
        W_rec=np.array([np.diag(gain) for gain in gains], float),
        W_in=np.repeat(np.eye(3)[None], len(gains), axis=0),
        W_out=np.repeat(np.eye(3)[None] / 0.9575, len(gains), axis=0),
        D=3,
        K=3,
    )


def studied(networks, table=None):
    points = find_fixed_points(networks, np.zeros(3), task=get_task("flipflop"))
    graphs = transition_graphs(networks, points)
    table = rows(len(networks)) if table is None else table
    return flipflop_study([(points, i) for i in range(len(networks))], graphs, table, NONE_LEFT_OUT), graphs


def test_corners_and_saddles_are_counted():
    networks = three_memories([[2, 2, 2], [2, 2, 2], [2, 2, 0.5]])
    study, _ = studied(networks)
    counts = study.table[["points", "unstable_0", "unstable_1", "unstable_2", "unstable_3", "unstable_more"]]
    assert counts.to_numpy().tolist() == [[27, 8, 12, 6, 1, 0], [27, 8, 12, 6, 1, 0], [9, 4, 4, 1, 0, 0]]
    assert study.table.corners.tolist() == [8, 8, 0]  # the third unit rests at 0: no corner of the cube
    assert study.table.modal.tolist() == [True, True, False] and study.table.index_sum.tolist() == [1, 1, 1]
    assert set(study.table.search_status) == {"consistent"} and not study.table.elsewhere.any()
    everyone = study.counts.iloc[0]
    assert (everyone.kind, everyone.networks, everyone.modal_count, everyone.modal_networks) == ("all", 3, 27, 2)
    assert everyone.low < everyone.share == 2 / 3 < everyone.high
    assert study.slots.shape == (27, 3) and study.connectivity.shape == (3, 27, 28)
    np.testing.assert_allclose(study.connectivity.sum(axis=2)[:2], 1, atol=1e-6)


def test_degenerate_points_are_counted():
    study, _ = studied(three_memories([[2, 2, 0.5], [0.5, 0.5, 0.5]]))
    assert study.table[["points", "degenerate"]].to_numpy().tolist() == [[9, 0], [1, 0]]
    study, _ = studied(three_memories([[0.5, 0.5, 0.5]] * 2, "relu"))  # rest at 0, the kink
    assert study.table[["points", "degenerate"]].to_numpy().tolist() == [[1, 1], [1, 1]]
    assert not study.table[[f"unstable_{d}" for d in (0, 1, 2, 3, "more")]].any(axis=None)  # none of them is known


def test_points_far_from_all_states_visited_are_told_apart():
    networks = three_memories([[2, 2, 2], [2, 2, 2]])
    points = find_fixed_points(networks, np.zeros(3), task=get_task("flipflop"))
    points.outlier[points.of(1)[[0, 26]]] = True  # a corner and the middle
    points.status[points.of(1)[[1, 2]]] = PointStatus.DEGENERATE
    points.outlier[points.of(1)[1]] = True
    graphs = transition_graphs(networks, points)
    study = flipflop_study([(points, i) for i in range(2)], graphs, rows(2), NONE_LEFT_OUT)
    counts = study.table[["points", "unstable_0", "unstable_1", "unstable_2", "unstable_3", "degenerate", "outliers"]]
    assert counts.to_numpy().tolist() == [[27, 8, 12, 6, 1, 0, 0], [24, 5, 12, 6, 0, 1, 3]]
    assert study.table.corners.tolist() == [8, 5] and [len(graph) for graph in graphs] == [27, 24]


def test_every_kind_has_its_own_modal_count():
    table = rows(4, cells=("vanilla", "gru"))
    study, _ = studied(three_memories([[2, 2, 2], [2, 2, 0.5]] * 2), table)
    assert study.counts[["kind", "modal_count", "share"]].to_numpy().tolist() == [
        ["all", 9, 0.5],  # of two that are as common the smaller
        ["vanilla tanh", 27, 1.0],
        ["gru tanh", 9, 1.0],
    ]


# ------------------------------------------------------------------------------------------------------------ sine


def turning(angles, growth=1.05):
    """Networks that spiral out of their only fixed point, 0, by an angle a step, whatever the input."""
    turns = [growth * np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in angles]
    out = np.repeat([[[1.0], [0.0]]], len(angles), axis=0)
    return vanilla("tanh", W_rec=np.array(turns), W_out=out, h0=np.full((len(angles), 2), 0.1))


def test_frequencies_are_those_of_the_unstable_pair():
    task, cycles = get_task("sine"), np.array([0.02, 0.05])
    networks = turning(2 * np.pi * cycles)
    held = held_inputs(task)
    points = find_fixed_points(networks, held, task=task)
    study = sine_study(task, [(networks, points, rows(2))], NONE_LEFT_OUT)
    np.testing.assert_allclose(study.inputs, np.linspace(0, 1, 21))
    np.testing.assert_allclose(study.commanded, 0.01 + 0.04 * study.inputs)
    np.testing.assert_allclose(study.frequency, np.repeat(cycles[:, None], 21, axis=1), atol=1e-7)
    np.testing.assert_allclose(study.pair, 1.05 * np.exp(2j * np.pi * study.frequency), atol=1e-6)
    np.testing.assert_allclose(study.output_frequency, study.frequency, atol=0.002)  # less where tanh bends
    assert (study.points == 1).all() and (study.unstable == 2).all() and np.abs(study.readout).max() < 1e-9
    assert study.taken.tolist() == [list(range(21)), list(range(21, 42))]
    table = study.table
    assert table.one_point.tolist() == table.unstable_pair.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(table.magnitude, 1.05, atol=1e-6)
    assert table.correlation.isna().all()  # frequencies that don't change follow nothing, and are wrong all the same
    assert table.slope.tolist() == [0.0, 0.0]
    expected = np.abs(cycles[:, None] - study.commanded).mean(axis=1)
    np.testing.assert_allclose(table.absolute_error, expected, atol=1e-6)


def test_a_pair_must_be_unstable_and_alone():
    task = get_task("sine")
    networks = turning(2 * np.pi * np.array([0.03]), growth=0.9)
    points = find_fixed_points(networks, held_inputs(task), task=task)
    study = sine_study(task, [(networks, points, rows(1))], NONE_LEFT_OUT)
    assert study.table.unstable_pair[0] == 0 and study.table.one_point[0] == 1
    assert study.table.magnitude[0] < 1 and np.isnan(study.output_frequency).all()


def test_points_far_from_all_states_visited_do_not_count():
    task = get_task("sine")
    networks = turning(2 * np.pi * np.array([0.03]))
    points = find_fixed_points(networks, held_inputs(task), task=task)
    expected = sine_study(task, [(networks, points, rows(1))], NONE_LEFT_OUT)
    F, order = len(points), np.argsort(np.tile(points.condition, 2), kind="stable")
    both = {name: np.concatenate([getattr(points, name)] * 2)[order] for name in PER_POINT}
    second = np.tile([False, True], F)
    both["xstar"][second] += [0.0, 1e-9]  # nearer than the others to nothing that is there
    both["outlier"] = np.tile([True, False], F)  # the far one comes first, at the very place that is looked for
    study = sine_study(task, [(networks, replace(points, **both), rows(1))], NONE_LEFT_OUT)
    assert (study.points == 1).all() and study.table.one_point[0] == 1
    assert study.taken.tolist() == [list(range(1, 2 * F, 2))]
    np.testing.assert_array_equal(study.frequency, expected.frequency)
    gone = sine_study(task, [(networks, replace(points, outlier=~points.outlier), rows(1))], NONE_LEFT_OUT)
    assert not gone.points.any() and (gone.taken == -1).all() and np.isnan(gone.frequency).all()


def test_slope_and_error_of_frequencies_that_follow_the_input():
    commanded = np.linspace(0.01, 0.05, 21)
    correlation, slope, offset, error, absolute = _fit(commanded, 0.9 * commanded + 0.001)
    np.testing.assert_allclose([correlation, slope, offset], [1, 0.9, 0.001], atol=1e-12)
    np.testing.assert_allclose([error, absolute], [-0.002, 0.002], atol=1e-12)
    some = np.where(np.arange(21) < 11, commanded, np.nan)
    assert _fit(commanded, some)[0] == pytest.approx(1)
    some[10] = np.nan
    assert np.isnan(_fit(commanded, some)).all()  # a pair under less than half of the inputs


def test_frequency_of_an_output():
    steps = np.arange(250)
    for cycles in (0.01, 0.0137, 0.05):
        wave = 3 + np.sin(2 * np.pi * cycles * steps + 1)
        assert output_frequency(wave) == pytest.approx(cycles, rel=2e-3)
    assert np.isnan(output_frequency(np.full(250, 0.7)))
    assert np.isnan(output_frequency(0.01 * np.sin(steps)))
    assert np.isnan(output_frequency(steps / 100))


# ------------------------------------------------------------------------------------------------------------- cdi


def integrator(decays=(0.5, 0.2)):
    """A relu network with one unit that keeps the sum of stream 0, and others that decay."""
    n = 1 + len(decays)
    W_in, b, W_out = np.zeros((4, n)), np.zeros(n), np.zeros((n, 1))
    W_in[2, 0] = W_out[0, 0] = 1.0
    b[1:] = 1 - np.array(decays)  # they rest at 1, where relu is the identity
    return vanilla("relu", W_rec=np.diag([1.0, *decays])[None], W_in=W_in[None], b=b[None], W_out=W_out[None], D=4)


def lines_of(networks, count=30, ends=(1, 20)):
    task = get_task("cdi")
    starts = np.append(0.0, np.ones(networks.n - 1)) + np.outer(np.linspace(*ends, count), np.eye(networks.n)[0])
    points = find_fixed_points(networks, held_inputs(task), starts=starts, task=task, method="slow_points")
    return task, points, line_attractors(points)


def test_one_mode_integrates_the_stream_it_gets():
    networks = integrator()
    task, points, lines = lines_of(networks)
    modes = line_modes(task, networks, points, lines, rows(1))
    study = cdi_study([modes], NONE_LEFT_OUT)
    row = study.table.iloc[0]
    assert (row.points_0, row.points_1, row.pieces_0, row.modes_0) == (30, 30, 1, 1)
    assert row.near_one_0 == row.near_one_1 == 1 and row.dimension_0 == pytest.approx(1)
    assert row.off_line_0 < 1e-6
    np.testing.assert_allclose([row.readout_low_0, row.readout_high_0], [1, 20], rtol=1e-3)
    np.testing.assert_allclose(study.magnitudes[0], [[1, 0.5, 0.2]] * 2, atol=1e-6)
    # the network doesn't know of contexts: stream 0 is the relevant one in context 0 only
    np.testing.assert_allclose(study.integral[0], [[1, 0], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(study.kept[0, 0, 0], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(study.spectrum_mean[0], [1, 0.5, 0.2], atol=1e-6)
    assert np.isnan(study.spectrum_sem).all()  # of one network


def test_a_cluster_of_slow_points_is_no_line():
    networks = Networks.concatenate([integrator(), integrator((0.99, 0.98))])
    task, points, lines = lines_of(networks, ends=(1, 40))
    _, close, cluster = lines_of(networks, ends=(10, 11))
    inputs = task.probe(128)[0]
    reach = np.ptp(engines.get("cpu").run(networks, inputs)[1][0][inputs[:, 0, 0] == 1])
    table = rows(2)
    for found, all_of_them, made in ((points, lines, True), (close, cluster, False)):
        of_group = line_modes(task, networks, found, all_of_them, table)
        assert of_group.table[["line_0", "line_1"]].to_numpy().tolist() == [[made] * 2] * 2
        assert of_group.table.output_range_0[0] == pytest.approx(reach)
        assert of_group.table.points_0[0] >= 10 and of_group.table.near_one_0.tolist() == [1, 3]
        study = cdi_study([of_group], NONE_LEFT_OUT)
        assert np.isfinite(study.spectrum_mean).all() == made and study.groups.lines.tolist() == [2 if made else 0]
        parts = SimpleNamespace(
            points=lambda group, found=found: found,
            lines=lambda group, all_of_them=all_of_them: all_of_them,
            modes=lambda group, of_group=of_group: of_group,
            rows=lambda groups: table,
        )
        if made:
            assert _cdi_topology(parts, ["group"], NONE_LEFT_OUT).table.id.tolist() == table.id.tolist()
        else:
            with pytest.raises(UsageError, match="fewer than 10 slow points, or over less than 10% of the outputs' ra"):
                _cdi_topology(parts, ["group"], NONE_LEFT_OUT)
    assert is_line(np.linspace(0, 5, 10), 50.0) and not is_line(np.linspace(0, 5, 9), 50.0)
    assert not is_line(np.linspace(0, 4.9, 10), 50.0) and not is_line(np.empty(0), 0.0)


def test_groups_of_different_sizes_stand_side_by_side():
    parts = []
    for decays in ((0.5, 0.2), (0.99, 0.98, 0.3)):
        networks = integrator(decays)
        task, points, lines = lines_of(networks)
        table = rows(1).assign(group=f"of {len(decays)}", n=networks.n)
        parts.append(line_modes(task, networks, points, lines, table))
    study = cdi_study(parts, NONE_LEFT_OUT)
    assert study.magnitudes.shape == (2, 2, 4) and np.isnan(study.magnitudes[0, :, 3]).all()
    assert study.groups[["group", "n", "networks"]].to_numpy().tolist() == [["of 2", 3, 1], ["of 3", 4, 1]]
    assert study.groups.lines.tolist() == [1, 1]
    assert study.table.near_one_0.tolist() == [1, 3]
    networks.W_rec[0, 1, 1] = 1.2  # larger than 1 is not near 1
    points.eigenvalues[:] = np.nan  # not what is counted
    above = line_modes(task, networks, points, lines, table)
    assert above.magnitudes[0, 0].max() == pytest.approx(1.2) and above.table.near_one_0.tolist() == [2]
    np.testing.assert_allclose(study.spectrum_mean[1], [1, 0.99, 0.98, 0.3], atol=1e-6)


def test_slow_points_of_a_context_are_searched_where_it_leads():
    """The network rests at +1 in one context, at -1 in the other, wherever it starts."""
    networks = vanilla("tanh", W_rec=np.zeros((2, 3, 3)), W_in=np.stack([_by_context(3), _by_context(3)]), D=4)
    task = get_task("cdi")
    found = context_points(task, networks)
    assert sorted(set(zip(found.network, found.condition, strict=True))) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    rest = np.tanh(np.where(found.condition == 0, 1.0, -1.0))[:, None]
    np.testing.assert_allclose(found.xstar, np.repeat(rest, 3, axis=1), atol=2e-3)  # slow within 1e-3 of it
    assert found.starts.tolist() == [[128, 128]] * 2 and found.hits.sum() == 4 * 128
    np.testing.assert_array_equal(found.inputs, held_inputs(task))
    point = found.candidate_point
    np.testing.assert_array_equal(found.network[point], found.candidate_network)
    np.testing.assert_array_equal(found.condition[point], found.candidate_condition)


def test_searches_joined_are_one_search():
    networks, task = three_memories([[2, 2, 2], [2, 2, 0.5]]), get_task("flipflop")
    held = np.array([[0.0, 0, 0], [0.1, 0, 0]])
    together = find_fixed_points(networks, held, task=task)
    joined = join_conditions([find_fixed_points(networks, held[c], task=task) for c in range(2)])
    for c in range(2):
        for i in range(2):
            mine, other = (found.xstar[found.of(i, c)] + 0.0 for found in (together, joined))
            assert sorted(mine.round(6).tolist()) == sorted(other.round(6).tolist())
    assert joined.index_sum.tolist() == together.index_sum.tolist()
    assert np.all(np.diff(2 * joined.network + joined.condition) >= 0) and len(joined.spread) == 2
    known = joined.candidate_point >= 0
    np.testing.assert_array_equal(joined.network[joined.candidate_point[known]], joined.candidate_network[known])


def _by_context(n):
    return np.outer([1.0, -1, 0, 0], np.ones(n))


def test_a_network_without_a_line_has_no_numbers():
    networks = integrator()
    task, points, lines = lines_of(networks)
    modes = line_modes(task, networks, points, [line for line in lines if line.condition == 1], rows(1))
    assert np.isnan(modes.magnitudes[0, 0]).all() and np.isfinite(modes.magnitudes[0, 1]).all()
    assert np.isnan(modes.table.dimension_0[0]) and modes.table.points_0[0] == 30


# -------------------------------------------------------------------------------------------------------- topology


def test_neighbour_graphs_differ_by_their_edges():
    line = np.linspace(0, 1, 6)[:, None] * np.ones(3)
    swapped = line[[0, 4, 2, 3, 1, 5]]
    absent = line.copy()
    absent[2] = np.nan
    made = path_topology([line, swapped, absent, np.full((6, 3), np.nan)], rows(4), NONE_LEFT_OUT, "points")
    graphs = [neighbour_graph(points) for points in (line, swapped, absent)]
    expected = [[np.linalg.norm(a - b) for b in graphs] for a in graphs]
    np.testing.assert_allclose(made.distances, expected)
    assert made.distances[0, 1] > 0 and not graphs[2][2].any()
    assert made.left_out.to_numpy().tolist() == [["vanilla-tanh-3", "no fixed point was found"]]
    assert made.measure == "points: each point and its 2 nearest neighbours"
    assert made.statistics is None and made.note and made.points.shape == (3, 2)


def test_graphs_are_compared_and_tested_by_factor():
    gains = [[2, 2, 2], [2, 2, 0.5]] * 6
    networks = three_memories(gains)
    points = find_fixed_points(networks, np.zeros(3), task=get_task("flipflop"))
    graphs = transition_graphs(networks, points)
    made = transition_topology(graphs, rows(12, cells=("vanilla", "gru")), NONE_LEFT_OUT)
    assert made.statistics.table.verdict["cell"] == "clustered" and made.statistics.table.share["cell"] > 0.9
    np.testing.assert_array_equal(made.distances, fastrnn.graph_distances(graphs, "slots"))
    with pytest.raises(UsageError, match="no network has a graph to compare"):
        transition_topology([], rows(0), NONE_LEFT_OUT)


def test_places_along_a_line_are_even():
    networks = integrator()
    _, points, (line, _) = lines_of(networks, count=39)
    readout = points.readout[along_line(line, 20), 0]
    np.testing.assert_allclose(readout, np.linspace(1, 20, 20), rtol=1e-3)


def test_states_along_a_straight_line_of_the_same_ends_are_the_same():
    networks = integrator()
    _, points, (line, _) = lines_of(networks, count=12)  # fewer than there are places
    _, more, (longer, _) = lines_of(networks, count=39)
    few, many = states_along(points, line), states_along(more, longer)
    np.testing.assert_allclose(few @ networks.W_out[0, :, 0], np.linspace(1, 20, 20), rtol=1e-3)
    np.testing.assert_allclose(few, many, atol=1e-2)
    assert len(np.unique(few.round(6), axis=0)) == 20 > len(np.unique(along_line(line, 20)))


def test_graphs_of_any_two_lines_are_the_same():
    """Why distances between them are no finding."""
    place = np.linspace(0, 1, 20)[:, None]
    arc = np.concatenate([np.cos(2 * place), np.sin(2 * place)], axis=1)
    np.testing.assert_array_equal(neighbour_graph(arc), neighbour_graph(50 * place * [3.0, -1.0, 2.0]))


def test_what_lies_on_a_curve_and_what_does_not():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 4, 60)
    arc = np.stack([np.cos(angle), np.sin(angle), np.zeros(60)], axis=1)
    assert off_curve(arc, angle) < 1e-3
    assert 0.05 < off_curve(arc + 0.2 * rng.normal(size=arc.shape), angle) < 0.3
    filled = rng.uniform(size=(200, 2)) * [2, 1]  # a rectangle; its participation ratio is 1.47, less than an arc's
    assert off_curve(filled, filled[:, 0]) > 0.15
    assert 0.8 < off_curve(rng.normal(size=(200, 5)), rng.normal(size=200)) < 1.2
    assert off_curve(np.ones((20, 3)), np.ones(20)) == 0
    assert off_curve(rng.normal(size=(12, 3)), np.ones(12)) == pytest.approx(1)  # a readout that says nothing
    assert np.isnan(off_curve(arc[:9], angle[:9]))


# ------------------------------------------------------------------------------------------------------- untrained


def test_untrained_networks_are_those_that_training_began_with(tmp_path):
    spec = small(task="cdi", cells="vanilla", activations=("tanh", "relu"), iterations=0, seeds=3, sizes=6)
    run = fastrnn.train(spec, out=tmp_path / "run", progress=False)
    pairs = [(run.networks(group), run.group_table(group)) for group in run.groups]
    study = untrained_study(run.task, pairs, NONE_LEFT_OUT)
    assert study.classes == ["trained tanh", "trained relu", "untrained tanh", "untrained relu"]
    of = {name: np.flatnonzero(study.table["class"] == name) for name in study.classes}
    for activation in ("tanh", "relu"):  # nothing was trained: both are the same networks
        same = study.correlations[of[f"trained {activation}"], of[f"untrained {activation}"]]
        np.testing.assert_allclose(same, 1, atol=1e-6)
    inputs = run.task.probe(128)[0]
    tanh = engines.get("cpu").run(run.networks(run.groups[0]), inputs)[0].reshape(3, -1, 6)
    expected = canonical_correlations(tanh[0], tanh[1], components=6).mean()
    assert study.correlations[of["trained tanh"][0], of["trained tanh"][1]] == pytest.approx(expected, abs=1e-9)
    assert study.trajectories.shape == (4, 128, 6, 3) and study.components == 6
    np.testing.assert_array_equal(study.context, inputs[:, 0, 1])
    # a network and what it was are no pair: trained with untrained is the same mean as among the trained
    assert study.mean[1, 3] == pytest.approx(study.mean[1, 1]) and study.mean[1, 3] < 1
    assert study.difference == pytest.approx(study.mean[1, 3] - study.mean[0, 1])
    lowest = study.table.groupby("class").loss.transform("min")  # of the same networks twice, the first of each class
    assert study.table.drawn.sum() == 4 and (study.table.loss == lowest)[study.table.drawn].all()
    for name, said in zip(study.classes, study.output, strict=True):
        (loss,) = study.table.loss[study.table.drawn & (study.table["class"] == name)]
        assert np.square(said - study.target).mean() == pytest.approx(loss, rel=1e-5)
    # three networks of a class have no interval
    assert np.isnan([study.difference_low, study.difference_high]).all() and np.isnan([study.low, study.high]).all()


def test_classes_of_few_networks_have_no_interval_and_leave_that_of_others_as_it_is(monkeypatch):
    rng = np.random.default_rng(0)
    activation = ["tanh"] * 6 + ["relu"] * 4
    table = pandas.DataFrame({"id": [f"{i}" for i in range(10)] * 2, "activation": activation * 2})
    table["class"] = [f"{w} {a}" for w, a in zip(["trained"] * 10 + ["untrained"] * 10, activation * 2, strict=True)]
    correlations = rng.random((20, 20))
    correlations = (correlations + correlations.T) / 2
    classes = ["trained tanh", "trained relu", "untrained tanh", "untrained relu"]
    asked = []
    monkeypatch.setattr("fastrnn.studies.untrained.ends", lambda networks: asked.append(networks) or ends(networks))
    mean, low, high, difference = _class_means(correlations, table, classes)
    few = np.array([False, True, False, True])
    assert np.isfinite(mean).all() and np.isfinite(difference[0]) and np.isnan(difference[1:]).all()
    np.testing.assert_array_equal(np.isnan(low), few[:, None] | few)
    np.testing.assert_array_equal(np.isnan(high), np.isnan(low))
    assert asked == [6]  # that of four would be wider


def test_means_over_classes_are_those_of_loops(monkeypatch):
    monkeypatch.setattr("fastrnn.studies.untrained.FEWEST", 2)
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"id": ["a", "b", "c", "a", "b", "c"], "activation": ["tanh", "tanh", "relu"] * 2})
    table["class"] = [f"{w} {a}" for w, a in zip(["trained"] * 3 + ["untrained"] * 3, table.activation, strict=True)]
    correlations = rng.random((6, 6))
    correlations = (correlations + correlations.T) / 2
    classes = ["trained tanh", "trained relu", "untrained tanh", "untrained relu"]
    mean, low, high, (difference, *_) = _class_means(correlations, table, classes)
    for (i, a), (j, b) in itertools.product(enumerate(classes), repeat=2):
        pairs = [
            correlations[k, m]
            for k, m in itertools.product(range(6), repeat=2)
            if (table["class"][k], table["class"][m]) == (a, b) and table.id[k] != table.id[m]
        ]
        if pairs:
            assert mean[i, j] == pytest.approx(np.mean(pairs))
        else:
            assert np.isnan(mean[i, j])
        if pairs and "relu" not in a + b:  # there is one relu network
            assert low[i, j] <= mean[i, j] + 1e-9 and mean[i, j] - 1e-9 <= high[i, j]
    assert np.isnan(difference)  # of one relu network there is no pair


def test_networks_that_are_not_finite_are_left_out_of_the_comparison(tmp_path, monkeypatch):
    spec = small(task="cdi", cells="vanilla", activations="relu", iterations=0, seeds=1, sizes=6)
    run = fastrnn.train(spec, out=tmp_path / "run", progress=False)
    networks, rows_of = run.networks(run.groups[0]), run.group_table(run.groups[0])
    networks.W_rec[:] = 1e30
    study = untrained_study(run.task, [(networks, rows_of)], NONE_LEFT_OUT)
    assert study.classes == ["untrained relu"] and study.left_out.id.tolist() == rows_of.id.tolist()
    monkeypatch.setattr(Networks, "initialize", lambda *_: networks)
    with pytest.raises(UsageError, match=r"no vanilla network has finite states on the probe trials \(2 left out\)"):
        untrained_study(run.task, [(networks, rows_of)], NONE_LEFT_OUT)


# ------------------------------------------------------------------------------------------- selection and probes


def test_networks_that_did_not_learn_are_left_out_with_their_reason(tmp_path):
    spec = small(iterations=600, seeds=3, batch=16)
    path = tmp_path / "run"
    fastrnn.train(spec, out=path, progress=False)
    state = FinishedGroup.load(path / "groups" / "gru-tanh-4.safetensors")
    (path / "groups" / "vanilla-tanh-4.safetensors").write_bytes(b"torn")
    table = pandas.read_csv(path / "networks.csv")
    table.loc[table.cell == "gru", "validation_loss"] = [0.01, 0.9, 0.01]
    table.loc[table.id == state.ids[2], "status"] = Status.DIVERGED.label
    table.to_csv(path / "networks.csv", index=False)
    chosen = select_networks(load_run(path))
    assert chosen.table.id.tolist() == [state.ids[0]] and chosen.groups == ["gru-tanh-4"]
    reasons = dict(zip(chosen.left_out.id, chosen.left_out.reason, strict=True))
    assert len(reasons) == 5 and "is damaged" in reasons["vanilla-tanh-4-1e-05-0"]
    assert reasons[state.ids[1]].startswith("did not learn: validation loss 0.9, not below 0.")
    assert reasons[state.ids[2]] == "diverged after 600 iterations"
    networks = chosen.networks(load_run(path), "gru-tanh-4")
    np.testing.assert_array_equal(networks.parameters, state.networks.parameters[:1])


def test_the_bound_is_half_of_the_targets_variance(monkeypatch):
    assert constant_loss(get_task("sine")) == pytest.approx(0.5, abs=0.02)
    assert constant_loss(get_task("flipflop")) == pytest.approx(1.0, abs=0.01)
    assert constant_loss(get_task("cdi")) == pytest.approx(120.6, rel=0.1)
    assert selection_module.FAILED_SHARE == 0.5


def test_what_is_held_and_drawn():
    assert held_inputs(get_task("flipflop")).tolist() == [[0, 0, 0]]
    assert held_inputs(get_task("sine")).shape == (21, 1)
    for name, trials in (("flipflop", 24), ("sine", 51), ("cdi", 24)):
        task = get_task(name)
        inputs, targets = drawn_trials(task)
        assert inputs.shape == (trials, task.T, task.D) and targets.shape == (trials, task.T, task.K)
    inputs, targets = drawn_trials(get_task("sine"))
    np.testing.assert_array_equal(sine_targets(get_task("sine"), inputs[:, 0, 0]), targets)


# ------------------------------------------------------------------------------------------------------ resampling


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(200, 20))
    hits = np.mean([low < 0 < high for _, low, high in (mean_interval(x) for x in samples)])
    assert 0.85 < hits < 0.99
    few = rng.normal(size=(400, 6))  # plain percentiles: 87%
    assert 0.9 < np.mean([low < 0 < high for _, low, high in (mean_interval(x) for x in few)]) < 0.98
    pairs = zip(samples[:100], samples[100:], strict=True)
    assert 0.85 < np.mean([low < 0 < high for _, low, high in (difference_interval(*pair) for pair in pairs)]) <= 1
    knife = [jackknife_interval(lambda kept, x=x: x[kept].mean(), 20) for x in samples]
    assert 0.88 < np.mean([low < 0 < high for _, low, high in knife]) < 0.99


def test_few_networks_have_no_interval():
    assert mean_interval([1.0, 2, np.nan])[0] == 1.5
    for made in (
        mean_interval([1.0, 2, 3, 4, np.nan]),
        difference_interval(range(9), range(4)),
        jackknife_interval(np.mean, 4),
        mean_interval([]),
    ):
        assert np.isnan(made[1:]).all()


def test_pairs_are_resampled_by_network():
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    drawn = []
    value, low, high = pair_interval(lambda networks: drawn.append(networks) or x[networks].mean(), 30)
    assert value == x.mean() and low < value < high
    assert all(len(networks) == 30 for networks in drawn) and len({tuple(d) for d in drawn}) == 201


def test_errors_of_means_leave_out_what_is_missing():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 7.0]])
    mean, error = mean_and_sem(values)
    np.testing.assert_allclose(mean, [2, 6])
    np.testing.assert_allclose(error, [1, 1])


def test_states_are_found_where_a_whole_group_has_no_point():
    states = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(_at(states, np.array([2, -1, 0])), [[4, 5], [np.nan, np.nan], [0, 1]])
    assert np.isnan(_at(states[:0], np.array([-1, -1]))).all()
