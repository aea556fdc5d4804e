"""PyTorch: `torch.nn.RNN`, `LSTM` or `GRU` with a linear readout, one network at a time, as most people do today."""

from __future__ import annotations

import numpy as np

from ..work import HYPERPARAMETERS
from .peer import Peer, Trainer

# blocks in PyTorch's order, as positions of ours; a GRU's are r, z, n there and g, r, c here
ORDER = {"vanilla": (0,), "gru": (1, 0, 2), "lstm": (0, 1, 2, 3)}
BIASED_BLOCK = {"vanilla": None, "gru": 1, "lstm": 1}  # PyTorch's block whose bias takes up `gate_bias`


class OneNetwork:
    """A module, its readout and its initial state, with the weights of one of our networks."""

    def __init__(self, network):
        import torch

        self.cell, self.n = network.cell, network.n
        modules = {"vanilla": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
        options = {"nonlinearity": network.activation} if network.cell == "vanilla" else {}
        self.recurrent = modules[network.cell](network.D, network.n, **options)
        self.readout = torch.nn.Linear(network.n, network.K)
        arrays = {name: array[0] for name, array in network.arrays.items()}
        bias = self._reorder(arrays["b"]).copy()
        if BIASED_BLOCK[network.cell] is not None:
            start = BIASED_BLOCK[network.cell] * network.n
            bias[start : start + network.n] += network.gate_bias
        weights = {
            self.recurrent.weight_hh_l0: self._reorder(arrays["W_rec"]).T,
            self.recurrent.weight_ih_l0: self._reorder(arrays["W_in"]).T,
            self.recurrent.bias_ih_l0: bias,
            self.recurrent.bias_hh_l0: np.zeros_like(bias),
            self.readout.weight: arrays["W_out"].T,
            self.readout.bias: arrays["b_out"],
        }
        with torch.no_grad():
            for parameter, array in weights.items():
                parameter.copy_(torch.from_numpy(np.array(array)))
        self.h0 = torch.tensor(np.array(arrays["h0"]), requires_grad=True)

    def _reorder(self, array):
        """Columns (..., G n) with the blocks in PyTorch's order; its own inverse."""
        order = ORDER[self.cell]
        return array.reshape(*array.shape[:-1], len(order), self.n)[..., order, :].reshape(array.shape)

    @property
    def parameters(self) -> list:
        return [*self.recurrent.parameters(), *self.readout.parameters(), self.h0]

    def loss(self, inputs, targets):
        """For inputs (T, B, D) and targets (T, B, K)."""
        B, n = inputs.shape[1], self.n
        state = self.h0[None, None, :n].expand(1, B, n).contiguous()
        if self.cell == "lstm":
            state = (state, self.h0[None, None, n:].expand(1, B, n).contiguous())
        h, _ = self.recurrent(inputs, state)
        return (self.readout(h) - targets).square().mean()

    def gradients(self) -> dict:
        """Named, ordered and shaped as ours, after a backward pass."""
        r = self.recurrent
        return {
            "W_rec": self._reorder(r.weight_hh_l0.grad.numpy().T),
            "W_in": self._reorder(r.weight_ih_l0.grad.numpy().T),
            "b": self._reorder(r.bias_ih_l0.grad.numpy()),
            "W_out": self.readout.weight.grad.numpy().T,
            "b_out": self.readout.bias.grad.numpy(),
            "h0": self.h0.grad.numpy(),
        }


def tensors(inputs, targets):
    """Trials of one network, (B, T, ...), time first."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(np.swapaxes(a, 0, 1))) for a in (inputs, targets))


class ModuleTrainer(Trainer):
    """One network and PyTorch's own optimizer."""

    networks = 1

    def __init__(self, networks, inputs, targets):
        import torch

        self._network = OneNetwork(networks[0])
        self._trials = tensors(inputs[0], targets[0])
        lr, momentum = HYPERPARAMETERS["learning_rate"], HYPERPARAMETERS["momentum"]
        self._optimizer = torch.optim.SGD(self._network.parameters, lr=lr, momentum=momentum)

    def __call__(self, iterations: int) -> None:
        import torch

        parameters = self._network.parameters
        for _ in range(iterations):
            self._optimizer.zero_grad()
            self._network.loss(*self._trials).backward()
            with torch.no_grad():
                for p in parameters:
                    p.grad.add_(p, alpha=2 * HYPERPARAMETERS["l2"])
            torch.nn.utils.clip_grad_norm_(parameters, HYPERPARAMETERS["clip"])
            self._optimizer.step()


class TorchModules(Peer):
    """`torch.nn` has no UGRNN, no relu in gated cells, and its GRU resets after the product: another cell."""

    name = "torch-modules"
    label = "torch.nn"
    title = "torch.nn, one at a time"
    library = "torch"

    def supports(self, cell: str, activation: str) -> bool:
        return cell == "vanilla" or (cell in ORDER and activation == "tanh")

    def same_cell(self, cell: str) -> bool:
        return cell != "gru"

    def use(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)

    def loss_and_gradients(self, networks, inputs, targets):
        values, gradients = [], []
        for i in range(len(networks)):
            network = OneNetwork(networks[i])
            loss = network.loss(*tensors(inputs[i], targets[i]))
            loss.backward()
            values.append(float(loss.detach()))
            gradients.append(network.gradients())
        return np.array(values), {name: np.stack([g[name] for g in gradients]) for name in gradients[0]}

    def trainer(self, work, N: int) -> Trainer:
        networks = work.networks(1)
        return ModuleTrainer(networks, *work.trials(networks))
