"""The machine a result comes from, in words and numbers; nothing that tells whose it is."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llvmlite import binding
from threadpoolctl import threadpool_info

from fastrnn.engines.cpu.vectors import HAS_FMA, LANES
from fastrnn.plan import physical_memory

LIBRARIES = ("numpy", "numba", "llvmlite", "jax", "jaxlib", "torch")


def describe(processors: int, threads: int) -> dict:
    """Processor, vector width, how many processors there are and threads were used, memory, system and versions."""
    return {
        "processor": processor_name(),
        "architecture": binding.get_host_cpu_name(),
        "vector_bits": 32 * LANES,
        "fma": bool(HAS_FMA),
        "caches": caches(),
        "processors": processors,
        "threads": threads,
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "blas": [
            " ".join(str(library.get(key)) for key in ("internal_api", "version", "architecture") if library.get(key))
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ],
    }


def processor_name() -> str:
    """As its maker calls it, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    except OSError:
        pass
    if platform.system() == "Darwin":
        said = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if said.returncode == 0:
            return said.stdout.strip()
    return platform.processor() or platform.machine()


def caches() -> dict[str, str]:
    """Size of each cache of the first processor, where the system tells."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def memory_gb() -> float | None:
    """Memory of the machine, where the system tells."""
    there = physical_memory()
    return None if there is None else round(there / 1e9, 1)


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def words(machine: dict) -> str:
    """One line."""
    fma = "" if machine["fma"] else ", no FMA"
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return (
        f"{machine['processor']} ({machine['architecture']}, {machine['vector_bits']}-bit vectors{fma}), "
        f"{threads} of {machine['processors']}"
    )
