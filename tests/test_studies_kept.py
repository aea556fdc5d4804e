"""Results of studies come back from their files as they were."""

from dataclasses import dataclass, fields

import numpy as np
import pandas
import pytest
from populations import small

import fastrnn
from fastrnn.errors import RunError
from fastrnn.studies import Claims, load_analysis
from fastrnn.studies.result import Result


@dataclass(eq=False, repr=False)
class Sample(Result):
    """One field of each kind."""

    table: pandas.DataFrame
    empty: pandas.DataFrame
    whole: np.ndarray
    pair: np.ndarray
    names: list
    number: float


@pytest.fixture
def sample():
    table = pandas.DataFrame({"id": ["a", "b"], "loss": [0.1 + 0.2, np.nan], "modal": [True, False], "points": [3, 27]})
    arrays = (np.arange(6, dtype=np.int8).reshape(2, 3), np.array([[1 + 2j, np.nan]]))
    return Sample(table, pandas.DataFrame(columns=["id", "reason"]), *arrays, ["tanh"], float("nan"))


def test_every_field_comes_back(sample, tmp_path):
    sample.save(tmp_path / "sample.safetensors")
    again = Sample.load(tmp_path / "sample.safetensors")
    pandas.testing.assert_frame_equal(again.table, sample.table, check_exact=True)
    assert list(again.empty.columns) == ["id", "reason"] and again.empty.empty
    for name in ("whole", "pair"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sample, name), strict=True)
    assert again.names == ["tanh"] and np.isnan(again.number)
    people = pandas.read_csv(tmp_path / "sample.csv")
    assert people.columns.tolist() == sample.table.columns.tolist() and people.points.tolist() == [3, 27]


def test_a_file_of_something_else_is_refused(sample, tmp_path):
    sample.save(tmp_path / "sample.safetensors")
    with pytest.raises(RunError, match="holds no Claims; run fastrnn analyze again"):
        Claims.load(tmp_path / "sample.safetensors")


def test_what_is_shown_of_it_is_short(sample, tmp_path):
    assert repr(sample) == "<Sample: a table of 2 rows; empty, whole, pair, names, number>"
    fastrnn.train(small(seeds=1, iterations=1), out=tmp_path / "run", progress=False)
    assert repr(load_analysis(tmp_path / "run")).endswith("task 'flipflop'>: nothing yet>")


def test_what_is_missing_is_none_and_what_is_damaged_is_named(sample, tmp_path):
    fastrnn.train(small(seeds=1, iterations=1), out=tmp_path / "run", progress=False)
    kept = load_analysis(tmp_path / "run")
    assert not any(getattr(kept, field.name) for field in fields(kept) if field.name != "run")
    (tmp_path / "run" / "analysis").mkdir()
    Claims(sample.table).save(tmp_path / "run" / "analysis" / "claims.safetensors")
    assert load_analysis(tmp_path / "run").claims.table.points.tolist() == [3, 27]
    (tmp_path / "run" / "analysis" / "claims.safetensors").write_bytes(b"torn")
    kept = load_analysis(tmp_path / "run")
    assert kept.claims is None and "is damaged" in kept.problems["claims"]
