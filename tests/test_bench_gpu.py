"""The benchmark of a GPU, run on the processor at sizes where it ends soon, so that it is known to run."""

import json
from dataclasses import replace

import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER

from benchmarks import gpu
from benchmarks.gpu import Settings, seconds_of
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
    seconds=300.0,
)
SECTIONS = ["machine", "correct", "peak_rates", "groups", "together", "estimate", "bf16x3", "peers", "trained"]


@pytest.fixture
def on_processor(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_engine, "find_gpu", HostDevice)
    monkeypatch.setattr(gpu, "CELLS", ("vanilla", "gru"))
    return tmp_path / "gpu.json"


def test_all_sections_run_and_are_written(on_processor, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "Settings", lambda: SMALL)
    assert gpu.main(["--out", str(on_processor)]) == 0
    results, log = json.loads(on_processor.read_text()), on_processor.with_suffix(".log").read_text()
    assert results["failed"] == {} and results["left_out"] == []
    assert set(SECTIONS) <= set(results)
    assert len(results["groups"]) == len(results["correct"]) == 4
    assert all(0 < group["seconds"] < 60 for group in results["groups"].values())
    seconds = sum(group["seconds"] for group in results["groups"].values())
    assert results["estimate"]["one_after_the_other"] == pytest.approx(20_000 * seconds)
    assert log == capsys.readouterr().out
    assert "all kinds right: True" in log


def test_tensor_cores_are_timed_beside_float32(on_processor, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "CELLS", ("vanilla",))
    report = gpu.Report(on_processor, replace(SMALL, sizes=(64,), networks=1))
    (made,) = gpu.Benchmark(cuda_engine.CUDAEngine(), report).bf16x3().values()
    assert 0 < made["error"] < gpu.TOLERANCE_BF16X3
    assert made["seconds"] > 0
    assert made["kernels"][0].startswith("rollout_bf16x3<")
    assert "WRONG" not in capsys.readouterr().out


def test_a_wrong_kind_and_a_failing_section_are_told(on_processor, monkeypatch):
    monkeypatch.setattr(gpu, "Settings", lambda: SMALL)
    monkeypatch.setattr(gpu, "CELLS", ("vanilla",))
    monkeypatch.setattr(gpu, "distance", lambda *pair: 0.5)
    monkeypatch.setattr(gpu.Benchmark, "peers", lambda self: 1 / 0)
    assert gpu.main(["--out", str(on_processor)]) == 1
    results = json.loads(on_processor.read_text())
    assert results["failed"] == {"peers": "ZeroDivisionError: division by zero"}
    assert "WRONG" in on_processor.with_suffix(".log").read_text()


def test_what_there_is_no_time_for_is_named(on_processor, monkeypatch):
    monkeypatch.setattr(gpu, "QUICK", Settings(seconds=0.0))
    assert gpu.main(["--quick", "--out", str(on_processor)]) == 1
    assert json.loads(on_processor.read_text())["left_out"] == SECTIONS


def test_time_is_measured_over_as_many_calls_as_it_takes():
    calls = []
    took = seconds_of(HostDevice(), lambda: calls.append(1), 1e-3)
    assert len(calls) > 10
    assert 0 < took < 1e-3
