"""Fixed points searched on the device, through the public function; its kernels run on the processor."""

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.module import COMPILER
from samples import random_networks

import fastrnn
from fastrnn.analysis.fixed_points import find_fixed_points
from fastrnn.analysis.levenberg_marquardt import levenberg_marquardt
from fastrnn.analysis.maps import UpdateFunction, maps_of
from fastrnn.engines.cuda import engine as cuda_engine
from fastrnn.errors import UsageError
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


@pytest.mark.parametrize("cell", ["ugrnn", "gru", "lstm"])
@pytest.mark.parametrize(("floor", "speed"), [(1e-15, 0.0), (1e-4, 1e-3)])
def test_starts_end_where_they_do_on_the_processor(cell, floor, speed):
    """The same steps, one after the other: ends, their q, and how many it took."""
    networks = random_networks(cell, "tanh", 6, 2, 1, 1, seed=3)
    rng, x = np.random.default_rng(1), np.array([0.3, -0.2])
    starts = rng.normal(size=(5, networks.S))
    starts[4] = np.nan
    results = []
    for engine in (None, cuda_engine.CUDAEngine()):
        map = maps_of(networks, engine)(0, x)
        with np.errstate(all="ignore"):
            results.append(levenberg_marquardt(map, map.inside(starts), 1e-26, 30, floor, speed))
    (h, q, taken), (h_device, q_device, taken_device) = results
    assert q[4] == q_device[4] == np.inf
    np.testing.assert_allclose(h_device[:4], h[:4], atol=1e-7)
    np.testing.assert_allclose(q_device[:4], q[:4], rtol=1e-3, atol=1e-22)
    assert np.abs(taken_device - taken).max() <= 2


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_schedule_gives_the_same_bits(cell):
    networks = random_networks(cell, "tanh", 40, 2, 1, 2, seed=3)  # more units than a warp has threads
    starts = np.random.default_rng(1).normal(size=(2, 2, networks.S))
    rule, limits, results = (1e-26, 0.0, 1e-2, 1e-15, 1e8, 1e-12), np.ones(networks.S), set()
    for order in ("forward", "backward", "random"):
        engine = cuda_engine.CUDAEngine(HostDevice(schedule=(order, True, 5)))
        made = engine.levenberg_marquardt(networks, starts, np.zeros((2, 2)), limits, rule, 4, 10)
        states = engine.jacobian(networks, starts, np.zeros((2, 2)))
        results.add(b"".join(array.tobytes() for array in (*made, *states)))
    assert len(results) == 1


def test_searches_need_networks_on_a_device():
    halve = UpdateFunction(lambda h, x: h / 2, lambda h, x: np.tile(np.eye(2) / 2, (len(h), 1, 1)), S=2)
    with pytest.raises(UsageError, match="searched where its functions run; leave device out"):
        fastrnn.find_fixed_points(halve, np.zeros(0), starts=np.ones((1, 2)), device="cuda")
