"""What others would use instead: each file one way to train the same networks with another library."""

from __future__ import annotations

from .peer import Peer, Trainer

__all__ = ["PEERS", "Peer", "Trainer", "installed_peers"]


def installed_peers() -> list[Peer]:
    """The peers whose library is installed; the library is loaded when a peer is first used."""
    return [peer for peer in PEERS() if peer.is_installed()]


def PEERS() -> list[Peer]:
    """All of them, in the order of the tables."""
    from .jax_vmap import JaxVmap
    from .torch_batched import TorchBatched
    from .torch_modules import TorchModules
    from .torch_processes import TorchProcesses

    return [JaxVmap(), TorchBatched(), TorchModules(), TorchProcesses()]
