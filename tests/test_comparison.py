"""Networks of a run compared on probe trials: what is compared, what is kept, what is left out."""

import numpy as np
import pytest
from populations import small

import fastrnn
from fastrnn.analysis import responses
from fastrnn.analysis.comparison import compare_networks, load_comparison
from fastrnn.analysis.dsa import dynamical_distances
from fastrnn.analysis.responses import probe_inputs, probe_states
from fastrnn.analysis.similarity import pairwise_distances
from fastrnn.analysis.statistics import statistics
from fastrnn.errors import RunError, Status, UsageError
from fastrnn.folder import FolderLock
from fastrnn.groups import FinishedGroup
from fastrnn.runs import load_run
from fastrnn.tasks import Task, get_task

QUICK = {"trials": 10, "permutations": 19, "resamples": 20}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """12 networks: three cells (one of them with two parts of state), two activations, two seeds."""
    path = tmp_path_factory.mktemp("runs") / "small"
    spec = small(cells=("vanilla", "gru", "lstm"), activations=("tanh", "relu"))
    fastrnn.train(spec, out=path, progress=False)
    return path


@pytest.fixture
def run(trained, tmp_path):
    import shutil

    return load_run(shutil.copytree(trained, tmp_path / "run"))


def test_states_are_those_of_a_rollout_of_each_group(run):
    inputs = run.task.probe(10)[0]
    found = dict(probe_states(run, 10))
    assert sorted(found) == sorted(run.table.id)
    for group in run.groups:
        states, _ = run.rollout(group, inputs)
        for i, name in enumerate(run.group_table(group).id):
            n = run.networks(group).n
            np.testing.assert_array_equal(found[name], states[i, :, :, :n].reshape(-1, n))


def test_a_few_networks_at_a_time_are_the_same(run, monkeypatch):
    whole = dict(probe_states(run, 10))
    monkeypatch.setattr(responses, "ROLLOUT_BYTES", 1)
    for name, states in probe_states(run, 10):
        np.testing.assert_array_equal(states, whole[name])


def test_everything_is_computed_and_comes_back(run):
    made = compare_networks(run, **QUICK)
    states = [states for _, states in probe_states(run, 10)]
    np.testing.assert_array_equal(made.distances, pairwise_distances(states))
    assert made.table.id.tolist() == run.table.id.tolist() and made.left_out == []
    factors = made.table[["cell", "activation"]]
    wanted = statistics(made.distances, factors, permutations=19, resamples=20)
    assert made.statistics.table.equals(wanted.table)
    again = load_comparison(run.path)
    for name in ("distances", "components", "marks"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name), strict=True)
    np.testing.assert_array_equal(again.embedding.points, made.embedding.points)
    assert again.embedding.stress == made.embedding.stress
    assert again.statistics.table.equals(made.statistics.table)
    assert again.statistics.levels.equals(made.statistics.levels)
    assert again.table.equals(made.table) and again.settings == made.settings
    assert again.text() == made.text()
    assert sorted(path.name for path in (run.path / "analysis").iterdir()) == [
        "similarity-svcca-factors.csv",
        "similarity-svcca-levels.csv",
        "similarity-svcca.safetensors",
    ]


def test_the_text_says_what_there_is(run):
    text = compare_networks(run.path, "cka", **QUICK).text()
    first, cell, activation = text.splitlines()
    assert first.startswith("12 networks compared by CKA on 10 probe trials (0 left out); stress of the embedding 0.")
    assert cell.startswith("cell explains ") and "of squared CKA distance" in cell
    assert activation.startswith("activation explains ")


