"""JAX: the whole training step under `jit`, networks under `vmap`, time under `lax.scan`."""

from __future__ import annotations

import os

import numpy as np

from fastrnn.cells import get_cell
from fastrnn.cells.leaky import alpha_of

from ..work import HYPERPARAMETERS
from .peer import BIASED, Peer, Trainer


def make_loss(cell: str, activation: str, gate_bias: float, n: int):
    """Loss of one network: parameters, inputs (T, B, D), targets (T, B, K) to a number."""
    import jax
    import jax.numpy as jnp

    phi = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    sigmoid = jax.nn.sigmoid
    blocks = get_cell(cell).blocks
    offset = np.repeat([gate_bias * (block == BIASED.get(cell)) for block in blocks], n).astype(np.float32)
    alpha = alpha_of(gate_bias)  # of leaky cells

    def step(W, state, a):
        """One update: state and the input's share of the gates a (B, G n) to the next state and h."""
        if cell == "vanilla":
            h = phi(state @ W[0] + a)
            return h, h
        if cell == "leaky":
            h = state + alpha * (phi(state @ W[0] + a) - state)
            return h, h
        if cell == "current":
            h, current = state
            current = current + alpha * (h @ W[0] + a - current)
            h = phi(current)
            return (h, current), h
        if cell == "ugrnn":
            a_c, a_g = jnp.split(state @ W[0] + a, 2, axis=-1)
            g, c = sigmoid(a_g), phi(a_c)
            h = g * state + (1 - g) * c
            return h, h
        if cell == "gru":
            g, r = jnp.split(sigmoid(state @ W[0] + a[..., : 2 * n]), 2, axis=-1)
            c = phi((r * state) @ W[1] + a[..., 2 * n :])
            h = g * state + (1 - g) * c
            return h, h
        h, memory = state
        a_i, a_f, a_c, a_o = jnp.split(h @ W[0] + a, 4, axis=-1)
        memory = sigmoid(a_f) * memory + sigmoid(a_i) * phi(a_c)
        h = sigmoid(a_o) * phi(memory)
        return (h, memory), h

    def loss(p, inputs, targets):
        a = inputs @ p["W_in"] + (p["b"] + offset)  # (T, B, G n), all steps at once
        W = (p["W_rec"],) if cell != "gru" else (p["W_rec"][:, : 2 * n], p["W_rec"][:, 2 * n :])
        state = jnp.broadcast_to(p["h0"], (inputs.shape[1], p["h0"].shape[0]))
        if get_cell(cell).state_multiple == 2:
            state = (state[:, :n], state[:, n:])
        _, h = jax.lax.scan(lambda state, a: step(W, state, a), state, a)
        return jnp.mean((h @ p["W_out"] + p["b_out"] - targets) ** 2)

    return loss


def make_update(loss):
    """One training iteration of one network."""
    import jax
    import jax.numpy as jnp

    lr, momentum, clip, l2 = (HYPERPARAMETERS[name] for name in ("learning_rate", "momentum", "clip", "l2"))

    def update(p, velocity, inputs, targets):
        value, gradient = jax.value_and_grad(loss)(p, inputs, targets)
        gradient = {name: gradient[name] + 2 * l2 * p[name] for name in p}
        norm = jnp.sqrt(sum(jnp.sum(part**2) for part in gradient.values()))
        scale = jnp.minimum(1.0, clip / norm)
        velocity = {name: momentum * velocity[name] + scale * gradient[name] for name in p}
        return {name: p[name] - lr * velocity[name] for name in p}, velocity, value

    return update


def time_first(array):
    """(N, B, T, ...) to (N, T, B, ...)."""
    return np.ascontiguousarray(np.swapaxes(array, 1, 2))


class JaxTrainer(Trainer):
    """All networks in one call an iteration, parameters and velocities updated in place."""

    def __init__(self, networks, inputs, targets):
        import jax

        self._jax = jax
        self.networks = len(networks)
        update = make_update(make_loss(networks.cell, networks.activation, networks.gate_bias, networks.n))
        self._update = jax.jit(jax.vmap(update), donate_argnums=(0, 1))
        self._parameters = {name: jax.numpy.array(array) for name, array in networks.arrays.items()}
        self._velocity = {name: jax.numpy.zeros_like(array) for name, array in self._parameters.items()}
        self._trials = (jax.numpy.asarray(time_first(inputs)), jax.numpy.asarray(time_first(targets)))

    def __call__(self, iterations: int) -> None:
        for _ in range(iterations):
            self._parameters, self._velocity, value = self._update(self._parameters, self._velocity, *self._trials)
        self._jax.block_until_ready((self._parameters, value))

    def close(self) -> None:
        self._parameters = self._velocity = self._trials = self._update = None


class JaxVmap(Peer):
    """What a JAX user would write."""

    name = "jax"
    label = "JAX vmap"
    title = "JAX jit(vmap(scan))"
    library = "jax"
    batched = True

    def use(self, threads: int) -> None:
        os.environ["JAX_PLATFORMS"] = "cpu"  # threads: those of the processors this process may use
        import jax

        jax.devices("cpu")

    def loss_and_gradients(self, networks, inputs, targets):
        import jax

        loss = make_loss(networks.cell, networks.activation, networks.gate_bias, networks.n)
        function = jax.jit(jax.vmap(jax.value_and_grad(loss)))
        losses, gradients = function(dict(networks.arrays), time_first(inputs), time_first(targets))
        return np.asarray(losses), {name: np.asarray(array) for name, array in gradients.items()}

    def trainer(self, work, N: int) -> Trainer:
        networks = work.networks(N)
        return JaxTrainer(networks, *work.trials(networks))
