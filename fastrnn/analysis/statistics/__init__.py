"""What distances between networks say about the factors that networks differ in."""

from .dispersion import Dispersion, dispersion
from .neighbours import NeighbourAccuracy, neighbour_accuracy
from .permanova import permanova
from .summary import Statistics, statistics
from .within import WithinBetween, within_and_between

__all__ = [
    "Dispersion",
    "NeighbourAccuracy",
    "Statistics",
    "WithinBetween",
    "dispersion",
    "neighbour_accuracy",
    "permanova",
    "statistics",
    "within_and_between",
]
