"""What a user's function is, as text: the same in every process and on every machine, another once it does otherwise.

Beside its source that holds the constants and functions of its own module that it refers to, and so on. What may well
be a cache (a container of more than plain values) and what another module holds is passed over.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import partial
from types import CodeType

import numpy as np
from numba.core.dispatcher import Dispatcher

PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)


def source_of(function) -> str:
    """All that decides what a user's function does, as text; its source alone where it refers to nothing else.

    >>> gains = [source_of(partial(max, key=abs, default=gain)) for gain in (1.0, 1.0, 2.0)]
    >>> gains[0] == gains[1] != gains[2]
    True
    """
    text, used = _text_of(function), _used_by(function, (function,))
    return text if not used else json.dumps([text, used], sort_keys=True)


def _text_of(function) -> str:
    """Source text of a function, or of the class of a callable object; compiled code where the text is out of reach."""
    function = python_function(function)
    if isinstance(function, partial):
        return "partial"
    code = getattr(function, "__code__", None)
    try:
        return inspect.getsource(function if code else type(function))
    except (OSError, TypeError):
        return json.dumps(_compiled(code)) if code else repr(type(function))


def python_function(function):
    """The Python function in one that numba compiled; any other as it is."""
    return function.py_func if isinstance(function, Dispatcher) else function


def _compiled(code: CodeType) -> list:
    """A code object with those inside it, without their places in memory."""
    inner = [_compiled(value) if isinstance(value, CodeType) else _value(value) for value in code.co_consts]
    return [code.co_code.hex(), inner, code.co_names]


def _names_in(code: CodeType) -> set[str]:
    """Global names that some code may look up, with the code inside it."""
    return set(code.co_names).union(*(_names_in(value) for value in code.co_consts if isinstance(value, CodeType)))


def _used_by(function, seen: tuple) -> dict:
    """By name what a function takes from around it: its module, what encloses it, what it is bound to, defaults."""
    function = python_function(function)
    module = getattr(function, "__module__", None)
    if isinstance(function, partial):
        module = getattr(function.func, "__module__", None)
        around = {"function": function.func} | function.keywords
        around |= {f"argument {i}": value for i, value in enumerate(function.args)}
    elif code := getattr(function, "__code__", None):
        around = {name: function.__globals__[name] for name in _names_in(code) if name in function.__globals__}
        around |= dict(zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))
        around |= {"defaults": function.__defaults__ or (), "keyword defaults": function.__kwdefaults__ or {}}
        around |= getattr(getattr(function, "__self__", None), "__dict__", {})
    else:
        around = getattr(function, "__dict__", {}) | {"call": type(function).__call__}
    said = {name: _said(value, module, seen) for name, value in around.items()}
    return {name: value for name, value in said.items() if value}


def _said(value, module: str | None, seen: tuple):
    """A value, or a function of that module, as JSON has it; None for what is passed over."""
    value = python_function(value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    mine = isinstance(value, partial) or getattr(value, "__module__", None) == module
    if callable(value) and mine and not isinstance(value, type):
        return None if any(value is known for known in seen) else [_text_of(value), _used_by(value, (*seen, value))]
    return _value(value)


def _value(value):
    """A plain value, or a container of such, as JSON has it; None for anything else."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, dict):
        value = [*value.items()]
    if not isinstance(value, (list, tuple, set, frozenset)):
        return None
    parts = [_value(part) for part in value]
    if isinstance(value, (set, frozenset)):
        parts.sort(key=str)
    return None if None in parts else parts
