"""`Library`: what of CuPy the CUDA engine uses, for the processor, and as strict as CuPy 14.2.

Its arrays become NumPy's by `get` only, and take no NumPy arrays in an assignment; memory that was not written holds no
zeros; and an array is used on the stream on which it was made, since streams run beside each other.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from .module import HostModule

IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
)


class CUDARuntimeError(RuntimeError):
    """Of the runtime, with its status."""

    def __init__(self, status: int, text: str = "cudaError"):
        super().__init__(f"{text} {status}")
        self.status = status


class CUDADriverError(RuntimeError):
    """Of the driver; no relation of the runtime's."""

    def __init__(self, status: int, text: str = "CUDA_ERROR"):
        super().__init__(f"{text} {status}")
        self.status = status


class CompileException(Exception):
    """With the compiler's log as its text."""


class OutOfMemoryError(MemoryError):
    """Of an allocation."""


class Array:
    """`cupy.ndarray`.

    base : the array whose memory this one is a view of
    """

    def __init__(self, library: Library, host: np.ndarray, base: Array | None = None):
        self._library, self._host, self._base = library, host, base
        self._stream = base._stream if base else library.current
        self.device = SimpleNamespace(id=0)
        if base is None:
            library.live += host.nbytes

    def __del__(self):
        if self._base is None:
            self._library.live -= self._host.nbytes

    dtype, shape, size, ndim, nbytes, strides, flags = (
        property(lambda self, name=name: getattr(self._host, name))
        for name in ("dtype", "shape", "size", "ndim", "nbytes", "strides", "flags")
    )

    def __len__(self):
        return len(self._host)

    def __array__(self, *_, **__):
        raise TypeError(IMPLICIT)

    __array_ufunc__ = None

    def __getitem__(self, key):
        made = self.used()[key]
        return Array(self._library, np.asarray(made), self if np.may_share_memory(made, self._host) else None)

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self.used()[key] = value.used() if isinstance(value, Array) else value

    def __int__(self):
        return int(self.get())

    def sum(self) -> Array:
        return Array(self._library, np.asarray(self.used().sum()))

    def get(self) -> np.ndarray:
        if not self.flags.c_contiguous:
            self._library.empty(self.shape, self.dtype)  # where it is copied to first
        return self.used().copy()

    def used(self) -> np.ndarray:
        """The memory, for work on the current stream."""
        if self._stream is not self._library.current:
            raise RuntimeError("an array is used on another stream than the one on which it was made")
        return self._host


class RawModule:
    """`cupy.RawModule`: compiles when a function is asked for."""

    def __init__(self, library: Library, *, code: str, options: tuple, backend: str, name_expressions):
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        assert backend == "nvrtc"
        self._library, self._source = library, (code, options, tuple(name_expressions))

    def get_function(self, name: str):
        return self._library.built(*self._source).get_function(name)


class Stream:
    """`cupy.cuda.Stream`."""

    def __init__(self, library: Library, *, non_blocking: bool = False):
        self._library = library

    def __enter__(self):
        self._library.streams.append(self)
        return self

    def __exit__(self, *_):
        self._library.streams.pop()

    def synchronize(self):
        """All launches are over when they return."""


class Library:
    """CuPy's namespace on one device, whose memory and kernels `owner` describes; see `HostDevice`.

    live : bytes of arrays that somebody holds
    freed : pools whose free memory was given back, in order
    """

    __version__ = "14.2.0"
    ndarray = Array

    def __init__(self, owner):
        self.owner, self.live, self.freed = owner, 0, []
        self._local, self._built = threading.local(), {}
        attributes = {75: 9, 76: 0, 97: owner.shared_limit, 16: 132, 13: 1_980_000}
        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            is_hip=False,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13020,
            getDeviceCount=lambda: 1,
            getDeviceProperties=lambda number: {"name": b"host"},
            deviceGetAttribute=lambda attribute, number: attributes[attribute],
            memGetInfo=lambda: (1 << 30, 1 << 30),
        )
        self.cuda = SimpleNamespace(
            runtime=runtime,
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
            compiler=SimpleNamespace(CompileException=CompileException),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
            Device=lambda number: self._device(),
            Stream=lambda **settings: Stream(self, **settings),
        )

    @contextmanager
    def _device(self):
        yield SimpleNamespace(synchronize=lambda: None)

    @property
    def streams(self) -> list[Stream]:
        """Those that were entered in this thread."""
        if not hasattr(self._local, "streams"):
            self._local.streams = []
        return self._local.streams

    @property
    def current(self) -> Stream | None:
        """The stream of what is done now; None for the default one."""
        return self.streams[-1] if self.streams else None

    def empty(self, shape, dtype) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return Array(self, np.full(size, 0xFF, np.uint8).view(dtype).reshape(shape))  # NaN, or -1

    def empty_like(self, array: Array) -> Array:
        return self.empty(array.shape, array.dtype)

    def zeros(self, shape, dtype) -> Array:
        return Array(self, np.zeros(shape, dtype))

    def ones(self, shape, dtype) -> Array:
        return Array(self, np.ones(shape, dtype))

    def arange(self, stop, dtype) -> Array:
        return Array(self, np.arange(stop, dtype=dtype))

    def array(self, array: np.ndarray) -> Array:
        return Array(self, np.array(array))

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: self.freed.append("device"))

    def get_default_pinned_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: self.freed.append("pinned"))

    def RawModule(self, **source) -> RawModule:
        return RawModule(self, **source)

    def built(self, code: str, options: tuple, names: tuple) -> HostModule:
        """Code that was built once and is the same for everybody who asks, as is what its kernels are allowed."""
        key = (code, options, names)
        made = self._built.get(key) or HostModule(
            code=code, options=options, name_expressions=names, owner=self.owner, check=self.owner.check
        )
        return self._built.setdefault(key, made)
