"""Results that are plain arrays with a table: written as safetensors with a CSV file beside, and read again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np

from .. import storage
from ..errors import RunError

COMPLEX = "complex: "  # before the name of an array of pairs (real, imaginary)


class Saved:
    """A dataclass of arrays with a `table`, to be saved with a run."""

    def save(self, path) -> None:
        """Write the arrays (safetensors, `path`) and the table (CSV, beside it)."""
        arrays = {}
        for field in fields(self):
            array = getattr(self, field.name)
            if np.iscomplexobj(array):
                arrays[COMPLEX + field.name] = np.stack([array.real, array.imag], axis=-1)
            else:
                arrays[field.name] = array
        storage.save_arrays(path, arrays, {"kind": type(self).__name__})
        text = self.table.to_csv(index=False, lineterminator="\n")
        storage.atomic_write(Path(path).with_suffix(".csv"), text.encode())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; a damaged file raises `RunError`."""
        arrays, metadata = storage.load_arrays(path)
        if metadata.get("kind") != cls.__name__:
            raise RunError(f"{str(path)!r} holds no {cls.__name__}; give a file that {cls.__name__}.save wrote")
        plain = {name: array for name, array in arrays.items() if not name.startswith(COMPLEX)}
        for name in arrays.keys() - plain.keys():
            plain[name.removeprefix(COMPLEX)] = arrays[name][..., 0] + 1j * arrays[name][..., 1]
        return cls(**plain)
