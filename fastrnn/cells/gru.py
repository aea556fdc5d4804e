"""Gated recurrent unit, the reset gate before the recurrent product (Cho et al. 2014).

g = s(a_g + k), r = s(a_r), c = phi((r h) @ W_c + x @ W_in_c + b_c), h' = g h + (1 - g) c.
"""

from __future__ import annotations

from .cell import Cell, Stage, columns, rows


def forward_gates(m, k, a_g, a_r, h):
    r = m.sigmoid(a_r)
    return {"g": m.sigmoid(a_g + k), "r": r, "rh": r * h}


def forward_candidate(m, k, a_c, g, h):
    c = m.phi(a_c)
    return {"c": c, "h_next": g * h + (1.0 - g) * c}


def backward_candidate(m, k, dh, h, g, c):
    # h' = g h + (1 - g) c
    return {
        "da_c": dh * (1.0 - g) * m.phi_slope(c),
        "da_g": dh * (h - c) * g * (1.0 - g),
        "dh": dh * g,
    }


def backward_gates(m, k, dh, drh, h, r):
    # rh = r h
    return {"da_r": drh * h * r * (1.0 - r), "dh": dh + drh * r}


def jacobian(w, m, v):
    # dh' = g dh + (h - c) dg + (1 - g) dc,  dc = phi' (W_c^T (r dh + h dr) + W_in_c^T dx)
    h, g, r, c = v["h"], v["g"], v["r"], v["c"]
    by_g, by_c, by_r = (h - c) * g * (1 - g), (1 - g) * m.phi_slope(c), h * r * (1 - r)
    candidate = rows(by_c, w.recurrent["c"])
    through_reset = columns(candidate, by_r)
    state = rows(g, w.eye) + rows(by_g, w.recurrent["g"]) + columns(candidate, r) + through_reset @ w.recurrent["r"]
    return state, rows(by_g, w.input["g"]) + rows(by_c, w.input["c"]) + through_reset @ w.input["r"]


GRU = Cell(
    "gru",
    ("g", "r"),
    ("c",),
    1,
    (Stage(forward_gates), Stage(forward_candidate)),
    (Stage(backward_gates), Stage(backward_candidate)),
    jacobian,
)
