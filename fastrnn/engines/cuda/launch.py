"""The one way a kernel is launched: its arguments checked by name, type, layout and place, its code compiled once.

CuPy checks nothing of this: a Python number becomes 64 bits wide, strides are ignored, and an array of another device
or type is read as it lies.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import RunError, UsageError
from ...processors import usable_processors
from ...storage import hash_sources
from .gpu import CACHE
from .tiling import Kernel

# Arguments in order: name, and type as NumPy writes it, "*" for an array.
ARGUMENTS = {
    "trials": "keys u8*, iterations i8*, status i4*, settings f8*, inputs f4*, targets f4*, mask f4*, purpose u4, "
    "first u4, T i4, B i4, P i4, D i4, K i4",
    "rollout": "parameters f4*, inputs f4*, states f4*, gates f4*, status i4*, gate_bias f4, stride i4, T i4, P i4, "
    "D i4, K i4, gate_steps i4, noisy i4",
    "noise": "gates f4*, keys u8*, iterations i8*, status i4*, scales f8*, purpose u4, T i4, P i4, n i4",
    "readout": "parameters f4*, states f4*, targets f4*, mask f4*, errors f4*, gradients f4*, sums f8*, status i4*, "
    "stride i4, T i4, P i4, D i4, K i4, slices i4, graded i4",
    "backward": "parameters f4*, transposed f4*, states f4*, gates f4*, errors f4*, das f4*, dh0 f4*, status i4*, "
    "stride i4, T i4, P i4, D i4, K i4, gate_bias f4",
    "weight_gradient": "states f4*, inputs f4*, gates f4*, das f4*, gradients f4*, status i4*, stride i4, T i4, P i4, "
    "slices i4",
    "rollout_bf16x3": "parameters f4*, fragments u4*, inputs f4*, states f4*, gates f4*, status i4*, gate_bias f4, "
    "stride i4, T i4, P i4, D i4, K i4, gate_steps i4, noisy i4",
    "backward_bf16x3": "parameters f4*, fragments u4*, states f4*, gates f4*, errors f4*, das f4*, dh0 f4*, "
    "status i4*, stride i4, T i4, P i4, D i4, K i4, gate_bias f4",
    "weight_gradient_bf16x3": "states f4*, inputs f4*, gates f4*, das f4*, gradients f4*, status i4*, stride i4, T i4, "
    "P i4, slices i4",
    "collect": "parameters f4*, gradients f4*, dh0 f4*, sums f8*, l2 f8*, losses f8*, norms f8*, status i4*, "
    "stride i4, count i4, at_h0 i4, slices i4, tiles i4, K i4",
    "descend": "parameters f4*, velocities f4*, squares f4*, gradients f4*, losses f8*, norms f8*, "
    "hyperparameters f8*, decay_steps i8*, iterations i8*, status i4*, curves f4*, stride i4, count i4, slices i4, "
    "column i4, curve_length i4, squares_decay f8, epsilon f4",
    "transpose": "parameters f4*, transposed f4*, status i4*, stride i4, n i4, columns i4",
    "fragments": "parameters f4*, forward_fragments u4*, backward_fragments u4*, status i4*, stride i4, n i4, "
    "columns i4",
    "step_points": "parameters f4*, states f8*, inputs f8*, next f8*, gate_bias f8, stride i4, n i4, D i4",
    "jacobian_points": "parameters f4*, states f8*, inputs f8*, jacobians f8*, gate_bias f8, stride i4, n i4, D i4",
    "levenberg_marquardt": "parameters f4*, networks i4*, states f8*, inputs f8*, limits f8*, work f8*, q_out f8*, "
    "taken_out i4*, rules f8*, gate_bias f8, stride i4, n i4, D i4, iterations i4, patience i4",
    "peak": "values f4*, rounds i4",
}
MOST_THREADS = 1024
MOST_BLOCKS = (2**31 - 1, 65535, 65535)


def kernels_folder() -> Path:
    """Where the CUDA sources lie: inside an installed package, or beside it in the sources."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_cuda", package.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise RunError("the CUDA sources are not in this installation; install fastrnn from its wheel or its sources")


@cache
def sources_digest() -> str:
    """Digest of all CUDA sources; part of every text that is compiled, so that no stale code is taken from a cache."""
    return hash_sources(kernels_folder(), ("**/*.cu", "**/*.cuh"))[:16]


def source_text(files) -> str:
    """What is compiled: the files by name, so that errors say where they are.

    >>> print(source_text(["rollout"]).splitlines()[1])
    #include "rollout.cu"
    """
    return f"// fastrnn {sources_digest()}\n" + "".join(f'#include "{file}.cu"\n' for file in files)


def compiler_options() -> tuple[str, ...]:
    """Options of NVRTC besides the architecture."""
    return ("-std=c++17", f"-I{kernels_folder()}")


