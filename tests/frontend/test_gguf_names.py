"""GGUF names of every family against the tables of the gguf package, which llama.cpp's own converters write by."""

import gguf
import pytest

from llmc.frontend import arch

KNOWN = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
VIEWS = {f"blk.{{bid}}.attn_{part}" for part in ("q_nope", "q_rope", "k_b", "v_b")}  # parts of tensors, shown under these names
SUFFIXES = (".weight", ".bias", ".scale")
VIEWS |= {f"blk.{{bid}}.ffn_{part}_exps" for part in ("gate", "up")}
VIEWS |= {f"altup_{kind}.{j}" for kind in ("proj", "unembd_proj") for j in range(3)}


def names(family: str) -> set[str]:
    """The base names of a family's tensors: blk.{i}.attn_q of blk.{i}.attn_q.weight."""
    a = arch.find()[family]
    dense = {name: both for name, both in a.weights.items() if not (a.experts and name.startswith(arch.FEED_FORWARD))}
    files = {both if isinstance(both, str) else both[0] for table in (dense, a.experts, a.model) for both in table.values()}
    blocks = [name.replace("{i}", "{bid}") for name in files if name]
    return {name.rpartition(".")[0] if name.endswith(SUFFIXES) else name for name in blocks}


@pytest.mark.parametrize("family", arch.find())
def test_names_are_those_that_converters_write(family: str) -> None:
    assert family in KNOWN, "not an architecture of the gguf package"
    written = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[KNOWN[family]]}
    assert names(family) - written <= VIEWS
