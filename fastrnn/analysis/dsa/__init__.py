"""Dynamical similarity analysis: linear maps fitted to trajectories, compared up to orthogonal alignment."""

from .distances import DELAYS, DynamicalDistances, dynamical_distances
from .operators import Operator, fit_operator

__all__ = ["DELAYS", "DynamicalDistances", "Operator", "dynamical_distances", "fit_operator"]
