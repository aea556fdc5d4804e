"""Weights of PyTorch's modules become networks that compute the same; what is another cell is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastrnn import engines, from_torch
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
    """A `torch.nn.RNN` or `LSTM` with weights, biases too, as far as they are read."""
    rng = np.random.default_rng(seed)
    gates = 4 if mode == "LSTM" else 1
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
    """The recurrences as PyTorch's documentation gives them: RNN's, and LSTM's with gates i, f, g, o."""
    h, c, made = h0[:n], h0[n:], []
    for x in inputs:
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
        (module("GRU"), linear(), None, "reset gate after the recurrent product, .*fastrnn.UpdateFunction"),
        (linear(), linear(), None, r"recurrent must be a torch\.nn\.RNN or .*, or a list of them; it is namespace"),
        (None, linear(), None, r"recurrent must be a torch\.nn\.RNN .* it is None"),
        (module(), module(), None, r"readout must be a torch\.nn\.Linear, or a list of them; it is namespace"),
        (module(), linear(in_features=7), None, "readout must read the 5 units of h; .* reads 7"),
        (module(), linear(), "zeros", "weights and h0 must be tensors or arrays of numbers"),
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


def test_pytorch_itself():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for recurrent in (torch.nn.RNN(D, n), torch.nn.RNN(D, n, nonlinearity="relu"), torch.nn.LSTM(D, n)):
        readout = torch.nn.Linear(n, K)
        inputs = torch.randn(T, 4, D)
        _, outputs = engines.get("cpu").run(from_torch(recurrent, readout), inputs.numpy().swapaxes(0, 1)[None])
        expected = readout(recurrent(inputs)[0]).detach().numpy().swapaxes(0, 1)
        np.testing.assert_allclose(outputs[0], expected, atol=1e-5)
    with pytest.raises(UsageError, match="another cell"):
        from_torch(torch.nn.GRU(D, n), readout)
