"""The sections of `benchmarks.gpu`: what is checked and timed on the device, item by item."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastrnn import engines
from fastrnn.analysis.levenberg_marquardt import (
    MU_LOW,
    Problem,
    levenberg_marquardt,
    levenberg_marquardt_on_device,
)
from fastrnn.analysis.maps import maps_of
from fastrnn.cells import ACTIVATIONS, CELLS, PAPER_CELLS, get_cell
from fastrnn.counters import TRAINING
from fastrnn.engines.cuda.engine import CUDAEngine
from fastrnn.engines.cuda.group import TASKS, Group
from fastrnn.engines.cuda.tiling import Kernel
from fastrnn.optimizer import Optimizer
from fastrnn.tasks import get_task

from .gpu_report import Report
from .work import Work

TOLERANCE = 1e-5  # relative error of gradients against the CPU engine; both are float32
TOLERANCE_BF16X3 = 1e-4
TOLERANCE_TRIALS = {
    "flipflop": 1e-30,
    "sine": 1e-6,
    "cdi": 1e-6,
}  # the same bits, or a few ulp
FEWER_LEARNT = 1  # networks of those that are trained everywhere, at most, beside the processor's
TOLERANCE_POINTS = 1e-6  # of float64, and of where a search stands after 20 steps
PEAK_THREADS, PEAK_CHAINS = 256, 16  # kernels/peak.cu
PAPER_ITERATIONS = 20_000
# Model: share of the float32 peak by size, before any measurement, where every multiprocessor has a block.
EFFICIENCY = {64: 0.45, 128: 0.58, 256: 0.65}


@dataclass(frozen=True)
class Settings:
    """How much is done.

    sizes, networks, batch, steps : of the groups that are timed (networks in each; steps of the flip-flop)
    checked : sizes that are compared with the CPU engine
    turn_seconds : at least so long is measured
    peak_blocks, peak_rounds : of the kernel that measures the peak
    trained : sizes, iterations and loss of the population that is trained
    peers_on_gpu : as against the CPU, where their code is tried out
    seconds : for everything
    """

    sizes: tuple[int, ...] = (64, 128, 256)
    networks: int = 120
    batch: int = 64
    steps: int = 100
    checked: tuple[int, ...] = (64, 128, 256)
    turn_seconds: float = 0.5
    peak_blocks: int = 132 * 16
    peak_rounds: int = 20_000
    trained: tuple[int, int, float] = (64, 1500, 0.01)
    peers_on_gpu: bool = True
    seconds: float = 560.0


FULL = Settings()
QUICK = Settings(turn_seconds=0.1, trained=(64, 200, 0.1), seconds=165.0)


def seconds_a_call(device, work, at_least: float) -> float:
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


def kinds(sizes, cells=None):
    """All groups: cell, activation, n; cells : default the paper's."""
    return [(cell, activation, n) for n in sizes for cell in cells or PAPER_CELLS for activation in ACTIVATIONS]


def checked_kinds(sizes):
    """The groups to be checked: those of the paper, and other cells with fewest units."""
    others = [cell for cell in CELLS if cell not in PAPER_CELLS]
    return kinds(sizes) + (kinds(sizes[:1], others) if others else [])


