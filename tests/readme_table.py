"""The README's table of what is supported, made from `llmc formats --json`. `make readme` rewrites it, a test says when to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import verified

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- supported: make readme -->\n", "<!-- end -->\n"


def table(supported: dict[str, Any]) -> str:
    """The Markdown between the marks."""
    names = ", ".join(f"{f['name'].upper()} ({f['bits_per_weight']:g})" for f in supported["formats"])
    rows = [
        ("checkpoints", ", ".join(supported["containers"])),
        ("quantised Hugging Face directories", ", ".join(supported["quantised_directories"])),
        ("weight formats (bits per weight)", names),
        ("targets", ", ".join(f"`{t['name']}`" for t in supported["targets"])),
    ]
    what = "".join(f"| {a} | {b} |\n" for a, b in [("what", "supported"), ("---", "---"), *rows])
    return f"{what}\n{architectures(supported['architectures'])}"


def architectures(known: list[dict[str, Any]]) -> str:
    """A row for each: its GGUF name and its classes, each with what the tests compare it with."""
    rows = [("architecture in GGUF files", "verified against", "class in config.json: verified against"), ("---",) * 3]
    for a in known:
        against = a["verified_against"]
        classes = [f"{name}: {', '.join(models) or 'unverified'}" for name, models in against["hf"].items()]
        gguf = ", ".join(against["gguf"]) or "unverified" if a["name"] else ""
        rows.append((a["name"], gguf, "<br>".join(classes)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def listed() -> dict[str, Any]:
    """What `llmc formats` and `llmc targets` say."""
    documents = [subprocess.run([sys.executable, "-m", "llmc", c, "--json"], capture_output=True, check=True).stdout
                 for c in ("formats", "targets")]  # fmt: skip
    both: dict[str, Any] = json.loads(documents[0]) | json.loads(documents[1])
    return both


def rewritten(text: str) -> str:
    """README text with a new table."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + table(listed()) + END + after


if __name__ == "__main__":
    if verified.MODELS.is_dir():
        verified.MODULE.write_text(verified.module())
    README.write_text(rewritten(README.read_text()))
