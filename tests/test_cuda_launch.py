"""Launches that are refused, GPUs that can't be used and why, and how the work is cut."""

import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from cuda_host.device import HostDevice
from cuda_host.library import Array, CompileException, CUDADriverError, CUDARuntimeError, Library, OutOfMemoryError
from cuda_host.module import COMPILER
from samples import random_networks

from fastrnn import engines
from fastrnn.engines.cpu import bf16x3
from fastrnn.engines.cuda import launch
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.gpu import GPU, find_gpu
from fastrnn.engines.cuda.launch import ARGUMENTS, Launcher, signature, source_text, sources_digest
from fastrnn.engines.cuda.tiling import Kernel, make_tiling, passes_of
from fastrnn.errors import RunError, UsageError
from fastrnn.processors import only_processors
from fastrnn.tasks import get_task

TRANSPOSE = Kernel("update", "transpose", 256)


class Recorder(HostDevice):
    """A device whose kernels only note how they are launched."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.made, self.launched, self.threads = [], [], set()

    def module(self, *, code, name_expressions, options):
        self.made.append(name_expressions)
        self.threads.add((threading.get_ident(), self.xp.current is not None))
        return self

    def get_function(self, name):
        return Noting(self.launched.append)


class Noting:
    """A kernel that is not there."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, note):
        self.note = note

    def __call__(self, *arguments, **settings):
        self.note((arguments, settings))


ON_DEVICE = Recorder().xp


def on_device(array):
    return ON_DEVICE.array(array)


