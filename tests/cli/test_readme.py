"""The README says what the code says."""

import re
from pathlib import Path

from llmc import cli
from tests import readme_table, verified


def test_the_table_of_what_is_supported_is_up_to_date() -> None:
    text = readme_table.README.read_text()
    assert readme_table.rewritten(text) == text, "run: make readme"


def test_what_architectures_are_verified_against_is_what_tests_compare(shared: Path) -> None:
    assert verified.MODULE.read_text() == verified.module(), "run: make readme"


def test_commands_in_the_documents_exist(root: Path) -> None:
    documents = "".join((root / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "Makefile", "examples/README.md"))
    used = set(re.findall(r"\bllmc ([a-z]+) (?:[A-Z$-]|\w+\.(?:gguf|llmc))", documents))
    assert used and used <= set(cli.commands.commands)


def test_make_targets_in_the_documents_exist(root: Path) -> None:
    names = ("README.md", "CONTRIBUTING.md", "tests/README.md", "benchmarks/README.md")
    documents = "".join((root / name).read_text() for name in names)
    makefile = (root / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", documents)) - {"one"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
