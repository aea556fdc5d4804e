"""Results of a study: a dataclass of arrays, tables and plain values, to a file and back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas

from .. import storage
from ..errors import RunError

COMPLEX = "complex: "  # before the name of an array of pairs (real, imaginary)


class Result:
    """A dataclass whose fields are NumPy arrays, DataFrames (one is `table`), and what JSON can hold."""

    def __repr__(self) -> str:
        others = ", ".join(field.name for field in fields(self) if field.name != "table")
        return f"<{type(self).__name__}: a table of {len(self.table)} rows{others and '; ' + others}>"

    def save(self, path) -> None:
        """Write everything (safetensors, `path`), and for people every DataFrame as CSV beside it.

        `table` goes to the file's name with .csv, any other to that with its name added.
        """
        path = Path(path)
        arrays, tables, values = {}, {}, {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, pandas.DataFrame):
                tables[field.name] = {name: value[name].tolist() for name in value.columns}
                name = path.stem if field.name == "table" else f"{path.stem}-{field.name}"
                place = path.with_name(name + ".csv")
                storage.atomic_write(place, value.to_csv(index=False, lineterminator="\n").encode())
            elif isinstance(value, np.ndarray) and np.iscomplexobj(value):
                arrays[COMPLEX + field.name] = np.stack([value.real, value.imag], axis=-1)
            elif isinstance(value, np.ndarray):
                arrays[field.name] = value
            else:
                values[field.name] = value
        storage.save_arrays(path, arrays, {"kind": type(self).__name__, "tables": tables, "values": values})

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; `RunError` where the file is damaged or holds something else."""
        arrays, metadata = storage.load_arrays(path)
        names = {name.removeprefix(COMPLEX) for name in arrays}
        names |= metadata.get("tables", {}).keys() | metadata.get("values", {}).keys()
        if metadata.get("kind") != cls.__name__ or names != {field.name for field in fields(cls)}:
            raise RunError(f"{str(path)!r} holds no {cls.__name__}; run fastrnn analyze again to make it anew")
        known = {name: pandas.DataFrame(columns) for name, columns in metadata["tables"].items()} | metadata["values"]
        for name, array in arrays.items():
            plain = name.removeprefix(COMPLEX)
            known[plain] = array if name == plain else array[..., 0] + 1j * array[..., 1]
        return cls(**known)
