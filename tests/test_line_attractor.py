"""Line attractors: planted integrators, order along a curve, and the linear prediction of their integrals."""

import dynamics_oracle as plain
import numpy as np
import pytest

from fastrnn.analysis.completeness import PointStatus
from fastrnn.analysis.eigen import paired
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.line_attractor import along, effective_dimension, line_attractor, line_attractors
from fastrnn.analysis.linearization import linearize
from fastrnn.analysis.maps import UpdateFunction
from fastrnn.analysis.modes import linear_integral, modes_needed
from fastrnn.errors import UsageError

S = 6
A = plain.similar(np.diag([1.0]), S, seed=3, decay=0.6)  # an integrator: eigenvalue exactly 1, the others below 0.6
VALUES, RIGHT = np.linalg.eig(A)
SLOW = int(np.argmax(VALUES.real))
ALONG, ACROSS = RIGHT[:, SLOW].real, np.linalg.inv(RIGHT)[SLOW].real  # right and left eigenvector of eigenvalue 1
ALONG, ACROSS = ALONG / np.linalg.norm(ALONG), ACROSS * np.linalg.norm(ALONG)
B = np.stack([ALONG, np.eye(S)[0] - ALONG * ACROSS[0]], axis=1)  # relevant input pushes along, the other only beside
W_OUT = np.linalg.pinv(ALONG[None]).reshape(S, 1)


def integrator():
    """h' = A h + B x, read out so that the position along the line is the output."""
    return UpdateFunction(
        lambda h, x: h @ A.T + x @ B.T,
        lambda h, x: np.tile(A, (len(h), 1, 1)),
        S=S,
        D=2,
        input_jacobian=lambda h, x: np.tile(B, (len(h), 1, 1)),
        readout=lambda h: h @ W_OUT,
    )


@pytest.fixture(scope="module")
def found():
    starts = np.random.default_rng(0).normal(size=(40, S))
    return find_fixed_points(integrator(), np.zeros(2), starts, method="slow_points")


def test_slow_points_lie_on_the_line_and_are_kept_apart(found):
    assert len(found) > 30
    assert set(found.status) <= {PointStatus.SLOW, PointStatus.DEGENERATE}
    off = found.xstar - np.outer(found.xstar @ ALONG, ALONG)
    assert np.linalg.norm(off, axis=1).max() < 5e-3
    assert np.ptp(found.xstar @ ALONG) > 2


def test_points_are_put_in_order_along_the_line(found):
    line = line_attractor(found)
    place = found.xstar[line.point] @ ALONG
    assert (np.diff(place) > 0).all() == (place[0] < place[-1])
    assert (np.diff(line.position) > 0).all()
    assert found.readout[line.point[0], 0] < found.readout[line.point[-1], 0]
    np.testing.assert_allclose(line.position[-1], np.ptp(place), rtol=1e-3)
    assert line.effective_dimension == pytest.approx(1.0, abs=1e-5)
    graph = line.graph
    assert graph.number_of_nodes() == len(line)
    assert graph.number_of_edges() == len(line.edges)
    assert all(abs(a - b) <= 2 for a, b in line.edges)


def test_order_along_a_curve_that_bends_back():
    rng = np.random.default_rng(1)
    angle = np.sort(rng.uniform(0, 1.6 * np.pi, 60))
    states = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mix = rng.permutation(60)
    edges, _, position = along(states[mix])
    order = mix[np.argsort(position)]
    assert order.tolist() in (list(range(60)), list(range(59, -1, -1)))
    assert edges.shape == (120, 2)


def test_pieces_are_counted():
    states = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    _, pieces, position = along(states)
    assert pieces == 2
    assert np.abs(np.diff(np.sort(position))).max() == pytest.approx(8)


def test_more_neighbors_make_more_edges(found):
    assert len(line_attractor(found, neighbors=4).edges) > len(line_attractor(found).edges)


def test_effective_dimension():
    rng = np.random.default_rng(0)
    assert effective_dimension(rng.normal(size=(20_000, 3))) == pytest.approx(3, abs=0.05)
    assert effective_dimension(np.ones((4, 2))) == 0.0


def test_integral_of_a_relevant_and_of_an_irrelevant_pulse(found):
    modes = linearize(integrator(), found.xstar[:3], np.zeros(2))
    full, kept = linear_integral(modes, W_OUT, [1.0, 0.0], steps=25)
    np.testing.assert_allclose(full, 1.0, atol=1e-9)
    np.testing.assert_allclose(kept, np.ones((3, S, 1)), atol=1e-9)  # one mode does it
    assert modes_needed(full, kept).tolist() == [1, 1, 1]
    full, kept = linear_integral(modes, W_OUT, [0.0, 1.0], steps=25)
    np.testing.assert_allclose(full, 0.0, atol=1e-4)
    np.testing.assert_allclose(kept[:, 0], 0.0, atol=1e-9)


