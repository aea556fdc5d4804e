"""What a network computes, said as plainly as possible: one network, float64, loops over trials and steps.

This file is the specification that every engine is tested against. It imports nothing of fastrnn and shares
no code with it. Shapes: B trials, T steps, n units, D inputs, K outputs, G gate blocks, S state size (n, and
2n for LSTM and current).

Parameters are a dict: W_rec (n, G n), W_in (D, G n), b (G n,), W_out (n, K), b_out (K,), h0 (S,). A row of
numbers times a matrix is a sum over units: `a = h @ W_rec + x @ W_in + b`. Everything but the backward passes
also takes complex numbers, so that derivatives can be had from a complex step, without cancellation.

References: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), for Philox; Squire and
Trapp, SIAM Review 40 (1998), for the complex step.
"""

from __future__ import annotations

import math

import numpy as np

CELLS = ("vanilla", "ugrnn", "gru", "lstm", "leaky", "current")
ACTIVATIONS = ("tanh", "relu")
BLOCKS = {"vanilla": ("h",), "ugrnn": ("c", "g"), "gru": ("g", "r", "c"), "lstm": ("i", "f", "c", "o")}
BLOCKS |= {"leaky": ("c",), "current": ("c",)}
NAMES = ("W_rec", "W_in", "b", "W_out", "b_out", "h0")


def parameter_shapes(cell, n, D, K):
    """Shape of every parameter, in the order of `NAMES`.

    >>> parameter_shapes("lstm", 5, 3, 2)["W_rec"], parameter_shapes("lstm", 5, 3, 2)["h0"]
    ((5, 20), (10,))
    """
    G, S = len(BLOCKS[cell]), state_size(cell, n)
    return {
        "W_rec": (n, G * n),
        "W_in": (D, G * n),
        "b": (G * n,),
        "W_out": (n, K),
        "b_out": (K,),
        "h0": (S,),
    }


def state_size(cell, n):
    """S: the state of an LSTM is h followed by its cell, that of a current cell h followed by x."""
    return 2 * n if cell in ("lstm", "current") else n


# --- activations ---


def sigmoid(a):
    """s(a) = 1 / (1 + exp(-a))."""
    return 1.0 / (1.0 + np.exp(-a))


def phi(activation, a):
    """Tanh, or relu by the sign of the real part, so that a complex step differentiates it too."""
    if activation == "tanh":
        return np.tanh(a)
    return np.where(np.real(a) > 0, a, 0.0 * a)


def phi_slope(activation, a):
    """phi'(a); relu has slope 0 at 0."""
    if activation == "tanh":
        return 1.0 - np.tanh(a) ** 2
    return np.where(a > 0, 1.0, 0.0)


# --- forward: one step of each cell ---


def step(cell, activation, gate_bias, p, h, x):
    """One update of one trial: state h (S,) and input x (D,) to the next state (S,)."""
    if cell == "vanilla":
        a = h @ p["W_rec"] + x @ p["W_in"] + p["b"]
        return phi(activation, a)
    if cell == "ugrnn":
        a_c, a_g = np.split(h @ p["W_rec"] + x @ p["W_in"] + p["b"], 2)
        g = sigmoid(a_g + gate_bias)
        c = phi(activation, a_c)
        return g * h + (1 - g) * c
    if cell == "gru":
        W_g, W_r, W_c = np.split(p["W_rec"], 3, axis=1)
        in_g, in_r, in_c = np.split(x @ p["W_in"] + p["b"], 3)
        g = sigmoid(h @ W_g + in_g + gate_bias)
        r = sigmoid(h @ W_r + in_r)
        c = phi(activation, (r * h) @ W_c + in_c)
        return g * h + (1 - g) * c
    if cell == "lstm":
        h, memory = np.split(h, 2)
        a_i, a_f, a_c, a_o = np.split(h @ p["W_rec"] + x @ p["W_in"] + p["b"], 4)
        i, f, o = sigmoid(a_i), sigmoid(a_f + gate_bias), sigmoid(a_o)
        memory = f * memory + i * phi(activation, a_c)
        return np.concatenate([o * phi(activation, memory), memory])
    if cell == "leaky":
        c = phi(activation, h @ p["W_rec"] + x @ p["W_in"] + p["b"])
        return sigmoid(gate_bias) * h + (1 - sigmoid(gate_bias)) * c
    if cell == "current":
        h, current = np.split(h, 2)
        a = h @ p["W_rec"] + x @ p["W_in"] + p["b"]
        current = sigmoid(gate_bias) * current + (1 - sigmoid(gate_bias)) * a
        return np.concatenate([phi(activation, current), current])
    raise ValueError(cell)


