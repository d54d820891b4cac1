"""Layers of different heads, windows and feed-forward widths, and layers that attend to the keys and values of another one.

The family is made up; its graph, run by the interpreter in numpy, is the oracle.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.frontend.load import open_model
from llmc.ir.interpret import KvState, interpret
from llmc.passes.pipeline import optimize
from tests.e2e.test_interpreter import weights
from tests.e2e.tiny_transformers import VOCAB, _tokenizer

ARCHITECTURE = '''
from dataclasses import replace

from llmc.frontend.arch import DECODER, Architecture
from llmc.frontend.config import LayerShape
from llmc.frontend.layers import attention, norm, residual, swiglu
from llmc.frontend.dialect import Dialect

SHAPES = [LayerShape(4, 2, 16, 96), LayerShape(2, 1, 32, 64), LayerShape(4, 2, 16, 32), LayerShape(2, 2, 16, 64)]
SHARED = {2: 0, 3: 0}  # the last layers have no keys and values


def block(s, x, w):
    shares = SHARED.get(s.layer)
    mixed = attention(s, norm(s, x, w, "attn.norm"), w, local=s.layer in (0, 3), rotate=s.layer != 1, shares=shares)
    x = residual(s, x, mixed)
    return residual(s, x, swiglu(s, norm(s, x, w, "ffn.norm"), w))


ARCHITECTURE = Architecture(
    gguf="mixed", hf=("MixedForCausalLM",), papers="", weights=DECODER, rope="half", block=block, optional=("attn.k", "attn.v"),
    dialect=Dialect(windows=True), adapt=lambda config, keys: replace(config, shapes=tuple(SHAPES)),
)
'''
CONFIG = {
    "architectures": ["MixedForCausalLM"], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "vocab_size": VOCAB, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "head_dim": 16, "sliding_window": 40, "tie_word_embeddings": True, "rope_theta": 10000.0,
}  # fmt: skip
HEADS = [(4, 2, 16, 96), (2, 1, 32, 64), (4, 0, 16, 32), (2, 0, 16, 64)]  # no keys and values in the last two


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens": (VOCAB, 64), "norm": (64,)}
    for i, (heads, kv_heads, d, wide) in enumerate(HEADS):
        own = {
            "input_layernorm": (64,), "self_attn.q_proj": (heads * d, 64), "self_attn.o_proj": (64, heads * d),
            "self_attn.k_proj": (kv_heads * d, 64), "self_attn.v_proj": (kv_heads * d, 64), "post_attention_layernorm": (64,),
            "mlp.gate_proj": (wide, 64), "mlp.up_proj": (wide, 64), "mlp.down_proj": (64, wide),
        }  # fmt: skip
        shapes |= {f"layers.{i}.{name}": shape for name, shape in own.items() if 0 not in shape}
    return {
        f"model.{name}.weight": rng.normal(1.0 if len(shape) == 1 else 0.0, shape[-1] ** -0.5, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """A model directory, and the file that says what it is."""
    numpy = pytest.importorskip("safetensors.numpy")
    folder = tmp_path / "mixed"
    folder.mkdir()
    numpy.save_file(tensors(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    (tmp_path / "mixed.py").write_text(ARCHITECTURE)
    return folder, tmp_path / "mixed.py"


def test_layers_of_different_shapes_compute_their_graph(model: tuple[Path, Path], tmp_path: Path) -> None:
    folder, arch = model
    llmc.compile(folder, tmp_path / "mixed.llmc", targets="cpu:native", activations="f32", arch=arch)
    ids = np.random.default_rng(1).integers(2, VOCAB, 300)
    computed = llmc.load(tmp_path / "mixed.llmc", threads=2).logits(ids)
    opened, positions = open_model(folder, arch=arch), np.arange(len(ids), dtype=np.int32)
    inputs = {"tokens": ids.astype(np.int32), "positions": positions, "rows": positions, "cache": KvState()}
    expected = interpret(optimize(opened.graph, "f32"), inputs, weights(opened.checkpoint))[0]
    assert np.ptp(expected, axis=-1).min() > 0.1 and np.abs(computed - expected).max() <= 1e-3
    chunked = llmc.load(tmp_path / "mixed.llmc", threads=1).logits(ids, chunks=[7, 100, 1, 64, 128])
    assert np.array_equal(chunked, computed)


def test_a_cache_is_as_large_as_what_layers_append(model: tuple[Path, Path], tmp_path: Path) -> None:
    """Layer 0 has a window, but layer 2 reads its keys without one."""
    folder, arch = model
    llmc.compile(folder, tmp_path / "mixed.llmc", targets="cpu:native", activations="f32", arch=arch)
    groups = llmc.inspect(tmp_path / "mixed.llmc")["cache"]
    assert [(g["kind"], g["layers"], g["kv_heads"], g["head_dim"]) for g in groups] == [("paged", 1, 2, 16), ("paged", 1, 1, 32)]
