"""What doctor finds, and that it names the tvm-ffi that crashes."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from llmc import debug, doctor


def states(result: dict[str, Any]) -> dict[str, str]:
    return {c["name"]: c["state"] for c in result["checks"]}


def test_a_machine_that_runs_these_tests_can_compile() -> None:
    result = doctor.examine()
    assert result["ok"], result
    assert {"apache-tvm", "apache-tvm-ffi", "ziglang", "cache", "processor"} <= states(result).keys()


@pytest.mark.parametrize("found", ["0.1.15", None])
def test_the_wrong_tvm_ffi_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: found if package == "apache-tvm-ffi" else real(package))
    result = doctor.examine()
    assert not result["ok"] and states(result)["apache-tvm-ffi"] == "bad"
    report = doctor.text(result)
    assert (found or "missing") in report and "pip install apache-tvm-ffi==0.1.14.post0" in report


def test_a_cache_that_is_no_directory_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with debug.scoped(LLMC_CACHE=str(tmp_path / "file" / "cache")):
        assert states(doctor.examine())["cache"] == "bad"


def test_a_missing_package_has_no_version() -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("llmc-no-such-package")
    assert doctor._version("llmc-no-such-package") is None
