"""The compiled methods for fixed points: their parts against NumPy, their ends against those of the general ones."""

import dataclasses

import numpy as np
import pytest
from samples import KINDS, oracle_parameters, random_networks, relative_error
from tolerances import EXACT_FORMULA

from fastrnn.analysis.levenberg_marquardt import MU_LOW, levenberg_marquardt
from fastrnn.analysis.maps import network_map
from fastrnn.analysis.newton import newton
from fastrnn.cells import get_cell
from fastrnn.compiled import compiled
from fastrnn.engines.cpu.elimination import padded, scratch, solve_in_place
from fastrnn.engines.cpu.normal import form_product, solve_damped
from fastrnn.engines.cpu.pointwise import BACK, FIRST, SECOND, call_pointwise, pointwise_function, rows_of
from fastrnn.engines.cpu.solver import Solver

X = np.array([0.3, -0.2])


@compiled(keep=False)
def eliminate(table, multipliers, solution):
    solve_in_place(table, multipliers, solution)


def solution_of(A, r):
    """A s = r by the compiled elimination."""
    S, size = len(A), padded(len(A))
    table, multipliers = scratch(size)
    table[:, :size] = np.eye(size)
    table[:S, :S], table[:S, size] = A, r
    s = np.full(size, np.nan)
    eliminate(table, multipliers, s)
    return s[:S]


@pytest.mark.parametrize("S", [1, 2, 3, 4, 5, 7, 8, 9, 16, 21, 24, 25, 32, 48, 64])
def test_equations(S):
    rng = np.random.default_rng(S)
    A, r = rng.normal(size=(S, S)), rng.normal(size=S)
    np.testing.assert_allclose(A @ solution_of(A, r), r, atol=1e-11)


def test_equations_that_need_pivots():
    A = np.array([[0.0, 2, 0, 0, 1], [1e-20, 0, 3, 0, 0], [0, 1, 0, 0, 0], [5, 0, 0, 0, 0], [0, 0, 0, 7, 0]])
    r = np.arange(1.0, 6)
    np.testing.assert_allclose(solution_of(A, r), np.linalg.solve(A, r), rtol=1e-14)


def test_a_singular_system_gets_one_of_its_solutions():
    A = np.diag([2.0, 0.0, 4.0, 0.0])
    assert solution_of(A, np.array([2.0, 0, 2, 0])).tolist() == [1.0, 0.0, 0.5, 0.0]


@compiled(keep=False)
def solve_normal(table, product, multipliers, mu, solution):
    form_product(table, product)
    solve_damped(product, mu, table, multipliers, solution)


def damped_solution_of(A, r, mu):
    """(A^T A + mu I) s = A^T r by the compiled elimination, the product that it made, and s in full."""
    S, size = len(A), padded(len(A))
    table, multipliers = scratch(size)
    table[:, :size] = np.eye(size)
    table[:S, :S], table[:S, size] = A, r
    product, s = np.zeros_like(table), np.full(size, np.nan)
    solve_normal(table, product, multipliers, mu, s)
    return product, s


@pytest.mark.parametrize("mu", [0.0, 0.1])
@pytest.mark.parametrize("S", [1, 3, 7, 8, 9, 16, 21, 24, 25, 32, 48, 64])
def test_damped_normal_equations(S, mu):
    rng = np.random.default_rng(S)
    A, r = rng.normal(size=(S, S)), rng.normal(size=S)
    product, s = damped_solution_of(A, r, mu)
    upper = np.triu_indices(S)
    np.testing.assert_allclose(product[:S, :S][upper], (A.T @ A)[upper], atol=1e-12)
    np.testing.assert_allclose(product[:S, padded(S)], A.T @ r, atol=1e-12)
    damped = A.T @ A + mu * np.eye(S)
    left = np.linalg.norm(damped @ s[:S] - A.T @ r)
    assert left < 1e-14 * np.linalg.norm(damped) * np.linalg.norm(s)
    assert (s[S:] == 0.0).all()


