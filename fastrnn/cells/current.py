"""Current cell: x' = x + alpha (a_c - x), h' = c = phi(x'); state (h, x), x named `cell`, alpha as in `leaky`.

An Euler step of `tau dx/dt = -x + a_c` with alpha = dt / tau, where a unit's current x leaks and the rate h = phi(x) is
what other units and the readout see; in `leaky`, rates leak. Both parts of the initial state are trained, and x alone
decides from the first step on. Noise in training is added to a_c as in `leaky`: a unit left alone varies by about it.

Sources: Sompolinsky, Crisanti, Sommers, Physical Review Letters 61, 1988; trained on tasks, Mante, Sussillo, Shenoy,
Newsome, Nature 503, 2013. How the two forms are related: Miller, Fumarola, Neural Computation 24, 2012.
"""

from __future__ import annotations

import numpy as np

from .cell import Cell, Stage, rows


def forward(m, k, a_c, cell):
    cell_next = cell + m.sigmoid(-k) * (a_c - cell)
    c = m.phi(cell_next)
    return {"c": c, "cell_next": cell_next, "h_next": c}


def backward(m, k, dh, dcell, c):
    # h' = c = phi(x'), x' = x + alpha (a_c - x)
    alpha = m.sigmoid(-k)
    dcell_next = dcell + dh * m.phi_slope(c)
    return {"da_c": dcell_next * alpha, "dcell": dcell_next - dcell_next * alpha, "dh": 0.0}


def jacobian(w, m, v):
    # dx' = (1 - alpha) dx + alpha da_c, dh' = phi' dx'
    alpha, slope = m.sigmoid(-v["k"]), m.phi_slope(v["c"])
    by_state = np.concatenate([alpha * w.recurrent["c"], (1 - alpha) * w.eye], axis=-1)  # dx' (n, 2 n)
    by_input = alpha * w.input["c"]  # dx' (n, D)

    def both(dx):  # dh' and dx', for every state of slope (..., n)
        return np.concatenate([rows(slope, dx), np.broadcast_to(dx, (*slope.shape, dx.shape[-1]))], axis=-2)

    return both(by_state), both(by_input)


CURRENT = Cell("current", ("c",), (), 2, (Stage(forward),), (Stage(backward),), jacobian, leaks=True)
