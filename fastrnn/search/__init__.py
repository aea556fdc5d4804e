"""Search of hyperparameters: many draws of each configuration train side by side, as a population of their own."""

from .results import SearchResult, load_search
from .search import search_hyperparameters
from .spec import SearchSpec

__all__ = ["SearchResult", "SearchSpec", "load_search", "search_hyperparameters"]
