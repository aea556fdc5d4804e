"""Results of a study: a dataclass of arrays, tables and plain values, to a file and back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas

from .. import storage
from ..analysis.results import join_complex, split_complex
from ..errors import RunError


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
                storage.write_csv(place, value)
            elif isinstance(value, np.ndarray):
                arrays[field.name] = value
            else:
                values[field.name] = value
        metadata = {"kind": type(self).__name__, "tables": tables, "values": values}
        storage.save_arrays(path, split_complex(arrays), metadata)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; `RunError` where the file is damaged or holds something else."""
        arrays, metadata = storage.load_arrays(path)
        arrays = join_complex(arrays)
        names = arrays.keys() | metadata.get("tables", {}).keys() | metadata.get("values", {}).keys()
        if metadata.get("kind") != cls.__name__ or names != {field.name for field in fields(cls)}:
            raise RunError(f"{str(path)!r} holds no {cls.__name__}; run fastrnn analyze again to make it anew")
        tables = {name: pandas.DataFrame(columns) for name, columns in metadata["tables"].items()}
        return cls(**tables, **metadata["values"], **arrays)
