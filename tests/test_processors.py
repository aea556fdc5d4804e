"""Processors are counted as the system allows, and a limit holds while it is set."""

import os

import pytest

from fastrnn import engines, processors
from fastrnn.analysis.threads import team
from fastrnn.errors import UsageError
from fastrnn.processors import only_processors, usable_processors


def test_a_limit_is_the_default_number_of_threads_and_given_back():
    before = usable_processors()
    with only_processors(1):
        assert usable_processors() == engines.get("cpu").threads == 1
        with team(None) as workers, only_processors(5):
            assert workers.threads == 1 and usable_processors() <= before
        assert usable_processors() == 1
    with only_processors(None):
        assert usable_processors() == before
    assert usable_processors() == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_the_system_keeps_to_it_and_gives_back_after_an_error():
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), only_processors(1):
        assert len(os.sched_getaffinity(0)) == 1
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before and processors._limit is None


def test_where_the_system_knows_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    with only_processors(2):
        assert usable_processors() == 2
    assert usable_processors() == 5


def test_a_wrong_limit_is_refused():
    with pytest.raises(UsageError, match="threads must be a positive whole number; it is 0"), only_processors(0):
        pass
