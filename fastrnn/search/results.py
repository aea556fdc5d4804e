"""What a search came to: a row for every draw, the finalists, the values chosen; as tables in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas

from ..errors import RunError, Status, UsageError
from ..folder import SEARCH
from ..hyperparameters import SEARCHED, VALUES, read_rows
from ..runs import Run
from ..spec import RECORD, leak_of, optimizer_of
from ..values import a_path
from .spec import CONFIGURATION, TABLE, SearchSpec, configuration_of, read_settings

DRAWS, FINALISTS, CHOSEN = "draws.csv", "finalists.csv", "chosen.csv"
KEY_POINTS = (0.125, 0.25, 0.5, 1.0)  # of the planned iterations, at which the table of draws gives the training loss
IN_USE, DRAWN = "in use", "drawn"  # where a finalist's values come from


def draws_table(spec: SearchSpec, run: Run) -> pandas.DataFrame:
    """One row a draw: its configuration, number, hyperparameters, fate, losses and key points of its curve.

    fate : trained (to the end), dropped (at the end of a round) or diverged; round : in which, from 1
    loss_at_<iteration> : training loss there, mean over a 500th of the planned iterations; empty where it was not run
    """
    table = run.table.drop(columns="id").rename(columns={"seed": "draw", "status": "fate"})
    table.insert(table.columns.get_loc("fate") + 1, "round", np.searchsorted(spec.ends, table.iterations) + 1)
    diverged = table.fate == Status.DIVERGED.label  # while in the iteration after those it has done
    table.loc[diverged, "round"] = np.searchsorted(spec.ends, table.iterations[diverged] + 1) + 1
    points = [int(np.ceil(part * spec.population.iterations)) for part in KEY_POINTS]
    curves = {}
    for group in run.finished_groups():
        finished = run.finished(group)
        windows = np.searchsorted(finished.loss_curve_iteration, points)
        curves |= zip(finished.ids, finished.loss_curve[:, windows], strict=True)
    losses = np.array([curves[name] for name in run.table.id]).reshape(len(table), len(points))
    return table.assign(**{f"loss_at_{point}": losses[:, i] for i, point in enumerate(points)})


def candidates_of(spec: SearchSpec, draws: pandas.DataFrame) -> dict[tuple, list[dict]]:
    """By configuration the best draws that were trained to the end, best first, and the values in use.

    Each with its `draw` (None: the values in use), `VALUES` and the `validation_loss` of the draw's own network. The
    values in use are there too where every draw diverged, if there are repeats to try them with.
    """
    trained = draws[(draws.fate == Status.TRAINED.label) & np.isfinite(draws.validation_loss)]
    found = {}
    for configuration in spec.configurations:
        name = configuration_of(configuration)
        here = (trained[list(CONFIGURATION)] == list(name)).all(axis=1)
        mine = trained[here].sort_values("validation_loss", kind="stable")
        columns = ["draw", *VALUES, "validation_loss"]
        best = mine[columns].head(spec.finalists if spec.repeats else 1).to_dict("records")
        if spec.repeats and (spec.incumbent or not best):
            best.append({"draw": None} | {value: configuration[value] for value in VALUES} | {"validation_loss": None})
        found[name] = best
    return found


def finalists_table(spec: SearchSpec, candidates: dict[tuple, list[dict]], run: Run | None) -> pandas.DataFrame:
    """One row a finalist: configuration, where its values come from, draw, values, losses, whether it was chosen.

    validation_loss : of the draw's own network, by which it became a finalist; repeat_1, ... : of its fresh networks,
    infinite for one that diverged. What decides is `diverged`, their number, and among equals `worst_loss`, the largest
    loss of the others; without repeats the draw's own loss.
    """
    losses = {} if run is None else _losses_of_repeats(run)
    rows = []
    for name, finalists in candidates.items():
        mine = []
        for i, finalist in enumerate(finalists):
            each = len(losses[name]) // len(finalists) if losses else 0
            repeats = losses[name][i :: len(finalists)][:each] if losses else []
            sound = [loss for loss in repeats or [finalist["validation_loss"]] if np.isfinite(loss)]
            mine.append(
                dict(zip(CONFIGURATION, name, strict=True))
                | {"origin": IN_USE if finalist["draw"] is None else DRAWN}
                | finalist
                | {f"repeat_{k}": loss for k, loss in enumerate(repeats, 1)}
                | {"diverged": len(repeats) - len(sound) if repeats else 0}
                | {"worst_loss": max(sound, default=np.inf), "chosen": False}
            )
        best = min(mine, key=lambda row: (row["diverged"], row["worst_loss"]), default=None)
        if best is not None and np.isfinite(best["worst_loss"]):
            best["chosen"] = True
        rows += mine
    last = ["diverged", "worst_loss", "chosen"]
    columns = [*CONFIGURATION, "origin", "draw", *VALUES, "validation_loss"]
    columns += sorted({name for row in rows for name in row if name.startswith("repeat_")}, key=lambda c: int(c[7:]))
    return pandas.DataFrame(rows, columns=columns + last).astype({"draw": "Int64", "chosen": bool})


def chosen_table(spec: SearchSpec, finalists: pandas.DataFrame) -> pandas.DataFrame:
    """One row a configuration that has a winner, as `--hyperparameters` takes it.

    validation_loss : the winner's `worst_loss`; diverged : how many of its `repeats` did
    """
    chosen = finalists[finalists.chosen]
    table = chosen[[*CONFIGURATION, *VALUES]].assign(
        found=SEARCHED,
        optimizer=spec.population.optimizer,
        origin=chosen.origin,
        validation_loss=chosen.worst_loss,
        diverged=chosen.diverged,
        repeats=chosen.filter(like="repeat_").notna().sum(axis=1).astype(int),
        iterations=spec.population.iterations,
        draws=spec.draws,
        search_seed=spec.population.seed,
    )
    return table.reset_index(drop=True)


@dataclass(frozen=True)
class SearchResult:
    """What is in the folder of a finished search; made by `load_search` and `search_hyperparameters`.

    path : the folder
    settings : what was asked, as in `search.toml`
    draws, finalists, chosen : see `draws_table`, `finalists_table`, `chosen_table`
    """

    path: Path
    settings: dict
    draws: pandas.DataFrame
    finalists: pandas.DataFrame
    chosen: pandas.DataFrame

    @property
    def threshold(self) -> float | None:
        """Loss below which a network counts as having learnt the task."""
        return self.settings[RECORD].get("threshold")

    @cached_property
    def rows(self) -> list[dict]:
        """The chosen values, for the `hyperparameters` of a `PopulationSpec`."""
        return read_rows(self.path / CHOSEN) if len(self.chosen) else []

    def report(self) -> dict:
        """The whole search in numbers that JSON can hold."""
        draws, mine = self.draws, self.settings[TABLE]
        plain = len(draws) * self.settings["iterations"]
        configurations = draws[list(CONFIGURATION)].drop_duplicates()
        fates = (Status.TRAINED, Status.DROPPED, Status.DIVERGED)
        return (
            {"search": str(self.path), "task": self.settings[RECORD]["task"], "threshold": self.threshold}
            | {"optimizer": optimizer_of(self.settings)}
            | leak_of(self.settings)
            | {"configurations": len(configurations), "iterations": self.settings["iterations"]}
            | {name: mine[name] for name in ("draws", "rounds", "finalists", "repeats")}
            | {"fates": {fate.label: int((draws.fate == fate.label).sum()) for fate in fates}}
            | {"network_iterations": int(draws.iterations.sum()), "plain_network_iterations": plain}
            | {"chosen": self.chosen.to_dict("records")}
            | {"without_winner": configurations[~_is_in(configurations, self.chosen)].to_dict("records")}
        )


def load_search(path) -> SearchResult:
    """The finished search in a folder that `search_hyperparameters` or `fastrnn search` wrote.

    Raises
    ------
    UsageError
        where there is no search
    RunError
        where it is not finished, or a table can't be read
    """
    path = a_path("a search", path)
    if not (path / SEARCH).is_file():
        raise UsageError(f"{str(path)!r} is not a search: it has no {SEARCH}; give the folder that search wrote to")
    if not (path / CHOSEN).is_file():
        raise RunError(f"the search in {str(path)!r} is not finished; run the same search again to go on with it")
    settings = read_settings(path / SEARCH)
    draws, finalists, chosen = (_read_table(path / name, settings) for name in (DRAWS, FINALISTS, CHOSEN))
    return SearchResult(path, settings, draws, finalists, chosen)


def _read_table(path: Path, settings: dict) -> pandas.DataFrame:
    """One of the tables; `RunError` where it is damaged."""
    numbers = dict.fromkeys((*VALUES, "validation_loss", "l2"), float) | {"n": int}
    numbers |= {"draw": "Int64"} if path.name == FINALISTS else {}
    words = {DRAWS: ("draw", "fate", "iterations"), FINALISTS: ("origin", "chosen"), CHOSEN: ("origin", "diverged")}
    try:
        table = pandas.read_csv(path)
        missing = [name for name in (*CONFIGURATION, *numbers, *words[path.name]) if name not in table]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}")
        counts = table.groupby(list(CONFIGURATION)).size()
        if path.name == DRAWS and not (counts == settings[TABLE].get("draws")).all():
            raise ValueError("draws are missing")
        return table.astype(numbers)
    except (OSError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())
        raise RunError(f"could not read {str(path)!r}: {why}; run the search again to write it") from error


def _losses_of_repeats(run: Run) -> dict[tuple, list[float]]:
    """By configuration the validation losses of the fresh networks in the order of their seeds."""
    table = run.table
    sound = (table.status != Status.DIVERGED.label) & np.isfinite(table.validation_loss)
    losses: dict[tuple, list[float]] = {}
    for row in table.assign(loss=table.validation_loss.where(sound, np.inf)).to_dict("records"):
        losses.setdefault(configuration_of(row), []).append(row["loss"])
    return losses


def _is_in(rows: pandas.DataFrame, others: pandas.DataFrame) -> np.ndarray:
    """Which rows have their configuration among the others."""
    known = {configuration_of(row) for row in others.to_dict("records")}
    return np.array([configuration_of(row) in known for row in rows.to_dict("records")], bool)
