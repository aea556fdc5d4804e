"""Fixed points searched on the device, through the public function; its kernels run on the processor."""

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from cuda_host.scarce import Scarce
from samples import random_networks

import fastrnn
from fastrnn.analysis import fixed_points
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.levenberg_marquardt import Problem, levenberg_marquardt, levenberg_marquardt_on_device
from fastrnn.analysis.maps import UpdateFunction, maps_of
from fastrnn.engines.cuda import engine as cuda_engine
from fastrnn.errors import RunError, UsageError
from fastrnn.networks import Networks

pytestmark = pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU")


@pytest.fixture(autouse=True)
def processor_as_gpu(monkeypatch):
    monkeypatch.setattr(cuda_engine, "find_gpu", HostDevice)


def planted(n):
    """The nets of Katz and Reggia: 3, 3 and 9 fixed points for n = 2, 3, 4."""
    W = np.stack([-np.roll(np.linspace(-1, 1, n), -i) for i in range(n)])[None]
    arrays = {"W_rec": W, "W_in": np.zeros((1, 1, n)), "b": np.zeros((1, n))}
    arrays |= {"W_out": np.eye(n)[None], "b_out": np.zeros((1, n)), "h0": np.zeros((1, n))}
    return Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays)


@pytest.mark.parametrize(("n", "count"), [(2, 3), (3, 3), (4, 9)])
def test_planted_points_are_found(n, count):
    points = find_fixed_points(planted(n), [0.0], device="cuda")
    assert len(points) == count
    assert points.index_sum.tolist() == [[1]]
    expected = find_fixed_points(planted(n), [0.0])
    for mine in points.xstar:
        assert np.linalg.norm(expected.xstar - mine, axis=1).min() < 1e-10


def test_auto_takes_the_gpu_for_networks_of_any_size():
    ours, theirs = (find_fixed_points(planted(3), [0.1], device=device) for device in ("auto", "cuda"))
    np.testing.assert_array_equal(ours.xstar, theirs.xstar)


@pytest.mark.parametrize("cell", ["ugrnn", "gru", "lstm"])
@pytest.mark.parametrize(("floor", "speed"), [(1e-15, 0.0), (1e-4, 1e-3)])
def test_starts_end_where_they_do_on_the_processor(cell, floor, speed):
    """The same steps, one after the other: ends, their q, and how many it took."""
    networks, rng = random_networks(cell, "tanh", 6, 2, 1, 3, seed=3), np.random.default_rng(1)
    problems, expected = [], []
    for network, count, x in ((2, 5, [0.3, -0.2]), (0, 1, [0.0, 1.0]), (2, 3, [0.0, 0.0])):
        map, starts = maps_of(networks)(network, np.array(x)), rng.normal(size=(count, networks.S))
        starts[4:] = np.nan
        problems.append(Problem(network, np.array(x), map.limit, floor, speed * count, map.inside(starts)))
        with np.errstate(all="ignore"):
            expected.append(levenberg_marquardt(map, map.inside(starts), 1e-26, 30, floor, speed * count))
    made = levenberg_marquardt_on_device(cuda_engine.CUDAEngine(), networks, problems, 1e-26, 30)
    assert expected[0].q[4] == made[0].q[4] == np.inf
    for (h, q, taken), (h_device, q_device, taken_device) in zip(expected, made, strict=True):
        np.testing.assert_allclose(h_device[:4], h[:4], atol=1e-7)
        np.testing.assert_allclose(q_device[:4], q[:4], rtol=1e-3, atol=1e-22)
        assert np.abs(taken_device - taken).max() <= 2


class Counting(HostDevice):
    """Knows how many starts each launch had."""

    @property
    def starts(self):
        return [grid[0] for _, grid in self.launches]


def several(scales):
    """Networks with the weights of `planted(4)` times each scale: one fixed point, or many."""
    one = planted(4)
    arrays = {name: np.repeat(array, len(scales), axis=0) for name, array in one.arrays.items()}
    arrays["W_rec"] *= np.float32(scales)[:, None, None]
    return Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays)


SAME = ("network", "condition", "status", "n_unstable", "index_sign", "search_status", "index_sum", "starts")


@pytest.mark.parametrize("method", ["levenberg_marquardt", "slow_points"])
@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_all_networks_of_a_stack_end_where_they_do_on_the_processor(cell, method):
    networks = several([0.5, 1.0, 1.3]) if cell == "vanilla" else random_networks(cell, "tanh", 5, 1, 1, 3, seed=4)
    starts = np.random.default_rng(0).normal(size=(3, 10, networks.S))
    inputs, settings = [[0.0], [0.4]], {"method": method, "batch": 8}
    points = find_fixed_points(networks, inputs, starts, device="cuda", **settings)
    expected = find_fixed_points(networks, inputs, starts, **settings)
    for name in SAME:
        np.testing.assert_array_equal(getattr(points, name), getattr(expected, name), err_msg=name)
    ends = [found.xstar[found.candidate_point] for found in (points, expected)]
    converged = points.candidate_point >= 0
    np.testing.assert_array_equal(converged, expected.candidate_point >= 0)
    assert converged.any()
    np.testing.assert_allclose(*(end[converged] for end in ends), atol=1e-9 if method != "slow_points" else 1e-5)
    alone = find_fixed_points(networks[2:3], inputs, starts[2:], device="cuda", **settings)
    np.testing.assert_array_equal(alone.xstar, points.xstar[points.network == 2])