def test_singular_normal_equations_get_one_of_their_solutions():
    _, s = damped_solution_of(np.ones((2, 2)), np.ones(2), 0.0)
    assert s[:2].tolist() == [1.0, 0.0]


@compiled(keep=False)
def fill_in(address, values):
    for which in (FIRST, SECOND, BACK):
        call_pointwise(address, which, 0.7, values.shape[1], values.ctypes.data)


def derivatives(cell, activation, values):
    """The kind's table after both forward stages and the derivatives, from rows of `values` (height, n)."""
    fill_in(pointwise_function(cell, activation)[0], values)
    return values


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_pointwise_derivatives_against_central_differences(cell, activation):
    """Each stage's derivatives as the table holds them, by moving one row at a time."""
    rows, (_, height) = rows_of(get_cell(cell)), pointwise_function(cell, activation)
    start = np.zeros((height, 5))
    start[: rows.rh] = np.random.default_rng(0).normal(size=(rows.rh, 5))
    made, e = derivatives(cell, activation, start.copy()), 1e-6
    by_row = {}
    for row in range(rows.rh):
        up, down = start.copy(), start.copy()
        up[row] += e
        down[row] -= e
        by_row[row] = (derivatives(cell, activation, up) - derivatives(cell, activation, down)) / (2 * e)
    for o in range(rows.H):
        for g in range(rows.G):
            np.testing.assert_allclose(made[rows.by_a + o * rows.G + g], by_row[rows.a + g][rows.next + o], atol=1e-8)
        for half in range(rows.H):
            np.testing.assert_allclose(made[rows.direct + o * rows.H + half], by_row[half][rows.next + o], atol=1e-8)
    if rows.first < rows.G:
        for g in range(rows.first):
            np.testing.assert_allclose(made[rows.rh_by_a + g], by_row[rows.a + g][rows.rh], atol=1e-8)
        np.testing.assert_allclose(made[rows.rh_by_h], by_row[0][rows.rh], atol=1e-8)


def solvers(cell, activation, n, limit=np.inf):
    """The compiled methods and the map for the general ones, of one network."""
    networks = random_networks(cell, activation, n=n, D=2, K=1, N=1, seed=3, gate_bias=0.5)
    p = oracle_parameters(networks, 0)
    plain = dataclasses.replace(network_map(networks, p, X), limit=limit, solver=None)
    return Solver(cell, activation, 0.5, p, X, np.full(networks.S, limit)), plain


def newton_twice(solver, plain, starts, steps):
    """Newton's method, compiled and general."""
    return solver.newton(starts, 1e-26, steps, None, 0.0), newton(plain, starts, 1e-26, steps)


def levenberg_marquardt_twice(solver, plain, starts, steps, floor=MU_LOW, speed=0.0):
    """Levenberg-Marquardt, compiled and general."""
    made = solver.levenberg_marquardt(starts, 1e-26, steps, floor, 0.5 * speed**2)
    return made, levenberg_marquardt(plain, starts, 1e-26, steps, floor, speed)


BOTH = pytest.mark.parametrize("twice", [newton_twice, levenberg_marquardt_twice])


@BOTH
@pytest.mark.parametrize("n", [3, 8, 13])
@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_one_step_is_that_of_the_general_method(cell, activation, n, twice):
    solver, plain = solvers(cell, activation, n)
    starts = np.random.default_rng(1).normal(size=(5, plain.S))
    (h, q, taken), expected = twice(solver, plain, starts, 1)
    assert relative_error(h, expected.h) < EXACT_FORMULA
    assert relative_error(q, expected.q) < EXACT_FORMULA
    assert taken.tolist() == expected.iterations.tolist() == [1] * 5


