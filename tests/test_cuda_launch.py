"""Launches that are refused, GPUs that can't be used and why, and how the work is cut."""

import sys
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from cuda_host.device import HostDevice
from samples import random_networks

from fastrnn import engines
from fastrnn.engines.cuda import launch
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.gpu import find_gpu
from fastrnn.engines.cuda.launch import ARGUMENTS, Launcher, signature, source_text, sources_digest
from fastrnn.engines.cuda.tiling import Kernel, make_tiling, passes_of
from fastrnn.errors import RunError, UsageError

TRANSPOSE = Kernel("update", "transpose", 256)


class Recorder(HostDevice):
    """A device whose kernels only note how they are launched."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.made, self.launched = [], []

    def module(self, *, code, name_expressions, options):
        self.made.append(name_expressions)
        return self

    def get_function(self, name):
        function = SimpleNamespace(max_dynamic_shared_size_bytes=None)
        note = self.launched.append
        return type("Function", (), {"__call__": lambda self, *a, **k: note((a, k))})() if function else None


def arguments(**changes):
    """Good arguments of `transpose`, some replaced."""
    good = {
        "parameters": np.zeros((2, 32), np.float32),
        "transposed": np.zeros((2, 16, 16), np.float32),
        "status": np.zeros(2, np.int32),
        "stride": 32,
        "n": 16,
        "columns": 16,
    }
    return good | changes


def test_a_kernel_is_compiled_once_and_its_numbers_are_cast():
    device = Recorder()
    launcher = Launcher(device)
    for _ in range(2):
        launcher.launch(TRANSPOSE, (2, 1, 1), **arguments())
    assert device.made == [("transpose",)]
    (blocks, threads, values), settings = device.launched[0]
    assert (blocks, threads, settings) == ((2, 1, 1), (256,), {"shared_mem": 0})
    assert [type(value) for value in values] == [np.ndarray] * 3 + [np.int32] * 3


def test_a_kernel_may_need_more_shared_memory_later():
    """One that does networks of any size; what was allowed stays."""
    device = Recorder()
    launcher, allowed = Launcher(device), []
    for shared in (100, 70_000, 200):
        launcher.launch(Kernel("update", "transpose", 256, shared), (2,), **arguments())
        allowed.append(launcher._compiled["transpose"].max_dynamic_shared_size_bytes)
    assert allowed == [100, 70_000, 70_000]
    assert len(device.made) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": np.zeros((2, 32))}, "transpose: parameters must be float32; it is float64"),
        ({"status": np.zeros(2, np.int64)}, "transpose: status must be int32; it is int64"),
        ({"parameters": np.zeros((32, 2), np.float32).T}, "transpose: parameters must be contiguous; its strides"),
        ({"parameters": [0.0]}, "transpose: parameters must be an array on host; it is of builtins"),
        ({"transposed": None}, "transpose: transposed must be an array on host; it is of builtins"),
        ({"stride": 2**31}, "transpose: stride must fit int32; it is 2147483648"),
        ({"steps": 3}, "transpose takes parameters, .*; missing or unknown: steps"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Launcher(Recorder()).launch(TRANSPOSE, (2, 1, 1), **arguments(**changes))


def test_missing_arguments_and_impossible_launches_are_refused():
    launcher, few = Launcher(Recorder()), arguments()
    del few["status"]
    with pytest.raises(UsageError, match="missing or unknown: status"):
        launcher.launch(TRANSPOSE, (2,), **few)
    with pytest.raises(UsageError, match="1 to 1024 threads; asked for 2048"):
        launcher.launch(Kernel("update", "transpose", 2048), (2,), **arguments())
    for blocks in ((0,), (2, 70_000)):
        with pytest.raises(UsageError, match=r"at most .* blocks, at least one; asked for"):
            launcher.launch(TRANSPOSE, blocks, **arguments())
    with pytest.raises(UsageError, match="needs 400000 bytes of shared memory; a block has 232448"):
        launcher.launch(Kernel("update", "transpose", 256, 400_000), (2,), **arguments())


class NoRoom(Recorder):
    """A device whose driver fails with that status when a kernel is loaded, or when it is launched."""

    def __init__(self, status, when):
        super().__init__()
        self.error, self.when = CudaError(status), when

    def module(self, **source):
        if self.when == "loaded":
            raise self.error
        return super().module(**source)

    def get_function(self, name):
        return type("Function", (), {"__call__": raises(self.error)})()


@pytest.mark.parametrize("when", ["loaded", "launched"])
def test_no_room_for_a_kernel_is_a_memory_error(when):
    """For which groups are cut; what else goes wrong stays what it is."""
    with pytest.raises(MemoryError, match="error 2"):
        Launcher(NoRoom(2, when)).launch(TRANSPOSE, (2,), **arguments())
    with pytest.raises(CudaError, match="error 700"):
        Launcher(NoRoom(700, when)).launch(TRANSPOSE, (2,), **arguments())


def test_one_network_may_have_more_states_than_a_grid_has_rows():
    device = Recorder()
    networks = random_networks("vanilla", "tanh", 2, 1, 1, 1)
    CUDAEngine(device).step(networks, np.zeros((1, 70_000, 2)), np.zeros((70_000, 1)))
    (blocks, _, _), _ = device.launched[0]
    assert blocks == (70_000, 1)


def test_signatures_are_those_of_the_kernels():
    """Names and types of every argument, in order, as the sources have them."""
    types = {"float": "f4", "double": "f8", "int": "i4", "u32": "u4", "u64": "u8", "long long": "i8"}
    types |= {"Hyperparameters": "f8", "Rule": "f8", "uint4": "u4"}
    for kernel in ARGUMENTS:
        texts = [path.read_text() for path in launch.kernels_folder().glob("*.cu")]
        (text,) = (text for text in texts if f"\n    {kernel}(" in text)
        said = text.split(f"\n    {kernel}(")[1].split(") {")[0]
        declared = []
        for argument in said.replace("const ", "").replace("__restrict__ ", "").split(","):
            kind, name = argument.strip().rsplit(" ", 1)
            declared.append((name, types[kind.rstrip("*")], kind.endswith("*")))
        wanted = [(name, kind.str[1:], array) for name, (kind, array) in signature(kernel).items()]
        assert declared == wanted, kernel


def test_the_text_that_is_compiled_changes_with_the_sources(tmp_path, monkeypatch):
    (tmp_path / "common.cuh").write_text("// one")
    digests = {sources_digest()}
    assert sources_digest() in source_text(["rollout"])
    monkeypatch.setattr(launch, "kernels_folder", lambda: tmp_path)
    for text in ("// one", "// two"):
        (tmp_path / "common.cuh").write_text(text)
        digests.add(sources_digest.__wrapped__())
    assert len(digests) == 3


def test_an_installation_without_kernels_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "__file__", str(tmp_path / "a" / "b" / "c" / "launch.py"))
    with pytest.raises(RunError, match="the CUDA sources are not in this installation"):
        launch.kernels_folder()


# --- how the work is cut ---


def test_every_size_has_a_tiling_that_fits():
    for limit in (99 << 10, 163 << 10, 227 << 10):  # of GeForce cards, A100, H100 and newer
        for cell in oracle.CELLS:
            for n in range(16, 257, 16):
                for B in (1, 9, 64, 65):
                    made = make_tiling(cell, "tanh", n, B, 100, 3, limit)
                    assert made.padded >= B
                    assert made.padded % made.trials == 0
                    assert made.tiles * made.trials == made.padded
                    for kernel in (made.rollout, made.readout, made.backward, made.weight_gradient):
                        assert 0 < kernel.threads <= 512
                        assert kernel.shared <= limit


def test_passes_cut_the_columns_evenly():
    for blocks in (1, 2, 4):
        for n in range(16, 257, 16):
            passes = passes_of(blocks, n, 256)
            assert n % passes == 0
            assert n // passes * blocks <= 256
    assert [passes_of(4, n, 256) for n in (64, 128, 256)] == [1, 2, 4]


# --- GPUs that can't be used ---


class CudaError(Exception):
    """As CuPy's."""

    def __init__(self, status=100):
        super().__init__(f"error {status}")
        self.status = status


