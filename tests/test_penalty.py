"""What an L2 costs by itself is measured on networks that have learnt."""

import numpy as np
import pytest
from populations import small

import fastrnn
from benchmarks import penalty
from fastrnn.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fastrnn.train(small(seeds=3), out=tmp_path_factory.mktemp("run"), progress=False)


def test_two_that_learnt_go_on_under_the_penalty(run, monkeypatch):
    monkeypatch.setattr(type(run), "learnt", lambda self, rows: rows.seed > 0)
    group = "gru-tanh-4"
    before = run.networks(group)[1:]
    found = {l2: penalty.go_on(run, group, l2, 30, batch=4) for l2 in (0.0, 10.0)}
    for made in found.values():
        np.testing.assert_allclose(made["squares"][0], (before.parameters.astype(float) ** 2).sum(axis=1))
        assert made["loss"].shape == (2, 2) and np.isfinite(made["loss"]).all()
    assert np.all(found[10.0]["squares"][1] < 0.5 * found[0.0]["squares"][1])


def test_a_group_in_which_none_learnt_is_empty(run):
    assert penalty.go_on(run, "gru-tanh-4", 1e-3, 1, batch=4)["loss"].shape == (2, 0)


def test_a_line_a_group_is_printed(run, capsys):
    penalty.main([str(run.path), "1e-3", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": loss [")[0] for line in lines] == ["vanilla-tanh-4", "gru-tanh-4"]


@pytest.mark.parametrize("arguments", [[], ["runs/cdi", "1e-3"], ["runs/cdi", "much", "10"]])
def test_what_is_missing_is_said(arguments):
    with pytest.raises(UsageError, match="give the folder of a run, an L2 and a number of iterations: runs/cdi 1e-3"):
        penalty.main(arguments)
