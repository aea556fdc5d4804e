"""A run as one self-contained page, with its figures; an index over runs. Nothing is computed here."""

from .pages import index, page
from .writing import Report, write_index, write_report

__all__ = ["Report", "index", "page", "write_index", "write_report"]
