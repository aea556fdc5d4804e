"""What is kept of a group: curves, sub-stacks by name, files."""

import numpy as np
import pytest
from populations import small

from fastrnn import groups
from fastrnn.errors import RunError, Status
from fastrnn.groups import FinishedGroup, TrainingGroup, loss_curve
from fastrnn.networks import Networks
from fastrnn.optimizer import METHODS
from fastrnn.storage import load_arrays, save_arrays


def rows(**changes):
    spec = small(cells="gru", l2=(0.0, 1e-3), **changes)
    return spec, spec.rows


def begun(seeds=2, done=7, **changes):
    """Networks some iterations into training, with numbers of their own everywhere."""
    spec, networks = rows(seeds=seeds, **changes)
    group = TrainingGroup.start(spec, networks)
    rng = np.random.default_rng(0)
    group.losses[:, :done] = rng.uniform(1, 2, group.losses[:, :done].shape)
    group.optimizer.iteration[:] = done
    group.optimizer.velocity[:] = rng.normal(size=group.optimizer.velocity.shape)
    group.engines = ("cpu (one)",)
    return group


def same(a, b):
    assert a.ids == b.ids
    assert a.engines == b.engines
    np.testing.assert_array_equal(a.losses, b.losses)
    np.testing.assert_array_equal(a.networks.parameters, b.networks.parameters)
    for name, array in a.optimizer.to_arrays().items():
        np.testing.assert_array_equal(array, b.optimizer.to_arrays()[name], strict=True)


def test_a_curve_of_few_iterations_is_the_losses_themselves():
    losses = np.random.default_rng(0).uniform(size=(3, 499)).astype(np.float32)
    curve, iteration = loss_curve(losses)
    np.testing.assert_array_equal(curve, losses)
    np.testing.assert_array_equal(iteration, np.arange(1, 500))


