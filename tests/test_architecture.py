"""The import arrow and the other rules of ARCHITECTURE.md that can be read off the sources. A failure names the file and line."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"compiler": "llmc", "frontend": "llmc.frontend", "passes": "llmc.passes", "codegen": "llmc.codegen",
           "runtime": "llmc.runtime", "templates": "llmc.templates"}  # fmt: skip
BOTTOM = {"llmc.ir", "llmc.errors", "llmc.debug", "llmc.gpu", "llmc.target", "llmc.toolchain", "llmc.artifact", "llmc.version"}
# What each part may import of llmc, besides itself. The top (driver, command line and what serves it) may import everything.
MAY = {
    "llmc.ir": {"llmc.errors"},
    "llmc.errors": set(),
    "llmc.version": set(),
    "llmc.debug": {"llmc.errors"},
    "llmc.gpu": {"llmc.errors"},
    "llmc.target": {"llmc.errors", "llmc.gpu"},
    "llmc.toolchain": {"llmc.errors", "llmc.debug"},
    "llmc.artifact": {"llmc.errors", "llmc.debug", "llmc.target", "llmc.ir", "llmc.version"},
    "llmc.frontend": BOTTOM,
    "llmc.passes": BOTTOM,
    "llmc.codegen": BOTTOM | {"llmc.templates"},
    "llmc.runtime": {"llmc.errors", "llmc.debug", "llmc.artifact", "llmc.toolchain"},
    "llmc.templates": set(),
}


@dataclass(frozen=True)
class Import:
    """One imported module as the source writes it, and where."""

    file: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def sources() -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file, inside functions too. `from llmc import x` counts as llmc.x."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            parents = (f"{node.module}.{alias.name}" for alias in node.names)
            names = parents if node.module in ("llmc", "llmc.runtime") else (str(node.module),)
            yield from (Import(file, node.lineno, name) for name in names)


def part(module: str) -> str:
    """llmc.ir.quant -> llmc.ir"""
    return ".".join(module.split(".")[:2])


def module_of(file: Path) -> str:
    folder, *rest = file.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest])


def test_the_parts_import_only_what_lies_below_them() -> None:
    wrong = []
    for file in sources():
        here = part(module_of(file))
        for found in imports(file):
            there = part(found.module)
            if here in MAY and there.startswith("llmc") and there != here and there not in MAY[here]:
                wrong.append(str(found))
    assert not wrong, wrong


def test_every_file_below_the_driver_belongs_to_a_part_with_a_rule() -> None:
    top = {
        "__init__", "__main__", "bench", "cli", "doctor", "driver", "formats", "inspection", "manifest", "progress",
        "requantization", "verified",
    }  # fmt: skip
    loose = {part(module_of(f)) for f in sources() if part(module_of(f)) not in MAY}
    assert loose <= {f"llmc.{name}" for name in top}, loose


def test_tvm_is_imported_in_codegen_alone() -> None:
    found = [i for f in sources() for i in imports(f) if i.module.split(".")[0] in ("tvm", "tvm_ffi")]
    assert found, "codegen must import tvm somewhere, or this test reads nothing"
    assert all(i.file.is_relative_to(ROOT / "codegen") for i in found), [str(i) for i in found]


def test_folders_are_never_imported_by_their_top_level_name() -> None:
    names = {"compiler", "frontend", "passes", "codegen", "runtime", "templates"}
    files = [*sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert not [str(i) for f in files for i in imports(f) if i.module.split(".")[0] in names]


def test_the_environment_is_read_in_debug_alone() -> None:
    reads = re.compile(r"\bos\.(environ|getenv|putenv)\b|from os import .*environ")
    found = [f for f in sources() if reads.search(f.read_text())]
    assert found == [ROOT / "compiler" / "debug.py"], found


def test_every_variable_that_is_read_is_documented() -> None:
    text = (ROOT / "compiler" / "debug.py").read_text()
    read = set(re.findall(r"""environ\.get\("(\w+)\"""", text))
    documented = set(re.findall(r"^    (\w+)=", text, re.MULTILINE))
    assert read - {"XDG_CACHE_HOME"} == documented


def test_the_runtime_reads_no_environment_and_never_ends_its_host() -> None:
    calls = re.compile(r"\b(getenv|setenv|abort|exit|_exit|signal|sigaction)\s*\(")
    library = [f for f in (ROOT / "runtime" / "src").glob("*.c") if "int main(" not in f.read_text()]
    assert library
    for file in library:
        code = re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\])*\"", "", file.read_text(), flags=re.DOTALL)
        assert not calls.search(code), f"{file.name}: {calls.search(code)}"


@pytest.mark.parametrize("module", ["llmc", "llmc.cli", "llmc.inspection", "llmc.formats", "llmc.doctor", "llmc.runtime.binding"])
def test_only_compiling_loads_tvm(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_start_of_llmc_run_imports_next_to_nothing(tmp_path: Path) -> None:
    """Before the artifact's program takes over, llmc adds itself and its exceptions to what the interpreter starts with."""
    (tmp_path / "llmc").symlink_to(ROOT / "compiler")
    code = "import os, sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import llmc.__main__"
    code += "; print(*sorted(set(sys.modules) - before))"
    command = [sys.executable, "-S", "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [
        "__future__", "llmc", "llmc.__main__", "llmc.errors", "llmc.version",
    ]  # fmt: skip


def test_names_and_versions_agree() -> None:
    from llmc import doctor

    project = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{name}=={version}"' in project for name, (version, _) in doctor.PINS.items())
    for folder, package in FOLDERS.items():
        inner = [p.parent.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("__init__.py")]
        for path in inner:
            name = ".".join([package, *path.parts])
            assert f'"{name}"' in project, f"{name} is missing from the packages in pyproject.toml"
