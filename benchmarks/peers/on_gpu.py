"""The same peers on a GPU: each function makes a trainer of N networks there, or on the CPU to try the code out."""

from __future__ import annotations

import os


def jax_vmap(work, N: int, gpu: bool):
    """JAX jit(vmap(scan)); takes the GPU by itself where its CUDA version is installed; products are in TF32 there."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or nothing is left for the others
    import jax

    from .jax_vmap import JaxTrainer

    if gpu and jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX runs on {jax.default_backend()} here: pip install 'jax[cuda13]'")
    networks = work.networks(N)
    return JaxTrainer(networks, *work.trials(networks))


def torch_batched(work, N: int, gpu: bool):
    """PyTorch, batched products of all networks, step by step."""
    import torch

    from .torch_batched import BatchedTrainer

    class OnDevice(BatchedTrainer):
        """The same, every tensor on one device."""

        def __init__(self, *arguments):
            self.device = torch.device("cuda" if gpu else "cpu")
            with self.device:
                super().__init__(*arguments)
            self._trials = tuple(trial.to(self.device) for trial in self._trials)

        def __call__(self, iterations):
            with self.device:
                super().__call__(iterations)
            if gpu:
                torch.cuda.synchronize()

    networks = work.networks(N)
    return OnDevice(networks, *work.trials(networks))


def cudnn_modules(work, N: int, gpu: bool):
    """torch.nn's layers, which call cuDNN, one network after the other; eight stand for all, taking equally long."""
    import torch

    layer = {"vanilla": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[work.cell]
    device = torch.device("cuda" if gpu else "cpu")

    class OneByOne:
        """A layer, a readout and an optimiser a network."""

        networks = min(N, 8)

        def __init__(self):
            inputs, targets = work.trials(work.networks(self.networks))
            self.trials = [
                tuple(torch.from_numpy(a[i]).to(device) for a in (inputs, targets)) for i in range(len(inputs))
            ]
            self.layers = [layer(work.task.D, work.n, batch_first=True).to(device) for _ in self.trials]
            self.readouts = [torch.nn.Linear(work.n, work.task.K).to(device) for _ in self.trials]
            self.optimizers = [
                torch.optim.SGD([*one.parameters(), *two.parameters()], lr=1e-4, momentum=0.9)
                for one, two in zip(self.layers, self.readouts, strict=True)
            ]

        def __call__(self, iterations):
            for _ in range(iterations):
                for one, two, step, (x, y) in zip(
                    self.layers, self.readouts, self.optimizers, self.trials, strict=True
                ):
                    step.zero_grad()
                    (two(one(x)[0]) - y).square().mean().backward()
                    torch.nn.utils.clip_grad_norm_([*one.parameters(), *two.parameters()], 1.0)
                    step.step()
            if gpu:
                torch.cuda.synchronize()

        def close(self):
            self.layers = self.readouts = self.optimizers = self.trials = ()

    return OneByOne()


PEERS = {"JAX vmap": jax_vmap, "PyTorch bmm": torch_batched, "cuDNN one at a time": cudnn_modules}
