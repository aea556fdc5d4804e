"""The benchmarks: what they count, how they take turns, what they say; the peers compute what we compute."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import children, limit, memory, ours, peak, picture, rounds, scaling, startup, suite, table, training
from benchmarks.children import environment
from benchmarks.peers import all_peers, installed_peers
from benchmarks.peers import peer as peer_module
from benchmarks.peers.workers import Workers
from benchmarks.section import Section, Step
from benchmarks.settings import Settings, choose, quick
from benchmarks.work import Work, matrix_flops
from fastrnn import engines
from fastrnn.cells import CELLS, PAPER_CELLS
from fastrnn.cli import app
from fastrnn.engines.cpu.bf16x3 import why_not
from fastrnn.errors import RunError, UsageError
from fastrnn.progress import Progress
from fastrnn.storage import write_json
from fastrnn.tasks import get_task

ROOT = Path(__file__).resolve().parents[1]
PEERS = {peer.name: peer for peer in installed_peers()}
SMALL = quick(cells=("vanilla", "gru"), sizes=(5, 8), batch=4, threads=1, peers=False)
SMALL = replace(SMALL, rounds=2, turn_seconds=1e-3, products=3, scaling=(("N", (1, 2)), ("T", (1, 3))))


def small_bench(settings=SMALL, peers=()):
    return SimpleNamespace(
        settings=settings,
        engine=engines.get("cpu", 1),
        product=peak.MatrixProduct(1, size=16),
        limit=limit.MultiplyAdds(1, 1e-4),
        peers=tuple(peers),
        bf16x3=None,
    )


def small_work(cell="gru", activation="tanh", n=5, batch=3, steps=7):
    return Work(get_task("flipflop", steps=steps), cell, activation, n, batch)


@pytest.fixture(scope="module")
def results():
    """A run without peers and processes, everything small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "MatrixProduct", lambda threads: peak.MatrixProduct(threads, size=64))
        patch.setattr(suite, "MultiplyAdds", lambda threads: limit.MultiplyAdds(threads, 1e-3))
        return suite.run(SMALL, sections=(training.SECTION, scaling.SECTION))


# ---------------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("cell", CELLS)
def test_flops_are_those_of_all_matrix_products(cell):
    G, n, D, K, T, B = CELLS[cell].gates, 7, 3, 2, 5, 4
    recurrent, inputs, outputs = ((B, n, G * n), (B, D, G * n), (B, n, K))  # a product's rows, depth, columns
    forward = [recurrent, inputs, outputs]
    weights = [recurrent, inputs, outputs]  # the same three numbers, in another order
    states = [recurrent, outputs]
    assert matrix_flops(G, n, D, K, T, B) == T * sum(2 * np.prod(sizes) for sizes in forward + weights + states)


def test_work_counts_its_task_and_draws_the_same_every_time():
    work = Work(get_task("cdi"), "lstm", "tanh", 8, 16)
    assert work.flops == matrix_flops(4, 8, D=4, K=1, T=30, B=16)
    first, second = work.networks(2), work.networks(2)
    assert np.array_equal(first.parameters, second.parameters)
    assert not np.array_equal(first.parameters[0], first.parameters[1])
    assert all(np.array_equal(a, b) for a, b in zip(work.trials(first), work.trials(second), strict=True))


@pytest.mark.parametrize("task", ["flipflop", "cdi", "sine"])
def test_no_network_diverges_while_it_is_timed(task):
    for activation in ("tanh", "relu"):
        work = Work(get_task(task), "lstm", activation, 64, 8)
        ours.Ours(engines.get("cpu", 1), work, 8)(2)


def test_a_network_that_diverges_is_never_timed():
    training_ = ours.Ours(engines.get("cpu", 1), small_work(), 2)
    training_._stack.parameters[1] = 1e30
    with pytest.raises(RunError, match="flipflop gru-tanh-5 diverged"):
        training_(1)


# ------------------------------------------------------------------------------------------------------------- turns


def test_contenders_take_turns_and_begin_in_turn():
    order = []

    def contender(name, values):
        def take(r):
            order.append((r, name))
            return [10.0 * r + value for value in values]

        return take

    rests = []  # before each turn
    rates = rounds.interleave(
        {"a": contender("a", [1]), "b": contender("b", [2, 3])}, 3, rest=lambda: rests.append(len(order))
    )
    assert rates == {"a": [1, 11, 21], "b": [2, 3, 12, 13, 22, 23]}
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
    assert rests == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now.seconds)
    return now


def test_iterations_fill_the_turn(clock, monkeypatch):
    monkeypatch.setattr(rounds, "settle", lambda: None)
    calls = []

    def run(iterations):
        calls.append(iterations)
        clock.seconds += 0.01 * iterations + {1: 5.0, 2: 0.05}.get(len(calls), 0.0)  # compiles, then is slow once

    assert rounds.iterations_for(run, 0.3) == 30
    assert calls == [1, 1, 1, 1, 6]
    assert rounds.iterations_for(run, 0.001) == 1


def test_a_turn_gives_work_over_time(clock):
    def run(iterations):
        clock.seconds += 0.5 * iterations

    assert rounds.turn(run, iterations=4, work=10.0)(0) == [20.0]


def test_ratios_are_taken_round_by_round():
    # the machine is half as fast in the second round: the ratio does not see it
    ratio = rounds.ratios([8.0, 4.0, 8.0], [2.0, 1.0, 1.0])
    assert ratio == {"median": 4.0, "low": 4.0, "high": 8.0, "rounds": [4.0, 4.0, 8.0]}
    with pytest.raises(ValueError, match="shorter"):
        rounds.ratios([1.0, 2.0], [1.0])


