"""The command line. Commands parse, call the library and print: results on stdout, progress and messages on stderr.

With --json stdout is exactly one document, also when the command fails: {"error": {"kind", "message", "hint"}}. Exit codes are
those of llmc.errors, and 130 after an interrupt.
"""

import errno
import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import llmc
from llmc.errors import DeviceError, LlmcError, UsageError

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say what takes time; show tracebacks.")
POOLINGS = ["mean", "cls", "last", "none", "rank"]
existing = click.Path(exists=True, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(llmc.__version__, prog_name="llmc")
def commands() -> None:
    """Compile language models to native code, and run them."""


@commands.command("compile")
@click.argument("model", type=existing)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Artifact to write; MODEL.llmc when left out.")
@click.option("--target", "targets", multiple=True, default=("cpu",), show_default=True, help="See llmc targets.")
@click.option("--activations", type=click.Choice(["int8", "f32"]), default="int8", show_default=True, help="f32 is exact.")
@click.option("--weights", help="Store matrices in this format: f16, q8_0, q4_k ...; as in the checkpoint when left out.")
@click.option("--kv", type=click.Choice(["f16", "q8", "f32"]), help="Type of cached keys and values; f16, or f32 with f32.")
@click.option("--cc", help="C compiler and linker in place of ziglang's.")
@click.option("--pre", help="Pre-tokenizer, where the file names none that llmc knows.")
@click.option("--arch", type=existing, help="Your Python file with an architecture; it is executed.")
@json_option
@quiet_option
@verbose_option
def compile_command(
    model: Path, output: Path | None, targets: tuple[str, ...], activations: Any, weights: str | None, kv: Any,
    cc: str | None, pre: str | None, arch: Path | None, as_json: bool, quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Compile MODEL, a GGUF file or a Hugging Face directory, into an artifact."""
    from llmc import progress

    name = model.resolve().name if model.name in ("", "..") else model.name if model.is_dir() else model.stem
    out, begun = output or Path(f"{name}.llmc"), time.monotonic()
    with progress.shown(quiet=quiet, verbose=verbose) as report:
        options: dict[str, Any] = {"activations": activations, "weights": weights, "kv": kv, "cc": cc, "pre": pre, "arch": arch}
        result = llmc.compile(model, out, targets=targets, progress=report, **options)
    sizes = {"weights_bytes": result.weights_bytes, "code_bytes": result.code_bytes}
    document = {**asdict(result), "path": str(result.path), **sizes, "total_seconds": round(time.monotonic() - begun, 3)}
    size = f"{result.weights_bytes / 1e6:.1f} MB of weights, {result.code_bytes / 1e6:.2f} MB of code"
    lost = f", weights as {weights}: relative error {result.requantized['relative_error']:.3g}" if result.requantized else ""
    _print(document, as_json, f"{out}: {size}{lost}, {document['total_seconds']:.1f} s")


@commands.command("run", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("artifact", type=existing)
def run_command(artifact: Path) -> None:
    """Generate text: llmc run ARTIFACT -p TEXT [-n TOKENS]. `llmc run ARTIFACT --help` lists the options.

    The artifact's own program does the work and takes the options; this command is only reached where it cannot be started.
    """
    if artifact.is_file():
        hint = f"compile it first: llmc compile {artifact} -o {artifact.stem}.llmc"
        raise UsageError(f"{artifact} is not a compiled model", hint=hint)
    raise UsageError(f"{artifact} holds no program `run`", hint="llmc verify tells whether the artifact is whole")


@commands.command("embed")
@click.argument("artifact", type=existing)
@click.argument("texts", nargs=-1, required=True)
@click.option("--pooling", type=click.Choice(POOLINGS), help="As the checkpoint says, when left out.")
@click.option("--normalize/--no-normalize", default=None, help="To length 1; as the checkpoint says, when left out.")
@click.option("--threads", type=click.IntRange(1), help="Every processor this process may use, when left out.")
@json_option
def embed_command(
    artifact: Path, texts: tuple[str, ...], pooling: str | None, normalize: bool | None, threads: int | None, as_json: bool
) -> None:
    """Embed each of TEXTS with a compiled embedding model: one line of numbers for each, or one JSON document."""
    with llmc.load(artifact, threads=threads) as model:
        rows = [model.embed(text, pooling=pooling, normalize=normalize).tolist() for text in texts]
    _print({"path": str(artifact), "embeddings": rows}, as_json, "\n".join(json.dumps(row) for row in rows))


@commands.command("classify")
@click.argument("artifact", type=existing)
@click.argument("texts", nargs=-1, required=True)
@click.option("--query", help="Two texts each: this one, then one of TEXTS, as rerankers match documents with a query.")
@click.option("--threads", type=click.IntRange(1), help="Every processor this process may use, when left out.")
@json_option
def classify_command(
    artifact: Path, texts: tuple[str, ...], query: str | None, threads: int | None, as_json: bool
) -> None:
    """Score each of TEXTS with a compiled classifier or reranker: label and score by line, before softmax or sigmoid."""
    from llmc.inspection import printable

    with llmc.load(artifact, threads=threads) as model:
        scores = [model.classify(text) if query is None else model.classify(query, text) for text in texts]
    lines = ["\t".join(f"{printable(label)}: {score:.6g}" for label, score in each.items()) for each in scores]
    _print({"path": str(artifact), "scores": scores}, as_json, "\n".join(lines))


@commands.command("bench")
@click.argument("artifact", type=existing)
@click.option("--prompt", default=512, show_default=True, type=click.IntRange(1), help="Tokens to prefill.")
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(1), help="Tokens to decode.")
@click.option("--repeat", default=5, show_default=True, type=click.IntRange(1), help="Measured rounds; the median is reported.")
@click.option("--threads", type=click.IntRange(1), help="Every processor this process may use, when left out.")
@click.option("--isa", help="Use this instruction-set level of the artifact.")
@json_option
def bench_command(
    artifact: Path, prompt: int, tokens: int, repeat: int, threads: int | None, isa: str | None, as_json: bool
) -> None:
    """Measure prefill and decode, in tokens per second."""
    from llmc import bench

    result = bench.measure(artifact, prompt=prompt, tokens=tokens, repeat=repeat, threads=threads, isa=isa)
    _print(result, as_json, bench.text(result))


@commands.command("inspect")
@click.argument("path", type=existing)
@click.option("--context", type=click.IntRange(1), help="Estimate memory at this many tokens; the model's own when left out.")
@json_option
@click.option("-v", "--verbose", is_flag=True, help="List every tensor.")
def inspect_command(path: Path, context: int | None, as_json: bool, verbose: bool) -> None:
    """Tensors, formats, sizes and memory of a checkpoint or an artifact."""
    from llmc import inspection

    result = inspection.inspect(path, context=context)
    _print(result, as_json, inspection.text(result, verbose=verbose))


@commands.command("verify")
@click.argument("artifact", type=existing)
@json_option
def verify_command(artifact: Path, as_json: bool) -> None:
    """Hash every file of an artifact and compare with its manifest."""
    differences = llmc.verify(artifact)
    _print({"path": str(artifact), "whole": not differences, "differences": differences}, as_json,
           "\n".join(differences) or f"{artifact}: every file is as its manifest says")  # fmt: skip
    if differences:
        raise click.exceptions.Exit(4)


@commands.command("formats")
@json_option
def formats_command(as_json: bool) -> None:
    """Architectures, weight formats and tokenizers llmc can compile."""
    from llmc import formats

    result = formats.supported()
    _print(result, as_json, formats.text(result))


@commands.command("targets")
@json_option
def targets_command(as_json: bool) -> None:
    """What llmc can compile for, and what cpu:native means on this machine."""
    from llmc import target

    result = target.listing()
    lines = [f"{t['name']:<18} {t['about']}" for t in result["targets"]]
    _print(result, as_json, "\n".join(lines))


@commands.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Check that everything compiling needs is here and of the right version."""
    from llmc import doctor

    result = doctor.examine()
    _print(result, as_json, doctor.text(result))
    if not result["ok"]:
        raise click.exceptions.Exit(5)


def _print(document: dict[str, Any], as_json: bool, text: str) -> None:
    click.echo(json.dumps(document, indent=1) if as_json else text)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code; reports every failure as the module says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        return int(commands.main(arguments, prog_name="llmc", standalone_mode=False) or 0)
    except SystemExit:  # how click ends when the reader of stdout has gone away: nobody is left to be told anything
        return 0
    except BaseException as error:
        verbose = not {"-v", "--verbose"}.isdisjoint(arguments)
        return _report(error, as_json, verbose)


def _report(error: BaseException, as_json: bool, verbose: bool) -> int:
    """Says what went wrong, once, and returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        error.show()
        return 2
    document, code = _explain(error)
    if verbose:
        traceback.print_exception(error)
    if as_json:
        click.echo(json.dumps({"error": document}, indent=1))
    click.echo(f"llmc: {document['message']}" + (f"\n      {document['hint']}" if document["hint"] else ""), err=True)
    return code


def _explain(error: BaseException) -> tuple[dict[str, str | None], int]:
    """The JSON error document of an exception, and the exit code."""
    if isinstance(error, click.ClickException):
        error = _usage(error)
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        return {"kind": "interrupted", "message": "interrupted", "hint": None}, 130
    elif isinstance(error, MemoryError):
        error = DeviceError("out of memory", hint="close other programs, or use a machine with more")
    elif isinstance(error, OSError):
        error = _system(error)
    if isinstance(error, LlmcError):
        return {"kind": error.kind, "message": error.message, "hint": error.hint}, error.exit_code
    hint = "this is a bug in llmc; run again with -v for the traceback and report it"
    return {"kind": "internal", "message": f"{type(error).__name__}: {error}", "hint": hint}, 1


def _usage(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "llmc"
    return UsageError(error.format_message().rstrip("."), hint=f"{command} --help lists what it takes")


def _system(error: OSError) -> LlmcError:
    """A full or broken disk is the device's failure; a path that cannot be used is the caller's."""
    message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE)
    return DeviceError(message) if error.errno in full else UsageError(message)
