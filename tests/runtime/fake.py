"""The fake model: its files, and how its C sources are built. Everything but the plan and the tokenizer is the product's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from llmc import artifact
from llmc.toolchain import Toolchain, runtime_include, runtime_sources

HERE = Path(__file__).with_name("c")
RECITED = "Hello é€ world<stop>more".encode()
MEMORY = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
THREADS = ("-fsanitize=thread", "-g", "-O1")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wvla", "-Wstrict-prototypes", "-Werror")


def write_files(folder: Path) -> artifact.File:
    """Writes weights and vocabulary into `folder`, and generated.h, which tells fake_model.c about them, beside it."""
    weights = artifact.File(artifact.WEIGHTS_NAME, artifact.FILE_HEADER.size + len(RECITED), bytes(range(32)))
    (folder / weights.name).write_bytes(artifact.weights_header(weights.size, weights.id) + RECITED)
    tokenizer = artifact.write_vocabulary(folder, b"fake")
    named = {"WEIGHTS": weights, "TOKENIZER": tokenizer}
    lines = [f"#define FAKE_{n}_SIZE {f.size}\n#define FAKE_{n}_ID {braces(f.id)}\n" for n, f in named.items()]
    (folder.parent / "generated.h").write_text("".join(lines))
    return weights


def braces(data: bytes) -> str:
    return "{" + ", ".join(map(str, data)) + "}"


def sources() -> list[Path]:
    """An artifact's library without kernels: the fake plan and tokenizer in the place of the real ones."""
    real = [s for s in runtime_sources("artifact") if not s.name.startswith(("tokenizer", "pretokenize", "utf8"))]
    return [*real, HERE / "fake_model.c", HERE / "fake_tokenizer.c"]


def build_objects(folder: Path, sanitizer: tuple[str, ...]) -> list[Path]:
    """What all C tests are linked with; generated.h lies in `folder`."""
    forward = [s for s in runtime_sources("program") if s.name == "forward.c"]
    inputs = [*sources(), *forward, HERE / "direct.c"]
    gcc(folder, *sanitizer, "-c", *map(str, inputs))
    return [folder / f"{s.stem}.o" for s in inputs]


def build_test(name: str, objects: list[Path], folder: Path, sanitizer: tuple[str, ...]) -> Path:
    """One of the C tests as a program."""
    gcc(folder, *sanitizer, str(HERE / f"{name}.c"), *map(str, objects), "-o", name, "-lm", "-lpthread")
    return folder / name


def gcc(folder: Path, *arguments: str) -> None:
    includes = [f"-I{p}" for p in (*runtime_include(), HERE, folder)]
    command = ["gcc", *WARNINGS, *includes, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build_artifact(out: Path) -> None:
    """The fake model as a whole artifact, made as real ones are."""
    tools, folder = Toolchain.find(), out.parent / "parts"
    folder.mkdir()
    write_files(folder)
    objects = tools.compile(sources(), include=[*runtime_include(), HERE, out.parent])
    tools.link_shared(objects, folder / artifact.PLATFORM_LIBRARY, exports=["llmc_api"])
    program = tools.compile(runtime_sources("program"), include=runtime_include())
    tools.link_program(program, folder / artifact.PROGRAM_NAME)
    artifact.write_manifest(folder, {"name": "fake"})
    artifact.publish(folder, out)
