"""Figures show what the results say."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from populations import small

from fastrnn.errors import Status
from fastrnn.figures.figure import ACTIVATION_COLOURS, render
from fastrnn.figures.learning_curves import learning_curves
from fastrnn.folder import RunFolder
from fastrnn.groups import FinishedGroup
from fastrnn.runs import load_run


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


def test_sizes_are_rows_and_a_larger_l2_is_lighter(tmp_path):
    figure = learning_curves(synthetic(tmp_path / "run", sizes=(4, 6), l2=(1e-5, 1e-3), seeds=1))
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        *("Vanilla, n = 4", "GRU, n = 4", "Vanilla, n = 6", "GRU, n = 6"),
    ]
    dark, light = (sum(to_rgb(line.get_color())) for line in curves(figure.axes[0])[:2])
    assert light > dark
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["1e-05", "0.001"]


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
