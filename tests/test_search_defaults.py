"""The shipped tables of hyperparameters: where each row comes from, and how they are made."""

import csv

import pytest
from populations import small

from fastrnn.errors import UsageError
from fastrnn.hyperparameters import DEFAULTS, FOUND, VALUES, HyperparameterTable, read_rows
from fastrnn.search import SearchSpec, search_hyperparameters
from fastrnn.search.defaults import COLUMNS, defaults_table, searched_rows, write_defaults
from fastrnn.spec import PopulationSpec
from fastrnn.tasks import TASKS

GENERAL = dict.fromkeys(VALUES, 0.1) | {"cell": "", "found": "rule"}


def row(n, l2, value, found="search", **names):
    names = {"cell": "gru", "activation": "tanh"} | names
    return names | {"n": n, "l2": l2, "found": found} | dict.fromkeys(VALUES, value)


def lookup(table, **changes):
    clean = [{name: field for name, field in part.items() if field != ""} for part in table]
    network = {"cell": "gru", "activation": "tanh", "n": 64, "l2": 1e-5, "seed": 0} | changes
    return HyperparameterTable(clean).sources(network)["clip"]


def test_other_networks_get_the_values_of_the_nearest_l2_at_n_64():
    table = defaults_table([GENERAL], [[row(64, 1e-5, 0.2), row(64, 1e-3, 0.3)], [row(128, 1e-4, 0.4)]])
    expected = {1e-5: 0.2, 1e-4: 0.2, 1e-3: 0.3, 1e-2: 0.3}
    for n in (16, 64, 128, 256):
        for l2, value in expected.items():
            taken = lookup(table, n=n, l2=l2)
            if (n, l2) == (128, 1e-4):
                assert (taken["clip"], taken["found"]) == (0.4, "search")
            else:
                assert taken["clip"] == value
                assert taken["found"] == ("search" if n == 64 and l2 in (1e-5, 1e-3) else "rule")
    assert lookup(table, cell="lstm")["clip"] == 0.1


def test_a_search_replaces_rows_found_before_and_those_taken_by_rule():
    first = defaults_table([GENERAL], [[row(64, 1e-5, 0.2, "hand"), row(64, 1e-5, 0.6, "hand", cell="lstm")]])
    second = defaults_table(first, [[row(64, 1e-5, 0.3)]])
    assert lookup(second)["clip"] == lookup(second, l2=1e-2)["clip"] == 0.3
    assert lookup(second, cell="lstm")["found"] == "hand"
    assert lookup(second, cell="lstm", n=128)["clip"] == 0.6
    assert defaults_table(second, []) == second


@pytest.mark.parametrize("task", TASKS)
def test_every_row_that_ships_would_be_made_again(task, tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes((DEFAULTS / f"{task}.csv").read_bytes())
    write_defaults(task, [], path)
    assert path.read_bytes() == (DEFAULTS / f"{task}.csv").read_bytes()


def test_a_kind_that_was_never_searched_at_n_64():
    with pytest.raises(UsageError, match="no values of gru-tanh with n = 64, from which other sizes take theirs"):
        defaults_table([GENERAL], [[row(128, 1e-4, 0.4)]])


def test_from_a_search_to_a_table(tmp_path):
    spec = SearchSpec(small(cells="gru", sizes=64, iterations=4, l2=(1e-5, 1e-3)), draws=2, rounds=1, repeats=1)
    found = search_hyperparameters(spec, tmp_path / "search", "cpu", progress=False, command="fastrnn search")
    path = tmp_path / "table.csv"
    path.write_text("learning_rate,decay,momentum,clip,found\n0.1,0.5,0.9,1.0,rule\n")
    write_defaults("flipflop", [tmp_path / "search"], path)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    searched = [line for line in rows if line["found"] == "search"]
    assert [line["l2"] for line in searched] == ["1e-05", "0.001"]
    assert {line["command"] for line in searched} == {"fastrnn search"}
    spec = small(cells="gru", sizes=64, l2=(1e-5, 1e-3), default_hyperparameters=tuple(read_rows(path)))
    assert spec.unsearched == ()
    chosen = found.chosen.set_index("l2")
    for network in spec.rows:
        assert all(network[name] == chosen[name][network["l2"]] for name in VALUES)
    assert [line["command"] for line in searched_rows("flipflop", tmp_path / "search")] == ["fastrnn search"] * 2
    with pytest.raises(UsageError, match=r"the search in '.*search' is on flipflop, not on cdi"):
        write_defaults("cdi", [tmp_path / "search"], path)


def test_a_search_with_adam_makes_a_table_of_its_own(tmp_path):
    spec = SearchSpec(small(cells="gru", sizes=64, iterations=4, optimizer="adam"), draws=2, rounds=1, repeats=1)
    search_hyperparameters(spec, tmp_path / "search", "cpu", progress=False)
    path = tmp_path / "table.csv"
    path.write_bytes((DEFAULTS / "adam" / "flipflop.csv").read_bytes())
    with pytest.raises(UsageError, match="search' is of adam, not of sgd: tables hold values of one"):
        write_defaults("flipflop", [tmp_path / "search"], path)
    write_defaults("flipflop", [tmp_path / "search"], path, optimizer="adam")
    before, after = read_rows(DEFAULTS / "adam" / "flipflop.csv"), read_rows(path)
    assert all(row in after for row in before)
    assert [row["found"] for row in after] == ["common", "hand", "rule", "search"]


@pytest.mark.parametrize("task", TASKS)
def test_every_shipped_row_says_where_it_comes_from(task):
    with open(DEFAULTS / f"{task}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    for line in rows:
        assert line["found"] in FOUND
        if line["found"] == "search":
            assert line["command"].startswith(f"fastrnn search --task {task} ")
            assert line["date"]
            assert line["search_seed"]
            assert int(line["draws"]) >= 16
    if task in ("flipflop", "cdi"):
        assert PopulationSpec(task, sizes=64, l2=(1e-5, 1e-3)).unsearched == ()
    table = HyperparameterTable(read_rows(DEFAULTS / f"{task}.csv"))
    for network in PopulationSpec.preset("paper", task, seeds=1).rows:
        for source in table.sources(network).values():
            searched = network["n"] == 64 and source["found"] != "rule"
            assert {"cell", "activation"} <= source.keys()
            assert searched == ({"n", "l2"} <= source.keys())
