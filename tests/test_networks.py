"""Stacks of networks: initial weights, views, indexing, anyone's arrays, files."""

import numpy as np
import oracle
import pytest
from samples import KINDS, random_networks
from scipy import stats

from fastrnn.cells import LEAKY_CELLS
from fastrnn.errors import RunError, UsageError
from fastrnn.networks import Networks


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_named_arrays_are_views_in_the_order_of_the_table(cell):
    networks = random_networks(cell, "tanh", 5, 3, 2, N=4)
    shapes = oracle.parameter_shapes(cell, 5, 3, 2)
    assert {name: array.shape for name, array in networks.arrays.items()} == {
        name: (4, *shape) for name, shape in shapes.items()
    }
    flat = np.concatenate([array.reshape(4, -1) for array in networks.arrays.values()], axis=1)
    np.testing.assert_array_equal(flat, networks.parameters)
    assert networks.count == networks.parameters.shape[1] == sum(np.prod(s) for s in shapes.values())
    assert networks.S == shapes["h0"][0]
    for name in oracle.NAMES:
        getattr(networks, name)[1] = 7.0
    assert np.all(networks.parameters[1] == 7.0)
    assert not np.any(networks.parameters[0] == 7.0)


def test_what_a_stack_says_of_itself():
    assert repr(random_networks("gru", "tanh", 5, 3, 2, N=4)) == "<4 networks: gru tanh, n = 5, D = 3, K = 2>"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="Networks has no attribute 'W_hh'"):
        _ = random_networks("gru", "tanh", 3, 1, 1, N=1).W_hh


@pytest.mark.parametrize("cell", oracle.CELLS)
def test_initial_weights(cell):
    """Normal, variance 1 / fan-in, recurrent and input apart; biases and initial state zero."""
    n, D, K, N = 32, 3, 2, 40
    networks = Networks.initialize(cell, "tanh", n, D, K, keys=np.arange(N))
    for name, fan_in in (("W_rec", n), ("W_in", D), ("W_out", n)):
        sample = networks.arrays[name].astype(np.float64).ravel() * np.sqrt(fan_in)
        assert stats.kstest(sample, "norm").pvalue > 1e-3
        assert abs(sample.var() - 1) < 5 * np.sqrt(2 / sample.size)
    for name in ("b", "b_out", "h0"):
        assert not networks.arrays[name].any()


def test_initial_weights_hang_on_nothing_but_the_key():
    """No two networks share weights, and a network's do not depend on its neighbours."""
    keys = [5, 6, 2**63 + 5]
    networks = Networks.initialize("gru", "tanh", 7, 3, 2, keys=keys)
    assert len(np.unique(networks.W_rec)) > 0.999 * networks.W_rec.size
    assert len({row.tobytes() for row in networks.parameters}) == 3
    for i, key in enumerate(keys):
        np.testing.assert_array_equal(
            Networks.initialize("gru", "tanh", 7, 3, 2, [key]).parameters[0], networks.parameters[i]
        )
    for array in ("W_in", "W_out"):  # drawn apart from the recurrent weights, not a piece of them
        ours = networks.arrays[array][0].ravel()
        assert not np.isin(ours, networks.W_rec[0]).any()


@pytest.mark.parametrize("cell", LEAKY_CELLS)
@pytest.mark.parametrize(("gate_bias", "alpha"), [(800, "0"), (1e30, "0"), (-800, "1")])
def test_a_leaky_network_leaks(cell, gate_bias, alpha):
    with pytest.raises(UsageError, match=rf"alpha must be above 1e-07 and below 1; it is {alpha} \(gate_bias "):
        Networks.initialize(cell, "tanh", 4, 1, 1, [0], gate_bias=gate_bias)


def test_gate_bias_is_kept_everywhere():
    networks = Networks.initialize("lstm", "relu", 4, 1, 1, [0, 1], gate_bias=0.5)
    for other in (networks[0], networks.copy(), Networks.concatenate([networks, networks])):
        assert other.gate_bias == 0.5
    assert Networks.from_arrays(cell="lstm", activation="relu", gate_bias=2, arrays=networks.arrays).gate_bias == 2.0
    for cell in LEAKY_CELLS:
        with pytest.raises(UsageError, match=rf"gate_bias must be given for {cell}; fastrnn\.from_{cell} takes alpha"):
            Networks.from_arrays(cell=cell, activation="relu", arrays=networks.arrays)
    with pytest.raises(UsageError, match=r"gate_bias must be given for lstm: 1\.0 for networks trained here"):
        Networks.from_arrays(cell="lstm", activation="relu", arrays=networks.arrays)


