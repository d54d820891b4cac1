"""Small random models of transformers' classes, saved as directories: the oracle of families without a recorded one.

    tiny = build("Qwen2Moe", folder, num_experts=8)       ->  tiny.folder, tiny.logits(ids)
    check(tiny, compiled)                                  compiled in exact arithmetic, llmc computes the same logits

Needs torch and transformers: the tests that use it skip where these are not installed.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import llmc
from llmc.frontend.tokenizer import ALPHABET
from tests.e2e.reference import Compiled

F32_MAX_ABS = 1e-3  # as the recorded models have it, whose logits are as large
VOCAB = 320
TOKENS = 90  # more than one KV page

SIZES: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """`model`: the torch module in f32. `folder`: the same as a model directory."""

    folder: Path
    model: Any

    def logits(self, ids: list[int]) -> NDArray[np.float32]:
        """[T] token ids -> f32 [T, V]."""
        import torch

        with torch.no_grad():
            logits: NDArray[np.float32] = self.model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        return logits


def build(
    family: str, folder: Path, head: str = "ForCausalLM", seed: int = 0, outer: dict[str, Any] | None = None, **config: Any
) -> Tiny:
    """A model of class `family` + `head`: SIZES and what `config` says else, or None to leave a key to the family.

    outer: what the config says beside that of the language model, in a model that also sees or hears.
    """
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(seed)
    options = {key: value for key, value in {**SIZES, **config}.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = getattr(transformers, family + head)
        options = options if outer is None else {"text_config": options, **outer}
        settings = kind.config_class(attn_implementation="eager", **options)
        model = kind(settings).to(torch.float32).eval()
        _randomize(model)
        model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()))
    return Tiny(folder, model)


def check(
    tiny: Tiny, compiled: Compiled, *, source: Path | None = None, tokens: int = TOKENS, tolerance: float = F32_MAX_ABS
) -> None:
    """Exact arithmetic gives the logits of transformers, and the same bits however the prompt is cut.

    source: another file of the same model, in the place of its directory.
    """
    ids = np.random.default_rng(1).integers(2, VOCAB - 1, tokens).tolist()
    expected, model = tiny.logits(ids), llmc.load(compiled(source or tiny.folder, "f32"), threads=2)
    whole = model.logits(ids)
    assert np.ptp(expected, axis=-1).min() > 0.1  # the model says something
    assert np.abs(whole - expected).max() <= tolerance
    for chunks in ([tokens // 3, tokens - tokens // 3], [1] * tokens):
        assert np.array_equal(model.logits(ids, chunks=chunks), whole)


def _randomize(model: Any) -> None:
    """Weights large enough for every part of a block to show in the logits; vectors and what is left stay near their values."""
    import torch

    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and "A_log" not in name:
                p.normal_(0.0, p.shape[-1] ** -0.5)
            else:
                p.add_(torch.randn_like(p) * 0.1)
        for name, b in model.named_buffers():
            if name.endswith(("correction_bias", "expert_bias", "layer_scalar")):
                b.add_(torch.randn_like(b) * 0.1)


def _tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer.json of 256 bytes and tokens nobody merges."""
    unused = [f"<unused{i}>" for i in range(VOCAB - len(ALPHABET))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "merges": [],
        "vocab": {text: i for i, text in enumerate([*ALPHABET, *unused])},
    }  # fmt: skip
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": level,
        "post_processor": None, "decoder": level, "model": model,
    }  # fmt: skip
