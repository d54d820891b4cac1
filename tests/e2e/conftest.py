"""Whole models: each is compiled once per session and mode, whatever number of tests look at it."""

from pathlib import Path
from typing import Literal

import pytest

import llmc
from tests.e2e.reference import Compiled, Reference


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compiles a model, or gives the artifact made before."""
    folder = tmp_path_factory.mktemp("artifacts")
    done: dict[tuple[Path, str, str], Path] = {}

    def get(source: Path, activations: Literal["int8", "f32"] = "int8", target: str = "cpu:native") -> Path:
        key = (source, activations, target)
        if key not in done:
            out = folder / f"{len(done)}.llmc"
            llmc.compile(source, out, targets=[target], activations=activations)
            done[key] = out
        return done[key]

    return get


@pytest.fixture
def reference(shared: Path, fixture: str) -> Reference:
    """The recorded logits of the fixture a test is parametrised with."""
    return Reference(shared / "models" / "open" / fixture)
