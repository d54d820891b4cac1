"""Methods of quantisation that llmc does not read are refused by name, with what to do."""

from typing import Any

import pytest

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.quantization import HINTS, read_linears
from llmc.frontend.quantized import Read


def refused(config: Any) -> UnsupportedModelError:
    read: Read = lambda stored: pytest.fail(f"{stored.name} was read")  # noqa: E731
    with pytest.raises(UnsupportedModelError) as caught:
        read_linears(config, {}, {}, read)
    return caught.value


@pytest.mark.parametrize("method", HINTS)
def test_each_has_a_hint(method: str) -> None:
    error = refused({"quant_method": method})
    assert method in error.message and error.hint == HINTS[method]


@pytest.mark.parametrize("method", ["new", None, 7, "x" * 500])
def test_unknown_ones_are_told_what_is_known(method: Any) -> None:
    error = refused({"quant_method": method})
    assert "quant_method" in error.message and "GPTQ" in str(error.hint) and len(error.message) < 200


def test_a_config_that_is_no_object_is_malformed() -> None:
    with pytest.raises(MalformedFileError, match="an array"):
        read_linears([], {}, {}, lambda stored: pytest.fail(stored.name))


def test_a_quantization_without_quantised_tensors_is_refused() -> None:
    with pytest.raises(MalformedFileError, match="no tensor is quantised"):
        read_linears({"quant_method": "gptq", "bits": 4, "group_size": 32}, {}, {}, lambda stored: pytest.fail(stored.name))
