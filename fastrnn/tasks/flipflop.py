"""Flip-flop memory: each channel's output is the last non-zero pulse of its input (Sussillo and Barak 2013)."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled
from ..counters import words

# channels; steps T; pulse_probability at each step and channel (the paper's value)
SETTINGS = {"channels": 3, "steps": 100, "pulse_probability": 0.05}


@compiled
def trial(stream, settings, inputs, targets, mask):
    """One word for each step and channel: below p 2^32 it is a pulse, and its sign is whether it is below p 2^31.

    At step 0 every channel has a pulse, the top bit of its word being the sign.
    """
    steps, channels = inputs.shape
    raw = np.empty(steps * channels, np.uint32)
    words(stream, raw)
    limit = np.uint32(min(settings[2] * 2.0**32, 2.0**32 - 1.0))
    half = np.uint32(limit >> np.uint32(1))
    flat = inputs.reshape(steps * channels)
    for e in range(steps * channels):
        sign = np.float32(1.0) if raw[e] < half else np.float32(-1.0)
        flat[e] = sign if raw[e] < limit else np.float32(0.0)
    for j in range(channels):
        inputs[0, j] = np.float32(1.0) if raw[j] >= np.uint32(0x80000000) else np.float32(-1.0)
        memory = inputs[0, j]
        for t in range(steps):
            memory = inputs[t, j] if inputs[t, j] != np.float32(0.0) else memory
            targets[t, j] = memory