@BOTH
@pytest.mark.parametrize(("cell", "activation"), [("vanilla", "tanh"), ("gru", "tanh"), ("lstm", "tanh")])
def test_the_whole_way_is_that_of_the_general_method(cell, activation, twice):
    solver, plain = solvers(cell, activation, 6)
    starts = np.random.default_rng(1).normal(size=(20, plain.S))
    (h, q, _), expected = twice(solver, plain, starts, 50)
    there = expected.q < 1e-25
    assert there.sum() >= 10
    np.testing.assert_allclose(h[there], expected.h[there], atol=1e-11)
    assert (q[there] < 1e-25).all()


@BOTH
def test_steps_end_at_the_limit(twice):
    solver, plain = solvers("vanilla", "relu", 6, limit=0.1)
    starts = np.random.default_rng(1).uniform(-0.1, 0.1, size=(5, 6))
    (h, q, _), expected = twice(solver, plain, starts, 3)
    assert np.abs(h).max() == 0.1
    np.testing.assert_allclose(h, expected.h, atol=1e-12)
    np.testing.assert_allclose(q, expected.q, atol=1e-12)


def test_starts_that_find_nothing_are_left_as_by_the_general_method():
    """Within limits that hold no fixed point: steps that raise q, mu up and down, and an end without progress."""
    solver, plain = solvers("gru", "relu", 8, limit=0.1)
    starts = np.random.default_rng(2).normal(size=(20, 8)).clip(-0.1, 0.1)
    (_, q, taken), expected = levenberg_marquardt_twice(solver, plain, starts, 100)
    assert (expected.q > 1e-3).all()
    assert len(set(expected.iterations)) > 3 and max(expected.iterations) < 100
    assert taken.tolist() == expected.iterations.tolist()
    np.testing.assert_allclose(q, expected.q, rtol=1e-10)


def test_slow_points_end_the_descent_and_the_floor_holds():
    solver, plain = solvers("gru", "tanh", 6)
    starts = np.random.default_rng(1).normal(size=(20, 6))
    (h, q, taken), expected = levenberg_marquardt_twice(solver, plain, starts, 50, 1e-2, 1e-3)
    np.testing.assert_allclose(h, expected.h, atol=1e-11)
    assert taken.tolist() == expected.iterations.tolist()
    assert ((q <= 0.5e-6) & (q > 1e-20)).sum() >= 10
    assert (taken < levenberg_marquardt_twice(solver, plain, starts, 50)[0][2]).any()


def test_a_state_near_a_known_point_has_arrived():
    solver, _ = solvers("vanilla", "tanh", 6)
    (point,), (alone,), _ = solver.newton(np.zeros((1, 6)), 1e-28, 50, None, 0.0)
    known = np.stack([point + 5.0, point + 1e-3])
    for radius, there in ((1e-2, True), (1e-4, False)):
        h, q, taken = solver.newton(np.zeros((1, 6)), 1e-28, 50, known, radius)
        assert np.array_equal(h[0], known[1]) == there
        assert q[0] == (0.0 if there else alone)
    assert taken[0] > 1


def test_starts_that_are_not_finite_on_the_way_stay_where_they_are():
    networks = random_networks("vanilla", "relu", n=4, D=2, K=1, N=1)
    networks.W_rec[:] = 1e30
    solver = Solver("vanilla", "relu", 1.0, oracle_parameters(networks, 0), X, np.full(4, np.inf))
    starts = np.stack([np.full(4, 1e300), np.zeros(4)])
    for h, q, _ in (solver.newton(starts, 1e-26, 5, None, 0.0), solver.levenberg_marquardt(starts, 1e-26, 5, 0.0, 0.0)):
        np.testing.assert_array_equal(h[0], starts[0])
        assert q[0] == np.inf
        assert np.isfinite(h).all()


def test_no_start_has_no_end():
    solver, _ = solvers("lstm", "tanh", 6)
    h, q, taken = solver.newton(np.empty((0, 12)), 1e-26, 5, None, 0.0)
    assert h.shape == (0, 12) and q.shape == taken.shape == (0,)


def test_padding():
    assert [padded(size) for size in (1, 8, 9)] == [8, 8, 16]
