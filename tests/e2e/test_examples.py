"""The programs in examples/ do what they say."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llmc.runtime import library
from llmc.toolchain import Toolchain
from tests.e2e.reference import Compiled


def test_compile_and_run_prints_text(root: Path) -> None:
    done = subprocess.run([sys.executable, "examples/compile_and_run.py"], cwd=root, capture_output=True, text=True, check=True)
    first, second, *text = done.stdout.splitlines()
    assert "MB of code" in first and second.startswith("most likely next") and "Python" in "".join(text)


@pytest.fixture(scope="module")
def chat(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as examples/README.md says, by the compiler llmc itself uses."""
    program = tmp_path_factory.mktemp("chat") / "chat"
    compiler, flags = Toolchain.find().command, ["-Wall", "-Werror", *shlex.split(library.flags())]
    subprocess.run([*compiler, "examples/chat.c", *flags, "-o", str(program)], cwd=root, check=True)
    return program


def test_chat_goes_on_from_every_line(chat: Path, compiled: Compiled, demo_model: Path) -> None:
    command = [str(chat), str(compiled(demo_model))]
    done = subprocess.run(command, input="The list type\nThe dict type\n", capture_output=True, text=True, check=True)
    assert len(done.stdout) > 40 and done.stderr == ""


def test_chat_says_what_is_wrong_with_a_model(chat: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(chat), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "artifact.bin" in done.stderr
    assert subprocess.run([str(chat)], capture_output=True, check=False).returncode == 2
