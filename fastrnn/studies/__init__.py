"""The paper's studies: from the networks of a run to the numbers behind its figures and claims."""

from .cdi import CdiStudy
from .claims import Claims
from .flipflop import FlipflopStudy
from .kept import Kept, load_analysis
from .selection import Selection
from .sine import SineStudy
from .topology import Topology
from .untrained import UntrainedStudy

__all__ = [
    "CdiStudy",
    "Claims",
    "FlipflopStudy",
    "Kept",
    "Selection",
    "SineStudy",
    "Topology",
    "UntrainedStudy",
    "load_analysis",
]
