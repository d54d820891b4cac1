"""Compiling streams: the memory it takes does not grow with the model."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import make_model

MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
MEASURE += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
LIMIT = 1.5e9


@pytest.mark.parametrize("shape", ["qwen-0.5b", pytest.param("llama-1b", marks=pytest.mark.slow)])
def test_peak_memory_of_compiling_is_bounded(tmp_path: Path, shape: str) -> None:
    model = tmp_path / "model.gguf"
    make_model.make(shape, "q4_k_m", model)
    command = [sys.executable, "-m", "llmc", "compile", str(model), "--target", "cpu:native", "-o", str(tmp_path / "o.llmc")]
    out = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True).stdout
    assert int(out.splitlines()[-1]) <= LIMIT
