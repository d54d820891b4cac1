"""RMS norm of groups of columns with a gate before or after it, on a GPU (codegen/kernels/gated_norm.py). A block a group."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.gated_norm import GATES

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc
    from llmc.gpu import Device


@dataclass(frozen=True)
class GpuGatedNorm:
    """In place, for `groups` groups of d columns of every token: x = rms_norm(x) w silu(z), or of x silu(z) if the gate is
    "before" the norm. The weights of group g are at w + g * w_stride; x and z have rows of ldx columns."""

    d: int
    gate: str

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise ValueError(f"a gate {self.gate!r} the norm; there are {GATES}")

    @property
    def symbol(self) -> str:
        return f"gated_norm_{self.d}_{self.gate}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const float *z, const float *w, int32_t groups, int32_t w_stride, int32_t ldx, float eps, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("groups", "n_tokens", "1"), 32 * min(8, -(-self.d // 32)))

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt
        from llmc.codegen.gpu.kernels.elementwise import activated

        def body(p: SimpleNamespace, t: "Thread") -> None:
            start = tir.let(t.y * p.ldx + t.x * self.d)
            total = simt.register(tir.f32(0.0))

            def gate(i: "Expr") -> "Expr":
                return activated("silu", tir.let(tir.load(p.z, start + i)), None)

            def value(i: "Expr") -> "Expr":
                x = tir.load(p.x, start + i)
                return tir.let(x * gate(i) if self.gate == "before" else x)

            def square(i: "Expr") -> None:
                v = value(i)
                tir.store(total, 0, total[0] + v * v)

            t.strided(self.d, square)
            factor = tir.let(simt.rsqrt(t.sum_block(total[0]) / tir.f32(self.d) + p.eps))

            def write(i: "Expr") -> None:
                normed = value(i) * factor * tir.load(p.w, t.x * p.w_stride + i)
                tir.store(p.x, start + i, normed * gate(i) if self.gate == "after" else normed)

            t.strided(self.d, write)

        return simt.device_func(self, device, body)
