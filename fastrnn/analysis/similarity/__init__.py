"""Similarity of the responses of networks: single pairs, and all pairs of a population."""

from .canonical import canonical_correlations, cka, svcca
from .distances import pairwise_distances
from .reduction import ResponseMark
from .settings import METRICS, Distances, ResponseWarning

__all__ = [
    "METRICS",
    "Distances",
    "ResponseMark",
    "ResponseWarning",
    "canonical_correlations",
    "cka",
    "pairwise_distances",
    "svcca",
]
