"""Results of analyses made up: every panel can be drawn from them, and what it must show is known."""

import itertools
from dataclasses import replace

import numpy as np
import pandas
from populations import small

from fastrnn.analysis.comparison import Comparison
from fastrnn.analysis.comparison import _save as save_comparison
from fastrnn.analysis.completeness import PointStatus
from fastrnn.analysis.embedding import Embedding
from fastrnn.analysis.portrait import Portrait
from fastrnn.cells import get_cell
from fastrnn.errors import Status
from fastrnn.folder import RunFolder
from fastrnn.groups import FinishedGroup
from fastrnn.runs import load_run
from fastrnn.studies import CdiStudy, Claims, FlipflopStudy, Kept, SineStudy, Topology, UntrainedStudy
from fastrnn.studies.kept import group_file, whole_file
from fastrnn.studies.selection import select_networks
from fastrnn.studies.untrained import CLASSES

KINDS = {"cells": ("vanilla", "ugrnn", "gru", "lstm"), "activations": ("tanh", "relu")}
NOTHING_LEFT_OUT = pandas.DataFrame({"id": [], "reason": []})
CUBE = np.array(list(itertools.product((-1, 0, 1), repeat=3)))


def finished_run(path, **changes):
    """A run of which all networks are trained, losses of network i fall as iteration^-(i + 1)."""
    spec = small(**(KINDS | changes))
    with RunFolder(path, spec) as folder:
        folder.begin()
        for group in spec.groups:
            state = folder.unfinished(group)
            state.optimizer.iteration[:] = spec.iterations
            state.optimizer.status[:] = Status.TRAINED
            for i, row in enumerate(state.losses):
                row[:] = np.arange(1, spec.iterations + 1) ** -(i + 1.0)
            folder.save_finished(group, FinishedGroup.of(state, state.training_loss()))
        folder.write_table()
    return load_run(path)


def results(path, task="flipflop", **changes) -> Kept:
    """Everything that there can be of a run on a task."""
    settings = {"flipflop": {"steps": 12}, "sine": {"steps": 40}, "cdi": {"steps": 8}}[task]
    run = finished_run(path, task=task, task_settings=settings, **changes)
    rng = np.random.default_rng(0)
    kept = Kept(run)
    kept.svcca, kept.cka = comparison(run, "svcca", rng), comparison(run, "cka", rng)
    made = comparison(run, "dsa", rng)
    kept.dsa = replace(made, settings=made.settings | {"delays": 4, "rank": 3}, bounds=0.9 * made.distances)
    kept.topology = topology(run, rng)
    kept.portraits = {group: made_portrait(run, group, rng) for group in run.finished_groups()}
    kept.claims, kept.selection = claims(task), select_networks(run)
    if task == "cdi":
        kept.untrained = untrained(run, rng)
    setattr(kept, task, {"flipflop": flipflop, "sine": sine, "cdi": cdi}[task](run, rng))
    return kept


def clouds(table, rng):
    """Points (N, 2), cell by cell, and their distances."""
    points = rng.normal(size=(len(table), 2)) * 0.2 + pandas.factorize(table.cell)[0][:, None] * [1.0, 0.3]
    return points, np.linalg.norm(points[:, None] - points, axis=2)


def comparison(run, metric, rng) -> Comparison:
    points, distances = clouds(run.table, rng)
    ones = np.ones(len(run.table), int)
    settings = {"trials": 4, "seed": 0}
    return Comparison(
        metric, run.table, distances, ones, ones, Embedding(points, 0.12, 0.2, 9, True), None, [], settings
    )


def topology(run, rng) -> Topology:
    points, distances = clouds(run.table, rng)
    empty = pandas.DataFrame()
    return Topology("made-up graphs", run.table, distances, points, 0.21, empty, empty, NOTHING_LEFT_OUT, "")


def made_portrait(run, group, rng) -> Portrait:
    """A cube of 27 points with paths from its middle (flipflop), a ring for each input, or a line in each context."""
    task, row = run.task_name, run.group_table(group).iloc[0]
    B, T, (D, K) = (6, run.task.T, (run.task.D, run.task.K))
    inputs, targets, _ = run.task.probe(B)
    S = get_cell(row.cell).state_size(row.n)
    if task == "flipflop":
        held, points, condition = np.zeros((1, D)), CUBE.astype(float), np.zeros(27, int)
        unstable = (CUBE == 0).sum(axis=1)
        trajectories = np.concatenate([targets, np.zeros((B, T, 3))], axis=2)[..., :3] + 0.1 * rng.normal(
            size=(B, T, 3)
        )
        source = np.flatnonzero(unstable == 1)
        paths = [np.linspace(CUBE[s], CUBE[s] + (CUBE[s] == 0), 9) for s in source]
        target = np.array([np.flatnonzero((CUBE == path[-1]).all(axis=1))[0] for path in paths])
    else:
        C = 5 if task == "sine" else 2
        held = np.zeros((C, D))
        held[:, 0] = np.linspace(0, 1, C)
        angle = np.arange(T) / T * 2 * np.pi
        ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
        trajectories = ring * rng.uniform(0.5, 1, (B, 1, 1)) + [0, 0, 1] * inputs[:, :, :1]
        each = 1 if task == "sine" else 10
        condition = np.repeat(np.arange(C), each)
        points = np.stack([np.tile(np.linspace(-1, 1, each), C), 0 * condition, held[condition, 0]], axis=-1)
        unstable = np.full(len(points), 2 if task == "sine" else 0)
        source = target = np.zeros(0, int)
        paths = []
    F = len(points)
    eigenvalues = np.sort(rng.uniform(0.1, 0.9, (F, S)))[:, ::-1].astype(complex)
    eigenvalues[:, :2] = 1.02 * np.exp(2j * np.pi * (0.01 + 0.04 * held[condition, :1]) * [1, -1])
    return Portrait(
        id=row.id,
        cell=row.cell,
        activation=row.activation,
        inputs=inputs,
        targets=targets,
        outputs=(0.9 * targets).astype(np.float32),
        trajectories=trajectories,
        share=np.array([0.5, 0.3, 0.1]),
        axes=np.eye(3, row.n),
        center=np.zeros(row.n),
        held=held,
        points=points,
        condition=condition,
        readout=points[:, :K],
        speed=np.full(F, 0.0 if task != "cdi" else 1e-4),
        status=np.full(F, PointStatus.SLOW if task == "cdi" else PointStatus.EXACT, np.int8),
        n_unstable=unstable,
        eigenvalues=eigenvalues,
        path_source=source,
        path_target=target,
        path_length=np.array([len(path) for path in paths], np.int64),
        paths=np.concatenate([*paths, np.zeros((0, 3))]),
    )


