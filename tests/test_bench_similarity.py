"""The benchmark of similarity: what it times, and what it makes of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import beside, similarity
from benchmarks.peers import svcca_pairs
from benchmarks.settings import Settings, quick
from fastrnn.analysis.similarity import svcca


class Bench:
    """What the section takes of a `Bench`."""

    engine = SimpleNamespace(threads=2)

    def __init__(self, **changes):
        self.settings = quick(**changes)


CASE = {"metric": "svcca", "components": 5, "sizes": [8, 12], "samples": 50, "precision": "double"}


def test_responses_are_of_full_rank_and_differ():
    states = similarity.responses(5, (8, 12), 50)
    assert [x.shape for x in states] == [(50, 8), (50, 12)] * 2 + [(50, 8)]
    assert all(np.linalg.matrix_rank(x) == x.shape[1] and x.dtype == np.float32 for x in states)
    assert not np.allclose(states[0], states[2])


def test_one_case_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(similarity, "CASES", (CASE,))
    (step,) = similarity.steps(Bench(compared=(6,), peers=False))
    assert step.label == "similarity, svcca of 6 networks"
    found = step.measure()
    assert found["seconds"] > 0 and found["kept"] == [5, 5] and found["networks"] == 6 and found["threads"] == 2


def test_growth_is_carried_on_and_told(monkeypatch):
    monkeypatch.setattr(similarity, "CASES", (CASE, CASE | {"samples": 60}))
    measured = [
        case | {"networks": N, "seconds": 0.02 * N + 1e-4 * N * (N - 1) / 2, "bytes": 10**9, "kept": [5, 5]}
        for case in similarity.CASES
        for N in (10, 20, 40)
    ]
    bench = Bench(compared=(10, 20, 40))
    result = json.loads(json.dumps(similarity.gather(bench, measured)))
    assert [len(case["points"]) for case in result["cases"]] == [3, 3]
    assert result["cases"][0]["carried_on"] == pytest.approx(0.02 * 2880 + 1e-4 * 2880 * 2879 / 2, rel=1e-3)
    text = similarity.lines(result)
    assert text[2] == "svcca, n 8 to 12, 50 samples, 5 to 5 components kept"
    assert text[3].split() == ["10", "networks", "0.204", "s", "4.54", "ms", "1.0", "GB"]
    assert text[6].strip() == "2880 by this growth: 7 min 52 s, 0.114 ms a pair"
    assert max(len(line) for line in text) < 80


def test_a_quick_run_leaves_it_out():
    assert similarity.steps(Bench()) == []
    assert similarity.lines(similarity.gather(Bench(), [])) == ["Similarity of all pairs: not timed in a quick run"]
    assert len(similarity.steps(Bench(compared=(2, 3)))) == 2 * len(similarity.CASES) + 1
    assert Settings().compared


# ---------------------------------------------------------------------------------------------------- beside NumPy

SMALL = CASE | {"networks": 5, "few": 3, "threads": 1}


@pytest.fixture
def once(monkeypatch):
    monkeypatch.setattr(beside, "TURNS", 2)
    monkeypatch.setattr(beside, "TRIES", 1)


@pytest.mark.parametrize("compute", [svcca_pairs.pair_by_pair, svcca_pairs.svd_once])
def test_numpy_finds_our_similarities_pair_by_pair(compute):
    states = similarity.responses(4, (8, 12), 50)
    ours = [svcca(states[i], states[j], 5) for i in range(4) for j in range(i + 1, 4)]
    np.testing.assert_allclose(compute(states, 5), ours, rtol=1e-10)


def test_numpy_takes_part_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(similarity, "BESIDE", SMALL)
    *_, step = similarity.steps(Bench(compared=(6,)))
    assert step.label == "similarity beside NumPy"
    found = step.measure()["beside"]
    assert [(entry["peer"], entry["networks"]) for entry in found["peers"]] == [("numpy-pairs", 3), ("numpy-once", 5)]
    for entry in found["peers"]:
        assert entry["error"] < similarity.TOLERANCE and "failed" not in entry
        quotients = np.divide(entry["seconds"]["rounds"], found["seconds"]["rounds"])
        np.testing.assert_allclose(entry["ratio"]["rounds"], quotients, rtol=1e-3)


def test_seconds_are_those_of_a_pair(once, monkeypatch):
    monkeypatch.setattr(
        beside, "interleave", lambda contenders, turns: {name: [take(0)[0]] for name, take in contenders.items()}
    )
    monkeypatch.setattr("benchmarks.rounds.seconds_of", lambda run, *arguments: 6.0)
    found = similarity.beside_numpy(SMALL)
    assert found["seconds"]["median"] == 6.0 / 10  # pairs of 5
    assert [entry["seconds"]["median"] for entry in found["peers"]] == [6.0 / 3, 6.0 / 10]
    assert [entry["ratio"]["median"] for entry in found["peers"]] == pytest.approx([10 / 3, 1.0], rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda responses, components: svcca_pairs.svd_once(responses, components) + 2e-6, "its similarities differ"),
        (lambda responses, components: np.full(3, np.nan), "its similarities differ from ours by up to nan"),
        (lambda responses, components: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_peer_that_disagrees_is_told_and_not_timed(once, monkeypatch, wrong, why):
    calls = []

    def compute(responses, components):
        calls.append(len(responses))
        return wrong(responses, components)

    monkeypatch.setattr(svcca_pairs, "pair_by_pair", compute)
    found = json.loads(json.dumps(similarity.beside_numpy(SMALL)))
    broken, right = found["peers"]
    assert broken["failed"].startswith(why) and "ratio" not in broken
    assert calls in ([2], [2, 3])  # for the number of threads and for the check, no turn
    assert len(right["ratio"]["rounds"]) == 2
    text = similarity.lines(result_with(found))
    assert any(line.startswith(f"! NumPy, SVDs for each pair, 3 networks: {why}"[:80]) for line in text)
    assert max(map(len, text)) <= 80


def test_a_peer_that_fails_late_is_told(once, monkeypatch):
    def compute(responses, components):
        if len(responses) == 5:
            raise MemoryError("no room")
        return svcca_pairs.pair_by_pair(responses, components)

    monkeypatch.setattr(svcca_pairs, "svd_once", compute)
    assert similarity.beside_numpy(SMALL)["peers"][1]["failed"] == "MemoryError: no room"


def result_with(found: dict | None) -> dict:
    points = [{"networks": 90, "seconds": 1.0, "bytes": None, "kept": [5, 5]}]
    cases = [CASE | {"points": points, "population": 2880, "carried_on": 100.0}]
    return {"cases": cases} | ({} if found is None else {"beside": found})


def test_the_section_is_told_with_and_without_peers():
    spread = {"median": 1e-3, "low": 9e-4, "high": 2e-3}
    entry = {"title": "NumPy, SVDs for each pair, 6 networks", "seconds": {name: 120 * x for name, x in spread.items()}}
    entry["ratio"] = {"median": 121.0, "low": 102.0, "high": 133.0}
    without, text = (
        similarity.lines(result_with(found))
        for found in (None, CASE | {"networks": 30, "seconds": spread, "peers": [entry]})
    )
    assert text[: len(without)] == without
    assert text[len(without) :] == [
        "",
        "svcca, such networks: time of a pair (range), times as fast as NumPy (range)",
        "ours, 30 networks                            1 ms (0.9-2)",
        "NumPy, SVDs for each pair, 6 networks      120 ms (108-240)  x 121 (102-133)",
    ]


def test_what_was_beside_numpy_is_no_case(monkeypatch):
    monkeypatch.setattr(similarity, "CASES", (CASE,))
    measured = [CASE | {"networks": N, "seconds": 0.1 * N, "bytes": None, "kept": [5, 5]} for N in (10, 20)]
    result = similarity.gather(Bench(compared=(10, 20)), [*measured, {"beside": {"networks": 30}}])
    assert len(result["cases"]) == 1 and result["beside"] == {"networks": 30}
    assert "beside" not in similarity.gather(Bench(compared=(10, 20)), measured)


def test_more_threads_are_taken_where_they_help(monkeypatch):
    monkeypatch.setattr(beside, "seconds_of", lambda run, count: run(count))
    assert beside.quicker(lambda count: 1 / count, 4) == 4
    assert beside.quicker(lambda count: count, 4) == 1
