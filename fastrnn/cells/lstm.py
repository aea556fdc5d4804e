"""Long short-term memory (Hochreiter and Schmidhuber 1997, forget gate of Gers et al. 2000); state (h, cell).

i, f, o = s(a_i), s(a_f + k), s(a_o), cell' = f cell + i phi(a_c), h' = o phi(cell').
"""

from __future__ import annotations

import numpy as np

from .cell import Cell, Stage, rows


def forward(m, k, a_i, a_f, a_c, a_o, cell):
    i, f, o = m.sigmoid(a_i), m.sigmoid(a_f + k), m.sigmoid(a_o)
    c = m.phi(a_c)
    cell_next = f * cell + i * c
    phi_cell = m.phi(cell_next)
    return {
        "i": i,
        "f": f,
        "c": c,
        "o": o,
        "cell_next": cell_next,
        "phi_cell": phi_cell,
        "h_next": o * phi_cell,
    }


def backward(m, k, dh, dcell, cell, phi_cell, i, f, c, o):
    # h' = o phi(cell')
    dcell_next = dcell + dh * o * m.phi_slope(phi_cell)
    # cell' = f cell + i c
    return {
        "da_i": dcell_next * c * i * (1.0 - i),
        "da_f": dcell_next * cell * f * (1.0 - f),
        "da_c": dcell_next * i * m.phi_slope(c),
        "da_o": dh * phi_cell * o * (1.0 - o),
        "dcell": dcell_next * f,
        "dh": 0.0,
    }


def jacobian(w, m, v):
    # dcell' = f dcell + cell df + c di + i dc,  dh' = phi(cell') do + o phi' dcell'
    i, f, c, o, cell, phi_cell = (v[name] for name in ("i", "f", "c", "o", "cell", "phi_cell"))
    factors = {"f": cell * f * (1 - f), "i": c * i * (1 - i), "c": i * m.phi_slope(c)}
    by_o, by_cell = phi_cell * o * (1 - o), o * m.phi_slope(phi_cell)

    def both(source):  # d cell' and d h' by what enters through the weights of `source`
        cell_part = sum(rows(factor, source[block]) for block, factor in factors.items())
        return rows(by_cell, cell_part) + rows(by_o, source["o"]), cell_part

    h_by_h, cell_by_h = both(w.recurrent)
    h_by_x, cell_by_x = both(w.input)
    cell_by_cell = rows(f, w.eye)
    state = np.concatenate(
        [
            np.concatenate([h_by_h, rows(by_cell, cell_by_cell)], axis=-1),
            np.concatenate([cell_by_h, cell_by_cell], axis=-1),
        ],
        axis=-2,
    )
    return state, np.concatenate([h_by_x, cell_by_x], axis=-2)


LSTM = Cell("lstm", ("i", "f", "c", "o"), (), 2, (Stage(forward),), (Stage(backward),), jacobian)
