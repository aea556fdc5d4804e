"""What decides the distances of a population, and what comes out beside them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ...values import check_name, is_number
from .reduction import ResponseMark, check_components

METRICS = ("svcca", "pwcca", "cka", "procrustes")
PRECISIONS = {"double": np.float64, "single": np.float32}
DEFAULT_COMPONENTS = {"svcca": 0.95, "pwcca": 0.95, "cka": 1.0, "procrustes": 1.0}


class ResponseWarning(UserWarning):
    """Some responses are unusual: constant, or of a lower rank than the components asked for."""


@dataclass(frozen=True)
class Settings:
    """What decides the distances; validated once."""

    metric: str
    components: float | int
    coefficients: str
    debiased: bool
    tolerance: float
    rank_tolerance: float | None
    precision: str = "double"

    def __post_init__(self):
        check_name("metric", self.metric, METRICS)
        object.__setattr__(self, "components", check_components(self.components))
        if self.coefficients not in ("smaller", "larger"):
            raise UsageError(f"coefficients must be 'smaller' or 'larger'; it is {self.coefficients!r}")
        if self.coefficients == "larger" and self.metric != "svcca":
            raise UsageError(f"coefficients='larger' is for metric 'svcca'; the metric is {self.metric!r}")
        if self.debiased and self.metric != "cka":
            raise UsageError(f"debiased=True is for metric 'cka'; the metric is {self.metric!r}")
        if not (is_number(self.tolerance) and 0 <= self.tolerance < 1):
            raise UsageError(f"tolerance must be at least 0 and below 1; it is {self.tolerance!r}")
        share = self.rank_tolerance
        if share is not None and not (is_number(share) and 0 <= share < 1):
            raise UsageError(f"rank_tolerance must be None, or at least 0 and below 1; it is {share!r}")
        if self.precision not in tuple(PRECISIONS):
            raise UsageError(f"precision must be 'double' or 'single'; it is {self.precision!r}")

    @property
    def dtype(self):
        """Of what is multiplied."""
        return PRECISIONS[self.precision]


@dataclass(frozen=True)
class Distances:
    """Distances and how they came about.

    distances : (N, N) float64, symmetric, zero diagonal
    components : (N,) components kept of each response; units where CKA used the responses as they are
    marks : (N,) `ResponseMark` of each response, as integers
    settings : metric and options
    """

    distances: np.ndarray
    components: np.ndarray
    marks: np.ndarray
    settings: Settings


def warn(marks: np.ndarray, still: str = "constant") -> None:
    """One warning that names the unusual responses; `still` is what those are that don't vary."""
    for mark, what in (
        (ResponseMark.CONSTANT, f"{still} (at the distance of a similarity of 0 to every other)"),
        (ResponseMark.FEWER_COMPONENTS, "of a rank below the number of components (all of it was kept)"),
    ):
        found = np.flatnonzero(marks & mark)
        if len(found):
            names = ", ".join(str(i) for i in found[:10]) + (", ..." if len(found) > 10 else "")
            warnings.warn(f"{len(found)} of {len(marks)} responses are {what}: {names}", ResponseWarning, stacklevel=3)
