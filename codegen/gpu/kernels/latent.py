"""The cache of latents and the matrices of heads around it, on a GPU (kernels/latent_append.py, runtime/src/ops_latent.h)."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels.kv_append import page, stored
from llmc.codegen.gpu.kernels.linear import WIDTHS, threads
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.kernels.latent_append import LatentAppend
from llmc.ir.quant import Format

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc
    from llmc.gpu import Device


@dataclass(frozen=True)
class GpuLatentAppend:
    """Writes token t's vector [d] into its page, [64][d]: latent [T, ldk], then rotated [T, ldv], then zeros. A block a token."""

    of: LatentAppend

    @property
    def symbol(self) -> str:
        return self.of.symbol

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *latent, const float *rotated, uint8_t *kv, const int32_t *tables, const int32_t *sequence, "
            "const int32_t *positions, int32_t ldk, int32_t ldv, int32_t table_stride, int64_t page_bytes, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 128)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        of = self.of

        def body(p: SimpleNamespace, t: "Thread") -> None:
            position = tir.let(tir.load(p.positions, t.x))
            cache, start = page(p.kv, p, tir.load(p.sequence, t.x), position, of.dtype)
            row = tir.let(start + tir.i64(position % PAGE_TOKENS * of.d))

            def put(i: "Expr", value: "Expr") -> None:
                tir.store(cache, row + tir.i64(i), stored(device, value, of.dtype))

            t.strided(of.latent, lambda i: put(i, tir.load(p.latent, t.x * p.ldk + i)))
            if of.rotated:
                t.strided(of.rotated, lambda i: put(i + of.latent, tir.load(p.rotated, t.x * p.ldv + i)))
            if of.d > of.latent + of.rotated:
                first = of.latent + of.rotated
                zero = tir.f32(0.0) if of.dtype == "f32" else tir.const(0, "uint16")
                t.strided(of.d - first, lambda i: tir.store(cache, row + tir.i64(i + first), zero))

        return simt.device_func(self, device, body)


@dataclass(frozen=True)
class GpuHeadLinear:
    """y[t, h * width ..] = W[h] x[t, h * k ..], n rows of it; then `tail` columns of head h of row t of `beside`; then zeros.

    A matrix of `tiles` row tiles for each head, one after the other; token tiles of `p`, as for GpuLinear. A block a row tile of
    a head; the first of a head also writes what follows the product.
    """

    format: Format
    p: int

    def __post_init__(self) -> None:
        if self.p not in WIDTHS:
            raise ValueError(f"a token tile has {WIDTHS} tokens, not {self.p}")

    @property
    def symbol(self) -> str:
        return f"head_linear_{self.format.name}_p{self.p}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const uint8_t *w, const float *x, const float *beside, float *y, int32_t heads, int32_t n, int32_t k, "
            "int32_t width, int32_t tail, int32_t tiles, int32_t ldx, int32_t ldb, int32_t ldy, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("heads * tiles", f"(n_tokens + {self.p - 1}) / {self.p}", "1"), threads(self.p))

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import latent_tir

        return latent_tir.head_linear(self, device)
