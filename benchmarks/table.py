"""Tables of speed, made from the newest results of each kind of processor: `python -m benchmarks.table`.

A processor with a matrix unit, where training was timed in bf16x3 too, and the same one without are two kinds.

With results of a new run in `results/` this writes the tables of the newest of all into the README and those of other
processors into docs/speed.md, between two markers, and the pictures beside the results.
`python -m benchmarks.table RESULTS.json ...` takes those results and no others, the first for the README.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastrnn.errors import FastrnnError, UsageError
from fastrnn.plan import duration
from fastrnn.storage import atomic_write

from . import picture, suite
from .machine import words
from .training import BF16X3, LIMIT, beside_many, bf16x3_words, in_bf16x3, ratio_words

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
README, OTHERS = Path("README.md"), Path("docs/speed.md")  # pages, of the newest results and of the others
SHARES = {"share": "of the peak", "share_of_limit": "of the limit"}  # heads of columns
BEGIN = "<!-- made by `python -m benchmarks.table` -->"
END = "<!-- end of what it made -->"


def newest(folder=HERE / "results") -> list[Path]:
    """The results with the latest date of each kind of processor, newest first; `UsageError` where there are none."""
    found = {}
    for path in Path(folder).glob("*.json"):
        results = suite.load(path)
        with_unit = any(BF16X3 in kind for kind in results["training"]["kinds"])
        found.setdefault((results["machine"]["architecture"], with_unit), []).append((results["date"], path.name, path))
    if not found:
        raise UsageError(f"there are no results in {str(folder)!r}; make some with fastrnn bench --out")
    return [path for *_, path in sorted(map(max, found.values()), reverse=True)]


def table(results: dict, image: str) -> str:
    """Markdown: where and when, speeds and ratios for each cell and size, all tasks in short."""
    training = results["training"]
    versions = results["machine"]["versions"]
    others = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "numba", "jax", "torch") if name in versions)
    said = f"{words(results['machine'])}; fastrnn {results['fastrnn']}, {others}; {results['date']}."
    said += f" NumPy's 2048 x 2048 float32 product, the peak: {_best(training['peak'])}."
    if LIMIT in training:
        said += f" Multiply-adds that stay in registers, the limit: {_best(training[LIMIT])}."
    said += " Medians, and ranges of the rounds."
    parts = [said, *_kinds(training["kinds"]), "\n".join(_tasks(training)), f"![Speed and ratios]({image})"]
    return "\n\n".join(parts) + "\n"


def _best(rate: dict) -> str:
    return f"{rate['high']:.0f} GFLOP/s at best, {rate['median']:.0f} as a median"


def _shares(kinds: list[dict]) -> dict[str, str]:
    """Those of `SHARES` that the kinds have."""
    return {name: head for name, head in SHARES.items() if name in kinds[0]}


def _kinds(kinds: list[dict]) -> list[str]:
    """Speeds and ratios of the kinds that were compared with others, and notes on the others."""
    compared = picture.with_peers(kinds) or kinds
    first = compared[0]
    shown = [kind for kind in compared if (kind["task"], kind["activation"]) == (first["task"], first["activation"])]
    peers = {entry["peer"]: entry["title"] for kind in compared for entry in kind["peers"]}
    said = f"{first['task']}, {first['activation']}, B = {first['batch']}"
    shares = {head: lambda kind, name=name: f"{kind[name]:.2f}" for name, head in _shares(shown).items()}
    parts = [f"{said}:", _beside_peers(shown, peers, shares)]
    if rounded := in_bf16x3(shown):
        rounded = [kind | {"gflops": kind[BF16X3]["gflops"]} for kind in rounded]
        parts += [f"{said}, in bf16x3:", _beside_peers(rounded, peers, {"x float32": bf16x3_words})]
    if peers:
        parts.append("x: how many times as fast. Every library's loss and gradients are first checked against ours.")
        parts[-1] += "".join(f" {words}." for words in beside_many(shown))
    if any(not entry["same_cell"] for kind in compared for entry in kind["peers"]):
        parts[-1] += r" \*: PyTorch's GRU is another cell, its reset gate acts after the product; not checked."
    return parts


def _beside_peers(kinds: list[dict], peers: dict[str, str], columns: dict[str, Callable[[dict], str]]) -> str:
    """A row a kind: speed, what further columns have, by their heads, and ratios to the peers."""
    heads = ["cell", "n", "GFLOP/s", *columns, *(f"x {title}" for title in peers.values())]
    rows = [heads, ["---"] * len(heads)]
    for kind in kinds:
        entries = {entry["peer"]: entry for entry in kind["peers"]}
        row = [kind["cell"], str(kind["n"]), f"{kind['gflops']['median']:.0f}"]
        row += [words(kind) for words in columns.values()]
        rows.append(row + [ratio_words(entries.get(peer)) for peer in peers])
    return "\n".join(map(_row, rows))


def _tasks(training: dict) -> list[str]:
    """A row a task: shares of the peak and of the limit over all kinds, and the time for the paper's population."""
    shares = _shares(training["kinds"])
    rounded = any("seconds_bf16x3" in time for time in training["population"].values())
    heads = [
        "task",
        "kinds",
        *(f"{head}: lowest, median, highest" for head in shares.values()),
        "the paper's population",
        *["in bf16x3"] * rounded,
    ]
    rows = [heads, ["---"] * len(heads)]
    for task in dict.fromkeys(kind["task"] for kind in training["kinds"]):
        kinds = [kind for kind in training["kinds"] if kind["task"] == task]
        time = training["population"].get(task)
        estimate = f"{time['networks']:,} networks in {duration(time['seconds'])}" if time else "-"
        row = [task, str(len(kinds)), *(_low_to_high([kind[name] for kind in kinds]) for name in shares), estimate]
        rows.append(row + [duration(time["seconds_bf16x3"]) if time and "seconds_bf16x3" in time else "-"] * rounded)
    return list(map(_row, rows))


def _low_to_high(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in (min(values), np.median(values), max(values)))


def _row(fields: list[str]) -> str:
    return "| " + " | ".join(field.replace("*", r"\*") for field in fields) + " |"


def insert(text: str, made: str) -> str:
    """`text` with `made` between the markers; `UsageError` unless each marker is there once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(
            f"{README} and {OTHERS.as_posix()} must each hold these two lines once, in this order: {BEGIN} and {END}"
        )
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n{END}{rest.split(END)[1]}"


def pages(paths: list[Path], root: Path) -> dict[Path, str]:
    """Text of each page, with the tables of the first results or of the others."""
    text = {}
    for name, of_page in ((README, paths[:1]), (OTHERS, paths[1:])):
        page, made = root / name, []
        for path in of_page:
            results, image = suite.load(path), path.resolve().with_suffix(".png")
            if not image.is_relative_to(root):
                raise UsageError(f"results must lie under {str(root)!r}, where the README is; they are {str(path)!r}")
            made.append(table(results, Path(os.path.relpath(image, page.parent)).as_posix()))
        text[page] = insert(page.read_text(encoding="utf-8"), "\n".join(made))
    return text


def main(arguments: list[str], root=ROOT) -> None:
    """Write the pictures and the pages."""
    paths = [Path(argument) for argument in arguments] or newest()
    made = pages(paths, Path(root).resolve())
    for path in paths:
        picture.save(suite.load(path), path.resolve().with_suffix(".png"))
    for page, text in made.items():
        atomic_write(page, text.encode())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FastrnnError as error:
        sys.exit(f"error: {error}")
