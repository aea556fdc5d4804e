"""A GPU and the processor together: networks of the sizes that the GPU does on it, all others on the processor."""

from __future__ import annotations

import sys
from functools import cached_property

from .engine import Engine


class DividedEngine(Engine):
    """What device "auto" is where there is a GPU; says which networks are left to the processor.

    gpu : CUDAEngine; stands for both in everything that does not hang on the size
    cpu : CPUEngine, made when it is first needed
    """

    name = "cuda"
    threads = 1  # estimates are for all threads of the processor at once

    def __init__(self, gpu, cpu_threads: int | None = None):
        self.gpu, self._cpu_threads, self._left_to_cpu = gpu, cpu_threads, set()

    @cached_property
    def cpu(self):
        from .cpu.engine import CPUEngine

        return CPUEngine(self._cpu_threads)

    @property
    def processor(self) -> str:
        return self.gpu.processor

    @property
    def description(self) -> str:
        return self.gpu.description

    def of(self, n: int) -> Engine:
        if self.gpu.does(n):
            return self.gpu
        if n not in self._left_to_cpu:
            self._left_to_cpu.add(n)
            print(
                f"device auto: networks of n = {n} are left to {self.cpu.description}; the CUDA engine does sizes that "
                f"are {self.gpu.sizes}",
                file=sys.stderr,
            )
        return self.cpu

    def _advance_all(self, groups, task, iterations: int, batch: int) -> list:
        engines, made = [self.of(networks.n) for networks, _ in groups], {}
        self.overhead = 0.0
        for engine in dict.fromkeys(engines):
            mine = [k for k, one in enumerate(engines) if one is engine]
            losses = engine.advance_all([groups[k] for k in mine], task, iterations, batch)
            made |= zip(mine, losses, strict=True)
            self.overhead += engine.overhead
        return [made[k] for k in range(len(groups))]

    def _loss(self, networks, *arguments):
        return self.of(networks.n)._loss(networks, *arguments)

    def _loss_and_gradients(self, networks, *arguments):
        return self.of(networks.n)._loss_and_gradients(networks, *arguments)

    def _run(self, networks, inputs):
        return self.of(networks.n)._run(networks, inputs)

    def _step(self, *arguments):
        return self.gpu._step(*arguments)

    def _jacobian(self, *arguments):
        return self.gpu._jacobian(*arguments)

    def levenberg_marquardt(self, *arguments):
        """As of the GPU."""
        return self.gpu.levenberg_marquardt(*arguments)

    def warm_up(self, cell: str, activation: str) -> None:
        if self._left_to_cpu:
            self.cpu.warm_up(cell, activation)

    def seconds_per_iteration(
        self, cell: str, activation: str, n: int, task, batch: int = 64, noisy: bool = False
    ) -> float:
        engine = self.of(n)
        return engine.seconds_per_iteration(cell, activation, n, task, batch, noisy) / engine.threads

    def workspace_bytes(self, cell: str, n: int, task, batch: int = 64) -> int:
        engine = self.of(n)
        return engine.threads * engine.workspace_bytes(cell, n, task, batch)
