"""What a population is, and every way to ask for an impossible one."""

import re
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from populations import small

from fastrnn.cells import LEAKY_CELLS
from fastrnn.errors import RunError, UsageError
from fastrnn.hyperparameters import VALUES
from fastrnn.spec import ITERATIONS, PRESETS, PopulationSpec
from fastrnn.tasks import TASKS, Task

OWN_TASK = """
from fastrnn import Task

def batch(rng, settings, trials):
    inputs = rng.normal(size=(trials, 5, 1))
    return inputs, settings["gain"] * inputs

echo = Task("echo", D=1, K=1, T=5, batch=batch, settings={"gain": 2.0}, threshold=0.1)
"""


def noise(rng, settings, trials):
    return rng.normal(size=(trials, 4, 1)), np.zeros((trials, 4, 1))


@pytest.fixture
def own_task(tmp_path):
    (tmp_path / "own.py").write_text(OWN_TASK)
    return f"{tmp_path}/own.py:echo"


def toml(tmp_path, text):
    (tmp_path / "my.toml").write_text(text)
    return tmp_path / "my.toml"


def test_presets_are_those_promised():
    quick = PopulationSpec.preset("quick")
    assert quick == PopulationSpec()
    assert (len(quick), quick.sizes, quick.l2, quick.seeds) == (24, (64,), (1e-5,), 3)
    paper = PopulationSpec.preset("paper", "cdi")
    assert (len(paper), len(paper.groups), paper.iterations) == (2880, 24, 20_000)
    for preset in PRESETS:
        sine = PopulationSpec.preset(preset, "sine")
        assert ("lstm", "relu") not in sine.kinds
        assert len(sine.kinds) == 7
    assert len(PopulationSpec.preset("tiny")) <= 24


@pytest.mark.parametrize("preset", PRESETS)
def test_default_iterations_by_preset_and_task(preset, own_task):
    for task in TASKS:
        planned = PopulationSpec.preset(preset, task).iterations
        assert planned == ITERATIONS[preset].get(task, ITERATIONS[preset][""])
    assert PopulationSpec.preset(preset, own_task).iterations == ITERATIONS[preset][""]
    assert PopulationSpec.preset(preset, iterations=7).iterations == 7


def test_the_table_has_a_row_for_each_network():
    spec = PopulationSpec("cdi", cells=("gru", "vanilla"), activations="tanh", sizes=(8, 9), l2=(0, 1e-3), seeds=2)
    table = spec.table()
    assert list(table) == [
        *("id", "cell", "activation", "n", "l2", "seed"),
        *("learning_rate", "decay", "momentum", "clip"),
    ]
    assert len(table) == len(spec) == 16
    assert table.id.is_unique
    assert table.id[0] == "gru-tanh-8-0.0-0"
    assert table.id[15] == "vanilla-tanh-9-0.001-1"
    assert list(spec.groups) == ["gru-tanh-8", "gru-tanh-9", "vanilla-tanh-8", "vanilla-tanh-9"]


def test_hyperparameters_by_row():
    spec = PopulationSpec(
        sizes=8,
        hyperparameters=({"cell": "gru", "learning_rate": 0.5}, {"cell": "gru", "seed": 1, "clip": 7.0}),
        default_hyperparameters=(
            {"learning_rate": 0.1, "decay": 0.2, "momentum": 0.3, "clip": 0.4},
            {"cell": "gru", "activation": "tanh", "n": 8, "learning_rate": 0.9, "decay": 0.6},
        ),
    )
    rows = {row["id"]: [row[name] for name in ("learning_rate", "decay", "momentum", "clip")] for row in spec.rows}
    assert rows["vanilla-tanh-8-1e-05-1"] == [0.1, 0.2, 0.3, 0.4]
    assert rows["gru-tanh-8-1e-05-0"] == [0.5, 0.6, 0.3, 0.4]  # one asked for goes before any default
    assert rows["gru-relu-8-1e-05-1"] == [0.5, 0.2, 0.3, 7.0]


