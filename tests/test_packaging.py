"""What users get: the wheel's contents, and the commands of the README."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory):
    """The wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_file):
    """Names of the files in the wheel, and its metadata's text."""
    with zipfile.ZipFile(wheel_file) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return names, archive.read(metadata).decode()


def shipped(source, place):
    """Names that files below `source`, a folder of this tree, have in the wheel."""
    files = (path for path in (ROOT / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {f"{place}/{path.relative_to(ROOT / source).as_posix()}" for path in files}


def test_wheel_holds_the_package_the_kernels_the_benchmarks_and_nothing_else(wheel):
    names, _ = wheel
    expected = shipped("fastrnn", "fastrnn") | shipped("kernels", "fastrnn/_cuda")
    expected |= {name for name in shipped("benchmarks", "fastrnn/_benchmarks") if "/results/" not in name}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert "fastrnn/_cuda/README.md" in names


def test_wheel_holds_licence_and_command(wheel):
    names, metadata = wheel
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)
    assert "License-Expression: MIT" in metadata


def test_the_benchmarks_are_found_in_the_wheel_and_in_the_sources(wheel_file, tmp_path):
    with zipfile.ZipFile(wheel_file) as archive:
        archive.extractall(tmp_path)
    for place, package in ((tmp_path, "fastrnn._benchmarks"), (ROOT, "benchmarks")):
        code = "from fastrnn.cli.bench import _benchmarks; print(_benchmarks('rounds').__name__)"
        environment = os.environ | {"PYTHONPATH": str(place)}
        said = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path.parent, env=environment, text=True)
        assert said.strip() == f"{package}.rounds"


def test_cuda_extras_bring_cupy_its_compiler_and_headers_of_one_version():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in ("cuda12", "cuda13"):
        for library in ("cupy", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"):
            (requirement,) = (r for r in extras[extra] if r.startswith(library))
            assert extra[-2:] in requirement


def test_continuous_integration_runs_the_command_of_the_readme():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    assert "pip install -e '.[test]' && .venv/bin/python tests/gate.py" in readme
    assert "pip\" install --quiet -e '.[test]'" in ci
    assert 'python" tests/gate.py' in ci
