"""A GPU through CuPy, and why there is none: `find_gpu`."""

from __future__ import annotations

import os
from contextlib import contextmanager

from ...errors import RunError, UsageError

LEAST = (8, 0)  # compute capability: asynchronous copies
INSTALL = "pip install 'fastrnn[cuda13]' (or 'fastrnn[cuda12]' for a driver older than 580)"
WRITABLE = "set CUPY_CACHE_DIR to a folder that can be written"
CACHE = f"{WRITABLE} and has room, or CUPY_CACHE_IN_MEMORY=1"
INSUFFICIENT_DRIVER = 35  # cudaErrorInsufficientDriver
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY, cudaErrorMemoryAllocation
# cudaDevAttr...: ComputeCapabilityMajor, ...Minor, MaxSharedMemoryPerBlockOptin, MultiProcessorCount, ClockRate
ATTRIBUTES = (75, 76, 97, 16, 13)
QUEUES = "32"  # of the device, the most there are; with CUDA's 8 the streams of some groups would wait for each other
FLOPS_A_CYCLE = 256  # float32, of a multiprocessor; compute capability 8.0 does half of it
SHARE_OF_PEAK = 0.5  # what estimates of time count on


def find_gpu(number: int = 0) -> GPU:
    """The GPU of that number, made sure that it computes.

    Raises
    ------
    UsageError
        saying what is missing (CuPy, a driver, a device, NVRTC, headers, free memory, a recent enough architecture) and
        what to do
    """
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", QUEUES)
    try:
        import cupy
    except ImportError as error:
        raise UsageError(f"CuPy is not installed ({error}): {INSTALL}") from None
    except OSError as error:
        raise UsageError(f"CuPy can't be imported ({error}): {WRITABLE}") from None
    runtime = cupy.cuda.runtime
    if runtime.is_hip:
        raise UsageError(f"this CuPy is for AMD GPUs, the kernels are for NVIDIA's: {INSTALL}")
    try:
        driver = runtime.driverGetVersion()
    except runtime.CUDARuntimeError:
        driver = 0
    if not driver:
        raise UsageError("there is no NVIDIA driver on this machine: install one, or use device 'cpu'")
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status == INSUFFICIENT_DRIVER:
            version = runtime.runtimeGetVersion()
            raise UsageError(
                f"the NVIDIA driver (CUDA {_version(driver)}) is too old for this CuPy (CUDA {_version(version)}): "
                f"update the driver, or {INSTALL}"
            ) from None
        raise UsageError(
            f"the NVIDIA driver finds no GPU ({error}): look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        ) from None
    if number >= count:
        raise UsageError(f"there is no GPU {number}, but {count}: look at nvidia-smi and CUDA_VISIBLE_DEVICES")
    try:
        gpu = GPU(cupy, number)
    except runtime.CUDARuntimeError as error:
        raise UsageError(f"GPU {number} does not work ({error}): look at nvidia-smi") from None
    if gpu.capability < LEAST:
        had, least = (".".join(map(str, pair)) for pair in (gpu.capability, LEAST))
        raise UsageError(f"{gpu.name} is too old: its compute capability is {had}, needed is {least} (Ampere) or newer")
    _try_out(cupy, gpu)
    return gpu


def _try_out(cupy, gpu: GPU) -> None:
    """Compile and run something small."""
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        raise UsageError(f"NVRTC, which compiles the kernels, is missing ({error}): {INSTALL}") from None
    failures = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
    try:
        with cupy.cuda.Device(gpu.number):
            # a kernel compiled with CuPy's headers; sums of 64-bit integers CuPy has ready, others need headers of CUB
            ok = int(cupy.arange(4, dtype="int64").sum()) == 6
    except (MemoryError, *failures) as error:
        if isinstance(error, MemoryError) or error.status == OUT_OF_MEMORY:
            message = f"{gpu.name} has no memory free ({error}): end what uses it, or use device 'cpu'"
        else:
            message = f"{gpu.name} does not work ({error}): look at nvidia-smi, or update driver and CuPy"
        raise UsageError(message) from None
    except OSError as error:
        raise UsageError(f"CuPy can't keep compiled code ({error}): {CACHE}") from None
    except Exception as error:  # CuPy says it in several ways
        raise UsageError(f"the headers of CUDA are missing or do not fit CuPy ({error}): {INSTALL}") from None
    if not ok:
        raise UsageError(f"{gpu.name} computes wrongly: it does not add up 0 to 3")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class GPU:
    """What the engine needs of a device.

    name, capability : such as "NVIDIA H200" and (9, 0)
    shared_limit : bytes of shared memory a block may ask for
    processors : how many multiprocessors it has
    xp : the library of its arrays
    """

    def __init__(self, cupy, number: int):
        self.xp, self.number = cupy, number
        name = cupy.cuda.runtime.getDeviceProperties(number)["name"]
        self.name = name.decode() if isinstance(name, bytes) else name
        major, minor, self.shared_limit, self.processors, kilohertz = (
            cupy.cuda.runtime.deviceGetAttribute(attribute, number) for attribute in ATTRIBUTES
        )
        self.capability = (major, minor)
        flops = FLOPS_A_CYCLE // 2 if self.capability == (8, 0) else FLOPS_A_CYCLE
        self.rate = SHARE_OF_PEAK * flops * self.processors * 1e3 * kilohertz  # FLOP/s that estimates count on
        self._streams = []

    def module(self, **source):
        """Compiled kernels; CuPy 14.2 keeps their machine code on disk, by source text, names and options."""
        return self.xp.RawModule(backend="nvrtc", **source)

    def owns(self, array) -> bool:
        """Whether it is an array of this device."""
        return isinstance(array, self.xp.ndarray) and array.device.id == self.number

    @contextmanager
    def stream(self, index: int):
        """Work inside runs in order, and beside that of other indices.

        Raises
        ------
        MemoryError
            where the device has no memory left, for arrays (CuPy's own), for code, or for what a launch needs
        RunError
            when the device fails, or the kernels can't be compiled for it
        """
        with self._errors_told(), self.xp.cuda.Device(self.number):
            while len(self._streams) <= index:
                self._streams.append(self.xp.cuda.Stream(non_blocking=True))
            with self._streams[index]:
                yield

    @contextmanager
    def _errors_told(self):
        """Errors of driver, runtime and compiler as those of `stream`."""
        cuda = self.xp.cuda
        try:
            yield
        except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError) as error:
            if error.status == OUT_OF_MEMORY:
                raise MemoryError(str(error)) from error
            raise RunError(
                f"{self.name} failed ({error}): look at nvidia-smi, then start again; what was saved is whole"
            ) from error
        except cuda.compiler.CompileException as error:
            version = ".".join(map(str, cuda.nvrtc.getVersion()))
            raise RunError(f"NVRTC {version} can't compile the kernels for {self.name}:\n{error}") from error

    def release(self) -> None:
        """Give memory that nothing uses back to the device, and to the system what copies passed through."""
        with self._errors_told(), self.xp.cuda.Device(self.number):  # its pool
            for stream in self._streams:
                stream.synchronize()
            self.xp.get_default_memory_pool().free_all_blocks()
            self.xp.get_default_pinned_memory_pool().free_all_blocks()

    def synchronize(self) -> None:
        """Wait for all work."""
        with self._errors_told(), self.xp.cuda.Device(self.number) as device:
            device.synchronize()

    def to_host(self, array):
        """A new NumPy array; waits for the work of the current stream. Of a view a copy is made on the device first."""
        return array.get()
