"""The CPU engine's face: shares networks out over threads and calls the compiled loop."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import binding

from ...cells import get_cell
from ...cells.leaky import noise_scale
from ...counters import TRAINING
from ...errors import Status, UsageError
from ...optimizer import EPSILON, SQUARES_DECAY
from ...processors import usable_processors
from ...values import whole_number
from ..checks import check_precision
from ..engine import Engine, matrix_flops
from .bf16x3 import HAS_UNIT, why_not
from .bf16x3 import measured_rate as measured_rate_bf16x3
from .layout import RECORD, last_tile, make_layout, packing
from .loop import EVALUATE, GRADIENTS, TRAIN, run_network
from .products import DEPTH, NONE_BESIDE, PANEL, multiply_packed
from .threads import ABANDONED, DIVERGED, STOPPED_AT
from .tiles import Kind, noise_address
from .vectors import HAS_FMA, LANES
from .workspace import aligned

ADAM_CONSTANTS = (SQUARES_DECAY, EPSILON)
NOTHING = (*(0.0,) * 6, ADAM_CONSTANTS)  # hyperparameters where none are used
SILENT = (0, 0.0)  # no noise
NO_SQUARES = np.empty(0, np.float32)
GIVEN = (0, np.uint64(0), 0, np.empty(0))  # trials that are not drawn
ELEMENT_SECONDS = {"float32": 1.0e-9, "bf16x3": 2.0e-9}  # beside the products, an element of a gate: AVX-512, 2.5 GHz
NOISE_SECONDS = 1.6e-9  # a number of the noise there


class Workspaces(threading.local):
    """Each thread's arrays, kept between calls and grown as needed."""

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}

    def take(self, name: str, size: int) -> np.ndarray:
        if name not in self.arrays or len(self.arrays[name]) < size:
            self.arrays[name] = aligned(size)
        return self.arrays[name][:size]


class Call(NamedTuple):
    """What the compiled loop is to do with one network; see `loop.run_network`."""

    mode: int
    data: tuple
    parameters: np.ndarray
    velocity: np.ndarray
    losses: np.ndarray
    trials: tuple = GIVEN
    first: int = 0
    count: int = 1
    hyperparameters: tuple = NOTHING
    noise: tuple = SILENT
    squares: np.ndarray = NO_SQUARES


class Shared(NamedTuple):
    """What a network's thread or team works on; see `loop.run_network`."""

    packed: np.ndarray
    velocity: np.ndarray
    squares: np.ndarray
    transposed: np.ndarray
    operands: np.ndarray
    gradients: np.ndarray
    sums: np.ndarray
    control: np.ndarray


