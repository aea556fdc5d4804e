"""From an empty folder to the paper's figures and claims, as a user does it: two commands, minutes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 480  # of all of it together, on two cores
PANELS = {"flipflop": "1a 1b 1c 1d 1e 1f c e", "sine": "2a 2b 2c 2d 2e 2f c e", "cdi": "3a 3b 3c 3d 3e 3f 4 c e"}
CLAIMS = {"flipflop": {1, 2, 3, 4}, "sine": {1, 2, 4, 5}, "cdi": {1, 2, 4, 6, 7}}


def fastrnn(folder, *arguments, codes=(0,)):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastrnn", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in codes, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, what `analyze` said, and how long everything took."""
    folder, start = tmp_path_factory.mktemp("empty"), time.monotonic()
    for task in PANELS:  # some tiny networks may diverge, which is code 3
        fastrnn(folder, "train-population", "--task", task, "--preset", "tiny", codes=(0, 3))
    said, _ = fastrnn(folder, "analyze", "--all", "--json")
    return folder, json.loads(said), time.monotonic() - start


def test_everything_is_there_within_minutes(made):
    folder, reports, seconds = made
    assert sorted(report["task"] for report in reports) == sorted(PANELS)
    assert all(not report["failed"] and report["done"] for report in reports)
    for task, names in PANELS.items():
        run = folder / "runs" / task
        drawn = {path.name for path in (run / "figures").iterdir()}
        wanted = {f"figure-{name}.{ending}" for name in names.split() for ending in ("svg", "png")}
        assert wanted <= drawn
        assert "<html" in (run / "report.html").read_text()[:200]
        claims = pandas.read_csv(run / "analysis" / "claims.csv")
        assert set(claims.claim) == CLAIMS[task]
        assert set(claims.verdict) <= {"holds", "does not hold", "undecided"}
        (report,) = [report for report in reports if report["task"] == task]
        assert len(report["claims"]) == len(claims)
        assert report["studied"] + len(report["left_out"]) == len(pandas.read_csv(run / "networks.csv"))
    assert (folder / "runs" / "index.html").exists()
    assert seconds < SECONDS


def test_claims_that_tiny_networks_settle(made):
    """What must come out of any sound training: facts that a mistake in the chain would overturn."""
    folder, _, _ = made
    cdi = pandas.read_csv(folder / "runs" / "cdi" / "analysis" / "claims.csv").set_index(["statement", "subject"])
    assert cdi.verdict["all networks reach low error", "all"] == "holds"
    modes = cdi[cdi.statistic.str.startswith("eigenvalues of magnitude within 0.05 of 1")].value
    assert modes["vanilla integrates with one mode", "vanilla"] == pytest.approx(1, abs=0.3)
    assert modes["gated cells have many eigenvalues near 1", "gru"] > 3
    flipflop = pandas.read_csv(folder / "runs" / "flipflop" / "analysis" / "flipflop.csv")
    vanilla = flipflop[(flipflop.cell == "vanilla") & (flipflop.activation == "tanh")]
    assert vanilla[["points", "unstable_0", "unstable_1", "unstable_2", "unstable_3"]].to_numpy().tolist() == [
        [27, 8, 12, 6, 1]
    ] * len(vanilla)


def test_the_second_time_there_is_nothing_to_do(made):
    folder, reports, _ = made
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.suffix in (".csv", ".svg")}
    said, progress = fastrnn(folder, "analyze", "--all")
    assert progress.count("nothing to do, all ") == len(reports) == said.count("nothing to do, ")
    assert before == {path: path.stat().st_mtime_ns for path in before}