def arguments(**changes):
    """Good arguments of `transpose`, some replaced."""
    good = {
        "parameters": on_device(np.zeros((2, 32), np.float32)),
        "transposed": on_device(np.zeros((2, 16, 16), np.float32)),
        "status": on_device(np.zeros(2, np.int32)),
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
    assert [type(value) for value in values] == [Array] * 3 + [np.int32] * 3


def test_a_kernel_may_need_more_shared_memory_later():
    """One that does networks of any size; what was allowed stays."""
    device = Recorder()
    launcher, allowed = Launcher(device), []
    for shared in (100, 70_000, 200):
        launcher.launch(Kernel("update", "transpose", 256, shared), (2,), **arguments())
        allowed.append(launcher._compiled["transpose"].max_dynamic_shared_size_bytes)
    assert allowed == [48 << 10, 70_000, 70_000]
    assert len(device.made) == 1


@pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")
def test_what_one_launcher_allows_no_other_one_takes_back():
    """CuPy keeps one copy of the code, with what it is allowed."""
    device = HostDevice()
    large, small = (Kernel("update", "transpose", 256, shared) for shared in (70_000, 50_000))
    given = {name: device.xp.array(a.get()) if isinstance(a, Array) else a for name, a in arguments().items()}
    first, second = Launcher(device), Launcher(device)
    for launcher, kernel in ((first, large), (second, small), (first, large)):
        launcher.launch(kernel, (2, 1, 1), **given)


def test_kinds_are_compiled_beside_each_other_and_once():
    device = Recorder()
    launcher, task = Launcher(device), get_task("flipflop", steps=4)
    engine = CUDAEngine(device)
    stacks = [random_networks(cell, "tanh", 16, 3, 3, 1) for cell in ("vanilla", "gru", "gru")]
    for _ in range(2):
        engine.prepare(stacks, task)
    names = [name.partition("<")[0] for made in device.made for name in made]
    assert sorted(names) == sorted(
        ["transpose", "fragments", "collect", "descend", "trials"]
        + 2 * ["rollout", "readout", "backward", "weight_gradient"]
    )
    assert len(device.made) == 4
    assert threading.get_ident() not in dict(device.threads)
    assert all(dict(device.threads).values())  # each thread is on the device
    launcher.compile_all([])
    assert len(device.made) == 4


def test_processors_that_are_not_to_be_used_compile_nothing(monkeypatch):
    counts = []

    class Counted(ThreadPoolExecutor):
        def __init__(self, threads):
            counts.append(threads)
            super().__init__(threads)

    monkeypatch.setattr(launch, "ThreadPoolExecutor", Counted)
    with only_processors(1):
        Launcher(Recorder()).compile_all([(TRANSPOSE,)])
    assert counts == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": on_device(np.zeros((2, 32)))}, "transpose: parameters must be float32; it is float64"),
        ({"status": on_device(np.zeros(2, np.int64))}, "transpose: status must be int32; it is int64"),
        (
            {"parameters": on_device(np.zeros((2, 64), np.float32))[:, ::2]},
            "transpose: parameters must be contiguous; its strides",
        ),
        (
            {"parameters": np.zeros((2, 32), np.float32)},
            "transpose: parameters must be an array on host; it is of numpy",
        ),
        ({"parameters": [0.0]}, "transpose: parameters must be an array on host; it is of builtins"),
        ({"transposed": None}, "transpose: transposed must be an array on host; it is of builtins"),
        ({"stride": 2**31}, "transpose: stride must fit int32; it is 2147483648"),
        ({"steps": 3}, "transpose takes parameters, .*; missing or unknown: steps"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Launcher(Recorder()).launch(TRANSPOSE, (2, 1, 1), **arguments(**changes))


def test_an_array_of_another_gpu_is_refused():
    elsewhere = on_device(np.zeros((2, 32), np.float32))
    elsewhere.device.id = 1
    assert not GPU.owns(SimpleNamespace(xp=ON_DEVICE, number=0), elsewhere)
    assert GPU.owns(SimpleNamespace(xp=ON_DEVICE, number=1), elsewhere)


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
        self.error, self.when = CUDADriverError(status), when

    def module(self, **source):
        if self.when == "loaded":
            raise self.error
        return super().module(**source)

    def get_function(self, name):
        return raises(self.error)


@pytest.mark.parametrize("when", ["loaded", "launched"])
def test_where_there_is_no_room_for_a_kernel_the_work_is_cut(when):
    """For which groups are cut; what else goes wrong is told."""
    device, networks = NoRoom(2, when), random_networks("vanilla", "tanh", 16, 1, 1, 2)
    with pytest.raises(RunError, match=r"one network .* does not fit into the free memory of host \(CUDA_ERROR 2\)"):
        CUDAEngine(device).loss(networks, get_task("sine", steps=2), trials=8)
    with pytest.raises(RunError, match=r"host failed \(CUDA_ERROR 700\)"):
        CUDAEngine(NoRoom(700, when)).loss(networks, get_task("sine", steps=2), trials=8)


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
    assert sources_digest() in source_text(["rollout"])
    shutil.copytree(launch.kernels_folder(), tmp_path / "kernels")
    monkeypatch.setattr(launch, "kernels_folder", lambda: tmp_path / "kernels")
    digests = {sources_digest.__wrapped__()}
    assert digests == {sources_digest()}
    for file in ("rollout.cu", "common.cuh", "cells/gru.cuh"):
        with open(tmp_path / "kernels" / file, "a") as source:
            source.write("// more\n")
        digests.add(sources_digest.__wrapped__())
    assert len(digests) == 4


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


def test_arrays_of_a_device_are_refused_as_trials():
    networks = random_networks("vanilla", "tanh", 16, 1, 1, 1)
    with pytest.raises(UsageError, match="inputs must be an array that NumPy can read"):
        CUDAEngine(HostDevice()).run(networks, on_device(np.zeros((1, 2, 3, 1), np.float32)))


# --- GPUs that can't be used ---


def raises(error):
    def call(*arguments, **settings):
        raise error

    return call


def fake_cupy(attributes=None, nvrtc=None, arange=None, **runtime):
    """What stands in for CuPy, for a GPU to be found; the arguments are what goes wrong."""
    library = Library(HostDevice())
    had = {75: 9, 76: 0, 97: 232448, 16: 132, 13: 1_980_000} | (attributes or {})
    usual = {
        "getDeviceProperties": lambda number: {"name": b"NVIDIA H200"},
        "deviceGetAttribute": lambda attribute, number: had[attribute],
    }
    vars(library.cuda.runtime).update(usual | runtime)
    library.cuda.nvrtc.getVersion = nvrtc or library.cuda.nvrtc.getVersion
    library.arange = arange or library.arange
    return library


def test_a_usable_gpu_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "4")  # the user's own stays
    find_gpu()
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "4"
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS")
    gpu = find_gpu()
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"
    assert (gpu.name, gpu.capability, gpu.shared_limit) == ("NVIDIA H200", (9, 0), 232448)
    assert 30e12 < gpu.rate < 40e12  # half of 67 TFLOP/s
    engine = engines.get("cuda")
    assert engine.description == "cuda (NVIDIA H200, compute capability 9.0)"
    assert engines.get("auto").name == "cuda"


UNUSABLE = {
    "no CuPy": (None, r"CuPy is not installed .*: pip install 'fastrnn\[cuda13\]'"),
    "no driver": (fake_cupy(driverGetVersion=lambda: 0), "there is no NVIDIA driver"),
    "a broken driver": (fake_cupy(driverGetVersion=raises(CUDARuntimeError(999))), "there is no NVIDIA driver"),
    "an old driver": (
        fake_cupy(driverGetVersion=lambda: 12040, getDeviceCount=raises(CUDARuntimeError(35))),
        r"driver \(CUDA 12.4\) is too old for this CuPy \(CUDA 13.2\)",
    ),
    "no device": (fake_cupy(getDeviceCount=raises(CUDARuntimeError(100))), "the NVIDIA driver finds no GPU"),
    "none visible": (fake_cupy(getDeviceCount=lambda: 0), "there is no GPU 0, but 0: look at nvidia-smi"),
    "an old GPU": (fake_cupy(attributes={75: 7, 76: 5}), r"too old: its compute capability is 7.5, needed is 8.0"),
    "no NVRTC": (fake_cupy(nvrtc=raises(RuntimeError("libnvrtc"))), "NVRTC, .* is missing .*libnvrtc.*: pip install"),
    "no headers": (fake_cupy(arange=raises(CompileException("vector_types.h"))), "headers of CUDA .*vector_types.h"),
    "no folder of headers": (fake_cupy(arange=raises(RuntimeError("no CUDA root"))), "headers of CUDA .*no CUDA root"),
    "no memory": (fake_cupy(arange=raises(OutOfMemoryError("0 bytes"))), "H200 has no memory free .*0 bytes"),
    "no memory for code": (fake_cupy(arange=raises(CUDADriverError(2))), "H200 has no memory free .*CUDA_ERROR 2"),
    "a broken GPU": (fake_cupy(arange=raises(CUDARuntimeError(214))), "H200 does not work .*cudaError 214"),
    "an old NVRTC": (fake_cupy(arange=raises(CUDADriverError(209))), "H200 does not work .* or update driver and CuPy"),
    "no room for code": (fake_cupy(arange=raises(OSError("quota"))), "keep compiled code .quota.: set CUPY_CACHE_DIR"),
    "a GPU of AMD": (fake_cupy(is_hip=True), "this CuPy is for AMD GPUs, the kernels are for NVIDIA's: pip install"),
    "a lost GPU": (fake_cupy(getDeviceProperties=raises(CUDARuntimeError(46))), "GPU 0 does not work .*cudaError 46"),
    "a GPU that errs": (fake_cupy(arange=lambda *a, **k: np.ones(3, int)), "H200 computes wrongly"),
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
    monkeypatch.setattr(bf16x3, "why_not", lambda: "none here")
    with pytest.raises(UsageError, match=f"'bf16x3' needs a GPU or a matrix unit: none here; no GPU: .*{message}"):
        engines.get("auto", precision="bf16x3")
    assert said.startswith("device auto: cpu (")
    assert "; no GPU: " in said


def test_a_cupy_that_can_not_keep_its_files_is_explained(monkeypatch, tmp_path):
    """It makes a folder when it is imported."""
    (tmp_path / "cupy.py").write_text("raise FileNotFoundError('/nohome/.cupy')")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"CuPy can't be imported .*/nohome/.cupy.*: set CUPY_CACHE_DIR to a folder"):
        find_gpu()
    assert engines.get("auto", threads=1).name == "cpu"


def test_an_a100_does_half_of_what_others_do_in_float32():
    rates = [GPU(fake_cupy(attributes={75: major}), 0).rate for major in (8, 9)]
    assert rates[0] == rates[1] / 2


# --- what goes wrong on the way ---


@pytest.mark.parametrize("error", [CUDARuntimeError(2), CUDADriverError(2), OutOfMemoryError("arrays")])
def test_whatever_has_no_memory_is_a_memory_error(error):
    """CuPy has its own error for arrays; code, streams and launches come as the driver's."""
    with pytest.raises(MemoryError, match=str(error)), HostDevice().stream(1):
        raise error


@pytest.mark.parametrize("error", [CUDARuntimeError(700), CUDADriverError(719)])
def test_a_device_that_fails_is_told(error):
    with pytest.raises(RunError, match=rf"host failed \(.*{error.status}\): look at nvidia-smi, then start again"):
        with HostDevice().stream(0):
            raise error


def test_memory_is_given_back_to_the_device_and_to_the_system():
    device = HostDevice()
    device.release()
    assert device.xp.freed == ["device", "pinned"]


def test_a_kernel_that_failed_is_told_where_it_is_waited_for():
    device = HostDevice()
    with device.stream(0):
        pass
    device._streams[0].synchronize = raises(CUDARuntimeError(700))
    device.xp.cuda.Device = lambda number: nullcontext(device._streams[0])
    for wait in (device.synchronize, device.release):
        with pytest.raises(RunError, match=r"host failed \(cudaError 700\)"):
            wait()


def test_kernels_that_do_not_compile_are_told():
    device = Recorder()
    device.module = raises(CompileException("rollout.cu(7): error: no such thing"))
    with pytest.raises(RunError, match=r"NVRTC 13\.0 can't compile the kernels for host:\nrollout\.cu\(7\): error"):
        CUDAEngine(device).prepare([random_networks("vanilla", "tanh", 16, 3, 3, 1)], get_task("flipflop", steps=4))


def test_kernels_that_can_not_be_kept_are_told():
    """CuPy writes machine code to disk."""
    device = Recorder()
    device.module = raises(OSError("no space left on device"))
    with pytest.raises(RunError, match=r"keep compiled kernels \(no space left on device\): set CUPY_CACHE_DIR"):
        CUDAEngine(device).prepare([random_networks("vanilla", "tanh", 16, 3, 3, 1)], get_task("flipflop", steps=4))