class CompileError(Exception):
    """As CuPy's."""


def raises(error):
    def call(*arguments, **settings):
        raise error

    return call


def fake_cupy(**changes):
    """Enough of CuPy for a GPU to be found; `changes` are what goes wrong."""
    attributes = {75: 9, 76: 0, 97: 232448, 16: 132, 13: 1_980_000} | changes.pop("attributes", {})
    runtime = {
        "CUDARuntimeError": CudaError,
        "driverGetVersion": lambda: 13000,
        "runtimeGetVersion": lambda: 13020,
        "getDeviceCount": lambda: 1,
        "getDeviceProperties": lambda number: {"name": b"NVIDIA H200"},
        "deviceGetAttribute": lambda attribute, number: attributes[attribute],
    }
    nvrtc = SimpleNamespace(getVersion=changes.pop("nvrtc", lambda: (13, 0)))
    arange = changes.pop("arange", np.arange)
    cuda = SimpleNamespace(
        runtime=SimpleNamespace(**(runtime | changes)),
        nvrtc=nvrtc,
        compiler=SimpleNamespace(CompileException=CompileError),
        Device=HostDevice().stream,
    )
    return SimpleNamespace(cuda=cuda, arange=arange)


def test_a_usable_gpu_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    gpu = find_gpu()
    assert (gpu.name, gpu.capability, gpu.shared_limit) == ("NVIDIA H200", (9, 0), 232448)
    assert 30e12 < gpu.rate < 40e12  # half of 67 TFLOP/s
    engine = engines.get("cuda")
    assert engine.description == "cuda (NVIDIA H200, compute capability 9.0)"
    assert engines.get("auto").name == "cuda"


