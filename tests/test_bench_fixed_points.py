"""The benchmark's section on fixed points: what it measures of a small network, and how it tells it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import fastrnn
from benchmarks import beside, fixed_points
from benchmarks.fixed_points import beside_adam
from benchmarks.peers import adam_descent
from fastrnn.tasks import get_task

BENCH = SimpleNamespace(
    settings=SimpleNamespace(compared=(4,), cells=("vanilla", "gru"), activations=("tanh",), peers=False),
    engine=SimpleNamespace(threads=1),
)


def test_a_network_is_trained_searched_and_told_of():
    entry = fixed_points.searched(BENCH, "vanilla", "tanh", n=8, iterations=20)
    assert entry["seconds"] > 0 and entry["loss"] > fixed_points.LEARNT
    assert fixed_points.lines({"kinds": [entry]})[-1].endswith(f"did not learn the task, loss {entry['loss']:.2g}")
    entry["loss"] = 0.001
    assert entry["exact"] >= 1
    assert entry["seconds"] <= entry["slowest_seconds"]
    title, _, line = fixed_points.lines(fixed_points.gather(BENCH, [entry]))
    assert "Fixed points" in title
    assert line.startswith("vanilla tanh 8 ")
    assert entry["search_status"] in line


def test_a_step_a_kind_and_none_in_a_quick_run():
    assert [step.label for step in fixed_points.steps(BENCH)] == [
        "fixed points, vanilla tanh",
        "fixed points, gru tanh",
        "fixed points of a large network",
    ]
    quick = SimpleNamespace(settings=SimpleNamespace(compared=()), engine=BENCH.engine)
    assert fixed_points.steps(quick) == []
    assert fixed_points.lines(fixed_points.gather(quick, [])) == ["Fixed points: not timed in a quick run"]


def test_a_diverged_network_is_said_to_be_one():
    entry = {"cell": "lstm", "activation": "relu", "n": 64, "loss": None, "seconds": None}
    assert fixed_points.lines({"kinds": [entry]})[-1].endswith("diverged in training")


def test_given_starts_are_all_used_once():
    entry = fixed_points.searched(BENCH, "vanilla", "tanh", n=8, iterations=20, starts=30)
    assert entry["starts"] == 30
    assert entry["seconds"] == entry["slowest_seconds"]


# -------------------------------------------------------------------------------------------------- beside PyTorch


def network_and_starts(activation="tanh", n=6):
    """An untrained network, and starts about its fixed points."""
    task = get_task("flipflop", steps=5)
    networks = fastrnn.Networks.initialize("vanilla", activation, n=n, D=task.D, K=task.K, keys=[3])
    networks.W_rec[:] *= 1.5
    starts = np.random.default_rng(0).normal(size=(12, n))
    return networks, np.array([0.5, 0.0, -0.5]), starts, task


@pytest.fixture
def once(monkeypatch):
    monkeypatch.setattr(beside, "TURNS", 2)
    monkeypatch.setattr(beside, "TRIES", 1)


@pytest.mark.skipif(not adam_descent.is_installed(), reason="PyTorch is not installed")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_adam_finds_our_points(once, activation):
    networks, held, starts, task = network_and_starts(activation)
    made = json.loads(json.dumps(beside_adam(networks, held, starts, task, threads=1)))
    (entry,) = made["peers"]
    assert made["starts"] == 12 and made["points"] >= 1 and "failed" not in entry
    assert 0 < entry["converged"] <= 1 and entry["distance"] < fixed_points.NEAR
    assert 1 <= entry["points"] <= made["points"] and 1 < entry["steps"] <= adam_descent.STEPS
    assert len(entry["seconds"]["rounds"]) == len(entry["ratio"]["rounds"]) == 2
    assert entry["ratio"]["rounds"][0] == pytest.approx(
        entry["seconds"]["rounds"][0] / made["seconds"]["rounds"][0], rel=1e-3
    )


@pytest.mark.skipif(not adam_descent.is_installed(), reason="PyTorch is not installed")
def test_the_peers_update_and_its_speed_are_the_networks():
    networks, held, starts, _ = network_and_starts()
    ends, q, steps = adam_descent.descend(networks, held, starts, 1, steps=1)
    assert steps == 1
    np.testing.assert_allclose(ends, starts, rtol=1e-6)
    p = networks.in_float64(0)
    speed = np.tanh(starts @ p["W_rec"] + held @ p["W_in"] + p["b"]) - starts
    np.testing.assert_allclose(q, (speed**2).sum(axis=1) / 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("ends", "q", "why"),
    [
        (lambda points, starts: starts, 1.0, "none of its starts converged in 7 steps"),
        (lambda points, starts: starts + 9, 0.0, "its points lie up to "),
        (lambda points, starts: np.full_like(starts, np.nan), 0.0, "its points lie up to nan from ours"),
    ],
)
def test_ends_that_are_not_our_points_are_told_and_not_timed(once, monkeypatch, ends, q, why):
    networks, held, starts, task = network_and_starts()
    calls = []

    def descend(network, held, starts, threads, **bound):
        calls.append(bound)
        return ends(None, starts), np.full(len(starts), q), 7

    monkeypatch.setattr(adam_descent, "descend", descend)
    made = beside_adam(networks, held, starts, task, threads=1)
    (entry,) = made["peers"]
    assert entry["failed"].startswith(why) and "ratio" not in entry and len(made["seconds"]["rounds"]) == 2
    assert calls == [{"steps": fixed_points.TRIED}, {}]  # for the number of threads, and for the check
    assert f"! PyTorch, Adam to q = 1e-12: {entry['failed']}" in told(made)


def told(made: dict) -> list[str]:
    kind = {"cell": "vanilla", "activation": "tanh", "n": 64, "loss": 1e-4, "seconds": 0.05, "slowest_seconds": 0.06}
    kind |= {"search_status": "consistent", "by_unstable": "0:8 1:12", "exact": 20, "starts": 256}
    before = fixed_points.lines({"kinds": [kind]})
    text = fixed_points.lines({"kinds": [kind | {"beside": made}]})
    added = text[len(before) :]
    assert text[: len(before)] == before and max(map(len, added)) <= 80
    return added


def test_ratios_are_told_where_there_are_any():
    seconds, slower = ({"median": x, "low": x / 2, "high": 2 * x} for x in (0.08, 1.24))
    entry = {"title": "PyTorch, Adam to q = 1e-12", "steps": 1629, "converged": 1.0, "points": 27, "seconds": slower}
    entry["ratio"] = {"median": 15.4, "low": 13.8, "high": 15.7}
    made = {"starts": 256, "points": 27, "converged": 1.0, "seconds": seconds, "peers": [entry]}
    assert told(made) == [
        "",
        "vanilla tanh 64, the same 256 starts: time (range), times as fast (range)",
        "ours, to q = 1e-26 (1 + |h|^2)              80 ms (40-160)",
        "PyTorch, Adam to q = 1e-12                1240 ms (620-2480)  x 15 (14-16)",
        "ours: 100% of the starts end there, at 27 points",
        "Adam: 100%, at 27 of ours, after 1,629 steps, 5,000 at most",
    ]


@pytest.mark.parametrize(("peers", "installed"), [(True, True), (True, False), (False, True)])
def test_one_kind_is_searched_beside_pytorch_where_it_is_installed(monkeypatch, peers, installed):
    monkeypatch.setattr(fixed_points, "BESIDE", ("vanilla", "tanh", 8))
    monkeypatch.setattr(fixed_points, "beside_adam", lambda networks, held, given, task, threads: given.shape)
    monkeypatch.setattr(adam_descent, "is_installed", lambda: installed)
    bench = SimpleNamespace(settings=SimpleNamespace(peers=peers), engine=BENCH.engine)
    entry = fixed_points.searched(bench, "vanilla", "tanh", n=8, iterations=5)
    assert entry.get("beside") == ((fixed_points.STARTS, 8) if peers and installed else None)
    assert "beside" not in fixed_points.searched(bench, "vanilla", "tanh", n=7, iterations=5)
