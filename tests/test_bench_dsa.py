"""The benchmark of dynamical similarity: what is compared, with whom, and how that is told."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import beside, dsa, suite, table
from benchmarks.peers import cayley_descent
from benchmarks.settings import Settings, quick
from fastrnn.analysis.dsa import dynamical_distances

SMALL = {"networks": 5, "units": 8, "trials": 4, "steps": 40, "delays": 3, "rank": 4}
with_torch = pytest.mark.skipif(not cayley_descent.is_installed(), reason="PyTorch is not installed")


class Bench:
    """What the section takes of a `Bench`."""

    engine = SimpleNamespace(threads=1)

    def __init__(self, **changes):
        self.settings = quick(**changes)


@pytest.fixture
def once(monkeypatch):
    monkeypatch.setattr(beside, "TURNS", 2)
    monkeypatch.setattr(beside, "TRIES", 1)
    monkeypatch.setattr(dsa, "FEW", 2)


def maps(networks=5):
    """Fitted maps (networks, 4, 4), and angles and their bounds."""
    states = dsa.trajectories(networks, 8, 4, 40)
    found = dynamical_distances(states, 3, 4, threads=1, progress=False, details=True)
    return found.operators, found.distances, found.bounds


def test_trajectories_are_those_of_networks_under_one_input():
    weak, strong = dsa.trajectories(2, 8, 4, 40)
    assert weak.shape == strong.shape == (4, 40, 8)
    assert np.abs(weak).max() < 1 and not np.allclose(weak, strong)
    # one step is linear in the last state and the input behind tanh: the inputs are all that least squares leaves
    before = np.arctanh(np.concatenate([weak[:, 1:], strong[:, 1:]], axis=2)).reshape(-1, 16)
    after = np.concatenate([weak[:, :-1], strong[:, :-1]], axis=2).reshape(-1, 16)
    left = before - after @ np.linalg.lstsq(after, before)[0]
    s = np.linalg.svd(left, compute_uv=False)
    assert s[dsa.INPUTS - 1] > 1 and s[dsa.INPUTS] < 1e-8


def test_one_step_and_none_in_a_quick_run():
    (step,) = dsa.steps(Bench(compared=(4,)))
    assert step.label == "dynamical similarity"
    assert dsa.steps(Bench()) == []
    assert dsa.lines(dsa.gather(Bench(), [])) == ["Dynamical similarity of all pairs: not timed in a quick run"]
    assert Settings().compared and dsa.SECTION in suite.SECTIONS


@pytest.mark.parametrize(("peers", "installed"), [(True, True), (True, False), (False, True)])
def test_pytorch_takes_part_where_it_is_installed(monkeypatch, peers, installed):
    monkeypatch.setattr(cayley_descent, "is_installed", lambda: installed)
    monkeypatch.setattr(dsa, "compared", lambda case, threads, with_peers: {"asked": (case, threads, with_peers)})
    (step,) = dsa.steps(Bench(compared=(4,), peers=peers))
    assert step.measure() == {"asked": (dsa.CASE, 1, peers and installed)}


def test_without_peers_only_ours_is_timed(once):
    result = json.loads(json.dumps(dsa.gather(Bench(), [dsa.compared(SMALL, 1, False)])))
    assert result["peers"] == [] and len(result["seconds"]["rounds"]) == 2 and result["threads"] == 1
    assert dsa.lines(result)[-1].startswith("ours, all pairs of 5 networks")


# -------------------------------------------------------------------------------------------------- beside PyTorch


@with_torch
def test_adam_aligns_what_was_only_turned():
    a = np.random.default_rng(1).normal(size=(1, 4, 4))
    turn = np.linalg.qr(np.eye(4) + 0.1 * np.random.default_rng(2).normal(size=(4, 4)))[0]
    turn *= np.sign(np.diag(turn))  # near I
    exchange = np.eye(4)[[1, 0, 2, 3]]
    for c in (turn, exchange @ turn):  # both signs of the determinant
        assert cayley_descent.angles(a, 3 * c @ a @ c.T, 1, steps=600)[0] < 2e-3
    assert cayley_descent.angles(a, turn @ a @ turn.T, 1, steps=5)[0] > 2e-3


@with_torch
def test_first_angle_is_that_without_a_turn():
    a, b = np.random.default_rng(1).normal(size=(2, 3, 4, 4))
    exchanged = b[:, [1, 0, 2, 3]][:, :, [1, 0, 2, 3]]
    norms = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(b, axis=(1, 2))
    expected = np.arccos(np.maximum((a * b).sum((1, 2)), (a * exchanged).sum((1, 2))) / norms)
    np.testing.assert_allclose(cayley_descent.angles(a, b, 1, steps=1), expected, rtol=1e-5)


@with_torch
def test_pairs_together_are_as_by_themselves_and_not_below_the_bounds():
    operators, _, bounds = maps()
    rows, columns = np.triu_indices(5, 1)
    together = cayley_descent.angles(operators[rows], operators[columns], 1, steps=300)
    for p, (i, j) in enumerate(((0, 1), (0, 2))):
        (alone,) = cayley_descent.angles(operators[i : i + 1], operators[j : j + 1], 1, steps=300)
        assert together[p] == pytest.approx(alone, abs=1e-3)
    assert (together > bounds[rows, columns] - dsa.TOLERANCE).all()


@with_torch
def test_pytorch_finds_no_smaller_angles_and_is_timed(once):
    made = json.loads(json.dumps(dsa.compared(SMALL, 1, True)))
    assert [(entry["peer"], entry["pairs"]) for entry in made["peers"]] == [("torch-pairs", 2), ("torch-together", 10)]
    for entry in made["peers"]:
        assert "failed" not in entry and 0 <= entry["larger"] <= entry["pairs"]
        quotients = np.divide(entry["seconds"]["rounds"], made["seconds"]["rounds"])
        np.testing.assert_allclose(entry["ratio"]["rounds"], quotients, rtol=1e-3)
    assert max(map(len, dsa.lines(made))) <= 80


def answering(monkeypatch, change):
    """PyTorch's answers are ours, changed by `change(angle)`; the calls are kept."""
    operators, distances, _ = maps()
    operators = operators / np.linalg.norm(operators, axis=(1, 2), keepdims=True)
    calls = []

    def angles(a, b, threads, **bound):
        calls.append((len(a), bound))
        number = [[int(np.abs(operators - one).sum((1, 2)).argmin()) for one in side] for side in (a, b)]
        return change(distances[number[0], number[1]])

    monkeypatch.setattr(cayley_descent, "angles", angles)
    return calls


