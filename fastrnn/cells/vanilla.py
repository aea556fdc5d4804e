"""Vanilla cell: h' = phi(a_h)."""

from __future__ import annotations

from .cell import Cell, Stage, rows


def forward(m, k, a_h):
    return {"h_next": m.phi(a_h)}


def backward(m, k, dh, h_next):
    # h' = phi(a_h)
    return {"da_h": dh * m.phi_slope(h_next), "dh": 0.0}


def jacobian(w, m, v):
    # dh' = phi' W^T dh + phi' W_in^T dx
    slope = m.phi_slope(v["h_next"])
    return rows(slope, w.recurrent["h"]), rows(slope, w.input["h"])


VANILLA = Cell("vanilla", ("h",), (), 1, (Stage(forward),), (Stage(backward),), jacobian)