def test_measurements_are_spread_over_the_rounds():
    count = itertools.count()
    take = rounds.spread_over(3, lambda: next(count), 8)
    assert [take(r) for r in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_the_rate_of_the_product_is_its_flops_over_its_time(monkeypatch):
    product = peak.MatrixProduct(1, size=16)
    assert product.rate() > 0
    monkeypatch.setattr(peak, "seconds_of", lambda *_: 0.5)
    assert product.rate() == 2 * 16**3 / 0.5


def test_every_multiply_add_of_the_limit_is_done():
    x = np.random.default_rng(0).random((limit.CHAINS, limit.LANES), np.float32)
    expected = x.copy()
    for _ in range(5):
        expected = np.float32(limit.FACTOR) * expected + np.float32(limit.TERM)
    limit.advance_chains(x, 5)
    assert np.array_equal(x, expected)  # FACTOR is a power of two: fused or not, rounded once
    limit.advance_chains(x, 1000)
    assert (x == limit.TERM / (1 - limit.FACTOR)).all()


def test_the_rate_of_the_limit_is_the_flops_of_all_threads_over_their_time(monkeypatch):
    asked = []
    monkeypatch.setattr(limit, "advance_chains", lambda x, steps: asked.append((x.shape, steps)))
    monkeypatch.setattr(limit, "iterations_for", lambda run, seconds: round(1000 * seconds))
    measured = limit.MultiplyAdds(3, 0.007)
    assert measured.rate() > 0
    assert asked == [((limit.CHAINS, limit.LANES), 7 * limit.STEPS)] * 6  # a turn that is not timed, and one that is
    monkeypatch.setattr(limit, "seconds_of", lambda *_: 0.5)
    assert measured.rate() == 2 * 3 * limit.CHAINS * limit.LANES * 7 * limit.STEPS / 0.5


# ----------------------------------------------------------------------------------------------------------- results


def test_every_kind_is_measured(results):
    kinds = results["training"]["kinds"]
    asked = [(c, a, n) for c in SMALL.cells for a in SMALL.activations for n in SMALL.sizes]
    assert [(kind["cell"], kind["activation"], kind["n"]) for kind in kinds] == asked
    for kind in kinds:
        assert len(kind["gflops"]["rounds"]) == SMALL.rounds and len(kind["peak"]["rounds"]) == SMALL.products
        assert len(kind["limit"]["rounds"]) == SMALL.products
        for share, whole in (("share", "peak"), ("share_of_limit", "limit")):
            assert kind[share] == pytest.approx(kind["gflops"]["median"] / kind[whole]["high"], rel=1e-3)
        rate = 1e9 * kind["gflops"]["median"] / kind["flops"]
        assert kind["network_iterations_per_second"] == pytest.approx(rate, rel=1e-3)
        assert (training.BF16X3 in kind) == (not why_not())
        if training.BF16X3 in kind:
            both = [np.array(made["gflops"]["rounds"]) for made in (kind[training.BF16X3], kind)]
            np.testing.assert_allclose(kind[training.BF16X3]["ratio"]["rounds"], both[0] / both[1], rtol=1e-3)
    for name in ("peak", "limit"):
        lowest, highest = min(kind[name]["low"] for kind in kinds), max(kind[name]["high"] for kind in kinds)
        overall = results["training"][name]
        assert set(overall) == {"median", "low", "high"} and (overall["low"], overall["high"]) == (lowest, highest)


def test_results_say_where_and_how_they_were_made(results):
    machine = results["machine"]
    assert machine["threads"] == 1 <= machine["processors"]
    assert machine["vector_bits"] >= 128 and "numpy" in machine["versions"]
    assert results["settings"]["rounds"] == SMALL.rounds
    assert len(results["date"]) == 10


def test_growth_is_told_for_each_value(results):
    by_axis = {(g["cell"], g["axis"]): g for g in results["scaling"]["growth"]}
    assert set(by_axis) == {("vanilla", "N"), ("vanilla", "T")}
    assert [point["networks"] for point in by_axis["vanilla", "N"]["points"]] == [1, 2]
    for growth in by_axis.values():
        for point in growth["points"]:
            fastest = 1e6 * point["milliseconds"]["low"] * point["gflops"]["high"]
            assert fastest == pytest.approx(point["flops"], rel=1e-3)
    assert "deviation" in by_axis["vanilla", "N"] and "deviation" not in by_axis["vanilla", "T"]
    steps = [point["flops"] for point in by_axis["vanilla", "T"]["points"]]
    assert steps[1] == 3 * steps[0]


def test_results_are_the_same_when_read_again(results, tmp_path):
    write_json(tmp_path / "r.json", results)
    assert suite.load(tmp_path / "r.json") == results


def test_files_that_hold_no_results_are_refused(tmp_path):
    with pytest.raises(UsageError, match="could not read"):
        suite.load(tmp_path / "none.json")
    for text, match in (("{", "no JSON file"), ("[]", "holds no results"), ('{"schema": 99}', "holds no results")):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(UsageError, match=match):
            suite.load(tmp_path / "r.json")


@pytest.mark.parametrize(
    "change", [{"fastrnn": None}, {"machine": {}}, {"seconds": "x"}, {"training": {}}, {"training": None}]
)
def test_results_that_lack_a_part_are_refused(results, change, tmp_path):
    broken = {name: part for name, part in (results | change).items() if part is not None}
    write_json(tmp_path / "r.json", broken)
    with pytest.raises(UsageError, match=r"r\.json' lacks parts of what fastrnn bench writes .*; measure again"):
        suite.load(tmp_path / "r.json")


def test_a_section_that_fails_does_not_take_the_others_along(results, tmp_path):
    def fail():
        raise OSError("no such place\nat all")

    def section(name, measure):
        return Section(
            name, lambda bench: [Step(name, 1.0, measure)], lambda bench, made: made[0], lambda made: ["fine"]
        )

    sections = (section("one", lambda: {"a": 1}), section("two", fail), section("three", lambda: {"b": 2}))
    failed = {"failed": "OSError: no such place"}
    measured = suite.measure(small_bench(), sections, Progress(show=False))
    assert measured == {"one": {"a": 1}, "two": failed, "three": {"b": 2}}
    write_json(tmp_path / "r.json", results | {"memory": failed})
    assert "\n\nmemory failed: OSError: no such place" in suite.report(suite.load(tmp_path / "r.json"))
    with pytest.raises(OSError, match="no such place"):
        suite.measure(small_bench(), sections[1:], Progress(show=False))


def test_a_worker_may_print():
    workers = Workers("benchmarks.peers.workers", "a library", 0)
    command = [sys.executable, "-c", "print('a word'); print('ready')"]
    workers._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        workers.all_do(1)
        with pytest.raises(RunError, match="a process with a library ended"):
            workers.all_do(1)
    finally:
        workers.close()


def test_other_processes_take_no_modules_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise ImportError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert children.run_python("-c", "import benchmarks; print('ours')") == "ours\n"


def whole_population(task="flipflop", rate=100.0):
    """Kinds as a full run has them, each with the same rate."""
    kinds = []
    for cell in PAPER_CELLS:
        for activation in ("tanh", "relu"):
            for n in (64, 128, 256):
                kind = {"task": task, "cell": cell, "activation": activation, "n": n, "batch": 64}
                kinds.append(kind | {"network_iterations_per_second": rate})
    return kinds


def test_time_of_the_papers_population():
    kinds = whole_population()
    assert training.population_seconds("flipflop", kinds) == {
        "networks": 2880,
        "iterations": 20_000,
        "seconds": 2880 * 20_000 / 100.0,
    }
    kinds[0]["network_iterations_per_second"] = 50.0  # one of 24 kinds takes twice as long
    slower = training.population_seconds("flipflop", kinds)["seconds"]
    assert slower == pytest.approx(2880 * 20_000 / 100.0 * 25 / 24, rel=1e-4)
    # the paper leaves LSTMs with relu out on the sine task
    assert training.population_seconds("sine", whole_population("sine"))["networks"] == 2520
    assert training.population_seconds("flipflop", kinds[1:]) is None
    assert training.population_seconds("flipflop", [kind | {"batch": 8} for kind in kinds]) is None


# ------------------------------------------------------------------------------------------------------------- peers


def cells_of(names):
    """Each peer with the cells and activations that it shares with us."""
    return [
        (name, cell, activation)
        for name in names
        if name in PEERS
        for cell in CELLS
        for activation in ("tanh", "relu")
        if PEERS[name].supports(cell, activation) and PEERS[name].same_cell(cell)
    ]


@pytest.mark.parametrize(("name", "cell", "activation"), cells_of(["jax", "torch-batched", "torch-modules"]))
def test_peers_compute_our_losses_and_gradients(name, cell, activation):
    PEERS[name].use(1)
    errors = peer_module.largest_errors(PEERS[name], engines.get("cpu", 1), small_work(cell, activation))
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("cell", ["ugrnn", "lstm"])
@pytest.mark.parametrize("name", [name for name in ("jax", "torch-batched") if name in PEERS])
def test_batched_peers_make_our_update(name, cell):
    """The first velocity is the clipped gradient: L2, clip and momentum act on the same trials."""
    work = small_work(cell)
    networks = work.networks(3)
    optimizer = work.optimizer(networks)
    engines.get("cpu", 1).advance(networks, optimizer, work.task, 1, work.batch)
    PEERS[name].use(1)
    trainer = PEERS[name].trainer(work, 3)
    trainer(1)
    velocity = trainer._velocity.values() if name == "jax" else trainer._velocity
    by_name = dict(zip(trainer._parameters, velocity, strict=True))
    for parameter, ours_ in networks.named(optimizer.velocity).items():
        assert np.asarray(by_name[parameter]) == pytest.approx(ours_, rel=1e-4, abs=1e-6)
    trainer.close()


@pytest.mark.skipif("torch-modules" not in PEERS, reason="PyTorch is not installed")
def test_modules_are_trained_and_their_gru_is_another_cell():
    peer = PEERS["torch-modules"]
    assert not peer.supports("ugrnn", "tanh") and not peer.supports("lstm", "relu")
    assert peer.supports("gru", "tanh") and not peer.same_cell("gru")
    trainer = peer.trainer(small_work("lstm"), 4)
    before = trainer._network.loss(*trainer._trials).item()
    trainer(50)
    assert trainer.networks == 1 and trainer._network.loss(*trainer._trials).item() < before


@pytest.mark.parametrize("name", [name for name in ("jax-processes", "torch-processes") if name in PEERS])
def test_processes_train_and_their_end_is_told(name):
    peer = PEERS[name]
    peer.use(1)
    try:
        trainer = peer.trainer(small_work("vanilla"), 4)
        trainer(2)
        assert trainer.networks == 1
        with pytest.raises(RunError, match=f"a process with {peer.library_title} ended: .*unknown cell 'none'"):
            peer.trainer(small_work("none"), 4)
        peer.use(1)  # new ones after a failure
        peer.trainer(small_work("vanilla"), 4)(1)
        peer._workers._processes[0].kill()
        peer._workers._processes[0].wait()
        peer.use(1)  # and after one has ended
        peer.trainer(small_work("vanilla"), 4)(1)
    finally:
        peer.close()


WORKER = """
import os, sys
from benchmarks.peers.workers import begin_worker, serve
begin_worker(sys.argv[1:])
def make(networks, inputs, targets):
    print("on", *os.sched_getaffinity(0), end=" ")
    return lambda iterations: print(networks.cell, iterations, end=" ")
serve(make)
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system can't keep a process to a processor")
def test_a_worker_keeps_to_a_processor_and_does_as_it_is_told():
    """What it is asked for comes first on the line that says it is done."""
    work = {"task": "cdi", "settings": {}, "cell": "gru", "activation": "tanh", "n": 4, "B": 2}
    allowed = sorted(os.sched_getaffinity(0))
    for i in range(len(allowed) + 1):
        said = "".join(json.dumps(what) + "\n" for what in (work, 3, 5))
        command = [sys.executable, "-c", WORKER, str(i)]
        done = subprocess.run(command, input=said, capture_output=True, text=True, env=environment(), check=True)
        assert done.stdout == f"on {allowed[i % len(allowed)]} ready\ngru 3 ready\ngru 5 ready\n"


def test_a_worker_that_ends_without_a_word():
    workers = Workers("benchmarks.peers.workers", "a library", 1)
    try:
        workers._processes[0].kill()
        workers._processes[0].wait()
        with pytest.raises(RunError, match="a process with a library ended: no message"):
            workers.all_do(1)
    finally:
        workers.close()


class FakeTrainer(peer_module.Trainer):
    """Trains nothing, and counts."""

    def __init__(self, networks, log):
        self.networks, self._log = networks, log

    def __call__(self, iterations):
        self._log.append((self.networks, iterations))

    def close(self):
        self._log.append((self.networks, "closed"))


class FakePeer(peer_module.Peer):
    """Our own gradients, changed by a factor."""

    name, label, title, library, batched = "fake", "Fake", "A fake", "numpy", True

    def __init__(self, factor=1.0, fails=False, fails_above=np.inf):
        self.factor, self.fails, self.fails_above, self.log = factor, fails, fails_above, []

    def loss_and_gradients(self, networks, inputs, targets):
        losses, gradients = engines.get("cpu", 1).loss_and_gradients(networks, inputs, targets)
        return losses, {name: self.factor * array for name, array in gradients.items()}

    def trainer(self, work, N):
        if self.fails or N > self.fails_above:
            raise MemoryError("no room\nat all")
        return FakeTrainer(N, self.log)


def test_a_peer_takes_part():
    peer = FakePeer()
    kind = training.measure_kind(small_bench(), small_work(), [peer])
    (entry,) = kind["peers"]
    assert entry["error"] == {"loss": 0.0, "gradients": 0.0} and "failed" not in entry
    assert entry["by_networks"] == [] and entry["networks"] == 8 and peer.log[-2] == (8, entry["iterations"])
    assert len(entry["ratio"]["rounds"]) == SMALL.rounds
    for mine, theirs, ratio in zip(
        *(x["rounds"] for x in (kind["gflops"], entry["gflops"], entry["ratio"])), strict=True
    ):
        assert mine / theirs == pytest.approx(ratio, rel=1e-3)
    assert peer.log[-1] == (8, "closed")


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (FakePeer(1.001), "its loss or gradients differ from ours"),
        (FakePeer(np.nan), "its loss or gradients differ from ours"),
        (FakePeer(fails=True), "MemoryError: no room"),
    ],
)
def test_a_peer_that_fails_is_told_and_not_timed(peer, why):
    kind = training.measure_kind(small_bench(), small_work(), [peer])
    (entry,) = kind["peers"]
    assert entry["failed"] == why and "ratio" not in entry and not peer.log
    text = "\n".join(training.lines(training.gather(small_bench(), [kind])))
    assert f"! flipflop gru-tanh 5, Fake: {why}" in text


@pytest.mark.parametrize("calls", [0, 2, 4, 5])
def test_a_peer_that_fails_late_takes_nothing_else_along(monkeypatch, calls):
    """While its turns are measured, or in one of them."""

    def train(self, iterations):
        self._log.append((self.networks, iterations))
        if len(self._log) > calls:
            raise RuntimeError("gave up")

    monkeypatch.setattr(FakeTrainer, "__call__", train)
    monkeypatch.setattr(rounds, "LONGEST", 3)
    peer = FakePeer()
    kind = training.measure_kind(small_bench(), small_work(), [peer])
    (entry,) = kind["peers"]
    assert entry["failed"] == "RuntimeError: gave up" and "ratio" not in entry
    assert len(kind["gflops"]["rounds"]) == SMALL.rounds
    assert len(peer.log) == calls + 2 and peer.log[-1] == (8, "closed")


def test_turns_wait_for_threads_that_spin(monkeypatch):
    work = iter([0.0, 0.01, 0.01, 0.02, 0.02, 0.0205])  # processor time: two rests are none, then one is
    monkeypatch.setattr(rounds.time, "process_time", lambda: next(work))
    naps = []
    monkeypatch.setattr(rounds.time, "sleep", naps.append)
    rounds.settle()
    assert naps == [rounds.REST] * 3
    busy = itertools.count()
    monkeypatch.setattr(rounds.time, "process_time", lambda: float(next(busy)))
    monkeypatch.setattr(rounds, "LONGEST_REST", 0.01)
    rounds.settle()  # someone else's thread never stops: we go on all the same


def test_peers_with_many_networks_are_told_by_size():
    def kind(n, rate, *tried):
        by_networks = [{"networks": networks, "gflops": gflops} for networks, gflops in tried]
        entries = [{"label": "JAX vmap", "by_networks": by_networks}, {"label": "one at a time", "by_networks": []}]
        return {"n": n, "gflops": {"median": rate}, "peers": [*entries, {"label": "of old results"}]}

    kinds = [kind(64, 400.0, (1, 80.0), (16, 40.0), (64, 25.0)), kind(64, 300.0, (16, 60.0)), kind(256, 90.0, (4, 9.0))]
    assert training.beside_many(kinds) == ["JAX vmap of 16 or more: n = 64 5.0-16"]


def test_the_fastest_number_of_networks_is_taken(clock, monkeypatch):
    bench = SimpleNamespace(settings=replace(SMALL, peer_networks=(8, 2, 4)), engine=SimpleNamespace(threads=1))
    peer, cost = FakePeer(), {2: 4.0, 4: 4.0, 8: 12.0}  # of an iteration: 4 is best
    slow = itertools.cycle([1.0, 3.0, 1.0, 2.0, 5.0])  # something else takes the machine now and then
    monkeypatch.setattr(
        FakeTrainer,
        "__call__",
        lambda self, k: setattr(clock, "seconds", clock.seconds + 0.01 * k * cost[self.networks] * next(slow)),
    )
    best, tried = training._best_trainer(bench, small_work(), peer)
    assert best.networks == 4 and [entry["networks"] for entry in tried] == [2, 4, 8]
    rates = np.array([entry["gflops"] for entry in tried])
    np.testing.assert_allclose(rates / rates[1], [1 / 2, 1, 2 / 3], rtol=1e-3)  # of a network: 0.02, 0.01, 0.015 s
    assert peer.log == [(2, "closed"), (8, "closed")]
    best, tried = training._best_trainer(bench, small_work(), FakePeer(fails_above=2))
    assert best.networks == 2 and [entry["networks"] for entry in tried] == [2]
    with pytest.raises(MemoryError, match="no room"):
        training._best_trainer(bench, small_work(), FakePeer(fails_above=1))
    monkeypatch.setattr(training, "PEER_BYTES", 1.0)  # no more than the smallest fits
    best, tried = training._best_trainer(bench, small_work(), peer)
    assert best.networks == 2 and [entry["networks"] for entry in tried] == [2]


@pytest.mark.parametrize(
    ("settings", "kind", "timed"),
    [
        (Settings(), ("flipflop", "vanilla", "tanh", 50), True),
        (Settings(), ("flipflop", "vanilla", "relu", 64), False),
        (Settings(), ("sine", "vanilla", "tanh", 64), False),
        (Settings(peers=False), ("flipflop", "vanilla", "tanh", 64), False),
        (quick(), ("flipflop", "lstm", "tanh", 64), True),
        (quick(), ("flipflop", "lstm", "tanh", 128), False),
        (quick(), ("flipflop", "gru", "tanh", 64), False),
        (choose(True, cells=["gru"], sizes=[128]), ("flipflop", "gru", "tanh", 128), True),
        (choose(False, tasks=["cdi", "sine"]), ("cdi", "gru", "tanh", 64), True),
        (choose(False, tasks=["cdi", "sine"]), ("sine", "gru", "tanh", 64), False),
    ],
)
def test_peers_are_timed_where_the_settings_say(settings, kind, timed):
    assert settings.times_peers(*kind) is timed


def test_freed_memory_is_kept():
    code = (
        "import resource, numpy as np\n"
        "from benchmarks.allocator import keep_freed_memory\n"
        "kept = keep_freed_memory()\n"
        "faults = []\n"
        "for _ in range(3):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    np.ones(1 << 23)\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
        "print(kept, faults[-1])"
    )
    kept, faults = children.run_python("-c", code).split()
    if kept != "True":
        pytest.skip("not the GNU C library")
    assert int(faults) < 16  # 64 MB taken anew are at least 32, of huge pages


def test_a_turn_is_whole_calls_of_the_engine():
    counts = []

    class Engine:
        threads = 1

        def advance(self, networks, optimizer, task, iterations, batch):
            counts.append((len(networks), iterations))
            return np.zeros((len(networks), iterations))

    take, N, iterations = ours.contender(
        Engine(), Work(get_task("flipflop"), "vanilla", "tanh", 4, 2), 1e-3, 3, at_once=8
    )
    assert N == 3 and iterations % 8 == 0
    counts.clear()
    assert len(take(0)) == 1
    assert counts == [(3, 8)] * (iterations // 8)


def test_without_peers_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(suite, "installed_peers", lambda: [])
    said = []
    suite.make_bench(replace(SMALL, peers=True), SimpleNamespace(say=said.append))
    assert "fastrnn[bench]" in said[0]


# ------------------------------------------------------------------------------------- processes, memory and start-up


def test_a_process_that_fails_is_told():
    assert children.run_python("-c", "import fastrnn; print(fastrnn.__name__)") == "fastrnn\n"
    with pytest.raises(RunError, match="code 3: why it ended"):
        children.run_python("-c", "import sys; print('why it ended', file=sys.stderr); sys.exit(3)")


def test_memory_in_flight_is_what_the_engine_states():
    if not memory.restart_peak():
        pytest.skip("this system does not tell a process's peak")
    bench = small_bench(replace(SMALL, cells=("lstm",), sizes=(256,), batch=64, memory=True))
    (step,) = memory.steps(bench)
    result = memory.gather(bench, [step.measure()])
    assert 0.95 < result["kinds"][0]["ratio"] < 1.05
    assert "lstm-tanh" in memory.lines(result)[1]


def test_memory_is_not_measured_in_a_quick_run():
    assert memory.steps(small_bench()) == [] and "quick run" in memory.lines({"kinds": []})[0]


def test_memory_where_the_system_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.steps(small_bench(replace(SMALL, memory=True))) == []
    assert "not measured" in memory.lines(memory.gather(small_bench(), []))[0]


def test_starts_are_timed_in_processes_of_their_own():
    bench = small_bench(replace(SMALL, cold=True))
    steps = {step.label: step for step in startup.steps(bench)}
    assert set(steps) == set(startup.WORDS.values())
    chosen = [steps[startup.WORDS[name]].measure() for name in ("python", "help")]
    result = startup.gather(bench, chosen)
    assert 0 < result["python"]["median"] < result["help"]["median"]
    assert len(startup.lines(result)) == 3


# ------------------------------------------------------------------------------------------- words, picture and table


@pytest.fixture(scope="module")
def compared():
    """Results with two peers, made up."""
    kinds = []
    for cell in ("vanilla", "gru"):
        for activation in ("tanh", "relu"):
            for n in (64, 256):
                spread = rounds.spread([100.0 + n, 110.0 + n])
                kind = {"task": "flipflop", "cell": cell, "activation": activation, "n": n, "T": 100, "batch": 64}
                kind |= {"gflops": spread, "peak": rounds.spread([400.0]), "share": 0.5, "peers": []}
                kind |= {"limit": rounds.spread([780.0, 800.0]), "share_of_limit": 0.25}
                kind["network_iterations_per_second"] = 12.0
                if activation == "tanh":
                    ratio = {"ratio": rounds.spread([2.0, 4.0]), "gflops": spread}
                    names = {"peer": "a", "label": "A", "title": "Library A"}
                    kind["peers"].append(names | {"same_cell": True} | ratio)
                    names = {"peer": "b", "label": "B", "title": "Library B"}
                    other = {"failed": "broken"} if n == 256 else ratio
                    kind["peers"].append(names | {"same_cell": cell != "gru"} | other)
                kinds.append(kind)
    bench = SimpleNamespace(settings=SimpleNamespace(tasks=("flipflop",)))
    machine = {"processor": "P", "architecture": "a", "vector_bits": 256, "fma": False, "threads": 2, "processors": 4}
    head = {"schema": 1, "fastrnn": "1.0", "date": "2026-01-02", "seconds": 60}
    return head | {"machine": machine | {"versions": {"numpy": "2"}}, "training": training.gather(bench, kinds)}


def without_limit(results):
    """As they were saved before the limit was measured."""
    training = {name: value for name, value in results["training"].items() if name != "limit"}
    new = ("limit", "share_of_limit")
    training["kinds"] = [{name: kind[name] for name in kind if name not in new} for kind in training["kinds"]]
    return results | {"training": training}


def faster(results, times):
    """As on a machine so many times as fast, but for the ratios."""

    def scaled(rate):
        return {name: times * np.array(value) for name, value in rate.items()}

    training = {name: scaled(results["training"][name]) for name in ("peak", "limit")}
    training["kinds"] = [
        kind
        | {name: scaled(kind[name]) for name in ("gflops", "peak", "limit")}
        | {"network_iterations_per_second": times * kind["network_iterations_per_second"]}
        for kind in results["training"]["kinds"]
    ]
    return results | {"training": results["training"] | training}


def test_the_report_fits_a_terminal(results, compared):
    for shown in (results, compared, without_limit(compared), faster(compared, 9), faster(compared, 90)):
        assert [line for line in suite.report(shown).splitlines() if len(line) > 80] == []
    assert "linear in N within" in suite.report(results)


def test_the_report_tells_shares_of_the_peak_and_of_the_limit(compared):
    said = training.lines(compared["training"])
    assert said[:2] == [
        "Matrix peak (NumPy, 2048 x 2048 float32): 400 GFLOP/s, 400 to 400",
        "Limit (multiply-adds in registers, float32): 790 GFLOP/s, 780 to 800",
    ]
    assert "GFLOP/s (range), of peak/limit, network" in said[4]
    row = "169 (164-174)  0.50/0.25      12"
    assert said[6] == f"vanilla   64  {row}  {row}"


def test_saved_results_without_the_limit_are_told(compared, tmp_path):
    old = without_limit(compared)
    said = training.lines(old["training"])
    assert "imit" not in "".join(said) and "share of peak" in said[3]
    assert said[5].startswith("vanilla   64  169 (164-174)  0.50      12  ")
    made = table.table(old, "p.png")
    assert "| vanilla | 64 | 169 | 0.50 | 3.0 (2.0-4.0) |" in made and "imit" not in made
    lines = [len(picture.draw(shown).axes[0].lines) for shown in (old, compared)]
    assert lines[1] == lines[0] + 1


def test_columns_that_do_not_fit_side_by_side_stand_below(compared):
    kinds = compared["training"]["kinds"][:1] + compared["training"]["kinds"][2:3]
    wide = training._by_activation(kinds, lambda kind: kind["activation"] + 29 * "x")
    assert wide == [
        " " * 14 + "tanh",
        "vanilla   64  tanh" + 29 * "x",
        " " * 14 + "relu",
        "vanilla   64  relu" + 29 * "x",
    ]
    assert len(training._by_activation(kinds, lambda kind: kind["activation"])) == 2


def test_the_report_tells_ratios_and_what_they_lack(compared):
    text = suite.report(compared)
    assert "vanilla-tanh  64  3.0 (2.0-4.0)   3.0 (2.0-4.0)" in text
    assert "gru-tanh      64  3.0 (2.0-4.0)   3.0* (2.0-4.0)" in text
    assert "gru-tanh     256  3.0 (2.0-4.0)   !" in text
    assert "* another cell" in text and "! flipflop gru-tanh 256, B: broken" in text
    assert "P (a, 256-bit vectors, no FMA), 2 threads of 4" in text


def test_more_peers_than_fit_side_by_side_stand_below(compared):
    first = compared["training"]["kinds"][0]
    entries = [first["peers"][0] | {"peer": name, "label": f"Library {name}"} for name in "abcde"]
    lines = training._peer_table("flipflop: others", [first | {"peers": entries}])
    assert [line.split()[1::2] for line in lines if "Library" in line] == [["a", "b", "c"], ["d", "e"]]
    assert sum(line.startswith("vanilla-tanh  64  3.0 (2.0-4.0)") for line in lines) == 2
    assert max(map(len, lines)) <= 80


def test_the_picture_is_drawn_with_and_without_peers(results, compared, tmp_path):
    for name, of in (("a.png", results), ("b.svg", compared)):
        picture.save(of, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    drawn = picture.draw(compared)
    above, below = drawn.axes
    assert len(below.patches) == 6  # two of the eight bars failed
    heights = {round(bar.get_y() + bar.get_height(), 6) for bar in below.patches}
    assert heights == {3.0}
    assert len(picture.draw(results).axes) == 1
    assert above.get_ylim()[0] == 0


def test_the_table_has_a_row_a_kind_and_stands_between_its_markers(compared):
    made = table.table(compared, "some/picture.png")
    rows = [line for line in made.splitlines() if line.startswith("| vanilla") or line.startswith("| gru")]
    assert rows[0] == "| vanilla | 64 | 169 | 0.50 | 0.25 | 3.0 (2.0-4.0) | 3.0 (2.0-4.0) |"
    assert rows[2] == r"| gru | 64 | 169 | 0.50 | 0.25 | 3.0 (2.0-4.0) | 3.0\* (2.0-4.0) |"
    assert len(rows) == 4 and "some/picture.png" in made
    assert "| flipflop | 8 | 0.50, 0.50, 0.50 | 0.25, 0.25, 0.25 |" in made
    assert "the peak: 400 GFLOP/s at best, 400 as a median. " in made
    assert "the limit: 800 GFLOP/s at best, 790 as a median. " in made
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    once = table.insert(text, made)
    assert "old" not in once and once.startswith("before\n") and once.endswith("\nafter\n")
    assert table.insert(once, made) == once
    for broken in ("no markers", f"{table.END}{table.BEGIN}", text + text):
        with pytest.raises(UsageError, match="must each hold these two lines"):
            table.insert(broken, made)


def test_speeds_in_bf16x3_are_told(compared):
    kinds = [kind | {"bf16x3": {"ratio": rounds.spread([1.5, 2.5]), "gflops": rounds.spread([300.0])}}
             for kind in whole_population() + compared["training"]["kinds"][:1]]  # fmt: skip
    time = training.population_seconds("flipflop", kinds[:24])
    assert time["seconds_bf16x3"] == time["seconds"] / 2
    first = kinds[-1] | {"peers": [kinds[-1]["peers"][0] | {"gflops": rounds.spread([50.0, 100.0])}]}
    first["bf16x3"]["gflops"] = rounds.spread([300.0, 200.0])
    (line,) = [line for line in training._bf16x3_table("flipflop", [first]) if line.startswith("vanilla")]
    assert line == "vanilla   64  250 (200-300)   2.0 (1.5-2.5)"
    result = compared["training"] | {"kinds": [first], "population": {"flipflop": time}}
    made = table.table(compared | {"training": result}, "p.png")
    assert "| vanilla | 64 | 169 | 0.50 | 0.25 | 3.0 (2.0-4.0) |" in made
    assert "| vanilla | 64 | 250 | 2.0 (1.5-2.5) | 4.0 (2.0-6.0) |" in made.split("in bf16x3:")[1]
    assert "| the paper's population | in bf16x3 |" in made and "h |\n" in made
    assert "in bf16x3" in "\n".join(training.lines(result)) and "in bf16x3" not in table.table(compared, "p.png")


def test_the_table_of_results_without_peers(results):
    made = table.table(results, "p.png")
    assert "how many times" not in made and "| vanilla | 5 |" in made


def test_the_newest_results_are_written_into_the_readme_and_the_others_beside_it(compared, tmp_path):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    with pytest.raises(UsageError, match="there are no results"):
        table.newest(folder)
    write_json(folder / "a.json", compared | {"date": "2026-01-03"})
    write_json(folder / "b.json", compared)
    assert [path.name for path in table.newest(folder)] == ["a.json"]
    other = compared | {"date": "2026-01-04", "machine": compared["machine"] | {"architecture": "z"}}
    write_json(folder / "c.json", other)
    assert [path.name for path in table.newest(folder)] == ["c.json", "a.json"]
    first = compared["training"]["kinds"][0]
    first = first | {"bf16x3": {"ratio": rounds.spread([1.5, 2.5]), "gflops": rounds.spread([300.0, 200.0])}}
    write_json(folder / "d.json", compared | {"training": compared["training"] | {"kinds": [first]}})
    assert [path.name for path in table.newest(folder)] == ["c.json", "a.json", "d.json"]
    readme, others = tmp_path / "README.md", tmp_path / "docs" / "speed.md"
    others.parent.mkdir()
    for page in (readme, others):
        page.write_text(f"{table.BEGIN}\n{table.END}\n")
    table.main([str(folder / "a.json")], tmp_path)
    assert "2026-01-03" in readme.read_text() and "(benchmarks/results/a.png)" in readme.read_text()
    assert "2026" not in others.read_text()
    assert (folder / "a.png").is_file() and not (folder / "c.png").exists()
    table.main([str(folder / name) for name in ("c.json", "a.json", "b.json")], tmp_path)
    assert "2026-01-04" in readme.read_text() and "P (z, 256-bit vectors" in readme.read_text()
    assert "2026-01-03" not in readme.read_text() and "2026-01-04" not in others.read_text()
    assert others.read_text().index("2026-01-03") < others.read_text().index("2026-01-02")
    assert "(../benchmarks/results/a.png)" in others.read_text() and (folder / "b.png").is_file()
    before = readme.read_text()
    others.write_text("no markers")
    with pytest.raises(UsageError, match=r"README.md and docs/speed.md must each hold these two lines"):
        table.main([str(folder / "a.json")], tmp_path)
    assert readme.read_text() == before
    write_json(tmp_path / "elsewhere.json", compared)
    with pytest.raises(UsageError, match=r"results must lie under '.*', where the README is; they are '.*elsewhere"):
        table.main([str(tmp_path / "elsewhere.json")], folder)


def test_the_pages_tell_the_newest_results():
    there = any((table.HERE / "results").glob("*.json"))
    paths = table.newest() if there else []
    made = table.pages(paths, ROOT)
    assert set(made) == {ROOT / "README.md", ROOT / "docs" / "speed.md"}
    for page, text in made.items():
        assert not there or text == page.read_text()
    assert all(path.with_suffix(".png").is_file() for path in paths)


# ---------------------------------------------------------------------------------------------------------- settings


def test_settings_are_chosen_and_checked():
    assert choose(True, cells=["gru"], sizes=None) == quick(cells=("gru",), peer_cells=None)
    assert choose(False, threads=3) == Settings(threads=3)
    for given, match in (
        ({"tasks": ("flipflip",)}, "did you mean 'flipflop'"),
        ({"cells": ("cell",)}, "unknown cell 'cell'"),
        ({"activations": ("sigmoid",)}, "unknown activation"),
        ({"cells": ()}, "cells must name at least one"),
        ({"sizes": (8, 8)}, "each once"),
        ({"sizes": (0,)}, "sizes must be a positive whole number"),
        ({"scaling": (("B", (0,)),)}, "B must be a positive whole number"),
        ({"peer_networks": (-1,)}, "networks of a peer must be"),
        ({"batch": 0}, "batch must be"),
        ({"threads": 0}, "threads must be"),
        ({"turn_seconds": 0.0}, "turn_seconds must be greater than 0"),
    ):
        with pytest.raises(UsageError, match=match):
            Settings(**given)


def test_a_quick_run_is_planned_to_take_less_than_a_minute():
    """By the sections' own guesses, with every peer and a matrix unit."""
    bench = small_bench(quick(), all_peers())
    bench.engine, bench.bf16x3 = SimpleNamespace(threads=2), object()
    planned = {section.name: sum(step.seconds for step in section.steps(bench)) for section in suite.SECTIONS}
    assert 0 < sum(planned.values()) < 55 and planned["memory"] == planned["similarity"] == planned["dsa"] == 0


def test_an_interrupted_run_says_so(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt, match="leaves no results"):
        suite.run(SMALL)


# ----------------------------------------------------------------------------------------------- on the command line


def call(*arguments, code=0):
    """stdout and stderr of `fastrnn bench` with these arguments, which must end with `code`."""
    done = CliRunner().invoke(app, ["bench", *map(str, arguments)], prog_name="fastrnn")
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def test_the_command_measures_says_saves_and_draws(results, monkeypatch, tmp_path):
    asked = []

    def run(settings, progress):
        asked.append(settings)
        return results

    monkeypatch.setattr(suite, "run", run)
    out, plot = tmp_path / "r.json", tmp_path / "p.svg"
    options = ["--quick", "--cells", "gru,lstm", "--sizes", "8", "--threads", "1", "--no-peers", "--tasks", "cdi"]
    said, _ = call(*options, "--out", out, "--plot", plot)
    chosen = {"cells": ("gru", "lstm"), "sizes": (8,), "threads": 1, "peers": False, "tasks": ("cdi",)}
    assert asked == [quick(**chosen, peer_cells=None, peer_sizes=None, peer_tasks=("cdi",))]
    assert said == suite.report(suite.load(out)) + "\n"
    assert plot.read_text().startswith("<?xml")
    said, _ = call("--results", out, "--json")
    assert json.loads(said) == suite.load(out)
    call("--full")
    assert asked[-1] == Settings()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--tasks", "flipflip"], "flipflop"),
        (["--cells", "cell"], "vanilla, ugrnn, gru, lstm"),
        (["--sizes", "big"], "whole numbers"),
        (["--threads", "0"], "threads must be"),
        (["--threads", "100000"], "threads must be at most"),
        (["--plot", "a.gif"], ".png or .svg"),
        (["--plot", "nowhere/a.png"], "there is no folder"),
        (["--out", "nowhere/a.json"], "there is no folder"),
        (["--out", "a.txt"], ".json"),
        (["--results", "none.json"], "could not read"),
        (["--results", "none.json", "--sizes", "8"], "leave out the options that say what to measure"),
        (["--results", "none.json", "--quick"], "leave out the options that say what to measure"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(options, match):
    _, said = call(*options, code=2)
    assert match in said and said.startswith("fastrnn: error:")


def test_the_table_as_a_command_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "benchmarks.table", str(tmp_path / "none.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: could not read")
