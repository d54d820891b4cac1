"""Multi-head latent attention (MLA): its sizes, its tensors as the absorbed form wants them, its block.

Keys and values of all heads are made from one latent per token. Absorbed, the matrix that makes a head's keys is applied to its
query, and the one that makes its values to its output: then the cache holds the latent and the few features that rotate.
DeepSeek-V2, arXiv:2405.04434, 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from llmc.errors import MalformedFileError, UnsupportedModelError
from llmc.frontend.checkpoint import Bytes, Checkpoint, Derived, Tensor
from llmc.frontend.quant import FORMATS
from llmc.frontend.views import view
from llmc.ir.ops_latent import PADDING
from llmc.ir.quant import DenseFormat, dequantize

if TYPE_CHECKING:
    from llmc.frontend.config import Keys

MAX_RANK: Final = 1 << 16
MAX_HEAD: Final = 4096
MLA: Final = {
    "attn.q_a": ("blk.{i}.attn_q_a.weight", "model.layers.{i}.self_attn.q_a_proj.weight"),
    "attn.q_a.bias": ("blk.{i}.attn_q_a.bias", "model.layers.{i}.self_attn.q_a_proj.bias"),
    "attn.q_a_norm": ("blk.{i}.attn_q_a_norm.weight", "model.layers.{i}.self_attn.q_a_layernorm.weight"),
    "attn.q_nope": ("blk.{i}.attn_q_nope.weight", "model.layers.{i}.self_attn.q_nope.weight"),
    "attn.q_rope": ("blk.{i}.attn_q_rope.weight", "model.layers.{i}.self_attn.q_rope.weight"),
    "attn.kv_a": ("blk.{i}.attn_kv_a_mqa.weight", "model.layers.{i}.self_attn.kv_a_proj_with_mqa.weight"),
    "attn.kv_a.bias": ("blk.{i}.attn_kv_a_mqa.bias", "model.layers.{i}.self_attn.kv_a_proj_with_mqa.bias"),
    "attn.kv_a_norm": ("blk.{i}.attn_kv_a_norm.weight", "model.layers.{i}.self_attn.kv_a_layernorm.weight"),
    "attn.k_up": ("blk.{i}.attn_k_b.weight", "model.layers.{i}.self_attn.k_up.weight"),
    "attn.v_up": ("blk.{i}.attn_v_b.weight", "model.layers.{i}.self_attn.v_up.weight"),
}
"""Tensor names of the attention; of those that `views` makes, names that no file has."""
OPTIONAL: Final = ("attn.q_a", "attn.q_a_norm")  # models without a narrow query have neither


@dataclass(frozen=True)
class Latent:
    """rank     features of the latent
    nope     features of a head's key and query that do not rotate
    rope     those that do, of which all heads share the key's
    value    features of a head's value
    queries  features of the narrow query that all queries are made from; 0: they are made from the residual stream
    norm_eps of the norms of latent and narrow query; 0: as of all others
    """

    rank: int
    nope: int
    rope: int
    value: int
    queries: int
    norm_eps: float = 0.0

    @property
    def head_dim(self) -> int:
        """Features of a position in the cache."""
        return -(-(self.rank + self.rope) // PADDING) * PADDING


def read_latent(keys: Keys) -> Latent:
    """Raises MalformedFileError or UnsupportedModelError naming the key."""
    c = keys.checkpoint
    if keys.gguf:
        rope = keys.integer("rope.dimension_count", high=MAX_HEAD)
        key = keys.integer("attention.key_length_mla", high=MAX_HEAD, default=keys.integer("attention.key_length", high=MAX_RANK))
        value_length = keys.integer("attention.value_length", high=MAX_RANK)
        value = keys.integer("attention.value_length_mla", high=MAX_HEAD, default=value_length)
        rank, queries = keys.integer("attention.kv_lora_rank"), keys.integer("attention.q_lora_rank", low=0, default=0)
        if key <= rope:
            raise MalformedFileError(f"{keys.name('attention.key_length_mla')} is {key}, not more than {rope} that rotate")
        latent = Latent(rank, key - rope, rope, value, queries)
    else:
        nope, rope = c.integer("qk_nope_head_dim", 1, MAX_HEAD), c.integer("qk_rope_head_dim", 1, MAX_HEAD)
        rank, queries = c.integer("kv_lora_rank", 1, MAX_RANK), c.integer("q_lora_rank", 0, MAX_RANK, 0)
        latent = Latent(rank, nope, rope, c.integer("v_head_dim", 1, MAX_HEAD), queries)
    if latent.rope % 2 or latent.value % PADDING:
        what = f"{latent.rope} features that rotate and values of {latent.value}"
        raise UnsupportedModelError(f"{c.key_file}: {what}; llmc compiles an even number of them and values of whole {PADDING}s")
    return latent


@dataclass(frozen=True)
class Transposed:
    """The first `rows` rows of each of `heads` matrices, exchanged with their columns, as [heads, columns, rows].

    Dense weights keep their format. Blocks lie along the columns that become rows, so quantised ones become f16.
    """

    source: Tensor
    name: str
    heads: int
    rows: int

    @property
    def tensor(self) -> Tensor:
        fmt = self.source.format if isinstance(self.source.format, DenseFormat) else FORMATS["f16"]
        shape = (self.heads, self.source.shape[-1], self.rows)
        return replace(self.source, name=self.name, format=fmt, shape=shape, nbytes=math.prod(shape) * fmt.nbytes)

    @property
    def parts(self) -> Mapping[str, Tensor]:
        return {"source": self.source}

    def assemble(self, read: Callable[[Tensor], Bytes]) -> Bytes:
        """u8 [nbytes]."""
        fmt, stored = self.source.format, read(self.source)
        dense = stored.view(f"V{fmt.nbytes}") if isinstance(fmt, DenseFormat) else dequantize(fmt, stored).astype(np.float16)
        turned = dense.reshape(self.heads, -1, self.source.shape[-1])[:, : self.rows].transpose(0, 2, 1)
        return np.ascontiguousarray(turned).reshape(-1).view(np.uint8)


def latent_views(checkpoint: Checkpoint, latent: Latent, heads: int, layers: int) -> dict[str, Derived]:
    """Queries cut into what rotates and what does not; and the matrix of keys and values, where a file has one, into two."""
    gguf = checkpoint.container == "gguf"
    at = 0 if gguf else 1
    prefix = "blk.{i}.attn_" if gguf else "model.layers.{i}.self_attn."
    narrow, wide, pair = ("q_b", "q", "kv_b") if gguf else ("q_b_proj", "q_proj", "kv_b_proj")
    shown: dict[str, Derived] = {}
    for i in range(layers):
        name = {key: names[at].format(i=i) for key, names in MLA.items()}
        queries = checkpoint.tensors.get(f"{prefix}{narrow if latent.queries else wide}.weight".format(i=i))
        if queries is not None:
            for key, rows in (("attn.q_nope", slice(0, latent.nope)), ("attn.q_rope", slice(latent.nope, None))):
                shown[name[key]] = view(queries, name[key], matrices=heads, rows=rows, flat=True)
        both = checkpoint.tensors.get(f"{prefix}{pair}.weight".format(i=i))
        if both is not None:
            _check(both, heads * (latent.nope + latent.value), latent.rank)
            shown[name["attn.k_up"]] = Transposed(both, name["attn.k_up"], heads, latent.nope)
            shown[name["attn.v_up"]] = view(both, name["attn.v_up"], matrices=heads, rows=slice(latent.nope, None))
    return shown


def _check(tensor: Tensor, rows: int, columns: int) -> None:
    if tensor.shape != (rows, columns):
        raise MalformedFileError(f"tensor {tensor.name} has shape {list(tensor.shape)}, but the keys imply {[rows, columns]}")
