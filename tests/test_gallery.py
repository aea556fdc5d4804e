"""The page of figures from real runs says what the runs say, and shows their pictures."""

import re
import shlex

import pytest
from made_results import finished_run, results, save
from typer.testing import CliRunner

from benchmarks import gallery
from fastrnn.cli import app
from fastrnn.errors import UsageError
from fastrnn.runs import load_run
from fastrnn.spec import PopulationSpec
from fastrnn.studies.kept import load_analysis


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of a run of each task, analyzed, with pictures that are their names."""
    made = []
    for task in ("flipflop", "cdi", "sine"):
        kept = results(tmp_path_factory.mktemp("runs") / task, task, cells=("vanilla", "gru"), seeds=1)
        save(kept)
        (kept.run.path / "figures").mkdir(exist_ok=True)
        for number, panel in gallery.chosen(kept):
            (kept.run.path / "figures" / f"{panel.file(task)}.png").write_text(f"{task} {number}")
        made.append(str(kept.run.path))
    return made


def test_the_page_shows_every_picture_and_every_claim(runs, tmp_path):
    (tmp_path / "docs/figures").mkdir(parents=True)
    (tmp_path / "docs/figures/old.png").write_text("no longer")
    gallery.main(runs, tmp_path)
    text = (tmp_path / "docs/figures.md").read_text()
    there = {path.name: path.read_text() for path in (tmp_path / "docs/figures").iterdir()}
    assert sorted(re.findall(r"\]\(figures/(.*?)\)", text)) == sorted(there)
    assert there["flipflop-1e.png"] == "flipflop 1e" and there["cdi-4.png"] == "cdi 4"
    wanted = {f"{task}-{number}.png" for task, numbers in gallery.SHOWN.items() for number in numbers}
    assert set(there) == wanted
    for made in load_analysis(runs[0]).claims.statements():
        first = rf"\| {made.claim} \| {made.statement} \| {made.verdict} \|"
        for row in made.rows.itertuples():
            assert re.search(rf"{first} .* \| {row.value:.3g}", text)
            first = r"\|  \|  \|  \|"
    assert "0.75 (0.5 to 0.9) | 16 |" in text and "| 0.3 | 16 |" in text
    assert "## Context-dependent integration: 4 networks" in text
    for kept in map(load_analysis, runs):
        assert all(panel.caption(kept) in text for _, panel in gallery.chosen(kept))


def test_a_task_whose_run_is_not_given_stays_as_it_is(runs, tmp_path):
    gallery.main(runs, tmp_path)
    page = tmp_path / "docs/figures.md"
    whole, pictures = page.read_text(), sorted(path.name for path in (tmp_path / "docs/figures").iterdir())
    assert "**Networks by DSA distance.** How alike" in whole and "**1b: Traj" in whole
    (tmp_path / "docs/figures/sine-old.png").write_text("goes with its run")
    page.write_text(whole.replace("## Sine: 4 networks", "## Sine: 5 networks").replace("median", "middle"))
    gallery.main([runs[2]], tmp_path)
    text = page.read_text()
    cdi, sine = text.index("## Context"), text.index("## Sine: 4 networks")
    assert text[sine:] == whole[whole.index("## Sine") :]
    assert text[cdi:sine] == whole[whole.index("## Context") : whole.index("## Sine")].replace("median", "middle")
    assert text[: text.index("## ")] == whole[: whole.index("## ")]
    assert sorted(path.name for path in (tmp_path / "docs/figures").iterdir()) == pictures


def test_the_command_asks_for_the_same_population(tmp_path):
    changes = {"seed": 7, "l2": (1e-5, 1e-3), "iterations": 0, "cells": ("gru", "lstm", "leaky"), "batch": 4}
    changes |= {"gate_bias": 0.5, "alpha": 0.5, "noise": 0.1}
    changes |= {"excluded": ("lstm-relu", "gru-relu"), "task_settings": {"steps": 12}}
    run = finished_run(tmp_path / "first", **changes)
    words = shlex.split(gallery.command(run.settings))
    assert words[:4] == ["fastrnn", "train-population", "--task", "flipflop"]
    made = CliRunner().invoke(app, [*words[1:], "--out", str(tmp_path / "again")])
    assert made.exit_code in (0, 3), made.output
    again = load_run(tmp_path / "again")
    assert again.table.id.tolist() == run.table.id.tolist()
    assert all(
        again.settings[name] == run.settings[name] for name in (*gallery.LISTS, *gallery.NUMBERS, "task_settings")
    )
    sine = PopulationSpec.preset("tiny", "sine", excluded=()).to_settings()
    words = "fastrnn train-population --task sine --sizes 16 --exclude '' --seeds 2 --iterations 2500"
    assert gallery.command(sine) == words


def test_what_it_cannot_show_is_said(runs, tmp_path):
    with pytest.raises(UsageError, match="which runs"):
        gallery.main([], tmp_path)
    with pytest.raises(UsageError, match="one run each of flipflop, cdi, sine at most; the tasks are cdi, cdi"):
        gallery.main([runs[1], runs[1]], tmp_path)
    bare = finished_run(tmp_path / "bare", cells=("gru",))
    with pytest.raises(UsageError, match=r"not all is there \(no claims\); run fastrnn analyze"):
        gallery.main([str(bare.path)], tmp_path)
    assert not (tmp_path / "docs").exists()
