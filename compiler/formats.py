"""What llmc can compile, read off the registries: `llmc formats`, and the table in the README."""

from collections.abc import Sequence
from typing import Any, Final

from llmc import verified

RANDOM: Final = "random transformers model"


def supported() -> dict[str, Any]:
    """{"containers", "architectures", "formats", "quantised_directories"}, as lists.

    An architecture has "name" (in GGUF files; "" where only directories are read), "papers", "hf", the classes of
    config.json that it reads, and "verified_against", what tests compare it with: {"gguf": recorded models or RANDOM, "hf":
    {class: the same}}. A format has "name", "ggml_type", "bits_per_weight" and "block".
    """
    from llmc.frontend import arch
    from llmc.frontend.quant import FORMATS

    ordered = sorted(FORMATS.values(), key=lambda f: (f.weights, -f.bits_per_weight, f.name))
    return {
        "containers": ["GGUF files", "Hugging Face directories"],
        "quantised_directories": ["GPTQ", "AWQ (GEMM)", "compressed-tensors (integers, FP8, NVFP4, MXFP4)", "FP8"],
        "architectures": [
            {"name": a.gguf, "papers": a.papers, "hf": [*a.classes], "verified_against": _verified(a.gguf, a.classes)}
            for a in arch.every()
        ],
        "formats": [
            {"name": f.name, "ggml_type": f.ggml_type, "bits_per_weight": f.bits_per_weight, "block": f.weights} for f in ordered
        ],
    }


def _verified(name: str, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "gguf": verified.FILES.get(name, []) + [RANDOM] * (name in verified.RANDOM_FILES),
        "hf": {c: verified.CLASSES.get(c, []) + [RANDOM] * (c in verified.RANDOM) for c in classes},
    }


def text(result: dict[str, Any]) -> str:
    """For a reader: one line for each architecture and format."""
    lines = ["architectures (GGUF; classes of config.json)"]
    lines += [f"  {a['name']:<10} {'; '.join([a['papers'], *a['hf']])}" for a in result["architectures"]]
    lines.append("quantised directories\n  " + ", ".join(result["quantised_directories"]))
    lines.append("weight formats")
    for f in result["formats"]:
        blocks = f", blocks of {f['block']}" if f["block"] > 1 else ""
        lines.append(f"  {f['name']:<10} {f['bits_per_weight']:g} bits per weight{blocks}")
    return "\n".join(lines)
