"""The scan of Mamba on a GPU (codegen/kernels/selective_scan.py): a thread a channel, its features in registers."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels import states
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

_THREADS = 64


@dataclass(frozen=True)
class GpuSelectiveScan:
    """dt = softplus(dt[t]);  s = exp(dt a) s + dt x[t] b[t];  y[t] = d x[t] + the sum over features of s c[t], for every channel.

    x, dt and y have rows of `ld` columns, b and c of `ldb`; a is [features][ld], d [ld]; state: [features][ld].
    The reference is compiler/ir/recurrence.py, `selective_scan`.
    """

    features: int

    @property
    def symbol(self) -> str:
        return f"selective_scan_{self.features}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *b, const float *c, const float *a, const float *d, float *y, "
            f"{states.PARAMS}, int32_t ld, int32_t ldb, int32_t n_seqs"
        )

    @property
    def launch(self) -> Launch:
        return Launch((f"(ld + {_THREADS - 1}) / {_THREADS}", "n_seqs", "1"), _THREADS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def body(p: SimpleNamespace, t: "Thread") -> None:
            channel = tir.let(t.x * _THREADS + t.index)
            state, start = states.slot(p, t.y)
            first, end = states.tokens(p, t.y)
            with tir.when(channel < p.ld):
                places = [tir.let(start + tir.i64(n * p.ld + channel)) for n in range(self.features)]
                decays = [tir.let(tir.load(p.a, n * p.ld + channel)) for n in range(self.features)]
                skip = tir.let(tir.load(p.d, channel))
                s = simt.registers(self.features, [tir.load(state, place) for place in places])
                with tir.loop(first, end) as token:
                    at = tir.let(token * p.ld + channel)
                    x, dt = tir.let(tir.load(p.x, at)), tir.let(simt.softplus(tir.load(p.dt, at)))
                    total, step, row = simt.register(tir.f32(0.0)), tir.let(dt * x), tir.let(token * p.ldb)
                    for n in range(self.features):
                        tir.store(s, n, simt.exp(dt * decays[n]) * s[n] + step * tir.load(p.b, row + n))
                        tir.store(total, 0, total[0] + s[n] * tir.load(p.c, row + n))
                    tir.store(p.y, at, total[0] + skip * x)
                for n, place in enumerate(places):
                    tir.store(state, place, s[n])

        return simt.device_func(self, device, body)
