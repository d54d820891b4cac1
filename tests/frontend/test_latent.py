"""Tensors of latent attention as the absorbed form wants them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend import arch
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.gguf import read_gguf
from llmc.frontend.latent import Latent, Transposed, latent_views
from llmc.frontend.load import build, open_model
from llmc.frontend.quant import FORMATS
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.ir.quant import dequantize
from llmc.passes.pipeline import optimize


@pytest.fixture
def folder(shared: Path) -> Path:
    return shared / "models" / "open" / "deepseek_v2"


def changed(folder: Path, **keys: Any) -> Checkpoint:
    gguf = read_gguf(folder / "model.gguf")
    own = {**gguf.keys, **{f"deepseek2.{key}": value for key, value in keys.items()}}
    return Checkpoint(gguf.files, [], {key: value for key, value in own.items() if value is not None}, gguf.tensors)


@pytest.mark.parametrize("source", ["model.gguf", "hf"])
def test_the_graph_computes_what_transformers_does(folder: Path, source: str) -> None:
    model = open_model(folder / source)

    def weight(name: str) -> WeightData:
        tensor = model.checkpoint.tensors[name]
        return WeightData(tensor.format, model.checkpoint.data(name), tensor.shape)

    with np.load(folder / "ref.npz") as recorded:
        ids, logits = recorded["tokens_0"], recorded["logits_all_0"]
    at = np.arange(len(ids), dtype=np.int32)
    inputs = {"tokens": ids, "positions": at, "rows": at, "cache": KvState()}
    for graph in (model.graph, optimize(model.graph, "f32")):
        assert np.abs(interpret(graph, inputs, weight)[0] - logits).max() < 1e-4


@pytest.mark.parametrize("format", ["f16", "q8_0", "q4_0"])
def test_the_matrix_of_keys_is_exchanged_and_that_of_values_keeps_its_blocks(format: str) -> None:
    fmt, latent, heads = FORMATS[format], Latent(rank=64, nope=24, rope=8, value=16, queries=0), 3
    rows = heads * (latent.nope + latent.value)
    rng = np.random.default_rng(4)
    raw = rng.standard_normal((rows, 64)).astype(np.float16).view(np.uint8).reshape(-1)
    if format != "f16":
        blocks = rng.integers(0, 256, (rows * 2, fmt.nbytes), np.uint8)
        blocks[:, :2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)  # the factor comes first
        raw = blocks.reshape(-1)
    both = Tensor("blk.0.attn_kv_b.weight", fmt, (rows, 64), 0, 0, raw.size)
    checkpoint = type("", (), {"container": "gguf", "tensors": {both.name: both}})()
    shown = latent_views(checkpoint, latent, heads, 1)
    whole = dequantize(fmt, raw).reshape(heads, -1, 64)
    keys, values = shown["blk.0.attn_k_b.weight"], shown["blk.0.attn_v_b.weight"]
    assert isinstance(keys, Transposed) and keys.tensor.format.name == "f16" and values.tensor.format.name == format
    turned = keys.assemble(lambda part: raw).view(np.float16).reshape(keys.tensor.shape)
    assert np.array_equal(turned, whole[:, :24].transpose(0, 2, 1).astype(np.float16))
    cut = dequantize(fmt, values.assemble(lambda part: raw)).reshape(values.tensor.shape)
    assert np.array_equal(cut, whole[:, 24:])


def test_a_matrix_of_another_shape_is_refused() -> None:
    both = Tensor("blk.0.attn_kv_b.weight", FORMATS["f16"], (100, 64), 0, 0, 12800)
    checkpoint = type("", (), {"container": "gguf", "tensors": {both.name: both}})()
    with pytest.raises(MalformedFileError, match="attn_kv_b.weight has shape"):
        latent_views(checkpoint, Latent(64, 24, 8, 16, 0), 3, 1)


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({"attention.kv_lora_rank": None}, MalformedFileError, "kv_lora_rank is missing"),
        ({"attention.kv_lora_rank": 48}, MalformedFileError, "attn_kv_a_mqa.weight has shape"),
        ({"attention.key_length_mla": 16}, MalformedFileError, "key_length_mla is 16"),
        ({"attention.key_length_mla": 40}, MalformedFileError, "attn_q_nope.weight has shape|no stack of|attn_q_"),
        ({"attention.value_length_mla": 24}, UnsupportedModelError, "values of 24"),
        ({"attention.q_lora_rank": 0}, MalformedFileError, "missing tensors: blk.0.attn_q_nope.weight"),
    ],
)
def test_refuses_by_the_name_of_the_key(folder: Path, keys: dict[str, Any], kind: type[LlmcError], words: str) -> None:
    with pytest.raises(kind, match=words):
        checkpoint, family = changed(folder, **keys), arch.find()["deepseek2"]
        config = family.config(checkpoint)
        shown = checkpoint.showing(family.views(checkpoint, config))
        build(shown, family, config, 512)
