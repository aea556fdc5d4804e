"""What an engine is given, checked: the same words on every device."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError
from ..optimizer import ADAM
from ..shapes import as_float32, check_shape, real_array
from ..values import check_name

PRECISIONS = ("float32", "bf16x3")


def check_precision(precision: str) -> None:
    """`UsageError` unless it is a precision of the matrix products."""
    check_name("precision", precision, PRECISIONS)


def check_networks(networks, task, optimizer=None) -> None:
    """`UsageError` unless task and optimizer fit the networks."""
    if (networks.D, networks.K) != (task.D, task.K):
        raise UsageError(
            f"task {task.name!r} has {task.D} inputs and {task.K} outputs; "
            f"the networks have {networks.D} and {networks.K}: make networks with D={task.D}, K={task.K}"
        )
    if optimizer is not None:
        if len(optimizer) != len(networks):
            raise UsageError(f"the optimizer is for {len(optimizer)} networks; the stack holds {len(networks)}")
        check_shape("velocity", optimizer.velocity, ("N", "M"), N=len(networks), M=networks.count)
        if optimizer.method == ADAM:
            check_shape("squares", optimizer.squares, ("N", "M"), N=len(networks), M=networks.count)


def check_trials(networks, inputs, targets, mask):
    """Inputs (N, B, T, D), targets (N, B, T, K), mask (N, B, T), float32 and contiguous; no mask is a mask of ones."""
    N, D, K = len(networks), networks.D, networks.K
    inputs = check_shape("inputs", inputs, ("N", "B", "T", "D"), N=N, D=D)
    _, B, T, _ = _not_empty(inputs)
    targets = check_shape("targets", targets, ("N", "B", "T", "K"), N=N, B=B, T=T, K=K)
    mask = np.ones((N, B, T), np.float32) if mask is None else mask
    mask = check_shape("mask", mask, ("N", "B", "T"), N=N, B=B, T=T)
    if np.any(mask < 0) or not np.all(np.any(mask, axis=(1, 2))):
        raise UsageError("mask must be 0 or greater, and somewhere greater than 0 for each network")
    named = {"inputs": inputs, "targets": targets, "mask": mask}
    return tuple(as_float32(name, array) for name, array in named.items())


def check_run_inputs(networks, inputs) -> np.ndarray:
    """Inputs of a rollout as (N, B, T, D), float32 and contiguous, from those or (B, T, D)."""
    inputs = real_array("inputs", inputs)
    if inputs.ndim == 3:
        inputs = np.broadcast_to(inputs, (len(networks), *inputs.shape))
    inputs = check_shape("inputs", inputs, ("N", "B", "T", "D"), N=len(networks), D=networks.D)
    inputs = as_float32("inputs", inputs)
    _not_empty(inputs)
    return inputs


def check_points(networks, states, inputs):
    """States (N, M, S) and inputs (N, M, D), the latter from those or (M, D), float64."""
    states = check_shape("states", states, ("N", "M", "S"), N=len(networks), S=networks.S).astype(
        np.float64, copy=False
    )
    inputs = real_array("inputs", inputs).astype(np.float64, copy=False)
    if inputs.ndim == 2:
        inputs = np.broadcast_to(inputs, (len(networks), *inputs.shape))
    inputs = check_shape("inputs", inputs, ("N", "M", "D"), N=len(networks), M=states.shape[1], D=networks.D)
    return states, inputs


def _not_empty(inputs) -> tuple[int, ...]:
    """Shape of inputs (N, B, T, D), none of them 0."""
    if 0 in inputs.shape:
        raise UsageError(f"inputs must hold at least one trial and one step; their shape is {inputs.shape}")
    return inputs.shape
