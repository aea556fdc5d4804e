"""The dynamics near points, to first order: dh' = J dh + B dx, and the modes of J."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import RunError, UsageError
from ..shapes import check_finite, check_shape, real_array
from .eigen import count_unstable, magnitude_order
from .maps import check_source, maps_of
from .points import FixedPoints, check_fixed
from .results import Saved
from .threads import team

DEFECTIVE = 1e10  # condition number of the eigenvectors from which a Jacobian counts as defective
SAME_TRACE = 1e-9  # relative, of Jacobians computed again, maybe on another processor
AT_ONCE = 8  # Jacobians in one piece of work


@dataclass(eq=False)
class Linearization(Saved):
    """Jacobians and their modes at F points.

    Saved are only arrays of a size of F S; `Linearization.load(path, networks)` computes the others again.

    Attributes
    ----------
    network : int (F,); states : (F, S); inputs : (F, D)
    jacobian : J (F, S, S), J[u, v] = dF_u / dh_v; input_jacobian : B (F, S, D)
    eigenvalues : complex (F, S), largest magnitude first
    right : complex R (F, S, S), right eigenvectors as columns, of length 1
    left : complex L (F, S, S), left eigenvectors as rows, L R = I; NaN where R is singular
    n_unstable : int (F,) eigenvalues of magnitude above 1
    time_constants : (F, S) steps in which a mode falls to 1/e, -1 / ln |eigenvalue|; negative where it grows,
        infinite where it stays
    frequencies : (F, S) cycles a step, |angle of the eigenvalue| / 2 pi
    conditioning : (F,) condition number of R (2-norm): how much the modes amplify rounding
    defective : bool (F,) eigenvectors that do not span, up to rounding: modes are not to be trusted
    marginal : bool (F,) an eigenvalue's magnitude within `margin` of 1: stability is undecided to first order
    """

    network: np.ndarray
    states: np.ndarray
    inputs: np.ndarray
    jacobian: np.ndarray
    input_jacobian: np.ndarray
    eigenvalues: np.ndarray
    right: np.ndarray
    left: np.ndarray
    n_unstable: np.ndarray
    time_constants: np.ndarray
    frequencies: np.ndarray
    conditioning: np.ndarray
    defective: np.ndarray
    marginal: np.ndarray

    recomputed = frozenset({"jacobian", "input_jacobian", "right", "left"})

    def __len__(self) -> int:
        return len(self.network)

    def __repr__(self) -> str:
        return f"<linearization at {len(self)} points, {self.states.shape[1]} modes each>"

    @property
    def table(self):
        """A pandas DataFrame, one row a point, with its slowest mode."""
        import pandas

        columns = {"network": self.network, "n_unstable": self.n_unstable}
        columns["largest_eigenvalue"] = np.abs(self.eigenvalues[:, 0])
        columns |= {"time_constant": self.time_constants[:, 0], "frequency": self.frequencies[:, 0]}
        columns |= {name: getattr(self, name) for name in ("conditioning", "defective", "marginal")}
        return pandas.DataFrame(columns)

    @classmethod
    def load(cls, path, networks, *, threads=None) -> Linearization:
        """Read what `save` wrote of these networks, and compute Jacobians and eigenvectors again.

        `RunError` for a damaged file, and where the eigenvalues stored are not those of these networks.
        """
        stored = cls._stored(path)
        again = linearize(networks, stored["states"], stored["inputs"], network=stored["network"], threads=threads)
        scale = 1.0 + np.abs(stored["eigenvalues"]).sum(axis=1)
        trace = np.trace(again.jacobian, axis1=1, axis2=2)  # unlike single eigenvalues, well conditioned
        if not (np.abs(stored["eigenvalues"].sum(axis=1) - trace) <= SAME_TRACE * scale).all():
            raise RunError(
                f"{str(path)!r} was not made from these networks: its eigenvalues are others; give the stack it is of"
            )
        return replace(again, marginal=stored["marginal"])  # the margin of then


def linearize(networks, points, inputs=None, *, network=0, at=None, margin=1e-6, threads=None) -> Linearization:
    """Linearise the update at points, fixed or not.

    Parameters
    ----------
    networks : Networks or an `UpdateFunction`
    points : the `FixedPoints` of these networks, or states (F, S)
    inputs : with states, (D,) or (F, D): the inputs held there
    network : with states, whose they are: an index or (F,)
    at : with `FixedPoints`, indices (or a mask) of the points wanted; default all
    margin : how near to 1 a magnitude is marginal
    threads : default all processors

    Returns
    -------
    Linearization
        F S^2 numbers several times over: ask for what is needed and let go of it

    >>> spiral = 0.9 * np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> from fastrnn.analysis.maps import UpdateFunction
    >>> turning = UpdateFunction(lambda h, x: h @ spiral.T, lambda h, x: np.tile(spiral, (len(h), 1, 1)), S=2)
    >>> modes = linearize(turning, np.zeros((1, 2)), np.zeros(0))
    >>> modes.frequencies.round(3), modes.time_constants.round(2), modes.n_unstable
    (array([[0.25, 0.25]]), array([[9.49, 9.49]]), array([0]))
    """
    check_source(networks)
    network, states, inputs = _places(networks, points, inputs, network, at)
    make, jobs = maps_of(networks), []
    for i, x in dict.fromkeys((int(i), x.tobytes()) for i, x in zip(network, inputs, strict=True)):
        mine = np.flatnonzero((network == i) & np.array([row.tobytes() == x for row in inputs]))
        held = make(i, np.frombuffer(x))
        jobs += [(held, mine[start : start + AT_ONCE]) for start in range(0, len(mine), AT_ONCE)]
    F, S, D = len(states), networks.S, networks.D
    jacobian, input_jacobian = np.empty((F, S, S)), np.empty((F, S, D))
    eigenvalues, conditioning = np.empty((F, S), complex), np.empty(F)
    right, left = np.empty((F, S, S), complex), np.empty((F, S, S), complex)

    def work(job):
        held, rows = job
        jacobian[rows], input_jacobian[rows] = held.jacobians(states[rows])
        eigenvalues[rows], right[rows], left[rows], conditioning[rows] = modes_of(jacobian[rows])

    with team(threads) as workers:
        workers.each(work, jobs)
    magnitude = np.abs(eigenvalues)
    with np.errstate(divide="ignore"):
        time_constants = np.where(magnitude == 1.0, np.inf, -1.0 / np.log(magnitude))
    return Linearization(
        network=network,
        states=states,
        inputs=inputs,
        jacobian=jacobian,
        input_jacobian=input_jacobian,
        eigenvalues=eigenvalues,
        right=right,
        left=left,
        n_unstable=count_unstable(eigenvalues),
        time_constants=time_constants + 0.0,
        frequencies=np.abs(np.angle(eigenvalues)) / (2 * np.pi),
        conditioning=conditioning,
        defective=~(conditioning < DEFECTIVE),
        marginal=(np.abs(magnitude - 1.0) < margin).any(axis=1),
    )


def modes_of(J) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (F, S), R (F, S, S), L (F, S, S) and condition number of R (F,) of Jacobians (F, S, S).

    NaN where J is not finite: one such network of a stack leaves the others alone.
    """
    finite = np.isfinite(J).all(axis=(1, 2))
    if not finite.all():
        parts = modes_of(J[finite]) if finite.any() else ()
        shapes = (J.shape[:2], J.shape, J.shape, J.shape[:1])
        whole = [np.full(shape, np.nan, kind) for shape, kind in zip(shapes, (complex,) * 3 + (float,), strict=True)]
        for array, part in zip(whole, parts, strict=False):
            array[finite] = part
        return tuple(whole)
    values, right = (part.astype(complex) for part in np.linalg.eig(J))
    order = magnitude_order(values)
    values = np.take_along_axis(values, order, axis=1)
    right = np.take_along_axis(right, order[:, None, :], axis=2)
    singular = np.linalg.svd(right, compute_uv=False)
    conditioning = singular[:, 0] / singular[:, -1]
    left = np.full_like(right, np.nan)
    for f in range(len(J)):
        try:
            left[f] = np.linalg.inv(right[f])
        except np.linalg.LinAlgError:
            conditioning[f] = np.inf
    return values, right, left, conditioning


