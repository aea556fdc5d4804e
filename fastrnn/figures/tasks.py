"""What the tasks ask for and what one network makes of it (panels 1a, 2a, 3a of the paper)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..analysis.portrait import Portrait
from .figure import ACTIVATION_COLOURS, OTHER, PAIR, evenly, in_house_style, kind_name, new_figure

INPUT = "#9a9a9a"
TARGET = {"color": "black", "linewidth": 0.9, "linestyle": (0, (3, 2)), "zorder": 3}
SINES = 4  # input values shown
STEPS = 200  # of a sine that are shown


@in_house_style
def task(one: Portrait, name: str) -> Figure:
    """Trials of a task: inputs, targets (dashed) and what the network `one` gave, in its activation's colour."""
    draw = {"flipflop": _flipflop, "sine": _sine, "cdi": _cdi}.get(name, _any)
    figure = draw(one)
    figure.suptitle(f"Outputs of {kind_name(one.cell, one.activation, one.n)}", x=0.01, ha="left")
    return figure


def _flipflop(one: Portrait) -> Figure:
    K = one.targets.shape[2]
    figure, axes = new_figure(4.2, 0.9 + 0.75 * K, K, 1, sharex=True, sharey=True)
    steps = np.arange(one.inputs.shape[1])
    for k, ax in enumerate(axes[:, 0]):
        pulses = np.flatnonzero(one.inputs[0, :, k])
        ax.vlines(pulses, 0, one.inputs[0, pulses, k], color=INPUT, linewidth=1.6)
        ax.plot(steps, one.outputs[0, :, k], color=_colour(one), linewidth=1.3)
        ax.plot(steps, one.targets[0, :, k], **TARGET)
        ax.set_ylabel(f"channel {k + 1}")
        ax.set_yticks([-1, 0, 1])
    axes[-1, 0].set_xlabel("time step")
    _key(figure, one, [(INPUT, "-", "input pulses")])
    return figure


def _sine(one: Portrait) -> Figure:
    shown = evenly(len(one.inputs), SINES)
    figure, axes = new_figure(4.2, 0.9 + 0.7 * len(shown), len(shown), 1, sharex=True, sharey=True)
    length = min(STEPS, one.inputs.shape[1])
    steps = np.arange(1, length + 1)
    for trial, ax in zip(shown, axes[:, 0], strict=True):
        ax.plot(steps, one.outputs[trial, :length, 0], color=_colour(one), linewidth=1.3)
        ax.plot(steps, one.targets[trial, :length, 0], **TARGET)
        ax.text(1.01, 0.5, f"input\n{one.inputs[trial, 0, 0]:.2f}", transform=ax.transAxes, fontsize=7, va="center")
    axes[-1, 0].set_xlabel(f"time step (the first {length} of {one.inputs.shape[1]})")
    figure.supylabel("output", fontsize=8)
    _key(figure, one, [])
    return figure


def _cdi(one: Portrait) -> Figure:
    contexts = [np.flatnonzero(one.inputs[:, 0, c] == 1)[:1] for c in (0, 1)]
    trials = [int(found[0]) for found in contexts if len(found)]
    figure, axes = new_figure(5.2, 3.0, 2, max(1, len(trials)), sharex=True, sharey="row")
    steps = np.arange(1, one.inputs.shape[1] + 1)
    for trial, (above, below) in zip(trials, axes.T, strict=True):
        cued = int(one.inputs[trial, 0, 1] == 1)
        for stream in (0, 1):
            style = {"linewidth": 1.3 if stream == cued else 0.7}
            above.plot(steps, one.inputs[trial, :, 2 + stream], color=PAIR[stream], **style)
        above.set_title(f"context {cued + 1}: sum up stream {cued + 1}")
        below.plot(steps, one.outputs[trial, :, 0], color=_colour(one), linewidth=1.3)
        below.plot(steps, one.targets[trial, :, 0], **TARGET)
        below.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
        below.set_xlabel("time step")
    axes[0, 0].set_ylabel("input")
    axes[1, 0].set_ylabel("sum of the cued stream")
    _key(figure, one, [(PAIR[0], "-", "stream 1"), (PAIR[1], "-", "stream 2")])
    return figure


def _any(one: Portrait) -> Figure:
    """A user's own task: inputs of the first trial, and its outputs."""
    figure, axes = new_figure(4.2, 2.8, 2, 1, sharex=True)
    steps = np.arange(one.inputs.shape[1])
    axes[0, 0].plot(steps, one.inputs[0], color=INPUT, linewidth=0.8)
    axes[1, 0].plot(steps, one.outputs[0], color=_colour(one), linewidth=1.2)
    axes[1, 0].plot(steps, one.targets[0], **TARGET)
    axes[0, 0].set_ylabel("inputs")
    axes[1, 0].set_ylabel("outputs")
    axes[1, 0].set_xlabel("time step")
    _key(figure, one, [(INPUT, "-", "inputs")])
    return figure


def _colour(one: Portrait) -> str:
    return ACTIVATION_COLOURS.get(one.activation, OTHER)


def _key(figure, one: Portrait, more) -> None:
    handles = [
        Line2D([], [], color=colour, linestyle=style, label=label, linewidth=1.4) for colour, style, label in more
    ]
    handles.append(Line2D([], [], color=TARGET["color"], linestyle=TARGET["linestyle"], linewidth=0.9, label="target"))
    handles.append(Line2D([], [], color=_colour(one), linewidth=1.4, label="output of the network"))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), columnspacing=1.2)
