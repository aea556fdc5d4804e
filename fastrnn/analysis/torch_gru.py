"""PyTorch's GRU, which is another cell than ours, as an update function."""

from __future__ import annotations

import numpy as np

from ..cells import ArrayMath
from ..errors import UsageError
from ..importing import bias_of, check_linear, check_plain, finite_values
from ..shapes import check_finite
from .maps import UpdateFunction


def update_from_torch(module, readout=None) -> UpdateFunction:
    """A trained `torch.nn.GRU` as an update function with Jacobians, for fixed points and all that hangs on them.

    r, z = s(x W_i + b_i + h W_h + b_h), c = tanh(x W_ic + b_ic + r (h W_hc + b_hc)), h' = (1 - z) c + z h: as PyTorch's
    documentation has it, in float64.

    Parameters
    ----------
    module : of one layer and one direction
    readout : the `torch.nn.Linear` that reads h; default the state itself

    Examples
    --------
    ::

        gru, readout = torch.nn.GRU(3, 64), torch.nn.Linear(64, 3)  # and train them
        update = fastrnn.update_from_torch(gru, readout)
        starts = np.random.default_rng(0).uniform(-1, 1, (1000, update.S))  # better: states on trajectories
        points = fastrnn.find_fixed_points(update, np.zeros(update.D), starts=starts)
    """
    if str(getattr(module, "mode", None)) != "GRU" or not hasattr(module, "weight_hh_l0"):
        raise UsageError(f"module must be one torch.nn.GRU; it is {module!r}; from_torch takes RNN and LSTM")
    check_plain(module)
    gru, n = _TorchGRU(module), module.hidden_size
    read = None if readout is None else _reader(readout, n)
    return UpdateFunction(gru.step, gru.jacobian, n, module.input_size, gru.input_jacobian, read, ball=True, limit=1.0)


def _reader(linear, n: int):
    """Function of states (M, n) that gives a Linear's outputs (M, K)."""
    check_linear(linear, n)
    W_out = finite_values("the readout's weights", linear.weight).T
    b_out = check_finite("the readout's bias", bias_of(linear))
    return lambda h: h @ W_out + b_out


class _TorchGRU:
    """The update of a GRU as PyTorch has it and its derivatives, at states (M, n) under one input (D,)."""

    def __init__(self, module):
        def blocks(values):
            return np.split(finite_values("the module's weights", values), 3)  # r, z, c

        none = np.zeros(3 * module.hidden_size)
        self.W_h, self.W_i = blocks(module.weight_hh_l0), blocks(module.weight_ih_l0)  # (n, n), (n, D)
        self.b_h, self.b_i = (
            blocks(bias) for bias in ((module.bias_hh_l0, module.bias_ih_l0) if module.bias else (none, none))
        )

    def _parts(self, h, x):
        """r, z, c, and what r multiplies."""
        by_state = [h @ W.T + b for W, b in zip(self.W_h, self.b_h, strict=True)]
        by_input = [W @ x + b for W, b in zip(self.W_i, self.b_i, strict=True)]
        r, z = (ArrayMath("tanh").sigmoid(by_state[k] + by_input[k]) for k in (0, 1))
        return r, z, np.tanh(by_input[2] + r * by_state[2]), by_state[2]

    def step(self, h, x):
        """h' (M, n)."""
        _, z, c, _ = self._parts(h, x)
        return (1.0 - z) * c + z * h

    def _slopes(self, h, x):
        """dh' by the pre-activations of r, z and c, and by h itself and what r multiplies; (M, n) each."""
        r, z, c, read = self._parts(h, x)
        slope = (1.0 - z) * (1.0 - c * c)
        return slope * read * r * (1.0 - r), (h - c) * z * (1.0 - z), slope, z, slope * r

    def jacobian(self, h, x):
        """dh' by h, (M, n, n)."""
        by_r, by_z, _, direct, by_read = self._slopes(h, x)
        through = zip((by_r, by_z, by_read), self.W_h, strict=True)
        return sum(factor[:, :, None] * W for factor, W in through) + direct[:, :, None] * np.eye(h.shape[1])

    def input_jacobian(self, h, x):
        """dh' by x, (M, n, D)."""
        return sum(factor[:, :, None] * W for factor, W in zip(self._slopes(h, x)[:3], self.W_i, strict=True))
