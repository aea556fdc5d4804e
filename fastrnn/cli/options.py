"""Options that several commands have, and what their texts mean."""

from __future__ import annotations

from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# which networks, and how they train
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="flipflop, cdi, sine, or your own as path/to/file.py:name.  [default: flipflop]"),
]
SpecFile = Annotated[
    str | None, typer.Option("--spec", help="TOML file with any of these settings; options go before it.")
]
Cells = Annotated[
    str | None, typer.Option(help="Any of vanilla,ugrnn,gru,lstm,leaky,current.  [default: vanilla,ugrnn,gru,lstm]")
]
Activations = Annotated[str | None, typer.Option(help="Any of tanh,relu.  [default: all]")]
Sizes = Annotated[str | None, typer.Option(help="Numbers of units, such as 64,128.  [default: the preset's]")]
L2 = Annotated[
    str | None,
    typer.Option("--l2", help="Weights of the squared parameters, such as 1e-5,1e-3.  [default: the preset's]"),
]
Exclude = Annotated[str | None, typer.Option(help="Kinds to leave out, such as lstm-relu; '' for none.")]
Iterations = Annotated[int | None, typer.Option(help="Training iterations of each network.  [default: the preset's]")]
Batch = Annotated[int | None, typer.Option(help="Trials an iteration.  [default: 64]")]
Seed = Annotated[int | None, typer.Option(help="Seed of the whole population.  [default: 0]")]
Optimizer = Annotated[
    str | None,
    typer.Option(help="sgd, with momentum as in the paper, or adam, one setting for most kinds.  [default: sgd]"),
]
GateBias = Annotated[float | None, typer.Option(help="Constant in the forget or update gate.  [default: 1]")]
Alpha = Annotated[
    float | None, typer.Option(help="Time step over time constant of leaky and current cells.  [default: 0.2]")
]
Noise = Annotated[
    float | None,
    typer.Option(help="Noise of each unit of leaky and current cells in training, such as 0.05.  [default: 0]"),
]
TaskSettings = Annotated[
    list[str] | None,
    typer.Option("--setting", help="A constant of the task, such as steps=50; may be repeated."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, or bf16x3: on a GPU's tensor cores (n a multiple of 64) or on Intel's AMX, faster for n and "
        "batches of 64 and more."
    ),
]
Threads = Annotated[int | None, typer.Option(help="Threads of the CPU.  [default: all there are]")]
CheckpointSeconds = Annotated[float, typer.Option(help="Seconds between checkpoints.")]


def population_settings(spec: str | None, given: dict, lists: dict, setting, hyperparameters: str | None) -> dict:
    """Settings of a population from a file and the options that go before it."""
    from ..errors import UsageError
    from ..hyperparameters import read_rows
    from ..spec import read_toml, set_by
    from ..tasks import moved, with_whole_path

    kinds = {"sizes": int, "l2": float}
    given = given | {name: values(text, kinds.get(name, str), name) for name, text in lists.items()}
    given["excluded"] = given.pop("exclude")
    settings = read_toml(spec) if spec is not None else {}
    task, in_file = given.get("task"), str(settings.get("task", "flipflop"))
    if task is not None and with_whole_path(task) != with_whole_path(moved(in_file)) and "task_settings" in settings:
        raise UsageError(
            f"--task {task}: {spec!r} has the settings of another task, {in_file!r}; leave out --task, or take "
            "task_settings and hyperparameters out of a copy of the file"
        )
    if given.get("preset") is not None:  # it goes before the file in all that it sets
        settings = {name: value for name, value in settings.items() if name not in set_by(given["preset"])}
    settings |= {name: value for name, value in given.items() if value is not None}
    if setting:
        in_file = settings.get("task_settings", {})
        if not isinstance(in_file, dict):
            raise UsageError(f"task_settings must be a table of settings, such as steps = 50; it is {in_file!r}")
        settings["task_settings"] = in_file | dict(map(_setting, setting))
    if hyperparameters is not None:
        settings["hyperparameters"] = read_rows(hyperparameters)
    return settings


def values(text: str | None, kind, option: str) -> list | None:
    """Values separated by commas."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return [kind(part) for part in parts]
    except ValueError:
        from ..errors import UsageError

        words = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"--{option} must be {words} separated by commas; it is {text!r}") from None


def _setting(text: str) -> tuple[str, float]:
    """Name and value of a task's constant."""
    from ..errors import UsageError

    name, _, value = text.partition("=")
    for kind in (int, float):
        try:
            return name.strip(), kind(value)
        except ValueError:
            continue
    raise UsageError(f"--setting must be name=number, such as steps=50; it is {text!r}")
