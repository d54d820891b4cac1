"""The work of one thread for GpuBest: round after round the block finds the best that is worse than the one found before."""

from types import SimpleNamespace
from typing import TYPE_CHECKING

from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.simt import Thread, device_func, register, shared
from llmc.codegen.tir import Expr, PrimFunc, View, f32, i32, let, load, loop, store, when
from llmc.gpu import Device

if TYPE_CHECKING:
    from llmc.codegen.gpu.kernels.best import GpuBest

_HIGHEST, _LOWEST = float("inf"), float("-inf")
_NO_ID = 2**31 - 1


def best(spec: "GpuBest", device: Device) -> PrimFunc:
    return device_func(spec, device, lambda p, t: _Block(spec, p, t).emit())


class _Block:
    """The kernel being written. A score with its id is `better` than another; every block knows which one it found last."""

    def __init__(self, spec: "GpuBest", p: SimpleNamespace, t: Thread) -> None:
        self.spec, self.p, self.t = spec, p, t
        self.warp_scores, self.warp_ids = shared(t.warps, "float32"), shared(t.warps, "int32")
        self.last_score, self.last_id = register(f32(_HIGHEST)), register(i32(-1), "int32")
        self.score, self.id = register(f32(_LOWEST)), register(i32(_NO_ID), "int32")

    def emit(self) -> None:
        from llmc.codegen.gpu.kernels.best import PART

        p, t = self.p, self.t
        self.start = let(t.x * PART) if self.spec.first else i32(0)
        self.size = let(tir.minimum(p.n - self.start, i32(PART))) if self.spec.first else p.n
        with loop(0, p.count) as place:
            self.scan()
            self.join_lanes()
            self.join_warps()
            with when(t.index == 0):
                at = let((t.y * p.parts + t.x) * p.count + place)
                store(p.scores, at, self.last_score[0])
                store(p.ids, at, self.last_id[0])

    def scan(self) -> None:
        """This thread's best of those that come after the last one."""
        p, t = self.p, self.t
        store(self.score, 0, f32(_LOWEST))
        store(self.id, 0, i32(_NO_ID))

        def look(i: Expr) -> None:
            at = let(t.y * p.ldx + self.start + i)
            value = let(load(p.x, at))
            score = let(T.if_then_else(value == value, value, f32(_LOWEST)))
            number = let(self.start + i) if self.spec.first else let(load(p.x_ids, at))
            with when(_better(self.last_score[0], self.last_id[0], score, number)):
                self.take(score, number)

        t.strided(self.size, look)

    def take(self, score: Expr, number: Expr) -> None:
        with when(_better(score, number, self.score[0], self.id[0])):
            store(self.score, 0, score)
            store(self.id, 0, number)

    def join_lanes(self) -> None:
        """The best of the warp, in all its lanes."""
        for mask in (16, 8, 4, 2, 1):
            score = let(self.t.xor(self.score[0], mask))
            moved = let(self.t.xor(tir.bits(let(self.id[0]), "float32"), mask))
            number = let(tir.bits(moved, "int32"))
            self.take(score, number)

    def join_warps(self) -> None:
        """The best of the block becomes the last one."""
        t = self.t
        t.sync()  # what was found before may still be read
        with when(t.lane == 0):
            store(self.warp_scores, t.warp, self.score[0])
            store(self.warp_ids, t.warp, self.id[0])
        t.sync()
        for w in range(t.warps):
            self.take(self.warp_scores[w], self.warp_ids[w])
        _move(self.last_score, self.score)
        _move(self.last_id, self.id)


def _move(to: View, source: View) -> None:
    store(to, 0, source[0])


def _better(score: Expr, number: Expr, than_score: Expr, than_number: Expr) -> Expr:
    return T.Or(score > than_score, T.And(score == than_score, number < than_number))
