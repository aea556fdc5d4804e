"""Figures show what the results say."""

import io
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from populations import small

from fastrnn.errors import Status
from fastrnn.figures import figure as house
from fastrnn.figures.figure import ACTIVATION_COLOURS, POINT_COLOURS, new_figure, render
from fastrnn.figures.hyperparameters import hyperparameters
from fastrnn.figures.learning_curves import learning_curves
from fastrnn.folder import RunFolder
from fastrnn.groups import FinishedGroup
from fastrnn.runs import load_run
from fastrnn.search import SearchResult
from fastrnn.tasks import Task


def synthetic(path, **changes):
    """A run whose curves are known: network i of a group falls from 1 as (iteration)^-(i + 1)."""
    spec = small(cells=("vanilla", "gru"), activations=("tanh", "relu"), **changes)
    with RunFolder(path, spec) as folder:
        folder.begin()
        for group in spec.groups:
            state = folder.unfinished(group)
            state.optimizer.iteration[:] = spec.iterations
            state.optimizer.status[:] = Status.TRAINED
            for i, row in enumerate(state.losses):
                row[:] = np.arange(1, spec.iterations + 1) ** -(i + 1.0)
            if group == "gru-relu-4":
                state.losses[1, 7:] = np.nan
                state.optimizer.iteration[1], state.optimizer.status[1] = 7, Status.DIVERGED
            folder.save_finished(group, FinishedGroup.of(state, state.training_loss()))
        folder.write_table()
    return load_run(path)


def curves(ax, marker="None"):
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata()) != 2]


def test_a_line_for_each_network(tmp_path):
    figure = learning_curves(synthetic(tmp_path / "run"))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Vanilla, n = 4", "GRU, n = 4"]
    for ax in figure.axes:
        lines = curves(ax)
        assert len(lines) == 4
        for i, line in enumerate(lines):
            np.testing.assert_allclose(line.get_ydata()[:7], np.arange(1, 8) ** -(i % 2 + 1.0), rtol=1e-6)
        colours = [to_rgb(ACTIVATION_COLOURS[name]) for name in ("tanh", "tanh", "relu", "relu")]
        np.testing.assert_allclose([to_rgb(line.get_color()) for line in lines], colours)
        assert ax.get_yscale() == "log"
    assert figure.axes[0].get_ylabel() == "training loss"
    assert figure.axes[0].get_xlabel() == "iteration"


def test_threshold_counts_and_divergence_are_marked(tmp_path):
    run = synthetic(tmp_path / "run", iterations=120)
    figure = learning_curves(run)
    vanilla, gru = figure.axes
    for ax in (vanilla, gru):
        (threshold,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert set(threshold.get_ydata()) == {0.01}
    assert [text.get_text() for text in vanilla.get_legend().texts] == ["tanh: 1 of 2 learnt", "relu: 1 of 2 learnt"]
    assert [text.get_text() for text in gru.get_legend().texts] == [
        *("tanh: 1 of 2 learnt", "relu: 0 of 2 learnt, 1 diverged"),
    ]
    assert curves(vanilla, "x") == []
    (cross,) = curves(gru, "x")
    assert cross.get_xdata() == [7]
    np.testing.assert_allclose(cross.get_ydata(), [7.0**-2], rtol=1e-6)
    assert figure.get_suptitle() == "flipflop: 8 networks, 3 with a validation loss below 0.01 (dashed)"


def test_a_task_without_threshold(tmp_path):
    run = synthetic(tmp_path / "run")
    del run.settings["record"]["threshold"]
    figure = learning_curves(run)
    assert figure.get_suptitle() == "flipflop: 8 networks"
    assert [text.get_text() for text in figure.axes[1].get_legend().texts] == ["tanh: 2", "relu: 2, 1 diverged"]


def test_a_name_with_dollars_is_no_formula(tmp_path):
    task = Task("a$_$b", 3, 3, 6, batch=lambda rng, settings, trials: None, threshold=0.01)
    run = synthetic(tmp_path / "run", task=task, task_settings={})
    assert b"a$_$b: 8 networks" in render(learning_curves(run))["svg"]


def test_points_are_told_apart_without_green_or_red():
    """By colours as a reader without one kind of cones sees them (Machado et al. 2009), CIE L*a*b*."""
    blind = {
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    }
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(colour, seen):
        light = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
        x = to_xyz @ np.clip(np.array(seen) @ light, 0, 1) / [0.9505, 1, 1.089]
        f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for seen in blind.values():
        colours = [lab(colour, seen) for colour in POINT_COLOURS]
        apart = [np.linalg.norm(a - b) for a, b in combinations(colours, 2)]
        assert min(apart) > 20


def test_sizes_are_rows_and_a_larger_l2_is_lighter(tmp_path):
    figure = learning_curves(synthetic(tmp_path / "run", sizes=(4, 6), l2=(1e-5, 1e-3), seeds=1))
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        *("Vanilla, n = 4", "GRU, n = 4", "Vanilla, n = 6", "GRU, n = 6"),
    ]
    dark, light = (sum(to_rgb(line.get_color())) for line in curves(figure.axes[0])[:2])
    assert light > dark
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["1e-05", "0.001"]


