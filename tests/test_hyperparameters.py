"""Which row of a table a network gets its values from."""

import math

import pytest
from populations import small

from fastrnn.errors import UsageError
from fastrnn.hyperparameters import DEFAULTS, VALUES, HyperparameterTable, default_rows, is_searched, read_rows
from fastrnn.tasks import TASKS

NETWORK = {"cell": "gru", "activation": "tanh", "n": 64, "l2": 1e-5, "seed": 2}
GENERAL = {"learning_rate": 0.03, "decay": 0.3, "momentum": 0.9, "clip": 1.0}


def lookup(*rows, **changes):
    return HyperparameterTable(rows).lookup(NETWORK | changes)


def write(tmp_path, text):
    (tmp_path / "table.csv").write_text(text)
    return tmp_path / "table.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,clip\n", "has no rows; below the line"),
        ("clip,cell,clip\n1,gru,2\n", "has two columns 'clip'; remove one"),
    ],
)
def test_tables_that_say_nothing_or_two_things(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_rows(write(tmp_path, text))


def test_rows_of_no_network_are_told():
    rows = [{"clip": 1.0}, {"cell": "gru", "n": 4, "clip": 2.0}, {"n": 64, "clip": 3.0}, {"cell": "lstm", "decay": 0.5}]
    assert small(hyperparameters=rows).unused == ("row 3 (n 64)", "row 4 (cell lstm)")
    assert small(hyperparameters=rows[:2]).unused == ()


def test_a_row_without_keys_is_for_all():
    assert lookup(GENERAL) == GENERAL


@pytest.mark.parametrize("key", NETWORK)
def test_each_key_chooses_its_networks(key):
    rows = (GENERAL, {key: NETWORK[key], "learning_rate": 0.5})
    other = {"cell": "lstm", "activation": "relu", "n": 65, "l2": 1e-4, "seed": 3}[key]
    assert lookup(*rows) == GENERAL | {"learning_rate": 0.5}
    assert lookup(*rows, **{key: other}) == GENERAL


def test_the_most_specific_row_that_has_a_value_gives_it():
    rows = (
        {"cell": "gru", "activation": "tanh", "n": 64, "clip": 4.0},
        {"cell": "gru", "activation": "tanh", "clip": 3.0, "momentum": 0.5},
        {"cell": "gru", "clip": 2.0, "decay": 0.7},
        GENERAL,
    )
    assert lookup(*rows) == {"learning_rate": 0.03, "decay": 0.7, "momentum": 0.5, "clip": 4.0}
    assert lookup(*rows[::-1]) == lookup(*rows)


def test_no_row_gives_no_value():
    assert lookup({"cell": "lstm", "clip": 2.0}) == {}


def test_two_rows_equally_specific_are_an_error_for_the_networks_they_share():
    rows = ({"cell": "gru", "clip": 2.0}, {"n": 64, "clip": 3.0})
    with pytest.raises(UsageError, match=r"rows 1 \(cell gru\) and 2 \(n 64\) both give clip to cell gru.*add a row"):
        lookup(*rows)
    assert lookup(*rows, n=65) == {"clip": 2.0}
    assert lookup(*rows, {"cell": "gru", "n": 64, "clip": 5.0}) == {"clip": 5.0}
    assert lookup({"cell": "gru", "clip": 2.0}, {"n": 64, "decay": 0.5}) == {"clip": 2.0, "decay": 0.5}


def test_two_rows_for_the_same_networks_are_an_error():
    with pytest.raises(UsageError, match=r"rows 1 and 3 are for the same networks \(cell gru, n 64\); remove one"):
        HyperparameterTable([{"cell": "gru", "n": 64, "clip": 2.0}, GENERAL, {"n": 64, "cell": "gru", "decay": 0.5}])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"learning_rat": 0.1},
            r"unknown column 'learning_rat' in hyperparameters, row 1 \(did you mean 'learning_rate'",
        ),
        ({"cell": "gruu", "clip": 1}, r"unknown cell 'gruu'.*did you mean 'gru'.*vanilla, ugrnn, gru, lstm"),
        ({"activation": "sigmoid", "clip": 1}, "unknown activation 'sigmoid'.*tanh, relu"),
        ({"n": "many", "clip": 1}, "n must be a whole number; it is 'many'"),
        ({"n": 64.5, "clip": 1}, r"n must be a whole number; it is 64\.5"),
        ({"n": 0, "clip": 1}, "n must be 1 or more; it is 0"),
        ({"seed": "-1", "clip": 1}, "seed must be 0 or more; it is '-1'"),
        ({"l2": "nan", "clip": 1}, "row 1: l2 must be a number; it is 'nan'"),
        ({"seed": True, "clip": 1}, "seed must be a whole number; it is True"),
        ({"l2": None, "clip": 1}, "l2 must be a number; it is None"),
        ({"learning_rate": 0}, r"row 1: learning_rate must be greater than 0; got 0\.0"),
        ({"decay": 1.5}, "decay must be greater than 0 and at most 1"),
        ({"momentum": -0.1}, "momentum must be from 0 to 1"),
        ({"clip": "nan"}, "clip must be a number; it is 'nan'"),
        ({"found": "luck", "clip": 1}, "unknown found 'luck' in .*; allowed are search, rule, hand"),
        ({"cell": "gru"}, "row 1: the row gives none of learning_rate, decay, momentum, clip"),
    ],
)
def test_bad_rows(row, message):
    with pytest.raises(UsageError, match=message):
        HyperparameterTable([row])