def test_toml_there_and_back(tmp_path, own_task):
    spec = PopulationSpec(
        own_task,
        task_settings={"gain": 3.0},
        cells=("gru", "leaky"),
        sizes=(3, 5),
        l2=(0.0, 1e-7),
        seeds=4,
        iterations=9,
        batch=2,
        seed=11,
        optimizer="adam",
        gate_bias=0.5,
        alpha=0.3,
        noise=0.05,
        excluded=("gru-relu",),
        hyperparameters=({"n": 3, "seed": 1, "clip": float("inf")},),
        default_hyperparameters=(
            {"learning_rate": 0.1, "decay": 0.2, "momentum": 0.3, "clip": 0.4, "optimizer": "adam"},
        ),
        activations=("relu", "tanh"),
        part="2/3",
    )
    again = PopulationSpec.from_toml(toml(tmp_path, spec.to_toml()))
    assert again == spec
    assert again.rows == spec.rows
    assert again.contains(spec)
    changed = [f.name for f in fields(spec) if getattr(spec, f.name) != getattr(PopulationSpec(), f.name)]
    assert set(changed) == {f.name for f in fields(spec)}


def test_toml_with_a_preset_and_changes(tmp_path):
    path = toml(tmp_path, 'preset = "tiny"\ntask = "cdi"\nseeds = 5\ncells = "gru"\n[task_settings]\nsteps = 9\n')
    spec = PopulationSpec.from_toml(path, cells=("lstm",))
    assert (spec.sizes, spec.seeds, spec.cells, spec.resolved_task.T) == (
        PRESETS["tiny"]["sizes"],
        5,
        ("lstm",),
        9,
    )
    assert spec.iterations == ITERATIONS["tiny"]["cdi"]


def test_a_task_of_ones_own(own_task):
    spec = PopulationSpec(own_task)
    assert spec.resolved_task.settings == {"gain": 2.0}
    task = Task("noise", D=1, K=1, T=4, batch=noise)
    spec = PopulationSpec(task)
    assert replace(spec, seeds=5).resolved_task is task
    assert spec.to_settings()["task"] == "noise"


