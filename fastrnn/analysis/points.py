"""The result of a search: plain arrays, a table, and files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .completeness import PointStatus, SearchStatus
from .results import Saved

FIXED = 1e-6  # relative to 1 + |h|, how far a fixed point may move when looked at again, maybe on another processor


@dataclass(eq=False)
class FixedPoints(Saved):
    """F points of N networks under C held inputs, and what the search says of itself.

    Attributes
    ----------
    inputs : (C, D) the held inputs
    network, condition : int (F,) whose point it is: index into the stack, index into `inputs`
    xstar : (F, S) the state; readout : (F, K) the output there
    qstar : (F,) half the squared speed, |F(h) - h|^2 / 2
    status : int8 (F,) of `PointStatus`: exact, degenerate, slow
    eigenvalues : complex (F, S) of the Jacobian, largest magnitude first
    n_unstable : int (F,) eigenvalues of magnitude above 1; of degenerate points on a kink of relu they don't tell
        whether it is stable
    index_sign : int8 (F,) sign of det(I - J); 0 where it has none (slow, degenerate)
    conditioning : (F,) 1-norm condition number of I - J
    outlier : bool (F,) far from all states that the network visits
    hits : int (F,) independent starts that ended there
    index_sum : int (N, C) sum of `index_sign`; search_status : int8 (N, C) of `SearchStatus`
    seen_once : int (N, C) exact points with a single hit; unseen_mass : (N, C) Good-Turing estimate of what is left
    starts : int (N, C) independent starts spent; spread : (N,) of the visited states
    candidate_network, candidate_condition, candidate_origin, candidate_iterations, candidate_q, candidate_point :
        (M,) one entry a start, in order; `candidate_point` is an index into the points, -1 for not converged;
        origins are those of `starts.Origin`
    unconverged : (U, S) where the candidates that did not converge were left, in their order
    """

    inputs: np.ndarray
    network: np.ndarray
    condition: np.ndarray
    xstar: np.ndarray
    readout: np.ndarray
    qstar: np.ndarray
    status: np.ndarray
    eigenvalues: np.ndarray
    n_unstable: np.ndarray
    index_sign: np.ndarray
    conditioning: np.ndarray
    outlier: np.ndarray
    hits: np.ndarray
    index_sum: np.ndarray
    search_status: np.ndarray
    seen_once: np.ndarray
    unseen_mass: np.ndarray
    starts: np.ndarray
    spread: np.ndarray
    candidate_network: np.ndarray
    candidate_condition: np.ndarray
    candidate_origin: np.ndarray
    candidate_iterations: np.ndarray
    candidate_q: np.ndarray
    candidate_point: np.ndarray
    unconverged: np.ndarray

    def __len__(self) -> int:
        return len(self.network)

    def __repr__(self) -> str:
        N, C = self.search_status.shape
        return f"<{len(self)} fixed points of {N} networks under {C} inputs>"

    def of(self, network: int, condition: int = 0) -> np.ndarray:
        """Indices of the points of one network under one input."""
        return np.flatnonzero((self.network == network) & (self.condition == condition))

    def fixed(self, network: int, condition: int = 0) -> np.ndarray:
        """The same without slow points: exact and degenerate ones."""
        at = self.of(network, condition)
        return at[self.status[at] != PointStatus.SLOW]

    def near(self, network: int, condition: int = 0) -> np.ndarray:
        """Those of `fixed` that are no outliers; networks with relu have others where they never go."""
        at = self.fixed(network, condition)
        return at[~self.outlier[at]]

    @property
    def table(self):
        """A pandas DataFrame, one row a point; the states stay in `xstar`."""
        import pandas

        columns = {"network": self.network, "condition": self.condition}
        columns["status"] = [PointStatus(s).label for s in self.status]
        columns |= {"n_unstable": self.n_unstable, "index_sign": self.index_sign, "q": self.qstar}
        columns["largest_eigenvalue"] = np.abs(self.eigenvalues[:, 0])
        columns |= {"conditioning": self.conditioning, "outlier": self.outlier, "hits": self.hits}
        columns |= {f"readout_{k}": self.readout[:, k] for k in range(self.readout.shape[1])}
        return pandas.DataFrame(columns)

    @property
    def summary(self):
        """A pandas DataFrame, one row a network and input: the search's status and how many points of each kind."""
        import pandas

        rows = []
        for i, c in np.ndindex(self.search_status.shape):
            at = self.of(i, c)
            exact = at[self.status[at] == PointStatus.EXACT]
            unstable = np.bincount(self.n_unstable[exact], minlength=1)
            row = {"network": i, "condition": c, "search_status": SearchStatus(self.search_status[i, c]).label}
            row |= {status.label: int((self.status[at] == status).sum()) for status in PointStatus}
            row |= {"by_unstable": " ".join(f"{d}:{k}" for d, k in enumerate(unstable) if k)}
            for name in ("index_sum", "seen_once", "unseen_mass", "starts"):
                row[name] = getattr(self, name)[i, c]
            mine = (self.candidate_network == i) & (self.candidate_condition == c)
            rows.append(row | {"unconverged": int((mine & (self.candidate_point < 0)).sum())})
        return pandas.DataFrame(rows)


def check_fixed(make, points: FixedPoints, at) -> None:
    """`UsageError` unless the exact ones of the points `at` are fixed under the maps of `make`, from `maps_of`."""
    at = at[points.status[at] == PointStatus.EXACT]
    for i, c in sorted(set(zip(points.network[at].tolist(), points.condition[at].tolist(), strict=True))):
        mine = at[(points.network[at] == i) & (points.condition[at] == c)]
        h = points.xstar[mine]
        speed = np.linalg.norm(make(i, points.inputs[c]).step(h) - h, axis=1)
        known = np.sqrt(2 * points.qstar[mine])
        moves = np.flatnonzero(~(speed <= 2 * known + FIXED * (1 + np.linalg.norm(h, axis=1))))
        if len(moves):
            raise UsageError(
                f"points must be those of these networks: network {i} moves by {speed[moves[0]]:.3g} at point "
                f"{mine[moves[0]]}, which was found to be fixed; give the stack that was searched"
            )
