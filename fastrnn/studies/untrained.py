"""Trained and untrained networks on the same inputs: canonical correlation is not function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas

from ..analysis.portrait import principal_components
from ..analysis.responses import probe_trials
from ..analysis.similarity import pairwise_distances
from ..engines import get as get_engine
from ..errors import UsageError
from ..networks import Networks
from .resampling import FEWEST, RESAMPLES, SEED, ends
from .result import Result
from .selection import ROW
from .topology import without

COMPONENTS = 20  # kept of each response; fewer where networks are smaller
CLASSES = ("trained tanh", "trained relu", "untrained tanh", "untrained relu")


@dataclass(eq=False, repr=False)
class UntrainedStudy(Result):
    """N vanilla networks of the cdi task, trained ones and what they were before, compared on the probe inputs.

    Attributes
    ----------
    table : DataFrame, one row a network: id (of the trained network; both have it), activation, n, l2, seed,
        `trained` (bool), `class` (one of `CLASSES`), `loss` on the probe trials, `drawn` (bool: the one of its class
        whose trajectories and outputs are kept, that of the lowest loss)
    classes : list of the classes there are, in the order of `CLASSES`
    components : principal components that were kept of each response
    correlations : (N, N) average canonical correlation of each pair
    mean, low, high : (classes, classes) of `correlations` over pairs of two networks, 95% interval from networks
        resampled, NaN where a class has fewer than `FEWEST` networks; a network and what it was before are no pair
    losses : (classes,) median loss
    difference, difference_low, difference_high : trained relu with untrained relu, less trained tanh with trained
        relu, with its interval in the same way; NaN where a class is missing
    trajectories : float32 (classes, B, T, 3) of the network drawn of each class, in its own first principal components
    context : int (B,) of the probe trials; output : float32 (classes, B, T); target : float32 (B, T)
    left_out : DataFrame (id, reason)
    """

    table: pandas.DataFrame
    classes: list
    components: int
    correlations: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    losses: np.ndarray
    difference: float
    difference_low: float
    difference_high: float
    trajectories: np.ndarray
    context: np.ndarray
    output: np.ndarray
    target: np.ndarray
    left_out: pandas.DataFrame


def untrained_study(task, groups, left_out) -> UntrainedStudy:
    """Compare trained networks with what they were before, by average canonical correlation.

    Parameters
    ----------
    task : the cdi task
    groups : pairs of Networks and the run's rows, one a group
    left_out : DataFrame (id, reason)
    """
    inputs, targets, _ = task.probe(probe_trials(task))
    states, outputs, tables = [], [], []
    for networks, rows in groups:
        before = Networks.initialize(
            networks.cell, networks.activation, networks.n, networks.D, networks.K, networks.keys, networks.gate_bias
        )
        for trained, stack in ((True, networks), (False, before)):
            ran, said = get_engine("cpu").run(stack, inputs)
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is left out below
                loss = np.square(said - targets.astype(np.float64)).mean(axis=(1, 2, 3))
            name = f"{'trained' if trained else 'untrained'} {networks.activation}"
            table = rows[list(ROW)].drop(columns="validation_loss")
            tables.append(table.assign(trained=trained, **{"class": name}, loss=loss))
            states += [h[..., : networks.n].reshape(-1, networks.n) for h in ran]
            outputs += list(said[..., 0])
    table = pandas.concat(tables, ignore_index=True)
    bad = np.array([not np.isfinite(response).all() for response in states])
    table, left_out = without(table, left_out, bad, "its states on the probe trials are not finite")
    states, outputs = ([one for one, gone in zip(parts, bad, strict=True) if not gone] for parts in (states, outputs))
    if not states:
        raise UsageError(f"no vanilla network has finite states on the probe trials ({len(left_out)} left out)")
    components = min(COMPONENTS, *(response.shape[1] for response in states))
    correlations = 1 - pairwise_distances(states, "svcca", components, progress=False)
    classes = [name for name in CLASSES if (table["class"] == name).any()]
    shown = [_lowest_loss(table, name) for name in classes]
    table["drawn"] = np.isin(np.arange(len(table)), shown)
    drawn = []
    for i in shown:
        center, axes, _ = principal_components(states[i].astype(np.float64))
        drawn.append((states[i] - center) @ axes.T)
    means, low, high, difference = _class_means(correlations, table, classes)
    return UntrainedStudy(
        table,
        classes,
        components,
        correlations,
        means,
        low,
        high,
        np.array([table.loss[table["class"] == name].median() for name in classes]),
        *difference,
        np.stack(drawn).reshape(len(classes), *inputs.shape[:2], 3).astype(np.float32),
        inputs[:, 0, 1].astype(np.int64),
        np.stack([outputs[i] for i in shown]),
        targets[..., 0],
        left_out,
    )


def _lowest_loss(table, name: str) -> int:
    return int(table.loss[table["class"] == name].idxmin())


def _class_means(correlations, table, classes):
    """Means over pairs of two networks by class, (classes, classes), their intervals, and the difference with its."""
    identities = table.id.drop_duplicates().tolist()
    identity = table.id.map({name: i for i, name in enumerate(identities)}).to_numpy()
    members = np.stack([(table["class"] == name).to_numpy() for name in classes]).astype(float)  # (classes, N)
    different = (identity[:, None] != identity[None]).astype(float)

    def means(weight):
        """Of networks counted `weight` (identities,) times."""
        w = members * weight[identity]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w @ (different * correlations) @ w.T) / (w @ different @ w.T)

    observed = means(np.ones(len(identities)))
    random = np.random.default_rng(SEED)
    activation = table.drop_duplicates("id").activation.to_numpy()
    drawn = np.full((RESAMPLES, *observed.shape), np.nan)
    for r in range(RESAMPLES):  # networks within each activation, trained and untrained together
        weight = np.zeros(len(identities))
        for level in np.unique(activation):
            part = np.flatnonzero(activation == level)
            weight[part] = random.multinomial(len(part), np.full(len(part), 1 / len(part)))
        drawn[r] = means(weight)
    counts = members.sum(axis=1).astype(int)
    enough = counts >= FEWEST
    wanted = ends(max(2, int(counts[enough].min(initial=len(identities)))))
    low, high = _quantiles(np.where(enough[:, None] & enough, drawn, np.nan), wanted)
    if {"trained tanh", "trained relu", "untrained relu"} <= set(classes):
        tanh, relu, before = (classes.index(name) for name in ("trained tanh", "trained relu", "untrained relu"))
        gap = drawn[:, relu, before] - drawn[:, tanh, relu]
        gap = np.where(enough[[tanh, relu, before]].all(), gap, np.nan)
        difference = (float(observed[relu, before] - observed[tanh, relu]), *map(float, _quantiles(gap, wanted)))
    else:
        difference = (np.nan,) * 3
    return observed, low, high, difference


def _quantiles(drawn, wanted):
    """Quantiles over draws (R, ...) that are known; NaN where none is."""
    known = np.isfinite(drawn).any(axis=0)
    made = np.full((len(wanted), *drawn.shape[1:]), np.nan)
    made[:, known] = np.nanquantile(drawn[:, known], wanted, axis=0)
    return made
