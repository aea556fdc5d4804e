"""`fastrnn info`."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import Debug, Json
from .printing import print_run


def info(
    run: Annotated[str, typer.Argument(help="Folder of the run.")], as_json: Json = False, debug: Debug = False
) -> int:
    """Losses by configuration, and what failed in a run and why.

    \b
    Examples:
      fastrnn info runs/flipflop
      fastrnn info runs/flipflop --json | jq .configurations
    """
    from ..runs import load_run

    print_run(load_run(run), as_json)
    return 0
