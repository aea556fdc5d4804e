"""The benchmark of similarity: what it times, and what it makes of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import similarity
from benchmarks.settings import Settings, quick


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
    (step,) = similarity.steps(Bench(compared=(6,)))
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
    assert len(similarity.steps(Bench(compared=(2, 3)))) == 2 * len(similarity.CASES)
    assert Settings().compared
