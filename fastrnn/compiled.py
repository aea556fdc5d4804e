"""The one decorator for compiled functions, and their cache on disk.

numba's own cache looks only at the file a function stands in: an edit in a callee of another file leaves stale
machine code behind, and two processes that compile at once can swap each other's entries. Here an entry's file name
is a digest of everything it depends on: all sources of the package that are compiled, the function, the types, the
processor, and the versions of Python, numba and llvmlite.

Entries of other sources are of no use to these, but may be to another installation. They go when nobody has used them
for a while, or when there are many; to a process that does use them that is a miss, and it compiles again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import cache, update_wrapper, wraps
from pathlib import Path
from types import FunctionType

import llvmlite
import numba
from llvmlite import ir
from numba import types
from numba.core import ccallback, sigutils
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from .storage import hash_sources

PACKAGE = Path(__file__).resolve().parent
COMPILED_SOURCES = (
    "compiled.py",
    "counters.py",
    "cells/**/*.py",
    "tasks/**/*.py",
    "engines/cpu/**/*.py",
    "analysis/similarity/nuclear.py",
    "analysis/dsa/alignment.py",
)

DIGITS = 16  # of the digest, which names a folder
UNUSED_SECONDS, MOST_FOLDERS = 60 * 86_400, 32  # kept of other sources; a folder is some 4 MB

# a*b+c may be fused and the sign of zero is free. Not "nnan" or "ninf": a diverged network must be seen. Not "reassoc":
# sums keep the order in which they are written.
FAST_MATH = {"contract", "nsz"}


@cache
def sources_digest() -> str:
    """Digest of every source that compiled code is made from, and of what compiles them."""
    versions = (numba.__version__, llvmlite.__version__, *map(str, sys.version_info[:2]))
    said = " ".join((*versions, hash_sources(PACKAGE, COMPILED_SOURCES)))
    return hashlib.sha256(said.encode()).hexdigest()[:DIGITS]


def cache_folder() -> Path:
    """Where compiled code is kept: `FASTRNN_CACHE_DIR`, else the user's cache folder."""
    if "FASTRNN_CACHE_DIR" in os.environ:
        return Path(os.environ["FASTRNN_CACHE_DIR"])
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", tempfile.gettempdir())
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(base) / "fastrnn"


@cache
def note_use(folder: Path) -> None:
    """Note, once in a process, that a folder of entries is in use."""
    with suppress(OSError):
        os.utime(folder)


@cache
def remove_unused(folder: Path) -> None:
    """Remove, once in a process, the folders beside `folder` that were not used for long, and the oldest of many."""
    with suppress(OSError):
        beside = [path for path in folder.parent.iterdir() if re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", path.name)]
        used = {path: path.stat().st_mtime for path in beside if path != folder}
        newest = sorted(used, key=used.get, reverse=True)
        for place, path in enumerate(newest):
            if place >= MOST_FOLDERS or used[path] < time.time() - UNUSED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


class _Locator(_CacheLocator):
    """Tells numba where our entries lie and how fresh they are."""

    def __init__(self, py_func, py_file):
        self._py_file, self._line = py_file, py_func.__code__.co_firstlineno

    def get_cache_path(self):
        return str(cache_folder() / sources_digest())

    def get_source_stamp(self):
        return sources_digest()

    def get_disambiguator(self):
        return str(self._line)

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func, py_file)


