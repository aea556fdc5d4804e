"""Fixed-point searches: analytic networks, planted points, the oracle, verdicts, isolation and mistakes."""

from dataclasses import replace

import dynamics_oracle as plain
import numpy as np
import oracle
import pytest
from samples import KINDS, oracle_parameters, random_networks

from fastrnn.analysis.completeness import PointStatus, SearchStatus, index_signs, judge, unseen_mass
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.maps import UpdateFunction
from fastrnn.analysis.points import FixedPoints
from fastrnn.analysis.search import METHODS
from fastrnn.analysis.starts import SHARES, Origin
from fastrnn.errors import RunError, UsageError
from fastrnn.networks import Networks


def vanilla(W, activation="tanh", b=None):
    """Networks h' = phi(h @ W + b) from W (N, n, n), one input of weight 0.5 to every unit."""
    W = np.asarray(W, float)
    N, n, _ = W.shape
    arrays = {"W_rec": W, "W_in": np.full((N, 1, n), 0.5), "b": np.zeros((N, n)) if b is None else b}
    arrays |= {"W_out": np.tile(np.eye(n), (N, 1, 1)), "b_out": np.zeros((N, n)), "h0": np.zeros((N, n))}
    return Networks.from_arrays(cell="vanilla", activation=activation, arrays=arrays)


def linear(A, readout=None):
    """The map h' = A h, not of a ball."""
    return UpdateFunction(lambda h, x: h @ A.T, lambda h, x: np.broadcast_to(A, (len(h), *A.shape)), S=len(A))


@pytest.mark.parametrize(("n", "count"), [(2, 3), (3, 3), (4, 9)])
def test_analytic_networks(n, count):
    points = find_fixed_points(vanilla([plain.rolled(n)]), [0.0], batch=128)
    assert len(points) == count
    assert points.index_sum.tolist() == [[1]]
    assert points.search_status.tolist() == [[SearchStatus.CONSISTENT]]
    assert np.sqrt(2 * points.qstar).max() < 1e-14
    origin = np.linalg.norm(points.xstar, axis=1) < 1e-9
    assert origin.sum() == 1
    if n == 2:
        away = points.xstar[~origin]
        np.testing.assert_allclose(np.abs(away), 0.9575, atol=5e-5)
        assert (away[:, 0] * away[:, 1] < 0).all()
        assert points.n_unstable[~origin].tolist() == [0, 0]
        assert points.n_unstable[origin].tolist() == [1]
    if n == 3:
        for values in points.eigenvalues[~origin]:
            assert values[0].real == pytest.approx(-1.0064, abs=5e-5)
        assert (points.n_unstable[~origin] == 1).all()
        assert (points.index_sign[~origin] == 1).all()  # -1.0064 is unstable, and the index does not count it


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_every_kind_against_the_oracle(cell, activation):
    networks = random_networks(cell, activation, n=4, D=2, K=2, N=1, seed=3)
    x = np.array([0.3, -0.2])
    p = oracle_parameters(networks, 0)
    step, jacobian = plain.network(cell, activation, networks.gate_bias, p, x)
    starts = np.random.default_rng(0).normal(size=(10, oracle.state_size(cell, 4)))
    expected = plain.all_fixed_points(step, jacobian, starts, apart=1e-6)
    points = find_fixed_points(networks, x, starts, unique=1e-6)
    exact = points.xstar[points.status == PointStatus.EXACT]
    for h in expected:
        assert np.linalg.norm(exact - h, axis=1).min() < 1e-9
    for h in exact:
        assert np.linalg.norm(step(h) - h) < 1e-13 * (1 + np.linalg.norm(h))
    assert points.index_sum[0, 0] == plain.index_sum(jacobian, exact)
    values = np.concatenate([np.sort(np.abs(np.linalg.eigvals(jacobian(h)))) for h in points.xstar])
    np.testing.assert_allclose(np.sort(np.abs(points.eigenvalues)).ravel(), values, atol=1e-9)


