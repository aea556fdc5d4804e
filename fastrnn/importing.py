"""Networks trained elsewhere: weights of PyTorch's modules, and leaky networks of anyone, as `Networks`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .cells import ArrayMath, check_kind
from .cells.leaky import check_alpha, gate_bias_of
from .errors import UsageError
from .networks import Networks
from .shapes import check_finite, check_shape, real_array

CELLS = {"RNN": "vanilla", "LSTM": "lstm"}  # PyTorch's blocks stand in our order
OTHER_GRU = (
    "PyTorch's GRU applies its reset gate after the recurrent product, which is another cell than gru here; "
    "fastrnn.update_from_torch makes of it what find_fixed_points, linearize ... take"
)


def from_torch(recurrent, readout, h0=None) -> Networks:
    """Networks from trained PyTorch modules, to be analysed, compared or trained further.

    Parameters
    ----------
    recurrent : `torch.nn.RNN` (tanh or relu) or `torch.nn.LSTM` of one layer and one direction, or a list of such
        modules of one kind and size, trained apart; a subclass with a forward of its own is read as if it had none
    readout : the `torch.nn.Linear` that reads h, or a list of as many
    h0 : initial state (S,), for all networks, or (N, S); S = n, for LSTMs 2 n (h, then cell). Default zeros, PyTorch's

    Returns
    -------
    Networks : (N,), weights copied to float32; the biases of a module's input and state are added, `gate_bias` is 0

    Raises
    ------
    UsageError
        for a GRU (it is another cell), several layers, two directions, a projection, or modules that differ
    """
    modules, readouts = _listed(recurrent), _listed(readout)
    if not modules or len(modules) != len(readouts):
        raise UsageError(f"readout must be a Linear for each recurrent module; got {len(readouts)} for {len(modules)}")
    kinds = [_kind(module, linear) for module, linear in zip(modules, readouts, strict=True)]
    if different := next((i for i, kind in enumerate(kinds) if kind != kinds[0]), 0):
        first, other = (", ".join(f"{name} {value}" for name, value in kinds[i].items()) for i in (0, different))
        raise UsageError(
            f"modules must be of one kind and size; the first is {first}; number {different + 1} is {other}; make a "
            "stack of each kind"
        )
    made = [_weights(module, linear) for module, linear in zip(modules, readouts, strict=True)]
    arrays = {name: np.stack([weights[name] for weights in made]) for name in made[0]}
    cell, activation, n, N = kinds[0]["cell"], kinds[0]["activation"], kinds[0]["n"], len(modules)
    S = 2 * n if cell == "lstm" else n
    state = np.zeros(S) if h0 is None else values_of("h0", h0)
    if state.shape not in ((S,), (N, S)):
        both = ", h and c end to end" if cell == "lstm" else ""
        raise UsageError(f"h0 must have shape ({S},) or ({N}, {S}){both}; it has shape {state.shape}")
    arrays["h0"] = np.broadcast_to(state, (N, S))
    return Networks.from_arrays(cell=cell, activation=activation, gate_bias=0.0, arrays=arrays)


def from_leaky(*, alpha, activation, arrays, keys=None) -> Networks:
    """Leaky networks h' = (1 - alpha) h + alpha phi(h W_rec + x W_in + b), to be analysed, compared or trained further.

    One alpha for all makes networks of the cell `leaky`. Several make `ugrnn`s whose gate is 1 - alpha whatever
    happens: it has no weights, and the bias that gives it; training them further would train the gate too. Networks
    that leak before the activation are others, see `from_current`.

    Parameters
    ----------
    alpha : time step over time constant, below 1: a number, (n,), (N, 1) or (N, n); of 1 they are `vanilla`
    activation, arrays, keys : as for a vanilla network in `Networks.from_arrays`; W_rec[i, u, v] leads from u to v

    >>> arrays = {"W_rec": np.zeros((1, 2, 2)), "W_in": np.ones((1, 1, 2)), "b": np.zeros((1, 2))}
    >>> arrays |= {"W_out": np.ones((1, 2, 1)), "b_out": np.zeros((1, 1)), "h0": np.zeros((1, 2))}
    >>> networks = from_leaky(alpha=[0.1, 0.5], activation="relu", arrays=arrays)
    >>> from fastrnn import engines
    >>> engines.get("cpu").step(networks, [[[0.0, 0.0]]], [[[1.0]]]).round(6)
    array([[[0.1, 0.5]]])
    """
    plain = Networks.from_arrays(cell="vanilla", activation=activation, arrays=arrays, keys=keys)
    N, n = len(plain), plain.n
    alpha = finite_values("alpha", alpha)
    if alpha.shape not in ((), (n,), (N, 1), (N, n)):
        raise UsageError(
            f"alpha must be a number, or have shape ({n},), ({N}, 1) or ({N}, {n}); it has shape {alpha.shape}"
        )
    k, made = gate_bias_of(check_alpha(alpha)), dict(plain.arrays)
    if not alpha.ndim:
        return Networks.from_arrays(cell="leaky", activation=activation, gate_bias=k, arrays=made, keys=plain.keys)
    for name in ("W_rec", "W_in"):
        made[name] = np.concatenate([made[name], np.zeros_like(made[name])], axis=-1)  # blocks c, g
    made["b"] = np.concatenate([made["b"], np.broadcast_to(k, (N, n))], axis=-1)
    return Networks.from_arrays(cell="ugrnn", activation=activation, gate_bias=0.0, arrays=made, keys=plain.keys)


def from_current(*, alpha, activation, arrays, keys=None) -> Networks:
    """Leaky networks x' = (1 - alpha) x + alpha (phi(x) W_rec + u W_in + b), to be analysed, compared or trained on.

    They leak before the activation; outputs read phi(x). They become the cell `current`, whose state is (phi(x), x).
    Where units have alphas of their own, take the update as an `UpdateFunction`.

    Parameters
    ----------
    alpha : time step over time constant, above 0 and below 1, one number
    activation, arrays, keys : as for a vanilla network in `Networks.from_arrays`; h0 is the initial x (N, n), or
        (phi(x), x), (N, 2 n), as networks of that cell have it

    >>> arrays = {"W_rec": np.zeros((1, 2, 2)), "W_in": np.ones((1, 1, 2)), "b": np.zeros((1, 2))}
    >>> arrays |= {"W_out": np.ones((1, 2, 1)), "b_out": np.zeros((1, 1)), "h0": np.array([[1.0, -1.0]])}
    >>> networks = from_current(alpha=0.5, activation="relu", arrays=arrays)
    >>> networks.h0
    array([[ 1.,  0.,  1., -1.]], dtype=float32)
    """
    alpha = finite_values("alpha", alpha)
    if alpha.ndim:
        raise UsageError(f"alpha must be one number for all units; it has shape {alpha.shape}")
    check_kind("current", activation)
    if isinstance(arrays, Mapping) and {"h0", "W_rec"} <= set(arrays):
        N, n, _ = check_shape("W_rec", real_array("W_rec", arrays["W_rec"]), ("N", "n", "G n")).shape
        x = finite_values("h0", arrays["h0"])
        if x.shape == (N, n):
            arrays = dict(arrays) | {"h0": np.concatenate([ArrayMath(activation).phi(x), x], axis=1)}
        elif x.shape != (N, 2 * n):
            raise UsageError(f"h0 must have shape ({N}, {n}), or ({N}, {2 * n}), phi(x) and x; it has shape {x.shape}")
    k = gate_bias_of(check_alpha(alpha))
    return Networks.from_arrays(cell="current", activation=activation, gate_bias=k, arrays=arrays, keys=keys)


def _listed(modules) -> list:
    """Several modules, or one alone; a `ModuleList` is several."""
    several = isinstance(modules, (list, tuple)) or type(modules).__name__ == "ModuleList"
    return list(modules) if several else [modules]


def _kind(module, linear) -> dict:
    """Cell, activation and sizes of a module and its readout, where they can be taken over."""
    name = str(getattr(module, "mode", None)).split("_")[0]
    if name == "GRU":
        raise UsageError(OTHER_GRU)
    if name not in CELLS or not hasattr(module, "weight_hh_l0"):
        raise UsageError(f"recurrent must be a torch.nn.RNN or torch.nn.LSTM, or a list of them; it is {module!r}")
    check_plain(module)
    check_linear(linear, module.hidden_size)
    activation = "tanh" if name == "LSTM" else module.nonlinearity
    sizes = {"n": module.hidden_size, "D": module.input_size, "K": linear.out_features}
    return {"cell": CELLS[name], "activation": activation} | sizes


def check_plain(module) -> None:
    """`UsageError` unless the module has one layer, one direction and no projection."""
    for setting, wanted in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        if getattr(module, setting) != wanted:
            raise UsageError(f"modules must have {setting}={wanted}; {module!r} has {getattr(module, setting)}")


def check_linear(linear, n: int) -> None:
    """`UsageError` unless it is a Linear that reads n units."""
    if not hasattr(linear, "in_features") or not hasattr(linear, "out_features"):
        raise UsageError(f"readout must be a torch.nn.Linear for each module; it is {linear!r}")
    if linear.in_features != n:
        raise UsageError(f"readout must read the {n} units of h; {linear!r} reads {linear.in_features}")


def _weights(module, linear) -> dict[str, np.ndarray]:
    """Arrays of one network, without h0."""
    arrays = {"W_rec": values_of("weights", module.weight_hh_l0).T, "W_in": values_of("weights", module.weight_ih_l0).T}
    biases = (module.bias_ih_l0, module.bias_hh_l0) if module.bias else ()
    arrays["b"] = sum((values_of("biases", bias) for bias in biases), np.zeros(arrays["W_rec"].shape[1]))
    return arrays | {"W_out": values_of("weights", linear.weight).T, "b_out": bias_of(linear)}


def bias_of(linear) -> np.ndarray:
    """Of a Linear (K,), zeros where it has none."""
    bias = getattr(linear, "bias", None)
    return np.zeros(linear.out_features) if bias is None else values_of("biases", bias)


def finite_values(name: str, tensor) -> np.ndarray:
    """`values_of`, all of them finite."""
    return check_finite(name, values_of(name, tensor))


def values_of(name: str, tensor) -> np.ndarray:
    """A tensor of any device, or an array, in float64; a copy."""
    if hasattr(tensor, "detach"):
        try:
            tensor = tensor.detach().cpu().double().numpy()
        except (TypeError, RuntimeError) as error:
            raise UsageError(f"{name} must be a tensor or an array of numbers: {error}") from error
    return np.array(real_array(name, tensor), np.float64)
