"""Networks of one group on the device: their arrays, and the launches that work on them.

What has steps and trials is time first, (N, T, P, ...), P being the trials rounded up to whole tiles; see
`kernels/layout.cuh`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...cells import get_cell
from ...cells.leaky import alpha_of, noise_scale
from ...counters import NOISE
from ...errors import Status
from ...optimizer import ADAM, EPSILON, SQUARES_DECAY
from .launch import Launcher
from .tiling import Kernel, Tiling, check_inputs, make_tiling

LINE = 32  # floats; each network's parameters begin on a cache line
TRIAL_THREADS, UPDATE_THREADS, FRAGMENT_THREADS = 128, 512, 256
TRANSPOSE_THREADS, TRANSPOSE_EDGE = 256, 16
TASKS = {"flipflop": "FlipFlop", "sine": "Sine", "cdi": "Cdi"}  # names in kernels/tasks.cuh
UPDATE = {name: Kernel("update", name, UPDATE_THREADS) for name in ("collect", "descend")}
TRANSPOSE = Kernel("update", "transpose", TRANSPOSE_THREADS)
FRAGMENTS = Kernel("update", "fragments", FRAGMENT_THREADS)
NOISE_BLOCKS = 64  # at most so many draw the noise of a network
DRAW_NOISE = Kernel("trials", "noise", 128)
COMMON = (TRANSPOSE, FRAGMENTS, *UPDATE.values())  # kernels of every group


def tiling_of(device, networks, batch: int, T: int, way_back: bool, precision: str) -> Tiling:
    """How the work of a group is cut on a device."""
    kind = (networks.cell, networks.activation, networks.n)
    tiling = make_tiling(*kind, batch, T, networks.D, device.shared_limit, precision)
    if way_back:
        check_inputs(tiling, networks.n, networks.D, device.shared_limit)
    return tiling


def drawing_kernel(task) -> Kernel | None:
    """The kernel that draws a built-in task's trials; None for any other task."""
    if not (task.built_in and task.name in TASKS):
        return None
    return Kernel("trials", f"trials<{TASKS[task.name]}>", TRIAL_THREADS)


def constant_of(networks) -> float:
    """What kernels take as `gate_bias`; of leaky cells alpha, so that no thread has to make it."""
    return alpha_of(networks.gate_bias) if get_cell(networks.cell).leaks else networks.gate_bias


class Trained(NamedTuple):
    """A group's state after training, copied from the device."""

    parameters: np.ndarray  # (N, M)
    velocity: np.ndarray  # (N, M)
    squares: np.ndarray  # (N, M) or (N, 0)
    iteration: np.ndarray  # (N,)
    status: np.ndarray  # (N,)
    losses: np.ndarray  # (N, iterations)

    def put_into(self, networks, optimizer) -> None:
        """In place of what was there."""
        networks.parameters[:] = self.parameters
        for name in ("velocity", "squares", "iteration", "status"):
            getattr(optimizer, name)[:] = getattr(self, name)


