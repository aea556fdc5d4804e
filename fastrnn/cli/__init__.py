"""The command line: parse, call, print. Results on stdout, everything else on stderr."""

from __future__ import annotations

from typing import Annotated

import typer

from .analyze import analyze
from .bench import bench
from .exits import guarded
from .info import info
from .merge import merge
from .search import search
from .train_population import train_population

app = typer.Typer(
    name="fastrnn",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line."""
    app(prog_name="fastrnn")


@app.callback(invoke_without_command=True)
def fastrnn(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Train populations of small recurrent networks and compare their dynamics.

    \b
    fastrnn train-population --task flipflop    # 24 networks, minutes
    fastrnn info runs/flipflop                  # what came of them
    fastrnn analyze runs/flipflop               # what they have in common
    fastrnn search --task cdi                   # other hyperparameters
    fastrnn train-population --help             # all there is to choose
    """
    if version:
        from .. import __version__

        print(f"fastrnn {__version__}")


for function in (train_population, merge, search, info, analyze, bench):  # the order of the help
    app.command()(guarded(function))
