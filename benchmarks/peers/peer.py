"""What every peer offers, and the check that it computes what we compute."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

TOLERANCE = 1e-4  # relative error of losses and gradients; both sides are float32
CHECKED_NETWORKS = 2
BIASED = {"ugrnn": "g", "gru": "g", "lstm": "f"}  # by cell, the block of gates that gets the gate's bias


class Trainer:
    """N networks in training on trials that lie ready: peers are not charged for drawing them."""

    networks: int

    def __call__(self, iterations: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds."""


class Peer:
    """One way to train networks with another library.

    name : short, for results; label : for tables, 14 letters at most; title : for pictures; library : what must be
    installed; batched : whether it trains several networks at once, so that their number matters
    """

    name = ""
    label = ""
    title = ""
    library = ""
    batched = False

    def is_installed(self) -> bool:
        return find_spec(self.library) is not None

    def supports(self, cell: str, activation: str) -> bool:
        """Whether it can train such networks."""
        return True

    def same_cell(self, cell: str) -> bool:
        """Whether its cell of that name is ours."""
        return True

    def use(self, threads: int) -> None:
        """Load the library and give it so many threads."""

    def loss_and_gradients(self, networks, inputs, targets):
        """As `engine.loss_and_gradients`."""
        raise NotImplementedError

    def trainer(self, work, N: int) -> Trainer:
        """N networks ready to be trained."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what `use` took."""


def largest_errors(peer: Peer, engine, work) -> dict[str, float]:
    """Relative errors of a peer's losses, and of its gradients (the worst of all networks and parameters)."""
    networks = work.networks(CHECKED_NETWORKS)
    inputs, targets = work.trials(networks)
    losses, gradients = engine.loss_and_gradients(networks, inputs, targets)
    their_losses, their_gradients = peer.loss_and_gradients(networks, inputs, targets)
    errors = [
        np.linalg.norm(np.subtract(their_gradients[name][i], ours[i], dtype=np.float64)) / np.linalg.norm(ours[i])
        for name, ours in gradients.items()
        for i in range(len(networks))
    ]
    # NumPy's maximum is NaN where any is
    return {"loss": float(np.max(np.abs(np.asarray(their_losses) / losses - 1))), "gradients": float(np.max(errors))}
