"""`fastrnn merge`."""

from __future__ import annotations

from typing import Annotated

import typer

from .exits import SOME_FAILED
from .options import Debug, Json
from .printing import print_run


def merge(
    runs: Annotated[list[str], typer.Argument(help="Folders of the runs.", show_default=False)],
    out: Annotated[str | None, typer.Option(help="Folder of the result.  [default: runs/<task>]")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Put runs of one population together.

    Parts of a population that were trained on several machines, or runs of several cells, sizes, seeds ..., become one
    run. Nothing is trained; what is missing is said.

    \b
    Examples:
      fastrnn train-population --preset paper --part 1/2   # on a machine
      fastrnn train-population --preset paper --part 2/2   # on another
      fastrnn merge parts/flipflop/*                       # runs/flipflop
      fastrnn merge runs/vanilla runs/gru --out runs/both
    """
    from ..errors import Status
    from ..merging import merge_runs

    run = merge_runs(runs, out)
    incomplete = (run.table.status == Status.TRAINING.label).any()
    return print_run(run, as_json) or (SOME_FAILED if incomplete else 0)