def test_medians_lie_above_the_lines_of_very_many_networks(tmp_path, monkeypatch):
    run = synthetic(tmp_path / "run", l2=(1e-5, 1e-3), seeds=3)  # losses fall as the powers -1 to -6, three of each L2
    assert not [line for ax in learning_curves(run).axes for line in ax.lines if line.get_path_effects()]
    monkeypatch.setattr(house, "CROWD", 6)
    vanilla, gru = learning_curves(run).axes
    medians = [line for line in vanilla.lines if line.get_path_effects()]
    assert len(medians) == 4 and len(curves(vanilla)) == 4 + 12
    for line, power in zip(medians, [2, 5, 2, 5], strict=True):
        x = line.get_xdata()
        np.testing.assert_allclose(line.get_ydata(), x ** -float(power), rtol=1e-5)
        assert line.zorder > max(other.zorder for other in vanilla.lines if other not in medians)
    # of GRUs with relu the second diverged: it has no part in the median
    lost = [line for line in gru.lines if line.get_path_effects()][2]
    x = lost.get_xdata()
    np.testing.assert_allclose(lost.get_ydata(), (x**-1.0 + x**-3.0) / 2, rtol=1e-5)


@pytest.mark.parametrize("changes", [{"iterations": 0}, {"iterations": 1}])
def test_hardly_anything_to_draw(tmp_path, changes):
    assert set(render(learning_curves(synthetic_untrained(tmp_path / "run", **changes)))) == {"svg", "png"}


def synthetic_untrained(path, **changes):
    spec = small(**changes)
    with RunFolder(path, spec) as folder:
        folder.begin()
        state = folder.unfinished("gru-tanh-4")
        folder.save_finished("gru-tanh-4", FinishedGroup.of(state, np.ones(2)))
    return load_run(path)


def test_the_same_run_gives_the_same_files(tmp_path):
    run = synthetic(tmp_path / "run")
    first, second = render(learning_curves(run)), render(learning_curves(run))
    assert first == second
    assert first["svg"].startswith(b"<?xml")
    assert first["png"].startswith(b"\x89PNG")


def test_rare_colours_keep_their_place_in_a_png():
    figure, axes = new_figure(3, 2)
    axes[0, 0].imshow(np.random.default_rng(0).random((200, 300)), cmap="viridis")
    axes[0, 0].plot([0, 3], [5, 5], color="#d62728", linewidth=3)
    drawn = np.asarray(Image.open(io.BytesIO(render(figure)["png"])).convert("RGB")).astype(int)
    assert np.abs(drawn - [0xD6, 0x27, 0x28]).max(axis=2).min() < 8


def test_an_explosion_does_not_stretch_the_axis(tmp_path):
    run = synthetic(tmp_path / "run", iterations=120)
    finished = run.finished("gru-relu-4")
    finished.loss_curve[1, 3:7] = 1e30
    finished.save(tmp_path / "run/groups/gru-relu-4.safetensors")
    figure = learning_curves(run)
    bottom, top = figure.axes[0].get_ylim()
    assert 1 < top <= 10
    assert 120.0**-2 / 3 < bottom < 120.0**-2
    (cross,) = curves(figure.axes[1], "x")
    assert cross.get_ydata() == [top]
    assert not cross.get_clip_on()


