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
PARAMS = (
    "const float *q, const uint8_t *kv, const int32_t *tables, const int32_t *sequence, const int32_t *positions, "
    "const float *of_heads, float *o, float *states, int32_t kv_heads, int32_t ldq, int32_t ldo, int32_t table_stride, "
    "int64_t page_bytes, float scale, float softcap, int32_t window, int32_t splits, int32_t n_tokens"
)


def _heads(of: int, fit: int) -> int:
    """Query heads of a block: a divisor of those that share keys, at most eight and what fits."""
    return max(n for n in range(1, max(1, min(8, fit)) + 1) if of % n == 0)


@dataclass(frozen=True)
class GpuAttention:
    """o[t, h*d ..] for token t and query head h = kv * heads_per_kv + g; or states[t, h, split, 0 .. d + 2) = m, z, acc.

    q [T, ldq], o [T, ldo]; tables, sequence, positions, page_bytes as for GpuKvAppend. Each of the `splits` blocks in z takes an
    equal range of the pages that hold the token's positions; `split` says whether states are written. window: a token sees the
    last `window` positions. softcap: scores become softcap * tanh(s / softcap). sinks: e^of_heads[h] joins the denominator.
    slopes: a score is less by of_heads[h] for every position that the key lies back.
    """

    d: int
    heads_per_kv: int
    dtype: str
    split: bool
    window: bool = False
    softcap: bool = False
    sinks: bool = False
    slopes: bool = False

    def __post_init__(self) -> None:
        check(self.d, self.dtype)
        if self.slopes and (self.sinks or self.softcap):
            raise ValueError("attention with slopes beside sinks or caps")

    @property
    def values(self) -> int:
        """Features of a value."""
        return self.d

    @property
    def heads(self) -> int:
        """Query heads of one block: as many of a KV head's as accumulators fit."""
        return _heads(self.heads_per_kv, _ACCUMULATORS // self.features)

    @property
    def features(self) -> int:
        """Features of a lane."""
        return -(-self.d // 32)

    @property
    def symbol(self) -> str:
        names = ("split", "window", "softcap", "sinks", "slopes")
        options = "".join(f"_{name}" for name in names if getattr(self, name))
        return f"attention_d{self.d}_g{self.heads_per_kv}_{self.dtype}{options}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(PARAMS)

    @property
    def launch(self) -> Launch:
        return Launch((f"kv_heads * {self.heads_per_kv // self.heads}", "n_tokens", "splits"), 32 * WARPS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import attention_tir

        return attention_tir.attention(self, device)


@dataclass(frozen=True)
class GpuAttentionBoth:
    """Attention of an encoder: a token sees all keys of its sequence, starts[s + 1] - starts[s] from position 0 on; if `local`,
    those at most `reach` positions away. Otherwise as GpuAttention, of one block for a token."""

    d: int
    heads_per_kv: int
    dtype: str
    local: bool

    split = softcap = sinks = slopes = False

    def __post_init__(self) -> None:
        check(self.d, self.dtype)

    @property
    def window(self) -> bool:
        """As GpuAttention calls it."""
        return self.local

    @property
    def values(self) -> int:
        return self.d

    @property
    def features(self) -> int:
        return -(-self.d // 32)

    @property
    def heads(self) -> int:
        return _heads(self.heads_per_kv, _ACCUMULATORS // self.features)

    @property
    def symbol(self) -> str:
        return f"attention_both_d{self.d}_g{self.heads_per_kv}_{self.dtype}" + "_local" * self.local

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *tables, const int32_t *sequence, const int32_t *positions, "
            "const int32_t *starts, float *o, int32_t kv_heads, int32_t ldq, int32_t ldo, int32_t table_stride, "
            "int64_t page_bytes, float scale, int32_t reach, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch((f"kv_heads * {self.heads_per_kv // self.heads}", "n_tokens", "1"), 32 * WARPS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import attention_tir

        return attention_tir.both(self, device)


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
            "const float *states, const float *of_heads, float *o, int32_t heads, int32_t ldo, int32_t splits, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("heads", "n_tokens", "1"), 64)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import attention_tir

        return attention_tir.merge(self, device)