class Benchmark:
    """What each section consists of.

    report : has the results of the sections before: the peak, and seconds of an iteration of each group
    """

    def __init__(self, engine, report: Report, settings: Settings):
        self.engine, self.device, self.report, self.settings = engine, engine.device, report, settings
        self.task = get_task("flipflop", steps=settings.steps)

    def items(self, section: str) -> dict:
        """What does each item of a section, by its name."""
        s = self.settings
        if section == "machine":
            return {"device": self.machine, "compile": self.compile}
        if section == "correct":
            drawn = {f"trials of {name}": partial(self.trials, name) for name in TASKS}
            return drawn | {name_of(*kind): partial(self.check, *kind) for kind in checked_kinds(s.checked)}
        if section == "fixed_points":
            return {name_of(cell, "tanh", s.sizes[0]): partial(self.fixed_points, cell, s.sizes[0]) for cell in CELLS}
        if section == "peak_rates":
            return {"float32_flops": self.peak, "copy_bytes": self.copies}
        if section == "groups":
            return {name_of(*kind): partial(self.group, *kind) for kind in kinds(s.sizes)}
        if section == "together":
            return {str(n): partial(self.together, n) for n in s.sizes}
        if section == "bf16x3":
            return {name_of(*kind): partial(self.tensor_cores, *kind) for kind in self.on_tensor_cores}
        if section == "peers":
            from .peers.on_gpu import PEERS

            wanted = [("vanilla", s.sizes[0]), ("lstm", s.sizes[-1])]
            return {
                f"{name} {cell}-tanh-{n}": partial(self.peer, name, make, cell, n)
                for name, make in PEERS.items()
                for cell, n in wanted
            }
        return {cell: partial(self.trained, cell) for cell in ("vanilla", "gru")}

    @property
    def on_tensor_cores(self) -> list:
        """Kinds that are timed in bf16x3; the other activation takes as long."""
        return [kind for kind in kinds(self.settings.sizes) if kind[1] == "tanh" and kind[2] % 64 == 0]

    @property
    def seconds(self) -> dict[str, float]:
        """Of one iteration of each group that was timed."""
        return {name: group["seconds"] for name, group in self.report.results.get("groups", {}).items()}

    def machine(self) -> dict:
        """What was measured."""
        self.report.say(self.engine.description)
        runtime = self.device.xp.cuda.runtime
        return {
            "device": self.device.name,
            "capability": self.device.capability,
            "multiprocessors": self.device.processors,
            "shared_limit": self.device.shared_limit,
            "cupy": self.device.xp.__version__,
            "nvrtc": self.device.xp.cuda.nvrtc.getVersion(),
            "driver": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
            "memory": runtime.memGetInfo()[1],
        }

    def compile(self) -> dict[str, float]:
        """Seconds until all kernels of a precision are there; CuPy keeps them on disk for the sections behind."""
        s, made = self.settings, {}
        wanted = {"float32": kinds(s.sizes), "bf16x3": self.on_tensor_cores}
        for precision, some in wanted.items():
            stacks = [Work(self.task, *kind, s.batch).networks(1) for kind in some]
            start = time.perf_counter()
            CUDAEngine(self.device, precision).prepare(stacks, self.task, s.batch)
            made[precision] = time.perf_counter() - start
            self.report.say(f"kernels of {len(some)} kinds and sizes in {precision}: {made[precision]:.1f} s")
        return made

    def trials(self, name: str) -> float:
        """Largest error of what the device draws for a task, beside the processor's."""
        task, batch = get_task(name), self.settings.batch
        networks = Work(task, "vanilla", "tanh", self.settings.sizes[0], batch).networks(2)
        with self.device.stream(0):
            group = Group(self.engine.launcher, networks, batch, task.T, way_back=False)
            group.draw(group.begin_drawing(task), TRAINING)
            made = [self.device.to_host(array) for array in (group.inputs, group.targets, group.mask)]
        made = [np.swapaxes(array[:, :, :batch], 1, 2) for array in made]
        errors = [distance(*pair) for pair in zip(made, task.draw(networks.keys, TRAINING, 0, batch), strict=True)]
        wrong = self.report.judge(f"trials of {name}", errors, TOLERANCE_TRIALS[name])
        self.report.say(f"trials of {name}: largest error {max(errors):.1e}{wrong}")
        return max(errors)

    def check(self, cell: str, activation: str, n: int) -> float:
        """Largest error of losses, gradients and training on the device's own trials, beside the CPU engine."""
        task = get_task("flipflop", steps=min(12, self.settings.steps))
        batch = self.settings.batch + 1  # two tiles of trials, the second nearly empty
        work = Work(task, cell, activation, n, batch)
        networks, both = work.networks(2), (self.engine, engines.get("cpu"))
        trials = work.trials(networks)
        ours, theirs = (engine.loss_and_gradients(networks, *trials) for engine in both)
        made, expected = ({"loss": losses, **gradients} for losses, gradients in (ours, theirs))
        curves = []
        for engine in both:
            stack = networks.copy()
            optimizer = Optimizer.start(stack, learning_rate=0.01, noise=0.1 * get_cell(cell).leaks, iterations=3)
            curves.append(engine.advance(stack, optimizer, task, 3, batch=batch))
        made["training"], expected["training"] = curves
        errors = errors_that_count(activation, made, expected)
        worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
        wrong = self.report.judge(name_of(cell, activation, n), errors.values(), TOLERANCE)
        self.report.say(f"{name_of(cell, activation, n)}: largest error {errors[worst]:.1e} ({worst}){wrong}")
        return errors[worst]

    def fixed_points(self, cell: str, n: int) -> dict:
        """Steps, Jacobians and searches in float64 beside the processor's; time of a search of all networks at once."""
        networks, cpu = Work(self.task, cell, "tanh", n, 1).networks(self.settings.networks), engines.get("cpu")
        few, x, rng = networks[:2], np.zeros(networks.D), np.random.default_rng(0)
        states, held = rng.normal(size=(2, 5, networks.S)), rng.normal(size=(5, networks.D))
        errors = {"step": distance(self.engine.step(few, states, held), cpu.step(few, states, held))}
        both = (engine.jacobian(few, states, held) for engine in (self.engine, cpu))
        errors |= zip(("by_state", "by_input"), map(distance, *both), strict=True)
        maps = maps_of(networks)
        starts = maps(0, x).inside(0.5 * rng.normal(size=(self.settings.batch, networks.S)))

        def problems(networks, starts):
            """The same starts for each network."""
            return [Problem(i, x, maps(0, x).limit, MU_LOW, 0.0, starts) for i in range(len(networks))]

        made = levenberg_marquardt_on_device(self.engine, few, problems(few, starts[:5]), 1e-26, 20)
        ends = [levenberg_marquardt(maps(i, x), starts[:5], 1e-26, 20).h for i in range(len(few))]
        errors["search"] = float(np.abs(np.stack([one.h for one in made]) - ends).max())
        wrong = self.report.judge(f"fixed points {name_of(cell, 'tanh', n)}", errors.values(), TOLERANCE_POINTS)
        start = time.perf_counter()
        solved = levenberg_marquardt_on_device(self.engine, networks, problems(networks, starts), 1e-26, 100)
        took = time.perf_counter() - start
        iterations = int(sum(one.iterations.sum() for one in solved))
        self.report.say(
            f"{name_of(cell, 'tanh', n)}: "
            + ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
            + f"{wrong}; {len(networks) * len(starts):,} starts, {iterations:,} iterations in {took:.2f} s"
        )
        return errors | {"seconds": took, "iterations": iterations}

    def peak(self) -> float:
        """Float32 FLOP/s of registers alone."""
        s = self.settings
        kernel = Kernel("peak", "peak", PEAK_THREADS)
        with self.device.stream(0):
            values = self.device.xp.zeros(s.peak_blocks * PEAK_THREADS, np.float32)
            arguments = {"values": values, "rounds": s.peak_rounds}
            launch = self.engine.launcher.launch
            took = seconds_a_call(self.device, lambda: launch(kernel, (s.peak_blocks,), **arguments), s.turn_seconds)
        peak = 2.0 * PEAK_CHAINS * s.peak_rounds * values.size / took
        self.report.say(f"float32 peak {peak / 1e12:.3g} TFLOP/s")
        return peak

    def copies(self) -> float:
        """Bytes a second, read and written, of a copy in memory."""
        with self.device.stream(0):
            source = self.device.xp.zeros(self.settings.peak_blocks * 100_000, np.uint8)
            target = self.device.xp.empty_like(source)
            took = seconds_a_call(self.device, lambda: copy(target, source), self.settings.turn_seconds)
        self.report.say(f"copies {2e-12 * source.nbytes / took:.3g} TB/s")
        return 2.0 * source.nbytes / took

    def group(self, cell: str, activation: str, n: int) -> dict:
        """One iteration of a group alone, stage by stage."""
        return self._time_group(Work(self.task, cell, activation, n, self.settings.batch))

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

            whole = seconds_a_call(self.device, iteration, s.turn_seconds)
            parts = {name: seconds_a_call(self.device, stage, s.turn_seconds / 5) for name, stage in stages.items()}
            weights = seconds_a_call(self.device, group.sum_gradients, s.turn_seconds / 5)  # a part of going back
        rate = work.flops * s.networks / whole
        peak = self.report.results.get("peak_rates", {}).get("float32_flops")
        busy = min(1.0, s.networks * group.tiling.tiles / self.device.processors)  # one block at a time on each
        expected = busy * EFFICIENCY.get(work.n, 0.5)
        share = rate / peak if peak else None
        there, back = (1e6 * t / work.task.T for t in (parts["roll_out"], parts["go_back"] - weights))
        self.report.say(
            f"{work.label} {precision}: {1e3 * whole:8.3f} ms, {rate / 1e12:6.2f} TFLOP/s, {share or 0:.2f} of the "
            f"peak (model {expected:.2f}; {(share or 0) / expected:.2f} of that); us a step: there {there:.1f}, "
            f"back {back:.1f}; ms gradient of the weights {1e3 * weights:.2f}, "
            + ", ".join(f"{name} {1e3 * part:.2f}" for name, part in parts.items())
        )
        made = {"seconds": whole, "flops": rate, "share_of_peak": share, "share_of_model": share and share / expected}
        return made | {
            "stages": parts,
            "sum_gradients": weights,
            "kernels": [group.tiling.rollout.name, group.tiling.backward.name],
        }

    def together(self, n: int) -> dict:
        """All groups of one size beside each other, as in training."""
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
        self.report.say(
            f"all groups of n = {n} together: {1e3 * seconds:.2f} ms an iteration, one after the other "
            f"{1e3 * alone:.2f} ms; copies there and back {1e3 * (both[0] - seconds):.0f} ms a round"
        )
        return {"seconds": seconds, "one_after_the_other": alone, "copies": both[0] - seconds}

    def tensor_cores(self, cell: str, activation: str, n: int) -> dict:
        """A group in bf16x3: whether it is right within its rounding, its times, and training beside float32's."""
        tensor, name = CUDAEngine(self.device, "bf16x3"), name_of(cell, activation, n)
        task = get_task("flipflop", steps=min(12, self.settings.steps))
        work = Work(task, cell, activation, n, self.settings.batch)
        networks, both = work.networks(2), (tensor, self.engine)
        trials = work.trials(networks)
        ours, exact = (engine.loss_and_gradients(networks, *trials)[1] for engine in both)
        errors, curves = {name: distance(ours[name], exact[name]) for name in exact}, []
        for engine in both:
            stack = networks.copy()
            optimizer = Optimizer.start(stack, learning_rate=0.01, iterations=20)
            curves.append(engine.advance(stack, optimizer, task, 20, batch=self.settings.batch))
        errors["training"] = distance(*curves)
        wrong = self.report.judge(f"{name} bf16x3", errors.values(), TOLERANCE_BF16X3)
        error, gradients = errors["training"], max(value for what, value in errors.items() if what != "training")
        self.report.say(
            f"{name} bf16x3: gradients differ from float32's by {gradients:.1e}, losses of 20 iterations by "
            f"{error:.1e}{wrong}"
        )
        made = self._time_group(Work(self.task, cell, activation, n, self.settings.batch), "bf16x3")
        return made | {
            "error": error,
            "gradients": gradients,
            "times_float32": self.seconds[name] / made["seconds"] if name in self.seconds else None,
        }

    def peer(self, name: str, make, cell: str, n: int) -> dict:
        """Another library on the same device and work; that it is not installed is a result too."""
        work = Work(self.task, cell, "tanh", n, self.settings.batch)
        try:
            trainer = make(work, self.settings.networks, self.settings.peers_on_gpu)
            took = seconds_a_call(self.device, lambda: trainer(1), self.settings.turn_seconds)
        except Exception as error:  # another library's
            made = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}
        else:
            took *= self.settings.networks / trainer.networks
            ours = self.seconds.get(name_of(cell, "tanh", n))
            made = {"seconds": took, "ratio": took / ours if ours else None}
            trainer.close()
        self.report.say(f"{name} {cell}-tanh-{n}: {made}")
        return made

    def trained(self, cell: str) -> dict:
        """The same few networks trained on fresh trials by each engine and precision, validated on others."""
        n, iterations, threshold = self.settings.trained
        engines_of = {"cpu": engines.get("cpu"), "float32": self.engine}
        if n % 64 == 0:
            engines_of["bf16x3"] = CUDAEngine(self.device, "bf16x3")
        made = {}
        for name, engine in engines_of.items():
            networks = Work(self.task, cell, "tanh", n, self.settings.batch).networks(8)
            optimizer = Optimizer.start(
                networks, learning_rate=0.05, decay=0.3, momentum=0.9, clip=1.0, l2=1e-5, iterations=iterations
            )
            start = time.perf_counter()
            engine.advance(networks, optimizer, self.task, iterations, self.settings.batch)
            took, losses = time.perf_counter() - start, engine.loss(networks, self.task)
            learnt = int((losses < threshold).sum())
            made[name] = {"losses": losses.tolist(), "seconds": took, "learnt": learnt}
            fewer = made["cpu"]["learnt"] - learnt
            wrong = self.report.judge(f"training of {cell} by {name}", [fewer], FEWER_LEARNT + 1)
            self.report.say(
                f"8 {cell} networks, n = {n}, {iterations} iterations by {name} in {took:.1f} s: validation losses "
                f"{losses.min():.3g} to {losses.max():.3g}, median {np.median(losses):.3g}, "
                f"{learnt} below {threshold}{wrong}"
            )
        return made


def name_of(cell: str, activation: str, n: int) -> str:
    """Of a kind and size, as groups are named."""
    return f"{cell}-{activation}-{n}"


def copy(target, source) -> None:
    """All of one array into another."""
    target[...] = source


def errors_that_count(activation: str, made: dict, expected: dict) -> dict[str, float]:
    """By name, distances of one of N networks from what was expected of it: the worst; with relu the best.

    For an input of relu within rounding of 0 may have the other slope on one device: in that network an error of 1e-3
    that is none.

    made, expected : by name arrays (N, ...), "loss" among them
    """
    each = [{name: distance(made[name][i], expected[name][i]) for name in made} for i in range(len(made["loss"]))]

    def largest(errors):
        return np.nan_to_num(list(errors.values()), nan=np.inf).max()

    return (min if activation == "relu" else max)(each, key=largest)


def distance(value, reference) -> float:
    """Norm of the difference over the norm of the reference."""
    return float(np.linalg.norm(np.subtract(value, reference, dtype=np.float64)) / np.linalg.norm(reference))
