"""Groups whose arrays have more numbers than 32 bits can count, as those of a whole population have."""

import sys

import numpy as np
import pytest
from cuda_host.device import HostDevice
from cuda_host.library import Array
from cuda_host.module import COMPILER
from samples import random_networks

from fastrnn.counters import TRAINING
from fastrnn.engines.cuda.group import Group
from fastrnn.engines.cuda.launch import Launcher
from fastrnn.errors import Status
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="g++ is missing: kernels can't be run without a GPU"),
    pytest.mark.skipif(sys.platform != "linux", reason="files with holes, as Linux has them"),
]


def enlarge(group, N, folder):
    """The one network of a group becomes the last of N; the others are empty and at rest, in files of holes."""
    for name, array in list(vars(group).items()):
        if isinstance(array, Array):
            whole = np.memmap(folder / name, array.dtype, "w+", shape=(N, *array.shape[1:]))
            whole[-1] = array.get()[0]
            setattr(group, name, Array(group.device.xp, whole))
    group.N = N


def test_the_last_of_many_networks_is_the_same_to_the_bit(tmp_path):
    T, task = 2000, get_task("flipflop", steps=2000)
    networks = random_networks("gru", "tanh", 32, 3, 3, 1, seed=3)
    optimizer = Optimizer.start(networks, learning_rate=0.01, momentum=0.9, clip=1.0, l2=1e-5, iterations=2)
    results = []
    for N in (1, 4200):
        group = Group(Launcher(HostDevice()), networks, 8, T, way_back=True)
        group.begin_training(optimizer, 2)
        drawing = group.begin_drawing(task)
        if N > 1:
            enlarge(group, N, tmp_path)
            assert min(group.states.size, group.gates.size // 2, group.das.size // 2) > 2**31
        group.draw(drawing, TRAINING)
        group.roll_out()
        group.read_out()
        group.go_back()
        group.descend(0)
        names = ("inputs", "states", "gates", "das", "transposed", "velocities", "parameters", "losses", "iterations")
        results.append({name: getattr(group, name)[-1].get() for name in names})
        assert int(group.status[-1]) == Status.TRAINING
    for name, alone in results[0].items():
        np.testing.assert_array_equal(results[1][name], alone, err_msg=name)
    assert results[0]["iterations"] == 1
