"""PyTorch: the modules again, one single-threaded process a core."""

from __future__ import annotations

import sys

from .torch_modules import ModuleTrainer, TorchModules
from .workers import Processes, begin_worker, serve


class TorchProcesses(Processes, TorchModules):
    """The same modules; the processes together are one contender."""

    name = "torch-processes"
    label = "nn, processes"
    title = "torch.nn, one process a core"
    program = __name__
    library_title = "PyTorch"


if __name__ == "__main__":
    begin_worker(sys.argv[1:])
    import torch

    torch.set_num_threads(1)
    serve(ModuleTrainer)
