"""PyTorch: the modules again, one single-threaded process a core, as people do with joblib."""

from __future__ import annotations

import json
import subprocess
import sys

from fastrnn.errors import RunError
from fastrnn.tasks import get_task

from ..allocator import keep_freed_memory
from ..children import environment
from ..work import Work
from .peer import Trainer
from .torch_modules import ModuleTrainer, TorchModules

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
READY = "ready\n"


class Workers:
    """Processes that each train one network; a line of JSON to each says what to do, one line back that it is done."""

    def __init__(self, count: int):
        command = [sys.executable, "-m", __name__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._processes = []
        for _ in range(count):
            self._processes.append(subprocess.Popen(command, env=environment() | ONE_THREAD, **pipes))

    def __len__(self) -> int:
        return len(self._processes)

    def all_do(self, what) -> None:
        """Send to all, wait for the last."""
        for process in self._processes:
            try:
                process.stdin.write(json.dumps(what) + "\n")
                process.stdin.flush()
            except OSError:  # it has ended, and below it is asked why
                continue
        for process in self._processes:
            if process.stdout.readline() != READY:
                said = process.stderr.read().strip().splitlines()
                raise RunError(f"a process with PyTorch ended: {said[-1] if said else 'no message'}")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                try:
                    pipe.close()
                except OSError:  # a line that no one reads any more
                    continue
        self._processes = []


class ProcessTrainer(Trainer):
    """One network in each process."""

    def __init__(self, workers: Workers, work: Work):
        self.networks = len(workers)
        self._workers = workers
        task = {"task": work.task.name, "settings": dict(work.task.settings)}
        self._workers.all_do(task | {"cell": work.cell, "activation": work.activation, "n": work.n, "B": work.batch})

    def __call__(self, iterations: int) -> None:
        self._workers.all_do(iterations)


class TorchProcesses(TorchModules):
    """The same modules; the processes together are one contender. They stay until `close`."""

    name = "torch-processes"
    label = "nn, processes"
    title = "torch.nn, one process a core"

    def __init__(self):
        self._workers = None

    def use(self, threads: int) -> None:
        super().use(threads)
        self._workers = self._workers or Workers(threads)

    def trainer(self, work, N: int, threads: int) -> Trainer:
        try:
            return ProcessTrainer(self._workers, work)
        except RunError:
            self.close()  # the next kind gets new processes
            raise

    def close(self) -> None:
        if self._workers:
            self._workers.close()
        self._workers = None


def main() -> None:
    """A worker: a line of JSON is either work to take up or a number of iterations to train."""
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    for line in sys.stdin:
        said = json.loads(line)
        if isinstance(said, dict):
            task = get_task(said["task"], **said["settings"])
            work = Work(task, said["cell"], said["activation"], said["n"], said["B"])
            networks = work.networks(1)
            train = ModuleTrainer(networks, *work.trials(networks))
        else:
            train(said)
        print(READY, end="", flush=True)


if __name__ == "__main__":
    main()
