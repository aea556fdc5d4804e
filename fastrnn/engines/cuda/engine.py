"""The CUDA engine's face: what an engine does by launches, groups cut where the device's memory is short."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from ...cells import get_cell
from ...counters import TRAINING
from ...errors import RunError, Status, UsageError
from ...shapes import check_shape
from ..checks import check_precision
from ..engine import Engine, matrix_flops
from .gpu import find_gpu
from .group import COMMON, Group, constant_of, drawing_kernel, tiling_of
from .launch import Launcher
from .tiling import check_size, does_size, jacobian_points, levenberg_marquardt, sizes_in, step_points

EVALUATED = 64  # trials at once where no gradient is asked for
# Of the starts that are searched at once, each with two matrices (S, S); more would make launches of minutes where
# float64 is slow.
MATRICES_BYTES = 1 << 30
DRAWN_AHEAD = 4  # iterations whose trials the processor has drawn and the device not used yet


class CUDAEngine(Engine):
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
        check_precision(precision)
        self.precision = precision
        self.device = find_gpu() if device is None else device
        self.launcher = Launcher(self.device)
        self._too_large: dict[tuple, str] = {}  # what did not fit into memory once, and why; not tried again

    @property
    def processor(self) -> str:
        major, minor = self.device.capability
        precision = "" if self.precision == "float32" else f", {self.precision}"
        return f"{self.device.name}, compute capability {major}.{minor}{precision}"

    @property
    def description(self) -> str:
        return f"cuda ({self.processor})"

    @property
    def sizes(self) -> str:
        """Which sizes of networks it trains and runs, in words."""
        return sizes_in(self.precision)

    def does(self, n: int) -> bool:
        """Whether networks of n units are among them."""
        return does_size(n, self.precision)

    def _check_size(self, n: int) -> None:
        check_size(n, self.precision)

    # ------------------------------------------------------------------------------------------------- training

    def _advance_all(self, groups, task, iterations: int, batch: int) -> list[np.ndarray]:
        self.overhead = 0.0
        if not groups or not iterations:
            return [np.full((len(networks), iterations), np.nan, np.float32) for networks, _ in groups]

        def train(groups):
            stacks = (networks for networks, _ in groups)
            asked = (batch, task.T, *((len(s), s.cell, s.activation, s.n, s.D, s.K) for s in stacks))
            if asked in self._too_large:
                raise MemoryError(self._too_large[asked])
            try:
                return self._train(groups, task, iterations, batch)
            except MemoryError as error:
                if sum(len(networks) for networks, _ in groups) > 1:
                    self._too_large[asked] = str(error)
                raise

        return self._cut(groups, train)

    def _cut(self, groups, work, one: str = "network"):
        """`work(groups)`, a list with an array for each; in smaller pieces where they do not fit into memory.

        groups : tuples of what is cut along the first axis, networks in front, or something else that `one` names
        """
        try:
            return work(groups)
        except MemoryError as error:
            why = str(error)
        self.device.release()  # not before the error is gone, whose frames hold what there was of the arrays
        whole = groups[0]
        if len(groups) == 1 and len(whole[0]) == 1:
            what = f"one network ({whole[0]!r})" if one == "network" else f"one {one}"
            raise RunError(
                f"{what} does not fit into the free memory of {self.device.name} ({why}): "
                "end what else uses the device, or take fewer trials or steps"
            )
        if len(groups) > 1:
            half = len(groups) // 2
            return self._cut(groups[:half], work, one) + self._cut(groups[half:], work, one)
        half = len(whole[0]) // 2
        pieces = (tuple(part[piece] for part in whole) for piece in (slice(None, half), slice(half, None)))
        return [np.concatenate([self._cut([piece], work, one)[0] for piece in pieces])]

    def _cut_one(self, group, work, one: str = "network") -> np.ndarray:
        """`_cut` for one group and `work(*group)`, which gives its array."""
        return self._cut([group], lambda groups: [work(*groups[0])], one)[0]

    def _train(self, groups, task, iterations: int, batch: int) -> list[np.ndarray]:
        """Of groups that fit into memory together."""
        self.prepare([networks for networks, _ in groups], task, batch)
        start, trained = time.monotonic(), []
        try:
            for index, (networks, optimizer) in enumerate(groups):
                with self.device.stream(index):
                    group = Group(self.launcher, networks, batch, task.T, way_back=True, precision=self.precision)
                    group.begin_training(optimizer, iterations)
                    trained.append((group, group.begin_drawing(task)))
            self.device.synchronize()
        finally:  # where memory is short too
            self.overhead += time.monotonic() - start
        drawn_there = all(drawing for _, drawing in trained)
        for it in range(iterations):
            for index, (group, drawing) in enumerate(trained):
                with self.device.stream(index):
                    if drawing:
                        group.draw(drawing, TRAINING)
                    else:
                        _draw_here(group, groups[index][1], task, it)
                    group.draw_noise()
                    group.roll_out()
                    group.read_out()
                    group.go_back()
                    group.descend(it)
            if not drawn_there and (it + 1) % DRAWN_AHEAD == 0:
                self.device.synchronize()
        self.device.synchronize()
        start, results = time.monotonic(), []
        for index, (group, _) in enumerate(trained):
            with self.device.stream(index):
                results.append(group.end_training())
        for result, group in zip(results, groups, strict=True):  # after all copies: where one fails, `_cut` trains anew
            result.put_into(*group)
        self.overhead += time.monotonic() - start
        return [result.losses for result in results]

    def prepare(self, stacks, task, batch: int = 64) -> None:
        """Compile what training some stacks of networks takes, kinds and sizes beside each other."""
        tilings = (tiling_of(self.device, networks, batch, task.T, True, self.precision) for networks in stacks)
        kernel = drawing_kernel(task)
        trials = [(kernel,)] if kernel else []
        self.launcher.compile_all([COMMON, *trials, *dict.fromkeys(t.kernels(way_back=True) for t in tilings)])

    # -------------------------------------------------------------------------------------- losses and gradients

    def _loss(self, networks, task, trials: int, purpose: int) -> np.ndarray:
        return self._cut_one((networks,), lambda networks: self._evaluate(networks, task, trials, purpose))

    def _evaluate(self, networks, task, trials: int, purpose: int) -> np.ndarray:
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

    def _loss_and_gradients(self, networks, inputs, targets, mask):
        made = self._cut_one((networks, inputs, targets, mask), self._gradients)
        return made[:, -2:].copy().view(np.float64)[:, 0], np.ascontiguousarray(made[:, :-2])

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

    def _run(self, networks, inputs):
        made = self._cut_one((networks, inputs), self._roll_out)
        return np.ascontiguousarray(made[..., : networks.S]), np.ascontiguousarray(made[..., networks.S :])

    def _roll_out(self, networks, inputs) -> np.ndarray:
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

    def _step(self, networks, states, inputs):
        kernel = step_points(networks.cell, networks.activation, networks.n, networks.D)
        return self._at_points(kernel, "next", (networks.S,), networks, states, inputs)

    def _jacobian(self, networks, states, inputs):
        S, D = networks.S, networks.D
        kernel = jacobian_points(networks.cell, networks.activation, networks.n, D)
        made = self._at_points(kernel, "jacobians", (S, S + D), networks, states, inputs)
        return np.ascontiguousarray(made[..., :S]), np.ascontiguousarray(made[..., S:])

    def _at_points(self, kernel, name: str, shape, networks, states, inputs) -> np.ndarray:
        """What a kernel makes, of shape `shape` at each point, at states (N, M, S) and inputs (N, M, D)."""
        return self._cut_one((networks, states, inputs), partial(self._make_at_points, kernel, name, shape))

    def _make_at_points(self, kernel, name, shape, networks, states, inputs) -> np.ndarray:
        xp = self.device.xp
        with self.device.stream(0):
            made = xp.empty((*states.shape[:2], *shape), np.float64)
            on_device = {"parameters": networks.parameters, "states": states, "inputs": inputs}
            on_device = {key: xp.array(np.ascontiguousarray(array)) for key, array in on_device.items()}
            if made.size:
                self.launcher.launch(
                    kernel,
                    states.shape[1::-1],
                    **on_device,
                    **{name: made},
                    gate_bias=constant_of(networks),
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
        most = max(1, MATRICES_BYTES // (16 * S * S))
        pieces = (tuple(array[first : first + most] for array in starts) for first in range(0, M, most))

        def search(*piece):
            return self._levenberg_marquardt(networks, *piece, limits, iterations, patience)

        made = np.concatenate([np.empty((0, S + 2)), *(self._cut_one(piece, search, "start") for piece in pieces)])
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
                gate_bias=constant_of(networks),
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

    def seconds_per_iteration(
        self, cell: str, activation: str, n: int, task, batch: int = 64, noisy: bool = False
    ) -> float:
        """One network among many; noise is not counted."""
        check_size(n, self.precision)
        return matrix_flops(get_cell(cell).gates, n, task.D, task.K, task.T, batch) / self.device.rate

    def workspace_bytes(self, cell: str, n: int, task, batch: int = 64) -> int:
        """None: trials live on the device."""
        return 0


def _draw_here(group: Group, optimizer, task, it: int) -> None:
    """Trials of a user's task, drawn by the processor: networks that are at the same iteration together."""
    keys, iterations = group.networks.keys, np.minimum(optimizer.iteration + it, optimizer.decay_steps)
    ready = (optimizer.status == Status.TRAINING) & (iterations < optimizer.decay_steps)
    for iteration in np.unique(iterations[ready]):
        which = np.flatnonzero(ready & (iterations == iteration))
        group.put_trials(*task.draw(keys[which], TRAINING, int(iteration), group.B), which=which)
