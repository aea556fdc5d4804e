"""Every panel of the paper: drawn where there are results, saying what the results say."""

import copy
import io
from dataclasses import replace

import numpy as np
import pandas
import pytest
from made_results import CUBE, results
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from fastrnn.analysis.completeness import PointStatus
from fastrnn.figures import cdi, distances, flipflop, losses, portraits, sine, tasks
from fastrnn.figures import figure as house
from fastrnn.figures.figure import ACTIVATION_COLOURS, CELL_COLOURS, PAIR, POINT_COLOURS, render
from fastrnn.figures.paper import panels
from fastrnn.figures.space import Space
from fastrnn.figures.untrained import trained_and_untrained

COMMON = {"learning_curves", "figure-c", "figure-e", "dsa-embedding"}
NAMES = {
    "flipflop": {"1a", "1b", "1c", "1d", "1e", "1f", "1-counts", "1-graph"},
    "sine": {"2a", "2b", "2c", "2d", "2d-eigenvalues", "2e", "2f"},
    "cdi": {"3a", "3b", "3b-slow-points", "3c", "3d", "3e", "3f", "4"},
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Results of all three tasks, by name."""
    return {task: results(tmp_path_factory.mktemp("runs") / task, task) for task in NAMES}


def draw_all(kept):
    """By file name the figure of every panel that there are results for."""
    return {panel.file(kept.run.task_name): panel.draw(kept) for panel in panels(kept)}


@pytest.mark.parametrize("task", NAMES)
def test_all_panels_are_there_with_captions_that_count(kept, task):
    drawn = draw_all(kept[task])
    assert set(drawn) == COMMON | {f"figure-{name}" for name in NAMES[task]}
    assert all(isinstance(figure, Figure) and figure.axes for figure in drawn.values())
    for panel in panels(kept[task]):
        text = panel.caption(kept[task])
        assert any(character.isdigit() for character in text) and text.endswith(".")
    captions = {panel.file(task): panel.caption(kept[task]) for panel in panels(kept[task])}
    count = len(kept[task].run.table)
    assert f"{count} networks" in captions["learning_curves"]
    assert f"{count} networks" in captions["figure-e"]
    graphs = captions[{"flipflop": "figure-1f", "sine": "figure-2e", "cdi": "figure-3d"}[task]]
    assert ("the result is no finding" in graphs) == (task != "flipflop")  # lines all have much the same graph


def test_what_there_are_no_results_for_is_not_drawn(tmp_path):
    kept = results(tmp_path / "run", cells=("gru",), seeds=1)
    kept.svcca = kept.flipflop = None
    kept.portraits = {}
    assert set(draw_all(kept)) == {"learning_curves", "figure-c", "figure-1f", "dsa-embedding"}


def test_left_out_networks_are_counted(kept):
    (panel,) = [panel for panel in panels(kept["sine"]) if panel.name == "frequencies"]
    assert "14 networks, against" in panel.caption(kept["sine"])
    left_out = kept["sine"].sine.left_out
    kept["sine"].sine.left_out = left_out.assign(id=["x"], reason=["y"]) if len(left_out) else _one()
    assert "14 networks, 1 left out, against" in panel.caption(kept["sine"])
    kept["sine"].sine.left_out = left_out


def _one():
    import pandas

    return pandas.DataFrame({"id": ["x"], "reason": ["diverged"]})


def places(ax, colour):
    """Points on paper of one colour."""
    found = [np.zeros((0, 2))]
    for artist in ax.collections:
        if hasattr(artist, "get_sizes") and len(artist.get_offsets()):
            mine = np.all(artist.get_facecolor()[:, :3] == to_rgb(colour), axis=1)
            found.append(artist.get_offsets()[np.broadcast_to(mine, len(artist.get_offsets()))])
    return np.concatenate(found)


def test_fixed_points_have_the_papers_colours_and_places(kept):
    all_of_them = list(kept["flipflop"].portraits.values())
    figure = portraits.fixed_points(all_of_them, "flipflop")
    assert len(figure.axes) == 8
    unstable = (CUBE == 0).sum(axis=1)
    for ax, one in zip(figure.axes, all_of_them, strict=True):
        space = Space.around(Figure().subplots(), one.trajectories, one.points)
        for kind in range(4):
            expected, _ = space.project(CUBE[unstable == kind])
            np.testing.assert_allclose(
                sorted(map(tuple, places(ax, POINT_COLOURS[kind]))), sorted(map(tuple, expected))
            )
        assert "8 + 12 + 6 + 1 points" in [text.get_text() for text in ax.texts]


def test_what_is_far_from_the_trajectories_is_counted_only(kept):
    one = copy.deepcopy(next(iter(kept["flipflop"].portraits.values())))
    far = int(np.flatnonzero(one.n_unstable == 3)[0])
    near = portraits.fixed_points([one], "flipflop").axes[0]
    one.points[far] += 50
    ax = portraits.fixed_points([one], "flipflop").axes[0]
    assert len(places(ax, POINT_COLOURS[3])) == 0 and len(places(ax, POINT_COLOURS[2])) == 6
    words = [text.get_text() for text in ax.texts]
    assert "8 + 12 + 6 points\nout of view: 1 exact" in words
    assert np.ptp(ax.dataLim.intervalx) == pytest.approx(np.ptp(near.dataLim.intervalx))
    one.status[[0, 1, 2, far]] = [PointStatus.SLOW, PointStatus.DEGENERATE, PointStatus.DEGENERATE, PointStatus.SLOW]
    ax = portraits.fixed_points([one], "flipflop").axes[0]
    said = "8 + 12 + 6 points, 2 degenerate, 1 slow\nout of view: 1 slow"
    assert said in [text.get_text() for text in ax.texts]
    assert ax.get_title(loc="left").count("\n") == 2
    one.points[[2, 3]] -= 50
    ax = portraits.fixed_points([one], "flipflop").axes[0]
    assert any(text.get_text().endswith("\nout of view: 1 exact,\n1 degenerate, 1 slow") for text in ax.texts)
    labels = [text.get_text() for text in ax.figure.legends[0].texts]
    assert "3 unstable" not in labels and "2 unstable" in labels


def test_portraits_name_the_size(kept):
    for draw in (portraits.trajectories, portraits.fixed_points):
        figure = draw(list(kept["sine"].portraits.values()), "sine")
        assert figure.axes[0].get_title(loc="left").strip() == "Vanilla tanh, n = 4"


def test_a_histogram_keeps_both_sides_of_the_threshold_apart(kept):
    edges = losses._edges([1e-4, 3e-3, 0.5], 0.01)
    assert np.isclose(edges, 0.01).any() and edges[0] < 1e-4 and edges[-1] > 0.5
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0]))
    assert len(losses._edges([], None)) > 2


def test_networks_that_hide_each_other_are_counted(kept):
    made = kept["sine"].svcca
    figure = distances.embedding(made.table, 0 * made.embedding.points, 0.0, "x")
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [
        ["8 networks"],
        ["4 networks"],
        ["14 networks"],
    ]
    points = made.embedding.points.copy()
    points[:3] = points[0]  # vanilla tanh, and one of relu
    figure = distances.embedding(made.table, points, 0.0, "x")
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [
        ["2 networks"],
        ["3 networks"],
        ["3 networks"],
    ]
    assert all(tuple(ax.texts[0].xy) == tuple(points[0]) for ax in figure.axes)
    assert not any(ax.texts for ax in distances.embedding(made.table, made.embedding.points, 0.0, "x").axes)


def test_no_colour_means_two_things():
    assert len({*CELL_COLOURS.values(), *ACTIVATION_COLOURS.values(), *PAIR}) == len(CELL_COLOURS) + 4


def test_words_stay_words_and_shades_stay_shades(kept):
    files = render(distances.distance_matrix(kept["flipflop"].svcca.table, kept["flipflop"].svcca.distances, "how far"))
    assert b">how far</text>" in files["svg"]
    picture = np.asarray(Image.open(io.BytesIO(files["png"])).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(picture, axis=0)) > 256  # the colour bar is no staircase


def test_a_view_keeps_right_angles_of_the_paper_and_says_what_is_near():
    space = Space(None, np.full(3, -1.0), np.full(3, 1.0))
    paper, near = space.project(np.eye(3))
    assert 0.5 < np.linalg.norm(paper, axis=1).max() <= 1
    turned = np.concatenate([paper, (2 * near[:, None] - 1) * np.abs(_towards(space)).sum()], axis=1)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    near = space.project(corners)[1]
    assert (near.min(), near.max()) == (0, 1)
    np.testing.assert_array_equal(corners[near.argmax()], [1, -1, 1])  # from the front, the right and above


def _towards(space):
    near = space.project(np.eye(3))[1] - 0.5
    return near / np.linalg.norm(near)


def test_far_lines_are_lighter_and_behind():
    ax = Figure().subplots()
    space = Space.around(ax, [[0, 0, 0], [1, 1, 1]])
    front, back = np.array([[1.0, 0, 1], [0.9, 0, 1]]), np.array([[0.0, 1, 0], [0.1, 1, 0]])
    space.lines([front, back], ["#000000", "#000000"])
    (lines,) = ax.collections
    shades = lines.get_colors()[:, :3].sum(axis=1)
    assert shades[0] > shades[1] + 0.5  # the far one first
    np.testing.assert_allclose(lines.get_segments()[0], space.project(back)[0])


def test_trajectories_are_coloured_by_what_the_task_is_about(kept):
    for task, count in (("flipflop", 2), ("sine", 6)):
        one = next(iter(kept[task].portraits.values()))
        figure = portraits.trajectories([one], task)
        rgb = figure.axes[0].collections[0].get_colors()
        segments = 6 * (one.trajectories.shape[1] - 1)
        assert len(rgb) == segments
        palette, index = portraits.segment_colours(one, task, range(6))
        assert len(palette) <= count and np.array(index).shape == (6, one.trajectories.shape[1] - 1)
    first = portraits.segment_colours(next(iter(kept["flipflop"].portraits.values())), "flipflop", [0])
    target = next(iter(kept["flipflop"].portraits.values())).targets[0, 1:, 0]
    assert [first[0][i] for i in first[1][0]] == [PAIR[int(v > 0)] for v in target]


def test_the_matrix_is_ordered_by_kind(kept):
    made = kept["flipflop"].svcca
    shuffled = np.random.default_rng(0).permutation(len(made.table))
    rows = made.table.iloc[shuffled].reset_index(drop=True)
    figure = distances.distance_matrix(rows, made.distances[np.ix_(shuffled, shuffled)], "SVCCA distance")
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == 8 and labels[0].split()[0] == labels[1].split()[0]
    image = figure.axes[0].images[0].get_array()
    cells = [label.split()[0].lower() for label in labels[::2]]
    order = [i for cell in cells for i in np.flatnonzero(made.table.cell == cell)]
    np.testing.assert_allclose(
        np.sort(image[:4, :4].ravel()), np.sort(made.distances[np.ix_(order[:4], order[:4])].ravel())
    )
    assert figure.axes[1].get_ylabel() == "SVCCA distance"


def test_embeddings_show_tanh_by_cell_and_vanilla_by_activation(kept):
    made = kept["cdi"].svcca
    figure = distances.embedding(made.table, made.embedding.points, 0.12, "SVCCA distance")
    by_cell, by_activation, every = figure.axes
    assert [t.get_text() for t in by_cell.get_legend().texts] == ["Vanilla (2)", "UGRNN (2)", "GRU (2)", "LSTM (2)"]
    assert [t.get_text() for t in by_activation.get_legend().texts] == ["tanh (2)", "relu (2)"]
    (gru,) = [line for line in by_cell.lines if to_rgb(line.get_color()) == to_rgb(CELL_COLOURS["gru"])]
    mine = (made.table.cell == "gru") & (made.table.activation == "tanh")
    np.testing.assert_array_equal(np.transpose(gru.get_data()), made.embedding.points[mine])
    assert sum(len(line.get_xdata()) for line in every.lines) == 16
    assert figure.get_suptitle() == "SVCCA distance, 16 networks: metric MDS, stress 0.12"
    only_relu = made.table.activation == "relu"
    figure = distances.embedding(made.table[only_relu], made.embedding.points[only_relu], 0.1, "x")
    assert figure.axes[0].get_title(loc="left") == "by cell (relu only)"


def test_frequencies_are_drawn_in_cycles_a_thousand_steps(kept):
    study = kept["sine"].sine
    above, _, below, _ = sine.frequencies(study).axes
    mine = np.flatnonzero((study.table.cell == "gru") & (study.table.activation == "tanh"))
    lines = [line for line in above.lines if to_rgb(line.get_color()) == to_rgb(CELL_COLOURS["gru"])]
    np.testing.assert_allclose([line.get_ydata() for line in lines[:-1]], 1000 * study.frequency[mine])
    np.testing.assert_allclose(lines[-1].get_ydata(), 1000 * np.median(study.frequency[mine], axis=0))
    off = [line for line in below.lines if to_rgb(line.get_color()) == to_rgb(CELL_COLOURS["gru"])][-1]
    np.testing.assert_allclose(off.get_ydata(), lines[-1].get_ydata() - 1000 * study.commanded)
    assert above.get_ylabel().endswith("(cycles / 1000 steps)")


def test_medians_of_very_many_frequencies_lie_above_all_lines(kept, monkeypatch):
    study = kept["sine"].sine
    assert not [line for ax in sine.frequencies(study).axes for line in ax.lines if line.get_path_effects()]
    monkeypatch.setattr(house, "CROWD", 1)
    for ax in sine.frequencies(study).axes:
        medians = [line for line in ax.lines if line.get_label()[0] != "_"]
        others = [line for line in ax.lines if line not in medians]
        assert len(medians) in (3, 4) and all(line.get_path_effects() for line in medians)
        assert min(line.zorder for line in medians) > max(line.zorder for line in others)


def test_a_frequency_far_from_all_others_is_counted_and_leaves_them_readable(kept):
    study = copy.copy(kept["sine"].sine)
    study.table, study.frequency = pandas.concat([study.table] * 2), np.concatenate([study.frequency] * 2)
    usual = [ax.get_ylim() for ax in sine.frequencies(study).axes]
    study.frequency[0, 0] = 9.0  # in cycles a step
    axes = sine.frequencies(study).axes
    np.testing.assert_allclose([ax.get_ylim() for ax in axes], usual, rtol=0.2, atol=1)
    assert [[text.get_text() for text in ax.texts] for ax in axes] == [["1 out of view"], [], ["1 out of view"], []]


def test_eigenvalues_of_sine_networks_lie_where_they_are(kept):
    one = next(iter(kept["sine"].portraits.values()))
    (dots,) = sine.eigenvalues([one]).axes[0].collections
    values = one.eigenvalues[:, : sine.MODES].ravel()
    np.testing.assert_allclose(dots.get_offsets(), np.stack([values.real, values.imag], axis=1))
    np.testing.assert_allclose(dots.get_array(), np.repeat(one.held[:, 0], 4))
    one.eigenvalues[0, 0] = -3 + 2j
    (low, _), (down, up) = dots.axes.get_xlim(), dots.axes.get_ylim()
    ax = sine.eigenvalues([one]).axes[0]
    assert low > -1 and ax.get_xlim()[0] < -3 < 1 < ax.get_xlim()[1] and down < -0.6 and ax.get_ylim()[1] > 2 > up


def test_no_half_of_a_complex_pair_is_drawn(kept, monkeypatch):
    one = copy.deepcopy(next(iter(kept["sine"].portraits.values())))
    one.eigenvalues[:] = [0.9, 0.8 + 0.1j, 0.8 - 0.1j, 0.1]
    for most, shown in ((4, 4), (3, 3), (2, 1), (1, 1)):
        monkeypatch.setattr(sine, "MODES", most)
        (dots,) = sine.eigenvalues([one]).axes[0].collections
        assert np.isfinite(np.ma.filled(dots.get_offsets(), np.nan)).all(axis=1).sum() == shown * one.fixed.sum()


@pytest.mark.parametrize("odd", [700, 701, 702])
def test_no_network_is_lost_in_a_matrix_of_more_networks_than_pixels(odd):
    """One that is far from all others, wherever it stands."""
    table = pandas.DataFrame({"cell": "gru", "activation": "tanh", "n": 64}, index=range(1440))
    away = np.full((1440, 1440), 0.1)
    away[odd] = away[:, odd] = 1.0
    np.fill_diagonal(away, 0)
    figure = distances.distance_matrix(table, away, "x")
    figure.canvas.draw()
    place = figure.axes[0].get_window_extent().get_points().astype(int)
    (left, bottom), (right, top) = place + np.array([[4, 4], [-4, -4]])
    seen = np.asarray(figure.canvas.buffer_rgba())[::-1][bottom:top, left : (left + right) // 3, 1].astype(int)
    bright = np.flatnonzero(seen.mean(axis=1) > np.median(seen) + 10)  # the odd one's row, from below
    assert 1 <= len(bright) <= 4
    assert abs(bright.mean() / len(seen) - (1 - odd / 1440)) < 0.02


def test_captions_tell_what_is_done_where_networks_are_very_many(kept, monkeypatch):
    def captions():
        return " ".join(panel.caption(kept["flipflop"]) for panel in panels(kept["flipflop"]))

    assert "Thick: the median" not in captions() and "A pixel is a mean" not in captions()
    monkeypatch.setattr(house, "CROWD", 2)
    monkeypatch.setattr(distances, "SHARP", 2)
    assert captions().count("Thick: the median of very many.") == 1
    assert captions().count("A pixel is a mean over neighbours.") == 2


def test_names_of_a_matrix_stay_in_the_picture(kept):
    made = kept["flipflop"].svcca
    figure = distances.distance_matrix(made.table, made.distances, "SVCCA distance")
    render(figure)
    figure.draw_without_rendering()
    places = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(places) == 8 and min(place.x0 for place in places) > 0


def test_spectra_and_modes_are_means_with_bands(kept):
    study = kept["cdi"].cdi
    tanh, _ = cdi.spectra(study).axes
    lines = {line.get_label().split()[0]: line.get_xydata() for line in tanh.lines[1:]}
    assert list(lines) == ["Vanilla", "UGRNN", "GRU", "LSTM"]
    for name, xy in lines.items():
        (row,) = np.flatnonzero((study.groups.cell == name.lower()) & (study.groups.activation == "tanh"))
        size = 8 if name == "LSTM" else 4
        np.testing.assert_allclose(xy, np.stack([np.arange(1, size + 1), study.spectrum_mean[row][:size]], axis=1))
    band = tanh.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [0.61 - 0.03 + 0.003, 1.03], atol=0.03)
    relevant, _, irrelevant, _ = cdi.modes(study).axes
    np.testing.assert_allclose(relevant.lines[1].get_ydata(), study.kept_mean[0, 0])
    np.testing.assert_allclose(irrelevant.lines[1].get_ydata(), study.kept_mean[0, 1])


def test_legends_count_the_networks_that_are_drawn(kept):
    study, words = copy.copy(kept["cdi"].cdi), {}
    study.groups = study.groups.assign(lines=[1, *study.groups.lines[1:]])  # one vanilla tanh network has no line
    for draw in (cdi.spectra, cdi.modes):
        ax = draw(study).axes[0]
        words[draw] = [ax.get_title(loc="left") or ax.get_title(), *(line.get_label() for line in ax.lines[1:])]
        assert words[draw] == ["tanh: 7 networks", "Vanilla (1)", "UGRNN (2)", "GRU (2)", "LSTM (2)"]
    both = copy.copy(kept["cdi"])
    both.cdi = study
    captions = {panel.name: panel.caption(both) for panel in panels(both)}
    for name in ("spectra", "modes"):
        assert "over at most 24 slow points evenly along a network's line" in captions[name]
        assert "mean over 15 networks" in captions[name]


def test_slow_points_have_a_marker_for_each_context(kept):
    figure = cdi.slow_points(list(kept["cdi"].portraits.values()))
    markers = [c for c in figure.axes[0].collections if hasattr(c, "get_sizes") and len(c.get_offsets())]
    assert sum(len(c.get_offsets()) for c in markers) == 20
    assert len({len(c.get_paths()[0].vertices) for c in markers}) == 2
    assert "10 + 10 slow points" in [text.get_text() for text in figure.axes[0].texts]


def test_correlations_are_sorted_and_the_compared_pairs_stand_out(kept):
    study = kept["cdi"].untrained
    ax = trained_and_untrained(study).axes[-1]
    means = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert len(means) == 10 and means == sorted(means)
    np.testing.assert_allclose(means, sorted(study.mean[np.tril_indices(4)]))
    black = {label.get_text() for label in ax.get_yticklabels() if label.get_color() == "#000000"}
    assert black == {"trained tanh, trained relu", "trained relu, untrained relu"}
    assert sum(line.get_color() == "#000000" for line in ax.lines) == 4
    without = replace(study, low=np.full((4, 4), np.nan), high=np.full((4, 4), np.nan))  # of few networks
    (*_, bare) = (figure := trained_and_untrained(without)).axes
    assert [line.get_xdata()[0] for line in bare.lines if line.get_marker() == "o"] == means
    assert render(figure)["png"].startswith(b"\x89PNG")


def test_a_plot_of_outputs_names_the_loss_of_its_network(kept):
    study = kept["cdi"].untrained
    outputs = trained_and_untrained(study).axes[4:8]
    losses = ["loss 0.1", "loss 0.2", "loss 110", "loss 120"]  # medians are others
    assert [ax.get_title(loc="left") for ax in outputs] == losses


def test_the_tasks_show_input_target_and_output(kept):
    one = next(iter(kept["flipflop"].portraits.values()))
    figure = tasks.task(one, "flipflop")
    for k, ax in enumerate(figure.axes):
        output, target = ax.lines
        np.testing.assert_array_equal(output.get_ydata(), one.outputs[0, :, k])
        np.testing.assert_array_equal(target.get_ydata(), one.targets[0, :, k])
    assert figure.get_suptitle() == "Outputs of Vanilla tanh, n = 4"
    one = next(iter(kept["cdi"].portraits.values()))
    titles = [ax.get_title(loc="left") for ax in tasks.task(one, "cdi").axes[:2]]
    assert titles == ["context 1: sum up stream 1", "context 2: sum up stream 2"]
    assert len(tasks.task(one, "my own").axes) == 2


def test_points_are_counted_kind_by_kind(kept):
    ax = flipflop.counts(kept["flipflop"].flipflop).axes[0]
    heights = dict.fromkeys(flipflop.COLOURS, 0)
    places = []
    for bars in ax.collections:
        corners = [path.vertices for path in bars.get_paths()]
        heights[to_hex(bars.get_facecolor()[0])] += sum(np.ptp(bar[:, 1]) for bar in corners)
        places += [(*bar.min(axis=0), *bar.max(axis=0)) for bar in corners]
    assert list(heights.values()) == [16 * 8, 16 * 12, 16 * 6 - 1, 16, 0, 0]
    assert len(set(places)) == len(places) == 16 * 4  # no bar over another
    assert ax.get_xlim()[0] < min(place[0] for place in places) and ax.get_ylim()[1] > 27
    assert ax.get_title(loc="left") == "16 networks; 15 of 16 have 27 points"
    study = copy.deepcopy(kept["flipflop"].flipflop)
    names = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    study.table.loc[2, ["unstable_1", "degenerate"]] = 10, 2
    (key,) = (figure := flipflop.counts(study)).legends
    assert [text.get_text() for text in key.get_texts()] == [*names, "degenerate"]
    figure.draw_without_rendering()
    assert key.get_window_extent().x1 <= figure.bbox.x1
    on_top = [bars for bars in figure.axes[0].collections if to_hex(bars.get_facecolor()[0]) == flipflop.COLOURS[-1]]
    assert [np.ptp(path.vertices[:, 1]) for bars in on_top for path in bars.get_paths()] == [2]
    study.table.loc[3, "unstable_1"] = 1200
    ax = flipflop.counts(study).axes[0]
    assert 27 < ax.get_ylim()[1] < 60 and [text.get_text() for text in ax.texts] == ["1,215"]
    image = flipflop.graph(kept["flipflop"].flipflop).axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, np.eye(27, 28))


def test_bars_of_many_networks_are_in_order_and_the_largest_is_told(kept):
    study = copy.deepcopy(kept["flipflop"].flipflop)
    study.table = pandas.concat([study.table] * 40, ignore_index=True)
    study.table.loc[[16 * 3 + 1, 16 * 5 + 1], "unstable_1"] = 900, 1200  # of the first kind, as all of row 16 k + 1
    study.table.loc[16 * 7 + 1, "unstable_1"] = 0
    ax = flipflop.counts(study).axes[0]
    assert [text.get_text() for text in ax.texts] == ["to 1,215"]
    tops = {}
    for bars in ax.collections:
        for path in bars.get_paths():
            left, top = path.vertices[:, 0].min(), path.vertices[:, 1].max()
            tops[left] = max(top, tops.get(left, 0))
    first = [tops[left] for left in sorted(tops)[:80]]
    assert first == sorted(first, reverse=True) and first[:3] == [1215, 915, 27] and first[-1] == 15
    study.table.loc[16 * 3 + 1, "unstable_1"] = 12
    assert [text.get_text() for text in flipflop.counts(study).axes[0].texts] == ["1,215"]
    assert flipflop.has_slender(study) and not flipflop.has_slender(kept["flipflop"].flipflop)


def test_bars_of_many_networks_with_the_same_points_stand_side_by_side(kept):
    study = copy.deepcopy(kept["flipflop"].flipflop)
    study.table = pandas.concat([study.table] * 40, ignore_index=True)
    study.table["unstable_2"] = 6
    mine = np.flatnonzero((study.table.cell == "vanilla") & (study.table.activation == "tanh"))
    study.table.loc[mine[::3], ["unstable_0", "unstable_1"]] += [-2, 2]  # as many in all
    bars = flipflop.counts(study).axes[0].collections[0].get_paths()  # those of stable points
    corners = np.array([[path.vertices[:, 0].min(), path.vertices[:, 1].max()] for path in bars])
    stable = corners[np.argsort(corners[:, 0]), 1][: len(mine)]
    assert stable.tolist() == [8] * (len(mine) - len(mine[::3])) + [6] * len(mine[::3])


def test_losses_are_counted(kept):
    figure = losses.final_losses(kept["cdi"].run)
    assert [t.get_text() for t in figure.axes[0].get_legend().texts] == ["tanh: 2", "relu: 2"]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert hatched and not any(patch.get_facecolor()[3] for patch in hatched)  # else an SVG shows no hatching
    assert len(figure.axes) == 4 and figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize("task", NAMES)
def test_of_one_network_all_is_drawn_but_distances(tmp_path, task):
    alone = results(tmp_path / "run", task, cells=("vanilla",), activations=("relu",), seeds=1)
    drawn = draw_all(alone)
    wanted = {f"figure-{name}" for name in NAMES[task] - {"1c", "1d", "1f", "2c", "2e", "3c", "3d"}}
    assert set(drawn) == {"learning_curves", "figure-c"} | wanted
    files = {name: render(drawn[name]) for name in wanted & {"figure-1b", "figure-1e", "figure-2f", "figure-3e"}}
    assert all(set(made) == {"svg", "png"} for made in files.values())
    assert all("1 network" in p.caption(alone) for p in panels(alone) if p.name in ("trajectories", "frequencies"))
    for name in wanted & {"figure-1b", "figure-1e", "figure-3b-slow-points"}:
        figure = drawn[name]
        (key,) = figure.legends
        assert key.get_window_extent().x1 <= figure.bbox.x1
        assert "1 points" not in [text.get_text() for text in figure.axes[0].texts]


def test_equal_networks_have_distance_zero_in_a_matrix(kept):
    made = kept["flipflop"].svcca
    image = distances.distance_matrix(made.table, 0 * made.distances, "x").axes[0].images[0]
    assert image.get_clim() == (0, 1)


def test_a_task_of_ones_own_gets_what_there_is_for_any(kept, monkeypatch):
    own = kept["cdi"]
    monkeypatch.setitem(own.run.settings["record"], "task", "mine")
    names = {panel.file("mine"): panel.heading for panel in panels(own)}
    assert names.keys() == COMMON | {"task", "trajectories", "fixed-points", "svcca-embedding"}
    assert len(draw_all(own)) == len(names)
