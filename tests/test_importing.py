"""Weights of PyTorch's modules become networks that compute the same; what is another cell is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastrnn import (
    Networks,
    engines,
    find_fixed_points,
    from_current,
    from_leaky,
    from_torch,
    linearize,
    update_from_torch,
)
from fastrnn.errors import UsageError

n, D, K, T = 5, 3, 2, 7


class Tensor:
    """What PyTorch's tensors have of NumPy's arrays."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    cpu = double = detach

    def numpy(self):
        return self.array


def module(mode="RNN_TANH", seed=0, **changes):
    """A `torch.nn.RNN`, `GRU` or `LSTM` with weights, biases too, as far as they are read."""
    rng = np.random.default_rng(seed)
    gates = {"LSTM": 4, "GRU": 3}.get(mode, 1)
    sizes = {"weight_hh_l0": (gates * n, n), "weight_ih_l0": (gates * n, D), "bias_ih_l0": gates * n}
    sizes |= {"bias_hh_l0": gates * n}
    values = {name: Tensor(rng.normal(size=size)) for name, size in sizes.items()}
    values |= {"mode": mode, "nonlinearity": mode.split("_")[-1].lower(), "num_layers": 1, "bidirectional": False}
    return SimpleNamespace(**values | {"proj_size": 0, "bias": True, "hidden_size": n, "input_size": D} | changes)