def test_how_states_move_is_compared_trial_by_trial(run):
    made = compare_networks(run, "dsa", rank=3, **QUICK)
    T = run.task.T
    states = [x.reshape(10, T, x.shape[1]) for _, x in probe_states(run, 10)]
    wanted = dynamical_distances(states, T // 2, 3, details=True)
    np.testing.assert_array_equal(made.distances, wanted.distances)
    np.testing.assert_array_equal(made.bounds, wanted.bounds)
    assert made.settings["delays"] == T // 2 < 10 and made.settings["rank"] == 3 and set(made.components) == {3}
    _, bound, cell, _ = made.text().splitlines()
    said = f"maps of rank 3 from {T // 2} steps in a row; the best alignment of two networks is at most 0."
    assert bound.startswith(said) and "DSA distance" in cell
    again = load_comparison(run, "dsa")
    np.testing.assert_array_equal(again.bounds, made.bounds, strict=True)
    assert again.text() == made.text() and again.settings == made.settings
    assert compare_networks(run, **QUICK).bounds is None
    with pytest.raises(UsageError, match="components is not for metric 'dsa', which has rank"):
        compare_networks(run, "dsa", 0.9)


def test_options_are_handed_on(run):
    made = compare_networks(run, components=2, factors=["seed"], **QUICK)
    assert set(made.components) == {2} and list(made.statistics.table.index) == ["seed"]
    assert made.settings["components"] == 2 and made.settings["trials"] == 10
    debiased = compare_networks(run, "cka", debiased=True, **QUICK)
    assert not np.allclose(debiased.distances, compare_networks(run, "cka", **QUICK).distances)
    others = compare_networks(run, components=2, factors=["seed"], **(QUICK | {"seed": 3}))
    assert not others.statistics.table.equals(made.statistics.table)


def test_diverged_and_infinite_networks_are_left_out(run):
    path = run.path / "groups" / "gru-tanh-4.safetensors"
    finished = FinishedGroup.load(path)
    finished.networks.W_rec[1] = np.nan
    finished.save(path)
    table = run.path / "networks.csv"
    lines = table.read_text().splitlines()
    lines = [
        line.replace(",trained,", f",{Status.DIVERGED.label},") if line.startswith("vanilla-relu-4-1e-05-0") else line
        for line in lines
    ]
    table.write_text("\n".join(lines) + "\n")
    made = compare_networks(load_run(run.path), **QUICK)
    assert sorted(made.left_out) == ["gru-tanh-4-1e-05-1", "vanilla-relu-4-1e-05-0"]
    assert len(made.table) == len(made.distances) == 10
    assert not set(made.left_out) & set(made.table.id)
    assert np.all(np.isfinite(made.distances))


def test_only_the_networks_asked_for_are_compared_and_other_files_not_read(run):
    wanted = [run.ids("gru-tanh-4")[1], run.ids("lstm-relu-4")[0]]
    (run.path / "groups" / "vanilla-tanh-4.safetensors").write_bytes(b"torn")
    made = compare_networks(run, only=wanted, **QUICK)
    assert made.table.id.tolist() == wanted and made.left_out == []
    states = dict(probe_states(run, 10, only=wanted))
    np.testing.assert_array_equal(made.distances, pairwise_distances([states[name] for name in wanted]))
    with pytest.raises(RunError, match="is damaged"):
        compare_networks(run, **QUICK)


def test_distances_are_kept_where_factors_determine_each_other(run):
    with pytest.raises(UsageError, match="adds nothing: the other factors determine it"):
        compare_networks(run, factors=["cell", "id"], **QUICK)
    kept = load_comparison(run)
    assert kept.statistics is None and len(kept.distances) == 12


def test_a_run_of_one_kind_has_no_factors(tmp_path):
    fastrnn.train(small(cells="gru", seeds=2, iterations=2), out=tmp_path / "run", progress=False)
    made = compare_networks(tmp_path / "run", **QUICK)
    assert made.statistics is None and made.distances.shape == (2, 2)
    assert len(made.text().splitlines()) == 1
    assert load_comparison(tmp_path / "run").statistics is None


def test_probe_inputs_of_each_task():
    assert probe_inputs(get_task("flipflop")).shape == (64, 100, 3)
    assert probe_inputs(get_task("cdi")).shape == (128, 30, 4)
    sine = probe_inputs(get_task("sine"))
    assert sine.shape == (51, 500, 1)
    np.testing.assert_allclose(sine[:, 0, 0], np.arange(51) / 50, atol=1e-7)
    assert np.all(sine == sine[:, :1])
    np.testing.assert_array_equal(probe_inputs(get_task("cdi"), 5), get_task("cdi").probe(5)[0])
    own = Task(
        "sine", D=2, K=1, T=3, batch=lambda rng, settings, trials: (np.ones((trials, 3, 2)), np.ones((trials, 3, 1)))
    )
    assert probe_inputs(own).shape == (64, 3, 2)
    with pytest.raises(UsageError, match="trials must be a positive whole number; it is 0"):
        probe_inputs(get_task("cdi"), 0)


def test_what_is_refused(run):
    with pytest.raises(UsageError, match="unknown metric 'rsa'"):
        compare_networks(run, "rsa")
    with pytest.raises(UsageError, match="unknown metric 'rsa'"):
        load_comparison(run, "rsa")
    with pytest.raises(UsageError, match="has no comparison by pwcca; make one with compare_networks"):
        load_comparison(run, "pwcca")
    with pytest.raises(UsageError, match="factor 'colour' is no column of the run's table"):
        compare_networks(run, factors=["colour"])
    with pytest.raises(UsageError, match="checkpoint is not for compare_networks"):
        compare_networks(run, checkpoint="here")
    for path in (run.path / "groups").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="has no finished networks yet"):
        compare_networks(run)


def test_a_folder_that_another_process_holds(run):
    with FolderLock(run.path):
        with pytest.raises(RunError, match="is in use by process"):
            compare_networks(run, **QUICK)
        assert not list((run.path / "analysis").iterdir())
        compare_networks(run, held=True, **QUICK)
    compare_networks(run, **QUICK)


def test_a_damaged_or_unwritable_place(run):
    compare_networks(run, **QUICK)
    path = run.path / "analysis" / "similarity-svcca.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunError, match="is damaged"):
        load_comparison(run)
    for file in (run.path / "analysis").iterdir():
        file.unlink()
    (run.path / "analysis").rmdir()
    (run.path / "analysis").write_text("in the way")
    with pytest.raises(RunError, match="could not write"):
        compare_networks(run, **QUICK)
