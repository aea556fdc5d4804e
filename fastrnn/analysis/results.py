"""Results that are plain arrays with a table: written as safetensors with a CSV file beside, and read again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import ClassVar

import numpy as np

from .. import storage
from ..errors import RunError, UsageError

COMPLEX = "complex: "  # before the name of an array of pairs (real, imaginary)
SHAPE = "shape: "  # before the name of an array that holds the shapes of a list's arrays


class Saved:
    """A dataclass of arrays with a `table`, to be saved with a run; not those that are `recomputed`."""

    recomputed: ClassVar[frozenset[str]] = frozenset()

    def save(self, path) -> None:
        """Write the arrays (safetensors, `path`) and the table (CSV, beside it)."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.recomputed}
        _write(path, split_complex(arrays), type(self).__name__, self.table)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; a damaged file raises `RunError`."""
        return cls(**cls._stored(path))

    @classmethod
    def _stored(cls, path) -> dict[str, np.ndarray]:
        return join_complex(_read(path, cls.__name__, f"{cls.__name__}.save"))


class Listed:
    """A dataclass of numbers and arrays about one search, with a `table`; lists of them are saved in one file."""

    @classmethod
    def save_list(cls, path, items) -> None:
        """Write all items: their arrays end to end (safetensors, `path`), and their tables (CSV, beside it)."""
        import pandas

        items, arrays = list(items), {}
        for item in items:
            if type(item) is not cls:
                raise UsageError(f"items must be of {cls.__name__}; one is {type(item).__name__}")
        for field in fields(cls) if items else ():
            values = [np.asarray(getattr(item, field.name)) for item in items]
            arrays[field.name] = np.concatenate([value.ravel() for value in values])
            arrays[SHAPE + field.name] = np.array([value.shape for value in values], np.int64)
        table = pandas.concat([item.table for item in items]) if items else pandas.DataFrame()
        _write(path, arrays, f"{cls.__name__} list", table)

    @classmethod
    def load_list(cls, path) -> list:
        """Read what `save_list` wrote; a damaged file raises `RunError`."""
        arrays, columns = _read(path, f"{cls.__name__} list", f"{cls.__name__}.save_list"), {}
        for name in [field.name for field in fields(cls)] if arrays else ():
            shapes = [tuple(shape) for shape in arrays[SHAPE + name].tolist()]
            ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
            parts = np.split(arrays[name], ends[:-1])
            made = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
            columns[name] = [value if value.ndim else value.item() for value in made]
        return [cls(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def split_complex(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays as files hold them: complex ones as pairs (real, imaginary), under a name that says so."""
    made = {}
    for name, array in arrays.items():
        if np.iscomplexobj(array):
            made[COMPLEX + name] = np.stack([array.real, array.imag], axis=-1)
        else:
            made[name] = array
    return made


def join_complex(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `split_complex` took apart."""
    made = {}
    for name, array in arrays.items():
        if name.startswith(COMPLEX):
            made[name.removeprefix(COMPLEX)] = array[..., 0] + 1j * array[..., 1]
        else:
            made[name] = array
    return made


def _write(path, arrays, kind: str, table) -> None:
    storage.save_arrays(path, arrays, {"kind": kind})
    storage.write_csv(Path(path).with_suffix(".csv"), table)


def _read(path, kind: str, writer: str) -> dict[str, np.ndarray]:
    arrays, metadata = storage.load_arrays(path)
    if metadata.get("kind") != kind:
        raise RunError(f"{str(path)!r} holds no {kind}; give a file that {writer} wrote")
    return arrays
