"""`HostModule`: CUDA sources compiled for the processor; its kernels take the arrays of `library`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from itertools import combinations
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
OPTIONS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")
OPTIONS += ("-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-variable", "-Wno-comment")
# What else is watched: accesses beyond an array or its alignment, and overflow, by the compiler's own libraries; races,
# by races.h in the place of one.
CHECKS = {
    None: (),
    "memory": ("-fsanitize=address,alignment,bounds,signed-integer-overflow", "-fno-sanitize-recover", "-g"),
    "races": ("-fsanitize=thread", "-nodefaultlibs", "-Wl,--no-as-needed", "-lstdc++", "-lm", "-lgcc_s", "-lc", "-g"),
}
ORDERS = {"forward": 0, "backward": 1, "random": 2}
DEFAULT_SHARED = 48 * 1024  # dynamic shared memory that needs no asking for
ONE_AT_A_TIME = threading.Lock()  # a library's blocks share their state


class HostKernel:
    """A compiled kernel with the interface of `cupy.RawKernel`."""

    def __init__(self, module, name: str, entry: str):
        self.module, self.name = module, name
        self._launch, sizes_of = getattr(module.library, f"launch_{entry}"), getattr(module.library, f"sizes_{entry}")
        self._launch.restype, sizes_of.restype = ctypes.c_char_p, ctypes.c_size_t
        room = (ctypes.c_size_t * 64)()
        self.sizes = list(room[: sizes_of(room)])

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The code's, not this object's."""
        return self.module.allowed.get(self.name, DEFAULT_SHARED)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int):
        self.module.allowed[self.name] = size

    def __call__(self, grid, block, arguments, *, shared_mem=0):
        """Launch; it checks the sizes of the arguments and of the shared memory, and what `__restrict__` promises."""
        if not (isinstance(grid, tuple) and isinstance(block, tuple)):
            raise TypeError(f"{self.name}: grid and block must be tuples")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError(f"{self.name}: {shared_mem} bytes of shared memory were not asked for")
        values = [self._value(argument) for argument in arguments]
        if [ctypes.sizeof(value) for value in values] != self.sizes:
            raise RuntimeError(
                f"{self.name}: arguments of {[ctypes.sizeof(v) for v in values]} bytes, not {self.sizes}"
            )
        arrays = [argument.used() for argument in arguments if hasattr(argument, "used")]
        if any(np.may_share_memory(*pair) for pair in combinations(arrays, 2)):
            raise RuntimeError(f"{self.name}: arrays overlap, which kernels are compiled to rule out")
        pointers = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
        shape = (ctypes.c_uint * 3)(*(*grid, 1, 1)[:3])
        order, late, seed = self.module.owner.schedule
        self.module.owner.launches.append((self.name, grid))
        with ONE_AT_A_TIME:
            self.module.library.configure(ORDERS[order], int(late), seed)
            wrong = self._launch(shape, ctypes.c_uint(block[0]), ctypes.c_size_t(shared_mem), pointers)
        if wrong:
            raise RuntimeError(f"{self.name}: {self.module.with_lines(wrong.decode())}")

    @staticmethod
    def _value(argument):
        if hasattr(argument, "used"):
            return ctypes.c_void_p(argument.used().ctypes.data)
        if not isinstance(argument, (np.generic, int, float)):
            raise TypeError(f"Unsupported type {type(argument)}")
        argument = np.asarray(argument)  # Python's numbers become 64 bits, as with CuPy
        return (ctypes.c_char * argument.itemsize).from_buffer_copy(argument.tobytes())


class HostModule:
    """Compiles CUDA sources with g++.

    owner : has a `schedule`: order of the threads ("forward", "backward", "random"), whether copies are late, seed;
        and `launches`, a list that gets kernel and blocks of each
    check : of `CHECKS`
    """

    def __init__(self, *, code, options=(), name_expressions=(), owner, check=None):
        if COMPILER is None:
            raise RuntimeError("g++ is missing")
        self.owner, self.allowed = owner, {}
        self.entries = {name: f"k{i}" for i, name in enumerate(name_expressions)}
        entries = "".join(f"HOST_ENTRY({entry}, {name})\n" for name, entry in self.entries.items())
        include = next(option[2:] for option in options if option.startswith("-I"))
        self.path = _library((*OPTIONS, *CHECKS[check]), Path(include), f'#include "host.h"\n{code}\n{entries}')
        self.library = ctypes.CDLL(str(self.path))

    def get_function(self, name: str) -> HostKernel:
        """The kernel of a name expression."""
        return HostKernel(self, name, self.entries[name])

    def with_lines(self, message: str) -> str:
        """A message whose places in the machine code, <+0x...>, are lines of the sources."""

        def lines(place):
            said = subprocess.run(["addr2line", "-i", "-e", self.path, place[1]], capture_output=True, text=True).stdout
            return " < ".join(re.findall(r"([^/\s]+:\d+)", said)[:3])  # innermost first

        return re.sub(r"<\+(0x[0-9a-f]+)>", lines, message)


def _library(flags, include: Path, text: str) -> Path:
    """The shared library of a source text and the files it includes."""
    own = _included(HERE, (HERE / "host.h").read_text())
    header = _made(f"{_digest(flags, *own)}/host.h.gch", [*flags, "-c", "-x", "c++-header", HERE / "host.h"])
    options = [*flags, "-shared", f"-I{header.parent}", f"-I{include}"]
    return _made(f"{_digest(flags, *own, *_included(include, text))}.so", [*options, "-x", "c++", "-"], text)


def _included(folder: Path, text: str) -> list[str]:
    """A text, and those of all files in the folder that it includes."""
    texts = [text]
    for name in re.findall(r'^#include "(.+)"$', text, re.MULTILINE):
        if (path := folder / name).is_file():
            texts += _included(path.parent, path.read_text())
    return texts


def _made(name: str, command, text: str = "") -> Path:
    """The compiler's output of that name, made once in a folder of the system's temporary one."""
    path = Path(tempfile.gettempdir()) / f"fastrnn-cuda-host-{os.getuid()}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as work:
            made = Path(work) / path.name
            done = subprocess.run([COMPILER, *command, "-o", made], input=text, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"g++ failed:\n{done.stderr[:4000]}")
            made.replace(path)
    return path


def _digest(flags, *texts: str) -> str:
    return hashlib.sha256(repr((flags, texts)).encode()).hexdigest()[:32]
