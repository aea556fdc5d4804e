"""The page of a run and the index over runs, put together from their results."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas

from ..analysis.comparison import NAMES
from ..cells.leaky import leak_in_words
from ..errors import FastrnnError, Status
from ..figures.paper import panels
from ..folder import POPULATION
from ..optimizer import ADAM
from ..progress import counted
from ..spec import RECORD
from ..studies.kept import METRICS, Kept
from ..studies.steps import names_for
from ..studies.verdicts import FAILS, HOLDS, UNDECIDED
from ..tasks import TASKS
from .markup import asset, data, document, number, picture, script, table, text
from .scene import scene
from .view import viewer

VECTORS = 250_000  # bytes up to which a figure goes into the page as SVG; larger ones as PNG
PIXELS = 96 / 72 * 1.25  # of the page for each point of a figure: all are on one scale, their letters as large as ours
LIBRARIES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "pandas")
VERDICTS = {HOLDS: "holds", FAILS: "fails"}
HEADS = {"n": "n", "l2": "L2", "id": "network", "low": "low (95%)", "high": "high (95%)", "p": "p", "F": "F"}
WORKS = "https://arxiv.org/abs/1907.08549"
REPORT, INDEX = "report.html", "index.html"


def page(kept: Kept, failed: dict[str, str] | None = None, stale: list[str] | None = None) -> str:
    """The page of one run: what was trained and found, with the figures that are under its `figures/`.

    Parameters
    ----------
    kept : from `load_analysis`; what is missing in it is said in the page
    failed : by figure, why it could not be drawn
    stale : analyses whose results are out of date

    Returns
    -------
    HTML that needs no other file and no network
    """
    parts = [
        ("", "", _head(kept, stale or [])),
        ("claims", "Claims", _claims(kept)),
        ("three-dimensions", "In three dimensions", viewer(_portraits(kept))),
        ("figures", "Figures", _figures(kept, failed or {})),
        ("groups", "Networks by kind", _groups(kept)),
        ("statistics", "What tells networks apart", _statistics(kept)),
        ("networks", "All networks", _networks(kept)),
        ("settings", "Settings, versions, how to reproduce", _settings(kept)),
    ]
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, title, body in parts if name and body)
    main = "".join(f'<section id="{n}"><h2>{text(t)}</h2>\n{body}</section>\n' for n, t, body in parts if n and body)
    scenes = [scene(one, kept.run.task_name) for one in _portraits(kept)]
    scripts = script(asset("tables.js"))
    if scenes:
        held = data("scenes", json.dumps(scenes, separators=(",", ":"), allow_nan=False))
        scripts = held + script(asset("viewer.js")) + scripts
    header = f"<header>{parts[0][2]}<nav>{links}</nav></header>\n"
    return document(f"fastrnn: {_name(kept)}", f"{header}<main>\n{main}</main>\n{_footer()}", scripts)


def index(runs: list[Kept], folder) -> str:
    """A page that lists runs and their claims, with links to their own pages.

    Parameters
    ----------
    runs : from `load_analysis`
    folder : where the page will lie, for the links
    """
    rows = []
    for kept in runs:
        report = kept.run.report()
        link = quote(Path(os.path.relpath(kept.run.path / REPORT, folder)).as_posix())
        there = (kept.run.path / REPORT).exists()
        name = f'<a href="{text(link)}">{text(_name(kept))}</a>' if there else text(_name(kept))
        counts = {key: report[key] for key in ("networks", "learnt", "diverged")}
        counts |= {} if report["threshold"] is not None else {"learnt": math.nan}
        rows.append({"run": name, "task": report["task"]} | counts | {"statements that hold": _score(kept)})
    body = "<header><h1>Runs</h1></header>\n<main>\n"
    body += table(pandas.DataFrame(rows), raw=("run",)) if rows else "<p>There are none.</p>"
    body += _claims_by_run([kept for kept in runs if kept.claims is not None])
    return document("fastrnn: runs", body + f"</main>\n{_footer()}", script(asset("tables.js")))


def _name(kept: Kept) -> str:
    return kept.run.path.resolve().name


def _portraits(kept: Kept) -> list:
    return list(kept.portraits.values())


def _head(kept: Kept, stale: list[str]) -> str:
    report = kept.run.report()
    networks = kept.run.table
    losses = networks.validation_loss[networks.status != Status.DIVERGED.label]
    losses = losses[np.isfinite(losses)]
    cards = [(number(report["networks"]), counted(report["networks"], "network").split()[-1])]
    if report["threshold"] is not None:
        cards.append((number(report["learnt"]), f"learnt the task (loss below {report['threshold']:g})"))
    cards += [(number(report[status]), status) for status in ("diverged", "training", "untrained") if report[status]]
    if kept.selection is not None:
        cards.append((number(len(kept.selection.table)), "studied"))
    cards.append((number(float(losses.median())), "median validation loss"))
    if kept.claims is not None:
        counts = kept.claims.counts()
        more = f"{counts[UNDECIDED]} undecided, {counts[FAILS]} not" if counts[UNDECIDED] + counts[FAILS] else ""
        cards.append((_score(kept), f"statements of the paper hold{more and f' ({more})'}"))
    items = "".join(f"<li><b>{value}</b><span>{text(what)}</span></li>" for value, what in cards)
    settings = kept.run.settings
    part = "" if report["part"] is None else f", part {text(report['part'])} of a population,"
    leaky = f" ({leak})" if (leak := leak_in_words(report)) else ""
    by = " by Adam" if report["optimizer"] == ADAM else ""
    what = (
        f"{counted(report['networks'], 'recurrent network')}{part} trained{by} on the task "
        f"<b>{text(report['task'])}</b> for {settings['iterations']:,} iterations of {settings['batch']} trials{leaky}"
        f", and what their dynamics have in common. The analyses and figures are those of "
        f'<a href="{WORKS}">Maheswaranathan et al. (2019)</a>.'
    )
    problems = "".join(f'<p class="problem">{text(name)}: {text(why)}</p>' for name, why in kept.problems.items())
    if stale:
        problems += (
            f'<p class="problem">Out of date, made from other networks or by other code: {text(", ".join(stale))}. '
            "<code>fastrnn analyze</code> makes them again.</p>"
        )
    return f'<h1>{text(_name(kept))}</h1>\n<p>{what}</p>\n<ul class="cards">{items}</ul>\n{problems}'


def _verdicts(kept: Kept) -> dict[tuple, str]:
    """By claim and statement what the verdict is, marked up."""
    return {(made.claim, made.statement): _pill(made.verdict, made.exceptions) for made in kept.claims.statements()}


def _score(kept: Kept) -> str:
    """How many of the statements hold."""
    if kept.claims is None:
        return "-"
    counts = kept.claims.counts()
    return f"{counts[HOLDS]} of {sum(counts.values())}"


def _claims_by_run(runs: list[Kept]) -> str:
    """A row a statement, a column a run."""
    if not runs:
        return ""
    verdicts = [_verdicts(kept) for kept in runs]
    names = sorted(dict.fromkeys(name for found in verdicts for name in found), key=lambda name: name[0])
    columns = {"claim": [claim for claim, _ in names], "statement": [statement for _, statement in names]}
    for i, found in enumerate(verdicts):
        columns[i] = [found.get(name, "") for name in names]
    heads = {str(i): _name(kept) for i, kept in enumerate(runs)}
    said = "<p>What holds of a run's networks; the numbers behind it are in the run's own page.</p>"
    return f"<h2>Claims of the paper</h2>\n{said}" + table(pandas.DataFrame(columns), heads, raw=[*heads])


def _claims(kept: Kept) -> str:
    if kept.claims is None:
        return _missing(kept, "claims") if "claims" in names_for(kept.run) else ""
    frame = kept.claims.table
    statements = kept.claims.statements()
    whole = pandas.concat([made.rows for made in statements])
    exceptions = {made.statement: made.exceptions for made in statements}
    parts = frame.drop(whole.index)
    said = (
        "<p>The paper's claims, each as a statistic with a 95% interval over networks and a rule. "
        "Where a statistic says too little for either verdict, it is undecided.</p>"
    )
    body = said + _claims_table(whole, exceptions)
    if len(parts):
        body += f"<details><summary>Kind by kind ({len(parts)} rows)</summary>{_claims_table(parts, {})}</details>"
    return body


def _claims_table(frame: pandas.DataFrame, exceptions: dict[str, list[str]]) -> str:
    """One row a statistic; its rule stands under the statement, its note under what the value is.

    exceptions : by statement, of whom it does not hold
    """

    def under(above: str, below: str) -> str:
        return f'<div>{text(above)}</div><div class="soft">{text(below)}</div>'

    columns = {"claim": frame.claim}
    for name in ("task", "subject"):
        if frame[name].nunique() > 1:
            columns[name] = frame[name]
    columns["verdict"] = [
        _pill(verdict, exceptions.get(statement, []))
        for verdict, statement in zip(frame.verdict, frame.statement, strict=True)
    ]
    columns["statement, and when it holds"] = list(map(under, frame.statement, frame.rule))
    columns["statistic"] = list(map(under, frame.statistic, frame.note))
    columns |= {name: frame[name] for name in ("value", "low", "high", "networks")}
    return table(pandas.DataFrame(columns), HEADS, raw=("statement, and when it holds", "verdict", "statistic"))


def _pill(verdict: str, exceptions: list[str]) -> str:
    but = f'<br><span class="soft">but not of {text(", ".join(exceptions))}</span>' if exceptions else ""
    return f'<span class="verdict {VERDICTS.get(verdict, "open")}">{text(verdict)}</span>{but}'


def _figures(kept: Kept, failed: dict[str, str]) -> str:
    task, made = kept.run.task_name, []
    for panel in panels(kept):
        name = panel.file(task)
        image = _image(kept.run.path / "figures", name, panel.heading)
        if name in failed or not image:
            why = failed.get(name, "its files are not there; run fastrnn analyze again")
            made.append(f'<p class="problem">{text(panel.heading)} was not drawn: {text(why)}</p>')
            continue
        place = f"Figure {panel.paper[task].split('-')[0]} of the paper. " if task in panel.paper else ""
        wide = ' class="wide"' if panel.wide else ""
        caption = f"<b>{text(panel.heading)}.</b> {text(panel.caption(kept))} {place}"
        links = f'<span>(<a href="figures/{name}.svg">SVG</a>, <a href="figures/{name}.png">PNG</a>)</span>'
        made.append(f'<figure{wide} id="{name}">{image}<figcaption>{caption}{links}</figcaption></figure>')
    return '<div class="figures">\n' + "\n".join(made) + "\n</div>\n"


def _image(folder: Path, name: str, heading: str) -> str:
    """The figure's SVG, or where that is large or missing its PNG; empty where there is neither."""
    vectors, pixels = folder / f"{name}.svg", folder / f"{name}.png"
    content = vectors.read_bytes() if vectors.exists() else b""
    points = re.search(rb'<svg [^>]*?width="([\d.]+)pt"', content)
    width = PIXELS * float(points[1]) if points else None
    if content and len(content) <= VECTORS:
        return picture(content, "svg", heading, width)
    return picture(pixels.read_bytes(), "png", heading, width) if pixels.exists() else ""


