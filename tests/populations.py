"""Small populations that train in a moment, and comparison of runs to the bit."""

import numpy as np

from fastrnn.runs import load_run
from fastrnn.spec import PopulationSpec

SMALL = {
    "task": "flipflop",
    "task_settings": {"steps": 6},
    "cells": ("vanilla", "gru"),
    "activations": "tanh",
    "sizes": 4,
    "seeds": 2,
    "iterations": 20,
    "batch": 4,
}


def small(**changes) -> PopulationSpec:
    return PopulationSpec.from_settings(SMALL | changes)


def contents(path) -> dict:
    """By network: its parameters, losses and everything else a run keeps of it."""
    run = load_run(path)
    networks = {}
    for group in run.finished_groups():
        finished = run.finished(group)
        for i, name in enumerate(finished.ids):
            arrays = {key: getattr(finished, key)[i] for key in finished.ARRAYS}
            networks[name] = arrays | {key: array[i] for key, array in finished.networks.arrays.items()}
    return networks


def assert_same_bits(path, other, of=None) -> None:
    """Every network of `other` (or those named) is in `path` too, equal to the bit."""
    here, there = contents(path), contents(other)
    names = list(there) if of is None else of
    assert names
    assert set(names) <= set(here)
    for name in names:
        for key, array in there[name].items():
            np.testing.assert_array_equal(here[name][key], array, err_msg=f"{key} of {name}", strict=True)
