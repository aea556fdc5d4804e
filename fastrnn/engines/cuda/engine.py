"""The CUDA engine's face: the same methods as the CPU engine's, groups cut where the device's memory is short."""

from __future__ import annotations

import numpy as np

from ...cells import get_cell
from ...counters import TRAINING, VALIDATION
from ...errors import RunError, Status, UsageError
from ...shapes import check_shape
from ..checks import check_networks, check_points, check_run_inputs, check_trials, whole_number
from .gpu import find_gpu
from .group import Group
from .launch import Launcher
from .tiling import MULTIPLES, check_size, jacobian_points, levenberg_marquardt, step_points

EVALUATED = 64  # trials at once where no gradient is asked for
MATRICES_BYTES = 4 << 30  # of the starts that are searched at once: each has two matrices (S, S)


class CUDAEngine:
    """Trains and runs networks on a GPU.

    All networks of a group advance in the same launches, and groups beside each other. A network's results are the
    same bits whatever the group it is in, on one kind of device.

    Parameters
    ----------
    device : default the GPU that is found
    precision : "float32"; "bf16x3" has matrix products on tensor cores, each operand in two parts of bf16
    """

    name = "cuda"
    threads = 1  # as seen by who shares work out: one device does everything at once

    def __init__(self, device=None, precision: str = "float32"):
        if precision not in MULTIPLES:
            raise UsageError(f"unknown precision {precision!r}; the precisions are {', '.join(MULTIPLES)}")
        self.precision = precision
        self.device = find_gpu() if device is None else device
        self.launcher = Launcher(self.device)

    @property
    def processor(self) -> str:
        """Kind of device, on which the bits of a result depend."""
        major, minor = self.device.capability
        precision = "" if self.precision == "float32" else f", {self.precision}"
        return f"{self.device.name}, compute capability {major}.{minor}{precision}"

    @property
    def description(self) -> str:
        return f"cuda ({self.processor})"

    # ------------------------------------------------------------------------------------------------- training

    def advance(self, networks, optimizer, task, iterations: int, batch: int = 64) -> np.ndarray:
        """Advance every network that is in training by at most `iterations`, in place.

        Returns
        -------
        losses : float32 (N, iterations), the data term at each iteration; NaN where none was run or it diverged
        """
        return self.advance_all([(networks, optimizer)], task, iterations, batch)[0]

    def advance_all(self, groups, task, iterations: int, batch: int = 64) -> list[np.ndarray]:
        """`advance` for several groups, which fill the device together.

        Parameters
        ----------
        groups : list of (Networks, Optimizer)
        task : Task; each network draws its own trials from its key
        iterations : at most so many for each network, never beyond its `decay_steps`
        batch : trials an iteration, B

        Raises
        ------
        UsageError
            for a size the kernels can't do
        RunError
            when not even one network fits into the device's memory
        """
        if iterations < 0 or iterations != int(iterations):
            raise UsageError(f"iterations must be a whole number, 0 or more; it is {iterations!r}")
        batch = whole_number("batch", batch)
        for networks, optimizer in groups:
            check_networks(networks, task, optimizer)
            check_size(networks.n, self.precision)
        if not groups or not iterations:
            return [np.full((len(networks), iterations), np.nan, np.float32) for networks, _ in groups]
        return self._cut(groups, lambda groups: self._advance(groups, task, int(iterations), batch))

    def _cut(self, groups, work, one: str = "network"):
        """`work(groups)`, a list with an array for each; in smaller pieces where they do not fit into memory.

        groups : tuples of what is cut along the first axis, networks in front, or something else that `one` names
        """
        try:
            return work(groups)
        except MemoryError as error:
            self.device.release()
            whole = groups[0]
            if len(groups) == 1 and len(whole[0]) == 1:
                what = f"one network ({whole[0]!r})" if one == "network" else f"one {one}"
                raise RunError(
                    f"{what} does not fit into the free memory of {self.device.name} ({error}): "
                    "end what else uses the device, or take fewer trials or steps"
                ) from error
        if len(groups) > 1:
            half = len(groups) // 2
            return self._cut(groups[:half], work, one) + self._cut(groups[half:], work, one)
        half = len(whole[0]) // 2
        pieces = (tuple(part[piece] for part in whole) for piece in (slice(None, half), slice(half, None)))
        return [np.concatenate([self._cut([piece], work, one)[0] for piece in pieces])]

    def _advance(self, groups, task, iterations: int, batch: int) -> list[np.ndarray]:
        trained = []
        for index, (networks, optimizer) in enumerate(groups):
            with self.device.stream(index):
                group = Group(self.launcher, networks, batch, task.T, way_back=True, precision=self.precision)
                group.begin_training(optimizer, iterations)
                trained.append((group, group.begin_drawing(task)))
        for it in range(iterations):
            for index, (group, drawing) in enumerate(trained):
                with self.device.stream(index):
                    if drawing:
                        group.draw(drawing, TRAINING)
                    else:
                        _draw_here(group, groups[index][1], task, it)
                    group.roll_out()
                    group.read_out()
                    group.go_back()
                    group.descend(it)
        all_losses = []
        for index, ((group, _), (_, optimizer)) in enumerate(zip(trained, groups, strict=True)):
            with self.device.stream(index):
                all_losses.append(group.end_training(optimizer))
        return all_losses

    # -------------------------------------------------------------------------------------- losses and gradients

    def loss(self, networks, task, trials: int = 512, purpose: int = VALIDATION) -> np.ndarray:
        """The data term of each network on its own validation trials (or another purpose's), float64 (N,)."""
        check_networks(networks, task)
        check_size(networks.n, self.precision)
        trials = whole_number("trials", trials)

        def evaluate(groups):
            return [self._loss(networks, task, trials, purpose) for (networks,) in groups]

        return self._cut([(networks,)], evaluate)[0]

    def _loss(self, networks, task, trials: int, purpose: int) -> np.ndarray:
        batch = min(trials, EVALUATED)
        with self.device.stream(0):
            group = Group(self.launcher, networks, batch, task.T, way_back=False, precision=self.precision)
            drawing = group.begin_drawing(task)
            drawn = None if drawing else task.draw(networks.keys, purpose, 0, trials)
            sums = np.zeros((len(networks), 2))
            for first in range(0, trials, batch):
                count = min(batch, trials - first)
                if drawing:
                    group.draw(drawing, purpose, first, count)
                else:
                    group.put_trials(*(array[:, first : first + count] for array in drawn))
                group.roll_out()
                group.read_out()
                for part in np.moveaxis(self.device.to_host(group.sums), 1, 0):  # slice after slice, in order
                    sums += part
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[:, 0] / (sums[:, 1] * networks.K)

    def loss_and_gradients(self, networks, inputs, targets, mask=None):
        """The data term and its gradient by every parameter.

        Parameters
        ----------
        inputs (N, B, T, D), targets (N, B, T, K) : each network's own trials
        mask (N, B, T) : weights of the steps, default one; the loss is the weighted mean of the squared error

        Returns
        -------
        losses : float64 (N,)
        gradients : dict of float32 arrays named and shaped as `networks.arrays`
        """
        trials = check_trials(networks, inputs, targets, mask)
        check_size(networks.n, self.precision)

        def differentiate(groups):
            return [self._gradients(*group) for group in groups]

        made = self._cut([(networks, *trials)], differentiate)[0]
        return made[:, -2:].copy().view(np.float64)[:, 0], networks.named(np.ascontiguousarray(made[:, :-2]))

    def _gradients(self, networks, inputs, targets, mask) -> np.ndarray:
        """Gradients and, in the last two float32 of each row, the float64 loss: (N, M + 2)."""
        with self.device.stream(0):
            group = Group(
                self.launcher, networks, inputs.shape[1], inputs.shape[2], way_back=True, precision=self.precision
            )
            group.put_trials(inputs, targets, mask)
            group.roll_out()
            group.read_out()
            group.go_back()
            losses = self.device.to_host(group.losses)
            gradients = group.download(group.gradients[:, 0])
        return np.concatenate([gradients, losses[:, None].view(np.float32)], axis=1)

    def run(self, networks, inputs):
        """Roll networks out from their initial states.

        Parameters
        ----------
        inputs : (N, B, T, D), or (B, T, D) common to all networks

        Returns
        -------
        states (N, B, T, S) after each step, outputs (N, B, T, K), float32
        """
        inputs = check_run_inputs(networks, inputs)
        check_size(networks.n, self.precision)

        def roll(groups):
            return [self._run(networks, inputs) for networks, inputs in groups]

        made = self._cut([(networks, inputs)], roll)[0]
        return np.ascontiguousarray(made[..., : networks.S]), np.ascontiguousarray(made[..., networks.S :])

    def _run(self, networks, inputs) -> np.ndarray:
        """States and outputs side by side, (N, B, T, S + K)."""
        N, B, T, _ = inputs.shape
        batch = min(B, EVALUATED)
        made = np.empty((N, B, T, networks.S + networks.K), np.float32)
        with self.device.stream(0):
            group = Group(self.launcher, networks, batch, T, way_back=False, precision=self.precision)
            for first in range(0, B, batch):
                piece = inputs[:, first : first + batch]
                nothing = np.zeros((*piece.shape[:3], networks.K), np.float32)
                group.put_trials(piece, nothing, nothing[..., 0])
                group.roll_out()
                group.read_out(graded=False)
                count = piece.shape[1]
                states, outputs = self.device.to_host(group.states), self.device.to_host(group.errors)
                made[:, first : first + count, :, : networks.S] = np.swapaxes(states[:, 1:, :count], 1, 2)
                made[:, first : first + count, :, networks.S :] = np.swapaxes(outputs[:, :, :count], 1, 2)
        return made

    # ----------------------------------------------------------------------------------------------- for analyses

    def step(self, networks, states, inputs) -> np.ndarray:
        """One update in float64: states (N, M, S), inputs (N, M, D) or (M, D) -> (N, M, S); any n."""
        states, inputs = check_points(networks, states, inputs)
        return self._cut([(networks, states, inputs)], lambda groups: [self._step(*group) for group in groups])[0]

    def _step(self, networks, states, inputs):
        kernel = step_points(networks.cell, networks.activation, networks.n, networks.D)
        return self._at_points(kernel, "next", states.shape, networks, states, inputs)

    def jacobian(self, networks, states, inputs):
        """Jacobians of the update in float64, by state (N, M, S, S) and by input (N, M, S, D); any n."""
        states, inputs = check_points(networks, states, inputs)
        made = self._cut([(networks, states, inputs)], lambda groups: [self._jacobian(*group) for group in groups])[0]
        S = networks.S
        return np.ascontiguousarray(made[..., :S]), np.ascontiguousarray(made[..., S:])

    def _jacobian(self, networks, states, inputs):
        kernel = jacobian_points(networks.cell, networks.activation, networks.n, networks.D)
        shape = (*states.shape, networks.S + networks.D)
        return self._at_points(kernel, "jacobians", shape, networks, states, inputs)

    def _at_points(self, kernel, name: str, shape, networks, states, inputs) -> np.ndarray:
        """What a kernel makes of shape `shape` at states (N, M, S) and inputs (N, M, D)."""
        xp = self.device.xp
        with self.device.stream(0):
            made = xp.empty(shape, np.float64)
            on_device = {"parameters": networks.parameters, "states": states, "inputs": inputs}
            on_device = {key: xp.array(np.ascontiguousarray(array)) for key, array in on_device.items()}
            if made.size:
                self.launcher.launch(
                    kernel,
                    states.shape[:2],
                    **on_device,
                    **{name: made},
                    gate_bias=networks.gate_bias,
                    stride=networks.count,
                    n=networks.n,
                    D=networks.D,
                )
            return self.device.to_host(made)

    def levenberg_marquardt(self, networks, which, states, inputs, limits, rules, iterations: int, patience: int):
        """Fixed points by Levenberg-Marquardt in float64, all starts of all networks in one launch; any n.

        Parameters
        ----------
        which : int (M,), the network of each start
        states (M, S) : starts; inputs (M, D) : held
        limits : (S,), the search stays where |h_u| <= limit_u
        rules : (M, 6), each start's tolerance, q at which to stop, first, least and largest mu, relative fall of q that
            is no progress; see `analysis.levenberg_marquardt`
        patience : steps without progress before a start is left where it is

        Returns
        -------
        h (M, S), q (M,), iterations (M,)
        """
        N, M, S = len(networks), len(states), networks.S
        which, states = np.asarray(which, np.int32), check_shape("states", np.asarray(states, np.float64), "MS", S=S)
        if which.shape != (M,) or not np.all((which >= 0) & (which < N)):
            raise UsageError(f"which must be {M} indices of the {N} networks; it is {which!r}")
        inputs = check_shape("inputs", np.asarray(inputs, np.float64), "MD", M=M, D=networks.D)
        rules = check_shape("rules", np.asarray(rules, np.float64), ("M", "numbers"), M=M, numbers=6)
        limits = check_shape("limits", np.asarray(limits, np.float64), "S", S=S)
        starts = (states, which, inputs, rules)

        def search(groups):
            return [self._levenberg_marquardt(networks, *group, limits, iterations, patience) for group in groups]

        most, made = max(1, MATRICES_BYTES // (16 * S * S)), [np.empty((0, S + 2))]
        for first in range(0, M, most):
            made += self._cut([tuple(array[first : first + most] for array in starts)], search, "start")
        made = np.concatenate(made)
        return np.ascontiguousarray(made[:, :S]), made[:, S].copy(), made[:, S + 1].astype(np.int64)

    def _levenberg_marquardt(self, networks, states, which, inputs, rules, limits, iterations, patience) -> np.ndarray:
        """Ends, q and iterations side by side, (M, S + 2)."""
        M, S = states.shape
        xp = self.device.xp
        with self.device.stream(0):
            given = {"parameters": networks.parameters, "states": states, "networks": which, "inputs": inputs}
            given |= {"limits": limits, "rules": rules}
            given = {name: xp.array(np.ascontiguousarray(array)) for name, array in given.items()}
            q, taken = xp.empty(M, np.float64), xp.empty(M, np.int32)
            self.launcher.launch(
                levenberg_marquardt(networks.cell, networks.activation, networks.n, networks.D),
                (M,),
                **given,
                work=xp.empty((M, 2, S, S), np.float64),
                q_out=q,
                taken_out=taken,
                gate_bias=networks.gate_bias,
                stride=networks.count,
                n=networks.n,
                D=networks.D,
                iterations=iterations,
                patience=patience,
            )
            return np.column_stack([self.device.to_host(array) for array in (given["states"], q, taken)])

    # -------------------------------------------------------------------------------------------------- estimates

    def warm_up(self, cell: str, activation: str) -> None:
        """Nothing: kernels are made for sizes as well, at the first iteration of a group."""

    def seconds_per_iteration(self, cell: str, activation: str, n: int, task, batch: int = 64) -> float:
        """Estimated time of one training iteration of one network among many; `UsageError` for a size not supported."""
        check_size(n, self.precision)
        gates = get_cell(cell).gates
        flops = task.T * batch * (6 * gates * n * n + 4 * gates * n * task.D + 6 * n * task.K)
        return flops / self.device.rate

    def workspace_bytes(self, cell: str, n: int, task, batch: int = 64) -> int:
        """Memory of the computer that a network in flight takes beyond its state: none, trials live on the device."""
        return 0


def _draw_here(group: Group, optimizer, task, it: int) -> None:
    """Trials of a user's task, drawn by the processor: networks that are at the same iteration together."""
    keys, iterations = group.networks.keys, np.minimum(optimizer.iteration + it, optimizer.decay_steps)
    ready = (optimizer.status == Status.TRAINING) & (iterations < optimizer.decay_steps)
    for iteration in np.unique(iterations[ready]):
        which = np.flatnonzero(ready & (iterations == iteration))
        group.put_trials(*task.draw(keys[which], TRAINING, int(iteration), group.B), which=which)
