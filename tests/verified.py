"""What each architecture is compared with, read off the lists of the tests: compiler/verified.py, which `make readme` writes.

A recorded model is a folder of shared/models/open; a random one is made by transformers in tests/e2e/test_tiny_*.py, and written
as a GGUF file in test_random_gguf*.py.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent / "e2e"
MODELS = Path(__file__).resolve().parents[2] / "shared" / "models" / "open"
MODULE = Path(__file__).resolve().parents[1] / "compiler" / "verified.py"
HEADS = ("", "ForCausalLM", "LMHeadModel", "Model")
HEAD = '''"""What each architecture is compared with by the tests. Written by `make readme` from their lists."""

'''


def module() -> str:
    """The text of compiler/verified.py."""
    files = recorded("reference.py", ("FAMILIES", "RECURRENT"), "gguf")
    classes = recorded("test_huggingface.py", ("FAMILIES",), "hf")
    parts = [
        ("FILES", "general.architecture -> recorded models", files),
        ("CLASSES", "class of config.json -> recorded models", classes),
        ("RANDOM", "class of config.json -> the tests with a random model", random_models()),
        ("RANDOM_FILES", "general.architecture -> the tests with a file of a random model", random_files()),
    ]
    return HEAD + "\n".join(_dictionary(*part) for part in parts)


def recorded(source: str, names: tuple[str, ...], kind: str) -> dict[str, list[str]]:
    """Architecture -> the recorded models of it that a test lists."""
    from llmc.frontend.load import read_checkpoint

    found: dict[str, list[str]] = {}
    for model in (model for name in names for model in ast.literal_eval(_assigned(TESTS / source)[name])):
        if kind == "gguf":
            with read_checkpoint(MODELS / model / "model.gguf") as checkpoint:
                architecture = checkpoint.architecture
        else:
            (architecture,) = json.loads((MODELS / model / "hf" / "config.json").read_text())["architectures"]
        found.setdefault(architecture, []).append(model)
    return found


def random_models() -> dict[str, list[str]]:
    """Class of config.json -> the test modules that build it at random."""
    from llmc.frontend import arch

    known, found = arch.by_class(), dict[str, list[str]]()
    for path in sorted(TESTS.glob("test_tiny_*.py")):
        for family in (each for name in ("MODELS", "CLASSIFIERS") for each in _families(path, name)):
            name = next((family + head for head in HEADS if family + head in known), None)
            if name and path.name not in found.setdefault(name, []):
                found[name].append(path.name)
    return found


def random_files() -> dict[str, list[str]]:
    """general.architecture -> the test modules that write such files, by the first words of their lists."""
    found = dict[str, list[str]]()
    for path in sorted(TESTS.glob("test_random_gguf*.py")):
        models = _assigned(path)["MODELS"]
        assert isinstance(models, ast.Dict)
        for name in dict.fromkeys(ast.literal_eval(key).partition(" ")[0] for key in models.keys if key is not None):
            found.setdefault(name, []).append(path.name)
    return found


def _families(path: Path, table: str) -> Iterator[str]:
    """The class prefixes of a table of models: its keys, or the first of each value where that is a tuple."""
    models = _assigned(path).get(table)
    for key, value in zip(models.keys, models.values, strict=True) if isinstance(models, ast.Dict) else ():
        yield ast.literal_eval(value.elts[0] if isinstance(value, ast.Tuple) else key)  # type: ignore[arg-type]


def _assigned(path: Path) -> dict[str, Any]:
    """Module-level assignments, unevaluated."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        found.update((target.id, node.value) for target in targets if isinstance(target, ast.Name))  # type: ignore[union-attr]
    return found


def _dictionary(name: str, what: str, values: dict[str, list[str]]) -> str:
    lines = "".join(f"    {json.dumps(key)}: {json.dumps(values[key])},\n" for key in sorted(values))
    return f"# {what}\n{name}: dict[str, list[str]] = {{\n{lines}}}\n"