def _groups(kept: Kept) -> str:
    summary = kept.run.summary()
    empty = [name for name in ("untrained", "training", "dropped", "diverged") if not summary[name].any()]
    empty += [name for name in ("learnt", "share") if kept.run.threshold is None and name in summary]
    return table(summary.drop(columns=empty), HEADS)


def _statistics(kept: Kept) -> str:
    said = (
        "<p>Share of the squared distances that a factor explains (marginal, PERMANOVA), and how well it is named from "
    )
    body = said + "a network's nearest neighbour.</p>"
    found = False
    compared = {NAMES[metric]: getattr(kept, metric) for metric in METRICS} | {"Fixed-point graphs": kept.topology}
    for name, made in compared.items():
        if made is None or made.statistics is None:
            continue
        found = True
        columns = ["share", "p", "dispersion_p", "accuracy", "accuracy_low", "accuracy_high", "chance"]
        body += f"<h3>{name}</h3>" + table(made.statistics.table[columns].reset_index(), HEADS)
    return body if found else ""


def _networks(kept: Kept) -> str:
    left_out = ""
    if kept.selection is not None and len(kept.selection.left_out):
        frame = kept.selection.left_out
        left_out = (
            f"<h3>Left out of the studies ({len(frame):,})</h3><p>Studied is what was {text(kept.selection.rule)}.</p>"
        )
        left_out += table(frame, HEADS, tall=len(frame) > 12)
    return table(kept.run.table, HEADS, tall=True) + left_out


