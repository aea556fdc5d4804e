"""What the analyses need of a network: its update under a held input as a map of states, with Jacobians.

`Networks` and a user's `UpdateFunction` look the same from here on. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..cells import get_cell
from ..errors import UsageError
from ..networks import Networks
from ..shapes import check_finite, check_shape, real_array

KINK = 1e-10  # as near, relative to 1 + |h|, a state is on a kink of relu: fixed points are known as well as that


@dataclass(frozen=True)
class Map:
    """h -> F(h, x) of one network under one held input x.

    step : states (M, S) -> (M, S)
    jacobian : states (M, S) -> J (M, S, S), J[u, v] = dF_u / dh_v, the caller's to change
    jacobians : states (M, S) -> J and dF_u / dx_v (M, S, D)
    readout : states (M, S) -> outputs (M, K)
    ball : whether F maps a ball into itself, so that the index theorem holds
    limit : (S,) or a number, all fixed points have |h_u| <= limit_u and a search stays inside: far beyond it a gated
        cell keeps any state, its gate being 1 to rounding
    solver : () -> the compiled methods, an `engines.cpu.solver.Solver`; None where there are none
    kinked : states (M, S) -> bool (M,), on a kink of relu to rounding, where the Jacobian is that of one side; None
        where there are no kinks, or none are known of
    """

    S: int
    step: Callable
    jacobian: Callable
    jacobians: Callable
    readout: Callable
    ball: bool
    limit: np.ndarray | float = np.inf
    solver: Callable | None = None
    kinked: Callable | None = None

    def inside(self, h) -> np.ndarray:
        """States h (M, S), the parts beyond the limit moved onto it."""
        return np.clip(h, -self.limit, self.limit)


@dataclass(frozen=True, eq=False)
class UpdateFunction:
    """A user's own map, to be given in place of `Networks`.

    Where it has kinks is not known: a fixed point on one is not marked, and its eigenvalues are those of the Jacobian
    that was given for it.

    Parameters
    ----------
    step : function(h (M, S), x (D,)) -> next states (M, S), float64
    jacobian : function(h (M, S), x (D,)) -> (M, S, S), J[u, v] = dF_u / dh_v
    S, D : sizes of state and input
    input_jacobian : function(h, x) -> (M, S, D); without it, linearisations have no input Jacobian (NaN)
    readout : function(h) -> (M, K); default the state itself
    ball : True if the map sends some ball into itself: only then can the index sum prove that a point is missing
    limit : number or (S,), where it is known that no fixed point has |h_u| > limit_u: a search stays inside,
        and moves starts there

    >>> halve = UpdateFunction(lambda h, x: h / 2 + x, lambda h, x: np.tile(np.eye(2) / 2, (len(h), 1, 1)), S=2, D=2)
    >>> maps_of(halve)(0, np.ones(2)).step(np.zeros((1, 2)))
    array([[1., 1.]])
    """

    step: Callable
    jacobian: Callable
    S: int
    D: int = 0
    input_jacobian: Callable | None = None
    readout: Callable | None = None
    ball: bool = False
    limit: np.ndarray | float = np.inf

    def __len__(self) -> int:
        return 1

    def map(self, x) -> Map:
        """The map under input x (D,)."""

        def jacobians(h):
            by_input = np.full((len(h), self.S, self.D), np.nan)
            if self.input_jacobian is not None:
                by_input = np.asarray(self.input_jacobian(h, x), np.float64)
            return np.array(self.jacobian(h, x), np.float64), by_input

        return Map(
            self.S,
            lambda h: np.asarray(self.step(h, x), np.float64),
            lambda h: np.array(self.jacobian(h, x), np.float64),
            jacobians,
            self.readout or (lambda h: h),
            self.ball,
            np.asarray(self.limit, np.float64),
        )


def check_source(source) -> None:
    """`UsageError` unless `source` is a stack of finite weights or an update function whose shapes are right."""
    if isinstance(source, Networks):
        bad = np.flatnonzero(~np.isfinite(source.parameters).all(axis=1))
        if len(bad):
            raise UsageError(
                f"the weights of network {bad[0]} are not finite ({len(bad)} of {len(source)} networks); "
                "leave them out: networks[np.isfinite(networks.parameters).all(axis=1)]"
            )
    elif isinstance(source, UpdateFunction):
        h, x = np.zeros((2, source.S)), np.zeros(source.D)
        check_shape("what step returns", source.step(h, x), ("M", "S"), M=2, S=source.S)
        check_shape("what jacobian returns", source.jacobian(h, x), ("M", "S", "S"), M=2, S=source.S)
        limit = real_array("limit", source.limit)
        if limit.shape not in ((), (source.S,)) or not (limit > 0).all():
            raise UsageError(f"limit must be positive, a number or ({source.S},); it is {source.limit!r}")
    else:
        raise UsageError(f"networks must be a Networks or an UpdateFunction; it is {type(source).__name__}")


def maps_of(source) -> Callable[[int, np.ndarray], Map]:
    """A function of (network i, input x (D,)) that gives the `Map`; the weights are widened once a network."""
    if isinstance(source, UpdateFunction):
        return lambda i, x: source.map(x)
    widened: dict[int, dict] = {}

    def make(i, x):
        if i not in widened:
            widened.clear()
            widened[i] = source.in_float64(i)
        return network_map(source, widened[i], x)

    return make


def network_map(networks: Networks, parameters: dict, x) -> Map:
    """The map of one network with `parameters` in float64 under input x (D,)."""
    cell, n = get_cell(networks.cell), networks.n
    kind = (parameters, networks.activation, networks.gate_bias)
    limit = np.full(networks.S, np.inf)
    if networks.activation == "tanh":
        limit[:n] = 1.0  # h is tanh of something, a mean of such values, or less; what is beside it has no such limit

    @cache
    def solver():
        from ..engines.cpu.solver import Solver

        return Solver(networks.cell, networks.activation, networks.gate_bias, parameters, x, limit)

    block = cell.blocks.index("h" if "h" in cell.blocks else "c")
    norms = np.linalg.norm(parameters["W_rec"][:, block * n : (block + 1) * n], axis=0)

    def kinked(h):
        # phi(cell) of an LSTM has a kink too, but cells that come to 0 do so by themselves: no eigenvalue hangs on it.
        # That of current cells is at x = 0, and x is a_c where it does not move.
        a = cell.values(*kind, h, x)[f"a_{cell.blocks[block]}"]
        return (np.abs(a) < KINK * (1.0 + np.linalg.norm(h, axis=1))[:, None] * norms).any(axis=1)

    return Map(
        networks.S,
        lambda h: cell.step(*kind, h, x),
        lambda h: cell.jacobian(*kind, h, x)[0],
        lambda h: cell.jacobian(*kind, h, x),
        lambda h: h[..., :n] @ parameters["W_out"] + parameters["b_out"],
        networks.activation == "tanh",
        limit,
        solver=solver,
        kinked=kinked if networks.activation == "relu" else None,
    )


def check_inputs(source, inputs) -> np.ndarray:
    """Held inputs as (conditions, D), from (D,) or (conditions, D)."""
    inputs = np.asarray(inputs, np.float64)
    if inputs.ndim == 1:
        inputs = inputs[None]
    return check_finite("inputs", check_shape("inputs", inputs, ("conditions", "D"), D=source.D))
