"""Populations trained by the CUDA engine through the public functions, its kernels run on the processor."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from samples import relative_error

import fastrnn
from fastrnn.engines.cuda import engine as cuda_engine
from fastrnn.engines.cuda.launch import kernels_folder
from fastrnn.progress import Interrupted
from fastrnn.training import Training

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")

SPEC = {"cells": ("vanilla", "gru"), "activations": "tanh", "sizes": 16, "seeds": 2, "batch": 4}
TASK = {"task_settings": {"steps": 5}, "iterations": 6}


@pytest.fixture(autouse=True)
def processor_as_gpu(monkeypatch):
    monkeypatch.setattr(cuda_engine, "find_gpu", HostDevice)


def spec(**changes):
    return fastrnn.PopulationSpec("flipflop", **(SPEC | TASK | changes))


def test_both_devices_train_the_same_population(tmp_path, capsys):
    runs = [fastrnn.train(spec(), tmp_path / device, device) for device in ("cuda", "cpu", "auto")]
    assert "device auto: cuda (host" in capsys.readouterr().err
    for run in runs:
        assert run.table.status.tolist() == ["trained"] * 4
    ours, theirs, auto = ([run.networks(f"{cell}-tanh-16").parameters for cell in SPEC["cells"]] for run in runs)
    for a, b, c in zip(ours, theirs, auto, strict=True):
        assert relative_error(a, b) < 1e-5
        np.testing.assert_array_equal(a, c)
    losses = [run.table.validation_loss.to_numpy() for run in runs]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_the_other_device(tmp_path, capsys, monkeypatch, devices):
    """From the checkpoint of an interrupted run; the numbers are those of one device up to rounding, and it warns."""
    advance, rounds = Training.advance, []

    def stop_after_a_round(self, turn):
        turn.iterations = 3
        advance(self, turn)
        rounds.append(turn)
        self.interruption.requested = True

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", stop_after_a_round)
        with pytest.raises(Interrupted):
            fastrnn.train(spec(), tmp_path / "both", devices[0])
    assert rounds
    run = fastrnn.train(spec(), tmp_path / "both", devices[1])
    assert f"was trained on {devices[0]} (" in capsys.readouterr().err
    whole = fastrnn.train(spec(), tmp_path / "whole", "cpu", progress=False)
    for group in ("vanilla-tanh-16", "gru-tanh-16"):
        assert relative_error(run.networks(group).parameters, whole.networks(group).parameters) < 1e-5


def test_sizes_that_are_not_supported_stop_a_run_before_it_begins(tmp_path):
    with pytest.raises(fastrnn.errors.UsageError, match="multiples of 16 up to 256 in float32; n is 20"):
        fastrnn.train(spec(sizes=(16, 20)), tmp_path / "run", "cuda", progress=False)
    assert not list(tmp_path.glob("run/*.toml"))


SANITIZED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from cuda_host.device import HostDevice
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.networks import Networks
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

engine = CUDAEngine(HostDevice(sanitize=True, shared_limit=50 << 10, kernels=sys.argv[2]))
for cell in sys.argv[3].split(","):
    task, networks = get_task("cdi", steps=2), Networks.initialize(cell, "tanh", 48, 4, 1, keys=[1, 2])
    states, outputs = engine.run(networks, np.zeros((9, 2, 4)))
    optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=2)
    assert np.isfinite(engine.advance(networks, optimizer, task, 1, batch=9)).all()
print("clean")
"""


def sanitized(kernels, cells):
    """Output and errors of a Python with AddressSanitizer in it that runs all kernels of some cells."""
    library = subprocess.check_output([COMPILER, "-print-file-name=libasan.so"], text=True).strip()
    environment = os.environ | {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", SANITIZED, str(Path(__file__).parent), str(kernels), cells]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="AddressSanitizer is preloaded as on Linux")
def test_no_kernel_goes_beyond_its_arrays():
    """Streamed and resident weights, two products, blocks of da in several chunks."""
    stdout, stderr = sanitized(kernels_folder(), "gru,lstm")
    assert stdout == "clean\n", stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="AddressSanitizer is preloaded as on Linux")
def test_a_kernel_that_goes_beyond_an_array_is_found(tmp_path):
    shutil.copytree(kernels_folder(), tmp_path / "kernels")
    source = tmp_path / "kernels" / "forward.cuh"
    text = source.read_text()
    right = "e < Products::trials * L::S"
    assert text.count(right) == 1
    source.write_text(text.replace(right, "e < (P * T + Products::trials) * L::S + 1"))
    stdout, stderr = sanitized(tmp_path / "kernels", "vanilla")
    assert stdout == ""
    assert "heap-buffer-overflow" in stderr
    assert "forward.cuh:" in stderr