UNUSABLE = {
    "no CuPy": (None, r"CuPy is not installed .*: pip install 'fastrnn\[cuda13\]'"),
    "no driver": (fake_cupy(driverGetVersion=lambda: 0), "there is no NVIDIA driver"),
    "a broken driver": (fake_cupy(driverGetVersion=raises(CudaError())), "there is no NVIDIA driver"),
    "an old driver": (
        fake_cupy(driverGetVersion=lambda: 12040, getDeviceCount=raises(CudaError(35))),
        r"driver \(CUDA 12.4\) is too old for this CuPy \(CUDA 13.2\)",
    ),
    "no device": (fake_cupy(getDeviceCount=raises(CudaError(100))), "the NVIDIA driver finds no GPU"),
    "none visible": (fake_cupy(getDeviceCount=lambda: 0), "there is no GPU 0, but 0: look at nvidia-smi"),
    "an old GPU": (fake_cupy(attributes={75: 7, 76: 5}), r"too old: its compute capability is 7.5, needed is 8.0"),
    "no NVRTC": (fake_cupy(nvrtc=raises(ImportError("libnvrtc"))), "NVRTC, .* is missing .*libnvrtc.*: pip install"),
    "no headers": (fake_cupy(arange=raises(CompileError("vector_types.h"))), "headers of CUDA .*vector_types.h"),
    "no memory": (fake_cupy(arange=raises(MemoryError("0 bytes left"))), "H200 has no memory free .*0 bytes left"),
    "a broken GPU": (fake_cupy(arange=raises(CudaError(214))), "H200 does not work .*error 214"),
    "a GPU that errs": (fake_cupy(arange=lambda *a, **k: np.ones(3)), "H200 computes wrongly"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_an_unusable_gpu_is_explained(monkeypatch, capsys, what):
    cupy, message = UNUSABLE[what]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(UsageError, match=f"device 'cuda' can't be used: .*{message}"):
        engines.get("cuda")
    assert capsys.readouterr() == ("", "")
    assert engines.get("auto", threads=1).name == "cpu"
    said = capsys.readouterr().err
    with pytest.raises(UsageError, match=f"precision is 'bf16x3', which needs a GPU; no GPU: .*{message}"):
        engines.get("auto", precision="bf16x3")
    assert said.startswith("device auto: cpu (")
    assert "; no GPU: " in said
