"""Writes a decoder with random int8 weights as CTranslate2 reads it: `ctranslate2_model.py OUT SHAPE` (run by its interpreter).

SHAPE is a JSON object with the fields of `benchmarks.make_model.Shape`. Weights are uniform codes with one scale per row, as by
its own converter's `--quantization int8`. Needs ctranslate2 and numpy, no other framework.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

CODE_STD = 73.3  # of uniform integers -127..127


class Writer:
    """Fills a specification."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def matrix(self, spec: Any, rows: int, columns: int, bias: bool = False) -> None:
        """Standard deviation 1 / sqrt(columns); weight = code / scale. Equal arrays would be stored once, and not found again."""
        spec.weight = self._random.integers(-127, 128, (rows, columns), np.int8)
        spec.weight_scale = (CODE_STD * columns**0.5 * self._random.uniform(0.9, 1.1, rows)).astype(np.float32)
        if bias:
            spec.bias = self._random.normal(0, 0.02, rows).astype(np.float32)

    def norm(self, spec: Any, width: int) -> None:
        spec.gamma = np.ones(width, np.float32)

    def layer(self, spec: Any, s: dict[str, Any]) -> None:
        hidden, q, kv = s["hidden"], s["heads"] * s["head_dim"], s["kv_heads"] * s["head_dim"]
        self.norm(spec.self_attention.layer_norm, hidden)
        self.matrix(spec.self_attention.linear[0], q + 2 * kv, hidden, s["bias"])
        self.matrix(spec.self_attention.linear[1], hidden, q)
        self.norm(spec.ffn.layer_norm, hidden)
        self.matrix(spec.ffn.linear_0, s["ffn"], hidden)
        self.matrix(spec.ffn.linear_0_noact, s["ffn"], hidden)
        self.matrix(spec.ffn.linear_1, hidden, s["ffn"])


def write(out: Path, s: dict[str, Any]) -> None:
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        s["layers"], s["heads"], activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True, rms_norm=True,
        rotary_dim=0, rotary_interleave=False, rotary_base=s["theta"], num_heads_kv=s["kv_heads"],
    )  # fmt: skip
    spec.decoder.scale_embeddings = False
    writer = Writer(seed=1)
    writer.matrix(spec.decoder.embeddings, s["vocab"], s["hidden"])
    writer.norm(spec.decoder.layer_norm, s["hidden"])
    for layer in spec.decoder.layer:
        writer.layer(layer, s)
    if s["tied"]:
        spec.decoder.projection.weight = spec.decoder.embeddings.weight  # stored once; its scale is found through it
    else:
        writer.matrix(spec.decoder.projection, s["vocab"], s["hidden"])
    spec.register_vocabulary([f"<{i}>" for i in range(s["vocab"])])
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<0>", "<1>", "<2>"
    spec.config.layer_norm_epsilon = s["eps"]
    spec.validate()
    spec.optimize()
    out.mkdir(parents=True, exist_ok=True)
    spec.save(str(out))


if __name__ == "__main__":
    print(f"ctranslate2 {ctranslate2.__version__}", file=sys.stderr)
    write(Path(sys.argv[1]), json.loads(sys.argv[2]))
