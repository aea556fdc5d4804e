"""A stack of N networks of one kind: named arrays, network axis first, one network a contiguous slab."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from . import counters, storage
from .cells import check_kind, get_cell, parameter_shapes
from .cells.leaky import ALPHA, alpha_of, check_alpha, gate_bias_of
from .errors import RunError, UsageError
from .shapes import as_float32, check_shape, network_index, real_array
from .values import check_sizes, real_number, whole_number


class Networks:
    """N networks of the same cell, activation and size.

    Attributes
    ----------
    cell, activation : names; gate_bias : constant inside the forget or update gate, of leaky cells log(1 / alpha - 1)
    n, D, K : units, inputs, outputs
    parameters : float32 (N, M), one network a row; the named arrays are views into it
    keys : uint64 (N,), what a network's weights and trials are drawn from
    W_rec (N, n, G n), W_in (N, D, G n), b (N, G n), W_out (N, n, K), b_out (N, K), h0 (N, S)

    >>> nets = Networks.initialize("gru", "tanh", n=8, D=3, K=2, keys=[1, 2, 3])
    >>> nets.W_rec.shape, nets[1:].W_out.shape
    ((3, 8, 24), (2, 8, 2))
    """

    def __init__(self, cell, activation, gate_bias, n, D, K, parameters, keys):
        check_kind(cell, activation)
        check_sizes(n=n, D=D, K=K)
        self.cell, self.activation, self.gate_bias = cell, activation, real_number("gate_bias", gate_bias)
        if get_cell(cell).leaks:
            check_alpha(alpha_of(self.gate_bias), f" (gate_bias {self.gate_bias:g})")
        self.n, self.D, self.K = int(n), int(D), int(K)
        self.shapes = parameter_shapes(cell, self.n, self.D, self.K)
        count = sum(prod(shape) for shape in self.shapes.values())
        self.parameters = check_shape("parameters", parameters, ("N", "M"), M=count)
        if self.parameters.dtype != np.float32 or not self.parameters.flags.c_contiguous:
            raise UsageError(
                f"parameters must be a C-contiguous float32 array; they are {self.parameters.dtype}: "
                "use Networks.from_arrays to convert"
            )
        self.keys = check_shape("keys", _checked_keys(keys), ("N",), N=len(self.parameters))

    @property
    def count(self) -> int:
        """M, parameters of one network."""
        return self.parameters.shape[1]

    @property
    def S(self) -> int:
        """State size."""
        return get_cell(self.cell).state_size(self.n)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the parameters by name, (N, ...)."""
        return self.named(self.parameters)

    def named(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Views by name of an array (N, M) laid out as the parameters (gradients, velocities)."""
        views, start = {}, 0
        for name, shape in self.shapes.items():
            views[name] = flat[:, start : start + prod(shape)].reshape(len(flat), *shape)
            start += prod(shape)
        return views

    def in_float64(self, i: int) -> dict[str, np.ndarray]:
        """Parameters of network i by name, as float64."""
        return {name: array[i].astype(np.float64) for name, array in self.arrays.items()}

    def __getattr__(self, name):
        if name in ("W_rec", "W_in", "b", "W_out", "b_out", "h0"):
            return self.arrays[name]
        raise AttributeError(f"Networks has no attribute {name!r}")

    def __len__(self) -> int:
        return len(self.parameters)

    def __repr__(self) -> str:
        return f"<{len(self)} networks: {self.cell} {self.activation}, n = {self.n}, D = {self.D}, K = {self.K}>"

    def _like(self, parameters, keys) -> Networks:
        return Networks(self.cell, self.activation, self.gate_bias, self.n, self.D, self.K, parameters, keys)

    def __getitem__(self, index) -> Networks:
        """A sub-stack: views for an integer or a slice, copies for an array of indices or a mask."""
        index = network_index(index, len(self))
        return self._like(np.ascontiguousarray(self.parameters[index]), self.keys[index])

    def copy(self) -> Networks:
        return self._like(self.parameters.copy(), self.keys.copy())

    @classmethod
    def concatenate(cls, stacks) -> Networks:
        """One stack of several of the same kind, in order."""
        if not stacks:
            raise UsageError("stacks must hold at least one stack of networks; it holds none")
        first = stacks[0]
        for other in stacks[1:]:
            if other.kind != first.kind:
                raise UsageError(f"networks to be joined must be of one kind; got {first.kind} and {other.kind}")
        return first._like(np.concatenate([s.parameters for s in stacks]), np.concatenate([s.keys for s in stacks]))

    @property
    def kind(self) -> tuple:
        """What must agree for networks to share a stack: cell, activation, gate_bias, n, D, K."""
        return (self.cell, self.activation, self.gate_bias, self.n, self.D, self.K)

    @classmethod
    def from_arrays(cls, *, cell, activation, gate_bias=None, arrays, keys=None) -> Networks:
        """Networks from anyone's weights, copied to float32.

        Parameters
        ----------
        arrays : W_rec (N, n, G n), W_in (N, D, G n), b (N, G n), W_out (N, n, K), b_out (N, K), h0 (N, S), all finite;
            block order as in `cells.get_cell(cell).blocks`
        gate_bias : constant added inside the forget or update gate, to be given for cells that have one: 1 for networks
            trained here by default, 0 for most other libraries' weights
        keys : uint64 (N,), default made from the position in the stack
        """
        check_kind(cell, activation)
        if gate_bias is None and get_cell(cell).leaks:
            raise UsageError(f"gate_bias must be given for {cell}; fastrnn.from_{cell} takes alpha in its place")
        if gate_bias is None and len(get_cell(cell).blocks) > 1:
            raise UsageError(
                f"gate_bias must be given for {cell}: 1.0 for networks trained here with the default, 0.0 for weights "
                "of most other libraries, whose biases hold all there is"
            )
        names = tuple(parameter_shapes(cell, 1, 1, 1))
        if not isinstance(arrays, Mapping) or set(arrays) != set(names):
            got = ", ".join(sorted(map(str, arrays))) if isinstance(arrays, Mapping) else repr(arrays)
            raise UsageError(f"arrays must be exactly {', '.join(names)}; got {got}")
        W_rec = check_shape("W_rec", arrays["W_rec"], ("N", "n", "G n"))
        W_in = check_shape("W_in", arrays["W_in"], ("N", "D", "G n"))
        W_out = check_shape("W_out", arrays["W_out"], ("N", "n", "K"))
        N, n, D, K = W_rec.shape[0], W_rec.shape[1], W_in.shape[1], W_out.shape[2]
        if not N:
            raise UsageError("arrays must be of at least one network; W_rec has the shape " + str(W_rec.shape))
        flat = []
        for name, shape in parameter_shapes(cell, n, D, K).items():
            array = real_array(name, arrays[name])
            if array.shape != (N, *shape):
                beside = f"for {cell}" if name == "W_rec" else f"beside W_rec {W_rec.shape}"
                raise UsageError(f"{name} must have shape {(N, *shape)} {beside}; it has {array.shape}")
            flat.append(as_float32(name, array).reshape(N, -1))
        if keys is None:
            keys = [counters.network_key("from_arrays", i) for i in range(N)]
        return cls(
            cell, activation, 1.0 if gate_bias is None else gate_bias, n, D, K, np.concatenate(flat, axis=1), keys
        )

    @classmethod
    def initialize(cls, cell, activation, n, D, K, keys, gate_bias=None) -> Networks:
        """Untrained networks: normal weights of variance 1 / fan-in, recurrent and input apart; the rest zero.

        gate_bias : default 1, of leaky cells that of alpha = 0.2
        """
        if gate_bias is None:
            gate_bias = gate_bias_of(ALPHA) if get_cell(cell).leaks else 1.0
        check_sizes(n=n, D=D, K=K)
        keys, shapes = _checked_keys(keys), parameter_shapes(cell, n, D, K)
        count = sum(prod(shape) for shape in shapes.values())
        try:
            parameters = np.zeros((len(keys), count), np.float32)
        except (MemoryError, ValueError):
            raise UsageError(f"n = {n} makes {count:.2g} parameters a network, more than memory holds") from None
        networks = cls(cell, activation, gate_bias, n, D, K, parameters, keys)
        for part, (name, fan_in) in enumerate((("W_rec", n), ("W_in", D), ("W_out", n))):
            draw = np.empty(prod(shapes[name]), np.float32)
            for i, key in enumerate(networks.keys):
                counters.normals(counters.stream(int(key), counters.WEIGHTS, trial=part), draw)
                networks.arrays[name][i] = (draw / np.float32(np.sqrt(fan_in))).reshape(shapes[name])
        return networks

    def to_arrays_and_metadata(self) -> tuple[dict[str, np.ndarray], dict]:
        """Arrays and metadata to be stored, alone or beside others."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()} | {"keys": self.keys}
        return arrays, {"cell": self.cell, "activation": self.activation, "gate_bias": self.gate_bias}

    @classmethod
    def from_arrays_and_metadata(cls, arrays: dict[str, np.ndarray], metadata: dict) -> Networks:
        """Inverse of `to_arrays_and_metadata`; further arrays and metadata are left alone.

        Weights that are not finite are accepted here: a stored run may hold a network that diverged.
        """
        try:
            names = tuple(parameter_shapes(metadata["cell"], 1, 1, 1))
            N, n, _ = arrays["W_rec"].shape
            D, K = arrays["W_in"].shape[1], arrays["W_out"].shape[2]
            flat = np.concatenate([arrays[name].reshape(N, -1) for name in names], axis=1)
            return cls(metadata["cell"], metadata["activation"], metadata["gate_bias"], n, D, K, flat, arrays["keys"])
        except KeyError as missing:
            raise RunError(f"the file holds no networks: {missing} is missing; was it written by fastrnn?") from None

    def save(self, path) -> None:
        """Write a safetensors file with checksum, in one piece."""
        storage.save_arrays(path, *self.to_arrays_and_metadata())

    @classmethod
    def load(cls, path) -> Networks:
        """Read what `save` wrote; a damaged file raises `RunError`."""
        return cls.from_arrays_and_metadata(*storage.load_arrays(path))


def _checked_keys(keys) -> np.ndarray:
    """Keys as uint64; `UsageError` for anything but whole numbers that are some."""
    if isinstance(keys, np.ndarray) and keys.dtype == np.uint64 and keys.ndim == 1:
        return keys
    try:
        keys = list(keys)
    except TypeError:
        raise UsageError(f"keys must be a list of whole numbers, one a network; it is {keys!r}") from None
    keys = [whole_number("keys", key, 0) for key in keys]
    if max(keys, default=0) >= 1 << 64:
        raise UsageError(f"keys must be below 2^64; one is {max(keys)}")
    return np.array(keys, np.uint64)
