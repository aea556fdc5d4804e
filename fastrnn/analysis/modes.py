"""How far a network integrates linearly around its slow points, and by how many of its modes.

Source: Maheswaranathan et al., "Universality and individuality in neural dynamics across large populations of
recurrent networks" (2019), section 5.
"""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..shapes import check_shape
from ..values import check_sizes
from .eigen import paired
from .linearization import Linearization


def linear_integral(linearization: Linearization, W_out, u, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """What the linear system at each point makes of a pulse u at the first of `steps` steps, read out at the last.

    W_out^T R E^(steps - 1) L B u, with the modes kept one by one from the slowest; a perfect integrator of a unit
    pulse gives 1.

    Parameters
    ----------
    linearization : at F points
    W_out : (n, K), or (N, n, K) of all networks, of which each point's own is taken; the readout sees the first n
        state variables
    u : (D,) or (F, D), the pulse: a unit input of the relevant stream, or of the other
    steps : from the pulse to the readout, T

    Returns
    -------
    full : (F, K), all modes together, by powers of J
    kept : (F, S, K), kept[f, m] with the m + 1 slowest modes; both of a complex pair count from the first one on
    """
    check_sizes(steps=steps)
    F, S, D = linearization.input_jacobian.shape
    W_out, u = np.asarray(W_out, np.float64), np.asarray(u, np.float64)
    W_out = np.broadcast_to(W_out, (F, *W_out.shape)) if W_out.ndim == 2 else W_out[linearization.network]
    u = np.broadcast_to(u, (F, *u.shape)) if u.ndim == 1 else u
    check_shape("W_out", W_out, ("F", "n", "K"), F=F)
    check_shape("u", u, ("F", "D"), F=F, D=D)
    n = W_out.shape[1]
    if n > S:
        raise UsageError(f"W_out must have at most S = {S} rows; it has {n}")
    pushed = np.einsum("fsd,fd->fs", linearization.input_jacobian, u)
    state = pushed
    for _ in range(steps - 1):
        state = np.einsum("fuv,fv->fu", linearization.jacobian, state)
    full = np.einsum("fnk,fn->fk", W_out, state[:, :n])
    strength = np.einsum("fmv,fv->fm", linearization.left, pushed) * linearization.eigenvalues ** (steps - 1)
    seen = np.einsum("fnk,fnm->fmk", W_out, linearization.right[:, :n])
    by_mode = (strength[:, :, None] * seen).real
    kept = np.cumsum(by_mode, axis=1)
    first = paired(linearization.eigenvalues)
    kept[:, :-1][first[:, :-1]] = kept[:, 1:][first[:, :-1]]
    return full, kept


def modes_needed(full, kept, within: float = 0.1) -> np.ndarray:
    """The fewest slowest modes from which on the integral stays within a share of the full one, int (F,).

    Parameters
    ----------
    full, kept : from `linear_integral`
    within : share of |full|, over all outputs

    >>> modes_needed(np.array([[1.0]]), np.array([[[0.2], [0.95], [1.0]]]))
    array([2])
    """
    off = np.linalg.norm(kept - full[:, None], axis=2) > within * np.linalg.norm(full, axis=1)[:, None]
    last = off.shape[1] - np.argmax(off[:, ::-1], axis=1)
    return np.where(off.any(axis=1), np.minimum(last + 1, off.shape[1]), 1)