def test_one_launch_a_round_for_all_that_are_not_done(monkeypatch):
    device = Counting()
    monkeypatch.setattr(cuda_engine, "find_gpu", lambda: device)
    points = find_fixed_points(several([0.5, 1.0, 1.3]), [[0.0], [0.4]], device="cuda", batch=8, budget=100)
    assert device.starts[0] == 3 * 2 * 8  # of three networks under two inputs
    assert device.starts[-1] < 3 * 2 * 8
    assert sum(device.starts) == len(points.candidate_point)
    assert points.starts.min() < points.starts.max() == 100


def test_few_networks_at_a_time_are_the_same(monkeypatch):
    """However little room there is for the states they visit, and for matrices on the device."""
    networks, results = several([1.0, 1.3, 0.5]), []
    for sampled, matrices in ((1 << 30, 1 << 30), (1, 5 * 16 * 4 * 4)):
        monkeypatch.setattr(fixed_points, "SAMPLED_BYTES", sampled)
        monkeypatch.setattr(cuda_engine, "MATRICES_BYTES", matrices)
        device = Counting()
        monkeypatch.setattr(cuda_engine, "find_gpu", lambda device=device: device)
        points = find_fixed_points(networks, [0.1], device="cuda", batch=8)
        results.append((points.xstar, points.hits, points.candidate_q, points.candidate_iterations))
        assert device.starts[:2] == ([24, 6] if sampled > 1 else [5, 3])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_starts_that_do_not_fit_are_cut(monkeypatch):
    networks = several([1.0])
    expected = find_fixed_points(networks, [0.1], device="cuda", batch=8)
    scarce = Scarce(3 * 16 * 16)  # matrices of three starts
    monkeypatch.setattr(cuda_engine, "find_gpu", lambda: scarce)
    points = find_fixed_points(networks, [0.1], device="cuda", batch=8)
    np.testing.assert_array_equal(points.xstar, expected.xstar)
    assert scarce.refused == len(scarce.held) > 0
    assert not any(scarce.held)
    monkeypatch.setattr(cuda_engine, "find_gpu", lambda: Scarce(100))
    with pytest.raises(RunError, match="one start does not fit into the free memory of host"):
        find_fixed_points(networks, [0.1], device="cuda")


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_schedule_gives_the_same_bits(cell):
    networks = random_networks(cell, "tanh", 40, 2, 1, 2, seed=3)  # more units than a warp has threads
    starts, inputs = np.random.default_rng(1).normal(size=(4, networks.S)), np.zeros((4, 2))
    rules, limits, results = np.tile([1e-26, 0.0, 1e-2, 1e-15, 1e8, 1e-12], (4, 1)), np.ones(networks.S), set()
    for order in ("forward", "backward", "random"):
        engine = cuda_engine.CUDAEngine(HostDevice(schedule=(order, True, 5)))
        made = engine.levenberg_marquardt(networks, [0, 1, 1, 0], starts, inputs, limits, rules, 4, 10)
        states = engine.jacobian(networks, starts.reshape(2, 2, -1), inputs[:2])
        results.add(b"".join(array.tobytes() for array in (*made, *states)))
    assert len(results) == 1


def test_searches_need_networks_on_a_device():
    halve = UpdateFunction(lambda h, x: h / 2, lambda h, x: np.tile(np.eye(2) / 2, (len(h), 1, 1)), S=2)
    with pytest.raises(UsageError, match="searched where its functions run; leave device out"):
        fastrnn.find_fixed_points(halve, np.zeros(0), starts=np.ones((1, 2)), device="cuda")


@pytest.mark.parametrize("method", ["newton", "gradient_descent"])
def test_methods_that_a_gpu_does_not_have(method):
    with pytest.raises(UsageError, match=f"method '{method}' runs on device 'cpu' only; a GPU has auto, levenberg_m"):
        find_fixed_points(planted(2), [0.0], method=method, device="cuda")
    ours, theirs = (find_fixed_points(planted(2), [0.0], method=method, device=device) for device in ("auto", "cpu"))
    np.testing.assert_array_equal(ours.xstar, theirs.xstar)


def test_starts_of_networks_that_are_not_there_are_refused():
    engine, networks = cuda_engine.CUDAEngine(), planted(2)
    start = (np.zeros((1, 2)), np.zeros((1, 1)), np.ones(2), np.ones((1, 6)))
    for which in ([1], [-1], [0, 0]):
        with pytest.raises(UsageError, match=r"which must be 1 indices of the 1 networks; it is array\("):
            engine.levenberg_marquardt(networks, which, *start, 1, 1)
