"""The disk cache of compiled code: kept, keyed to the sources, and never in the way."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import types

from fastrnn import compiled as module
from fastrnn.compiled import cache_folder, compiled, once, part, sources_digest


def triple(x):
    """What is compiled here."""
    return 3 * x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTRNN_CACHE_DIR", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    return tmp_path / "cache"


def entries(folder):
    return sorted(folder.rglob("*.bin"))


def test_the_second_time_is_read_from_disk(folder):
    assert compiled(triple)(2) == 6
    (entry,) = entries(folder)
    assert entry.parent.name == sources_digest()
    again = compiled(triple)
    assert again(2) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    assert not sum(again.stats.cache_misses.values())
    assert again(2.5) == 7.5  # other types, an entry of its own
    assert len(entries(folder)) == 2


def test_functions_from_one_closure_have_names_of_their_own_in_machine_code():
    """Else code that several processes have kept would call the one in place of the other, where they meet."""

    def times(k):
        @part
        def closed(x):
            return k * x

        assert closed(2) == 2 * k
        (made,) = closed.overloads.values()
        return made.fndesc.qualname

    names = [times(k) for k in (2, 3, 3)]
    assert len(set(names)) == 3 and all("closed" in name for name in names)


COLLISION = """
import sys
import numpy as np
from samples import random_networks, random_trials
from fastrnn import engines
from fastrnn.engines.cpu.engine import measured_rate
engine = engines.get("cpu", threads=1)
for cell in sys.argv[1:]:
    if cell == "rate":
        measured_rate()
        continue
    networks = random_networks(cell, "tanh", 5, 3, 5, 2, seed=5, gate_bias=0.75)
    losses, gradients = engine.loss_and_gradients(networks, *random_trials(networks, 16, 3, seed=3))
    print(cell, losses.tobytes().hex(), *(gradient.tobytes().hex() for gradient in gradients.values()))
"""


def test_code_that_other_processes_have_kept_computes_the_same(tmp_path):
    """Kept by two processes that compiled in different orders, loaded together by a third."""

    def run(folder, *cells):
        # one order of sets, as names of machine code hold some
        variables = {"PYTHONHASHSEED": "0", "FASTRNN_CACHE_DIR": str(tmp_path / folder)}
        environment = os.environ | variables | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", COLLISION, *cells]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    run("kept", "ugrnn")
    run("kept", "rate", "gru")
    assert run("kept", "ugrnn", "gru") == run("fresh", "ugrnn", "gru")


def test_nothing_else_is_left_in_the_folder(folder):
    compiled(triple)(2)
    assert [path for path in folder.rglob("*") if path.is_file()] == entries(folder)


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: data[:-1] + b"\x00\x01", lambda data: b""])
def test_a_damaged_entry_is_compiled_again(folder, damage):
    compiled(triple)(2)
    (entry,) = entries(folder)
    good = entry.read_bytes()
    entry.write_bytes(damage(good))
    again = compiled(triple)
    assert again(2) == 6
    assert not sum(again.stats.cache_hits.values())
    final = compiled(triple)
    assert final(2) == 6
    assert sum(final.stats.cache_hits.values()) == 1


def test_a_place_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTRNN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert compiled(triple)(2) == 6


def test_any_edit_of_a_compiled_source_gives_another_folder(tmp_path, monkeypatch):
    digests = set()
    copy = tmp_path / "fastrnn"
    shutil.copytree(module.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)

    def digest():
        sources_digest.cache_clear()
        value = sources_digest()
        assert value not in digests
        digests.add(value)

    try:
        digest()
        for source in ("counters.py", "cells/gru.py", "tasks/cdi.py", "engines/cpu/products.py", "compiled.py"):
            with (copy / source).open("a") as file:
                file.write("# edited\n")
            digest()
        (copy / "cells" / "new.py").write_text("")
        digest()
        monkeypatch.setattr(module.sys, "version_info", (3, 99))  # another Python reads other bytes
        digest()
    finally:
        sources_digest.cache_clear()


def test_what_nobody_used_for_long_is_removed(folder):
    beside = [folder / f"{i:016x}" for i in range(module.MOST_FOLDERS + 3)]
    for days, path in enumerate(beside):
        path.mkdir(parents=True)
        (path / "entry.bin").write_bytes(b"old")
        os.utime(path, (time.time() - days * 86_400,) * 2)
    os.utime(beside[5], (0, 0))
    theirs = folder / "notes"
    theirs.mkdir()
    os.utime(theirs, (0, 0))
    assert compiled(triple)(2) == 6
    kept = [path for path in beside if path.exists()]
    assert kept == [path for path in beside if path != beside[5]][: module.MOST_FOLDERS]
    assert theirs.exists() and len(entries(folder / sources_digest())) == 1
    os.utime(folder / sources_digest(), (0, 0))
    module.note_use.cache_clear()
    assert compiled(triple)(2) == 6  # read, and noted
    assert (folder / sources_digest()).stat().st_mtime > time.time() - 60


def test_a_folder_that_another_process_removed_is_made_again(folder):
    first = compiled(triple)
    assert first(2) == 6
    shutil.rmtree(folder)
    assert first(2.5) == 7.5 and compiled(triple)(2) == 6
    assert len(entries(folder)) >= 1


def test_the_default_place_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("FASTRNN_CACHE_DIR", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fastrnn"


def test_not_kept_on_request(folder):
    assert compiled(keep=False)(triple)(2) == 6
    assert not entries(folder)


def test_arithmetic_is_not_reordered_and_what_is_not_finite_is_seen():
    @compiled(keep=False)
    def total(x):
        result = np.float32(0.0)
        for value in x:
            result += value
        return result, np.isfinite(result)

    x = np.array([1e8, 1.0, -1e8, 1.0], np.float32)
    assert total(x) == (1.0, True)
    assert not total(np.array([1.0, np.nan], np.float32))[1]
    assert not total(np.array([np.inf, 1.0], np.float32))[1]


def test_a_signature_is_all_that_is_compiled_and_not_before_it_is_called():
    """Whatever the arguments are to numba, constants or not."""

    @part(signature=types.int64(types.int64, types.boolean))
    def inner(a, b):
        return a + b

    @compiled(keep=False)
    def outer(a):
        return inner(a, True) + inner(3, a > 0)

    assert not inner.signatures
    assert outer(2) == 7 and [str(kinds) for kinds in inner.signatures] == ["(int64, bool)"]


def test_once_makes_one_thing_for_all_threads():
    made = []

    @once
    def slow(name):
        time.sleep(0.05)
        made.append(name)
        return len(made)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(slow, ["a"] * 4)) == {1}
    assert slow("b") == 2 and made == ["a", "b"]
