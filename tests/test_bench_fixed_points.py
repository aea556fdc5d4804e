"""The benchmark's section on fixed points: what it measures of a small network, and how it tells it."""

from types import SimpleNamespace

from benchmarks import fixed_points

BENCH = SimpleNamespace(
    settings=SimpleNamespace(compared=(4,), cells=("vanilla", "gru"), activations=("tanh",)),
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
