"""Leaky cell: h' = h + alpha (phi(a_c) - h) with alpha = s(-k), the same for all units and steps.

An Euler step of `tau dh/dt = -h + phi(a_c)` with alpha = dt / tau, as in continuous-time networks. In training there
may be noise of the units' own: `phi(a_c + sqrt(2 / alpha) noise xi)`, xi standard normal, anew for every unit and step.
Where phi is nearly linear over that, a unit left alone varies by about `noise`, whatever its step.

Source: Song, Yang, Wang, PLoS Computational Biology 12(2), 2016; with the noise inside of phi, as here, Yang, Joglekar,
Song, Newsome, Wang, Nature Neuroscience 22, 2019.
"""

from __future__ import annotations

from math import exp

import numpy as np

from ..errors import UsageError
from .cell import Cell, Stage, rows

ALPHA = 0.2  # by default
SLOWEST = 1e-7  # alpha; of less, any state of float32 would stay


def forward(m, k, a_c, h):
    c = m.phi(a_c)
    return {"c": c, "h_next": h + m.sigmoid(-k) * (c - h)}


def backward(m, k, dh, c):
    # h' = h + alpha (c - h)
    alpha = m.sigmoid(-k)
    return {"da_c": dh * alpha * m.phi_slope(c), "dh": dh - dh * alpha}


def jacobian(w, m, v):
    # dh' = (1 - alpha) dh + alpha dc
    alpha = m.sigmoid(-v["k"])
    by_c = alpha * m.phi_slope(v["c"])
    return (1 - alpha) * w.eye + rows(by_c, w.recurrent["c"]), rows(by_c, w.input["c"])


def check_alpha(alpha, of: str = "") -> np.ndarray:
    """Time steps over time constants; `UsageError` unless all of them leak, and not at once.

    of : where they come from, in words
    """
    alpha = np.asarray(alpha)
    if not ((alpha > SLOWEST * (1 - 1e-9)) & (alpha < 1)).all():  # by way of k a last bit is lost
        it = f"goes from {alpha.min():g} to {alpha.max():g}" if alpha.ndim else f"is {alpha:g}"
        raise UsageError(
            f"alpha must be above {SLOWEST:g} and below 1; it {it}{of}; networks without a leak (alpha = 1) are vanilla"
        )
    return alpha


def gate_bias_of(alpha) -> np.ndarray:
    """k of alpha: 1 - alpha = s(k).

    >>> float(gate_bias_of(0.5)), round(float(gate_bias_of(0.2)), 6)
    (0.0, 1.386294)
    """
    return np.log1p(-np.asarray(alpha)) - np.log(alpha)


def alpha_of(gate_bias: float) -> float:
    """Inverse of `gate_bias_of`.

    >>> alpha_of(0.0), round(alpha_of(1.386294), 6)
    (0.5, 0.2)
    """
    return exp(-gate_bias) / (1 + exp(-gate_bias)) if gate_bias > 0 else 1 / (1 + exp(gate_bias))


def leak_in_words(report: dict) -> str:
    """What leaky cells have, of the report of a run or a search; "" where there are none.

    >>> leak_in_words({"alpha": 0.2, "noise": 0.0})
    'leaky cells: alpha 0.2, noise in training 0'
    """
    return f"leaky cells: alpha {report['alpha']:g}, noise in training {report['noise']:g}" if "alpha" in report else ""


def noise_scale(noise, gate_bias: float) -> np.ndarray:
    """Standard deviation of what is added to a_c, from `noise`: times sqrt(2 / alpha).

    >>> noise_scale([0.0, 0.1], gate_bias_of(0.5)).tolist()
    [0.0, 0.2]
    """
    return np.sqrt(2 / alpha_of(gate_bias)) * np.asarray(noise)


LEAKY = Cell("leaky", ("c",), (), 1, (Stage(forward),), (Stage(backward),), jacobian, leaks=True)
