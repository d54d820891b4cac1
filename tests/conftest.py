"""Fixtures every test folder may use, and the --bless switch."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite golden files with what the code gives now")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def bless(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--bless"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The open corpora beside the repository: small models with reference logits, tokenizer goldens, hostile files."""
    for place in (ROOT.parent / "shared", ROOT / "shared"):
        if (place / "models").is_dir():
            return place
    pytest.skip("the open corpora (a folder `shared` beside the repository) are not here")


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The trained model in the repository: Llama, 7 M weights, Q4_K and Q6_K."""
    return ROOT / "examples" / "pydocs-q4_k_m.gguf"


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache directory for one test."""
    monkeypatch.setenv("LLMC_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
