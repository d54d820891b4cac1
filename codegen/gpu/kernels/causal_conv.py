"""Depthwise causal convolution on a GPU, the last inputs kept between steps (codegen/kernels/causal_conv.py): a thread each."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels import states
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.causal_conv import CausalConv, reference

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

__all__ = ["GpuCausalConv", "reference"]

_THREADS = 128


@dataclass(frozen=True)
class GpuCausalConv:
    """y of every token of every sequence as `of` says; operands are its own, but that state lies as states.py says."""

    of: CausalConv
    bias: bool

    @property
    def symbol(self) -> str:
        return self.of.symbol + "_bias" * self.bias

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *before, const float *after, const float *w, const float *b, float *y, "
            f"{states.PARAMS}, int32_t ld, int32_t n_seqs"
        )

    @property
    def launch(self) -> Launch:
        return Launch((f"(ld + {_THREADS - 1}) / {_THREADS}", "n_seqs", "1"), _THREADS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt
        from llmc.codegen.gpu.kernels.elementwise import activated

        taps = self.of.taps

        def body(p: SimpleNamespace, t: "Thread") -> None:
            column = tir.let(t.x * _THREADS + t.index)
            state, start = states.slot(p, t.y)
            first, end = states.tokens(p, t.y)
            with tir.when(column < p.ld):
                places = [tir.let(start + tir.i64(j * p.ld + column)) for j in range(taps - 1)]
                weights = [tir.let(tir.load(p.w, j * p.ld + column)) for j in range(taps)]
                bias = tir.let(tir.load(p.b, column)) if self.bias else tir.f32(0.0)
                past = simt.registers(taps - 1, [tir.load(state, place) for place in places])
                with tir.loop(first, end) as token:
                    at = tir.let(token * p.ld + column)
                    new = tir.load(p.x, at)
                    new = tir.let(new * tir.load(p.before, at) if self.of.gated else new)
                    inputs = [*(tir.let(past[j]) for j in range(taps - 1)), new]
                    total = tir.let(sum((i * w for i, w in zip(inputs, weights, strict=True)), bias))
                    value = activated(self.of.function, total, None) if self.of.function else total
                    tir.store(p.y, at, value * tir.load(p.after, at) if self.of.gated else value)
                    for j in range(taps - 1):
                        tir.store(past, j, inputs[j + 1])
                for j, place in enumerate(places):
                    tir.store(state, place, past[j])

        return simt.device_func(self, device, body)
