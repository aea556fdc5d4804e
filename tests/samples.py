"""Networks, trials and measures that several test files use."""

import numpy as np
import oracle

from fastrnn import counters
from fastrnn.networks import Networks

KINDS = [(cell, activation) for cell in oracle.CELLS for activation in oracle.ACTIVATIONS]


def random_networks(cell, activation, n, D, K, N, seed=0, gate_bias=1.0):
    """N networks with no zeros among their parameters, biases and initial states included."""
    rng = np.random.default_rng(seed)
    shapes = oracle.parameter_shapes(cell, n, D, K)
    fan_in = {"W_rec": n, "W_in": D, "W_out": n}
    arrays = {
        name: (rng.normal(size=(N, *shape)) / np.sqrt(fan_in.get(name, 4))).astype(np.float32)
        for name, shape in shapes.items()
    }
    return Networks.from_arrays(cell=cell, activation=activation, gate_bias=gate_bias, arrays=arrays)


def oracle_parameters(networks, i):
    """Parameters of network i as the oracle takes them."""
    return {name: array[i].astype(np.float64) for name, array in networks.arrays.items()}


def random_trials(networks, B, T, seed=0, masked=False):
    """Inputs (N, B, T, D), targets (N, B, T, K), and a mask (N, B, T) with zeros in it, or None."""
    rng = np.random.default_rng(seed)
    N = len(networks)
    inputs = rng.normal(size=(N, B, T, networks.D)).astype(np.float32)
    targets = rng.normal(size=(N, B, T, networks.K)).astype(np.float32)
    if not masked:
        return inputs, targets, None
    mask = rng.uniform(0.5, 2.0, size=(N, B, T)) * (rng.uniform(size=(N, B, T)) < 0.6)
    mask[:, 0, 0] = 1.0
    return inputs, targets, mask.astype(np.float32)


def gradient_with_noise(networks, i, task, iteration, batch, noise):
    """Loss and gradients of leaky network i by the oracle, with the noise that it has in a training iteration.

    To the oracle noise is n further inputs, each of its own unit.
    """
    n, alpha = networks.n, 1 / (1 + np.exp(networks.gate_bias))
    key, drawn = networks.keys[i], np.empty((batch, task.T, n), np.float32)
    for b in range(batch):
        counters.normals(counters.stream(int(key), counters.NOISE, iteration, b), drawn[b].reshape(-1))
    inputs, targets, mask = (a[0].astype(np.float64) for a in task.draw([key], counters.TRAINING, iteration, batch))
    p = oracle_parameters(networks, i)
    p["W_in"] = np.concatenate([p["W_in"], np.sqrt(2 / alpha) * noise * np.eye(n)])
    inputs = np.concatenate([inputs, drawn], axis=2)
    kind = networks.cell, networks.activation, networks.gate_bias
    loss, gradients, _ = oracle.loss_and_gradients(*kind, p, inputs, targets, mask)
    return loss, gradients | {"W_in": gradients["W_in"][:-n]}


def relative_error(value, reference):
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(np.subtract(value, reference)) / np.linalg.norm(reference))