@cache
def signature(kernel: str) -> dict[str, tuple[np.dtype, bool]]:
    """Arguments of a kernel: type, and whether an array."""
    made = {}
    for said in ARGUMENTS[kernel].split(", "):
        name, kind = said.split(" ")
        made[name] = (np.dtype(kind.rstrip("*")), "*" in kind)
    return made


@cache
def bounds(kind: np.dtype) -> tuple[int, int]:
    """Least and largest number of an integer type."""
    return int(np.iinfo(kind).min), int(np.iinfo(kind).max)


class Launcher:
    """Compiles kernels for a device, each once, and launches them."""

    def __init__(self, device):
        self.device = device
        self._compiled = {}
        self._allowed = {}  # bytes of shared memory that were asked for, by kernel

    def compile_all(self, sets) -> None:
        """`compile` several sets of kernels, as many beside each other as there are processors."""

        def work(kernels):
            with self.device.stream(0):  # a thread of its own is on no device yet
                self.compile(kernels)

        if sets := [kernels for kernels in sets if self._missing(kernels)]:
            with ThreadPoolExecutor(usable_processors()) as pool:
                list(pool.map(work, sets))  # raises what one raises

    def _missing(self, kernels) -> list[Kernel]:
        return [kernel for kernel in kernels if kernel.name not in self._compiled]

    def compile(self, kernels) -> None:
        """Compile those of some kernels that are not yet, all together."""
        if missing := self._missing(kernels):
            try:
                module = self.device.module(
                    code=source_text(dict.fromkeys(kernel.source for kernel in missing)),
                    options=compiler_options(),
                    name_expressions=tuple(kernel.name for kernel in missing),
                )
                made = {kernel.name: module.get_function(kernel.name) for kernel in missing}
            except OSError as error:  # CuPy writes machine code to disk
                raise RunError(f"CuPy can't keep compiled kernels ({error}): {CACHE}") from error
            self._compiled |= made

    def _ready(self, kernel: Kernel):
        """The kernel's code, allowed as much shared memory as it needs now: some kernels do networks of any size."""
        limit = self.device.shared_limit
        if kernel.shared > limit:
            raise UsageError(f"kernel {kernel.name} needs {kernel.shared} bytes of shared memory; a block has {limit}")
        self.compile([kernel])
        function = self._compiled[kernel.name]
        if kernel.shared > self._allowed.get(kernel.name, 0):
            # CuPy gives the same code to every launcher: what another one was allowed is not taken back
            allowed = max(kernel.shared, function.max_dynamic_shared_size_bytes)
            function.max_dynamic_shared_size_bytes = self._allowed[kernel.name] = allowed
        return function

    def launch(self, kernel: Kernel, blocks: tuple[int, ...], **arguments) -> None:
        """Launch a kernel on so many blocks, (x,), (x, y) or (x, y, z).

        Raises
        ------
        UsageError
            for an argument too many or missing, an array of the wrong type, layout or device, and impossible shapes of
            the launch
        """
        name = kernel.name.partition("<")[0]
        wanted = signature(name)
        if set(arguments) != set(wanted):
            odd = sorted(set(arguments) ^ set(wanted))
            raise UsageError(f"kernel {name} takes {', '.join(wanted)}; missing or unknown: {', '.join(odd)}")
        if not 0 < kernel.threads <= MOST_THREADS:
            raise UsageError(f"kernel {name}: a block has 1 to {MOST_THREADS} threads; asked for {kernel.threads}")
        if not all(0 < count <= most for count, most in zip(blocks, MOST_BLOCKS, strict=False)):
            raise UsageError(f"kernel {name}: at most {MOST_BLOCKS} blocks, at least one; asked for {blocks}")
        values = [
            self._array(name, argument, arguments[argument], kind)
            if is_array
            else self._number(name, argument, arguments[argument], kind)
            for argument, (kind, is_array) in wanted.items()
        ]
        self._ready(kernel)(blocks, (kernel.threads,), tuple(values), shared_mem=kernel.shared)

    def _array(self, kernel, name, array, kind):
        if not self.device.owns(array):
            where = type(array).__module__.partition(".")[0]
            raise UsageError(f"kernel {kernel}: {name} must be an array on {self.device.name}; it is of {where}")
        if array.dtype != kind:
            raise UsageError(f"kernel {kernel}: {name} must be {kind}; it is {array.dtype}")
        if not array.flags.c_contiguous:
            raise UsageError(f"kernel {kernel}: {name} must be contiguous; its strides are {array.strides}")
        return array

    @staticmethod
    def _number(kernel, name, value, kind):
        if kind.kind in "iu":
            least, largest = bounds(kind)
            if not least <= value <= largest:
                raise UsageError(f"kernel {kernel}: {name} must fit {kind}; it is {value}")
        return kind.type(value)