def test_indexing():
    networks = random_networks("ugrnn", "relu", 4, 2, 1, N=5)
    np.testing.assert_array_equal(networks[2].parameters, networks.parameters[2:3])
    np.testing.assert_array_equal(networks[-1].keys, networks.keys[4:])
    np.testing.assert_array_equal(networks[np.array([3, 1])].parameters, networks.parameters[[3, 1]])
    np.testing.assert_array_equal(networks[networks.keys == networks.keys[2]].keys, networks.keys[2:3])
    assert [len(part) for part in (networks[1:4], networks[:0], networks[::2])] == [3, 0, 3]
    networks[1:3].W_rec[:] = 9.0
    assert np.all(networks.W_rec[1:3] == 9.0)
    copy = networks.copy()
    copy.parameters[:] = 0.0
    assert np.all(networks.W_rec[1:3] == 9.0)
    with pytest.raises(IndexError, match="network 5 of 5"):
        networks[5]


def test_concatenate():
    networks = random_networks("gru", "tanh", 4, 2, 1, N=3)
    joined = Networks.concatenate([networks[2], networks[:2]])
    np.testing.assert_array_equal(joined.parameters, networks.parameters[[2, 0, 1]])
    np.testing.assert_array_equal(joined.keys, networks.keys[[2, 0, 1]])
    with pytest.raises(UsageError, match=r"must be of one kind; got .*'gru', 'tanh'.* and .*'gru', 'relu'"):
        Networks.concatenate([networks, random_networks("gru", "relu", 4, 2, 1, N=1)])


def test_from_arrays_copies_and_converts():
    arrays = {
        name: array.astype(np.float64) for name, array in random_networks("gru", "tanh", 4, 2, 1, N=3).arrays.items()
    }
    networks = Networks.from_arrays(cell="gru", activation="tanh", gate_bias=0, arrays=arrays)
    assert networks.parameters.dtype == np.float32
    before = networks.parameters.copy()
    arrays["W_rec"][:] = 0.0
    np.testing.assert_array_equal(networks.parameters, before)
    assert len(set(networks.keys.tolist())) == 3
    kept = Networks.from_arrays(cell="gru", activation="tanh", gate_bias=0, arrays=networks.arrays, keys=[7, 8, 9])
    assert kept.keys.tolist() == [7, 8, 9]


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: without(a, "h0"),
            "arrays must be exactly W_rec, W_in, b, W_out, b_out, h0; got W_in, W_out",
        ),
        (lambda a: a | {"W_hh": a["b"]}, "arrays must be exactly .* got W_hh"),
        (
            lambda a: a | {"W_rec": a["W_rec"][0]},
            r"W_rec must have shape \(N, n, G n\); it has shape \(4, 12\)",
        ),
        (lambda a: a | {"W_in": a["W_in"][:2]}, r"W_in must have shape \(3, 2, 12\) beside W_rec"),
        (
            lambda a: a | {"b": a["b"][:, :4]},
            r"b must have shape \(3, 12\) .* it has \(3, 4\)",
        ),
        (lambda a: a | {"h0": a["h0"] * np.nan}, r"h0 must be finite; h0\[0, 0\] is nan \(12 values"),
        (lambda a: a | {"b": a["b"].astype(np.float64) + 1e300}, "b must be finite"),
        (lambda a: a | {"b": a["b"] + 1j}, "b must be an array of real numbers; it holds complex64"),
        (lambda a: a | {"W_in": a["W_in"].astype(str)}, "W_in must be an array of real numbers; it holds <U32"),
        (
            lambda a: a | {"h0": [[1.0], [1.0, 2.0], [3.0]]},
            "h0 must be .* real numbers; its rows have different lengths",
        ),
        (
            lambda a: a | {"W_rec": a["W_rec"][:, :, :4]},
            r"W_rec must have shape \(3, 4, 12\) for gru; it has \(3, 4, 4\)",
        ),
        (lambda a: None, "arrays must be exactly W_rec, .* got None"),
    ],
)
def test_from_arrays_refuses(change, message):
    arrays = random_networks("gru", "tanh", 4, 2, 1, N=3).arrays
    with pytest.raises(UsageError, match=message):
        Networks.from_arrays(cell="gru", activation="tanh", gate_bias=1, arrays=change(arrays))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": 5}, "keys must be a list of whole numbers, one a network; it is 5"),
        ({"keys": None}, "keys must be a list of whole numbers, one a network; it is None"),
        ({"keys": [[1], [2]]}, r"keys must be a whole number, 0 or more; it is \[1\]"),
        ({"keys": np.uint64(3)}, "keys must be a list of whole numbers, one a network; it is np.uint64"),
        ({"keys": [-1]}, "keys must be a whole number, 0 or more; it is -1"),
        ({"keys": ["a"]}, "keys must be a whole number, 0 or more; it is 'a'"),
        ({"keys": [1.5]}, "keys must be a whole number, 0 or more; it is 1.5"),
        ({"keys": [1 << 64]}, r"keys must be below 2\^64; one is 18446744073709551616"),
        ({"n": 10**9}, r"n = 1000000000 makes 3e\+18 parameters a network, more than memory holds"),
        ({"gate_bias": 1e40}, "gate_bias must be finite in float32"),
    ],
)
def test_initialize_refuses(change, message):
    with pytest.raises(UsageError, match=message):
        Networks.initialize("gru", "tanh", **({"n": 4, "D": 2, "K": 1, "keys": [0]} | change))