class _Implementation(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _Entries:
    """One file per key, named by the key's digest; a damaged or unwritable file is a miss, never an error."""

    def __init__(self, folder: str, function: str):
        self.folder, self.function = Path(folder), function

    def _path(self, key) -> Path:
        return self.folder / f"{self.function}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.bin"

    def load(self, key):
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        note_use(self.folder)
        return pickle.loads(data[32:])

    def save(self, key, value):
        from numba.core.serialize import dumps

        data = dumps(value)
        path = self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            temporary.replace(path)
            remove_unused(self.folder)
        except OSError:
            temporary.unlink(missing_ok=True)

    def flush(self):
        for path in self.folder.glob(f"{self.function}-*.bin"):
            path.unlink(missing_ok=True)


class SourceKeyedCache(FunctionCache):
    """numba's function cache with our entries instead of its index and numbered files."""

    _impl_class = _Implementation

    def __init__(self, py_func, name: str = ""):
        super().__init__(py_func)
        self._cache_file = _Entries(self._cache_path, name or self._impl.filename_base)

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple()  # the folder's name stands for the sources

    def _save_overload(self, sig, data):
        try:
            super()._save_overload(sig, data)
        except OSError:
            return  # no place for a cache: compile again next time


def compiled(function=None, *, keep=True, inline=False, signature=None, checked=False):
    """House decorator: no GIL, NumPy's error model, `FAST_MATH`, machine code kept on disk (unless `keep=False`).

    `inline` puts the function into its callers, where a loop around it can be vectorised. With a `signature` it is
    compiled for these types alone, at the first call: otherwise numba makes others of arguments that are constants.
    `checked` makes an index beyond an array an `IndexError`.

    >>> @compiled(keep=False)
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """

    def decorate(py_func):
        if not keep:
            py_func = _of_its_own_name(py_func)
        options = {"nogil": True, "error_model": "numpy", "fastmath": FAST_MATH, "forceinline": inline}
        options |= {"boundscheck": True} if checked else {}
        dispatcher = numba.njit(**options)(py_func)
        if signature is not None and not numba.config.DISABLE_JIT:
            kinds, _ = sigutils.normalize_signature(signature)
            compile_for = dispatcher.compile
            dispatcher.compile = lambda _: compile_for(kinds)
        if keep and not numba.config.DISABLE_JIT:
            dispatcher._cache = SourceKeyedCache(py_func)
        return dispatcher

    return decorate if function is None else decorate(function)


def _of_its_own_name(function):
    """The same function under a qualified name that no other one has, in this process or any.

    Machine code that is kept holds a copy of all it calls, and of copies of one name the first that a process loads is
    called by all. numba tells functions of one qualified name (two from one closure, say) apart by a number alone,
    which another process may have given to the other one.
    """
    same = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    update_wrapper(same, function)
    same.__kwdefaults__ = function.__kwdefaults__
    same.__qualname__ = f"{function.__qualname__}_{secrets.token_hex(8)}"
    return same


def once(function):
    """`cache` for what is not to be made twice by threads that ask for it at the same time."""
    made, lock = cache(function), threading.RLock()

    @wraps(function)
    def ask(*arguments):
        with lock:
            return made(*arguments)

    return ask


def part(function=None, *, signature=None):
    """`compiled` for a function that only other compiled functions call: no machine code of its own is kept."""
    return compiled(function, keep=False, signature=signature)


def compiled_callback(signature, *, name: str | None = None):
    """As `compiled`, but gives the function's address, which stays valid, for compiled code: see `call_by_address`.

    Kept on disk only under a `name`, which must stand for all that the function closes over.
    """

    def decorate(py_func):
        callback = ccallback.CFunc(
            _of_its_own_name(py_func),
            sigutils.normalize_signature(signature),
            locals={},
            options={"error_model": "numpy", "fastmath": FAST_MATH},
        )
        if name is not None:
            callback._cache = SourceKeyedCache(py_func, name)
        callback.compile()
        _kept_alive.append(callback)
        return callback.address

    return decorate


_kept_alive: list = []  # an address must stay valid as long as the process


def call_by_address(signature):
    """What an intrinsic returns that calls a `compiled_callback` of a signature.

    Its arguments are the address, then those of the signature, arrays by address too.
    """

    def generate(context, builder, _, arguments):
        kinds = [context.get_value_type(kind) for kind in signature.args]
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        values = [
            builder.inttoptr(value, kind) if kind.is_pointer else value
            for value, kind in zip(arguments[1:], kinds, strict=True)
        ]
        builder.call(function, values)
        return context.get_dummy_value()

    given = (types.intp if isinstance(kind, types.CPointer) else kind for kind in signature.args)
    return types.void(types.intp, *given), generate
