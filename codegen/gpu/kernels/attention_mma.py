"""Causal attention of many tokens over the paged cache on the matrix units of CUDA devices (templates/cuda/attention.cuh)."""

from dataclasses import dataclass

from llmc.codegen.gpu.spec import CudaSpec, Launch
from llmc.codegen.kernels.base import Param, params

TOKENS_OF_A_SEQUENCE = 16  # on average, from which a warp's rows are mostly of one sequence
_WIDEST, _WIDE = 256, 128  # features of a head


@dataclass(frozen=True)
class GpuAttentionMma(CudaSpec):
    """o[t, h*d ..] for token t and query head h, from a cache of f16; parameters as for GpuAttention.

    heads_per_kv query heads share a KV head. softcap and window: 0 for none. sinks: f32 [heads] or NULL.
    """

    d: int
    headers = ("attention.cuh",)

    def __post_init__(self) -> None:
        if not fits(self.d, "f16"):
            raise ValueError(f"heads of {self.d} features do not fit matrix units")

    @property
    def symbol(self) -> str:
        return f"attention_mma_d{self.d}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *q, const uint8_t *kv, const int32_t *tables, const int32_t *sequence, const int32_t *positions, "
            "const float *sinks, float *o, int32_t kv_heads, int32_t heads_per_kv, int32_t ldq, int32_t ldo, "
            "int32_t table_stride, int64_t page_bytes, float scale, float softcap, int32_t window, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("(n_tokens + 63) / 64", "kv_heads * heads_per_kv", "1"), 128)

    @property
    def blocks_per_processor(self) -> int:
        return 2

    @property
    def call(self) -> str:
        keys = 64 if self.d <= _WIDE else 32
        return f"llmc::attention<{self.d}, {keys}>({{{', '.join(p.name for p in self.params)}}});"


def fits(d: int, dtype: str) -> bool:
    """Whether heads of `d` features, cached as `dtype`, are whole products."""
    return dtype == "f16" and d % 16 == 0 and d <= _WIDEST