@pytest.mark.parametrize("iterations", [500, 501, 1234, 20_000])
def test_a_long_curve_is_means_of_equal_windows(iterations):
    losses = np.random.default_rng(0).uniform(size=(2, iterations)).astype(np.float32)
    curve, ends = loss_curve(losses)
    assert curve.shape == (2, 500)
    assert ends[-1] == iterations
    starts = np.concatenate([[0], ends[:-1]])
    assert set(ends - starts) <= {iterations // 500, -(-iterations // 500)}
    expected = [[row[a:b].astype(float).mean() for a, b in zip(starts, ends, strict=True)] for row in losses]
    np.testing.assert_allclose(curve, expected, rtol=1e-6)


def test_a_curve_ends_where_a_network_diverged():
    losses = np.ones((2, 1000), np.float32)
    losses[1, 301:] = np.nan
    curve, ends = loss_curve(losses)
    np.testing.assert_array_equal(np.isnan(curve[1]), ends > 302)
    assert not np.isnan(curve[0]).any()


def test_no_iterations_no_curve():
    curve, ends = loss_curve(np.zeros((3, 0), np.float32))
    assert curve.shape == (3, 0)
    assert ends.shape == (0,)


def test_training_loss_is_the_mean_of_the_last_iterations_done():
    group = begun(done=7)
    np.testing.assert_allclose(group.training_loss(), group.losses[:, :7].mean(axis=1), rtol=1e-6)
    group.optimizer.iteration[0] = 0
    assert np.isnan(group.training_loss()[0])


def test_the_window_of_the_training_loss(monkeypatch):
    monkeypatch.setattr(groups, "RECENT", 3)
    group = begun(done=7)
    np.testing.assert_allclose(group.training_loss(), group.losses[:, 4:7].mean(axis=1), rtol=1e-6)


def test_a_start_has_each_networks_own_numbers():
    spec, networks = rows(hyperparameters=({"seed": 1, "clip": 7.0},))
    group = TrainingGroup.start(spec, networks)
    assert group.optimizer.clip.tolist() == [row["clip"] for row in networks]
    assert group.optimizer.l2.tolist() == [0.0, 0.0, 1e-3, 1e-3]
    assert len(set(group.networks.keys.tolist())) == 4
    assert group.in_training
    assert group.iterations_left().tolist() == [20] * 4


def test_a_goal_ends_the_training_for_the_time_being():
    group = begun(done=7)
    assert (group.goal, group.iterations_left().tolist()) == (20, [13] * 4)
    group.goal = 10
    group.optimizer.iteration[1] = 12  # further already
    group.optimizer.status[2] = Status.DIVERGED
    assert group.iterations_left().tolist() == [3, 0, 0, 3]
    assert group.in_training
    group.goal = 7
    assert not group.in_training
    assert group.pick(group.ids[:2]).goal == 7


def test_stretches_stand_at_one_iteration():
    group = begun(seeds=3)
    assert group.stretches() == [(0, 6)]
    group.optimizer.iteration[:] = (7, 7, 9, 9, 9, 7)
    assert group.stretches() == [(0, 2), (2, 5), (5, 6)]


def test_keys_depend_on_every_part_of_the_configuration():
    def keys(**changes):
        spec = small(**changes)
        return {key for group in spec.groups.values() for key in groups.keys_of(spec, group)}

    base = keys()
    for changes in (
        {"seed": 1},
        {"task": "cdi"},
        {"sizes": 5},
        {"l2": 0.5},
        {"activations": "relu"},
        {"cells": "lstm"},
    ):
        assert not base & keys(**changes)
    assert base < keys(seeds=3)
    assert base == keys(iterations=99)


def test_pick_and_join_are_by_name():
    group = begun()
    order = [group.ids[i] for i in (3, 0, 2, 1)]
    again = group.pick(order[:1]).join(group.pick(order[1:]))
    assert again.ids == order
    same(again.pick(group.ids), group)


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_comes_back(tmp_path, method):
    group = begun(optimizer=method)
    group.optimizer.squares[:] = np.arange(group.optimizer.squares.size).reshape(group.optimizer.squares.shape)
    assert group.optimizer.method == method
    group.optimizer.status[1] = Status.DIVERGED
    group.save(tmp_path / "c")
    same(TrainingGroup.load(tmp_path / "c"), group)


def test_results_join_and_come_back_in_the_order_asked_for(tmp_path):
    group = begun()
    first = FinishedGroup.of(group.pick(group.ids[1:2]), np.array([0.25]))
    rest = FinishedGroup.of(group.pick([group.ids[i] for i in (3, 0, 2)]), np.array([0.75, 0.0, 0.5]))
    first.join(rest).pick(group.ids).save(tmp_path / "g")
    loaded = FinishedGroup.load(tmp_path / "g")
    assert loaded.ids == group.ids
    assert loaded.validation_loss.tolist() == [0.0, 0.25, 0.5, 0.75]
    np.testing.assert_array_equal(loaded.loss_curve, group.losses)
    np.testing.assert_array_equal(loaded.networks.parameters, group.networks.parameters)
    assert loaded.engines == ("cpu (one)",)
    np.testing.assert_array_equal(Networks.load(tmp_path / "g").parameters, group.networks.parameters)


def test_files_of_another_kind_are_refused(tmp_path):
    group = begun()
    group.networks.save(tmp_path / "networks")
    with pytest.raises(RunError, match="is not a checkpoint: 'learning_rate' is missing"):
        TrainingGroup.load(tmp_path / "networks")
    with pytest.raises(RunError, match="is not a group of a run: 'status' is missing"):
        FinishedGroup.load(tmp_path / "networks")
    arrays, metadata = load_arrays(tmp_path / "networks")
    del arrays["W_rec"]
    save_arrays(tmp_path / "networks", arrays, metadata)
    with pytest.raises(RunError, match="holds no networks"):
        TrainingGroup.load(tmp_path / "networks")
