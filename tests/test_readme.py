"""What the README and the guides show: Python runs, commands and links exist, the map is that of the sources."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastrnn
from fastrnn.cells import CELLS
from fastrnn.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def blocks(language):
    """Text of the code blocks of one language."""
    every = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return [text for name, text in every if name == language]


def section(title):
    return re.split(r"\n##? ", TEXT.split(f"## {title}\n")[1])[0]


def anchors(page):
    """What a link may name behind #: headings in small letters, spaces as hyphens."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE), re.M
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def test_the_readme_leads_to_every_guide():
    assert {path for path in re.findall(r"\]\((docs/\w+\.md)\)", PAGES[0].read_text())} == {
        f"docs/{page.name}" for page in PAGES[1:]
    }


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train, gradients, *others = blocks("python")
    (echo,) = (block for block in others if block.startswith("# echo.py"))
    names = {}
    for block in (train, gradients):
        exec(compile(block, "a page", "exec"), names)
    assert "gru-tanh-16-1e-05-0" in capsys.readouterr().out
    assert names["states"].shape == (2, 8, 100, 16)
    assert names["again"].table.equals(names["run"].table)
    for block in others:
        if block != echo:
            exec(compile(block, "a page", "exec"), {})
    (tmp_path / "echo.py").write_text(echo)
    spec = fastrnn.PopulationSpec("echo.py:echo", cells=("gru",), sizes=(8,), seeds=1, iterations=5)
    assert set(fastrnn.train(spec, out="runs/echo").table.status) == {"trained"}


def help_of(*command):
    return subprocess.check_output([sys.executable, "-m", "fastrnn", *command, "--help"], cwd=ROOT, text=True)


def test_the_commands_exist_with_their_options_and_none_is_left_out():
    commands = re.findall(r"^  (\w[\w-]*)  ", help_of().split("Commands:")[1], re.MULTILINE)
    text = " ".join(blocks("sh")).replace("\\\n", " ")
    shown = re.findall(r"fastrnn (\w[\w-]*)([^#\n]*)", text)
    assert {name for name, _ in shown} == set(commands)
    options = {name: set(re.findall(r"--[a-z0-9-]+", help_of(name))) for name in commands}
    for name, rest in shown:
        assert set(re.findall(r"--[a-z0-9-]+", rest)) <= options[name]


@pytest.mark.parametrize(("title", "names"), [("Cells", CELLS), ("Tasks", TASKS)])
def test_the_tables_name_everything(title, names):
    assert set(re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)) == set(names)


def test_the_settings_of_the_tasks_are_named():
    for name, task in TASKS.items():
        (row,) = re.findall(rf"^\| `{name}` .*$", section("Tasks"), re.MULTILINE)
        assert re.findall(r"`(\w+)`", row)[1:] == list(task.settings)


def mapped_entries():
    """Modules and folders of the map, in its order."""
    (text,) = (block for block in blocks("") if "counters.py" in block)
    return re.findall(r"^  ([\w/]+(?:\.py)?)", text, re.MULTILINE)


def imported(path):
    """Entries of the map that a module imports, those inside functions too."""
    package = ["fastrnn", *path.relative_to(ROOT / "fastrnn").parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*base, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for first, *rest in names:
            if first == "fastrnn" and rest:
                yield rest[0]


def test_a_module_imports_only_what_stands_above_it():
    place = {entry.removesuffix("/").removesuffix(".py"): i for i, entry in enumerate(mapped_entries())}
    wrong = []
    for path in sorted((ROOT / "fastrnn").rglob("*.py")):
        mine = path.relative_to(ROOT / "fastrnn").parts[0].removesuffix(".py")
        if mine in place:  # the package's own __init__ and __main__ are above and below everything
            found = {name for name in imported(path) if place.get(name, 0) > place[mine]}
            wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in sorted(found)]
    assert wrong == []


def test_the_map_is_complete():
    mapped = set(mapped_entries())
    there = {path.name for path in (ROOT / "fastrnn").glob("*.py") if not path.name.startswith("__")}
    there |= {path.parent.name + "/" for path in (ROOT / "fastrnn").glob("*/__init__.py")}
    assert mapped == there
