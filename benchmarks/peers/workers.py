"""A library with one single-threaded process a core, each training networks of its own, as people do with joblib."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from fastrnn.errors import RunError
from fastrnn.tasks import get_task

from ..allocator import keep_freed_memory
from ..children import SAFELY, environment
from ..work import Work
from .peer import Trainer

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
READY = "ready\n"


class Workers:
    """Processes that each train one network; a line of JSON to each says what to do, one line back that it is done.

    Parameters
    ----------
    module : run as a program, which calls `serve`
    title : of the library, for errors
    count : of processes; each is held to one of the processors that this process may use, where the system can
    """

    def __init__(self, module: str, title: str, count: int):
        self._title = title
        self._processes, self._said = [], tempfile.TemporaryFile()  # a pipe that no one reads could fill
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._said, "text": True}
        for i in range(count):
            command = [sys.executable, *SAFELY, "-m", module, str(i)]
            self._processes.append(subprocess.Popen(command, env=environment() | ONE_THREAD, **pipes))

    def __len__(self) -> int:
        return len(self._processes)

    @property
    def alive(self) -> bool:
        """Whether none has ended."""
        return all(process.poll() is None for process in self._processes)

    def all_do(self, what) -> None:
        """Send to all, wait for the last."""
        for process in self._processes:
            try:
                process.stdin.write(json.dumps(what) + "\n")
                process.stdin.flush()
            except OSError:  # it has ended, and below it is asked why
                continue
        for process in self._processes:
            while (line := process.stdout.readline()) != READY:  # a library may print
                if not line:
                    self._said.seek(0)
                    said = self._said.read().decode(errors="replace").strip().splitlines()
                    raise RunError(f"a process with {self._title} ended: {said[-1] if said else 'no message'}")

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    pipe.close()
                except OSError:  # a line that no one reads any more
                    continue
        self._processes = []
        self._said.close()


class ProcessTrainer(Trainer):
    """One network in each process."""

    def __init__(self, workers: Workers, work: Work):
        self.networks = len(workers)
        self._workers = workers
        task = {"task": work.task.name, "settings": dict(work.task.settings)}
        self._workers.all_do(task | {"cell": work.cell, "activation": work.activation, "n": work.n, "B": work.batch})

    def __call__(self, iterations: int) -> None:
        self._workers.all_do(iterations)


class Processes:
    """What a peer of one process a core does in place of its base class. The processes stay until `close`.

    program : the module that is the worker; library_title : of the library
    """

    program = ""
    library_title = ""
    batched = False

    def __init__(self):
        self._workers = None

    def use(self, threads: int) -> None:
        super().use(threads)
        if self._workers and not self._workers.alive:
            self.close()
        self._workers = self._workers or Workers(self.program, self.library_title, threads)

    def trainer(self, work, N: int) -> Trainer:
        try:
            return ProcessTrainer(self._workers, work)
        except RunError:
            self.close()  # the next kind gets new processes
            raise

    def close(self) -> None:
        if self._workers:
            self._workers.close()
        self._workers = None


def serve(make: Callable[..., Trainer]) -> None:
    """Be a worker: a line of JSON is either work to take up or a number of iterations to train.

    make : of a stack of one network, its inputs and targets, (1, B, T, D) and (1, B, T, K)
    """
    for line in sys.stdin:
        said = json.loads(line)
        if isinstance(said, dict):
            task = get_task(said["task"], **said["settings"])
            work = Work(task, said["cell"], said["activation"], said["n"], said["B"])
            networks = work.networks(1)
            train = make(networks, *work.trials(networks))
        else:
            train(said)
        print(READY, end="", flush=True)


def begin_worker(arguments: list[str]) -> None:
    """Keep to the processor whose number among those allowed is given; before the library is loaded."""
    if arguments and hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(arguments[0]) % len(allowed)]})
    keep_freed_memory()
