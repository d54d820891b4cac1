"""An architecture from a file of the user's own: examples/my_arch.py, as frontend/arch/README.md has it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.errors import LlmcError, UnsupportedModelError, UsageError
from llmc.frontend.user_architecture import read_architecture
from tests.e2e.reference import Reference

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "my_arch.py"


def test_the_example_compiles_a_model_that_llmc_does_not_know(shared: Path, tmp_path: Path) -> None:
    reference = Reference(shared / "models" / "open" / "qwen3")
    model = shutil.copytree(reference.folder / "hf", tmp_path / "mymodel")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["MyModelForCausalLM"]}))
    with pytest.raises(UnsupportedModelError, match="MyModelForCausalLM"):
        llmc.compile(model, tmp_path / "unknown.llmc", targets="cpu:native")
    llmc.compile(model, tmp_path / "known.llmc", targets="cpu:native", activations="f32", arch=EXAMPLE)
    logits = llmc.load(tmp_path / "known.llmc", threads=2).logits(reference.tokens(0))
    assert np.abs(logits[-1] - reference.data["logits_last_0"]).max() <= reference.f32_max_abs


def test_a_file_for_another_family_is_refused(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"my_arch.py is for MyModelForCausalLM"):
        llmc.compile(shared / "models" / "open" / "qwen3" / "hf", tmp_path / "m.llmc", arch=EXAMPLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no ARCHITECTURE"),
        ("ARCHITECTURE = 3", "ARCHITECTURE is int"),
        ("\n\nraise KeyError('no')", "line 3: KeyError"),
        ("def f(:", "line 1: SyntaxError"),
        ("from llmc.frontend.arch import Architecture\nARCHITECTURE = Architecture()", "line 2: TypeError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "arch.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_architecture(tmp_path / "arch.py")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LlmcError, match="nothing.py"):
        read_architecture(tmp_path / "nothing.py")
