"""Fixed points in PyTorch by Adam on the speed q = |F(h) - h|^2 / 2, all starts together, float32.

Method and settings are those of FixedPointFinder (Golub and Sussillo 2018, JOSS 3(31), 1003), of its PyTorch version of
2023.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

RATE, FACTOR, EVERY = 0.05, 0.7, 500  # learning rate; what it is multiplied by after so many steps
FIXED, STALLED = 1e-12, 1e-20  # q of a fixed point; change of q in a step of one that is no better any more
STEPS = 5000  # at most


def is_installed() -> bool:
    """Whether PyTorch is there; it is loaded when first used."""
    return find_spec("torch") is not None


def descend(network, held, starts, threads: int, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray, int]:
    """Where starts (M, n) of one vanilla network end under a held input (D,), their q (M,), and how many steps it took.

    The input's share is computed once and the update is one product: quicker than a call of `torch.nn.RNN`.
    """
    import torch

    torch.set_num_threads(threads)
    phi = {"tanh": torch.tanh, "relu": torch.relu}[network.activation]
    p = network.in_float64(0)
    W, constant = (torch.tensor(a, dtype=torch.float32) for a in (p["W_rec"], held @ p["W_in"] + p["b"]))
    h = torch.tensor(starts, dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.Adam([h], lr=RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, EVERY, FACTOR)
    before = torch.full((len(starts),), torch.nan)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        q = (phi(torch.addmm(constant, h, W)) - h).square().sum(1) / 2
        now = q.detach()
        if step == steps or bool(((now < FIXED) | ((now - before).abs() < STALLED)).all()):
            break
        q.mean().backward()
        optimizer.step()
        schedule.step()
        before = now
    return h.detach().numpy().astype(np.float64), now.numpy(), step