def test_a_task_of_ones_own_is_found_from_everywhere(tmp_path, own_task, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = PopulationSpec("own.py:echo", sizes=3)
    assert spec.task == own_task
    older = spec.to_settings() | {"task": "own.py:echo"}  # as it was given, once
    assert spec.obstacles(older) == []
    assert PopulationSpec.from_settings(older) == spec
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert PopulationSpec.from_settings(spec.to_settings()) == spec
    (tmp_path / "own.py").rename("own.py")  # a run brought here, with its task
    assert PopulationSpec.from_settings(spec.to_settings()).task == f"{tmp_path}/elsewhere/own.py:echo"
    with pytest.raises(UsageError, match="there is no file"):
        PopulationSpec(own_task)
    (tmp_path / "project" / "tasks").mkdir(parents=True)
    (tmp_path / "elsewhere" / "own.py").rename(tmp_path / "project" / "tasks" / "own.py")
    monkeypatch.chdir(tmp_path / "project")
    spec = PopulationSpec("tasks/own.py:echo", sizes=3)
    (tmp_path / "project").rename(tmp_path / "renamed")
    monkeypatch.chdir(tmp_path / "renamed")
    assert PopulationSpec.from_settings(spec.to_settings()).task == f"{tmp_path}/renamed/tasks/own.py:echo"


def test_it_can_not_be_changed():
    with pytest.raises(FrozenInstanceError):
        PopulationSpec().seeds = 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "flipflp"}, r"unknown task 'flipflp' \(did you mean 'flipflop'.*flipflop, sine, cdi"),
        ({"task": 3}, r"task must be a name, file\.py:name or a Task; it is 3"),
        ({"task": "none.py:echo"}, r"there is no file 'none\.py'"),
        ({"task_settings": {"step": 3}}, "has no setting 'step'; its settings are channels, steps"),
        ({"task_settings": {"steps": 0}}, "steps must be a whole number from 1"),
        ({"task_settings": 3}, "task_settings must be a table of names and numbers; it is 3"),
        (
            {"cells": ("gru", "lstmm")},
            r"unknown cells 'lstmm' \(did you mean 'lstm'.*vanilla, ugrnn, gru, lstm",
        ),
        ({"cells": ()}, r"cells must be one or several values; it is \(\)"),
        ({"cells": ("gru", "gru")}, "cells names 'gru' twice; remove one"),
        ({"activations": "sigmoid"}, "unknown activations 'sigmoid'.*tanh, relu"),
        ({"sizes": (64, 0)}, "sizes must be a positive whole number; it is 0"),
        ({"sizes": -3}, "sizes must be a positive whole number; it is -3"),
        ({"sizes": 64.5}, r"sizes must be a positive whole number; it is 64\.5"),
        ({"sizes": "64"}, "sizes must be a positive whole number; it is '64'"),
        ({"sizes": {64}}, "sizes must be one or several values"),
        ({"sizes": (64, 64)}, "sizes names 64 twice"),
        ({"l2": -1e-5}, "l2 must be a number, 0 or more; it is -1e-05"),
        ({"l2": float("nan")}, "l2 must be a number, 0 or more; it is nan"),
        ({"seeds": 0}, "seeds must be a positive whole number; it is 0"),
        ({"seeds": True}, "seeds must be a positive whole number; it is True"),
        ({"iterations": -1}, "iterations must be a whole number, 0 or more; it is -1"),
        ({"batch": 0}, "batch must be a positive whole number; it is 0"),
        ({"optimizer": "adma"}, r"unknown optimizer 'adma' \(did you mean 'adam'\?\); allowed are sgd, adam"),
        (
            {"optimizer": "adam", "hyperparameters": ({"momentum": 1.0},)},
            "^vanilla-tanh-64-1e-05-0: momentum must be below 1 with adam, such as 0.9; got 1.0",
        ),
        (
            {"hyperparameters": ({"cell": "gru", "optimizer": "adam", "clip": 1.0},)},
            r"^hyperparameters, row 1 \(cell gru\), must be for optimizer sgd; it is for adam: take .*or other rows$",
        ),
        (
            {"optimizer": "adam", "default_hyperparameters": (dict.fromkeys(VALUES, 0.5),)},
            r"row 1 \(all networks\), must be for optimizer adam; it is for sgd: .*or leave them out for",
        ),
        ({"seed": -1}, "seed must be a whole number, 0 or more; it is -1"),
        ({"gate_bias": "one"}, "gate_bias must be a number; it is 'one'"),
        ({"gate_bias": 1e40}, r"gate_bias must be finite in float32, at most 3\.4e\+38; it is 1e\+40"),
        ({"cells": "leaky", "alpha": "half"}, "alpha must be a number; it is 'half'"),
        ({"cells": "leaky", "alpha": 1.0}, r"alpha must be above 1e-07 and below 1; it .* \(alpha = 1\) are vanilla"),
        ({"cells": "leaky", "alpha": 0.0}, "alpha must be above 1e-07 and below 1; it is 0;"),
        ({"cells": "leaky", "noise": -0.1}, "noise must be 0 or greater; got -0.1"),
        ({"noise": 0.0}, "noise is for leaky cells"),
        ({"alpha": 0.5}, "alpha is for leaky cells; the cells are vanilla, .*: leave alpha out, or add leaky"),
        ({"cells": "gru", "alpha": 0.5}, "alpha is for leaky cells; the cells are gru: leave"),
        ({"l2": 1e300}, r"l2 must be finite in float32, at most 3\.4e\+38; it is 1e\+300"),
        ({"l2": 10**400}, "l2 must be a number, 0 or more; it is 1000"),
        ({"seeds": 10**9}, "8,000,000,000 networks are too many for one population.*take fewer seeds"),
        ({"record": 3}, "record must be a table as a run's population.toml has; it is 3: remove it"),
        ({"excluded": ("gru",)}, "unknown excluded 'gru'.*allowed are vanilla-tanh, vanilla-relu"),
        ({"cells": "gru", "activations": "tanh", "excluded": "gru-tanh"}, "no networks are left: excluded"),
        ({"hyperparameters": {"clip": 1.0}}, "hyperparameters must be a list of tables"),
        ({"hyperparameters": ({"clip": 0.0},)}, "hyperparameters, row 1: clip must be greater than 0"),
        (
            {"hyperparameters": ({"cell": "gru", "clip": 1.0}, {"n": 64, "clip": 2.0})},
            "both give clip to cell gru",
        ),
        (
            {"default_hyperparameters": ({"clip": 1.0},)},
            "default_hyperparameters gives learning_rate to vanilla-tanh-64",
        ),
        ({"sizs": (64,)}, r"unknown setting 'sizs' \(did you mean 'sizes'\?\); allowed are preset, task"),
        (
            {"preset": "quik"},
            r"unknown preset 'quik' \(did you mean 'quick'\?\); allowed are quick, tiny, paper",
        ),
    ],
)
def test_impossible_populations(settings, message):
    with pytest.raises(UsageError, match=message):
        PopulationSpec.from_settings(settings)