def flipflop(run, rng) -> FlipflopStudy:
    table = run.table.assign(points=27, unstable_0=8, unstable_1=12, unstable_2=6, unstable_3=1, unstable_more=0)
    table = table.assign(degenerate=0, slow=0, outliers=0)
    table.loc[0, ["points", "unstable_2"]] = 26, 5
    N = len(table)
    counts = {
        "kind": "all",
        "networks": N,
        "modal_count": 27,
        "modal_networks": N - 1,
        "share": 0.9,
        "low": 0.8,
        "high": 1,
    }
    connectivity = np.zeros((N, 27, 28), np.float32)
    connectivity[:, range(27), range(27)] = 1
    return FlipflopStudy(table, pandas.DataFrame([counts]), CUBE.astype(np.int8), connectivity, NOTHING_LEFT_OUT)


def sine(run, rng) -> SineStudy:
    N, inputs = len(run.table), np.linspace(0, 1, 5)
    commanded = 0.01 + 0.04 * inputs
    frequency = commanded * np.linspace(0.95, 1.05, N)[:, None]
    frequency[0, 0] = np.nan
    ones, empty = np.ones((N, 5), int), pandas.DataFrame()
    pair = np.exp(2j * np.pi * frequency)
    arrays = (inputs, commanded, ones, 2 * ones, pair, frequency, frequency, np.zeros((N, 5)), ones)
    return SineStudy(run.table, empty, *arrays, NOTHING_LEFT_OUT)


def cdi(run, rng) -> CdiStudy:
    groups = run.table.groupby(["cell", "activation", "n"], sort=False).size().rename("networks").reset_index()
    groups["group"] = groups.cell + "-" + groups.activation + "-" + groups.n.astype(str)
    groups["lines"] = groups.networks
    N, G, S = len(run.table), len(groups), 8
    spectrum = np.tile(np.linspace(1, 0.1, S), (G, 1)) - 0.02 * np.arange(G)[:, None]
    spectrum[groups.cell != "lstm", 4:] = np.nan
    kept = np.stack([np.tile(1 - 0.5 ** np.arange(1, S + 1), (G, 1)), np.zeros((G, S))], axis=1)
    nan = np.full((N, 2, S), np.nan)
    return CdiStudy(
        run.table, 0.05, nan, np.ones((N, 2, 2)), np.stack([nan, nan], axis=2), groups, spectrum,
        np.full((G, S), 0.03), kept, np.full((G, 2, S), 0.05), NOTHING_LEFT_OUT,
    )  # fmt: skip


def untrained(run, rng) -> UntrainedStudy:
    classes, B, T = list(CLASSES), 6, run.task.T
    table = pandas.DataFrame({"class": np.repeat(classes, 2), "trained": [True] * 4 + [False] * 4})
    table = table.assign(loss=[0.1, 0.3, 0.2, 0.4, 110, 118, 120, 128], drawn=[True, False] * 4)
    mean = np.linspace(0.5, 0.95, 16).reshape(4, 4)
    mean = (mean + mean.T) / 2
    target = rng.normal(size=(B, T))
    return UntrainedStudy(
        table, classes, 10, np.ones((8, 8)), mean, mean - 0.05, mean + 0.03, np.array([0.2, 0.3, 114, 124.0]),
        0.2, 0.1, 0.3, rng.normal(size=(4, B, T, 3)), np.arange(B) % 2,
        np.stack([target, target, 0 * target, 0 * target]), target, NOTHING_LEFT_OUT,
    )  # fmt: skip


def claims(task) -> Claims:
    columns = ("claim", "task", "statement", "subject", "statistic", "value", "low", "high", "networks", "rule")
    rows = [
        (1, task, "all networks reach low error", "all", "share below the threshold", 0.75, 0.5, 0.9, 16, "share is 1"),
        (
            2,
            task,
            "SVCCA distances cluster by cell",
            "all",
            "share of variance",
            0.3,
            np.nan,
            np.nan,
            16,
            "at least 0.1",
        ),
    ]
    table = pandas.DataFrame(rows, columns=columns)
    return Claims(table.assign(verdict=["does not hold", "holds"], note=["four kinds <fail>", ""]))


def save(kept: Kept) -> None:
    """Write results to where `load_analysis` reads them."""
    folder = kept.run.path
    (folder / group_file("portraits", "x")).parent.mkdir(parents=True)
    for made in (kept.svcca, kept.cka, kept.dsa):
        save_comparison(kept.run, made)
    for name in ("topology", "flipflop", "sine", "cdi", "untrained", "claims", "selection"):
        if getattr(kept, name) is not None:
            getattr(kept, name).save(folder / whole_file(name))
    for group, portrait in kept.portraits.items():
        portrait.save(folder / group_file("portraits", group))
