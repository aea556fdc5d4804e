"""Networks, trials and measures that several test files use."""

import numpy as np
import oracle
import tolerances

from fastrnn import counters
from fastrnn.networks import Networks
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

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


def check_noise_in_training(engine, cell, activation, n, batch):
    """Losses and gradients of two iterations of two networks, one of them noisy, against the oracle's.

    The gradient of each iteration is the velocity where momentum is 0 and nothing is clipped.
    """
    task, noise = get_task("cdi", steps=5), [0.3, 0.0]
    networks = random_networks(cell, activation, n, task.D, task.K, N=2, gate_bias=1.5)
    rates = {"learning_rate": 0.01, "momentum": 0.0, "clip": np.inf}
    optimizer = Optimizer.start(networks, noise=noise, iterations=2, **rates)
    for iteration in range(2):
        expected = [gradient_with_noise(networks, i, task, iteration, batch, noise[i]) for i in range(2)]
        losses = engine.advance(networks, optimizer, task, 1, batch=batch)
        for i, (loss, gradients) in enumerate(expected):
            assert relative_error(losses[i], loss) < tolerances.LOSS
            for name, velocity in networks.named(optimizer.velocity).items():
                assert relative_error(velocity[i], gradients[name]) < tolerances.GRADIENT, name


def relative_error(value, reference):
    """Norm of the difference over the norm of the reference, or alone where the reference is 0 all over."""
    return float(np.linalg.norm(np.subtract(value, reference)) / (np.linalg.norm(reference) or 1.0))
