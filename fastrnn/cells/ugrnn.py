"""Update-gate cell (Collins, Sohl-Dickstein, Sussillo 2017): g = s(a_g + k), c = phi(a_c), h' = g h + (1 - g) c."""

from __future__ import annotations

from .cell import Cell, Stage, rows


def forward(m, k, a_c, a_g, h):
    c = m.phi(a_c)
    g = m.sigmoid(a_g + k)
    return {"c": c, "g": g, "h_next": g * h + (1.0 - g) * c}


def backward(m, k, dh, h, c, g):
    # h' = g h + (1 - g) c
    return {
        "da_c": dh * (1.0 - g) * m.phi_slope(c),
        "da_g": dh * (h - c) * g * (1.0 - g),
        "dh": dh * g,
    }


def jacobian(w, m, v):
    # dh' = g dh + (h - c) dg + (1 - g) dc
    h, c, g = v["h"], v["c"], v["g"]
    by_g, by_c = (h - c) * g * (1 - g), (1 - g) * m.phi_slope(c)
    state = rows(g, w.eye) + rows(by_g, w.recurrent["g"]) + rows(by_c, w.recurrent["c"])
    return state, rows(by_g, w.input["g"]) + rows(by_c, w.input["c"])


UGRNN = Cell("ugrnn", ("c", "g"), (), 1, (Stage(forward),), (Stage(backward),), jacobian)