def test_settings_that_are_no_dict():
    with pytest.raises(UsageError, match=r"settings must be a dict of parameters; it is \['gru'\]"):
        PopulationSpec.from_settings(["gru"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cells = ", r"my\.toml' is not a TOML file: Invalid value"),
        ("[sizes]\nn = 3", "sizes must be one or several values"),
        ("cels = ['gru']", "unknown setting 'cels'.*did you mean 'cells'"),
    ],
)
def test_bad_toml(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        PopulationSpec.from_toml(toml(tmp_path, text))


def test_toml_that_is_not_there_or_of_another_schema(tmp_path):
    with pytest.raises(UsageError, match=r"could not read .*none\.toml': No such file"):
        PopulationSpec.from_toml(tmp_path / "none.toml")
    with pytest.raises(RunError, match="has schema version 2; this fastrnn reads version 1"):
        PopulationSpec.from_toml(toml(tmp_path, "[record]\nschema = 2\n"))


BASE = {"cells": ("gru", "vanilla"), "sizes": (8,), "l2": (1e-5,), "seeds": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seeds": 3},
        {"cells": ("vanilla", "lstm", "gru")},
        {"sizes": (16, 8)},
        {"l2": (0.0, 1e-5)},
        {"seeds": 3, "hyperparameters": ({"seed": 2, "clip": 0.1},)},  # of a new network
    ],
)
def test_a_larger_population_contains_a_smaller(changes):
    small = PopulationSpec(**BASE)
    large = PopulationSpec(**(BASE | changes))
    assert large.contains(small)
    assert small.contains(large) == (not changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "cdi"}, "task: flipflop there, cdi here"),
        ({"task_settings": {"steps": 50}}, "task_settings: .*'steps': 100.* there, .*'steps': 50.* here"),
        ({"iterations": 5}, "iterations: 2500 there, 5 here"),
        ({"batch": 5}, "batch: 64 there, 5 here"),
        ({"seed": 5}, "seed: 0 there, 5 here"),
        ({"optimizer": "adam"}, "optimizer: sgd there, adam here"),
        ({"gate_bias": 0.0}, r"gate_bias: 1\.0 there, 0\.0 here"),
        ({"cells": "gru"}, "cells: vanilla there and not here"),
        ({"activations": "tanh"}, "activations: relu there and not here"),
        ({"sizes": (16,)}, "sizes: 8 there and not here"),
        ({"l2": (1e-4,)}, "l2: 1e-05 there and not here"),
        ({"seeds": 1}, "seeds: 2 there, 1 here"),
        ({"excluded": "gru-relu"}, "excluded: 2 networks there and not here, gru-relu-8-1e-05-0 for one"),
        (
            {"hyperparameters": ({"cell": "gru", "clip": 0.1},)},
            r"hyperparameters: clip of gru-tanh-8-1e-05-0 is .* there, 0\.1 here",
        ),
    ],
)
def test_why_a_population_does_not_contain_another(changes, reason):
    there, here = PopulationSpec(**BASE), PopulationSpec(**(BASE | changes))
    assert not here.contains(there)
    (text,) = here.obstacles(there.to_settings())
    assert re.search(reason, text)


