"""Reports: whole pages that need nothing else, written only when something changed, alive in a browser."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas
import pytest
from browser import Browser, find
from made_results import CUBE, finished_run, results, save
from populations import small
from typer.testing import CliRunner

import fastrnn
from fastrnn.analysis.completeness import PointStatus
from fastrnn.cli import app
from fastrnn.errors import RunError
from fastrnn.figures import figure, paper
from fastrnn.figures.figure import PAIR
from fastrnn.folder import FolderLock, RunFolder
from fastrnn.progress import Interrupted, Interruption
from fastrnn.report import index, markup, page, write_index, write_report
from fastrnn.report.pages import _pill
from fastrnn.report.scene import REACH, scene
from fastrnn.runs import load_run
from fastrnn.studies import load_analysis
from fastrnn.tasks import Task
from fastrnn.training import train

VOID = {"meta", "link", "img", "input", "circle", "polygon", "rect"}
NAME = "a <b>&\"run'"


class Page(HTMLParser):
    """The elements of a page; every one that is opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.headings = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a run with a report and everything in it."""
    kept = results(tmp_path_factory.mktemp("runs") / NAME, cells=("vanilla", "lstm"))
    save(kept)
    made = write_report(kept.run, progress=False)
    assert made.written and made.failed == {} and made.path == kept.run.path / "report.html"
    return kept.run.path


@pytest.fixture
def quick(monkeypatch):
    """Figures that take no time; the list of those drawn."""
    drawn = []

    def draw(one):
        drawn.append(one)
        return {"svg": b"<svg/>", "png": b"png"}

    monkeypatch.setattr(figure, "render", draw)
    return drawn


@pytest.fixture
def small_run(tmp_path):
    """A run with made-up results, no report yet."""
    kept = results(tmp_path / "run", cells=("gru",), activations=("tanh",))
    save(kept)
    return kept.run.path


def test_the_page_is_whole_and_loads_nothing(written):
    text = (written / "report.html").read_text()
    parsed = Page(text)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert parsed.headings == [
        *("Claims", "In three dimensions", "Figures", "Networks by kind", "All networks"),
        "Settings, versions, how to reproduce",
    ]
    assert all(source.startswith("data:image/") for source in parsed.sources)
    inside = {link[1:] for link in parsed.links if link.startswith("#")}
    assert inside <= set(parsed.ids) and len(inside) == 6
    files = [link for link in parsed.links if link.startswith("figures/")]
    assert len(files) == 2 * len(parsed.sources) == 2 * 12 and all((written / file).stat().st_size for file in files)
    others = set(parsed.links) - set(files) - {"#" + name for name in inside}
    assert others == {"data:,", "https://arxiv.org/abs/1907.08549"}  # a link to be clicked, nothing that is loaded
    assert len(text) < 3e6
    assert "default-src 'none'" in text


def test_the_page_says_what_the_run_says(written):
    text = (written / "report.html").read_text()
    assert "<h1>a &lt;b&gt;&amp;&quot;run&#x27;</h1>" in text and "<b>8</b><span>networks" in text
    assert "<b>1 of 2</b><span>statements of the paper hold" in text
    assert "four kinds &lt;fail&gt;" in text and "<fail>" not in text
    assert '<span class="verdict fails">does not hold</span>' in text
    assert "fastrnn train-population --spec population.toml" in text and fastrnn.__version__ in text
    assert text.count("--out &#x27;runs/a &lt;b&gt;&amp;&quot;run") == 1  # quoted for a shell
    assert '<br><span class="soft">' not in text  # of a statement that holds of all kinds
    table = load_analysis(written).run.table
    assert all(f"<td>{name}</td>" in text for name in table.id)
    assert f'data-v="{float(table.validation_loss[3])!r}"' in text


def test_the_page_says_that_adam_trained(tmp_path, quick):
    kept = results(tmp_path / "run", cells=("gru",), activations=("tanh",), optimizer="adam")
    save(kept)
    write_report(kept.run, progress=False)
    assert "trained by Adam on the task <b>flipflop</b>" in (tmp_path / "run" / "report.html").read_text()


def test_a_second_call_does_nothing_until_something_changes(small_run, quick):
    assert write_report(small_run, progress=False).written
    count = len(quick)
    assert count == 12
    assert not write_report(small_run, progress=False).written and len(quick) == count
    (small_run / "figures/figure-1c.png").unlink()
    assert write_report(small_run, progress=False).written and len(quick) == 2 * count
    (small_run / "analysis/topology.safetensors").unlink()
    assert write_report(small_run, progress=False).written and len(quick) == 3 * count - 1
    (small_run / "figures/record.json").write_text("{")
    assert write_report(small_run, progress=False).written
    assert not write_report(small_run, progress=False).written


def test_a_figure_that_fails_is_named_and_the_others_are_drawn(small_run, quick, monkeypatch, capsys):
    def fails(*_):
        raise ValueError("no such <colour>")

    monkeypatch.setattr(paper.distances, "distance_matrix", fails)
    made = write_report(small_run)
    assert made.failed == {"figure-1c": "ValueError: no such <colour>"} and len(quick) == 11
    assert "figure-1c: ValueError: no such <colour>" in capsys.readouterr().err
    assert "SVCCA distances was not drawn: ValueError: no such &lt;colour&gt;" in made.path.read_text()
    monkeypatch.undo()
    monkeypatch.setattr(figure, "render", lambda one: {"svg": b"<svg/>", "png": b"png"})
    again = write_report(small_run, progress=False)
    assert again.written and again.failed == {}


def test_ctrl_c_stops_between_two_figures(small_run, quick, monkeypatch):
    asked = property(lambda self: len(quick) == 3, lambda self, value: None)
    monkeypatch.setattr(Interruption, "requested", asked, raising=False)
    with pytest.raises(Interrupted, match="interrupted before figure 'figure-1b'; the same command"):
        write_report(small_run, progress=False)
    assert len(quick) == 3 and not (small_run / "report.html").exists()


def test_a_folder_that_cannot_be_written(small_run):
    (small_run / "figures").rmdir()
    (small_run / "figures").write_text("in the way")
    with pytest.raises(RunError, match=r"could not write .*figures"):
        write_report(small_run, progress=False)


def test_a_folder_that_another_process_holds(small_run, quick):
    with FolderLock(small_run), pytest.raises(RunError, match="is in use by process"):
        write_report(small_run, progress=False)
    assert quick == [] and not (small_run / "report.html").exists()
    assert write_report(small_run, progress=False).written
    with FolderLock(small_run):
        assert not write_report(small_run, progress=False).written  # nothing to write: reading is free
    with RunFolder(small_run, load_run(small_run).spec):
        pass  # it was released


def test_what_is_missing_or_damaged_is_said(tmp_path, quick):
    run = finished_run(tmp_path / "bare", cells=("gru",), task="cdi", task_settings={"steps": 8})
    made = write_report(run, progress=False)
    text = made.path.read_text()
    assert f"<code>fastrnn analyze {run.path} --only claims</code>" in text and "viewer" not in Page(text).ids
    assert made.failed == {} and len(quick) == 2
    (run.path / "analysis").mkdir()
    (run.path / "analysis/claims.safetensors").write_bytes(b"nothing")
    text = write_report(run, progress=False).path.read_text()
    assert re.search(r'<p class="problem">claims: .*is damaged', text)


def test_scenes_hold_the_points_where_they_are(tmp_path):
    one = next(iter(results(tmp_path / "run", cells=("gru",)).portraits.values()))
    made = scene(one, "flipflop")
    at = np.array([point["at"] for point in made["points"]])
    everything = np.concatenate([one.trajectories.reshape(-1, 3), one.points])
    low, high = everything.min(axis=0), everything.max(axis=0)
    expected = (CUBE - (low + high) / 2) * 2 * REACH / (high - low).max()
    np.testing.assert_allclose(at, expected, atol=0.51)
    assert [point["unstable"] for point in made["points"]] == (CUBE == 0).sum(axis=1).tolist()
    values = np.array(made["points"][5]["eigenvalues"])
    np.testing.assert_allclose(values[:, 0] + 1j * values[:, 1], one.eigenvalues[5][: len(values)], atol=1e-4)
    for line, trial in zip(made["trajectories"], one.trajectories, strict=True):
        assert len(line["at"]) == 3 * len(trial) and line["runs"][0][0] == 0
    assert [path["source"] for path in made["paths"]] == one.path_source.tolist()
    json.dumps(made, allow_nan=False)


def test_long_trajectories_and_many_points_are_thinned(tmp_path):
    one = next(iter(results(tmp_path / "run", "cdi", cells=("gru",)).portraits.values()))
    repeated = {
        "points": 40,
        "condition": 40,
        "readout": 40,
        "speed": 40,
        "status": 40,
        "n_unstable": 40,
        "eigenvalues": 40,
    }
    for name, times in repeated.items():
        array = np.repeat(getattr(one, name), times, axis=0)
        setattr(one, name, np.tile(array, (1, 20)) if name == "eigenvalues" else array)
    one.trajectories = np.cumsum(np.ones((6, 1000, 3)), axis=1)
    one.targets, one.inputs = (np.repeat(a[:, :1], 1000, axis=1) for a in (one.targets, one.inputs))
    made = scene(one, "cdi")
    assert {len(point["eigenvalues"]) for point in made["points"]} == {20}
    assert {len(line["at"]) for line in made["trajectories"]} == {3 * 150}
    assert made["held"] == ["1", "1"] and made["held_name"] == "context"


def test_the_index_leads_to_the_runs(written, tmp_path):
    bare = finished_run(written.parent / "bare", cells=("gru",), seeds=1)
    assert write_index(written.parent, str(written)).read_text().count("report.html") == 1  # one alone
    path = write_index(written.parent, [written, bare.path])
    text = path.read_text()
    parsed = Page(text)
    assert path.name == "index.html" and "data:," in parsed.links
    assert [unquote(link) for link in parsed.links if link != "data:,"] == [f"{NAME}/report.html"]
    assert "<td>bare</td>" in text and "1 of 2" in text and "all networks reach low error" in text
    assert "There are none" in index([], tmp_path)
    (bare.path / "networks.csv").write_text("torn")
    assert "<td>bare</td>" not in write_index(written.parent, [written, bare.path]).read_text()


def test_the_index_sets_runs_side_by_side(written, tmp_path):
    first, second = load_analysis(written), load_analysis(written)
    table = second.claims.table.copy()
    table.loc[table.index[1], "verdict"] = "undecided"
    second.claims.table = table
    (row,) = [row for row in index([first, second], tmp_path).split("<tr>") if table.statement.iloc[1] in row]
    assert re.findall(r'verdict \w+">([a-z ]+)<', row) == ["holds", "undecided"]


def test_all_figures_are_on_one_scale(written):
    text = (written / "report.html").read_text()
    for name in ("figure-1d", "figure-1b"):  # vectors, and too many of them
        inches = float(re.search(r'width="([\d.]+)pt"', (written / f"figures/{name}.svg").read_text())[1]) / 72
        assert f'id="{name}"><img alt' in text
        (width,) = re.findall(rf'id="{name}"><img alt="[^"]*" style="width: (\d+)px"', text)
        assert int(width) == pytest.approx(120 * inches, abs=1)


def test_points_far_from_the_trajectories_are_out_of_the_scene(tmp_path):
    one = next(iter(results(tmp_path / "run", cells=("gru",)).portraits.values()))
    near = scene(one, "flipflop")
    one.points[0] = 1e6  # a stable one, where no path begins
    made = scene(one, "flipflop")
    assert len(made["points"]) == 26 and len(made["paths"]) == len(near["paths"])
    assert [made["points"][path["source"]]["unstable"] for path in made["paths"]] == [1] * len(made["paths"])
    assert "27 fixed points, 1 of them far away and not shown" in made["about"]
    one.status[[0, 3, 4, 7]] = [PointStatus.DEGENERATE, PointStatus.SLOW, PointStatus.SLOW, PointStatus.DEGENERATE]
    made = scene(one, "flipflop")
    assert "25 fixed points (2 degenerate) and 2 slow points, 1 of them far away and not shown" in made["about"]
    assert [point["status"] for point in made["points"]][2:7] == ["slow", "slow", "exact", "exact", "degenerate"]
    assert made["shade"] == {"what": "the first channel holds", "ends": ["\N{MINUS SIGN}1", "+1"], "colours": [*PAIR]}


def test_what_a_page_says_of_networks_that_diverged_or_have_no_threshold(tmp_path):
    kept = results(tmp_path / "100% r#0", cells=("gru",))
    kept.run.table.loc[0, ["status", "validation_loss"]] = ["diverged", 1e31]
    text = page(kept)
    others = markup.number(float(kept.run.table.validation_loss[1:].median()))
    assert f"<b>{others}</b><span>median validation loss" in text and ">learnt</button>" in text
    del kept.run.settings["record"]["threshold"]
    assert ">learnt</button>" not in page(kept)
    (kept.run.path / "report.html").touch()
    made = index([kept], tmp_path)
    assert '<a href="100%25%20r%230/report.html">100% r#0</a>' in made
    assert re.search(r'data-v="nan">-</td><td class="number" data-v="1.0"', made)


def test_an_exception_stands_below_the_verdict():
    assert _pill("holds", ["gru relu"]) == (
        '<span class="verdict holds">holds</span><br><span class="soft">but not of gru relu</span>'
    )


def test_commands_for_a_task_given_as_an_object(tmp_path):
    """It has no claims, and its Task must be given again."""
    task = Task("own <task>", 1, 1, 3, batch=lambda rng, settings, trials: (np.ones((trials, 3, 1)),) * 2)
    spec = small(task=task, task_settings={}, cells="gru", iterations=1)
    text = page(load_analysis(train(spec, tmp_path / "run", "cpu", progress=False)))
    assert "PopulationSpec.from_toml(&quot;population.toml&quot;, task=the_task)" in text
    assert "--only claims" not in text and "2 seeds of each configuration" in text


def test_numbers_are_short_and_words_are_safe():
    assert [markup.number(v) for v in (3.0, 12345, 0.000123456, float("nan"), -1.5)] == [
        *("3", "12,345", "0.0001235", "-", "-1.5"),
    ]
    frame = pandas.DataFrame({"x": [np.inf, -np.inf, np.nan]})
    assert re.findall(r'data-v="([^"]*)"', markup.table(frame)) == ["Infinity", "-Infinity", "nan"]
    assert markup.data("x", '{"a": "</script>"}').count("</script>") == 1


def test_the_command_analyses_draws_and_reports(tmp_path, capsys):
    finished_run(tmp_path / "runs/one", cells=("gru",), activations=("tanh",), task_settings={"steps": 20})
    call = ["analyze", "--all", "--folder", str(tmp_path / "runs"), "--only", "similarity"]
    made = CliRunner().invoke(app, [*call, "--no-report"])
    assert made.exit_code == 0 and not (tmp_path / "runs/index.html").exists()
    made = CliRunner().invoke(app, [*call, "--json"])
    (report,) = json.loads(made.stdout)
    assert report["report"] == str(tmp_path / "runs/one/report.html")
    assert 'href="one/report.html"' in (tmp_path / "runs/index.html").read_text()
    before = (tmp_path / "runs/one/report.html").stat().st_mtime_ns
    made = CliRunner().invoke(app, call)
    assert f"report: {tmp_path / 'runs/one/report.html'}" in made.stdout
    assert (tmp_path / "runs/one/report.html").stat().st_mtime_ns == before


# ------------------------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find()
    if program is None:
        pytest.skip("no Chromium here: install chromium to test the pages in a browser")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


VIEW = "document.getElementById('view')"


def state(browser):
    """What the view shows, as it says itself, after it was drawn."""
    browser.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return browser.js(f"({{...{VIEW}.dataset}})")


def center(browser):
    box = f"{VIEW}.scrollIntoView({{block: 'center'}}), {VIEW}.getBoundingClientRect()"
    return browser.js(f"(() => {{ const b = ({box}); return [b.left + b.width / 2, b.top + b.height / 2]; }})()")


def ink(browser):
    """A fingerprint of the pixels of the view."""
    return browser.js(f"{VIEW}.toDataURL()")


def test_the_view_turns_zooms_and_tells_eigenvalues(browser, written):
    browser.open(written / "report.html")
    x, y = center(browser)
    before, drawn = state(browser), ink(browser)
    browser.drag((x, y), (x + 120, y + 60))
    turned = state(browser)
    assert float(turned["yaw"]) > float(before["yaw"]) + 0.5 and float(turned["pitch"]) > float(before["pitch"]) + 0.2
    assert turned["zoom"] == before["zoom"] and ink(browser) != drawn
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    assert float(state(browser)["zoom"]) > 1.1
    browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=200)
    browser.js("document.getElementById('reset').click()")
    assert state(browser) == before and ink(browser) == drawn
    browser.mouse("mouseMoved", x + 3, y)  # the cube's middle: three unstable dimensions
    hovered = state(browser)
    said = browser.js("document.getElementById('tip').hidden ? '' : document.getElementById('tip-text').textContent")
    assert hovered["hover"] != "-1" and said.startswith("3 unstable dimensions\noutput 0, 0, 0\nspeed")
    assert "largest eigenvalues:\n  1.0180 + 0.0640i, magnitude 1.0200" in said
    browser.mouse("mouseMoved", x, 2)
    assert state(browser)["hover"] == "-1" and browser.js("document.getElementById('tip').hidden")
    assert browser.problems == []


def test_the_view_obeys_keys_choices_and_touch(browser, written):
    browser.open(written / "report.html")
    x, y = center(browser)
    browser.js(f"{VIEW}.focus()")
    before, drawn = state(browser), ink(browser)
    event = "new KeyboardEvent('keydown', {key: '+', ctrlKey: true, cancelable: true})"
    assert browser.js(f"{VIEW}.dispatchEvent({event})")  # Ctrl and + is the browser's
    assert state(browser) == before
    for key in ("ArrowRight", "ArrowDown", "+"):
        browser.key(key)
    after = state(browser)
    assert all(float(after[name]) > float(before[name]) for name in ("yaw", "pitch", "zoom"))
    browser.key("0")
    assert state(browser) == before
    told = []
    for key in ("n", "n", "p", "p", "ArrowLeft", "p"):  # turning takes nothing back
        browser.key(key)
        told.append((state(browser)["hover"], browser.js("document.getElementById('tip-text').textContent")))
    assert [point for point, _ in told] == ["0", "1", "0", "26", "-1", "25"] and told[0] == told[2]
    assert browser.js("document.getElementById('told').textContent") == told[5][1]
    assert told[0][1].startswith("stable\noutput -1, -1, -1") and told[1][1].startswith("1 unstable dimension\n")
    assert not browser.js("document.getElementById('tip').hidden")
    browser.key("Escape")
    browser.key("ArrowRight")
    assert state(browser) == before and browser.js("document.getElementById('tip').hidden") and ink(browser) == drawn
    for name in ("trajectories", "points", "paths"):
        browser.js(f"document.getElementById('show-{name}').click()")
        state(browser)
        without = ink(browser)
        assert without != drawn
        drawn = without
    browser.js("const s = document.getElementById('scene'); s.value = '3'; s.dispatchEvent(new Event('change'))")
    assert state(browser)["scene"] == "3"
    assert browser.js("document.getElementById('about').textContent").startswith("lstm-relu-4")
    fingers = [{"x": x - 50, "y": y, "id": 1}, {"x": x + 50, "y": y, "id": 2}]
    apart = [{"x": x - 100, "y": y, "id": 1}, {"x": x + 100, "y": y, "id": 2}]
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=fingers)
    browser.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=apart)
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    assert float(state(browser)["zoom"]) > 1.5
    assert browser.problems == []


def test_tables_are_sorted_by_value(browser, written):
    browser.open(written / "report.html")
    column = "[...document.querySelectorAll('#networks tbody tr')].map(row => row.cells[13].textContent)"
    head = "document.querySelectorAll('#networks thead button')[13]"
    assert browser.js(f"{head}.textContent") == "validation loss"
    losses = load_analysis(written).run.table.validation_loss
    browser.js(f"{head}.click()")
    assert browser.js(column) == [markup.number(v) for v in sorted(losses)]
    browser.js(f"{head}.click()")
    assert browser.js(column) == [markup.number(v) for v in sorted(losses, reverse=True)]
    assert browser.js(f"{head}.closest('th').getAttribute('aria-sort')") == "descending"
    assert browser.problems == []


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_narrow_and_wide_windows(browser, written, width):
    browser.open(written / "report.html", width=width, mobile=width < 500)
    assert browser.js("document.documentElement.scrollWidth <= innerWidth") is True
    assert browser.js("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.problems == []


@pytest.mark.parametrize("task", ["cdi", "sine"])
def test_views_of_the_other_tasks(browser, tmp_path, task):
    kept = results(tmp_path / "run", task, cells=("gru", "lstm"))
    (tmp_path / "report.html").write_text(page(kept))
    browser.open(tmp_path / "report.html")
    center(browser)
    first = ink(browser)
    assert state(browser)["scene"] == "0" and browser.js("document.getElementById('paths-choice').hidden")
    bar = browser.js("document.getElementById('shade').textContent").split()
    assert bar[-1] == ("1" if task == "sine" else bar[-2][1:]) and bar[-2][:1] in "0\N{MINUS SIGN}"
    assert browser.js("document.getElementById('shade-bar').style.background").startswith("linear-gradient")
    browser.js("document.getElementById('show-points').click()")
    state(browser)
    assert ink(browser) != first
    assert browser.problems == []


def test_a_problem_would_be_noticed(browser, tmp_path):
    body = "<script>console.error('no'); throw new Error('oh')</script><img src='https://example.org/a.png'>"
    (tmp_path / "bad.html").write_text(f"<!doctype html><link rel='icon' href='data:,'>{body}")
    browser.open(tmp_path / "bad.html")
    said = json.dumps(browser.problems)
    assert "oh" in said and "'no'" in said.replace('"no"', "'no'") and "https://example.org/a.png" in said
    browser.problems.clear()
