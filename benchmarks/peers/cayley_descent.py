"""Dynamical similarity in PyTorch as published (Ostrow et al. 2023): Adam on the alignment of two maps, float32.

The orthogonal C is the Cayley map of a skew-symmetric S, which has determinant 1; a second descent, with two
coordinates of B exchanged, reaches the others. Steps and rate are the defaults of the authors' package. There S is what
a chain of linear layers makes; here its elements are descended on themselves, from C = I, and both descents of a pair
go side by side: less time for angles about as good.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

STEPS, RATE = 1500, 0.01


def is_installed() -> bool:
    """Whether PyTorch is there; it is loaded when first used."""
    return find_spec("torch") is not None


def angles(a, b, threads: int, steps: int = STEPS) -> np.ndarray:
    """Angles (P,) between maps a and C b C^T for the C found, of P pairs together; a, b (P, r, r)."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.tensor(x / np.linalg.norm(x, axis=(1, 2), keepdims=True), dtype=torch.float32) for x in (a, b))
    one = torch.eye(a.shape[1])
    exchange = one[[1, 0, *range(2, len(one))]]
    a, b = a[:, None], torch.stack([b, exchange @ b @ exchange.T], 1)
    x = torch.zeros_like(b, requires_grad=True)  # (P, 2, r, r)
    optimizer = torch.optim.Adam([x], lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        s = x - x.mT
        c = torch.linalg.solve(one + s, one - s)
        inner = (a * (c @ b @ c.mT)).sum((-2, -1))
        (-inner.sum()).backward()
        optimizer.step()
    return np.arccos(inner.detach().amax(1).double().clamp(-1, 1).numpy())
