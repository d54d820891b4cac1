"""The embedding on a GPU: a row gathered from its weight's tiles (codegen/kernels/embed.py). A block a token."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.embed import reference
from llmc.ir.quant import Format

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc
    from llmc.gpu import Device

__all__ = ["GpuEmbed", "reference"]


@dataclass(frozen=True)
class GpuEmbed:
    """y[t, c] = scale * W[ids[t]][c] for k columns, rows of y ldy apart."""

    format: Format

    @property
    def symbol(self) -> str:
        return f"embed_{self.format.name}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("const uint8_t *w, const int32_t *ids, float *y, int32_t k, int32_t ldy, float scale, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 64)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt
        from llmc.codegen.gpu.kernels.weights import columns, units_of
        from llmc.ir.tiles import ROWS

        def body(p: SimpleNamespace, t: "Thread") -> None:
            token = tir.let(tir.load(p.ids, t.x))

            def put(column: "Expr", weights: "list[Expr]") -> None:
                for n, weight in enumerate(weights):
                    tir.store(p.y, t.x * p.ldy + column + n, weight * p.scale)

            def unit(i: "Expr") -> None:
                columns(simt.lane(device), self.format, p.w, token // ROWS, p.k, i, token % ROWS, put)

            t.strided(tir.let(units_of(self.format, p.k)), unit)

        return simt.device_func(self, device, body)
