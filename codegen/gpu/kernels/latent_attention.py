"""Attention of all heads to one latent per position, on a GPU (codegen/kernels/latent_attention.py).

A lane holds some features of the queries of a few heads and reads the same features of a latent, so that the loads of a warp are
one run; the lanes' products are added by shuffles. Everything else is attention.py: pages by warps, splits by blocks, the merge.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels.attention import PARAMS, WARPS, _heads
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import WHOLE_DTYPES
from llmc.codegen.kernels.latent_append import WHOLE

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

_ACCUMULATORS = 64  # registers of a lane for sums of values


@dataclass(frozen=True)
class GpuLatentAttention:
    """As GpuAttention with kv_heads = 1, for queries of d features; a value is the first `values` features of a latent."""

    d: int
    values: int
    heads_per_kv: int
    dtype: str
    split: bool

    window = softcap = sinks = slopes = False

    def __post_init__(self) -> None:
        if self.d < 1 or self.d % WHOLE or not 0 < self.values <= self.d or self.dtype not in WHOLE_DTYPES:
            raise ValueError(f"latents of {self.d} features, {self.values} of them values, as {self.dtype}")

    @property
    def features(self) -> int:
        """Of a value, for a lane."""
        return -(-self.values // 32)

    @property
    def heads(self) -> int:
        return _heads(self.heads_per_kv, min(4, _ACCUMULATORS // self.features))

    @property
    def symbol(self) -> str:
        return f"latent_attention_d{self.d}_v{self.values}_g{self.heads_per_kv}_{self.dtype}" + "_split" * self.split

    @property
    def params(self) -> tuple[Param, ...]:
        return params(PARAMS)

    @property
    def launch(self) -> Launch:
        return Launch((f"kv_heads * {self.heads_per_kv // self.heads}", "n_tokens", "splits"), 32 * WARPS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import latent_tir

        return latent_tir.attention(self, device)
