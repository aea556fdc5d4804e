"""Every kernel compiled by NVRTC for the architectures it is meant for, with bounds on registers and spills."""

import re
from concurrent.futures import ThreadPoolExecutor

import oracle
import pytest

from fastrnn.engines.cuda.group import TASKS
from fastrnn.engines.cuda.launch import ARGUMENTS, compiler_options, source_text
from fastrnn.engines.cuda.tiling import make_tiling, type_of

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC is missing: pip install '.[test]'")

SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}  # bytes a block may have
SHARED_OF_CARDS = {86: 99 << 10, 120: 99 << 10}  # the same of GeForce cards: smaller tiles
MOST, USUAL, TWO_BLOCKS = 255, 224, 128  # registers; the last where two blocks are to fit, of 256 threads
SPILLED = {80: 0, 90: 0, 100: 112}  # bytes at most, by architecture: the GRU's way back, outside its products
# around calls of pow, exp and tanh
AROUND_CALLS = {"descend": 16, "step_points": 48, "jacobian_points": 24, "levenberg_marquardt": 56}
POINTS = ("step_points", "jacobian_points", "levenberg_marquardt")
BUILT = ("rollout", "readout", "backward", "weight_gradient")


def compiled(architecture, sources, names):
    """Registers and spilled bytes of each kernel, by its name in the machine code."""
    program = checked(nvrtc.nvrtcCreateProgram(source_text(sources).encode(), b"fastrnn.cu", 0, [], []))
    for name in names:
        checked(nvrtc.nvrtcAddNameExpression(program, name.encode()))
    as_cupy = ("-ftz=true", "--device-as-default-execution-space")
    options = [f"-arch=sm_{architecture}", *as_cupy, "--ptxas-options=-v", *compiler_options()]
    done = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
    log = b" " * checked(nvrtc.nvrtcGetProgramLogSize(program))
    checked(nvrtc.nvrtcGetProgramLog(program, log))
    assert done[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS, log.decode()
    lowered = {checked(nvrtc.nvrtcGetLoweredName(program, name.encode())).decode(): name for name in names}
    made = {}
    for part in log.decode().split("Compiling entry function '")[1:]:
        registers = int(re.search(r"Used (\d+) registers", part)[1])
        spilled = sum(map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part).groups()))
        made[lowered[part.split("'")[0]]] = registers, spilled
    assert set(made) == set(names)
    return made


def checked(result):
    """The value of a call, or None, if it succeeded."""
    assert result[0] == nvrtc.nvrtcResult.NVRTC_SUCCESS, result[0]
    return result[1] if len(result) > 1 else None


def kind_compiles(case):
    """All kernels of one kind and size."""
    architecture, cell, activation, n, *precision = case
    tiling = make_tiling(cell, activation, n, 64, 100, 3, (SHARED | SHARED_OF_CARDS)[architecture], *precision)
    kernels = [getattr(tiling, name) for name in BUILT]
    made = compiled(architecture, [kernel.source for kernel in kernels], [kernel.name for kernel in kernels])
    two_blocks = {tiling.readout.name} | ({tiling.weight_gradient.name} if precision == [] else set())
    for name, (registers, spilled) in made.items():
        usual = MOST if cell == "gru" or n == 16 or architecture == 100 else USUAL
        assert registers <= (TWO_BLOCKS if name in two_blocks and n in (128, 256) else usual), (name, registers)
        gru_back = cell == "gru" and precision == [] and name.startswith("backward")
        most = SPILLED[architecture] if gru_back else 0
        assert spilled <= most, (name, spilled)


CASES = [(90, cell, "tanh", n) for cell in oracle.CELLS for n in (64, 128, 256)]
CASES += [(90, cell, "relu", 48) for cell in oracle.CELLS] + [(90, "gru", "tanh", 16)]
CASES += [(architecture, cell, "tanh", 256) for architecture in (80, 100) for cell in oracle.CELLS]
CASES += [(90, cell, "tanh", n, "bf16x3") for cell in oracle.CELLS for n in (64, 256)]
CASES += [(architecture, cell, "relu", 128, "bf16x3") for architecture in (80, 100) for cell in oracle.CELLS]
CASES += [(80, "lstm", "relu", 208), (100, "gru", "relu", 176)]
CASES += [(86, "lstm", "tanh", 256), (86, "vanilla", "relu", 128), (120, "lstm", "tanh", 256, "bf16x3")]


def test_kernels_of_every_kind_compile():
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(kind_compiles, CASES))


@pytest.mark.parametrize("architecture", SHARED)
def test_common_kernels_compile(architecture):
    trials = ["noise", *(f"trials<{task}>" for task in TASKS.values())]
    points = [f"{name}<{type_of(cell, 'tanh')}>" for name in POINTS for cell in oracle.CELLS]
    others = [name for name in ARGUMENTS if name.removesuffix("_bf16x3") not in (*BUILT, *POINTS, "trials", "noise")]
    made = compiled(architecture, ["trials"], trials) | compiled(architecture, ["update", "peak"], others)
    made |= compiled(architecture, ["points", "levenberg_marquardt"], points)
    for name, (registers, spilled) in made.items():
        assert registers <= 128, name
        assert spilled <= AROUND_CALLS.get(name.partition("<")[0], 0), (name, spilled)
