"""The fake model as an artifact, built once."""

from pathlib import Path

import pytest

from tests.runtime import fake


@pytest.fixture(scope="session")
def fake_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose model recites fake.RECITED and then draws from a hash of all it was told. Not to be changed."""
    out = tmp_path_factory.mktemp("fake") / "fake.llmc"
    fake.build_artifact(out)
    return out
