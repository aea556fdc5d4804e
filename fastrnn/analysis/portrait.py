"""A network's portrait: its trajectories, fixed points and the paths between them in three principal components."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .. import storage
from ..errors import RunError, UsageError
from ..networks import Networks
from ..shapes import check_finite, check_shape
from .completeness import PointStatus
from .points import FixedPoints

DIMENSIONS = 3
PATH_STATES = 32  # of a path, at most
TEXTS = ("id", "cell", "activation")


@dataclass(eq=False)
class Portrait:
    """What there is to draw of one network.

    Attributes
    ----------
    id, cell, activation : of the network
    inputs (B, T, D), targets (B, T, K), outputs (B, T, K) : trials, and what the network made of them
    trajectories : (B, T, 3) states, in the principal components of the states of all these trials
    share : (3,) of the states' variance in each component
    axes : (3, n) the components, of length 1; center : (n,) mean of the states
    held : (C, D) inputs held where points were searched
    points : (F, 3); condition : int (F,) index into `held`; readout : (F, K)
    speed : (F,) |F(h) - h| at the points; status : int8 (F,) of `PointStatus`: exact, degenerate, slow
    n_unstable : int (F,); eigenvalues : complex (F, S), largest magnitude first
    path_source, path_target : int (P,) indices into `points`, a target of -1 for elsewhere
    path_length : int (P,) states on each path; paths : (sum of path_length, 3) one path after another
    """

    id: str
    cell: str
    activation: str
    inputs: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray
    trajectories: np.ndarray
    share: np.ndarray
    axes: np.ndarray
    center: np.ndarray
    held: np.ndarray
    points: np.ndarray
    condition: np.ndarray
    readout: np.ndarray
    speed: np.ndarray
    status: np.ndarray
    n_unstable: np.ndarray
    eigenvalues: np.ndarray
    path_source: np.ndarray
    path_target: np.ndarray
    path_length: np.ndarray
    paths: np.ndarray

    @property
    def n(self) -> int:
        """Units of the network."""
        return self.axes.shape[1]

    @property
    def fixed(self) -> np.ndarray:
        """Which points are fixed, not only slow, bool (F,)."""
        return self.status != PointStatus.SLOW

    def each_path(self) -> list[tuple[int, int, np.ndarray]]:
        """Source, target and places (L, 3) of every path."""
        parts = np.split(self.paths, np.cumsum(self.path_length)[:-1]) if len(self.path_length) else []
        return list(zip(self.path_source.tolist(), self.path_target.tolist(), parts, strict=True))

    def save(self, path) -> None:
        """Write all of it, with a checksum."""
        arrays = {name: value for name, value in self.__dict__.items() if name not in TEXTS}
        arrays["eigenvalues"] = np.stack([self.eigenvalues.real, self.eigenvalues.imag], axis=-1)
        texts = {name: getattr(self, name) for name in TEXTS}
        storage.save_arrays(path, arrays, {"kind": type(self).__name__} | texts)

    @classmethod
    def load(cls, path) -> Portrait:
        """Read what `save` wrote; a damaged file raises `RunError`."""
        arrays, metadata = storage.load_arrays(path)
        if (
            metadata.pop("kind", None) != cls.__name__
            or {f.name for f in fields(cls)} != arrays.keys() | metadata.keys()
        ):
            raise RunError(f"{str(path)!r} holds no {cls.__name__}; run fastrnn analyze again to make it anew")
        values = arrays.pop("eigenvalues")
        return cls(**metadata, **arrays, eigenvalues=values[..., 0] + 1j * values[..., 1])


def portrait(
    networks: Networks, network: int, id: str, inputs, targets, points: FixedPoints | None = None, paths=()
) -> Portrait:
    """Run one network of a stack on some trials and see it, its fixed points and paths in its principal components.

    Components are those of the states of these trials; where there is more in a state, those of h, which the readout
    sees. With fewer than three units the last components are zero.

    Parameters
    ----------
    networks, network : the stack, and which of it
    id : the network's name
    inputs : (B, T, D); targets : (B, T, K)
    points : of the same stack, from `find_fixed_points`
    paths : (source, target, states (T, S)) with indices into `points`, from `heteroclinic_paths`

    Raises
    ------
    UsageError
        where shapes differ or a state on these trials is not finite

    >>> networks = Networks.initialize("gru", "tanh", n=8, D=3, K=2, keys=[1])
    >>> made = portrait(networks, 0, "one", np.ones((4, 10, 3)), np.zeros((4, 10, 2)))
    >>> made.trajectories.shape, made.share[0] > 0.5
    ((4, 10, 3), np.True_)
    """
    from .. import engines

    inputs = check_shape("inputs", inputs, ("B", "T", "D"), D=networks.D)
    targets = check_shape("targets", targets, ("B", "T", "K"), B=len(inputs), T=inputs.shape[1], K=networks.K)
    if points is not None and (len(points.search_status) != len(networks) or points.xstar.shape[1] != networks.S):
        raise UsageError(f"points must be those of these {len(networks)} networks with S = {networks.S}: {points!r}")
    states, outputs = engines.get("cpu").run(networks[network : network + 1], inputs)
    states = check_finite("states", states[0, ..., : networks.n].astype(np.float64))
    center, axes, share = principal_components(states.reshape(-1, networks.n))

    def place(h):
        return (np.asarray(h)[..., : networks.n] - center) @ axes.T

    at = np.array([], np.int64) if points is None else np.flatnonzero(points.network == network)
    ways = [way for way in paths if way[0] in set(at.tolist())]
    drawn = [_thinned(place(way)) for _, _, way in ways]
    return Portrait(
        id=id,
        cell=networks.cell,
        activation=networks.activation,
        inputs=inputs.astype(np.float32),
        targets=targets.astype(np.float32),
        outputs=outputs[0],
        trajectories=place(states),
        share=share,
        axes=axes,
        center=center,
        path_source=np.searchsorted(at, [source for source, _, _ in ways]).astype(np.int64),
        path_target=np.array([-1 if to < 0 else np.searchsorted(at, to) for _, to, _ in ways], np.int64),
        path_length=np.array([len(way) for way in drawn], np.int64),
        paths=np.concatenate([*drawn, np.zeros((0, DIMENSIONS))]),
        **_of_points(points, at, networks, place),
    )


def principal_components(X) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (n,), first three principal axes (3, n) and their shares of the variance (3,) of samples (M, n).

    An axis' largest entry is positive; axes and shares that there is no dimension for are zero.
    """
    center = X.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True).reshape(X.shape[1], -1))
    count = min(DIMENSIONS, X.shape[1])
    axes, share = np.zeros((DIMENSIONS, X.shape[1])), np.zeros(DIMENSIONS)
    axes[:count] = vectors[:, ::-1].T[:count]
    axes *= np.where(axes[np.arange(DIMENSIONS), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    share[:count] = np.maximum(values[::-1][:count], 0) / max(np.maximum(values, 0).sum(), 1e-300)
    return center, axes, share


def typical(rows, learnt) -> int:
    """Which of a group's networks to draw: that of the (lower) median validation loss among those that learnt.

    Where none learnt, among those with a finite loss; the first where none has.

    rows : DataFrame with `validation_loss`; learnt : bool (N,)
    """
    losses = rows.validation_loss.to_numpy(np.float64)
    learnt = np.asarray(learnt, bool)
    among = np.flatnonzero(learnt if learnt.any() else np.isfinite(losses))
    if not len(among):
        return 0
    return int(among[np.argsort(losses[among], kind="stable")[(len(among) - 1) // 2]])


def _of_points(points, at, networks, place) -> dict:
    """The fields that tell of the points `at`, whether there are any or not."""
    if points is None:
        numbers = {"n_unstable": np.zeros(0, np.int64), "condition": np.zeros(0, np.int64), "speed": np.zeros(0)}
        numbers |= {"status": np.zeros(0, np.int8), "eigenvalues": np.zeros((0, networks.S), complex)}
        places = {"points": np.zeros((0, DIMENSIONS)), "readout": np.zeros((0, networks.K))}
        return numbers | places | {"held": np.zeros((0, networks.D))}
    return {
        "held": points.inputs,
        "points": place(points.xstar[at]),
        "condition": points.condition[at],
        "readout": points.readout[at],
        "speed": np.sqrt(2 * points.qstar[at]),
        "status": points.status[at],
        "n_unstable": points.n_unstable[at],
        "eigenvalues": points.eigenvalues[at],
    }


def _thinned(path) -> np.ndarray:
    """States of a path (L, 3), evenly along its length, ends included."""
    if len(path) <= PATH_STATES:
        return path
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    keep = np.searchsorted(along, np.linspace(0, along[-1], PATH_STATES))
    keep[0], keep[-1] = 0, len(path) - 1
    return path[np.unique(np.minimum(keep, len(path) - 1))]