def test_all_modes_together_are_the_whole_system():
    rng = np.random.default_rng(4)
    J = plain.similar(0.9 * plain.turn(0.8), S, seed=5)
    B = rng.normal(size=(S, 2))
    W = rng.normal(size=(4, 3))  # reads the first four state variables only
    map = UpdateFunction(
        lambda h, x: h @ J.T + x @ B.T,
        lambda h, x: np.tile(J, (len(h), 1, 1)),
        S=S,
        D=2,
        input_jacobian=lambda h, x: np.tile(B, (len(h), 1, 1)),
    )
    modes = linearize(map, np.zeros((2, S)), np.zeros(2))
    u = np.array([[1.0, 0.5], [-1.0, 2.0]])
    full, kept = linear_integral(modes, W, u, steps=7)
    for f in range(2):
        expected = W.T @ (np.linalg.matrix_power(J, 6) @ B @ u[f])[:4]
        np.testing.assert_allclose(full[f], expected, rtol=1e-10)
        np.testing.assert_allclose(kept[f, -1], expected, rtol=1e-8)
        np.testing.assert_array_equal(kept[f, 0], kept[f, 1])  # a complex pair enters together
        assert not np.allclose(kept[f, 1], kept[f, 2])
    assert paired(modes.eigenvalues)[0].tolist() == [True] + [False] * (S - 1)
    own = linear_integral(modes, W[None], u, steps=7)[0]
    np.testing.assert_array_equal(own, full)


def test_repeated_pairs_enter_one_after_the_other():
    block = np.array([[0.9, -0.1], [0.1, 0.9]])
    J, B = np.kron(np.eye(2), block), np.array([[1.0], [0.0], [0.0], [1.0]])
    map = UpdateFunction(
        lambda h, x: h @ J.T + x @ B.T,
        lambda h, x: np.tile(J, (len(h), 1, 1)),
        S=4,
        D=1,
        input_jacobian=lambda h, x: np.tile(B, (len(h), 1, 1)),
    )
    modes = linearize(map, np.zeros((1, 4)), np.zeros(1))
    assert np.unique(modes.eigenvalues).size == 2
    _, kept = linear_integral(modes, np.eye(4), [1.0], steps=5)
    moved = np.linalg.matrix_power(J, 4) @ B[:, 0]
    np.testing.assert_allclose(kept[0, 3], moved, atol=1e-12)
    for pair in (kept[0, 0], kept[0, 2] - kept[0, 0]):  # each pair is one of the blocks
        np.testing.assert_allclose(np.min([abs(pair[:2]).max(), abs(pair[2:]).max()]), 0, atol=1e-12)
    np.testing.assert_allclose(kept[0, 0], kept[0, 1], atol=1e-12)


def test_modes_needed():
    full = np.ones((3, 1))
    kept = np.array([[[1.0], [2.0], [1.0]], [[0.0], [0.0], [1.0]], [[1.0], [1.0], [1.0]]])
    assert modes_needed(full, kept).tolist() == [3, 3, 1]
    assert modes_needed(full, kept, within=1.5).tolist() == [1, 1, 1]


def test_mistakes_are_refused(found):
    modes = linearize(integrator(), found.xstar[:3], np.zeros(2))
    for call in (line_attractor, line_attractors):
        with pytest.raises(UsageError, match="points must be the FixedPoints of a search; it is UpdateFunction"):
            call(integrator())
    with pytest.raises(UsageError, match="a line needs two points or more; network 1 has 0 under input 0"):
        line_attractor(found, network=1)
    with pytest.raises(UsageError, match="neighbors must be a positive whole number"):
        line_attractor(found, neighbors=0)
    with pytest.raises(UsageError, match="steps must be a positive whole number"):
        linear_integral(modes, W_OUT, [1.0, 0.0], steps=0)
    with pytest.raises(UsageError, match=r"u must have shape \(F = 3, D = 2\)"):
        linear_integral(modes, W_OUT, [1.0], steps=2)
    with pytest.raises(UsageError, match="W_out must have at most S = 6 rows; it has 7"):
        linear_integral(modes, np.ones((7, 1)), [1.0, 0.0], steps=2)
