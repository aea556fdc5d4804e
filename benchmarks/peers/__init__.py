"""What others would use instead: each file one way to train the same networks with another library.

`svcca_pairs`, `cayley_descent` and `adam_descent` stand in for our analyses instead.
"""

from __future__ import annotations

from .peer import Peer, Trainer

__all__ = ["Peer", "Trainer", "all_peers", "installed_peers"]


def installed_peers() -> list[Peer]:
    """The peers whose library is installed; the library is loaded when a peer is first used."""
    return [peer for peer in all_peers() if peer.is_installed()]


def all_peers() -> list[Peer]:
    """All of them, in the order of the tables."""
    # here, or a worker, which is a module of these run as a program, would find itself imported already
    from .jax_processes import JaxProcesses
    from .jax_vmap import JaxVmap
    from .torch_batched import TorchBatched
    from .torch_modules import TorchModules
    from .torch_processes import TorchProcesses

    return [JaxVmap(), JaxProcesses(), TorchBatched(), TorchModules(), TorchProcesses()]
