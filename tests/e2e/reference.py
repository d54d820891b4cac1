"""Recorded logits of small models, made by other engines (transformers, llama.cpp), and how far from them we may be."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import llmc

Logits = NDArray[np.float32]
Compiled = Callable[..., Path]  # compiled(source, activations="int8", target="cpu:native") -> artifact

FAMILIES = [
    "cohere", "cohere2", "deepseek_v2", "exaone4", "gemma2", "gemma3", "glm4", "gpt2", "gpt_neox", "gpt_oss", "granite", "llama",
    "llama_bias", "llama_f32", "mistral", "mixtral", "olmo2", "olmoe", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3",
    "stablelm", "starcoder2",
]  # fmt: skip
FORMATS = [
    "IQ1_S", "IQ2_XS", "IQ3_S", "IQ4_NL", "IQ4_XS", "MXFP4", "Q1_0", "Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1",
    "Q5_K_M", "Q6_K", "Q8_0", "TQ1_0",
]  # fmt: skip
RECURRENT = ["falcon_h1", "granitemoehybrid", "lfm2", "mamba2", "qwen3_next"]
FIXTURES = [*FAMILIES, *RECURRENT, *(f"q_{name}" for name in FORMATS)]
MAX_ABS_WITHOUT_RECORD = 1e-3
KL_WITHOUT_RECORD = 0.01  # mean KL allowed with int8 activations where the fixture records none


@dataclass(frozen=True)
class Reference:
    """One fixture: model.gguf, ref.npz (f32 compute), meta.json (tolerances)."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.gguf"

    @cached_property
    def data(self) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / "ref.npz") as file:
            return dict(file)

    @cached_property
    def tolerance(self) -> dict[str, float]:
        tolerance: dict[str, float] = json.loads((self.folder / "meta.json").read_text()).get("tolerance", {})
        return tolerance

    @property
    def f32_max_abs(self) -> float:
        return self.tolerance.get("f32_max_abs", MAX_ABS_WITHOUT_RECORD)

    @property
    def int8_kl_mean(self) -> float:
        """Twice what the fixture's own engine loses to int8 activations."""
        recorded = self.tolerance.get("int8act_kl_mean")
        return KL_WITHOUT_RECORD if recorded is None else 2 * recorded

    def tokens(self, i: int) -> list[int]:
        ids: list[int] = self.data[f"tokens_{i}"].tolist()
        return ids

    @property
    def sequences(self) -> range:
        return range(int(self.data["n_seq"]))

    def pairs(self, artifact: Path) -> Iterator[tuple[Logits, Logits]]:
        """(recorded, computed) [positions, V]: every position of the first sequence, the last one of the others.

        transformers chooses rope factors by a sequence's length, and so does Model.logits where no context was declared.
        """
        model = llmc.load(artifact, threads=2)
        for i in self.sequences:
            recorded = self.data.get(f"logits_all_{i}", self.data[f"logits_last_{i}"][None])
            yield recorded, model.logits(self.tokens(i))[-len(recorded) :]


def log_softmax(x: Logits) -> NDArray[np.float64]:
    """[positions, V], in f64."""
    shifted = x.astype(np.float64) - x.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def kl(recorded: Logits, computed: Logits) -> NDArray[np.float64]:
    """KL divergence of each position, in nats: [positions]."""
    p, q = log_softmax(recorded), log_softmax(computed)
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(-1)
    return divergence