def test_alpha_and_noise_are_of_leaky_cells_alone():
    """Another one is another population only where both have such cells; what is written of others is as it was."""
    plain, leaky = PopulationSpec(cells="gru"), PopulationSpec(cells=("leaky", "gru"), alpha=0.5)
    assert plain.alpha is None and "alpha" not in plain.to_settings()
    assert [PopulationSpec(cells=cell).alpha for cell in LEAKY_CELLS] == [0.2, 0.2]
    assert leaky.to_settings()["alpha"] == 0.5
    assert (leaky.gate_bias_of("leaky"), leaky.gate_bias_of("gru")) == (0.0, 1.0)
    assert (plain.noise, leaky.noise, replace(leaky, noise=0.1).noise_of("gru")) == (None, 0.0, 0.0)
    assert leaky.contains(plain) and PopulationSpec(cells=("leaky", "gru", "current"), alpha=0.5).contains(leaky)
    slower = PopulationSpec(cells=("leaky", "gru"), alpha=0.1)
    assert slower.obstacles(leaky.to_settings()) == ["alpha: 0.5 there, 0.1 here"]
    noisy = replace(leaky, noise=0.1)
    assert noisy.obstacles(leaky.to_settings()) == ["noise: 0.0 there, 0.1 here"]
    assert noisy.noise_of("leaky") == 0.1


def test_the_optimizer_decides_what_the_defaults_are():
    sgd, adam = PopulationSpec(cells="gru"), PopulationSpec(cells="gru", optimizer="adam")
    assert sgd.optimizer == "sgd" and sgd.rows[0]["learning_rate"] != adam.rows[0]["learning_rate"]
    assert adam.to_settings()["optimizer"] == "adam"
    with pytest.raises(
        UsageError, match=r"default_hyperparameters, row 1 .* must be for optimizer adam; it is for sgd"
    ):
        replace(sgd, optimizer="adam")
    assert replace(sgd, optimizer="adam", default_hyperparameters=None) == adam
    before = {name: value for name, value in sgd.to_settings().items() if name != "optimizer"}
    assert sgd.obstacles(before) == []  # written when there was no other
    assert adam.obstacles(before) == ["optimizer: sgd there, adam here"]


def test_changed_code_of_a_task_is_noticed(tmp_path, own_task):
    before = PopulationSpec(own_task).to_settings()
    (tmp_path / "own.py").write_text(OWN_TASK.replace("settings[", "2 * settings["))
    assert PopulationSpec(own_task).obstacles(before) == ["task: the code of 'echo' has changed"]


def test_configurations_that_no_search_found_values_for():
    general = dict.fromkeys(VALUES, 0.5)
    found = {"cell": "gru", "activation": "tanh", "n": 4, "l2": 1e-5, "found": "search"} | general

    def unsearched(rows=(), defaults=(), **changes):
        return small(hyperparameters=rows, default_hyperparameters=(general, *defaults), **changes).unsearched

    both = ("vanilla-tanh-4-1e-05", "gru-tanh-4-1e-05")
    assert unsearched() == both
    assert unsearched(defaults=(found,)) == unsearched(rows=(found,)) == both[:1]
    assert unsearched(defaults=(found | {"found": "rule"},)) == unsearched(rows=(found | {"found": "rule"},)) == both
    assert unsearched(defaults=({"cell": "gru", "found": "common"} | general,)) == both[:1]
    adam = {name: PopulationSpec(name, optimizer="adam").unsearched for name in TASKS}
    assert adam == {"flipflop": ("lstm-relu-64-1e-05",), "sine": (), "cdi": ()}
    assert unsearched(rows=(general,)) == ()  # whoever gives values needs no search
    assert unsearched(rows=({"clip": 0.1},)) == both
    assert unsearched(rows=({"clip": 0.1},), defaults=(found,)) == both[:1]
    assert len(unsearched(defaults=(found,), sizes=(4, 5), l2=(1e-5, 0.0))) == 7


@pytest.mark.parametrize("l2", [np.float32(1e-3), np.float16(1e-3)])
def test_a_narrow_number_is_the_one_that_was_meant(l2):
    """And has the values that were searched for it."""
    assert PopulationSpec("flipflop", l2=l2).rows == PopulationSpec("flipflop", l2=1e-3).rows


def test_a_zero_has_no_sign():
    assert PopulationSpec("flipflop", l2=-0.0).ids == PopulationSpec("flipflop", l2=0.0).ids
