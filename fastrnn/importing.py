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
        modules of one kind and size, trained apart
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
        raise UsageError(f"readout must be one a recurrent module; got {len(readouts)} for {len(modules)}")
    kinds = list(map(_kind, modules))
    if different := next((i for i, kind in enumerate(kinds) if kind != kinds[0]), 0):
        raise UsageError(
            f"modules must be of one kind and size; the first is {modules[0]}, number {different + 1} "
            f"{modules[different]}; make a stack of each kind"
        )
    cell, activation, *_ = kinds[0]
    made = [_weights(module, linear) for module, linear in zip(modules, readouts, strict=True)]
    arrays = {name: np.stack([weights[name] for weights in made]) for name in made[0]}
    N, n = arrays["W_rec"].shape[:2]
    S = 2 * n if cell == "lstm" else n
    state = np.zeros(S) if h0 is None else _values(h0)
    if state.shape not in ((S,), (N, S)):
        raise UsageError(f"h0 must have shape ({S},) or ({N}, {S}); it has shape {state.shape}")
    arrays["h0"] = np.broadcast_to(state, (N, S))
    return Networks.from_arrays(cell=cell, activation=activation, gate_bias=0.0, arrays=arrays)


def _listed(modules) -> list:
    """Several modules, or one alone; a `ModuleList` is several."""
    return [modules] if hasattr(modules, "weight_ih_l0") or hasattr(modules, "weight") else list(modules)


def _kind(module) -> tuple:
    """Cell, activation and sizes of a module that can be taken over."""
    name = getattr(module, "mode", type(module).__name__).split("_")[0]
    if name == "GRU":
        raise UsageError(OTHER_GRU)
    if name not in CELLS:
        raise UsageError(f"recurrent must be torch.nn.RNN or torch.nn.LSTM; it is {module}")
    for setting, wanted in (("num_layers", 1), ("bidirectional", False), ("proj_size", 0)):
        if getattr(module, setting) != wanted:
            raise UsageError(f"modules must have {setting}={wanted}; {module} has {getattr(module, setting)}")
    activation = "tanh" if name == "LSTM" else module.nonlinearity
    return CELLS[name], activation, module.hidden_size, module.input_size


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
    return np.asarray(tensor, np.float64)