def planted_flipflop(n=16, channels=2, seed=0):
    """A vanilla network with 3^channels fixed points: independent bistable directions, rotated into n units."""
    rng = np.random.default_rng(seed)
    W = np.zeros((n, n))
    for k in range(channels):
        group = slice(k * n // channels, (k + 1) * n // channels)
        size = n // channels
        sign = rng.choice([-1.0, 1.0], size)
        W[group, group] = np.outer(sign, sign) * 2.0 / size
    return W


def test_a_planted_grid_of_points_is_found_and_called_consistent():
    points = find_fixed_points(vanilla([planted_flipflop(16, 3 - 1)]), [0.0])
    assert np.bincount(points.n_unstable).tolist() == [4, 4, 1]
    assert points.search_status.tolist() == [[SearchStatus.CONSISTENT]]
    assert (points.hits >= 2).all()
    assert points.seen_once.tolist() == [[0]]
    assert not points.outlier.any()


@pytest.mark.parametrize("method", ["newton", "levenberg_marquardt", "auto"])
def test_methods_agree(method):
    points = find_fixed_points(vanilla([plain.rolled(4)]), [0.0], method=method)
    assert len(points) == 9
    assert (points.status == PointStatus.EXACT).all()


def test_a_missing_point_is_proved():
    near_one = np.array([[0.9575, -0.9575], [0.95, -0.95], [0.96, -0.9]])
    points = find_fixed_points(
        vanilla([plain.rolled(2)] * 2), [0.0], np.stack([near_one, [*near_one[:2], [0, 0]]]), batch=1
    )
    assert points.index_sum.tolist() == [[1], [0]]
    assert points.search_status.tolist() == [[SearchStatus.CONSISTENT], [SearchStatus.MISSING]]


def test_rare_and_late_points_keep_a_search_from_being_consistent():
    exact = [PointStatus.EXACT] * 3
    assert judge(exact, [1, 1, -1], [5, 5, 2], True, False) == SearchStatus.CONSISTENT
    assert judge(exact, [1, 1, -1], [5, 5, 1], True, False) == SearchStatus.OUT_OF_BUDGET
    assert judge(exact, [1, 1, -1], [5, 5, 0], True, False) == SearchStatus.OUT_OF_BUDGET
    assert judge(exact, [1, 1, -1], [5, 5, 2], True, True) == SearchStatus.OUT_OF_BUDGET
    assert judge(exact, [1, 1, 1], [5, 5, 2], True, False) == SearchStatus.MISSING
    assert judge(exact, [1, 1, 1], [5, 5, 2], False, False) == SearchStatus.NOT_APPLICABLE
    degenerate = [PointStatus.EXACT, PointStatus.DEGENERATE, PointStatus.SLOW]
    assert judge(degenerate, [1, 0, 0], [5, 1, 1], True, False) == SearchStatus.NOT_APPLICABLE
    assert judge([], [], [], True, False) == SearchStatus.NOTHING_FOUND


def test_relu_gets_no_statement_from_the_index():
    points = find_fixed_points(vanilla([0.5 * plain.rolled(4)], "relu"), [1.0])
    assert points.search_status.tolist() == [[SearchStatus.NOT_APPLICABLE]]


def test_without_an_index_a_search_takes_twice_the_rounds():
    tanh, relu = (
        find_fixed_points(vanilla([0.2 * plain.rolled(4)], kind), [1.0], batch=10) for kind in ("tanh", "relu")
    )
    assert (len(tanh), len(relu)) == (1, 1)
    assert tanh.starts.tolist() == [[40]]
    assert relu.starts[0, 0] >= 80


def test_index_signs_are_the_parity_of_real_eigenvalues_above_one():
    rng = np.random.default_rng(0)
    J = rng.normal(size=(50, 5, 5))
    signs, conditioning = index_signs(J)
    for j, sign, condition in zip(J, signs, conditioning, strict=True):
        values = np.linalg.eigvals(j)
        assert sign == (-1) ** int(((values.imag == 0) & (values.real > 1)).sum())
        assert condition == pytest.approx(np.linalg.cond(np.eye(5) - j, 1))
    signs, conditioning = index_signs(np.array([np.diag([1.0, 0.5]), np.diag([2.0, 0.5])]))
    assert signs.tolist() == [0, -1]
    assert conditioning[0] == np.inf


def test_unseen_mass():
    assert unseen_mass([]) == 1.0
    assert unseen_mass([1, 1, 2]) == 0.5


def test_candidates_say_which_start_led_where():
    starts = np.array([[0.9, -0.9], [-0.9, 0.9], [0.01, 0.0], [0.8, -0.9]])
    points = find_fixed_points(vanilla([plain.rolled(2)]), [0.0], starts)
    assert points.candidate_origin.tolist() == [Origin.GIVEN] * 4
    ends = points.xstar[points.candidate_point]
    np.testing.assert_allclose(ends[:2], 0.9575 * np.array([[1, -1], [-1, 1]]), atol=1e-3)
    np.testing.assert_allclose(ends[2], 0, atol=1e-12)
    assert points.candidate_point[3] == points.candidate_point[0]
    assert points.hits[points.candidate_point].tolist() == [2, 1, 1, 2]
    assert points.starts.tolist() == [[4]]


def test_a_point_too_far_for_its_distance_to_be_squared():
    far = UpdateFunction(lambda h, x: h / 2 + 1e154, lambda h, x: np.tile(np.eye(1) / 2, (len(h), 1, 1)), S=1)
    points = find_fixed_points(far, np.zeros(0), np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(points.xstar, [[2e154]], rtol=1e-9)
    assert points.outlier.all()


def test_candidates_that_do_not_converge_are_kept_apart():
    drift = UpdateFunction(lambda h, x: h + 1.0, lambda h, x: np.tile(np.eye(2), (len(h), 1, 1)), S=2)
    starts = np.zeros((3, 2))
    points = find_fixed_points(drift, np.zeros(0), starts)
    assert len(points) == 0
    assert points.search_status.tolist() == [[SearchStatus.NOTHING_FOUND]]
    assert points.candidate_point.tolist() == [-1] * 3
    assert points.unconverged.shape == (3, 2)
    assert points.candidate_q.tolist() == [1.0] * 3


def test_a_search_stays_inside_of_the_limit():
    """h = h^2 has the solutions 0 and 1."""
    starts = np.linspace(-0.4, 1.6, 40)[:, None]

    def square(limit):
        return UpdateFunction(lambda h, x: h**2, lambda h, x: (2 * h)[:, :, None], S=1, limit=limit)

    assert sorted(find_fixed_points(square(np.inf), np.zeros(0), starts=starts).xstar.round(9).ravel()) == [0, 1]
    assert find_fixed_points(square([0.9]), np.zeros(0), starts=starts).xstar.round(9).ravel().tolist() == [0]


def test_a_minimum_of_the_speed_that_is_not_zero_is_a_slow_point():
    ghost = UpdateFunction(lambda h, x: h + h**2 + x, lambda h, x: (1 + 2 * h)[:, :, None], S=1, D=1)
    starts = np.linspace(-0.3, 0.5, 8)[:, None]
    points = find_fixed_points(ghost, [1e-6], starts)
    assert points.status.tolist() == [PointStatus.SLOW]
    assert abs(points.xstar[0, 0]) < 1e-2
    assert len(find_fixed_points(ghost, [1e-2], starts)) == 0  # faster than `speed` allows
    assert len(find_fixed_points(ghost, [1e-2], starts, speed=0.1)) == 1


def test_a_continuum_is_marked_degenerate():
    A = np.diag([1.0, 0.5])
    points = find_fixed_points(linear(A), np.zeros(0), np.random.default_rng(0).normal(size=(10, 2)))
    assert len(points) > 5
    assert (points.status == PointStatus.DEGENERATE).all()
    assert (points.index_sign == 0).all()
    np.testing.assert_allclose(points.xstar[:, 1], 0, atol=1e-12)


def relu_with(cell, **changed):
    """A random relu network of 3 units, some of its arrays filled with other values."""
    arrays = random_networks(cell, "relu", n=3, D=1, K=1, N=1, seed=2).arrays
    arrays = dict(arrays) | {name: np.broadcast_to(value, arrays[name].shape) for name, value in changed.items()}
    return Networks.from_arrays(cell=cell, activation="relu", gate_bias=1.0, arrays=arrays)


def test_a_point_on_a_kink_is_marked_degenerate():
    """Slope 0 at 0 gives eigenvalues of 0, though what is above doubles every step."""
    twice = vanilla([2 * np.eye(3)], "relu")
    points = find_fixed_points(twice, [0.0])
    assert points.status.tolist() == [PointStatus.DEGENERATE]
    assert points.index_sign.tolist() == [0]
    assert points.search_status.tolist() == [[SearchStatus.NOT_APPLICABLE]]
    rounded = find_fixed_points(twice, [0.0], np.full((2, 3), -1e-14))
    assert (rounded.status == PointStatus.DEGENERATE).all()
    beside = find_fixed_points(vanilla([2 * np.eye(3)], "relu", b=np.full((1, 3), -1e-6)), [0.0], np.zeros((1, 3)))
    assert beside.status.tolist() == [PointStatus.EXACT]


@pytest.mark.parametrize("cell", ["vanilla", "ugrnn", "gru", "lstm"])
def test_every_cell_has_its_kink_at_zero(cell):
    networks = relu_with(cell, b=0.0)
    at_zero = find_fixed_points(networks, [0.0], np.zeros((1, networks.S)))
    assert at_zero.status.tolist() == [PointStatus.DEGENERATE]
    pushed = find_fixed_points(relu_with(cell, b=-1.0), [0.0], np.zeros((1, networks.S)))
    assert pushed.status.tolist() == [PointStatus.EXACT]


def test_dead_cells_of_an_lstm_are_no_kink():
    """Whatever slope phi has at a cell of 0 that gets nothing, the cell's eigenvalue is its forget gate."""
    points = find_fixed_points(relu_with("lstm", b=-1.0), [0.0], np.full((2, 6), 0.1))
    np.testing.assert_allclose(points.xstar, 0, atol=1e-12)
    assert points.status.tolist() == [PointStatus.EXACT]
    np.testing.assert_allclose(points.eigenvalues[0, :3], 0.5)  # s(-1 + 1)


@pytest.mark.parametrize("stopping", ["slow_points", "gradient_descent"])
def test_methods_for_slow_points_stop_on_a_line_attractor_where_newton_runs_along_it(stopping):
    lam = 1 - 1e-6  # nearly a continuum: one exact point, the origin
    points = {}
    starts = np.random.default_rng(0).normal(size=(20, 2))
    for method in (stopping, "newton"):
        points[method] = find_fixed_points(linear(np.diag([lam, 0.3])), np.zeros(0), starts, method=method)
    assert len(points["newton"]) == 1
    slow = points[stopping]
    assert len(slow) == 20
    assert (slow.status == PointStatus.SLOW).all()
    np.testing.assert_allclose(np.sort(slow.xstar[:, 0]), np.sort(starts[:, 0]), atol=1e-3)


def test_outliers_are_marked_not_dropped():
    twice = UpdateFunction(
        lambda h, x: h - h * (h - 100.0) / 200.0, lambda h, x: (1 - (2 * h - 100.0) / 200.0)[:, :, None], S=1
    )
    starts = np.array([[-1.0], [1.0], [0.5], [0.2], [60.0]])
    points = find_fixed_points(twice, np.zeros(0), starts, spread=1.0)
    assert np.sort(points.xstar[:, 0]).tolist() == pytest.approx([0.0, 100.0])
    assert points.outlier[np.argsort(points.xstar[:, 0])].tolist() == [True, True]
    points = find_fixed_points(twice, np.zeros(0), starts, spread=15.0)
    assert points.outlier[np.argsort(points.xstar[:, 0])].tolist() == [False, True]


def test_a_gate_that_rounds_to_one_makes_no_points():
    arrays = {"W_rec": np.zeros((1, 1, 2)), "W_in": np.zeros((1, 1, 2)), "b": np.array([[0.5, 0.0]])}
    arrays |= {"W_out": np.ones((1, 1, 1)), "b_out": np.zeros((1, 1)), "h0": np.zeros((1, 1))}
    arrays["W_rec"][0, 0] = 0.0, 10.0  # g = s(10 h + 1): beyond h = 4 the state keeps itself, to rounding
    networks = Networks.from_arrays(cell="ugrnn", activation="tanh", gate_bias=1.0, arrays=arrays)
    points = find_fixed_points(networks, [0.0], np.array([[5.0], [6.0], [0.0], [0.1]]))
    np.testing.assert_allclose(points.xstar[points.status == PointStatus.EXACT], [[np.tanh(0.5)]])
    assert np.abs(points.xstar).max() <= 1


def test_several_inputs():
    networks = vanilla([plain.rolled(2)])
    points = find_fixed_points(networks, [[0.0], [0.1], [3.0]])
    assert points.index_sum.tolist() == [[1, 1, 1]]
    assert [len(points.of(0, c)) for c in range(3)] == [3, 3, 1]
    alone = find_fixed_points(networks, [[0.0], [0.1], [5.0]])
    np.testing.assert_array_equal(alone.of(0, 0), points.of(0, 0))


def same(a, b, i, j):
    """Whether network i of search a and network j of search b have the same points to the bit."""
    at, other = a.of(i), b.of(j)
    return all(np.array_equal(getattr(a, name)[at], getattr(b, name)[other]) for name in ("xstar", "hits", "qstar"))


@pytest.mark.parametrize("method", ["auto", "levenberg_marquardt", "slow_points"])
def test_neighbours_and_threads_change_nothing(method):
    networks = random_networks("gru", "tanh", n=6, D=2, K=1, N=3)
    together = find_fixed_points(networks, [0.5, 0.0], method=method)
    for i in range(3):
        assert same(find_fixed_points(networks[i], [0.5, 0.0], method=method, threads=3), together, 0, i)
    assert same(find_fixed_points(networks, [0.5, 0.0], method=method, threads=1), together, 2, 2)


def test_a_network_that_explodes_spoils_no_other():
    W = np.stack([plain.rolled(4), 1e30 * np.ones((4, 4)), plain.rolled(4)])
    points = find_fixed_points(vanilla(W, "relu", b=np.ones((3, 4))), [0.5])
    alone = find_fixed_points(vanilla(W, "relu", b=np.ones((3, 4)))[2], [0.5])
    assert same(alone, points, 0, 2)
    assert np.isfinite(points.xstar).all()


def test_starts_follow_the_task():
    networks = random_networks("vanilla", "tanh", n=6, D=3, K=3, N=1)
    with_task, without = (find_fixed_points(networks, np.zeros(3), task=task) for task in ("flipflop", None))
    assert with_task.spread[0] != without.spread[0]
    origins = set(with_task.candidate_origin.tolist())
    assert {int(origin) for origin, _ in SHARES} <= origins <= {int(origin) for origin in Origin}


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"noise": 0.5}, {"batch": 100}, {"trials": 8}, {"budget": 16}],
)
def test_every_setting_of_the_starts_changes_something(change):
    networks = vanilla([plain.rolled(4)])
    before, after = (find_fixed_points(networks, [0.0], **settings) for settings in ({}, change))
    assert not np.array_equal(before.candidate_iterations, after.candidate_iterations)