def searched() -> SearchResult:
    """A search of two kinds whose losses are known."""
    fates = ["trained", "trained", "dropped", "dropped", "diverged", "trained"]
    losses = [0.001, 0.02, 0.3, 0.4, 5e9, 0.5]
    values = {"learning_rate": np.geomspace(1e-4, 0.1, 6), "momentum": np.linspace(0, 0.9, 6)}
    values |= {"decay": np.linspace(0.1, 0.9, 6), "clip": np.geomspace(0.1, 10, 6)}
    kinds = [("gru", "tanh"), ("gru", "relu"), ("lstm", "tanh")]
    names = {"n": 4, "l2": 1e-5, "draw": range(6), "fate": fates, "validation_loss": losses, "iterations": 9}
    draws = pandas.concat([pandas.DataFrame({"cell": c, "activation": a} | names | values) for c, a in kinds])
    chosen = draws[draws.draw == 0].assign(validation_loss=0.002)
    other = draws.assign(l2=1e-3)
    record = {"task": "flipflop", "threshold": 0.01}
    settings = {"record": record, "iterations": 20, "search": dict.fromkeys(["rounds", "finalists", "repeats"], 2)}
    settings["search"]["draws"] = 6
    return SearchResult(Path("searches/none"), settings, pandas.concat([draws, other]), pandas.DataFrame(), chosen)


def test_a_search_shows_every_draw_by_its_fate():
    figure = hyperparameters(searched(), 4, 1e-5)
    panels = np.reshape(figure.axes, (2, 4))
    assert [ax.get_title(loc="left") for ax in panels[:, 0]] == ["GRU", "LSTM"]
    assert [ax.get_xlabel() for ax in panels[1]] == ["learning rate", "momentum", "decay", "clip"]
    assert [ax.get_xscale() for ax in panels[0]] == ["log", "linear", "linear", "log"]
    ax = panels[0, 0]
    top = ax.get_ylim()[1]
    assert top == pytest.approx(4 * 0.4)  # four times the upper quartile of those that did not diverge
    points = [marks.get_offsets().data.tolist() for marks in ax.collections]
    tanh, relu = points[:4], points[4:]
    assert tanh == relu
    trained, dropped, lost, chosen = tanh
    rate = np.geomspace(1e-4, 0.1, 6)
    assert trained == [[rate[0], 0.001], [rate[1], 0.02], [rate[5], 0.5]]
    assert dropped == [[rate[2], 0.3], [rate[3], 0.4]]
    assert lost == [[rate[4], top]]
    assert chosen == [[rate[0], 0.002]]
    assert len(panels[1, 0].collections[4].get_offsets()) == 0  # no LSTM with relu
    (threshold,) = ax.lines
    assert set(threshold.get_ydata()) == {0.01}
    assert "flipflop: 6 draws of each kind, n = 4, L2 1e-05, 20 iterations" in figure.get_suptitle()


def test_a_choice_with_a_loss_beyond_the_edge_is_on_the_edge():
    result = searched()
    figure = hyperparameters(replace(result, chosen=result.chosen.assign(validation_loss=1e4)), 4, 1e-5)
    ax = figure.axes[0]
    star = ax.collections[3]
    assert star.get_offsets().data.tolist() == [[pytest.approx(1e-4), ax.get_ylim()[1]]] and not star.get_clip_on()


@pytest.mark.parametrize("low, high", [(0.03, 0.5), (1e-4, 1.0), (0.012, 0.08)])
def test_labels_of_a_search_keep_apart_whatever_the_range(low, high):
    result = searched()
    draws = result.draws.assign(clip=np.geomspace(low, high, len(result.draws)))
    figure = hyperparameters(replace(result, draws=draws, chosen=result.chosen.assign(clip=high)), 4, 1e-5)
    figure.canvas.draw()
    axis = figure.axes[-1].xaxis
    ticks = [tick for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if tick.label1.get_text()]
    inside = [tick for tick in ticks if axis.axes.get_xlim()[0] <= tick.get_loc() <= axis.axes.get_xlim()[1]]
    boxes = sorted((tick.label1.get_window_extent() for tick in inside), key=lambda box: box.x0)
    assert len(boxes) >= 2 and all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_search_in_which_everything_diverged_is_drawn():
    result = searched()
    lost = result.draws.assign(fate="diverged", validation_loss=np.nan)
    figure = hyperparameters(replace(result, draws=lost, chosen=result.chosen[:0]), 4, 1e-5)
    assert render(figure)["png"].startswith(b"\x89PNG")
    assert len(figure.axes[0].collections[2].get_offsets()) == 6
