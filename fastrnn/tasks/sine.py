"""Sine wave generation: a constant input commands the frequency of the output."""

from __future__ import annotations

import numpy as np

from ..compiled import compiled
from ..counters import uniforms

# steps T of 0.01 s; frequency = slope * input + offset, cycles per step
SETTINGS = {"steps": 500, "frequency_slope": 0.04, "frequency_offset": 0.01}


@compiled
def trial(stream, settings, inputs, targets, mask):
    """Input u ~ U(0, 1), constant; target sin(2 pi w t), w = slope u + offset, t = 1 to T."""
    u = np.empty(1, np.float32)
    uniforms(stream, u)
    w = settings[1] * u[0] + settings[2]
    # sin((t + 1) a) = 2 cos(a) sin(t a) - sin((t - 1) a), in float64: error below 1e-12 over any T in use
    a = 2.0 * np.pi * w
    before, now, twice = 0.0, np.sin(a), 2.0 * np.cos(a)
    for t in range(inputs.shape[0]):
        inputs[t, 0] = u[0]
        targets[t, 0] = now
        before, now = now, twice * now - before
