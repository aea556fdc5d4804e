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
from samples import random_networks, random_trials, relative_error

import fastrnn
from fastrnn import engines
from fastrnn.engines.cpu.engine import CPUEngine
from fastrnn.engines.cuda import engine as cuda_engine
from fastrnn.engines.cuda.launch import kernels_folder
from fastrnn.optimizer import Optimizer
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


@pytest.fixture
def train_half(monkeypatch):
    """`train`, interrupted after three of the six iterations."""
    advance = Training.advance

    def stop_after_a_round(self, turn):
        turn.iterations = 3
        advance(self, turn)
        self.interruption.requested = True

    def half(*arguments, **settings):
        with monkeypatch.context() as patch:
            patch.setattr(Training, "advance", stop_after_a_round)
            with pytest.raises(Interrupted):
                fastrnn.train(*arguments, **settings)

    return half


@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_on_the_other_device(tmp_path, capsys, train_half, devices):
    """From the checkpoint of an interrupted run; the numbers are those of one device up to rounding, and it warns."""
    train_half(spec(), tmp_path / "both", devices[0])
    run = fastrnn.train(spec(), tmp_path / "both", devices[1])
    assert f"was trained on {devices[0]} (" in capsys.readouterr().err
    whole = fastrnn.train(spec(), tmp_path / "whole", "cpu", progress=False)
    for group in ("vanilla-tanh-16", "gru-tanh-16"):
        assert relative_error(run.networks(group).parameters, whole.networks(group).parameters) < 1e-5


def test_the_precision_is_recorded_and_another_one_warns(tmp_path, capsys, train_half):
    wide, exact = spec(cells="vanilla", sizes=64), "cuda (host, compute capability 9.0)"
    rounded = exact.replace(")", ", bf16x3)")
    train_half(wide, tmp_path / "both", "cuda", precision="bf16x3")
    both = fastrnn.train(wide, tmp_path / "both", "cuda")
    assert f"vanilla-tanh-64 was trained on {rounded} so far and goes on on {exact}: the" in capsys.readouterr().err
    one = fastrnn.train(wide, tmp_path / "one", "auto", precision="bf16x3")
    assert f"device auto: {rounded}" in capsys.readouterr().err
    runs = {"both": both, "one": one, "exact": fastrnn.train(wide, tmp_path / "exact", "cuda")}
    finished = {name: run.finished("vanilla-tanh-64") for name, run in runs.items()}
    assert {name: group.engines for name, group in finished.items()} == {
        "both": (rounded, exact),
        "one": (rounded,),
        "exact": (exact,),
    }
    parameters = {name: group.networks.parameters for name, group in finished.items()}
    for name in ("both", "one"):
        assert 0 < relative_error(parameters[name], parameters["exact"]) < 1e-4


def test_auto_leaves_other_sizes_to_the_processor_and_says_so(tmp_path, capsys, train_half):
    mixed, group = spec(sizes=(16, 20)), "gru-tanh-20"
    train_half(mixed, tmp_path / "run", "auto", 1)
    said = capsys.readouterr().err
    assert "device auto: networks of n = 20 are left to cpu (" in said
    assert "1 thread); the CUDA engine does sizes that are multiples of 16 up to 256 in float32\n" in said
    assert said.count("left to") == 1
    run = fastrnn.train(mixed, tmp_path / "run", "auto", 1)
    assert "was trained on" not in capsys.readouterr().err
    assert run.table.status.tolist() == ["trained"] * 8
    whole = fastrnn.train(spec(sizes=20), tmp_path / "cpu", "cpu", progress=False)
    np.testing.assert_array_equal(run.networks(group).parameters, whole.networks(group).parameters)
    assert run.finished(group).engines == whole.finished(group).engines
    assert run.finished("gru-tanh-16").engines == ("cuda (host, compute capability 9.0)",)


def test_auto_does_everything_for_every_size(monkeypatch):
    """What the engine of the size gives."""
    monkeypatch.setattr(CPUEngine, "seconds_per_iteration", lambda self, *kind: 0.25 if self.threads == 1 else None)
    auto, gpu, cpu = engines.get("auto", 1), engines.get("cuda"), engines.get("cpu", 1)
    task = fastrnn.get_task("flipflop", steps=3)
    for n, engine in ((16, gpu), (20, cpu)):
        networks = random_networks("gru", "tanh", n, 3, 3, 2)
        trials = random_trials(networks, 5, 3, masked=True)
        points = (np.ones((2, 3, networks.S)), np.zeros((3, 3)))
        for one, other in (
            (auto.loss_and_gradients(networks, *trials), engine.loss_and_gradients(networks, *trials)),
            (auto.run(networks, trials[0]), engine.run(networks, trials[0])),
            ((auto.loss(networks, task, 9),), (engine.loss(networks, task, 9),)),
            (auto.jacobian(networks, *points), gpu.jacobian(networks, *points)),
            ((auto.step(networks, *points),), (gpu.step(networks, *points),)),
        ):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_equal(a, b)
        seconds = engine.seconds_per_iteration("gru", "tanh", n, task)
        assert auto.seconds_per_iteration("gru", "tanh", n, task) == seconds
        assert auto.workspace_bytes("gru", n, task) == engine.workspace_bytes("gru", n, task)
    assert (auto.name, auto.threads, auto.processor, auto.description) == ("cuda", 1, gpu.processor, gpu.description)
    auto.warm_up("gru", "tanh")