def readout(p, h):
    """Outputs (K,) of a state (S,): the first n numbers of the state are what is read out."""
    n = p["W_out"].shape[0]
    return h[:n] @ p["W_out"] + p["b_out"]


def run(cell, activation, gate_bias, p, inputs):
    """States (B, T, S) and outputs (B, T, K) for inputs (B, T, D); states[:, 0] has seen the first input."""
    B, T, _ = inputs.shape
    dtype = np.result_type(inputs, *p.values())
    states = np.zeros((B, T, p["h0"].size), dtype)
    outputs = np.zeros((B, T, p["b_out"].size), dtype)
    for b in range(B):
        h = p["h0"]
        for t in range(T):
            h = step(cell, activation, gate_bias, p, h, inputs[b, t])
            states[b, t] = h
            outputs[b, t] = readout(p, h)
    return states, outputs


def loss(cell, activation, gate_bias, p, inputs, targets, mask=None):
    """Mean over trials, steps and outputs of the squared error; with a mask (B, T), its weighted mean."""
    B, T, K = targets.shape
    mask = np.ones((B, T)) if mask is None else mask
    _, outputs = run(cell, activation, gate_bias, p, inputs)
    total, weight = 0.0, 0.0
    for b in range(B):
        for t in range(T):
            weight += mask[b, t]
            for k in range(K):
                total += mask[b, t] * (outputs[b, t, k] - targets[b, t, k]) ** 2
    return total / (K * weight)


# --- backward ---


def step_backward(cell, activation, gate_bias, p, h, x, dnext, dp):
    """Gradients of h (S,) and x (D,) from that of the next state (S,); adds the parameters' to `dp`."""
    if cell == "vanilla":
        a = h @ p["W_rec"] + x @ p["W_in"] + p["b"]
        da = dnext * phi_slope(activation, a)
        return affine_backward(p, h, x, da, dp)
    if cell == "ugrnn":
        a_c, a_g = np.split(h @ p["W_rec"] + x @ p["W_in"] + p["b"], 2)
        g, c = sigmoid(a_g + gate_bias), phi(activation, a_c)
        da_c = dnext * (1 - g) * phi_slope(activation, a_c)
        da_g = dnext * (h - c) * g * (1 - g)
        dh, dx = affine_backward(p, h, x, np.concatenate([da_c, da_g]), dp)
        return dh + dnext * g, dx
    if cell == "gru":
        return gru_backward(activation, gate_bias, p, h, x, dnext, dp)
    if cell == "lstm":
        h, memory = np.split(h, 2)
        dh_next, dmemory_next = np.split(dnext, 2)
        a_i, a_f, a_c, a_o = np.split(h @ p["W_rec"] + x @ p["W_in"] + p["b"], 4)
        i, f, o, c = sigmoid(a_i), sigmoid(a_f + gate_bias), sigmoid(a_o), phi(activation, a_c)
        memory_next = f * memory + i * c
        dmemory_next = dmemory_next + dh_next * o * phi_slope(activation, memory_next)
        da_i = dmemory_next * c * i * (1 - i)
        da_f = dmemory_next * memory * f * (1 - f)
        da_c = dmemory_next * i * phi_slope(activation, a_c)
        da_o = dh_next * phi(activation, memory_next) * o * (1 - o)
        dh, dx = affine_backward(p, h, x, np.concatenate([da_i, da_f, da_c, da_o]), dp)
        return np.concatenate([dh, dmemory_next * f]), dx
    if cell == "leaky":
        a = h @ p["W_rec"] + x @ p["W_in"] + p["b"]
        da = dnext * (1 - sigmoid(gate_bias)) * phi_slope(activation, a)
        dh, dx = affine_backward(p, h, x, da, dp)
        return dh + dnext * sigmoid(gate_bias), dx
    if cell == "current":
        h, current = np.split(h, 2)
        dh_next, dcurrent_next = np.split(dnext, 2)
        current = sigmoid(gate_bias) * current + (1 - sigmoid(gate_bias)) * (h @ p["W_rec"] + x @ p["W_in"] + p["b"])
        dcurrent_next = dcurrent_next + dh_next * phi_slope(activation, current)
        dh, dx = affine_backward(p, h, x, dcurrent_next * (1 - sigmoid(gate_bias)), dp)
        return np.concatenate([dh, dcurrent_next * sigmoid(gate_bias)]), dx
    raise ValueError(cell)


