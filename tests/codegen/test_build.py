"""The kernel cache: what makes a new object, what does not, and that objects do not depend on where they are built."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmc import debug
from llmc.codegen import build
from llmc.codegen.kernels.base import Param, exported, params, prototype
from llmc.codegen.kernels.linear import Linear
from llmc.errors import ToolchainError
from llmc.frontend.quant import FORMATS
from llmc.target import ISAS, Isa

SPEC = Linear(FORMATS["q4_0"], "q8", 1)
ISA = ISAS["x86-64-v2"]

BUILD = """
import sys
from llmc.codegen.build import build_objects
from llmc.codegen.kernels.linear import Linear
from llmc.frontend.quant import FORMATS
from llmc.target import ISAS
print(*build_objects([Linear(FORMATS["q4_0"], "q8", p) for p in (1, 2)], ISAS["x86-64-v2"]))
print("tvm" in sys.modules)
"""


def run(cache: Path, cwd: Path, **environment: str) -> tuple[list[Path], str]:
    """Builds two kernels in another process: the objects, and whether it imported TVM."""
    env = {**os.environ, "LLMC_CACHE": str(cache), **environment}
    output = subprocess.run([sys.executable, "-c", BUILD], env=env, cwd=cwd, capture_output=True, text=True, check=True).stdout
    objects, imported = output.splitlines()
    return [Path(name) for name in objects.split()], imported


def test_objects_do_not_depend_on_where_and_when_they_are_built(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    first, _ = run(tmp_path / "a", tmp_path, PYTHONHASHSEED="1", LC_ALL="C", LLMC_JOBS="1")
    second, _ = run(tmp_path / "b", tmp_path / "elsewhere", PYTHONHASHSEED="2", LC_ALL="C.UTF-8", TZ="Asia/Tokyo", LLMC_JOBS="2")
    assert [p.name for p in first] == [p.name for p in second]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert not [p.name for p in first if str(tmp_path).encode() in p.read_bytes()]


def test_tvm_is_not_imported_here_and_a_second_build_starts_no_worker(tmp_path: Path) -> None:
    objects, imported = run(tmp_path, tmp_path)
    assert imported == "False"
    times = [p.stat().st_mtime_ns for p in objects]
    again, _ = run(tmp_path, tmp_path, PATH="")
    assert [p.stat().st_mtime_ns for p in again] == times
    assert sorted(p.name for p in (tmp_path / "kernels").iterdir()) == sorted(p.name for p in objects)


def test_the_key_names_the_format_the_width_the_level_and_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Linear(FORMATS["q4_0"], "q8", 2), Linear(FORMATS["q4_1"], "q8", 1), Linear(FORMATS["q4_0"], "f32", 1)]
    keys = {build.cache_key(spec, isa) for spec in (SPEC, *others) for isa in ISAS.values()}
    assert len(keys) == 4 * len(ISAS)
    before = build.cache_key(SPEC, ISA)
    monkeypatch.setattr(build, "sources", lambda module: ("changed",))
    assert build.cache_key(SPEC, ISA) != before


def test_a_key_covers_every_module_the_generator_imports() -> None:
    text = "\n".join(build.sources(Linear.__module__))
    for phrase in ("class Q8", "class Rows", "def dot_u8s8", "class TileLayout", "class BlockFormat", "def object_bytes"):
        assert phrase in text, phrase


def test_without_tvm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise build.PackageNotFoundError(name)

    monkeypatch.setattr(build, "version", missing)
    build.tvm_version.cache_clear()
    with pytest.raises(ToolchainError, match="pip install apache-tvm"):
        build.cache_key(SPEC, ISA)
    build.tvm_version.cache_clear()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with debug.scoped(LLMC_CACHE=str(tmp_path / "file")), pytest.raises(ToolchainError, match="LLMC_CACHE"):
        build.build_objects([SPEC], ISA)


@dataclass(frozen=True)
class Unpicklable:
    """A spec of a module no worker can import, as a stand-in for a generator that fails."""

    symbol: str = "unpicklable"
    params: tuple[Param, ...] = ()

    def generate(self, isa: Isa) -> object:
        raise AssertionError(isa)


def test_a_worker_that_fails_hands_its_traceback_over(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "sources", lambda module: ())
    monkeypatch.setattr(Unpicklable, "__module__", "llmc.codegen.kernels.no_such_module")
    monkeypatch.setitem(sys.modules, "llmc.codegen.kernels.no_such_module", sys.modules[__name__])
    with pytest.raises(RuntimeError, match="no_such_module"):
        build.build_objects([Unpicklable()], ISA)  # type: ignore[list-item]
    assert not [*(fresh_cache / "kernels").iterdir()]


def test_a_prototype_is_read_and_printed_as_c() -> None:
    read = params("const uint8_t *w, float *y, int64_t page_bytes, float scale")
    assert read == (Param("const uint8_t *", "w"), Param("float *", "y"), Param("int64_t", "page_bytes"), Param("float", "scale"))
    assert [p.element for p in read] == ["uint8_t", "float", "int64_t", "float"]
    assert exported(SPEC, ISAS["avx512-vnni"]) == "llmc_avx512_vnni_linear_q4_0_q8_p1"


def test_a_level_with_tiles_shares_the_kernels_that_use_none() -> None:
    amx, vnni, wide = ISAS["avx512-amx"], ISAS["avx512-vnni"], Linear(FORMATS["q4_0"], "q8", 16)
    assert exported(SPEC, amx) == exported(SPEC, vnni) and build.build_objects([SPEC], amx) == build.build_objects([SPEC], vnni)
    assert exported(wide, amx) == "llmc_avx512_amx_linear_q4_0_q8_p16"
    assert prototype(SPEC, ISA).startswith("void llmc_x86_64_v2_linear_q4_0_q8_p1(const uint8_t *w, const int8_t *qa, ")
