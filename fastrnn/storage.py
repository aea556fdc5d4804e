"""Files that are whole or not there: atomic writes, and named arrays with a checksum and a schema version.

Arrays are stored as safetensors (no pickle anywhere), so other tools read them too. Beside the arrays a file
holds three texts: `schema`, `checksum` and `metadata` (JSON).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from .errors import RunError, UsageError

SCHEMA_VERSION = 1  # of all files that fastrnn writes; raised when an older fastrnn could misread them
TEMPORARY = ".tmp"  # ending of a file on its way to its place
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def atomic_write(path, data: bytes) -> None:
    """Put `data` at `path` in one step: a reader sees the old file or the new one, whenever we are killed.

    Written beside its place, flushed to the disk, renamed. When that fails the old file stays as it was,
    nothing is left beside it, and a `RunError` says what to do.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def write_csv(path, table) -> None:
    """Write a pandas DataFrame, without its index."""
    atomic_write(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_json(path, value) -> None:
    """Write what JSON can hold, for people to read too."""
    atomic_write(path, (json.dumps(value, indent=1) + "\n").encode())


def make_folder(path) -> None:
    """Make a folder and those above it, where they are not there yet."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path, error: OSError) -> RunError:
    """The `RunError` for a failed write to `path`."""
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE:
        step = "what was there before is untouched; free some space and run the same command again"
    else:
        step = "choose a place that can be written, or change its permissions"
    return RunError(f"could not write {str(path)!r}: {reason}; {step}")


def read_bytes(path) -> bytes:
    """The file's content; `RunError` where it can't be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"could not read {str(path)!r}: {error.strerror or error}") from error


def hash_sources(package, patterns) -> str:
    """SHA-256 of those files of a package, their names with them.

    >>> hash_sources(Path(__file__).parent, ["storage.py"]) == hash_sources(Path(__file__).parent, ["s*age.py"])
    True
    """
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(Path(package).glob(pattern)):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def remove_temporaries(folder) -> None:
    """Remove what a killed process left behind; only for a folder that no other process writes to."""
    for path in Path(folder).glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def save_arrays(path, arrays: dict[str, np.ndarray], metadata: dict | None = None) -> None:
    """Write named arrays and metadata, with a checksum over all of it, in one piece.

    Parameters
    ----------
    path : where to
    arrays : name -> array of any shape; booleans, integers and floats
    metadata : anything JSON can hold

    Raises
    ------
    UsageError
        for an array of text or objects
    RunError
        when the file can't be written
    """
    arrays = {name: _plain(name, array) for name, array in arrays.items()}
    text = json.dumps(metadata or {})
    header = {"schema": str(SCHEMA_VERSION), "checksum": _checksum(arrays, text), "metadata": text}
    atomic_write(path, _in_order(safetensors.save(arrays, header)))


def load_arrays(path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays (writable) and metadata that `save_arrays` wrote.

    Raises
    ------
    RunError
        when the file is missing, truncated, altered, of another schema version or not from fastrnn

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_arrays(f"{folder}/a.safetensors", {"x": np.arange(3)}, {"cell": "gru"})
    ...     load_arrays(f"{folder}/a.safetensors")
    ({'x': array([0, 1, 2])}, {'cell': 'gru'})
    """
    data = read_bytes(path)
    header = _header(path, data)
    check_schema(path, header["schema"])
    try:
        arrays = {name: array.copy() for name, array in safetensors.load(data).items()}
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error
    if _checksum(arrays, header["metadata"]) != header["checksum"]:
        raise _damaged(path, "its checksum differs")
    return arrays, json.loads(header["metadata"])


def check_schema(path, schema) -> None:
    """`RunError` unless this version of fastrnn can read files of that schema version."""
    if str(schema) != str(SCHEMA_VERSION):
        raise RunError(
            f"{str(path)!r} has schema version {schema}; this fastrnn reads version {SCHEMA_VERSION}: "
            "use the fastrnn that wrote it, or start in another folder"
        )


def _plain(name: str, array) -> np.ndarray:
    """`array` contiguous and little endian, as the format wants it."""
    array = np.asarray(array, order="C")
    if array.dtype.kind not in "biuf":
        raise UsageError(f"array {name!r} must hold booleans, integers or floats; it holds {array.dtype}")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _in_order(data: bytes) -> bytes:
    """A file's bytes with the texts of its header in one order: safetensors writes them in any."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def _header(path, data: bytes) -> dict[str, str]:
    """The three texts of a file, before its arrays are trusted."""
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it has no readable header") from error
    texts = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if not {"schema", "checksum", "metadata"} <= texts.keys():
        raise RunError(f"{str(path)!r} was not written by fastrnn: it has no schema version and checksum")
    return texts


def _checksum(arrays: dict[str, np.ndarray], text: str) -> str:
    """SHA-256 over metadata, names, dtypes, shapes and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _damaged(path, why: str) -> RunError:
    return RunError(f"{str(path)!r} is damaged ({why}): restore it from a copy, or remove it to train again")


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
