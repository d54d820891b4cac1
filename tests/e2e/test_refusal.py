"""Files that are refused: quickly, without TVM, with the exit code of the kind, and without half an artifact left behind."""

import json
import subprocess
import sys
import time
from pathlib import Path

COMPILE = "import sys; from llmc import cli; code = cli.main(sys.argv[1:]); sys.exit(100 if 'tvm' in sys.modules else code)"


def test_a_truncated_file_is_refused_at_once_without_tvm(tmp_path: Path, demo_model: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(demo_model.read_bytes()[:-1000])
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, "compile", str(bad), "-o", str(tmp_path / "o.llmc"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert time.monotonic() - begun < 2
    assert done.returncode == 4, done.stderr
    assert "beyond the end of the file" in json.loads(done.stdout)["error"]["message"]
    assert [f.name for f in tmp_path.iterdir()] == ["bad.gguf"]


def test_a_model_of_another_kind_is_refused_by_what_it_is(tmp_path: Path, demo_model: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    model = folder / "model.gguf"
    model.write_bytes(demo_model.read_bytes().replace(b"llama", b"zebra"))
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, "compile", str(model), "-o", str(tmp_path / "o.llmc"), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "zebra" in json.loads(done.stdout)["error"]["message"]
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


def test_an_output_that_is_no_artifact_is_not_replaced(tmp_path: Path, demo_model: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    command = [sys.executable, "-m", "llmc", "compile", str(demo_model), "-o", str(precious), "--target", "cpu:native", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout
    assert (precious / "file").read_text() == "keep"
