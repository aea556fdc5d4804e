"""Whole iterations of one network, without returning to Python, by one thread or a team of threads."""

from __future__ import annotations

import numpy as np

from ...compiled import compiled, part
from ...tasks.task import call_trial
from .threads import ABANDONED, DIVERGED, STOPPED_AT, float_mode, meet
from .tiles import call_noise, call_operands, call_tile
from .workspace import place_trial, prepare_workspace, repeat_trial

TRAIN, GRADIENTS, EVALUATE = range(3)
LONGEST_SQUARED = 1e19  # norm of a gradient whose squares float32 holds; kernels/update.cu has it as well


@part
def pack(position, parameters, packed):
    """Parameters (M,) into their packed places; the rest zero."""
    packed[:] = np.float32(0.0)
    for j in range(position.shape[0]):
        packed[position[j]] = parameters[j]


@part
def unpack(position, packed, parameters):
    """Inverse of `pack`."""
    for j in range(position.shape[0]):
        parameters[j] = packed[position[j]]


@part
def prepare_weights(kind, layouts, mode, source, packed, transposed, operands):
    """What the products multiply with beside the packed weights: the recurrent weights transposed, or operands in bf16.

    In bf16x3 the way there needs some too.
    """
    if mode != EVALUATE or kind.operands:
        for j in range(source.shape[0]):
            transposed[j] = packed[source[j]]
    if kind.operands:
        call_operands(
            kind.operands, layouts.ctypes.data, packed.ctypes.data, transposed.ctypes.data, operands.ctypes.data
        )


@part
def load_tile(layout, task, key, purpose, iteration, first, settings, inputs, targets, mask, work):
    """One tile's trials, `first` and on, into the workspace.

    They are drawn by the function at address `task`, or come from the arrays if it is 0. Returns the sum of the mask.
    """
    T, D, K = layout.T, layout.D, layout.K
    at = layout.at_trial
    one_input = work[at : at + T * D].reshape(T, D)
    one_target = work[at + T * D : at + T * (D + K)].reshape(T, K)
    one_mask = work[at + T * (D + K) : at + T * (D + K + 1)]
    weight = 0.0
    for row in range(layout.rows):
        trial = first + row
        if trial >= layout.trials:
            repeat_trial(layout, work, row)
        elif task == 0:
            for t in range(T):  # numba's assignment of slices takes seconds to compile: it can say what does not fit
                for d in range(D):
                    one_input[t, d] = inputs[trial, t, d]
                for k in range(K):
                    one_target[t, k] = targets[trial, t, k]
                one_mask[t] = mask[trial, t]
            weight += place_trial(layout, work, row)
        else:
            one_input[:] = np.float32(0.0)
            one_target[:] = np.float32(0.0)
            one_mask[:] = np.float32(1.0)
            call_trial(
                task,
                key,
                np.uint64(purpose),
                np.uint64(iteration),
                np.uint64(trial),
                settings.ctypes.data,
                settings.shape[0],
                one_input.ctypes.data,
                one_target.ctypes.data,
                one_mask.ctypes.data,
                T,
                D,
                K,
            )
            weight += place_trial(layout, work, row)
    return weight


@part
def add_slices(layout, gradients, scale, l2, packed):
    """Gradient of the loss with its penalty into gradients[0]; returns its squared norm.

    Slices are added in order, so the bits are the same whoever computed them.
    """
    total = gradients[0]
    for s in range(1, layout.slices):
        part = gradients[s]
        for j in range(layout.packed_size):
            total[j] += part[j]
    factor, penalty = np.float32(scale), np.float32(2.0 * l2)
    for j in range(layout.packed_size):
        total[j] = factor * total[j] + penalty * packed[j]
    sums = np.zeros(16)
    for j in range(0, layout.packed_size, 16):
        for lane in range(16):
            g = np.float64(total[j + lane])
            sums[lane] += g * g
    return sums.sum()