def affine_backward(p, h, x, da, dp):
    """`a = h @ W_rec + x @ W_in + b`: gradients of h and x; adds those of the three parameters to `dp`."""
    dp["W_rec"] += np.outer(h, da)
    dp["W_in"] += np.outer(x, da)
    dp["b"] += da
    return p["W_rec"] @ da, p["W_in"] @ da


def gru_backward(activation, gate_bias, p, h, x, dnext, dp):
    """The GRU's candidate has a product of its own, `(r * h) @ W_c`."""
    n = h.size
    W_g, W_r, W_c = np.split(p["W_rec"], 3, axis=1)
    in_g, in_r, in_c = np.split(x @ p["W_in"] + p["b"], 3)
    g, r = sigmoid(h @ W_g + in_g + gate_bias), sigmoid(h @ W_r + in_r)
    a_c = (r * h) @ W_c + in_c
    c = phi(activation, a_c)
    da_c = dnext * (1 - g) * phi_slope(activation, a_c)
    drh = W_c @ da_c
    da_g = dnext * (h - c) * g * (1 - g)
    da_r = drh * h * r * (1 - r)
    dp["W_rec"][:, :n] += np.outer(h, da_g)
    dp["W_rec"][:, n : 2 * n] += np.outer(h, da_r)
    dp["W_rec"][:, 2 * n :] += np.outer(r * h, da_c)
    da = np.concatenate([da_g, da_r, da_c])
    dp["W_in"] += np.outer(x, da)
    dp["b"] += da
    return dnext * g + drh * r + W_g @ da_g + W_r @ da_r, p["W_in"] @ da


def pull_back(cell, activation, gate_bias, p, inputs, doutputs):
    """Gradients of `sum(doutputs * outputs)`: of every parameter (a dict), and of the inputs (B, T, D)."""
    B, T, _ = inputs.shape
    n = p["W_out"].shape[0]
    states, _ = run(cell, activation, gate_bias, p, inputs)
    dp = {name: np.zeros(value.shape) for name, value in p.items()}
    dinputs = np.zeros(inputs.shape)
    for b in range(B):
        dh = np.zeros(p["h0"].size)
        for t in reversed(range(T)):
            dp["W_out"] += np.outer(states[b, t, :n], doutputs[b, t])
            dp["b_out"] += doutputs[b, t]
            dh[:n] += p["W_out"] @ doutputs[b, t]
            before = states[b, t - 1] if t > 0 else p["h0"]
            dh, dinputs[b, t] = step_backward(cell, activation, gate_bias, p, before, inputs[b, t], dh, dp)
        dp["h0"] += dh
    return dp, dinputs


