"""Everything to be known of a GPU, in one call of under ten minutes: `python -m benchmarks.gpu`.

First all kernels are compiled, beside each other. Then it checks, then it times: every kind against the CPU engine, and
searches for fixed points; all groups of the paper's population, stage by stage, as shares of the float32 peak measured
on the device and of what a model of it predicts; groups beside each other; the estimate for the whole population;
tensor cores; other libraries on the same device; and a small population trained to a low loss. Results go to a JSON
file after every one of them, and what is printed to a log beside it.

Each section is a process of its own with an end set beforehand. A kernel that hangs, or breaks the device for whoever
shares its process, costs the item it was at: the section goes on behind it in a new process. What there is no time for
is left out and named. It runs from a plain checkout; what has to be installed is NumPy, SciPy, numba, safetensors, tqdm
and CuPy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from fastrnn import engines
from fastrnn.cells import ACTIVATIONS
from fastrnn.engines.cuda.group import TASKS
from fastrnn.errors import UsageError
from fastrnn.plan import duration

from .children import environment
from .gpu_report import Report
from .gpu_sections import FULL, PAPER_ITERATIONS, QUICK, Benchmark, Settings, checked_kinds, kinds

# Sections in order, and the share of all time by which each has to end; what one leaves over is the next one's.
ENDS = {
    "machine": 0.1,
    "correct": 0.33,
    "fixed_points": 0.38,
    "peak_rates": 0.4,
    "groups": 0.61,
    "together": 0.67,
    "bf16x3": 0.84,
    "trained": 0.9,
    "peers": 1.0,
}
GRACE = 12.0  # seconds for the item at hand after a section's end; then its process is killed
ATTEMPTS = 4  # processes a section may take
DONE, BROKEN, NO_GPU = 0, 3, 4  # exit codes of a section's process
PROGRAM = (sys.executable, "-m", __spec__.name)


def main(arguments=None) -> int:
    """Exit code: 0, or 1 where there is no GPU, something failed, or a kind is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three minutes at most, less exact")
    parser.add_argument("--out", default="gpu.json", help="JSON file; the log goes beside it  [default: gpu.json]")
    parser.add_argument("--section", choices=ENDS, help=argparse.SUPPRESS)  # of a process for one section:
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # its end, in time.time()
    given = parser.parse_args(arguments)
    report, settings = Report(Path(given.out)), QUICK if given.quick else FULL
    if given.section:
        return do_section(report.load(), settings, given.section, given.until)

    def start(section: str, until: float) -> int | None:
        quick = ["--quick"] if given.quick else []
        return in_a_process([*quick, "--out", given.out, "--section", section, "--until", str(until)], until)

    return run_all(report.begin(), settings, start)


def in_a_process(arguments: list[str], until: float) -> int | None:
    """Exit code of a process of this program that has to end in time; None where it was killed."""
    process = subprocess.Popen([*PROGRAM, *arguments], env=environment())
    try:
        return process.wait(max(0.0, until - time.time()) + GRACE)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def run_all(report: Report, settings: Settings, start) -> int:
    """All sections, each begun by `start(section, until)`; see `main`."""
    began = time.time()
    for section, share in ENDS.items():
        if run_section(report, section, began + share * settings.seconds, start) == NO_GPU:
            return 1
    estimate(report, settings)
    checked, every = len(report.results.get("correct", {})), len(TASKS) + len(checked_kinds(settings.checked))
    report.say(f"checked: {checked} of {every} tasks and kinds")
    for what in ("wrong", "failed", "left_out"):
        report.say(f"{what.replace('_', ' ')}: {', '.join(report.results[what]) or 'nothing'}")
    report.say(f"written to {report.path} in {duration(time.time() - began)}")
    return 0 if checked == every and not report.results["wrong"] and not report.results["failed"] else 1


def run_section(report: Report, section: str, until: float, start) -> int | None:
    """A section in as many processes as it takes; the last one's exit code."""
    for _ in range(ATTEMPTS):
        code = start(section, until)
        report.load()
        if code in (DONE, NO_GPU):
            return code
        why = "killed, it did not end in time" if code is None else f"its process ended with code {code}"
        if running := report.results["running"]:
            report.fail(*running, why)
        elif code != BROKEN:
            report.fail(section, "as a whole", why)
            return code
        if code is None:
            break
    report.leave_out(section, "items behind that")
    return code


def do_section(report: Report, settings: Settings, section: str, until: float) -> int:
    """In a process of its own: what of a section is not there yet, until its time is up."""
    try:
        engine = engines.get("cuda")
    except UsageError as error:
        report.say(f"There is no GPU to measure: {error}")
        report.results["no_gpu"] = str(error)
        report.save()
        return NO_GPU
    report.say(f"--- {section}")
    for item, work in Benchmark(engine, report, settings).items(section).items():
        if report.has(section, item):
            continue
        if time.time() > until:
            report.leave_out(section, item)
            continue
        report.keep(section, item, work)
        if f"{section} {item}" in report.results["failed"] and not usable(engine.device):
            return BROKEN
    return DONE


def usable(device) -> bool:
    """Whether the device still works in this process: after some errors nothing does."""
    try:
        device.synchronize()
        return int(device.to_host(device.xp.ones(1, "int32"))[0]) == 1
    except Exception:  # of CuPy or of the driver, whatever it is
        return False


def estimate(report: Report, settings: Settings) -> None:
    """Time of the paper's population, 2,880 networks of 20,000 iterations, from the groups that were timed."""
    wanted, timed = len(kinds(settings.sizes)), report.results.get("groups", {})
    beside = report.results.get("together", {})
    made = {"groups": len(timed), "one_after_the_other": PAPER_ITERATIONS * sum(g["seconds"] for g in timed.values())}
    text = f"{duration(made['one_after_the_other'])} group by group ({len(timed)} of {wanted} timed)"
    if len(beside) == len(settings.sizes):
        made["together"] = PAPER_ITERATIONS * sum(part["seconds"] for part in beside.values())
        text += f", {duration(made['together'])} with groups beside each other"
    tensor = report.results.get("bf16x3", {})
    if len(tensor) == len(kinds(settings.sizes)) // len(ACTIVATIONS):  # only tanh was timed; relu takes as long
        made["bf16x3"] = PAPER_ITERATIONS * len(ACTIVATIONS) * sum(group["seconds"] for group in tensor.values())
        text += f", {duration(made['bf16x3'])} in bf16x3 group by group"
    if not timed:
        return
    report.say(f"{wanted * settings.networks:,} networks of {PAPER_ITERATIONS:,} iterations: {text}")
    report.results["estimate"] = made
    report.save()


if __name__ == "__main__":
    sys.exit(main())
