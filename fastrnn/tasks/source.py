"""What a user's function is, as text: the same in every process, another once it does otherwise.

Beside its source that holds the functions of its own module that it calls, and the constants they refer to: numbers,
texts, tuples of them, arrays of numbers. What may change while the function runs is passed over (lists, dicts, objects,
globals that it stores), and so is what other modules hold.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import json
from functools import partial
from types import CodeType, FunctionType

import numpy as np
from numba.core.dispatcher import Dispatcher

PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic)


def source_of(function) -> str:
    """All that decides what a user's function does, as text; its source alone where it refers to nothing else.

    >>> gains = [source_of(partial(max, default=gain)) for gain in (1.0, 1.0, 2.0)]
    >>> gains[0] == gains[1] != gains[2]
    True
    """
    bound = []
    while isinstance(function, partial):
        bound.append([_value(function.args), {name: _value(value) for name, value in function.keywords.items()}])
        function = function.func
    function = python_function(function)
    text, seen = _text_of(function), [function]
    used = [_used_by(one, seen) for one in seen]  # which puts further functions into `seen`
    helpers = [_text_of(helper) for helper in seen[1:]]
    return json.dumps([text, helpers, used, bound], sort_keys=True) if helpers or any(used) or bound else text


def python_function(function):
    """The Python function in one that numba compiled; any other as it is."""
    return function.py_func if isinstance(function, Dispatcher) else function


def _text_of(function) -> str:
    """Source text of a function, or of the class of a callable object; compiled code where the text is out of reach."""
    code = getattr(function, "__code__", None)
    try:
        return inspect.getsource(code or type(function))
    except (OSError, TypeError):
        return json.dumps(_compiled(code)) if code else repr(type(function))


def _compiled(code: CodeType) -> list:
    """A code object with those inside it, without their places in memory."""
    inner = [_compiled(value) if isinstance(value, CodeType) else _value(value) for value in code.co_consts]
    return [code.co_code.hex(), inner, code.co_names]


def _used_by(function, seen: list) -> dict:
    """By name the constants that a function takes from around it, and its helpers as places in `seen`, which grows."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    names = _names_in(code)
    around = {name: function.__globals__[name] for name in sorted(names) if name in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            around[name] = cell.cell_contents
        except ValueError:  # nothing is in it yet
            continue
    around |= {"defaults": function.__defaults__} if function.__defaults__ else {}
    around |= function.__kwdefaults__ or {}
    said = {}
    for name, value in around.items():
        helper = inspect.unwrap(python_function(value)) if callable(value) else None
        if isinstance(helper, FunctionType) and helper.__module__ == function.__module__:
            if helper not in seen:
                seen.append(helper)
            said[name] = seen.index(helper)
        elif (plain := _value(value)) is not None:
            said[name] = plain
    return said


def _names_in(code: CodeType) -> set[str]:
    """Globals that some code reads and does not store, with the code inside it; none of Python's own, as `__file__`."""
    steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    read = {name for what, name in steps if what in ("LOAD_GLOBAL", "LOAD_NAME") and not name.startswith("__")}
    inner = (_names_in(value) for value in code.co_consts if isinstance(value, CodeType))
    return read.union(*inner) - {name for what, name in steps if what == "STORE_GLOBAL"}


def _value(value):
    """A value that can't change, or an array of numbers, as JSON has it; None for anything else."""
    if isinstance(value, PLAIN):
        return repr(value)
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]
    if not isinstance(value, (tuple, frozenset)):
        return None
    parts = [_value(part) for part in value]
    return None if None in parts else sorted(parts, key=str) if isinstance(value, frozenset) else parts