def test_a_csv_file(tmp_path):
    path = write(tmp_path, "cell, n,learning_rate,clip\n,,0.03,inf\ngru,64,0.1,\n")
    assert read_rows(path) == [
        {"learning_rate": 0.03, "clip": math.inf},
        {"cell": "gru", "n": 64, "learning_rate": 0.1},
    ]


def test_how_values_were_found_stays_with_the_row(tmp_path):
    searched, ruled = "gru,tanh,64,1e-5,2,search,2026-01-01,fastrnn search", "gru,,,,3,rule,,"
    rows = read_rows(write(tmp_path, f"cell,activation,n,l2,clip,found,date,command\n{searched}\n{ruled}\n"))
    assert [row["found"] for row in rows] == ["search", "rule"]
    assert "date" not in rows[0]
    table = HyperparameterTable(rows)
    assert table.sources(NETWORK) == {"clip": rows[0]}
    assert is_searched(rows[0])
    assert not is_searched(rows[1])
    assert not is_searched(rows[0] | {"found": "hand"})
    assert not is_searched({name: field for name, field in rows[0].items() if name != "l2"})


def test_the_table_of_a_run_will_do(tmp_path):
    path = write(tmp_path, "id,cell,seed,learning_rate,status,validation_loss\na,gru,0,0.1,trained,0.003\n")
    assert read_rows(path) == [{"cell": "gru", "seed": 0, "learning_rate": 0.1}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cel,clip\ngru,1\n", r"unknown column 'cel' of .*table\.csv.*did you mean 'cell'"),
        ("cell,n\ngru,64\n", "has no column of learning_rate, decay, momentum, clip"),
        ("", "has no column of"),
        ("cell,clip\ngru\n", "line 2: it must have 2 fields"),
        ("cell,clip\ngru,1,2\n", "line 2: it must have 2 fields"),
        ("cell,clip\ngru,1\nlstm,x\n", "line 3: clip must be a number; it is 'x'"),
        ("cell,clip\ngru,\n", "line 2: the row gives none of"),
    ],
)
def test_bad_csv_files(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_rows(write(tmp_path, text))


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UsageError, match=r"could not read the table .*none\.csv.*No such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="is not a CSV file"):
        read_rows(tmp_path / "binary")


@pytest.mark.parametrize("path", sorted(DEFAULTS.rglob("*.csv")), ids=lambda path: str(path.relative_to(DEFAULTS)))
def test_shipped_tables_give_every_value_to_every_network(path):
    table = HyperparameterTable(read_rows(path))
    for cell in ("vanilla", "ugrnn", "gru", "lstm"):
        for activation in ("tanh", "relu"):
            assert table.lookup(NETWORK | {"cell": cell, "activation": activation}).keys() == set(VALUES)


def test_every_task_has_a_table_and_others_get_the_general_one():
    assert {path.stem for path in DEFAULTS.glob("*.csv")} == {*TASKS, "general"}
    general = read_rows(DEFAULTS / "general.csv")
    assert default_rows("my own task") == default_rows("../flipflop") == general
    adam = read_rows(DEFAULTS / "adam" / "general.csv")
    assert default_rows("my own task", "adam") == default_rows("../flipflop", "adam")
    assert default_rows("my own task", "adam") == [row | {"optimizer": "adam"} for row in adam] != general