def _places(networks, points, inputs, network, at):
    """Network (F,), state (F, S) and input (F, D) of every point."""
    if isinstance(points, FixedPoints):
        if inputs is not None:
            raise UsageError("fixed points hold their own inputs; leave inputs out")
        at = _indices(at, len(points))
        network, states, inputs = points.network[at], points.xstar[at], points.inputs[points.condition[at]]
    else:
        if inputs is None or at is not None:
            raise UsageError("states need inputs, (D,) or (F, D), and no `at`; pass the states wanted")
        states = np.atleast_2d(real_array("points", points).astype(np.float64))
        inputs = real_array("inputs", inputs).astype(np.float64)
        inputs = np.broadcast_to(inputs, (len(states), *inputs.shape)) if inputs.ndim == 1 else inputs
        network = np.broadcast_to(np.asarray(network), (len(states),))
    check_finite("points", check_shape("points", states, ("F", "S"), S=networks.S))
    check_finite("inputs", check_shape("inputs", inputs, ("F", "D"), F=len(states), D=networks.D))
    if len(network) and not (0 <= network.min() and network.max() < len(networks)):
        raise UsageError(f"network must be from 0 to {len(networks) - 1}; it is {network.min()} to {network.max()}")
    if isinstance(points, FixedPoints):
        check_fixed(maps_of(networks), points, at)
    return np.array(network), np.array(states), np.array(inputs)


def _indices(at, F: int) -> np.ndarray:
    """Indices of the points wanted, from those, a mask or None for all."""
    at = np.arange(F) if at is None else np.atleast_1d(np.asarray(at))
    if at.dtype == bool and at.shape == (F,):
        return np.flatnonzero(at)
    if at.ndim != 1 or (len(at) and at.dtype.kind not in "iu") or not ((0 <= at) & (at < F)).all():
        raise UsageError(f"at must be indices from 0 to {F - 1}, or a mask of all {F} points; it is {at.tolist()!r}")
    return at.astype(np.int64)
