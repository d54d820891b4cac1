"""Causal attention over the paged KV cache, split over blocks where few tokens would leave a GPU idle, and the merge of splits.

Softmax is online over pages of 64 keys (codegen/kernels/attention.py has the mathematics). A block computes some query heads that
share a KV head, for one token and one range of pages; its warps take pages in turn. With several ranges a block leaves its state
(m, z, acc[d]) in `states`, and a second kernel merges them in ascending order ("flash decoding", Dao et al. 2023).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import check

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

WARPS = 4
_ACCUMULATORS = 32  # registers of a lane for acc


@dataclass(frozen=True)
class GpuAttention:
    """o[t, h*d ..] for token t and query head h = kv * heads_per_kv + g; or states[t, h, split, 0 .. d + 2) = m, z, acc.

    q [T, ldq], o [T, ldo]; tables, sequence, positions, page_bytes as for GpuKvAppend. Each of the `splits` blocks in z takes an
    equal range of the pages that hold the token's positions; `split` says whether states are written. window: a token sees the
    last `window` positions. softcap: scores become softcap * tanh(s / softcap). sinks: e^sinks[h] joins the denominator.
    """

    d: int
    heads_per_kv: int
    dtype: str
    split: bool
    window: bool = False
    softcap: bool = False
    sinks: bool = False

    def __post_init__(self) -> None:
        check(self.d, self.dtype)

    @property
    def heads(self) -> int:
        """Query heads of one block: as many of a KV head's as accumulators fit."""
        fits = max(1, _ACCUMULATORS // self.features)
        return max(n for n in range(1, min(8, fits) + 1) if self.heads_per_kv % n == 0)

    @property
    def features(self) -> int:
        """Features of a lane."""
        return -(-self.d // 32)

    @property
    def symbol(self) -> str:
        options = "_split" * self.split + "_window" * self.window + "_softcap" * self.softcap + "_sinks" * self.sinks
        return f"attention_d{self.d}_g{self.heads_per_kv}_{self.dtype}{options}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *tables, const int32_t *sequence, const int32_t *positions, "
            "const float *sinks, float *o, float *states, int32_t kv_heads, int32_t ldq, int32_t ldo, int32_t table_stride, "
            "int64_t page_bytes, float scale, float softcap, int32_t window, int32_t splits, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch((f"kv_heads * {self.heads_per_kv // self.heads}", "n_tokens", "splits"), 32 * WARPS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import attention_tir

        return attention_tir.attention(self, device)


@dataclass(frozen=True)
class GpuAttentionMerge:
    """o[t, h*d ..] from states[t, h, split, 0 .. d + 2) of GpuAttention, splits in ascending order. A block a head and token."""

    d: int
    sinks: bool = False

    @property
    def symbol(self) -> str:
        return f"attention_merge_d{self.d}" + "_sinks" * self.sinks

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *states, const float *sinks, float *o, int32_t heads, int32_t ldo, int32_t splits, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("heads", "n_tokens", "1"), 64)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import attention_tir

        return attention_tir.merge(self, device)