def test_keys_of_all_64_bits_are_kept():
    keys = [1, (1 << 64) - 1, (1 << 63) + 1]
    assert Networks.initialize("gru", "tanh", 4, 2, 1, keys).keys.tolist() == keys


def test_constructors_refuse():
    networks = random_networks("gru", "tanh", 4, 2, 1, N=3)
    with pytest.raises(UsageError, match="unknown cell 'elman'"):
        Networks.from_arrays(cell="elman", activation="tanh", arrays=networks.arrays)
    with pytest.raises(UsageError, match="unknown activation 'gelu'"):
        Networks.initialize("gru", "gelu", 4, 2, 1, [0])
    for name in ("n", "D", "K"):
        for bad in (0, -3, 2.5, float("nan"), "four", True):
            with pytest.raises(UsageError, match=f"{name} must be a positive whole number; it is {bad!r}"):
                Networks.initialize("gru", "tanh", **({"n": 4, "D": 2, "K": 1} | {name: bad}), keys=[0])
    sizes = ("gru", "tanh", 1.0, 4, 2, 1)
    with pytest.raises(UsageError, match=r"parameters must have shape \(N, M = 93\); it has shape \(3, 92\)"):
        Networks(*sizes, networks.parameters[:, 1:], networks.keys)
    with pytest.raises(UsageError, match="parameters must be a C-contiguous float32 array; they are float64"):
        Networks(*sizes, networks.parameters.astype(np.float64), networks.keys)
    with pytest.raises(UsageError, match=r"keys must have shape \(N = 3\)"):
        Networks(*sizes, networks.parameters, [1, 2])


@pytest.mark.parametrize(("cell", "activation"), KINDS)
def test_files_give_back_the_same_networks(cell, activation, tmp_path):
    networks = random_networks(cell, activation, 5, 3, 2, N=2, gate_bias=0.25)
    networks.parameters[1] = np.nan  # a network that diverged is stored as it is
    networks.save(tmp_path / "networks.safetensors")
    loaded = Networks.load(tmp_path / "networks.safetensors")
    assert loaded.kind == networks.kind
    assert loaded.parameters.tobytes() == networks.parameters.tobytes()
    np.testing.assert_array_equal(loaded.keys, networks.keys)
    loaded.parameters[:] = 0.0


def test_a_file_without_networks_says_so():
    arrays, metadata = random_networks("gru", "tanh", 4, 2, 1, N=1).to_arrays_and_metadata()
    for broken in ((without(arrays, "h0"), metadata), (arrays, without(metadata, "cell"))):
        with pytest.raises(RunError, match=r"the file holds no networks: .* is missing; was it written by fastrnn"):
            Networks.from_arrays_and_metadata(*broken)
