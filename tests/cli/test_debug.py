"""Environment variables: typed, refused when they make no sense, scoped."""

import os
from pathlib import Path

import pytest

from llmc import debug
from llmc.errors import UsageError


def test_unset_variables_have_their_defaults() -> None:
    with debug.scoped(LLMC_DUMP=None, LLMC_PASSES=None, LLMC_JOBS=None, NO_COLOR=None):
        assert debug.dump_dir() is None
        assert debug.disabled_passes() == frozenset()
        assert debug.jobs() == debug.processors() >= 1
        assert not debug.no_color()


def test_set_variables_are_typed() -> None:
    with debug.scoped(LLMC_DUMP="d", LLMC_PASSES="-a, -b,", LLMC_JOBS="3", NO_COLOR="1"):
        assert debug.dump_dir() == Path("d")
        assert debug.disabled_passes() == {"a", "b"}
        assert debug.jobs() == 3
        assert debug.no_color()


@pytest.mark.parametrize("value", ["a", "-", "-a,b"])
def test_a_pass_list_without_its_minus_is_refused(value: str) -> None:
    with debug.scoped(LLMC_PASSES=value), pytest.raises(UsageError, match="LLMC_PASSES"):
        debug.disabled_passes()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_jobs_must_be_a_positive_number(value: str) -> None:
    with debug.scoped(LLMC_JOBS=value), pytest.raises(UsageError, match="LLMC_JOBS"):
        debug.jobs()


def test_the_cache_follows_llmc_then_xdg_then_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    with debug.scoped(LLMC_CACHE="/own"):
        assert debug.cache_dir() == Path("/own")
    with debug.scoped(LLMC_CACHE=None):
        assert debug.cache_dir() == Path("/x/llmc")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert debug.cache_dir() == Path("/home/x/.cache/llmc")


def test_scoped_puts_the_old_value_back_also_after_an_error() -> None:
    with debug.scoped(LLMC_JOBS="1"):
        with pytest.raises(ZeroDivisionError), debug.scoped(LLMC_JOBS="2", LLMC_DUMP="d"):
            raise ZeroDivisionError
        assert os.environ["LLMC_JOBS"] == "1"


def test_scoped_knows_its_variables() -> None:
    with pytest.raises(AssertionError), debug.scoped(LLMC_NONSENSE="1"):
        pass