@part
def momentum_step(layout, gradient, packed, velocity, shrink, momentum, learning_rate):
    """v = momentum v + shrink g; p -= learning_rate v."""
    shrink, momentum, learning_rate = np.float32(shrink), np.float32(momentum), np.float32(learning_rate)
    for j in range(layout.packed_size):
        v = momentum * velocity[j] + shrink * gradient[j]
        velocity[j] = v
        packed[j] -= learning_rate * v


@part
def adam_step(layout, gradient, packed, velocity, squares, shrink, momentum, learning_rate, constants, t):
    """A step of Adam, the `t`-th, with constants SQUARES_DECAY and EPSILON; see `optimizer`."""
    squares_decay, epsilon = constants
    kept, fresh = np.float32(momentum), np.float32(1.0 - momentum)
    kept_squares, fresh_squares = np.float32(squares_decay), np.float32(1.0 - squares_decay)
    rate = np.float32(learning_rate / (1.0 - momentum**t))
    unbiased = np.float32(1.0 / (1.0 - squares_decay**t))
    shrink, epsilon = np.float32(shrink), np.float32(epsilon)
    for j in range(layout.packed_size):
        g = shrink * gradient[j]
        v = kept * velocity[j] + fresh * g
        s = kept_squares * squares[j] + fresh_squares * (g * g)
        velocity[j], squares[j] = v, s
        packed[j] -= rate * v / (np.sqrt(unbiased * s) + epsilon)