def _settings(kept: Kept) -> str:
    path, settings = kept.run.path, kept.run.settings
    folder = shlex.quote(f"runs/{_name(kept)}")
    commands = f"fastrnn train-population --spec {POPULATION} --out {folder}\nfastrnn analyze {folder}"
    trained = settings.get(RECORD, {}).get("fastrnn", "unknown")
    rows = [("fastrnn, training", trained), ("fastrnn, this page", _version("fastrnn"))]
    rows += [(name, _version(name)) for name in LIBRARIES]
    rows += [("Python", platform.python_version()), ("engines", ", ".join(_engines(kept)) or "unknown")]
    seeds = f"{counted(settings['seeds'], 'seed')} of each configuration, seed {settings['seed']} of the population"
    if settings["task"] not in TASKS and ".py:" not in settings["task"]:  # given as an object
        commands = f'spec = fastrnn.PopulationSpec.from_toml("{POPULATION}", task=the_task)\nfastrnn.train(spec)'
    return (
        f"<p>Save the settings below as <code>{POPULATION}</code>, then the same networks come of</p>\n"
        f'<pre class="block">{text(commands)}</pre>\n<p>{text(seeds)}. Random numbers are counter based: no networks, '
        "iterations or purposes share trials or weights. On one kind of processor the same settings give the same bits."
        f"</p>\n{table(pandas.DataFrame(rows, columns=['what', 'version']))}\n<details><summary>{POPULATION}</summary>"
        f'<pre class="block">{text((path / POPULATION).read_text(encoding="utf-8"))}</pre></details>\n'
    )


def _engines(kept: Kept) -> list[str]:
    """Engine and processor that networks were trained on, of all groups that can be read."""
    found = {}
    for group in kept.run.finished_groups():
        try:
            found |= dict.fromkeys(kept.run.finished(group).engines)
        except FastrnnError:  # named where the group's networks are left out
            continue
    return list(found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _missing(kept: Kept, name: str) -> str:
    folder = shlex.quote(str(kept.run.path))
    return f'<p class="problem">Not there: <code>fastrnn analyze {text(folder)} --only {name}</code> makes them.</p>'


def _footer() -> str:
    return f"<footer>Made by fastrnn {_version('fastrnn')}. This page needs no other file and no network.</footer>\n"
