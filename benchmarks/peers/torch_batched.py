"""PyTorch: all networks at once in batched matrix products, gradients by autograd."""

from __future__ import annotations

import numpy as np

from fastrnn.cells import get_cell
from fastrnn.cells.leaky import alpha_of

from ..work import HYPERPARAMETERS
from .jax_vmap import time_first
from .peer import BIASED, Peer, Trainer


def losses(cell: str, activation: str, gate_bias: float, n: int, p: dict, inputs, targets):
    """Loss of each network, (N,), for inputs (N, T, B, D) and targets (N, T, B, K)."""
    import torch

    phi = {"tanh": torch.tanh, "relu": torch.relu}[activation]
    blocks = get_cell(cell).blocks
    offset = torch.tensor([gate_bias * (block == BIASED.get(cell)) for block in blocks]).repeat_interleave(n)
    alpha = alpha_of(gate_bias)  # of leaky cells
    N, T, B, D = inputs.shape
    # the input's share of the gates, all steps at once; one (N, B, G n) a step
    a = torch.baddbmm((p["b"] + offset).unsqueeze(1), inputs.reshape(N, T * B, D), p["W_in"])
    a = a.view(N, T, B, -1).unbind(1)
    W = p["W_rec"]
    h = p["h0"][:, None, :n].expand(N, B, n)
    memory = p["h0"][:, None, n:].expand(N, B, -1)
    if cell == "gru":
        W, W_c = W[..., : 2 * n].contiguous(), W[..., 2 * n :].contiguous()
    states = []
    for t in range(T):
        if cell == "vanilla":
            h = phi(torch.baddbmm(a[t], h, W))
        elif cell == "leaky":
            h = torch.lerp(h, phi(torch.baddbmm(a[t], h, W)), alpha)
        elif cell == "current":
            memory = torch.lerp(memory, torch.baddbmm(a[t], h, W), alpha)
            h = phi(memory)
        elif cell == "ugrnn":
            a_c, a_g = torch.baddbmm(a[t], h, W).chunk(2, -1)
            c = phi(a_c)
            h = torch.lerp(c, h, torch.sigmoid(a_g))
        elif cell == "gru":
            g, r = torch.sigmoid(torch.baddbmm(a[t][..., : 2 * n], h, W)).chunk(2, -1)
            c = phi(torch.baddbmm(a[t][..., 2 * n :], r * h, W_c))
            h = torch.lerp(c, h, g)
        else:
            both, a_c, a_o = torch.baddbmm(a[t], h, W).split([2 * n, n, n], -1)
            i, f = torch.sigmoid(both).chunk(2, -1)
            memory = f * memory + i * phi(a_c)
            h = torch.sigmoid(a_o) * phi(memory)
        states.append(h)
    h = torch.stack(states, 1).view(N, T * B, n)
    outputs = torch.baddbmm(p["b_out"].unsqueeze(1), h, p["W_out"]).view(N, T, B, -1)
    return (outputs - targets).square().mean((1, 2, 3))


def leaves(networks) -> dict:
    """Parameters as PyTorch's, copied."""
    import torch

    return {name: torch.tensor(np.array(array), requires_grad=True) for name, array in networks.arrays.items()}


class BatchedTrainer(Trainer):
    """All networks in one graph an iteration; momentum and clip by network."""

    def __init__(self, networks, inputs, targets):
        import torch

        self.networks = len(networks)
        self._kind = (networks.cell, networks.activation, networks.gate_bias, networks.n)
        self._parameters = leaves(networks)
        self._velocity = [torch.zeros_like(p) for p in self._parameters.values()]
        self._trials = (torch.from_numpy(time_first(inputs)), torch.from_numpy(time_first(targets)))

    def __call__(self, iterations: int) -> None:
        import torch

        parameters = list(self._parameters.values())
        lr, momentum, clip, l2 = (HYPERPARAMETERS[name] for name in ("learning_rate", "momentum", "clip", "l2"))
        for _ in range(iterations):
            total = losses(*self._kind, self._parameters, *self._trials).sum()
            gradients = torch.autograd.grad(total, parameters)
            with torch.no_grad():
                squares = torch.zeros(self.networks)
                for p, g in zip(parameters, gradients, strict=True):
                    g.add_(p, alpha=2 * l2)
                    squares += g.flatten(1).square().sum(1)
                scale = (clip / squares.sqrt()).clamp(max=1.0)
                for p, v, g in zip(parameters, self._velocity, gradients, strict=True):
                    v.mul_(momentum).addcmul_(g, scale.view(-1, *[1] * (g.ndim - 1)))
                    p.sub_(v, alpha=lr)


class TorchBatched(Peer):
    """What a PyTorch user who wants speed would write."""

    name = "torch-batched"
    label = "PyTorch bmm"
    title = "PyTorch bmm"
    library = "torch"
    batched = True

    def use(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)

    def loss_and_gradients(self, networks, inputs, targets):
        import torch

        p = leaves(networks)
        kind = (networks.cell, networks.activation, networks.gate_bias, networks.n)
        values = losses(*kind, p, torch.from_numpy(time_first(inputs)), torch.from_numpy(time_first(targets)))
        gradients = torch.autograd.grad(values.sum(), list(p.values()))
        return values.detach().numpy(), {name: g.numpy() for name, g in zip(p, gradients, strict=True)}

    def trainer(self, work, N: int) -> Trainer:
        networks = work.networks(N)
        return BatchedTrainer(networks, *work.trials(networks))