def test_settings_of_the_ends():
    networks = vanilla([plain.rolled(4)])
    assert len(find_fixed_points(networks, [0.0], unique=10.0)) == 1
    loose, tight = (find_fixed_points(networks, [0.0], tolerance=t) for t in (1e-6, 1e-26))
    assert loose.candidate_iterations.mean() < tight.candidate_iterations.mean()


def test_save_and_load(tmp_path):
    points = find_fixed_points(vanilla([plain.rolled(2), plain.rolled(2)[::-1]]), [[0.0], [1.0]])
    path = tmp_path / "points.safetensors"
    points.save(path)
    again = FixedPoints.load(path)
    for name, array in vars(points).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    assert again.eigenvalues.dtype == complex
    assert again.table.equals(points.table)
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert len(lines) == len(points) + 1
    assert lines[0].startswith("network,condition,status,n_unstable")
    Networks.initialize("gru", "tanh", 2, 1, 1, [1]).save(tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="holds no FixedPoints"):
        FixedPoints.load(tmp_path / "other.safetensors")


def test_summary():
    points = find_fixed_points(vanilla([plain.rolled(2)]), [[0.0], [5.0]])
    assert points.summary.search_status.tolist() == ["consistent"] * 2
    assert points.summary.by_unstable.tolist() == ["0:2 1:1", "0:1"]
    assert repr(points) == "<4 fixed points of 1 networks under 2 inputs>"


