"""Leaky cell: h' = g h + (1 - g) phi(a_c) with g = s(k), the same for all units and steps.

An Euler step of `tau dh/dt = -h + phi(a_c)` with alpha = dt / tau = 1 - g, as in continuous-time networks. In training
there may be noise of the units' own: `phi(a_c + sqrt(2 / alpha) noise xi)`, xi standard normal, anew for every unit and
step. Source of both, and of the scale, which makes the noise depend on tau alone: Song, Yang, Wang, PLoS Computational
Biology 12(2), 2016; inside of phi as in Yang, Joglekar, Song, Newsome, Wang, Nature Neuroscience 22, 2019.
"""

from __future__ import annotations

from math import exp

import numpy as np

from ..errors import UsageError
from .cell import Cell, Stage, rows

SLOWEST = 1e-7  # alpha; of less, g comes so near to 1 that any state would stay


def forward(m, k, a_c, h):
    c = m.phi(a_c)
    g = m.sigmoid(k)
    return {"c": c, "h_next": g * h + (1.0 - g) * c}


def backward(m, k, dh, c):
    # h' = g h + (1 - g) c
    g = m.sigmoid(k)
    return {"da_c": dh * (1.0 - g) * m.phi_slope(c), "dh": dh * g}


def jacobian(w, m, v):
    # dh' = g dh + (1 - g) dc
    g = m.sigmoid(v["k"])
    by_c = (1 - g) * m.phi_slope(v["c"])
    return g * w.eye + rows(by_c, w.recurrent["c"]), rows(by_c, w.input["c"])


def check_alpha(alpha: np.ndarray) -> np.ndarray:
    """Time steps over time constants; `UsageError` unless all of them leak, and not at once."""
    if not ((alpha > SLOWEST) & (alpha < 1)).all():
        raise UsageError(
            f"alpha must be above {SLOWEST:g} and below 1; it goes from {alpha.min():g} to {alpha.max():g}; networks "
            "without a leak (alpha = 1) are vanilla"
        )
    return alpha


def gate_bias_of(alpha) -> np.ndarray:
    """k of alpha: 1 - alpha = s(k).

    >>> float(gate_bias_of(0.5)), round(float(gate_bias_of(0.2)), 6)
    (0.0, 1.386294)
    """
    return np.log1p(-np.asarray(alpha)) - np.log(alpha)


def kept_of(gate_bias: float) -> float:
    """1 - alpha = s(k), what a step keeps of the state.

    >>> kept_of(0.0)
    0.5
    """
    return 1 / (1 + exp(-gate_bias)) if gate_bias > 0 else exp(gate_bias) / (1 + exp(gate_bias))


def noise_scale(noise, gate_bias: float) -> np.ndarray:
    """Standard deviation of what is added to a_c, from `noise`: times sqrt(2 / alpha).

    >>> noise_scale([0.0, 0.1], gate_bias_of(0.5)).tolist()
    [0.0, 0.2]
    """
    return np.sqrt(2 / kept_of(-gate_bias)) * np.asarray(noise)


LEAKY = Cell("leaky", ("c",), (), 1, (Stage(forward),), (Stage(backward),), jacobian)