class CPUEngine(Engine):
    """Trains and runs networks on the processor.

    Each network is advanced by one thread; where there are fewer networks than threads, a team of threads shares
    each network's trials. The results are the same bits either way.

    threads : default all processors this process may use
    precision : of the matrix products: "float32", or "bf16x3" on the processor's matrix unit, each operand in two parts
        of bf16 (see `bf16x3.why_not`; without one it is slow, and for tests)
    """

    name = "cpu"

    def __init__(self, threads: int | None = None, precision: str = "float32"):
        available = usable_processors()
        if threads is None:
            threads = available
        self.threads = whole_number("threads", threads, 1)
        check_precision(precision)
        if precision == "bf16x3" and (LANES != 16 or (HAS_UNIT and why_not())):
            raise UsageError(f"precision 'bf16x3' can't be used: {why_not()}; take 'float32'")
        self.precision = precision
        self._busy = threading.Lock()
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fastrnn")
        self._workspaces = Workspaces()
        self._rate = 0.0

    @property
    def processor(self) -> str:
        fused = "" if HAS_FMA else ", no FMA"
        precision = "" if self.precision == "float32" else f", {self.precision}"
        return f"{binding.get_host_cpu_name()}, {LANES} lanes{fused}{precision}"

    @property
    def description(self) -> str:
        plural = "thread" if self.threads == 1 else "threads"
        return f"cpu ({self.processor}; {self.threads} {plural})"

    # ------------------------------------------------------------------------------------------------- training

    def _advance_all(self, groups, task, iterations: int, batch: int) -> list[np.ndarray]:
        if any(optimizer.noise.any() for _, optimizer in groups):
            self.check_noise()
        all_losses = [np.full((len(networks), iterations), np.nan, np.float32) for networks, _ in groups]
        jobs = []
        for (networks, optimizer), losses in zip(groups, all_losses, strict=True):
            layout = self._layout(networks, task.T, batch)
            for i in range(len(networks)):
                count = min(iterations, int(optimizer.decay_steps[i] - optimizer.iteration[i]))
                if optimizer.status[i] == Status.TRAINING and count > 0:
                    jobs.append((layout, networks, optimizer, i, task, count, losses))
        jobs.sort(key=lambda job: -job[0].packed_size * job[5])
        self._share_out(jobs, self._advance_network)
        return all_losses

    def check_noise(self) -> None:
        if self.precision == "bf16x3":
            raise UsageError(
                "noise in training is not done in precision 'bf16x3' on the processor: take 'float32', or leave it out"
            )

    def _advance_network(self, job, team):
        layout, networks, optimizer, i, task, count, losses = job
        names = ("learning_rate", "decay", "momentum", "clip", "l2", "decay_steps")
        hyperparameters = (*(float(getattr(optimizer, name)[i]) for name in names), ADAM_CONSTANTS)
        noise = SILENT
        if optimizer.noise[i]:
            noise = (noise_address(), float(noise_scale(optimizer.noise[i], networks.gate_bias)))
        first = int(optimizer.iteration[i])
        parameters, velocity, squares = networks.parameters[i], optimizer.velocity[i], optimizer.squares[i]
        trials = (task.address, networks.keys[i], TRAINING, task.values)
        run = np.full(count, np.nan)
        given = (trials, first, count, hyperparameters, noise, squares)
        call = Call(TRAIN, _no_data(), parameters, velocity, run, *given)
        if task.address:
            control = team(networks, layout, call)
            stopped_at = control[STOPPED_AT]
        else:
            for it in range(count):
                inputs, targets, mask = task.draw(networks.keys[i : i + 1], TRAINING, first + it, layout.trials)
                data = _data(inputs[0], targets[0], mask[0])
                one = call._replace(data=data, losses=run[it : it + 1], first=first + it, count=1)
                control = team(networks, layout, one)
                if control[DIVERGED]:
                    stopped_at = it
                    break
        if control[DIVERGED]:
            count = int(stopped_at)
            optimizer.status[i] = Status.DIVERGED
        with np.errstate(over="ignore"):  # a loss may be finite in float64 only
            losses[i, :count] = run[:count]
        optimizer.iteration[i] = first + count
        if optimizer.status[i] == Status.TRAINING and optimizer.iteration[i] >= optimizer.decay_steps[i]:
            optimizer.status[i] = Status.TRAINED

    # -------------------------------------------------------------------------------------- losses and gradients

    def _loss(self, networks, task, trials: int, purpose: int) -> np.ndarray:
        layout = self._layout(networks, task.T, trials)
        losses = np.full((len(networks), 1), np.nan)

        def evaluate(i, team):
            data = _no_data()
            if not task.address:
                inputs, targets, mask = task.draw(networks.keys[i : i + 1], purpose, 0, trials)
                data = _data(inputs[0], targets[0], mask[0])
            parameters = networks.parameters[i]
            drawn = (task.address, networks.keys[i], purpose, task.values)
            team(networks, layout, Call(EVALUATE, data, parameters, parameters, losses[i], drawn))

        self._share_out(range(len(networks)), evaluate)
        return losses[:, 0]

    def _loss_and_gradients(self, networks, inputs, targets, mask):
        N, B, T, _ = inputs.shape
        layout = self._layout(networks, T, B)
        position, _ = packing(networks.cell, layout)
        flat = np.empty_like(networks.parameters)
        losses = np.full((N, 1), np.nan)

        def differentiate(i, team):
            data, parameters = _data(inputs[i], targets[i], mask[i]), networks.parameters[i]
            call = Call(GRADIENTS, data, parameters, parameters, losses[i])
            team(networks, layout, call, lambda gradient: np.take(gradient, position, out=flat[i]))

        self._share_out(range(N), differentiate)
        return losses[:, 0], flat

    def _run(self, networks, inputs):
        N, B, T, _ = inputs.shape
        layout = self._layout(networks, T, B)
        states = np.empty((N, B, T, networks.S), np.float32)
        outputs = np.empty((N, B, T, networks.K), np.float32)
        targets, mask = np.zeros((B, T, networks.K), np.float32), np.ones((B, T), np.float32)

        def roll(i, team):
            data, parameters = (inputs[i], targets, mask, states[i], outputs[i]), networks.parameters[i]
            team(networks, layout, Call(EVALUATE, data, parameters, parameters, np.empty(1)))

        self._share_out(range(N), roll)
        return states, outputs

    # ----------------------------------------------------------------------------------------------- for analyses

    def _step(self, networks, states, inputs):
        return np.stack(self._by_network(networks, states, inputs, "step"))

    def _jacobian(self, networks, states, inputs):
        made = self._by_network(networks, states, inputs, "jacobian")
        return tuple(np.stack(parts) for parts in zip(*made, strict=True))

    def _by_network(self, networks, states, inputs, method) -> list:
        """What a method of the cell gives for each network."""
        function = getattr(get_cell(networks.cell), method)
        return [
            function(networks.in_float64(i), networks.activation, networks.gate_bias, states[i], inputs[i])
            for i in range(len(networks))
        ]

    # -------------------------------------------------------------------------------------------------- estimates

    def warm_up(self, cell: str, activation: str) -> None:
        from ...networks import Networks

        networks = Networks.initialize(cell, activation, LANES, 1, 1, [0])
        self.loss_and_gradients(networks, np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1, 1)))

    def seconds_per_iteration(
        self, cell: str, activation: str, n: int, task, batch: int = 64, noisy: bool = False
    ) -> float:
        """The matrix product's rate is measured once; work on elements is taken as proportional to the gates."""
        self._rate = self._rate or (measured_rate() if self.precision == "float32" else measured_rate_bf16x3())
        gates, D = get_cell(cell).gates, task.D
        if self.precision == "bf16x3":  # about what is computed: units, trials and inputs fill whole tiles
            layout = make_layout(cell, n, D, task.K, task.T, batch, self.precision)
            n, batch, D = layout.units, layout.tiles * layout.rows, layout.panel_rows - layout.units
        flops = matrix_flops(gates, n, D, task.K, task.T, batch)
        elements = gates * ELEMENT_SECONDS[self.precision] + noisy * NOISE_SECONDS
        return flops / self._rate + task.T * batch * n * elements

    def workspace_bytes(self, cell: str, n: int, task, batch: int = 64) -> int:
        """Workspace, packed parameters, velocity, transpose, operands in bf16 and partial gradients.

        With Adam there are as many squares as packed parameters beside it.
        """
        layout = make_layout(cell, n, task.D, task.K, task.T, batch, self.precision)
        transposed = layout.units * (layout.first_width + layout.second_width)
        return 4 * (layout.work_size + transposed + layout.operands_size + (2 + layout.slices) * layout.packed_size)

    def _layout(self, networks, T: int, B: int):
        return make_layout(networks.cell, networks.n, networks.D, networks.K, T, B, self.precision)

    # ------------------------------------------------------------------------------------------------ the threads

    def _share_out(self, jobs, work) -> None:
        """Call `work(job, team)` for every job: one thread each, or a team each where jobs are fewer than threads."""
        jobs = list(jobs)
        with self._busy:  # teams of two callers would wait for each other's threads
            if len(jobs) < self.threads:
                for job in jobs:
                    work(job, self._team)
                return
            waiting = iter(jobs)

            def work_off(_):
                for job in waiting:
                    work(job, self._solo)

            self._on_threads(self.threads, work_off, give_up=lambda: list(waiting))

    def _on_threads(self, count: int, work, give_up) -> None:
        """`work(k)` for k below `count`, each on a thread; on an error there or here `give_up()`, then wait for all.

        Nothing writes into the caller's arrays after this.
        """
        futures = []
        try:
            futures.extend(self._pool.submit(work, k) for k in range(count))
            for future in as_completed(futures):
                future.result()
        except BaseException:
            give_up()
            wait(futures)
            raise

    def _solo(self, networks, layout, call, keep_gradient=None):
        """The compiled loop on this thread; returns its `control`."""
        shared, work = self._arrays(networks, layout, call)
        self._compute(networks, layout, call, shared, work, 0, 1)
        if keep_gradient:
            keep_gradient(shared.gradients[0])
        return shared.control

    def _team(self, networks, layout, call, keep_gradient=None):
        """The compiled loop on as many threads as there are slices to share; returns its `control`."""
        ranks = min(self.threads, layout.slices)
        shared, _ = self._arrays(networks, layout, call)

        def member(rank):
            work = self._workspaces.take("work", layout.work_size)
            self._compute(networks, layout, call, shared, work, rank, ranks)

        def give_up():
            shared.control[ABANDONED] = 1  # or those who came to a meeting would wait for ever

        self._on_threads(ranks, member, give_up)
        if keep_gradient:
            keep_gradient(shared.gradients[0])
        return shared.control

    def _arrays(self, networks, layout, call):
        """The calling thread's arrays for a network, and its workspace."""
        take = self._workspaces.take
        size, slices = layout.packed_size, layout.slices
        _, source = packing(networks.cell, layout)
        shared = Shared(
            take("packed", size),
            take("velocity", size),
            take("squares", size if len(call.squares) else 0),
            take("transposed", len(source)),
            take("operands", layout.operands_size),
            take("gradients", slices * size).reshape(slices, size),
            np.zeros((slices, 2)),
            np.zeros(8, np.int64),
        )
        return shared, take("work", layout.work_size)

    def _compute(self, networks, layout, call, shared, work, rank, ranks):
        """The compiled loop as one of `ranks` threads."""
        run_network(
            Kind.of(networks, self.precision),
            np.array([layout, last_tile(layout)], RECORD),
            call.mode,
            call.trials,
            call.first,
            call.count,
            call.hyperparameters,
            call.noise,
            call.data,
            packing(networks.cell, layout),
            call.parameters,
            call.velocity,
            call.squares,
            shared,
            call.losses,
            work,
            rank,
            ranks,
        )


def _data(inputs, targets, mask):
    """Arrays of one network's trials, with no room for states."""
    return (inputs, targets, mask, *_no_data()[3:])


@lru_cache
def _no_data():
    cube, square = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)
    return cube, cube, square, cube, cube


def measured_rate(seconds: float = 0.05) -> float:
    """FLOP/s of the matrix micro-kernel on one thread, operands in cache."""
    rows, columns, depth = 16, 4 * PANEL, min(DEPTH, 128)
    a, b, c = aligned(rows * depth), aligned(depth * columns), aligned(rows * columns)
    a[:], b[:] = 1.0, 1.0
    arguments = (
        a.ctypes.data,
        depth,
        b.ctypes.data,
        c.ctypes.data,
        columns,
        rows,
        columns,
        depth,
        depth,
        False,
        NONE_BESIDE,
    )
    multiply_packed(*arguments)
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        multiply_packed(*arguments)
        calls += 1
    return 2.0 * rows * columns * depth * calls / (time.perf_counter() - start)
