"""JAX: the same training step, one single-threaded process a core, each with one network at a time.

XLA multiplies one network's matrices mostly faster than those of several side by side.
"""

from __future__ import annotations

import sys

from .jax_vmap import JaxTrainer, JaxVmap
from .workers import Processes, begin_worker, serve


class JaxProcesses(Processes, JaxVmap):
    """The processes together are one contender."""

    name = "jax-processes"
    label = "JAX processes"
    title = "JAX, one process a core"
    program = __name__
    library_title = "JAX"


if __name__ == "__main__":
    begin_worker(sys.argv[1:])
    JaxVmap().use(1)
    serve(JaxTrainer)
