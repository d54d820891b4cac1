"""A program in C over llmc.h and libllmc, as examples/README.md builds it."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime import fake


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_the_chat_example_talks(fake_artifact: Path, root: Path, tmp_path: Path) -> None:
    flags = subprocess.run([sys.executable, "-m", "llmc.runtime.library"], capture_output=True, text=True, check=True).stdout
    source, program = root / "examples" / "chat.c", tmp_path / "chat"
    warnings = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["gcc", *warnings, str(source), *shlex.split(flags), "-o", str(program)], check=True)
    done = subprocess.run([program, fake_artifact], input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    done = subprocess.run([program, fake_artifact], input=b"x\n", capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith(fake.RECITED[2:4]), done
    done = subprocess.run([program, tmp_path], capture_output=True, check=False)
    assert done.returncode != 0 and b"artifact.bin" in done.stderr
