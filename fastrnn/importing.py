"""Networks trained elsewhere: weights of PyTorch's modules as `Networks`."""

from __future__ import annotations

import numpy as np

from .errors import UsageError
from .networks import Networks

CELLS = {"RNN": "vanilla", "LSTM": "lstm"}  # PyTorch's blocks stand in our order
OTHER_GRU = (
    "PyTorch's GRU applies its reset gate after the recurrent product, which is another cell than gru here; "
    "find_fixed_points, linearize ... take its update as a fastrnn.UpdateFunction"
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
    state = np.zeros(S) if h0 is None else _values(h0)
    if state.shape not in ((S,), (N, S)):
        both = ", h and c end to end" if cell == "lstm" else ""
        raise UsageError(f"h0 must have shape ({S},) or ({N}, {S}){both}; it has shape {state.shape}")
    arrays["h0"] = np.broadcast_to(state, (N, S))
    return Networks.from_arrays(cell=cell, activation=activation, gate_bias=0.0, arrays=arrays)


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
    for setting, wanted in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        if getattr(module, setting) != wanted:
            raise UsageError(f"modules must have {setting}={wanted}; {module!r} has {getattr(module, setting)}")
    if not hasattr(linear, "in_features") or not hasattr(linear, "out_features"):
        raise UsageError(f"readout must be a torch.nn.Linear, or a list of them; it is {linear!r}")
    if linear.in_features != module.hidden_size:
        raise UsageError(
            f"readout must read the {module.hidden_size} units of h; {linear!r} reads {linear.in_features}"
        )
    activation = "tanh" if name == "LSTM" else module.nonlinearity
    sizes = {"n": module.hidden_size, "D": module.input_size, "K": linear.out_features}
    return {"cell": CELLS[name], "activation": activation} | sizes


def _weights(module, linear) -> dict[str, np.ndarray]:
    """Arrays of one network, without h0."""
    arrays = {"W_rec": _values(module.weight_hh_l0).T, "W_in": _values(module.weight_ih_l0).T}
    biases = (module.bias_ih_l0, module.bias_hh_l0) if module.bias else ()
    arrays["b"] = sum(map(_values, biases), np.zeros(arrays["W_rec"].shape[1]))
    arrays["W_out"] = _values(linear.weight).T
    bias = getattr(linear, "bias", None)
    arrays["b_out"] = np.zeros(arrays["W_out"].shape[1]) if bias is None else _values(bias)
    return arrays


def _values(tensor) -> np.ndarray:
    """A tensor of any device, or an array, in float64."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().double().numpy()
    try:
        return np.asarray(tensor, np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"weights and h0 must be tensors or arrays of numbers: {error}") from error
