"""The dynamics' analyses said plainly: one network, float64, one state at a time; imports nothing of fastrnn.

Networks and maps of known fixed points, eigenvalues, cycles and rotations stand at the end.
"""

from __future__ import annotations

import numpy as np
import oracle


def fixed_point(step, jacobian, h, steps=200):
    """Levenberg-Marquardt from one start h (S,): the state reached, and q there."""
    mu, r = 1e-2, step(h) - h
    q = 0.5 * r @ r
    for _ in range(steps):
        A = jacobian(h) - np.eye(len(h))
        h_new = h - np.linalg.solve(A.T @ A + mu * np.eye(len(h)), A.T @ r)
        r_new = step(h_new) - h_new
        q_new = 0.5 * r_new @ r_new
        if q_new < q:
            h, r, q, mu = h_new, r_new, q_new, max(mu / 5, 1e-14)
        else:
            mu = min(mu * 4, 1e6)
    return h, q


def all_fixed_points(step, jacobian, starts, apart):
    """Distinct fixed points (P, S) reached from starts (M, S)."""
    found = []
    for h in starts:
        h, q = fixed_point(step, jacobian, h)
        if q < 1e-24 and all(np.linalg.norm(h - other) > apart for other in found):
            found.append(h)
    return np.array(found)


def index_sum(jacobian, points):
    """Sum over points of (-1)^(number of real eigenvalues above 1)."""
    total = 0
    for h in points:
        values = np.linalg.eigvals(jacobian(h))
        total += (-1) ** int(((np.abs(values.imag) < 1e-12) & (values.real > 1)).sum())
    return total


def network(cell, activation, gate_bias, p, x):
    """Step and Jacobian of one network under a held input."""
    return (
        lambda h: oracle.step(cell, activation, gate_bias, p, h, x),
        lambda h: oracle.jacobian(cell, activation, gate_bias, p, h, x)[0],
    )


# --- networks and maps of which everything is known ---


def rolled(n):
    """W (n, n) of h' = tanh(h @ W): W[i] = -roll(linspace(-1, 1, n), -i); 3, 3, 9 fixed points for n = 2, 3, 4."""
    return np.stack([-np.roll(np.linspace(-1, 1, n), -i) for i in range(n)])


def turn(angle):
    """Rotation of the plane by `angle`, as a matrix (2, 2)."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def similar(core, size, seed, decay=0.3):
    """A matrix (size, size) with `core` in some plane and eigenvalues up to `decay` elsewhere, in a skew basis."""
    rng = np.random.default_rng(seed)
    whole = np.diag(np.linspace(0.1, decay, size))
    whole[: len(core), : len(core)] = core
    basis = rng.normal(size=(size, size)) + 2 * np.eye(size)
    return basis @ whole @ np.linalg.inv(basis)