def loss_and_gradients(cell, activation, gate_bias, p, inputs, targets, mask=None):
    """The loss, its gradient in every parameter (a dict), and in the inputs (B, T, D)."""
    B, T, K = targets.shape
    mask = np.ones((B, T)) if mask is None else mask
    _, outputs = run(cell, activation, gate_bias, p, inputs)
    doutputs = 2.0 * mask[:, :, None] * (outputs - targets) / (K * mask.sum())
    dp, dinputs = pull_back(cell, activation, gate_bias, p, inputs, doutputs)
    return loss(cell, activation, gate_bias, p, inputs, targets, mask), dp, dinputs


def jacobian(cell, activation, gate_bias, p, h, x):
    """J_state (S, S) and J_input (S, D) of the update, J[u, v] = dF_u / dh_v, by complex steps."""
    e = 1e-30
    J_state = np.zeros((h.size, h.size))
    J_input = np.zeros((h.size, x.size))
    for v in range(h.size):
        bumped = h.astype(complex)
        bumped[v] += 1j * e
        J_state[:, v] = step(cell, activation, gate_bias, p, bumped, x).imag / e
    for v in range(x.size):
        bumped = x.astype(complex)
        bumped[v] += 1j * e
        J_input[:, v] = step(cell, activation, gate_bias, p, h, bumped).imag / e
    return J_state, J_input


# --- training ---


def clipped(p, gradients, clip, l2):
    """The penalty's gradient `2 l2 p` added, then clipped by the norm over the whole network."""
    gradients = {name: gradients[name] + 2.0 * l2 * p[name] for name in p}
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    scale = 1.0 if norm <= clip else clip / norm
    return {name: scale * g for name, g in gradients.items()}


def update(p, velocity, gradients, iteration, learning_rate, decay, decay_steps, momentum, clip, l2):
    """One step of gradient descent with momentum: the new parameters and the new velocity, both dicts."""
    gradients = clipped(p, gradients, clip, l2)
    velocity = {name: momentum * velocity[name] + gradients[name] for name in p}
    rate = learning_rate * decay ** (iteration / decay_steps)
    return {name: p[name] - rate * velocity[name] for name in p}, velocity


def adam_update(p, velocity, squares, gradients, iteration, learning_rate, decay, decay_steps, momentum, clip, l2):
    """One step of Adam (Kingma and Ba 2015, algorithm 1): the new parameters, means and mean squares, all dicts."""
    beta1, beta2, epsilon, t = momentum, 0.999, 1e-8, iteration + 1
    gradients = clipped(p, gradients, clip, l2)
    velocity = {name: beta1 * velocity[name] + (1.0 - beta1) * gradients[name] for name in p}
    squares = {name: beta2 * squares[name] + (1.0 - beta2) * gradients[name] ** 2 for name in p}
    rate = learning_rate * decay ** (iteration / decay_steps)
    new = {}
    for name in p:
        mean, mean_square = velocity[name] / (1.0 - beta1**t), squares[name] / (1.0 - beta2**t)
        new[name] = p[name] - rate * mean / (np.sqrt(mean_square) + epsilon)
    return new, velocity, squares


def train(cell, activation, gate_bias, p, trials, iterations, decay_steps, method="sgd", **settings):
    """Parameters, velocity and squares (0 but with "adam"), and the loss before each iteration.

    `trials(it)` gives inputs, targets, mask.
    """
    velocity, squares = ({name: np.zeros_like(value) for name, value in p.items()} for _ in range(2))
    losses = []
    for iteration in range(iterations):
        value, gradients, _ = loss_and_gradients(cell, activation, gate_bias, p, *trials(iteration))
        losses.append(value)
        given = {"decay_steps": decay_steps} | settings
        if method == "sgd":
            p, velocity = update(p, velocity, gradients, iteration, **given)
        else:
            p, velocity, squares = adam_update(p, velocity, squares, gradients, iteration, **given)
    return p, velocity, squares, losses


# --- random numbers ---


def philox4x32(counter, key):
    """Philox4x32-10: four 32-bit words from a counter of four and a key of two.

    >>> [f"{word:08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (product1 >> 32) ^ c1 ^ k0,
            product1 & 0xFFFFFFFF,
            (product0 >> 32) ^ c3 ^ k1,
            product0 & 0xFFFFFFFF,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3