def linear(seed=0, **changes):
    rng = np.random.default_rng(100 + seed)
    values = {"weight": Tensor(rng.normal(size=(K, n))), "bias": Tensor(rng.normal(size=K))}
    return SimpleNamespace(**values | {"in_features": n, "out_features": K} | changes)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def outputs_of(module, linear, inputs, h0):
    """The recurrences as PyTorch's documentation gives them: RNN's, LSTM's (gates i, f, g, o) and GRU's (r, z, n)."""
    h, c, made = h0[:n], h0[n:], []
    for x in inputs:
        if module.mode == "GRU":
            h = gru_step(module, h, x)
            made.append(linear.weight.array @ h + linear.bias.array)
            continue
        a = module.weight_ih_l0.array @ x + module.weight_hh_l0.array @ h
        a = a + (module.bias_ih_l0.array + module.bias_hh_l0.array if module.bias else 0)
        if module.mode == "LSTM":
            i, f, g, o = np.split(a, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(a) if module.mode == "RNN_TANH" else np.maximum(a, 0)
        made.append(linear.weight.array @ h + linear.bias.array)
    return np.array(made)


def gru_step(module, h, x):
    """One unit after the other."""
    W_h, W_i = module.weight_hh_l0.array, module.weight_ih_l0.array
    b_h, b_i = (b.array if module.bias else np.zeros(3 * n) for b in (module.bias_hh_l0, module.bias_ih_l0))
    by_state = [W_h[j] @ h + b_h[j] for j in range(3 * n)]
    by_input = [W_i[j] @ x + b_i[j] for j in range(3 * n)]
    following = []
    for u in range(n):
        r, z = (sigmoid(by_state[j] + by_input[j]) for j in (u, n + u))
        candidate = np.tanh(by_input[2 * n + u] + r * by_state[2 * n + u])
        following.append((1 - z) * candidate + z * h[u])
    return np.array(following)


@pytest.mark.parametrize("mode", ["RNN_TANH", "RNN_RELU", "LSTM"])
@pytest.mark.parametrize("bias", [True, False])
def test_networks_compute_what_the_modules_do(mode, bias):
    modules, readouts = [module(mode, i, bias=bias) for i in range(3)], [linear(i) for i in range(3)]
    S = 2 * n if mode == "LSTM" else n
    h0 = np.random.default_rng(5).normal(size=(3, S))
    inputs = np.random.default_rng(6).normal(size=(3, 1, T, D))
    networks = from_torch(modules, readouts, h0)
    _, outputs = engines.get("cpu").run(networks, inputs)
    for i in range(3):
        expected = outputs_of(modules[i], readouts[i], inputs[i, 0], h0[i])
        np.testing.assert_allclose(outputs[i, 0], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    one = from_torch(modules[1], readouts[1], h0[1])
    np.testing.assert_array_equal(one.parameters, networks[1].parameters)
    assert not from_torch(modules[1], readouts[1]).h0.any() and one.gate_bias == 0.0


@pytest.mark.parametrize(
    ("recurrent", "readout", "h0", "message"),
    [
        (module("GRU"), linear(), None, "reset gate after the recurrent product, .*fastrnn.update_from_torch"),
        (linear(), linear(), None, r"recurrent must be a torch\.nn\.RNN or .*, or a list of them; it is namespace"),
        (None, linear(), None, r"recurrent must be a torch\.nn\.RNN .* it is None"),
        (module(), module(), None, r"readout must be a torch\.nn\.Linear for each module; it is namespace"),
        (module(), linear(in_features=7), None, "readout must read the 5 units of h; .* reads 7"),
        (module(), linear(), "zeros", "h0 must be an array of real numbers; it holds"),
        (module(num_layers=2), linear(), None, "modules must have num_layers=1; .* has 2"),
        (module("LSTM", bidirectional=True), linear(), None, "must have bidirectional=False; .* has True"),
        (module("LSTM", proj_size=3), linear(), None, "must have proj_size=0; .* has 3"),
        ([module(), module()], [linear()], None, "readout must be a Linear for each recurrent module; got 1 for 2"),
        ([], [], None, "readout must be a Linear for each recurrent module; got 0 for 0"),
        (
            [module(), module("RNN_RELU")],
            [linear()] * 2,
            None,
            "of one kind and size; .* tanh, n 5.* number 2 is .*relu",
        ),
        ([module()] * 2, [linear(), linear(out_features=9)], None, "of one kind and size; .* K 2; number 2 is .* K 9"),
        (module("LSTM"), linear(), np.zeros(n), r"h0 must have shape \(10,\) or \(1, 10\), h and c end to end"),
        (module(), linear(), np.zeros(n + 1), r"h0 must have shape \(5,\) or \(1, 5\); it has shape \(6,\)"),
    ],
)
def test_what_can_not_be_taken_over(recurrent, readout, h0, message):
    with pytest.raises(UsageError, match=message):
        from_torch(recurrent, readout, h0)


@pytest.mark.parametrize("bias", [True, False])
def test_update_of_a_gru_and_its_jacobians(bias):
    gru, readout = module("GRU", bias=bias), linear()
    update = update_from_torch(gru, readout)
    rng = np.random.default_rng(1)
    h, x = rng.uniform(-1, 1, (4, n)), rng.normal(size=D)
    expected = np.array([gru_step(gru, state, x) for state in h])
    np.testing.assert_allclose(update.step(h, x), expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(update.readout(h), h @ readout.weight.array.T + readout.bias.array, rtol=1e-14)
    step = 1e-6

    def differences(function, around):
        both = [[function(around + sign * step * e) for sign in (1, -1)] for e in np.eye(around.shape[-1])]
        return np.stack([(up - down) / (2 * step) for up, down in both], axis=-1)

    np.testing.assert_allclose(update.jacobian(h, x), differences(lambda h: update.step(h, x), h), atol=1e-8)
    np.testing.assert_allclose(update.input_jacobian(h, x), differences(lambda x: update.step(h, x), x), atol=1e-8)


def test_fixed_points_of_a_gru():
    """All of them, as the index theorem counts, at rest under the update one unit after the other."""
    update = update_from_torch(module("GRU"), linear())
    starts = np.random.default_rng(2).uniform(-1, 1, (200, n))
    points = find_fixed_points(update, np.zeros(D), starts=starts)
    assert len(points) and points.index_sum[0, 0] == 1
    for state in points.xstar:
        np.testing.assert_allclose(gru_step(module("GRU"), state, np.zeros(D)), state, atol=1e-12)


def test_what_is_no_gru():
    with pytest.raises(UsageError, match=r"module must be one torch\.nn\.GRU; it is .*; from_torch takes RNN and LSTM"):
        update_from_torch(module("LSTM"))
    with pytest.raises(UsageError, match=r"modules must have num_layers=1; .* has 2"):
        update_from_torch(module("GRU", num_layers=2))
    with pytest.raises(UsageError, match=r"readout must read the 5 units of h; .* reads 7"):
        update_from_torch(module("GRU"), linear(in_features=7))
    with pytest.raises(UsageError, match="the module's weights must be finite"):
        update_from_torch(module("GRU", bias_ih_l0=Tensor(np.full(3 * n, np.nan))))
    with pytest.raises(UsageError, match="the readout's weights must be finite"):
        update_from_torch(module("GRU"), linear(weight=Tensor(np.full((K, n), np.inf))))


def test_an_update_keeps_the_weights_it_was_made_of():
    gru, readout = module("GRU"), linear()
    update, h, x = update_from_torch(gru, readout), np.full((1, n), 0.3), np.ones(D)
    before = update.step(h, x), update.readout(h)
    for tensor in (gru.weight_hh_l0, gru.weight_ih_l0, gru.bias_hh_l0, gru.bias_ih_l0, readout.weight, readout.bias):
        tensor.array += 1.0  # it is trained further
    np.testing.assert_array_equal(before[0], update.step(h, x))
    np.testing.assert_array_equal(before[1], update.readout(h))


def leaky_arrays(N=2):
    rng = np.random.default_rng(3)
    shapes = {"W_rec": (n, n), "W_in": (D, n), "b": (n,), "W_out": (n, K), "b_out": (K,), "h0": (n,)}
    return {name: rng.normal(size=(N, *shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(
    "alpha", [0.2, np.linspace(0.05, 0.9, n), np.array([[0.1], [0.4]]), np.linspace(0.1, 0.8, 2 * n).reshape(2, n)]
)
def test_leaky_networks(alpha, activation):
    arrays = leaky_arrays()
    networks = from_leaky(alpha=alpha, activation=activation, arrays=arrays)
    assert networks.cell == ("leaky" if np.isscalar(alpha) else "ugrnn")  # one alpha for all is the cell's constant
    inputs = np.random.default_rng(4).normal(size=(2, 3, T, D))
    states, outputs = engines.get("cpu").run(networks, inputs)
    phi = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[activation]
    for i in range(2):
        leak = np.broadcast_to(alpha, (2, n))[i]
        own = {name: array[i].astype(np.float64) for name, array in arrays.items()}
        h = np.tile(own["h0"], (3, 1))
        for t in range(T):
            h = (1 - leak) * h + leak * phi(h @ own["W_rec"] + inputs[i, :, t] @ own["W_in"] + own["b"])
            np.testing.assert_allclose(states[i, :, t], h, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(outputs[i, :, t], h @ own["W_out"] + own["b_out"], rtol=1e-4, atol=1e-4)


def test_fixed_points_of_leaky_networks_are_those_without_the_leak():
    """h = (1 - alpha) h + alpha phi(...) where h = phi(...)."""
    arrays = leaky_arrays(1)
    points = find_fixed_points(from_leaky(alpha=0.1, activation="tanh", arrays=arrays), np.zeros(D))
    plain = find_fixed_points(Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays), np.zeros(D))
    assert len(points) == len(plain)
    order, others = np.argsort(points.xstar[:, 0]), np.argsort(plain.xstar[:, 0])
    np.testing.assert_allclose(points.xstar[order], plain.xstar[others], atol=1e-10)


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (1.0, r"alpha must be above 1e-07 and below 1; it is 1; .* \(alpha = 1\) are vanilla"),
        ([0.1] * (n - 1) + [0.0], "it goes from 0 to 0.1"),
        (
            np.full(n + 1, 0.5),
            r"alpha must be a number, or have shape \(5,\), \(2, 1\) or \(2, 5\); it has .*6,",
        ),
        ("0.1", "alpha must be an array of real numbers; it holds"),
        (np.nan, "alpha must be finite"),
    ],
)
def test_what_is_no_leak(alpha, message):
    with pytest.raises(UsageError, match=message):
        from_leaky(alpha=alpha, activation="tanh", arrays=leaky_arrays())


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_networks_whose_currents_leak(activation):
    arrays, alpha = leaky_arrays(), 0.3
    networks = from_current(alpha=alpha, activation=activation, arrays=arrays)
    again = from_current(alpha=alpha, activation=activation, arrays=arrays | {"h0": networks.h0})
    assert networks.cell == "current" and again.parameters.tobytes() == networks.parameters.tobytes()
    inputs = np.random.default_rng(4).normal(size=(2, 3, T, D))
    states, outputs = engines.get("cpu").run(networks, inputs)
    phi = {"tanh": np.tanh, "relu": lambda a: np.maximum(a, 0)}[activation]
    for i in range(2):
        own = {name: array[i].astype(np.float64) for name, array in arrays.items()}
        x = np.tile(own["h0"], (3, 1))
        for t in range(T):
            x = (1 - alpha) * x + alpha * (phi(x) @ own["W_rec"] + inputs[i, :, t] @ own["W_in"] + own["b"])
            np.testing.assert_allclose(states[i, :, t], np.concatenate([phi(x), x], axis=1), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(outputs[i, :, t], phi(x) @ own["W_out"] + own["b_out"], rtol=1e-4, atol=1e-4)


def test_fixed_points_of_currents_are_those_of_rates():
    """h = phi(x) where x = h W_rec + ...; eigenvalues are those of x alone, and n zeros."""
    arrays, alpha = leaky_arrays(1), 0.1
    networks = from_current(alpha=alpha, activation="tanh", arrays=arrays)
    points = find_fixed_points(networks, np.zeros(D))
    plain = find_fixed_points(Networks.from_arrays(cell="vanilla", activation="tanh", arrays=arrays), np.zeros(D))
    assert len(points) == len(plain) > 0
    order, others = np.argsort(points.xstar[:, 0]), np.argsort(plain.xstar[:, 0])
    np.testing.assert_allclose(points.xstar[order, :n], plain.xstar[others], atol=1e-9)
    np.testing.assert_allclose(points.xstar[:, :n], np.tanh(points.xstar[:, n:]), atol=1e-9)
    eigenvalues = linearize(networks, points).eigenvalues
    for found, x in zip(eigenvalues, points.xstar[:, n:], strict=True):
        slope = 1 - np.tanh(x) ** 2
        expected = np.linalg.eigvals((1 - alpha) * np.eye(n) + alpha * arrays["W_rec"][0].T.astype(float) * slope)
        np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs([*expected, *[0.0] * n])), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": [0.1] * n}, r"alpha must be one number for all units; it has shape \(5,\)"),
        ({"alpha": 1.5}, "alpha must be above 1e-07 and below 1; it is 1.5;"),
        ({"activation": "sin"}, "unknown activation .sin.; allowed are tanh, relu"),
        ({"arrays": leaky_arrays() | {"h0": np.zeros((2, 3))}}, r"h0 must have shape \(2, 5\), or \(2, 10\), phi\(x\)"),
        ({"arrays": leaky_arrays() | {"h0": np.full((2, n), np.nan)}}, "h0 must be finite"),
        ({"arrays": leaky_arrays() | {"h0": 1.0, "W_rec": 1.0}}, "W_rec must have shape"),
        ({"arrays": {}}, "arrays must be exactly W_rec"),
    ],
)
def test_what_no_currents_are(changes, message):
    with pytest.raises(UsageError, match=message):
        from_current(**{"alpha": 0.1, "activation": "tanh", "arrays": leaky_arrays()} | changes)


def test_pytorch_itself():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for recurrent in (torch.nn.RNN(D, n), torch.nn.RNN(D, n, nonlinearity="relu"), torch.nn.LSTM(D, n)):
        readout = torch.nn.Linear(n, K)
        inputs = torch.randn(T, 4, D)
        _, outputs = engines.get("cpu").run(from_torch(recurrent, readout), inputs.numpy().swapaxes(0, 1)[None])
        expected = readout(recurrent(inputs)[0]).detach().numpy().swapaxes(0, 1)
        np.testing.assert_allclose(outputs[0], expected, atol=1e-5)
    gru, h, x = torch.nn.GRU(D, n), torch.randn(4, n), torch.randn(D)
    with pytest.raises(UsageError, match="another cell"):
        from_torch(gru, readout)
    following = gru(x.expand(1, 4, D), h[None])[1][0].detach().numpy()
    np.testing.assert_allclose(update_from_torch(gru).step(h.numpy(), x.numpy()), following, atol=1e-6)
