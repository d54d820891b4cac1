"""llmc, an ahead-of-time compiler for language models: a checkpoint in, native code and mapped weights out.

    import llmc
    llmc.compile("model.gguf", "model.llmc")
    model = llmc.load("model.llmc")
    logits = model.logits([1, 2, 3])          # float32 [3, vocabulary]

Functions import what they need when they are called: `import llmc` costs nothing, and only `compile` ever loads TVM.
"""

from __future__ import annotations

from llmc.errors import (
    DeviceError,
    LlmcError,
    MalformedFileError,
    ToolchainError,
    UnsupportedModelError,
    UsageError,
)
from llmc.version import VERSION as __version__

TYPE_CHECKING = False  # typing's own costs 3 ms, and `llmc run` passes through here
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike
    from typing import Any, Literal

    from llmc.driver import CompileResult
    from llmc.runtime.binding import Model, Tokenizer

    Progress = Callable[[str, float, float], None]

__all__ = [
    "__version__", "DeviceError", "LlmcError", "MalformedFileError", "ToolchainError", "UnsupportedModelError", "UsageError",
    "compile", "inspect", "load", "load_tokenizer", "verify",
]  # fmt: skip


def compile(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    targets: Sequence[str] = ("cpu",),
    activations: Literal["int8", "f32"] = "int8",
    weights: str | None = None,
    kv: Literal["f16", "q8", "f32"] | None = None,
    cc: str | None = None,
    pre: str | None = None,
    arch: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CompileResult:
    """Compiles a checkpoint into the artifact directory `out`, replacing an artifact that is there.

    targets      "cpu" holds every instruction-set level, "cpu:native" this machine's best, "cpu:avx2" that; several are united
    activations  "int8" quantises them before each matrix product with weights of 8 bits or fewer, "f32" computes exactly
    weights      a format to store matrices in ("f16", "q8_0", "q4_k" ...); None keeps those of the checkpoint
    kv           how keys and values are cached: "f16", "q8" (int8 with a scale for each key and value of a head; half of
                 the memory) or "f32"; None takes f16 with int8 activations and f32 with exact ones
    cc           a C compiler and linker to use in place of ziglang's
    pre          the pre-tokenizer, where the file names none or one llmc does not know
    arch         a Python file of yours with an architecture that llmc does not know; it is executed
    progress     called with a phase and how much of it is done, out of how much

    Raises UnsupportedModelError, MalformedFileError, ToolchainError or UsageError.
    """
    from pathlib import Path

    from llmc import driver

    wanted = [targets] if isinstance(targets, str) else [*targets]
    options: dict[str, Any] = {"activations": activations, "weights": weights, "kv": kv, "cc": cc, "pre": pre}
    options["arch"] = None if arch is None else Path(arch)
    return driver.compile(Path(source), Path(out), targets=wanted, progress=progress, **options)


def load(
    path: str | PathLike[str],
    *,
    threads: int | None = None,
    isa: str | None = None,
    context: int | None = None,
    device: str | None = None,
) -> Model:
    """Opens an artifact: maps its weights, starts its threads.

    threads  None takes every processor this process may use
    isa      one of the artifact's instruction-set levels; None takes the best this machine runs
    device   "cpu", "cuda", "cuda:1", "rocm"; None takes a GPU the artifact has code for, if one works, else the processor
    context  the longest sequence in tokens; None takes the model's own

    Raises MalformedFileError for no sound artifact, ToolchainError where the machine runs none of its levels, DeviceError.
    """
    from pathlib import Path

    from llmc.runtime import binding

    return binding.load(Path(path), threads=threads, isa=isa, context=context, device=device)


def load_tokenizer(path: str | PathLike[str], *, pre: str | None = None) -> Tokenizer:
    """The tokenizer of a GGUF file, which may hold a vocabulary alone, of a Hugging Face directory, or of an artifact.

    `pre` as in compile(). Of a directory the tokenizer's own files are enough.

    Raises MalformedFileError, UnsupportedModelError, or UsageError for a directory without a tokenizer.
    """
    from pathlib import Path

    from llmc import artifact
    from llmc.runtime.binding import Tokenizer

    if Path(path).is_dir():
        from llmc.frontend.tokenizer_huggingface import is_tokenizer_directory, read_huggingface_vocabulary

        if (Path(path) / artifact.VOCABULARY_NAME).exists():
            return Tokenizer.from_blob(artifact.read_vocabulary(Path(path)))
        if not is_tokenizer_directory(Path(path)):
            raise UsageError(f"{path} holds no tokenizer: neither tokenizer.json, tokenizer.model, vocab.txt nor an artifact's")
        from llmc.frontend.tokenizer import compile_vocabulary

        return Tokenizer.from_blob(compile_vocabulary(read_huggingface_vocabulary(Path(path), None, pre)))
    from llmc.frontend.gguf import read_gguf
    from llmc.frontend.tokenizer import compile_tokenizer

    with read_gguf(Path(path), vocabulary_only=True) as checkpoint:
        return Tokenizer.from_blob(compile_tokenizer(checkpoint, pre))


def inspect(path: str | PathLike[str], *, context: int | None = None) -> dict[str, Any]:
    """What a checkpoint or an artifact holds: configuration, tensors, formats, sizes, the memory it needs at `context` tokens."""
    from pathlib import Path

    from llmc import inspection

    return inspection.inspect(Path(path), context=context)


def verify(path: str | PathLike[str]) -> list[str]:
    """Hashes every file of an artifact; one line for each difference from its manifest, none when it is whole."""
    from pathlib import Path

    from llmc import artifact

    return artifact.verify(Path(path))
