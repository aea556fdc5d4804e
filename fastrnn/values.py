"""Checks of single values that a user gives, and of lists of them."""

from __future__ import annotations

import difflib
import numbers
from math import inf, isfinite
from os import PathLike
from pathlib import Path

import numpy as np

from .errors import UsageError

LIKENESS = 0.7  # of a name to the one that was meant; gpu and cpu are less alike
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def whole_number(name: str, value, least: int) -> int:
    """`value` as an int; `UsageError` unless it is a whole number, at least `least` (0 or 1)."""
    words = "a positive whole number" if least else "a whole number, 0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(f"{name} must be {words}; it is {value!r}")
    return int(value)


def check_sizes(**sizes) -> None:
    """`UsageError` unless every size is a positive whole number."""
    for name, size in sizes.items():
        whole_number(name, size, 1)


def real_number(name: str, value, least: float | None = None) -> float:
    """`value` as a float; `UsageError` unless it is a number finite in float32, 0 or more where `least` is given."""
    number = not isinstance(value, bool) and isinstance(value, (int, float, np.integer, np.floating))
    try:
        number = number and isfinite(value)
    except OverflowError:  # a whole number beyond every float
        number = False
    if not number or (least is not None and value < least):
        raise UsageError(f"{name} must be a number{'' if least is None else ', 0 or more'}; it is {value!r}")
    if abs(float(value)) > LARGEST_FLOAT32:
        raise UsageError(f"{name} must be finite in float32, at most {LARGEST_FLOAT32:.2g}; it is {value!r}")
    narrow = isinstance(value, np.floating) and value.dtype.itemsize < 8  # 0.001 of float32 is not that of float64
    return float(str(value) if narrow else value) + 0.0  # nor is -0.0 a number of its own


def check_name(what: str, name: str, allowed, where: str = "", also: str = "") -> None:
    """`UsageError` with the nearest allowed name unless `name` is one of `allowed`; also : what else would do."""
    if name not in allowed:
        near = difflib.get_close_matches(str(name), allowed, 1, LIKENESS)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"unknown {what} {name!r}{where}{hint}; allowed are {', '.join(allowed)}{also}")


def a_path(name: str, value) -> Path:
    """`value` as a path; `UsageError` for what names no file or folder."""
    if not isinstance(value, (str, PathLike)):
        raise UsageError(f"{name} must be a path; it is {value!r}")
    return Path(value)


def is_number(value) -> bool:
    """Whether something is a real number; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_positive(**values: float) -> None:
    """`UsageError` unless every value is a finite number above 0."""
    for name, value in values.items():
        if not (is_number(value) and 0 < value < inf):
            raise UsageError(f"{name} must be a positive number; it is {value!r}")


def check_not_negative(**values: float) -> None:
    """`UsageError` unless every value is a number, 0 or more; infinity is one."""
    for name, value in values.items():
        if not (is_number(value) and value >= 0):
            raise UsageError(f"{name} must be 0 or more; it is {value!r}")


def one_or_several(name: str, values, may_be_empty: bool = False) -> list:
    """The values of a list, or one alone; `UsageError` for anything else."""
    if isinstance(values, (str, int, float, np.number)):
        return [values]
    if not isinstance(values, (list, tuple, range, np.ndarray)) or (len(values) == 0 and not may_be_empty):
        raise UsageError(f"{name} must be one or several values; it is {values!r}")
    return list(values)


def distinct(name: str, values: list) -> tuple:
    """The values; `UsageError` where one is there twice."""
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise UsageError(f"{name} names {twice[0]!r} twice; remove one")
    return tuple(values)
