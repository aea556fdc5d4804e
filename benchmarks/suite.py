"""All sections, one after the other; results as plain data, as text and as files."""

from __future__ import annotations

import json
import textwrap
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import fastrnn
from fastrnn import engines
from fastrnn.engines.cpu.bf16x3 import why_not
from fastrnn.errors import UsageError
from fastrnn.plan import duration
from fastrnn.processors import only_processors, usable_processors
from fastrnn.progress import Interrupted, Progress

from . import dsa, fixed_points, memory, scaling, similarity, startup, training
from .allocator import keep_freed_memory
from .limit import MultiplyAdds
from .machine import describe, words
from .peak import MatrixProduct
from .peers import installed_peers
from .section import Bench, Section, Step, reason
from .settings import Settings

SECTIONS: tuple[Section, ...] = (
    training.SECTION,
    scaling.SECTION,
    memory.SECTION,
    similarity.SECTION,
    dsa.SECTION,
    fixed_points.SECTION,
    startup.SECTION,
)
SCHEMA = 1
FAILED = "failed"  # key of a section's result that says why there is none


def run(settings: Settings, progress: Progress | None = None, sections=SECTIONS) -> dict:
    """Measure everything the settings ask for.

    Returns
    -------
    results : plain data as JSON has it: schema, fastrnn, date, seconds, settings, machine, and one entry a section

    Raises
    ------
    UsageError
        for more threads than processors, whose times would be those of waiting
    """
    progress = progress or Progress(show=False)
    start = time.perf_counter()
    processors = usable_processors()
    if settings.threads is not None and settings.threads > processors:
        raise UsageError(
            f"threads must be at most {processors}, the processors this process may use; it is {settings.threads}"
        )
    with only_processors(settings.threads):
        bench = make_bench(settings, progress)
        machine = describe(processors, bench.engine.threads)
        try:
            measured = measure(bench, sections, progress)
        except KeyboardInterrupt:
            raise Interrupted("stopped; a benchmark that is cut short leaves no results") from None
        finally:
            for peer in bench.peers:
                peer.close()
    results = {
        "schema": SCHEMA,
        "fastrnn": fastrnn.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - start),
        "settings": asdict(settings),
        "machine": machine,
    } | measured
    return json.loads(json.dumps(results))  # the same as when read from a file


def measure(bench: Bench, sections, progress: Progress) -> dict:
    """The result of every section, by its name; of one that fails, but for the first, what went wrong."""
    planned = [(section, section.steps(bench)) for section in sections]
    total = sum(step.seconds for _, steps in planned for step in steps)
    progress.say(f"about {duration(total)}; the machine should have nothing else to do meanwhile")
    progress.start("bench", total)
    measured = {}
    for section, steps in planned:
        try:
            measured[section.name] = section.gather(bench, [_taken(step, progress) for step in steps])
        except Exception as error:  # what took half an hour is not lost for it
            if not measured:
                raise
            measured[section.name] = {FAILED: reason(error)}
            progress.say(f"{section.name} failed: {reason(error)}")
    return measured


def _taken(step: Step, progress: Progress) -> dict:
    """What a step measures."""
    progress.advance(0, step.label)
    made = step.measure()
    progress.advance(step.seconds, step.label)
    return made


def make_bench(settings: Settings, progress: Progress) -> Bench:
    """What the sections share."""
    engine = engines.get("cpu", settings.threads)
    peers = installed_peers() if settings.peers else []
    if peers:
        keep_freed_memory()
    if settings.peers and not peers:
        progress.say("no other library to compare with is installed: pip install 'fastrnn[bench]'")
    bf16x3 = None if why_not() else engines.get("cpu", settings.threads, "bf16x3")
    product, limit = MatrixProduct(engine.threads), MultiplyAdds(engine.threads)
    return Bench(settings, engine, product, limit, tuple(peers), bf16x3)


def report(results: dict, sections=SECTIONS) -> str:
    """The results for a terminal, 80 columns wide."""
    load = f"fastrnn {results['fastrnn']}, {results['date']}, {duration(results['seconds'])}"
    parts = [textwrap.fill(words(results["machine"]), 80) + "\n" + load]
    return "\n\n".join(
        parts + [_told(section, results[section.name]) for section in sections if section.name in results]
    )


def _told(section: Section, result: dict) -> str:
    """A section's result in words."""
    return f"{section.name} failed: {result[FAILED]}" if FAILED in result else "\n".join(section.lines(result))


def check_path(path) -> Path:
    """The path if results can be written there; `UsageError` otherwise."""
    if Path(path).suffix.lower() != ".json":
        raise UsageError(f"results are saved in a .json file; it is {str(path)!r}")
    return existing_folder(Path(path))


def existing_folder(path: Path) -> Path:
    """The path if its folder exists: an hour later is too late to find that it does not."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)!r} for {path.name!r}; make it first")
    return path


def load(path) -> dict:
    """Results of `fastrnn bench` from a file; `UsageError` for anything else."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"could not read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} is no JSON file: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise UsageError(f"{str(path)!r} holds no results of schema {SCHEMA}; was it written by fastrnn bench?")
    try:
        report(results)
        _ = results["training"]["kinds"], results["machine"]["versions"]  # which picture and table are made from
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{str(path)!r} lacks parts of what fastrnn bench writes ({type(error).__name__}: {error}); measure again"
        ) from error
    return results