def test_time_for_copies_is_told_apart():
    """Of the GPU alone, and anew for each call."""
    auto, gpu, cpu = engines.get("auto", 1), engines.get("cuda"), engines.get("cpu", 1)
    task, times = fastrnn.get_task("flipflop", steps=3), []
    for engine, n in ((gpu, 16), (auto, 16), (auto, 20), (cpu, 20)):
        networks = random_networks("vanilla", "tanh", n, 3, 3, 2)
        for iterations in (1, 0):
            optimizer = Optimizer.start(networks, learning_rate=0.01, iterations=9)
            engine.advance(networks, optimizer, task, iterations, batch=2)
            times.append(engine.overhead)
    assert [took > 0 for took in times] == [True, False, True, False, False, False, False, False]


def test_sizes_that_are_not_supported_stop_a_run_before_it_begins(tmp_path):
    with pytest.raises(fastrnn.errors.UsageError, match="multiples of 16 up to 256 in float32; n is 20"):
        fastrnn.train(spec(sizes=(16, 20)), tmp_path / "run", "cuda", progress=False)
    with pytest.raises(fastrnn.errors.UsageError, match=r"multiples of 64 up to 256 in bf16x3; n is 16: .* 'float32'"):
        fastrnn.train(spec(), tmp_path / "run", precision="bf16x3", progress=False)
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

cell, n, precision, task, points = sys.argv[3], int(sys.argv[4]), *sys.argv[5:7], int(sys.argv[7])
shared = {} if precision == "bf16x3" else {"shared_limit": 50 << 10}
engine = CUDAEngine(HostDevice(check="memory", kernels=sys.argv[2], **shared), precision)
task = get_task(task, steps=2)
networks = Networks.initialize(cell, "tanh", n, task.D, task.K, keys=[1, 2])
states, outputs = engine.run(networks, np.zeros((9, 2, task.D)))
optimizer = Optimizer.start(networks, learning_rate=0.1, iterations=2)
assert np.isfinite(engine.advance(networks, optimizer, task, 1, batch=9)).all()
if points:
    states, held = np.zeros((2, 3, networks.S)), np.zeros((3, task.D))
    engine.step(networks, states, held)
    engine.jacobian(networks, states, held)
    rules = np.repeat([[1e-20, 0, 1e-3, 1e-12, 1e6, 1e-3]], 2, axis=0)
    engine.levenberg_marquardt(networks, [0, 1], states[0, :2], held[:2], np.full(networks.S, 5.0), rules, 3, 3)
print("clean")
"""


def sanitized(kernels, cell, n, precision="float32", task="cdi", points=False):
    """Output and errors of a Python with AddressSanitizer in it: rollouts, an iteration of training, single states."""
    library = subprocess.check_output([COMPILER, "-print-file-name=libasan.so"], text=True).strip()
    environment = os.environ | {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", SANITIZED, str(Path(__file__).parent), str(kernels), cell, str(n), precision, task]
    command.append(str(int(points)))
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="AddressSanitizer is preloaded as on Linux")
@pytest.mark.parametrize(
    "case",
    [
        ("gru", 48),  # streamed weights, two products
        ("lstm", 48),  # blocks of da in several chunks
        ("vanilla", 16, "float32", "flipflop"),  # the smallest; resident weights
        ("ugrnn", 16, "float32", "sine"),
        ("gru", 64, "bf16x3", "flipflop"),
        ("lstm", 16, "float32", "flipflop", True),
    ],
)
def test_no_kernel_goes_beyond_its_arrays(case):
    stdout, stderr = sanitized(kernels_folder(), *case)
    assert stdout == "clean\n", stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="AddressSanitizer is preloaded as on Linux")
@pytest.mark.parametrize(
    ("file", "right", "wrong", "case"),
    [
        ("forward.cuh", "e < Products::trials * L::S", "e < (P * T + Products::trials) * L::S + 1", ("vanilla", 48)),
        ("tensor_product.cuh", "if (k + 1 < DEEP)", "", ("gru", 64, "bf16x3")),
    ],
)
def test_a_kernel_that_goes_beyond_an_array_is_found(file, right, wrong, case, tmp_path):
    shutil.copytree(kernels_folder(), tmp_path / "kernels")
    source = tmp_path / "kernels" / file
    text = source.read_text()
    assert text.count(right) == 1
    source.write_text(text.replace(right, wrong))
    stdout, stderr = sanitized(tmp_path / "kernels", *case)
    assert stdout == ""
    assert "heap-buffer-overflow" in stderr
    assert f"{file}:" in stderr
