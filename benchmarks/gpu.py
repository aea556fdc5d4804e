"""Everything to be known of a GPU, in one call of under ten minutes: `python -m benchmarks.gpu`.

First it checks, then it times: every kind against the CPU engine; all groups of the paper's population, stage by stage,
as shares of the float32 peak measured on the device and of what a model of it predicts; groups beside each other; the
estimate for the whole population; other libraries on the same device; and a small population trained to a low loss.
Results go to a JSON file, and what is printed to a log beside it. A section that fails is reported, and the next goes
on; sections for which there is no time left are left out and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fastrnn import engines
from fastrnn.counters import TRAINING
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.group import Group
from fastrnn.engines.cuda.tiling import Kernel
from fastrnn.optimizer import Optimizer
from fastrnn.plan import duration
from fastrnn.tasks import get_task

from .work import Work

TOLERANCE = 1e-5  # relative error of gradients against the CPU engine; both are float32
TOLERANCE_BF16X3 = 1e-4
PEAK_THREADS, PEAK_CHAINS = 256, 16  # kernels/peak.cu
PAPER_ITERATIONS = 20_000
EFFICIENCY = {64: 0.45, 128: 0.58, 256: 0.65}  # model: share of the float32 peak by size, before any measurement
CELLS, ACTIVATIONS = ("vanilla", "ugrnn", "gru", "lstm"), ("tanh", "relu")


@dataclass(frozen=True)
class Settings:
    """How much is done.

    sizes, networks, batch, steps : of the groups that are timed (networks in each; steps of the flip-flop)
    checked : sizes that are compared with the CPU engine
    turn_seconds : at least so long is measured
    peak_blocks, peak_rounds : of the kernel that measures the peak
    trained : sizes, iterations and loss of the population that is trained
    seconds : for everything
    """

    sizes: tuple[int, ...] = (64, 128, 256)
    networks: int = 120
    batch: int = 64
    steps: int = 100
    checked: tuple[int, ...] = (64, 256)
    turn_seconds: float = 0.5
    peak_blocks: int = 132 * 16
    peak_rounds: int = 20_000
    trained: tuple[int, int, float] = (64, 1500, 0.01)
    seconds: float = 560.0


QUICK = Settings(turn_seconds=0.1, trained=(64, 200, 0.1), seconds=200.0)


class Report:
    """What is found, said as it is found, and kept."""

    def __init__(self, path: Path, settings: Settings):
        self.path, self.start, self.settings = path, time.monotonic(), settings
        self.log = path.with_suffix(".log")
        self.log.write_text("")
        self.results: dict = {"settings": asdict(settings), "left_out": [], "failed": {}}

    def say(self, text: str) -> None:
        """One line, at once."""
        print(text, flush=True)
        with self.log.open("a") as log:
            print(text, file=log)

    def section(self, name: str, work) -> None:
        """The result of `work()` under a name; after each the file is written anew."""
        if time.monotonic() - self.start > self.settings.seconds:
            self.results["left_out"].append(name)
            self.say(f"{name}: left out, no time")
        else:
            self.say(f"--- {name}")
            try:
                self.results[name] = work()
            except Exception as error:  # the rest is still worth having
                self.results["failed"][name] = f"{type(error).__name__}: {error}"
                self.say(f"{name} FAILED: {traceback.format_exc()}")
        self.path.write_text(json.dumps(self.results, indent=1))

    @property
    def left(self) -> float:
        """Seconds."""
        return self.settings.seconds - (time.monotonic() - self.start)


def seconds_of(device, work, at_least: float) -> float:
    """Time of one call of `work`, from as many calls as take `at_least` seconds; one before to warm up."""
    work()
    device.synchronize()
    calls = 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        device.synchronize()
        took = time.perf_counter() - start
        if took >= at_least or calls >= 1 << 16:
            return took / calls
        calls = int(min(calls * max(2.0, 1.2 * at_least / max(took, 1e-6)), 1 << 16))


def kinds(sizes):
    """All groups: cell, activation, n."""
    return [(cell, activation, n) for n in sizes for cell in CELLS for activation in ACTIVATIONS]


class Benchmark:
    """The sections; see the module."""

    def __init__(self, engine, report: Report):
        self.engine, self.device, self.report, self.settings = engine, engine.device, report, report.settings
        self.task = get_task("flipflop", steps=self.settings.steps)
        self.peak = 0.0
        self.seconds: dict[str, float] = {}  # of one iteration of each group

    def run(self) -> dict:
        """All sections in order."""
        for name in (
            "machine",
            "correct",
            "peak_rates",
            "groups",
            "together",
            "estimate",
            "bf16x3",
            "peers",
            "trained",
        ):
            self.report.section(name, getattr(self, name))
        return self.report.results

    def machine(self) -> dict:
        """What was measured."""
        self.report.say(self.engine.description)
        made = {"device": self.device.name, "capability": self.device.capability}
        if hasattr(self.device.xp, "cuda"):
            runtime = self.device.xp.cuda.runtime
            made |= {"cupy": self.device.xp.__version__, "driver": runtime.driverGetVersion()}
            made |= {"runtime": runtime.runtimeGetVersion(), "memory": runtime.memGetInfo()[1]}
        return made

    def correct(self) -> dict:
        """Losses and gradients of every kind against the CPU engine; training on trials drawn on the device."""
        cpu, worst = engines.get("cpu"), {}
        task = get_task("flipflop", steps=min(12, self.settings.steps))
        batch = self.settings.batch + 1  # two tiles of trials, the second nearly empty
        for cell, activation, n in kinds(self.settings.checked):
            work = Work(task, cell, activation, n, batch)
            networks = work.networks(2)
            trials = work.trials(networks)
            ours, theirs = (engine.loss_and_gradients(networks, *trials) for engine in (self.engine, cpu))
            errors = {name: distance(ours[1][name], theirs[1][name]) for name in ours[1]}
            errors["loss"] = distance(ours[0], theirs[0])
            curves = []
            for engine in (self.engine, cpu):
                stack = networks.copy()
                optimizer = Optimizer.start(stack, learning_rate=0.01, iterations=3)
                curves.append(engine.advance(stack, optimizer, task, 3, batch=batch))
            errors["training"] = distance(*curves)
            worst[f"{cell}-{activation}-{n}"] = max(errors.values())
            wrong = "" if max(errors.values()) < TOLERANCE else "   WRONG"
            self.report.say(f"{cell}-{activation}-{n}: largest error {max(errors.values()):.1e}{wrong}")
        self.report.say(f"all kinds right: {all(error < TOLERANCE for error in worst.values())}")
        return worst

    def peak_rates(self) -> dict:
        """Float32 FLOP/s of registers alone, and bytes a second of a copy in memory."""
        s, xp = self.settings, self.device.xp
        kernel = Kernel("peak", "peak", PEAK_THREADS)
        with self.device.stream(0):
            values = xp.zeros(s.peak_blocks * PEAK_THREADS, np.float32)
            arguments = {"values": values, "rounds": s.peak_rounds}
            launch = self.engine.launcher.launch
            took = seconds_of(self.device, lambda: launch(kernel, (s.peak_blocks,), **arguments), s.turn_seconds)
            self.peak = 2.0 * PEAK_CHAINS * s.peak_rounds * values.size / took
            source = xp.zeros(s.peak_blocks * 100_000, np.uint8)
            target = xp.empty_like(source)
            copied = 2.0 * source.nbytes / seconds_of(self.device, lambda: copy(target, source), s.turn_seconds)
        self.report.say(f"float32 peak {self.peak / 1e12:.3g} TFLOP/s, copies {copied / 1e12:.3g} TB/s")
        return {"float32_flops": self.peak, "copy_bytes": copied}

    def groups(self) -> dict:
        """One iteration of each group alone, stage by stage."""
        made = {}
        for cell, activation, n in kinds(self.settings.sizes):
            if self.report.left < 60:
                self.report.results["left_out"].append(f"{cell}-{activation}-{n}")
                continue
            name = f"{cell}-{activation}-{n}"
            made[name] = self._time_group(Work(self.task, cell, activation, n, self.settings.batch))
            self.seconds[name] = made[name]["seconds"]
        return made

    def _time_group(self, work: Work, precision: str = "float32") -> dict:
        s = self.settings
        networks = work.networks(s.networks)
        with self.device.stream(0):
            group = Group(self.engine.launcher, networks, s.batch, work.task.T, True, precision)
            group.begin_training(work.optimizer(networks), 1)
            drawing = group.begin_drawing(work.task)
            stages = {
                "draw": lambda: group.draw(drawing, TRAINING),
                "roll_out": group.roll_out,
                "read_out": group.read_out,
                "go_back": group.go_back,
                "descend": lambda: group.descend(0),
            }

            def iteration():
                for stage in stages.values():
                    stage()

            whole = seconds_of(self.device, iteration, s.turn_seconds)
            parts = {name: seconds_of(self.device, stage, s.turn_seconds / 5) for name, stage in stages.items()}
        rate = work.flops * s.networks / whole
        share = rate / self.peak if self.peak else float("nan")
        expected = EFFICIENCY.get(work.n, 0.5)
        self.report.say(
            f"{work.label} {precision}: {1e3 * whole:8.3f} ms, {rate / 1e12:6.2f} TFLOP/s, {share:.2f} of the peak "
            f"(model {expected:.2f}); us a step: there {1e6 * parts['roll_out'] / work.task.T:.1f}, "
            f"back {1e6 * parts['go_back'] / work.task.T:.1f}; ms "
            + ", ".join(f"{name} {1e3 * part:.2f}" for name, part in parts.items())
        )
        made = {"seconds": whole, "flops": rate, "share_of_peak": share, "share_of_model": share / expected}
        return made | {"stages": parts, "kernels": [group.tiling.rollout.name, group.tiling.backward.name]}

    def together(self) -> dict:
        """Groups of one size beside each other, as in training."""
        made = {}
        for n in self.settings.sizes:
            stacks = []
            for cell, activation, _ in kinds((n,)):
                work = Work(self.task, cell, activation, n, self.settings.batch)
                networks = work.networks(self.settings.networks)
                stacks.append((networks, work.optimizer(networks)))
            self.engine.advance_all(stacks, self.task, 1, self.settings.batch)
            both = []
            for count in (1, 6):  # the difference is free of the copies there and back
                start = time.perf_counter()
                self.engine.advance_all(stacks, self.task, count, self.settings.batch)
                both.append(time.perf_counter() - start)
            seconds = (both[1] - both[0]) / 5
            alone = sum(took for name, took in self.seconds.items() if name.endswith(f"-{n}"))
            made[str(n)] = {"seconds": seconds, "one_after_the_other": alone, "copies": both[0] - seconds}
            self.report.say(
                f"all groups of n = {n} together: {1e3 * seconds:.2f} ms an iteration, one after the other "
                f"{1e3 * alone:.2f} ms; copies there and back {1e3 * made[str(n)]['copies']:.0f} ms a round"
            )
        return made

    def estimate(self) -> dict:
        """Time of the paper's population, 2,880 networks of 20,000 iterations, from the groups that were timed."""
        wanted = len(kinds(self.settings.sizes))
        alone = PAPER_ITERATIONS * sum(self.seconds.values())
        together = PAPER_ITERATIONS * sum(part["seconds"] for part in self.report.results.get("together", {}).values())
        self.report.say(
            f"{wanted * self.settings.networks:,} networks of {PAPER_ITERATIONS:,} iterations: {duration(alone)} group "
            f"by group ({len(self.seconds)} of {wanted} timed), {duration(together)} with groups beside each other"
        )
        return {"one_after_the_other": alone, "together": together, "groups": len(self.seconds)}

    def bf16x3(self) -> dict:
        """The groups with tanh on tensor cores: right within their rounding, times, and training beside float32's."""
        tensor, made = CUDAEngine(self.device, "bf16x3"), {}
        task = get_task("flipflop", steps=min(12, self.settings.steps))
        for cell, n in ((cell, n) for n in self.settings.sizes if n % 64 == 0 for cell in CELLS):
            name = f"{cell}-tanh-{n}"
            if self.report.left < 60:
                self.report.results["left_out"].append(f"bf16x3 {name}")
                continue
            networks = Work(task, cell, "tanh", n, self.settings.batch).networks(2)
            curves = []
            for engine in (tensor, self.engine):
                stack = networks.copy()
                optimizer = Optimizer.start(stack, learning_rate=0.01, iterations=20)
                curves.append(engine.advance(stack, optimizer, task, 20, batch=self.settings.batch))
            error = distance(*curves)
            wrong = "" if error < TOLERANCE_BF16X3 else "   WRONG"
            self.report.say(f"{name} bf16x3: losses of 20 iterations differ from float32's by {error:.1e}{wrong}")
            made[name] = self._time_group(Work(self.task, cell, "tanh", n, self.settings.batch), "bf16x3")
            made[name] |= {"error": error, "times_float32": self.seconds.get(name, np.nan) / made[name]["seconds"]}
        return made

    def peers(self) -> dict:
        """Other libraries on the same device and work, where they are installed."""
        from .peers.on_gpu import PEERS

        made = {}
        for name, make in PEERS.items():
            for cell, n in (("vanilla", self.settings.sizes[0]), ("lstm", self.settings.sizes[-1])):
                if self.report.left < 60:
                    self.report.results["left_out"].append(f"{name} {cell}-{n}")
                    continue
                work = Work(self.task, cell, "tanh", n, self.settings.batch)
                try:
                    trainer = make(work, self.settings.networks, hasattr(self.device.xp, "cuda"))
                    took = seconds_of(self.device, lambda t=trainer: t(1), self.settings.turn_seconds)
                except Exception as error:  # another library's
                    made[f"{name} {cell}-{n}"] = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
                else:
                    took *= self.settings.networks / trainer.networks
                    ratio = took / self.seconds.get(f"{cell}-tanh-{n}", float("nan"))
                    made[f"{name} {cell}-{n}"] = {"seconds": took, "ratio": ratio}
                    trainer.close()
                self.report.say(f"{name} {cell}-tanh-{n}: {made[f'{name} {cell}-{n}']}")
        return made

    def trained(self) -> dict:
        """A few networks of two kinds trained on fresh trials, validated on others."""
        n, iterations, threshold = self.settings.trained
        made = {}
        for cell in ("vanilla", "gru"):
            work = Work(self.task, cell, "tanh", n, self.settings.batch)
            networks = work.networks(8)
            optimizer = Optimizer.start(
                networks, learning_rate=0.05, decay=0.3, momentum=0.9, clip=1.0, l2=1e-5, iterations=iterations
            )
            before = self.engine.loss(networks, self.task)
            start = time.perf_counter()
            self.engine.advance(networks, optimizer, self.task, iterations, self.settings.batch)
            took, after = time.perf_counter() - start, self.engine.loss(networks, self.task)
            made[cell] = {"before": before.tolist(), "after": after.tolist(), "seconds": took}
            self.report.say(
                f"8 {cell} networks, n = {n}, {iterations} iterations in {took:.1f} s: validation loss "
                f"{np.median(before):.3g} to {np.median(after):.3g}, {int((after < threshold).sum())} below {threshold}"
            )
        return made


def copy(target, source) -> None:
    """All of one array into another."""
    target[...] = source


def distance(value, reference) -> float:
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(np.subtract(value, reference, dtype=np.float64)) / np.linalg.norm(reference))


def main(arguments=None) -> int:
    """Exit code: 0, or 1 where a section failed or a kind is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three minutes at most, less exact")
    parser.add_argument("--out", default="gpu.json", help="JSON file; the log goes beside it")
    given = parser.parse_args(arguments)
    report = Report(Path(given.out), QUICK if given.quick else Settings())
    results = Benchmark(engines.get("cuda"), report).run()
    report.say(f"written to {report.path} in {duration(time.monotonic() - report.start)}")
    right = all(error < TOLERANCE for error in results.get("correct", {"missing": 1.0}).values())
    return 0 if right and not results["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
