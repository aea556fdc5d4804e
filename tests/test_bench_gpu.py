"""The benchmark of a GPU, run on the processor at sizes where it ends soon, so that it is known to run."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER

from benchmarks import gpu, gpu_sections
from benchmarks.gpu_report import Report
from benchmarks.gpu_sections import Settings, seconds_a_call
from fastrnn.engines.cuda import engine as cuda_engine

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")

SMALL = Settings(
    sizes=(16,),
    networks=2,
    batch=7,
    steps=3,
    checked=(16,),
    turn_seconds=0.0,
    peak_blocks=1,
    peak_rounds=10,
    trained=(16, 3, 0.1),
    peers_on_gpu=False,
    seconds=3000.0,  # no item is left out on a slow machine
)


@pytest.fixture
def on_processor(monkeypatch, tmp_path):
    """The file of results; sections run in this process."""
    monkeypatch.setattr(cuda_engine, "find_gpu", HostDevice)
    for name in ("CELLS", "PAPER_CELLS"):
        monkeypatch.setattr(gpu_sections, name, ("vanilla", "gru"))
    monkeypatch.setattr(gpu, "FULL", SMALL)
    monkeypatch.setattr(gpu, "in_a_process", lambda arguments, until: gpu.main(arguments))
    return tmp_path / "gpu.json"


def test_all_sections_run_and_are_written(on_processor, capsys):
    assert gpu.main(["--out", str(on_processor)]) == 0
    results, log = json.loads(on_processor.read_text()), on_processor.with_suffix(".log").read_text()
    assert results["failed"] == {} and results["left_out"] == []
    assert {*gpu.ENDS, "estimate"} - {"bf16x3"} <= set(results)  # no size in which that is done
    assert len(results["groups"]) == 4
    assert set(results["correct"]) == {f"trials of {task}" for task in ("flipflop", "sine", "cdi")} | set(
        results["groups"]
    )
    assert results["correct"]["trials of flipflop"] == results["correct"]["trials of sine"] == 0.0
    assert set(results["machine"]) == {"device", "compile"}
    assert {"vanilla-tanh-16", "gru-tanh-16"} == set(results["fixed_points"])
    trained = results["trained"]
    assert set(trained["vanilla"]) == set(trained["gru"]) == {"cpu", "float32"}
    ours, theirs = (trained["gru"][name]["losses"] for name in ("float32", "cpu"))
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert all(0 < group["seconds"] < 60 for group in results["groups"].values())
    seconds = sum(group["seconds"] for group in results["groups"].values())
    assert results["estimate"]["one_after_the_other"] == pytest.approx(20_000 * seconds)
    assert log == capsys.readouterr().out
    assert "checked: 7 of 7 tasks and kinds\nwrong: nothing\nfailed: nothing\nleft out: nothing\n" in log


def test_tensor_cores_are_timed_beside_float32(on_processor, capsys):
    report = Report(on_processor).begin()
    items = gpu_sections.Benchmark(cuda_engine.CUDAEngine(), report, replace(SMALL, sizes=(64,), networks=1))
    assert list(items.items("bf16x3")) == ["vanilla-tanh-64", "gru-tanh-64"]
    made = items.items("bf16x3")["vanilla-tanh-64"]()
    assert 0 < made["error"] < gpu_sections.TOLERANCE_BF16X3
    assert 0 < made["gradients"] < gpu_sections.TOLERANCE_BF16X3
    assert made["seconds"] > 0
    assert made["kernels"][0].startswith("rollout_bf16x3<")
    assert "WRONG" not in capsys.readouterr().out


def test_one_network_of_relu_may_be_off_but_not_both():
    """By an input that is nearly 0; where one quantity of either network is wrong, the kind is."""
    right = {"loss": np.ones(2), "W_in": np.ones((2, 3)), "W_rec": np.ones((2, 4))}
    for wrong, relu, tanh in (((1,), 0.0, 0.5), ((0, 1), 0.5, 0.5)):
        made = {name: array.copy() for name, array in right.items()}
        for i, name in zip(wrong, ("W_in", "W_rec"), strict=False):
            made[name][i] = 1.5
        errors = {kind: max(gpu_sections.errors_that_count(kind, made, right).values()) for kind in ("relu", "tanh")}
        assert errors == {"relu": relu, "tanh": tanh}
    made["loss"][:] = np.nan
    assert np.isnan(gpu_sections.errors_that_count("relu", made, right)["loss"])


def test_a_wrong_kind_and_a_failing_item_are_told(on_processor, monkeypatch):
    for name in ("CELLS", "PAPER_CELLS"):
        monkeypatch.setattr(gpu_sections, name, ("vanilla",))
    monkeypatch.setattr(gpu_sections, "distance", lambda *pair: 0.5)
    monkeypatch.setattr(gpu_sections.Benchmark, "trained", lambda self, cell: 1 / (cell == "gru"))
    monkeypatch.setattr(gpu, "ENDS", {"correct": 0.5, "trained": 1.0})
    assert gpu.main(["--out", str(on_processor)]) == 1
    results, log = json.loads(on_processor.read_text()), on_processor.with_suffix(".log").read_text()
    assert results["failed"] == {"trained vanilla": "ZeroDivisionError: division by zero"}
    assert results["trained"] == {"gru": 1.0}
    assert "WRONG" in log
    drawn = "trials of flipflop, trials of sine, trials of cdi"
    assert (
        f"checked: 5 of 5 tasks and kinds\nwrong: {drawn}, vanilla-tanh-16, vanilla-relu-16\nfailed: trained vanilla\n"
        in log
    )


def test_what_there_is_no_time_for_is_named(on_processor, monkeypatch):
    monkeypatch.setattr(gpu, "QUICK", replace(SMALL, seconds=0.0))
    assert gpu.main(["--quick", "--out", str(on_processor)]) == 1
    left = json.loads(on_processor.read_text())["left_out"]
    assert {name.split()[0] for name in left} == set(gpu.ENDS) - {"bf16x3"}


def test_without_a_gpu_it_says_so_and_ends(monkeypatch, tmp_path, capfd):
    """The program itself, in processes of its own."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    hidden = tmp_path / "hidden" / "cupy.py"
    hidden.parent.mkdir()
    hidden.write_text("raise ImportError('none here')")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 1
    said, _ = capfd.readouterr()
    assert said.startswith("There is no GPU to measure: device 'cuda' can't be used: CuPy is not installed (none here)")
    assert said.count("There is no GPU") == 1
    assert "CuPy is not installed" in json.loads((tmp_path / "gpu.json").read_text())["no_gpu"]


