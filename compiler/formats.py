"""What llmc can compile, read off the registries: `llmc formats`, and the table in the README."""

from typing import Any


def supported() -> dict[str, Any]:
    """{"containers", "architectures": [{"name", "papers"}], "formats": [{"name", "ggml_type", "bits_per_weight", "block"}]}"""
    from llmc.frontend import arch
    from llmc.frontend.quant import FORMATS

    ordered = sorted(FORMATS.values(), key=lambda f: (f.weights, -f.bits_per_weight, f.name))
    return {
        "containers": ["gguf"],
        "architectures": [{"name": a.gguf, "papers": a.papers} for a in arch.find().values()],
        "formats": [
            {"name": f.name, "ggml_type": f.ggml_type, "bits_per_weight": f.bits_per_weight, "block": f.weights} for f in ordered
        ],
    }


def text(result: dict[str, Any]) -> str:
    """For a reader: one line for each architecture and format."""
    lines = ["architectures (GGUF)"]
    lines += [f"  {a['name']:<10} {a['papers']}" for a in result["architectures"]]
    lines.append("weight formats")
    for f in result["formats"]:
        blocks = f", blocks of {f['block']}" if f["block"] > 1 else ""
        lines.append(f"  {f['name']:<10} {f['bits_per_weight']:g} bits per weight{blocks}")
    return "\n".join(lines)
