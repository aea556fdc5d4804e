"""What a task is: a function that fills one trial's inputs and targets from a counter, with documented settings."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

import numba
import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic

from .. import counters
from ..compiled import call_by_address, compiled, compiled_callback
from ..counters import Stream
from ..errors import UsageError
from ..shapes import as_float32, check_finite, real_array
from ..values import real_number, whole_number
from .source import python_function, source_of

LARGEST = sys.float_info.max
TRIED_OUT = 16  # trials of a user's function, before it is used
REAL = types.CPointer(types.float32)
TRIAL_SIGNATURE = types.void(
    *(types.uint64,) * 4, types.CPointer(types.float64), types.int64, REAL, REAL, REAL, *(types.int64,) * 3
)


@intrinsic
def call_trial(
    typing_context, address, key, purpose, iteration, trial, settings, count, inputs, targets, mask, T, D, K
):
    """Call the compiled trial function at `address`; the four arrays by their addresses."""
    return call_by_address(TRIAL_SIGNATURE)


def trial_address(function, name: str | None) -> int:
    """Address of `function` compiled to `TRIAL_SIGNATURE`; kept on disk under `name` if there is one.

    One without a name is a user's: where it raises, targets are NaN.
    """
    fill = function if isinstance(function, Dispatcher) else compiled(keep=False)(function)

    def entry(key, purpose, iteration, trial, settings, count, inputs, targets, mask, T, D, K):
        fill(
            Stream(key, purpose, iteration, trial),
            numba.carray(settings, (count,)),
            numba.carray(inputs, (T, D)),
            numba.carray(targets, (T, K)),
            numba.carray(mask, (T,)),
        )

    def guarded_entry(key, purpose, iteration, trial, settings, count, inputs, targets, mask, T, D, K):
        try:
            entry_compiled(key, purpose, iteration, trial, settings, count, inputs, targets, mask, T, D, K)
        except Exception:  # nothing can be raised through compiled code: the network is seen to diverge
            numba.carray(targets, (T, K))[:] = np.float32(np.nan)
            numba.carray(mask, (T,))[:] = np.float32(1.0)

    if name is None:
        entry_compiled = compiled(keep=False)(entry)
    return compiled_callback(TRIAL_SIGNATURE, name=name)(guarded_entry if name is None else entry)


@compiled
def draw_trials(address, keys, purpose, iteration, first, settings, inputs, targets, mask):
    """Fill inputs (N, B, T, D), targets (N, B, T, K), mask (N, B, T) with trials `first`, `first` + 1, ..."""
    N, B, T, D = inputs.shape
    inputs[:] = 0
    targets[:] = 0
    mask[:] = 1
    for i in range(N):
        for b in range(B):
            call_trial(
                address,
                keys[i],
                np.uint64(purpose),
                np.uint64(iteration),
                np.uint64(first + b),
                settings.ctypes.data,
                settings.shape[0],
                inputs[i, b].ctypes.data,
                targets[i, b].ctypes.data,
                mask[i, b].ctypes.data,
                T,
                D,
                targets.shape[3],
            )


@dataclass(frozen=True, eq=False)
class Task:
    """A task of D inputs, K outputs and T steps.

    Give one of two functions:

    trial(stream, settings, inputs, targets, mask)
        fills one trial: inputs (T, D) and targets (T, K) float32, zero before, and mask (T,), one before; compiled with
        numba and called inside the training loop (the fast way). Random numbers come from
        `counters.uniforms(stream, out)` and `counters.normals(stream, out)`, which fill a float32 array; `settings` is
        a float64 array of the settings' values in order.
    batch(rng, settings, trials)
        returns inputs (B, T, D), targets (B, T, K) and, if wanted, mask (B, T) for B = `trials`; `rng` is a
        `numpy.random.Generator`, `settings` a dict. Plain Python: slower, anything goes.

    A step counts in the loss with the weight in `mask`; the loss is the weighted mean over trials and steps. Both
    functions are tried out before the training: they must make the same trials when asked for the same again. If a
    trial function raises an error later, goes beyond its arrays or makes what is not finite, the network is marked as
    diverged, and a warning says why.

    >>> def echo(stream, settings, inputs, targets, mask):
    ...     uniforms(stream, inputs[:, 0])
    ...     targets[:, 0] = settings[0] * inputs[:, 0]
    >>> from fastrnn.counters import uniforms
    >>> task = Task("echo", D=1, K=1, T=5, trial=echo, settings={"gain": 2.0})
    >>> inputs, targets, mask = task.draw([7], purpose=1, iteration=0, trials=4)
    >>> inputs.shape, bool((targets == 2 * inputs).all())
    ((1, 4, 5, 1), True)
    """

    name: str
    D: int
    K: int
    T: int
    trial: object = None
    batch: object = None
    settings: dict = field(default_factory=dict)
    threshold: float | None = None  # loss below which a network counts as having learnt the task
    built_in: bool = False

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name.strip() or {"/", "\\"} & set(self.name):
            raise UsageError(f"a task's name must be a text without slashes, not empty; it is {self.name!r}")
        checked = {L: whole_number(f"task {self.name!r}: {L}", getattr(self, L), 1) for L in "DKT"}
        if (self.trial is None) == (self.batch is None):
            raise UsageError(f"task {self.name!r}: give either trial= or batch=, one of the two")
        if not callable(self.trial or self.batch):
            raise UsageError(
                f"task {self.name!r}: trial or batch must be a function; it is {self.trial or self.batch!r}"
            )
        if self.threshold is not None:
            checked["threshold"] = real_number(f"task {self.name!r}: threshold", self.threshold, 0.0)
        checked["settings"] = MappingProxyType(self._checked_settings())
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict:
        """For copies and other processes: without what is compiled in this one."""
        names = [*(f.name for f in fields(self)), "source"]
        return {name: getattr(self, name) for name in names} | {"settings": dict(self.settings)}

    def __setstate__(self, state: dict) -> None:
        for name, value in (state | {"settings": MappingProxyType(state["settings"])}).items():
            self.__dict__[name] = value

    def _checked_settings(self) -> dict:
        """The settings as Python's own numbers; `UsageError` for anything else."""
        if not isinstance(self.settings, Mapping) or not all(isinstance(name, str) for name in self.settings):
            raise UsageError(
                f"task {self.name!r}: settings must be a dict of names and numbers; it is {self.settings!r}"
            )
        plain = {}
        for name, value in self.settings.items():
            plain[name] = value.item() if isinstance(value, np.generic) else value
            plain[name] = int(plain[name]) if isinstance(plain[name], bool) else plain[name]
            if not isinstance(plain[name], (int, float)) or not abs(plain[name]) <= LARGEST:
                raise UsageError(f"task {self.name!r}: setting {name!r} must be a finite number; it is {value!r}")
        return plain

    @cached_property
    def values(self) -> np.ndarray:
        """The settings as a trial function sees them, float64."""
        return np.array([float(v) for v in self.settings.values()], np.float64)

    @cached_property
    def source(self) -> str:
        """What decides the trials of a user's task beside its settings, as text; as it is before the first draw."""
        return "" if self.built_in else source_of(self.trial or self.batch)

    @cached_property
    def address(self) -> int:
        """Address of the compiled trial function, 0 for a `batch` task; compiles at first use."""
        if self.trial is None:
            return 0
        if self.built_in:
            return trial_address(self.trial, f"trial-{self.name}")
        self._try_out_trial()
        return trial_address(self._checked_trial, None)

    @property
    def fingerprint(self) -> str:
        """Changes when the settings or, for a user's task, its function change, or what that refers to in its module.

        The trials of a built-in task stay the same for given settings.
        """
        settings = {name: float(value) for name, value in self.settings.items()}
        said = json.dumps([self.name, self.D, self.K, self.T, settings, self.source])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def draw(self, keys, purpose: int, iteration: int, trials: int):
        """Trials 0 to `trials` - 1 of an iteration for each key.

        Returns inputs (N, B, T, D), targets (N, B, T, K), mask (N, B, T), float32.
        """
        _ = self.source  # taken now: what it refers to may change while the function runs
        keys = np.asarray(keys, np.uint64)
        N, B = len(keys), whole_number("trials", trials, 1)
        inputs = np.empty((N, B, self.T, self.D), np.float32)
        targets = np.empty((N, B, self.T, self.K), np.float32)
        mask = np.empty((N, B, self.T), np.float32)
        if self.trial is not None:
            draw_trials(self.address, keys, purpose, iteration, 0, self.values, inputs, targets, mask)
        else:
            for i, key in enumerate(keys):
                inputs[i], targets[i], mask[i] = self._draw_batch(int(key), purpose, iteration, B)
        return inputs, targets, mask

    def probe(self, trials: int):
        """Trials common to all networks: inputs (B, T, D), targets (B, T, K), mask (B, T)."""
        key = counters.network_key("probe", self.name)
        return tuple(array[0] for array in self.draw([key], counters.PROBE, 0, trials))

    def _draw_batch(self, key: int, purpose: int, iteration: int, trials: int):
        words = [key & 0xFFFFFFFF, key >> 32, purpose, iteration]
        try:
            made = self.batch(np.random.default_rng(words), dict(self.settings), trials)
        except Exception as error:
            raise UsageError(f"task {self.name!r}: the batch function failed: {error!r}") from error
        if not isinstance(made, tuple) or len(made) not in (2, 3):
            raise UsageError(f"task {self.name!r}: batch must return (inputs, targets) or (inputs, targets, mask)")
        shapes = {
            "inputs": (trials, self.T, self.D),
            "targets": (trials, self.T, self.K),
            "mask": (trials, self.T),
        }
        whose, arrays = f"task {self.name!r}: the batch's ", []
        for (name, shape), array in zip(shapes.items(), made, strict=False):
            array = real_array(whose + name, array)
            if array.shape != shape:
                raise UsageError(f"task {self.name!r}: batch must return {name} of shape {shape}; got {array.shape}")
            arrays.append(as_float32(name, array, whose))
        inputs, targets, mask = (*arrays, np.ones(shapes["mask"], np.float32))[:3]
        self._check_mask(mask)
        return inputs, targets, mask

    def _check_mask(self, mask) -> None:
        if np.min(mask) < 0 or not np.any(mask):
            raise UsageError(f"task {self.name!r}: mask must be 0 or greater and somewhere greater than 0")

    def try_out(self) -> None:
        """Draw some trials with a user's function: `UsageError` for the mistakes that show."""
        if self.trial is not None:
            _ = self.address
            return
        first, again = (self.draw([0], counters.PROBE, 0, 1) for _ in range(2))
        self._check_same(first, again, "batch", "rng")

    def drawing_seconds(self, trials: int) -> float:
        """Time that a user's function takes for so many trials, measured once; 0 for a built-in one, which is fast."""
        if self.built_in:
            return 0.0
        if trials not in self._drawing_seconds:
            self.draw([0], counters.PROBE, 0, 1)  # or it would be timed with its compilation
            start = time.perf_counter()
            self.draw([0], counters.PROBE, 0, trials)
            self._drawing_seconds[trials] = time.perf_counter() - start
        return self._drawing_seconds[trials]

    @cached_property
    def _drawing_seconds(self) -> dict[int, float]:
        return {}

    def fault(self, key: int, purpose: int, iteration: int, trials: int) -> str:
        """What is wrong with a user's trials of an iteration, in words; empty where nothing is or it can't be known."""
        if self.built_in or self.trial is None:
            return ""
        for trial in range(trials):
            try:
                self._drawn_with_care(key, purpose, iteration, trial)
            except UsageError as error:
                return f"{error} (trial {trial} of iteration {iteration})"
        return ""

    def _try_out_trial(self) -> None:
        """Draw some trials with a user's function, twice: `UsageError` for what is wrong with them."""
        masks = []
        for trial in range(TRIED_OUT):
            first, again = (self._drawn_with_care(0, counters.PROBE, 0, trial) for _ in range(2))
            self._check_same(first, again, "trial", "stream")
            masks.append(first[2])
        self._check_mask(np.stack(masks))

    def _check_same(self, first, again, function: str, source: str) -> None:
        if any(one.tobytes() != other.tobytes() for one, other in zip(first, again, strict=True)):
            raise UsageError(
                f"task {self.name!r}: the {function} function makes other trials when it is asked for the same ones "
                f"again; what is random in them must come from its argument {source!r}"
            )

    @cached_property
    def _checked_trial(self):
        """The user's trial function, compiled with array bounds checked: what went beyond them would be silent."""
        return compiled(keep=False, checked=True)(python_function(self.trial))

    def _drawn_with_care(self, key: int, purpose: int, iteration: int, trial: int) -> tuple[np.ndarray, ...]:
        """One trial of a user's function: inputs, targets, mask; `UsageError` for what is wrong with it."""
        arrays = (np.zeros((self.T, self.D)), np.zeros((self.T, self.K)), np.ones(self.T))
        arrays = tuple(array.astype(np.float32) for array in arrays)
        try:
            self._checked_trial(counters.stream(key, purpose, iteration, trial), self.values, *arrays)
        except IndexError as error:
            raise UsageError(
                f"task {self.name!r}: the trial function goes beyond its arrays ({error}); "
                f"inputs are {arrays[0].shape}, targets {arrays[1].shape}, mask {arrays[2].shape}"
            ) from error
        except numba.core.errors.NumbaError as error:
            raise UsageError(
                f"task {self.name!r}: numba can't compile the trial function; "
                f"change it, or give batch= instead:\n{error}"
            ) from error
        except Exception as error:
            raise UsageError(f"task {self.name!r}: the trial function failed: {error!r}") from error
        for name, array in zip(("inputs", "targets", "mask"), arrays, strict=True):
            check_finite(name, array, f"task {self.name!r}: the trial's ")
        return arrays
