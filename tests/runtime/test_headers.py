"""llmc.h compiles in every language it promises, and Python's copy of its structs is C's."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from llmc import artifact
from llmc.runtime import c_types
from llmc.toolchain import runtime_include

INCLUDE = runtime_include()[0]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
LANGUAGES = [("gcc", "c", "c99"), ("gcc", "c", "c11"), ("g++", "c++", "c++98"), ("g++", "c++", "c++11"), ("g++", "c++", "c++20")]


@pytest.mark.parametrize(("compiler", "language", "standard"), LANGUAGES)
def test_the_manual_compiles(tmp_path: Path, compiler: str, language: str, standard: str) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    long_long = ["-Wno-long-long"] if standard == "c++98" else []
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, *long_long, str(INCLUDE / "llmc.h")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def structs() -> dict[str, type[ctypes.Structure]]:
    """C name to ctypes class, of every struct of c_types."""
    found = {snake(c.__name__): c for c in c_types.Sized.__subclasses__()}
    return {**found, "error": c_types.Error}


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_python_and_c_agree_on_every_struct(tmp_path: Path) -> None:
    rows = []
    for name, struct in structs().items():
        rows.append(f'printf("%zu\\n", sizeof(llmc_{name}));')
        rows += [f'printf("%zu\\n", offsetof(llmc_{name}, {field}));' for field, *_ in struct._fields_]
    assert numbers(tmp_path, '#include "llmc.h"', rows) == [
        n for s in structs().values() for n in (ctypes.sizeof(s), *(getattr(s, field).offset for field, *_ in s._fields_))
    ]


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_python_and_c_agree_on_files_and_numbers(tmp_path: Path) -> None:
    c = ["sizeof(llmc_index_header)", "sizeof(llmc_index_entry)", "offsetof(llmc_index_entry, size)",
         "offsetof(llmc_index_entry, sha256)", "sizeof(llmc_file_header)", "offsetof(llmc_file_header, size)",
         "offsetof(llmc_file_header, id)", "LLMC_INDEX_MAX", "LLMC_NAME_BYTES - 1", "LLMC_INDEX_VERSION", "LLMC_FILE_VERSION",
         "LLMC_INDEX_MAGIC", "LLMC_WEIGHTS_MAGIC", "LLMC_VOCABULARY_MAGIC"]  # fmt: skip
    magics = [int.from_bytes(m, "little") for m in (artifact.INDEX_MAGIC, artifact.WEIGHTS_MAGIC, artifact.VOCABULARY_MAGIC)]
    python = [artifact.INDEX_HEADER.size, artifact.INDEX_ENTRY.size, 64, 72, artifact.FILE_HEADER.size, 16, 24,
              artifact.MAX_ENTRIES, artifact.MAX_NAME, artifact.FORMAT_VERSION, artifact.FORMAT_VERSION, *magics]  # fmt: skip
    enums = {**{f"LLMC_ERR_{s.name}": s for s in c_types.Status if s}, **{f"LLMC_{r.name}": r for r in c_types.Reason}}
    flags = {f"LLMC_{n}": getattr(c_types, n) for n in ("ADD_SPECIAL", "PARSE_SPECIAL", "SHOW_SPECIAL")}
    rows = [f'printf("%zu\\n", (size_t)({e}));' for e in [*c, *enums, *flags]]
    assert numbers(tmp_path, '#include "llmc.h"\n#include "llmc_artifact.h"', rows) == [*python, *enums.values(), *flags.values()]


def numbers(folder: Path, includes: str, rows: list[str]) -> list[int]:
    """What a C program made of these statements prints."""
    source, program = folder / "n.c", folder / "n"
    source.write_text(f"#include <stdio.h>\n{includes}\nint main(void) {{\n{chr(10).join(rows)}\nreturn 0;\n}}\n")
    subprocess.run(["gcc", "-std=c11", f"-I{INCLUDE}", str(source), "-o", str(program)], check=True)
    return [int(line) for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]


def test_every_function_of_the_manual_is_in_the_binding_or_left_to_c() -> None:
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / "llmc.h").read_text(), flags=re.DOTALL)
    declared = set(re.findall(r"\bllmc_(\w+)\(", text))
    left_to_c = {"status_name", "sampler_open", "sampler_close", "sample", "session_sample", "sampler_accept", "generate"}
    assert declared - left_to_c == set(c_types.FUNCTIONS)
