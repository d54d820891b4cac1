"""The embedding: rows of a weight gathered from its tiles, so that a weight tied to lm_head is stored once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.kernels.base import Param, params
from llmc.ir.quant import Bytes, Format, dequantize

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.target import Isa

_PARAMS = params("const uint8_t *w, const int32_t *ids, float *y, int32_t k, int32_t ldy, float scale, int32_t lo, int32_t hi")


@dataclass(frozen=True)
class Embed:
    """y[t * ldy + c] = scale * W[ids[t]][c] for tokens [lo, hi); columns k..ldy become zero. ids are in range; k <= ldy."""

    format: Format

    @property
    def symbol(self) -> str:
        return f"embed_{self.format.name}"

    @property
    def params(self) -> tuple[Param, ...]:
        return _PARAMS

    def generate(self, isa: "Isa") -> "PrimFunc":
        from llmc.codegen.kernels import embed_tir

        return embed_tir.generate(self, isa)


def reference(fmt: Format, raw: Bytes, ids: NDArray[np.int32], k: int, scale: float = 1.0) -> NDArray[np.float32]:
    """raw u8: W[V, k] as the checkpoint stores it; ids i32 [T] -> y f32 [T, k], the very bits of the kernel."""
    rows = raw.reshape(-1, fmt.row_bytes(k))[ids]
    return dequantize(fmt, np.ascontiguousarray(rows)).reshape(len(ids), k) * np.float32(scale)
