"""Products with the matrices of the experts that tokens were sent to, and the sum of what a token's experts made.

Two ways through, of the same arithmetic. A few tokens: each (token, slot) pair is a token tile of its own, and only matrices
that are used are read. Many tokens: pairs lie expert by expert (expert_sort.py), in token tiles of one expert. A block computes
one row tile for one token tile, as for a linear (linear.py).
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels.linear import threads
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.ir.quant import Format

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

WIDTH = 8  # tokens of a tile where pairs are sorted
WIDTHS = (1, WIDTH)
FUNCTIONS = ("", "silu", "clamped_silu")


@dataclass(frozen=True)
class GpuExpertLinear:
    """Rows of y [pairs, ldy] from the matrices of the experts, one after the other, `tiles` row tiles each; biases alike.

    Two formats, with a `function`: y = function(gate) * up, where gate and up are products with a token's row of x. One format:
    y = the product with the pair's own row of x. p 1: pair i goes to expert ids[i / used, i % used], ids [T, ldi]. Else token
    tile i is of expert tile_expert[i], if not -1, and what is sorted is as GpuExpertSort and GpuExpertTiles leave it.
    """

    formats: tuple[Format, ...]
    p: int
    bias: bool
    function: str = ""

    def __post_init__(self) -> None:
        if self.p not in WIDTHS or self.function not in FUNCTIONS or len(self.formats) != (2 if self.function else 1):
            raise ValueError(f"a product of experts with {len(self.formats)} matrices, {self.function!r} and {self.p} tokens")

    @property
    def symbol(self) -> str:
        formats = "_".join(dict.fromkeys(fmt.name for fmt in self.formats))
        return f"experts_{formats}_p{self.p}" + (f"_{self.function}" if self.function else "") + "_bias" * self.bias

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const uint8_t *w, const uint8_t *up, const float *x, const float *bias, const float *up_bias, float *y, "
            "const int32_t *ids, const int32_t *first, const int32_t *count, const int32_t *source, const int32_t *tile_first, "
            "const int32_t *tile_expert, int32_t k, int32_t tiles, int32_t ldx, int32_t ldy, int32_t ldi, int32_t used, "
            "int32_t token_tiles, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("tiles", "token_tiles", "1"), threads(self.p))

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import experts_tir

        return experts_tir.generate(self, device)


@dataclass(frozen=True)
class GpuExpertSum:
    """y[t] = the sum over slots j of weights[t, j] * rows[place[t * used + j]], in order; not `placed`: rows[t * used + j]."""

    placed: bool

    @property
    def symbol(self) -> str:
        return "expert_sum" + "_placed" * self.placed

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *rows, const int32_t *place, const float *weights, float *y, int32_t n, int32_t used, int32_t ldr, "
            "int32_t ldw, int32_t ldy, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("(n + 255) / 256", "n_tokens", "1"), 256)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def body(p: SimpleNamespace, t: "Thread") -> None:
            column = tir.let(t.x * t.threads + t.index)
            total = simt.register(tir.f32(0.0))
            with tir.when(column < p.n):
                with tir.loop(0, p.used) as slot:
                    pair = tir.let(t.y * p.used + slot)
                    row = tir.load(p.place, pair) if self.placed else pair
                    at = tir.i64(row) * tir.i64(p.ldr) + tir.i64(column)
                    tir.store(total, 0, total[0] + tir.load(p.weights, t.y * p.ldw + slot) * tir.load(p.rows, at))
                tir.store(p.y, t.y * p.ldy + column, total[0])

        return simt.device_func(self, device, body)