BREAKING = """
import os, sys
from cuda_host.device import HostDevice
from benchmarks import gpu, gpu_sections
from fastrnn.engines.cuda import engine

class Device(HostDevice):
    broken = False
    def synchronize(self):
        if self.broken:
            raise RuntimeError("an illegal memory access was encountered")

def check(self, cell, activation, n):
    if (cell, activation) == ("ugrnn", "tanh"):
        os._exit(7)  # as a driver may do
    if (cell, activation) == ("gru", "tanh"):
        self.device.broken = True
        raise RuntimeError("launch failed")
    assert not self.device.broken
    return 0.0

engine.find_gpu, gpu_sections.Benchmark.check, gpu.FULL = Device, check, gpu_sections.Settings(checked=(64,))
gpu_sections.Benchmark.trials = lambda self, name: 0.0
sys.exit(gpu.main(sys.argv[1:]))
"""


def test_what_breaks_costs_one_item(monkeypatch, tmp_path):
    """A process that dies, and a device that no longer works in one: the section goes on in others."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(gpu, "PROGRAM", (sys.executable, "-c", BREAKING))
    monkeypatch.setattr(gpu, "ENDS", {"correct": 1.0})
    monkeypatch.setattr(gpu, "FULL", replace(SMALL, checked=(64,)))
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 1
    results = json.loads((tmp_path / "gpu.json").read_text())
    others = ["vanilla-tanh", "vanilla-relu", "ugrnn-relu", "gru-relu", "lstm-tanh", "lstm-relu"]
    others += ["leaky-tanh", "leaky-relu", "current-tanh", "current-relu"]
    assert results["correct"] == {f"trials of {task}": 0.0 for task in gpu.TASKS} | {
        f"{kind}-64": 0.0 for kind in others
    }
    assert results["failed"] == {
        "correct ugrnn-tanh-64": "its process ended with code 7",
        "correct gru-tanh-64": "RuntimeError: launch failed",
    }


def test_what_does_not_end_is_killed(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "PROGRAM", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(gpu, "GRACE", 0.1)
    start = time.monotonic()
    assert gpu.in_a_process([], time.time() + 0.1) is None
    assert time.monotonic() - start < 10

    def hang(section, until):
        report.results["running"] = [section, "gru-tanh-64"]
        report.save()

    report = Report(tmp_path / "gpu.json").begin()
    assert gpu.run_section(report, "correct", time.time(), hang) is None
    assert report.results["failed"] == {"correct gru-tanh-64": "killed, it did not end in time"}
    assert report.results["left_out"] == ["correct items behind that"]


@pytest.mark.parametrize(
    ("code", "why"), [(None, "killed, it did not end in time"), (2, "its process ended with code 2")]
)
def test_a_section_that_can_not_begin(tmp_path, code, why):
    report = Report(tmp_path / "gpu.json").begin()
    assert gpu.run_section(report, "groups", time.time(), lambda section, until: code) == code
    assert report.results["failed"] == {"groups as a whole": why}


def test_time_is_measured_over_as_many_calls_as_it_takes():
    calls = []
    took = seconds_a_call(HostDevice(), lambda: calls.append(1), 1e-3)
    assert len(calls) > 10
    assert 0 < took < 1e-3


def test_the_estimate_counts_what_was_timed(tmp_path):
    """Tensor cores for both activations, once all sizes and cells were timed."""
    report, settings = Report(tmp_path / "gpu.json").begin(), replace(SMALL, sizes=(64,))
    report.results["groups"] = {f"{i}": {"seconds": 0.5} for i in range(8)}
    report.results["bf16x3"] = {f"{i}": {"seconds": 0.25} for i in range(3)}
    for expected in (None, 2 * 20_000 * 4 * 0.25):
        gpu.estimate(report, settings)
        assert report.results["estimate"]["one_after_the_other"] == 20_000 * 8 * 0.5
        assert report.results["estimate"].get("bf16x3") == expected
        report.results["bf16x3"]["3"] = {"seconds": 0.25}