class Group:
    """N networks on the device, with room for batches of B trials of T steps.

    Parameters
    ----------
    networks : Networks; copied to the device, and back only when asked
    batch, T : trials and steps
    way_back : whether gradients will be asked for
    precision : of the matrix products, see `tiling.make_tiling`
    """

    def __init__(self, launcher: Launcher, networks, batch: int, T: int, way_back: bool, precision: str = "float32"):
        self.launcher, self.device, self.networks = launcher, launcher.device, networks
        self.B, self.T, self.D, self.K = batch, T, networks.D, networks.K
        cell = get_cell(networks.cell)
        self.tiling = tiling_of(self.device, networks, batch, T, way_back, precision)
        self.N, self.P, self.S, self.columns = len(networks), self.tiling.padded, networks.S, cell.gates * networks.n
        self.stride = -(-networks.count // LINE) * LINE
        self.gate_steps = T if way_back and cell.keeps_gates else 1
        N, P, xp = self.N, self.P, self.device.xp
        slices = self.tiling.slices
        self.parameters = self._padded(networks.parameters)
        self.status = self._upload(np.full(N, Status.TRAINING, np.int32))
        self.iterations = self._upload(np.zeros(N, np.int64))
        self.keys = self._upload(networks.keys)
        self.inputs = xp.empty((N, T, P, self.D), np.float32)
        self.targets = xp.empty((N, T, P, self.K), np.float32)
        self.mask = xp.empty((N, T, P), np.float32)
        self.states = xp.empty((N, T + 1, P, self.S), np.float32)
        self.gates = xp.empty((N, self.gate_steps, P, self.columns), np.float32)
        self.errors = xp.empty((N, T, P, self.K), np.float32)
        self.gradients = xp.empty((N, slices, self.stride), np.float32)
        self.sums = xp.empty((N, slices, 2), np.float64)
        self.precision, self.way_back, self.noise = precision, way_back, None
        if precision == "bf16x3":  # W_rec, and its transpose, as the lanes of a tensor core take them
            shape = (N, self.columns * networks.n // 4, 4)
            self.fragments, self.transposed = xp.empty(shape, np.uint32), xp.empty(shape, np.uint32)
        elif way_back:
            self.transposed = xp.empty((N, self.columns, networks.n), np.float32)
        if way_back:
            self.das = xp.empty((N, T, P, self.columns), np.float32)
            self.dh0 = xp.empty((N, self.tiling.tiles, self.S), np.float32)
            self.losses = xp.empty(N, np.float64)
            self.norms = xp.empty(N, np.float64)
            self.l2 = self._upload(np.zeros(N))
        self.launcher.compile_all([COMMON, self.tiling.kernels(way_back)])
        self.arrange()

    def _upload(self, array):
        """A copy on the device."""
        return self.device.xp.array(np.ascontiguousarray(array))

    def _padded(self, flat):
        """Parameters or velocities (N, M) on the device, a network from one cache line to the next."""
        padded = self.device.xp.zeros((len(flat), self.stride), np.float32)
        padded[:, : flat.shape[1]] = self._upload(flat)
        return padded

    def download(self, padded) -> np.ndarray:
        """Inverse of the padding: a new array (N, M) in the computer's memory; may take as much on the device."""
        return self.device.to_host(padded[:, : self.networks.count])

    def _launch(self, kernel: Kernel, blocks, side_by_side: int = 1, **arguments) -> None:
        """Launch `side_by_side` neighbouring blocks for each network, and all of that as often as `blocks` says."""
        if self.N:  # a launch has at least one block
            self.launcher.launch(kernel, (self.N * side_by_side, *blocks), status=self.status, **arguments)

    # ------------------------------------------------------------------------------------------------------- trials

    def begin_drawing(self, task):
        """The kernel that draws a built-in task's trials, and the settings it takes; None for any other task."""
        kernel = drawing_kernel(task)
        return kernel and (kernel, self._upload(task.values))

    def draw(self, drawing, purpose: int, first: int = 0, count: int | None = None) -> None:
        """Trials `first` to `first + count` - 1 of each network's iteration, filled in on the device."""
        kernel, settings = drawing
        self._launch(
            kernel,
            (-(-self.P // kernel.threads),),
            keys=self.keys,
            iterations=self.iterations,
            settings=settings,
            inputs=self.inputs,
            targets=self.targets,
            mask=self.mask,
            purpose=purpose,
            first=first,
            T=self.T,
            B=self.B if count is None else count,
            P=self.P,
            D=self.D,
            K=self.K,
        )

    def put_trials(self, inputs, targets, mask, which=None) -> None:
        """Trials from the computer's memory, (N, B, T, ...) with B up to the batch, for all networks or some."""
        count = inputs.shape[1]
        for place, array in ((self.inputs, inputs), (self.targets, targets), (self.mask, mask)):
            padded = np.empty((len(array), self.T, self.P, *array.shape[3:]), np.float32)
            padded[:, :, :count] = np.swapaxes(array, 1, 2)
            padded[:, :, count:] = 0 if place is self.mask else padded[:, :, count - 1 : count]
            place[slice(None) if which is None else which] = self._upload(padded)

    def draw_noise(self) -> None:
        """That of this iteration's pre-activations, where there is any: into `gates`, where `roll_out` finds it."""
        if self.noise is not None:
            self._launch(
                DRAW_NOISE,
                (min(self.P, NOISE_BLOCKS),),
                gates=self.gates,
                keys=self.keys,
                iterations=self.iterations,
                scales=self.noise,
                purpose=NOISE,
                T=self.T,
                P=self.P,
                n=self.networks.n,
            )

    # ------------------------------------------------------------------------------------------------ there and back

    def roll_out(self) -> None:
        """States and gates of all steps."""
        self._launch(
            self.tiling.rollout,
            (self.P // self.tiling.trials,),
            parameters=self.parameters,
            **({"fragments": self.fragments} if self.precision == "bf16x3" else {}),
            inputs=self.inputs,
            states=self.states,
            gates=self.gates,
            gate_bias=constant_of(self.networks),
            stride=self.stride,
            T=self.T,
            P=self.P,
            D=self.D,
            K=self.K,
            gate_steps=self.gate_steps,
            noisy=int(self.noise is not None),
        )

    def read_out(self, graded: bool = True) -> None:
        """Errors, sums of the loss, and the gradient of the readout; if not graded, only outputs, into `errors`."""
        self._launch(
            self.tiling.readout,
            (self.tiling.slices,),
            parameters=self.parameters,
            states=self.states,
            targets=self.targets,
            mask=self.mask,
            errors=self.errors,
            gradients=self.gradients,
            sums=self.sums,
            stride=self.stride,
            T=self.T,
            P=self.P,
            D=self.D,
            K=self.K,
            slices=self.tiling.slices,
            graded=graded,
        )

    def arrange(self) -> None:
        """The weights as the products take them, after each change of the parameters."""
        sizes = {"stride": self.stride, "n": self.networks.n, "columns": self.columns}
        if self.precision == "bf16x3":
            self._launch(
                FRAGMENTS,
                (-(-self.fragments.shape[1] // FRAGMENTS.threads),),
                parameters=self.parameters,
                forward_fragments=self.fragments,
                backward_fragments=self.transposed,
                **sizes,
            )
        elif self.way_back:
            blocks = (self.networks.n // TRANSPOSE_EDGE, self.columns // TRANSPOSE_EDGE)
            self._launch(TRANSPOSE, blocks, parameters=self.parameters, transposed=self.transposed, **sizes)

    def go_back(self) -> None:
        """The whole gradient of what was rolled and read out, penalty included, into slice 0; losses and norms."""
        self._launch(
            self.tiling.backward,
            (self.tiling.tiles,),
            parameters=self.parameters,
            **{"fragments" if self.precision == "bf16x3" else "transposed": self.transposed},
            states=self.states,
            gates=self.gates,
            errors=self.errors,
            das=self.das,
            dh0=self.dh0,
            gate_bias=constant_of(self.networks),
            stride=self.stride,
            T=self.T,
            P=self.P,
            D=self.D,
            K=self.K,
        )
        self.sum_gradients()
        self._launch(
            UPDATE["collect"],
            (),
            parameters=self.parameters,
            gradients=self.gradients,
            dh0=self.dh0,
            sums=self.sums,
            l2=self.l2,
            losses=self.losses,
            norms=self.norms,
            stride=self.stride,
            count=self.networks.count,
            at_h0=self.networks.count - self.S,
            slices=self.tiling.slices,
            tiles=self.tiling.tiles,
            K=self.K,
        )

    def sum_gradients(self) -> None:
        """The gradient of W_rec, W_in and b, by slices of the steps."""
        edges = self.networks.n // self.tiling.edge
        self._launch(
            self.tiling.weight_gradient,
            (self.tiling.slices,),
            edges * (self.columns // self.tiling.edge),
            states=self.states,
            inputs=self.inputs,
            gates=self.gates,
            das=self.das,
            gradients=self.gradients,
            stride=self.stride,
            T=self.T,
            P=self.P,
            slices=self.tiling.slices,
        )

    # ----------------------------------------------------------------------------------------------------- training

    def begin_training(self, optimizer, iterations: int) -> None:
        """The optimizer's state on the device, and room for `iterations` losses."""
        names = ("learning_rate", "decay", "momentum", "clip")
        self.hyperparameters = self._upload(np.stack([getattr(optimizer, name) for name in names], axis=1))
        self.l2 = self._upload(optimizer.l2)
        if optimizer.noise.any():
            self.launcher.compile_all([(DRAW_NOISE,)])
            self.noise = self._upload(noise_scale(optimizer.noise, self.networks.gate_bias))
        self.decay_steps = self._upload(optimizer.decay_steps)
        self.iterations = self._upload(optimizer.iteration)
        done = (optimizer.status == Status.TRAINING) & (optimizer.iteration >= optimizer.decay_steps)
        self.status = self._upload(np.where(done, Status.TRAINED, optimizer.status).astype(np.int32))
        self.velocities = self._padded(optimizer.velocity)
        self.adam = optimizer.method == ADAM
        self.squares = self._padded(optimizer.squares) if self.adam else self._upload(optimizer.squares)
        self.curves = self._upload(np.full((self.N, iterations), np.nan, np.float32))

    def descend(self, column: int) -> None:
        """One step of gradient descent; the loss goes into column `column` of the curves."""
        self._launch(
            UPDATE["descend"],
            (),
            parameters=self.parameters,
            velocities=self.velocities,
            squares=self.squares,
            gradients=self.gradients,
            losses=self.losses,
            norms=self.norms,
            hyperparameters=self.hyperparameters,
            decay_steps=self.decay_steps,
            iterations=self.iterations,
            curves=self.curves,
            stride=self.stride,
            count=self.networks.count,
            slices=self.tiling.slices,
            column=column,
            curve_length=self.curves.shape[1],
            squares_decay=SQUARES_DECAY if self.adam else 0.0,
            epsilon=EPSILON,
        )
        self.arrange()

    def end_training(self) -> Trained:
        """What training made, in the computer's memory."""
        return Trained(
            self.download(self.parameters),
            self.download(self.velocities),
            self.download(self.squares),  # of SGD, which has none, (N, 0)
            *(self.device.to_host(array) for array in (self.iterations, self.status, self.curves)),
        )
