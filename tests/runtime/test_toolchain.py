"""The C toolchain: what it makes is cached, the same anywhere, and failures say what the compiler said."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmc import debug, toolchain
from llmc.errors import ToolchainError
from llmc.toolchain import Toolchain, runtime_sources

SOURCE = "#include <stdio.h>\nint answer(void) { return 42; }\nint main(void) { printf(\"%d\\n\", answer()); return 0; }\n"
COMPILERS = [None, pytest.param("gcc", marks=pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed"))]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, but for the compiler's own libraries."""
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(name, str(debug.cache_dir() / "zig"))
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(folder: Path, text: str = SOURCE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.c").write_text(text)
    return folder / "a.c"


@pytest.mark.parametrize("cc", COMPILERS)
def test_a_program_runs(cache: Path, tmp_path: Path, cc: str | None) -> None:
    tools = Toolchain.find(cc)
    tools.link_program(tools.compile([source(tmp_path)]), tmp_path / "a")
    assert subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout == "42\n"


@pytest.mark.parametrize("cc", COMPILERS)
def test_outputs_do_not_depend_on_the_place(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cc: str | None) -> None:
    made = []
    for place in ("x", "y/a much longer place"):
        monkeypatch.setenv("LLMC_CACHE", str(tmp_path / place / "cache"))
        tools = Toolchain.find(cc)
        out = tmp_path / place / "a.so"
        tools.link_shared(tools.compile([source(tmp_path / place)]), out, exports=["answer"])
        made.append(out.read_bytes())
        assert str(tmp_path).encode() not in made[-1]
    assert made[0] == made[1]


def test_only_the_named_symbols_are_exported(cache: Path, tmp_path: Path) -> None:
    text = '#define S __attribute__((visibility("default")))\nS int one(void) { return 1; }\nS int two(void) { return 2; }\n'
    tools = Toolchain.find()
    tools.link_shared(tools.compile([source(tmp_path, text)]), tmp_path / "a.so", exports=["one"])
    out = subprocess.run(["nm", "-D", "--defined-only", tmp_path / "a.so"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in out.splitlines()] == ["one"]


def test_objects_are_made_once_and_again_when_a_header_changes(cache: Path, tmp_path: Path) -> None:
    tools, header = Toolchain.find(), tmp_path / "h" / "v.h"
    header.parent.mkdir()
    header.write_text("#define V 1\n")
    file = source(tmp_path, '#include "v.h"\nint v(void) { return V; }\n')
    (first,) = tools.compile([file], include=[header.parent])
    stamp = first.stat().st_mtime_ns
    assert tools.compile([file], include=[header.parent]) == [first] and first.stat().st_mtime_ns == stamp
    header.write_text("#define V 2\n")
    (second,) = tools.compile([file], include=[header.parent])
    (third,) = tools.compile([file], include=[header.parent], flags=["-DX"])
    assert len({first, second, third}) == 3 and first.read_bytes() != second.read_bytes()
    assert sorted(f.name for f in first.parent.iterdir()) == sorted(f.name for f in (first, second, third))


@pytest.mark.parametrize("cc", COMPILERS)
def test_a_failure_says_what_the_compiler_said(cache: Path, tmp_path: Path, cc: str | None) -> None:
    with pytest.raises(ToolchainError, match=r"(?s)a\.c.*failed.*nonsense"):
        Toolchain.find(cc).compile([source(tmp_path, "int x = nonsense;\n")])
    undefined = source(tmp_path / "u", "int missing(void);\nint f(void) { return missing(); }\n")
    with pytest.raises(ToolchainError, match=r"(?s)u\.so.*missing"):
        Toolchain.find(cc).link_shared(Toolchain.find(cc).compile([undefined]), tmp_path / "u.so", exports=["f"])


def test_a_compiler_that_is_not_there() -> None:
    with pytest.raises(ToolchainError, match="no-such-cc"):
        Toolchain.find("no-such-cc")
    with pytest.raises(ToolchainError):
        Toolchain.find("")


def test_a_missing_ziglang_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match="pip install ziglang"):
        toolchain._ziglang()


def test_no_level_above_the_lowest_is_compiled_in(cache: Path, tmp_path: Path) -> None:
    """The runtime runs on any x86-64-v2 processor: no instruction with a VEX prefix, and nothing contracted."""
    if not shutil.which("objdump"):
        pytest.skip("objdump is not installed")
    text = "float f(const float *a, const float *b) { float s = 0; for (int i = 0; i < 64; i++) s += a[i] * b[i]; return s; }\n"
    (made,) = Toolchain.find().compile([source(tmp_path, text)])
    code = subprocess.run(["objdump", "-d", made], capture_output=True, text=True, check=True).stdout
    assert "mulss" in code or "mulps" in code
    assert not [line for line in code.splitlines() if "\tv" in line or "fma" in line]


def test_each_source_of_the_runtime_belongs_to_a_product() -> None:
    every = {s for product in ("artifact", "gpu", "program", "loader") for s in runtime_sources(product)}
    assert every == {*runtime_sources("artifact")[0].parent.glob("*.c")}