NETWORKS = vanilla([plain.rolled(2)])
WRONG = [
    (dict(inputs=[0.0, 1.0]), r"inputs must have shape \(conditions, D = 1\)"),
    (dict(inputs=[np.nan]), "inputs must be finite"),
    (dict(starts=np.zeros((4, 3))), r"starts must have shape \(N, M, S = 2\)"),
    (dict(starts=np.zeros((2, 4, 2))), r"starts must have shape \(N = 1, M, S\)"),
    (dict(starts=np.full((4, 2), np.inf)), "starts must be finite"),
    (dict(starts=np.zeros((0, 2))), "at least one state"),
    (dict(method="adam"), f"unknown method 'adam'; allowed are {', '.join(METHODS)}"),
    (dict(tolerance=0.0), "tolerance must be a positive number"),
    (dict(speed="slow"), "speed must be a positive number; it is 'slow'"),
    (dict(noise="none"), "noise must be 0 or more; it is 'none'"),
    (dict(unique=np.nan), "unique must be a positive number"),
    (dict(noise=-1.0), "noise must be 0 or more"),
    (dict(batch=0), "batch must be a positive whole number"),
    (dict(seed=-1), "seed must be a whole number, 0 or more"),
    (dict(threads=0), "threads must be a positive whole number"),
    (dict(task="flipflop"), "task 'flipflop' has 3 inputs; the networks have 1"),
    (dict(networks=3), "networks must be a Networks or an UpdateFunction; it is int"),
    (dict(networks=linear(np.eye(1)), inputs=np.zeros(0)), "an UpdateFunction needs starts"),
    (
        dict(networks=replace(linear(np.eye(2)), limit=[1.0, -1.0]), inputs=np.zeros(0)),
        r"limit must be positive, a number or \(2,\); it is \[1\.0, -1\.0\]",
    ),
    (
        dict(networks=UpdateFunction(lambda h, x: h[:, 0], lambda h, x: h, S=2), inputs=np.zeros(0)),
        r"what step returns must have shape \(M = 2, S = 2\)",
    ),
    (
        dict(networks=UpdateFunction(lambda h, x: h, lambda h, x: h, S=2), inputs=np.zeros(0)),
        r"what jacobian returns must have shape \(M = 2, S = 2, S = 2\)",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_mistakes_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        find_fixed_points(**({"networks": NETWORKS, "inputs": [0.0]} | change))


def test_weights_that_are_not_finite_are_refused():
    networks = vanilla([plain.rolled(2)] * 3)
    networks.W_rec[1, 0, 0] = np.nan
    with pytest.raises(UsageError, match=r"the weights of network 1 are not finite \(1 of 3 networks\)"):
        find_fixed_points(networks, [0.0])
