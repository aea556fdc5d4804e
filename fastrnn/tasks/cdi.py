"""Context-dependent integration: the running sum of the one of two noisy streams that the context names."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled
from ..counters import normals, substream, words

# steps T; mean_limit: each stream's mean is drawn from U(-mean_limit, mean_limit); noise: its standard deviation
SETTINGS = {"steps": 30, "mean_limit": 1.0, "noise": 1.0}


@compiled
def trial(stream, settings, inputs, targets, mask):
    """Inputs: context as one-hot (2), streams (2). Words 0 to 2: context (top bit), both means; substream 1: noise."""
    steps = inputs.shape[0]
    head = np.empty(4, np.uint32)
    words(stream, head)
    context = 1 if head[0] >= np.uint32(0x80000000) else 0
    mean = np.empty(2, np.float32)
    for j in range(2):
        uniform = np.float64(head[1 + j]) * 2.0**-32
        mean[j] = np.float32(settings[1] * (2.0 * uniform - 1.0))
    noise = np.empty(2 * steps, np.float32)
    normals(substream(stream, 1), noise)
    total = 0.0
    for t in range(steps):
        inputs[t, context] = 1.0
        for j in range(2):
            inputs[t, 2 + j] = mean[j] + np.float32(settings[2]) * noise[2 * t + j]
        total += inputs[t, 2 + context]
        targets[t, 0] = total
