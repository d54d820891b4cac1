"""The (token, slot) pairs of a step in the order of their experts, so that an expert's matrices are read once for all its tokens.

Two kernels: a block an expert counts its pairs and those of experts before it, and gives each a row; then one block cuts the rows
of each expert into token tiles. Pairs of an expert keep the order of their tokens: nothing depends on which thread comes first.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc
    from llmc.gpu import Device

_THREADS = 64


@dataclass(frozen=True)
class GpuExpertSort:
    """Of ids [T, ldi], `used` of each row: first[e] and count[e], the sorted rows of expert e; place[t * used + j], the row of
    each pair; source[row], its token. One block for each of `experts`."""

    @property
    def symbol(self) -> str:
        return "expert_sort"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const int32_t *ids, int32_t *first, int32_t *count, int32_t *place, int32_t *source, int32_t experts, int32_t used, "
            "int32_t ldi, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("experts", "1", "1"), _THREADS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def body(p: SimpleNamespace, t: "Thread") -> None:
            pairs = tir.let(p.n_tokens * p.used)
            each = simt.opaque((pairs + (_THREADS - 1)) // _THREADS)
            start = simt.opaque(tir.minimum(t.index * each, pairs))
            stop = simt.opaque(tir.minimum(start + each, pairs))
            before, mine = simt.register(tir.i32(0), "int32"), simt.register(tir.i32(0), "int32")

            def expert(pair: "Expr") -> "Expr":
                return tir.let(tir.load(p.ids, pair // p.used * p.ldi + pair % p.used))

            with tir.loop(start, stop) as pair:
                chosen = expert(pair)
                with tir.when(chosen < t.x):
                    tir.store(before, 0, before[0] + 1)
                with tir.when(chosen == t.x):
                    tir.store(mine, 0, mine[0] + 1)
            row, total, all_before = _scan(t, mine[0], before[0])
            with tir.when(t.index == 0):
                tir.store(p.first, t.x, all_before)
                tir.store(p.count, t.x, total)
            here = simt.register(all_before + row, "int32")
            with tir.loop(start, stop) as pair, tir.when(expert(pair) == t.x):
                tir.store(p.place, pair, here[0])
                tir.store(p.source, here[0], pair // p.used)
                tir.store(here, 0, here[0] + 1)

        return simt.device_func(self, device, body)


@dataclass(frozen=True)
class GpuExpertTiles:
    """Token tiles of `width` rows: tile_first[e], the first tile of expert e; tile_expert[i] for `tiles` tiles, -1 where there is
    none. One block; n_tokens is not looked at."""

    experts: int

    @property
    def symbol(self) -> str:
        return f"expert_tiles_{self.experts}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const int32_t *count, int32_t *tile_first, int32_t *tile_expert, int32_t width, int32_t tiles, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("1", "1", "1"), _THREADS)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        each = -(-self.experts // _THREADS)

        def body(p: SimpleNamespace, t: "Thread") -> None:
            def tiles_of(expert: "Expr") -> "Expr":
                return simt.opaque((tir.load(p.count, expert) + p.width - 1) // p.width)

            start = simt.opaque(tir.minimum(t.index * each, tir.i32(self.experts)))
            stop = simt.opaque(tir.minimum(start + each, tir.i32(self.experts)))
            mine = simt.register(tir.i32(0), "int32")
            with tir.loop(start, stop) as expert:
                tir.store(mine, 0, mine[0] + tiles_of(expert))
            before, total, _ = _scan(t, mine[0], tir.i32(0))
            tile = simt.register(before, "int32")
            with tir.loop(start, stop) as expert:
                tir.store(p.tile_first, expert, tile[0])
                with tir.loop(0, tiles_of(expert)) as i:
                    tir.store(p.tile_expert, tile[0] + i, expert)
                tir.store(tile, 0, tile[0] + tiles_of(expert))
            t.strided(tir.let(p.tiles - total), lambda i: tir.store(p.tile_expert, total + i, tir.i32(-1)))

        return simt.device_func(self, device, body)


def _scan(t: "Thread", mine: "Expr", other: "Expr") -> tuple["Expr", "Expr", "Expr"]:
    """The sum of `mine` over the threads before this one, over all threads, and that of `other`; every thread must call it."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    counts, others = simt.shared(t.threads, "int32"), simt.shared(t.threads, "int32")
    tir.store(counts, t.index, mine)
    tir.store(others, t.index, other)
    t.sync()
    before, total, sum_of_others = (simt.register(tir.i32(0), "int32") for _ in range(3))
    with tir.loop(0, t.threads) as i:
        with tir.when(i < t.index):
            tir.store(before, 0, before[0] + counts[i])
        tir.store(total, 0, total[0] + counts[i])
        tir.store(sum_of_others, 0, sum_of_others[0] + others[i])
    return tir.let(before[0]), tir.let(total[0]), tir.let(sum_of_others[0])