@part
def run_slices(kind, layouts, mode, trials, iteration, noise, data, network, sums, work, rank, ranks):
    """One thread's slices of the batch: losses and, unless EVALUATE, partial gradients.

    sums (slices, 2) float64 takes the sum of mask * squared error and the sum of mask.
    """
    layout = layouts[0]
    noise_address, scale = noise
    task, key, purpose, settings = trials
    inputs, targets, mask, states, outputs = data
    packed, beside, gradients = network
    for s in range(rank, layout.slices, ranks):
        sums[s] = 0.0
        if mode != EVALUATE:
            gradients[s] = np.float32(0.0)
        for tile in range(s * layout.tiles // layout.slices, (s + 1) * layout.tiles // layout.slices):
            own, first = layouts[1:] if tile == layout.tiles - 1 else layouts[:1], tile * layout.rows
            sums[s, 1] += load_tile(own[0], task, key, purpose, iteration, first, settings, inputs, targets, mask, work)
            if noise_address:
                call_noise(noise_address, own.ctypes.data, key, iteration, first, scale, work.ctypes.data)
            call_tile(
                kind.tile,
                kind.stages,
                kind.gate_bias,
                own.ctypes.data,
                packed.ctypes.data,
                beside.ctypes.data,
                work.ctypes.data,
                gradients[s].ctypes.data,
                sums[s].ctypes.data,
                noise_address != 0,
                mode != EVALUATE,
            )
            if states.shape[0]:
                keep_states(own[0], work, first, states, outputs)


@part
def keep_states(layout, work, first, states, outputs):
    """States after each step (T, S) and outputs (T, K) of a tile's trials, `first` and on; targets 0, masks 1."""
    for row in range(layout.rows):
        trial = first + row
        if trial < layout.trials:
            for t in range(layout.T):
                h = layout.at_h + ((t + 1) * layout.rows + row) * layout.state_row
                cell = layout.at_cell + ((t + 1) * layout.rows + row) * layout.units
                for u in range(layout.n):
                    states[trial, t, u] = work[h + u]
                    if layout.cell_states:
                        states[trial, t, layout.n + u] = work[cell + u]
                for k in range(layout.K):
                    outputs[trial, t, k] = work[layout.at_error + (t * layout.rows + row) * layout.outputs + k]


@compiled
def run_network(
    kind, layouts, mode, trials, first, count, hyperparameters, noise, data, maps, parameters, velocity, squares,
    shared, losses, work, rank, ranks,
):  # fmt: skip
    """Run one network in one of three modes.

    TRAIN: iterations `first` .. `first` + `count` - 1, in place. GRADIENTS: the data term's gradient into gradients[0],
    packed. EVALUATE: the loss alone; states and outputs if `data` has room for them.

    One thread, or a team of `ranks` threads with the same arguments but for `rank` and `work`. A loss or gradient that
    is not finite, or with Adam has squares that are not, ends the work before the update, sets control[DIVERGED] and
    says in control[STOPPED_AT] which of the iterations it was. Where a thread can't go on, control[ABANDONED] is set
    from outside: the team ends at its next meeting and leaves the network as it was.

    kind : see `tiles.Kind`
    layouts : `layout.RECORD`s, of all tiles but the last and of the last one
    trials : address of the task's trial function (0: take them from `data`), key, purpose, settings
    hyperparameters : learning rate, decay, momentum, clip, l2, decay_steps, and Adam's two constants
    noise : address of what draws it (0: none), standard deviation of what is added to pre-activations
    data : inputs (B, T, D), targets (B, T, K), mask (B, T), states (B, T, S), outputs (B, T, K), or empty
    maps : see `layout.packing`
    parameters, velocity : (M,)
    squares : (M,) with Adam, (0,) without
    shared : packed parameters, velocity, squares, transposed weights, operands in bf16 (or empty), gradients
        (slices, packed_size), sums (slices, 2), control
    losses : float64 (count,)
    """
    layout = layouts[0]
    position, source = maps
    packed, packed_velocity, packed_squares, transposed, operands, gradients, sums, control = shared
    network = (packed, operands if kind.operands else transposed, gradients)
    learning_rate, decay, momentum, clip, l2, decay_steps, constants = hyperparameters
    adam = squares.shape[0] > 0
    meeting = 0
    mode_before = float_mode(-1)
    prepare_workspace(layout, work)
    if rank == 0:
        pack(position, parameters, packed)
        if mode == TRAIN:
            pack(position, velocity, packed_velocity)
            if adam:
                pack(position, squares, packed_squares)
        prepare_weights(kind, layouts, mode, source, packed, transposed, operands)
    for it in range(count):
        meeting += 1
        meet(control, meeting, ranks)
        if control[DIVERGED] or control[ABANDONED]:
            break
        run_slices(kind, layouts, mode, trials, first + it, noise, data, network, sums, work, rank, ranks)
        meeting += 1
        meet(control, meeting, ranks)
        if rank == 0:
            loss, weight = 0.0, 0.0
            for s in range(layout.slices):
                loss += sums[s, 0]
                weight += sums[s, 1]
            weight = weight * layout.K if weight > 0.0 else np.nan  # a batch that counts for nothing has no loss
            losses[it] = loss / weight
            if mode != EVALUATE:
                norm = np.sqrt(add_slices(layout, gradients, 2.0 / weight, l2, packed))
                if mode == TRAIN:
                    shrink = clip / norm if norm > clip else 1.0
                    too_long = adam and shrink * norm > LONGEST_SQUARED
                    if np.isfinite(losses[it]) and np.isfinite(norm) and not too_long:
                        rate = learning_rate * decay ** ((first + it) / decay_steps)
                        if adam:
                            state, t = (packed, packed_velocity, packed_squares), first + it + 1
                            adam_step(layout, gradients[0], *state, shrink, momentum, rate, constants, t)
                        else:
                            momentum_step(layout, gradients[0], packed, packed_velocity, shrink, momentum, rate)
                        prepare_weights(kind, layouts, mode, source, packed, transposed, operands)
                    else:
                        control[DIVERGED] = 1
                        control[STOPPED_AT] = it
    if rank == 0 and mode == TRAIN and not control[ABANDONED]:
        unpack(position, packed, parameters)
        unpack(position, packed_velocity, velocity)
        if adam:
            unpack(position, packed_squares, squares)
    float_mode(mode_before)
