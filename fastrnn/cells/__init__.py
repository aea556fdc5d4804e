"""The cells. One file a cell says its mathematics once; everything else is generic over cells.

`CELLS` maps names to `Cell`s; `parameter_shapes` is the one table of parameter names, shapes and order.
"""

from __future__ import annotations

from ..values import check_name
from .cell import ACTIVATIONS, ArrayMath, Cell
from .current import CURRENT
from .gru import GRU
from .leaky import LEAKY
from .lstm import LSTM
from .ugrnn import UGRNN
from .vanilla import VANILLA

__all__ = [
    "ACTIVATIONS",
    "CELLS",
    "LEAKY_CELLS",
    "PAPER_CELLS",
    "ArrayMath",
    "Cell",
    "any_leaks",
    "check_kind",
    "get_cell",
    "parameter_shapes",
]

CELLS: dict[str, Cell] = {cell.name: cell for cell in (VANILLA, UGRNN, GRU, LSTM, LEAKY, CURRENT)}
PAPER_CELLS = ("vanilla", "ugrnn", "gru", "lstm")
LEAKY_CELLS = tuple(name for name, cell in CELLS.items() if cell.leaks)


def get_cell(name: str) -> Cell:
    """The cell of that name.

    >>> get_cell("gru").blocks
    ('g', 'r', 'c')
    """
    check_name("cell", name, CELLS)
    return CELLS[name]


def any_leaks(names) -> bool:
    """Whether there are leaky cells among some names.

    >>> any_leaks(["gru", "leaky"]), any_leaks(["gru"])
    (True, False)
    """
    return any(name in LEAKY_CELLS for name in names)


def check_kind(cell: str, activation: str) -> None:
    """`UsageError` unless both names are known."""
    get_cell(cell)
    check_name("activation", activation, ACTIVATIONS)


def parameter_shapes(cell: str, n: int, D: int, K: int) -> dict[str, tuple[int, ...]]:
    """Names, shapes and order of one network's parameters.

    >>> parameter_shapes("lstm", n=2, D=3, K=1)
    {'W_rec': (2, 8), 'W_in': (3, 8), 'b': (8,), 'W_out': (2, 1), 'b_out': (1,), 'h0': (4,)}
    """
    c = get_cell(cell)
    columns = c.gates * n
    return {
        "W_rec": (n, columns),
        "W_in": (D, columns),
        "b": (columns,),
        "W_out": (n, K),
        "b_out": (K,),
        "h0": (c.state_multiple * n,),
    }