def test_seconds_are_those_of_a_pair_and_the_rest_is_told(once, monkeypatch):
    calls = answering(monkeypatch, lambda angle: angle + 0.25)
    monkeypatch.setattr(
        beside, "interleave", lambda contenders, turns: {name: [take(0)[0]] for name, take in contenders.items()}
    )
    monkeypatch.setattr("benchmarks.rounds.seconds_of", lambda run, *arguments: (run(*arguments), 6.0)[1])
    made = dsa.compared(SMALL, 1, True)
    assert made["seconds"]["median"] == 6.0 / 10  # pairs of 5
    assert [entry["seconds"]["median"] for entry in made["peers"]] == [6.0 / 2, 6.0 / 10]
    assert [(entry["larger"], entry["most"]) for entry in made["peers"]] == [(2, 0.25), (10, 0.25)]
    tried = {"steps": dsa.TRIED}
    # for the number of threads and for the check, then the turns
    assert calls == [(1, tried)] + [(1, {})] * 2 + [(10, tried), (10, {})] + [(1, {})] * 2 + [(10, {})]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda angle: angle - 0.002, "2 of its angles are smaller, by up to 0.002"),
        (lambda angle: 0 * angle, "angles are up to 0."),
        (lambda angle: np.nan * angle, "angles are up to nan below a bound"),
        (lambda angle: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_peer_that_disagrees_is_told_and_not_timed(once, monkeypatch, change, why):
    answering(monkeypatch, change)
    made = json.loads(json.dumps(dsa.compared(SMALL, 1, True)))
    entry = made["peers"][0]
    assert entry["failed"].startswith(why) and "ratio" not in entry and len(made["seconds"]["rounds"]) == 2
    text = dsa.lines(made)
    assert f"! PyTorch, Adam, 2 pairs one by one: {entry['failed']}" in text and max(map(len, text)) <= 80


def test_ratios_are_told():
    seconds, slower = ({"median": x, "low": x / 2, "high": 2 * x} for x in (1e-3, 0.5))
    entry = {"title": "PyTorch, Adam, 4 pairs one by one", "pairs": 4, "larger": 3, "most": 0.063, "seconds": slower}
    entry["ratio"] = {"median": 500.0, "low": 400.0, "high": 600.0}
    assert dsa.lines(dsa.CASE | {"seconds": seconds, "peers": [entry]}) == [
        "Dynamical similarity (DSA): time of a pair (range), times as fast (range)",
        "n = 64, 16 trials of 100 steps, 10 delays, rank 10; ours with the fit of the maps",
        "",
        "ours, all pairs of 60 networks               1 ms (0.5-2)",
        "PyTorch, Adam, 4 pairs one by one          500 ms (250-1000)  x 500 (400-600)",
        "Adam: 3 of 4 angles are over 0.001 larger than ours, the largest by 0.063",
    ]


def test_results_of_before_are_told_and_tabled_without_it(tmp_path):
    results = suite.load(table.newest()[0])
    results.pop("dsa", None)
    path = tmp_path / "before.json"
    path.write_text(json.dumps(results))
    assert "Dynamical similarity" not in suite.report(suite.load(path))
    assert table.table(suite.load(path), "before.png")
