"""The attention kernel. Per page of 64 keys: scores of all rows, softmax of each row, sum of values for all rows.

Scores and sums are register tiles of some rows by some vectors, so that a loaded key or value serves several rows and enough sums
are in flight to hide the latency of FMA. Rows are split into register tiles as evenly as possible; the split changes nothing in a
row's own arithmetic. Keys are read while the page's values are on their way from memory, values while the next page's keys are:
without that the two streams, 16 KiB long each, reach half of the memory bandwidth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.attention import PARTITION_TOKENS, Attention
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.kernels.kv_pages import KvPages
from llmc.codegen.tir import Expr, f32, i32, i64, let, load, loop, splat, store
from llmc.target import Isa

LOG2_E = 1.4426950408889634
NOTHING = -3.0e38  # the maximum of no scores; finite, so that differences of maxima are numbers
_PAGES = PARTITION_TOKENS // PAGE_TOKENS  # of a partition


@dataclass(frozen=True)
class RegisterTile:
    rows: int
    vectors: int


# By lanes of a vector. GFLOP/s of one Sapphire Rapids core (FMA alone: 207), d = 128, heads_per_kv 4, f16.
# AVX-512, tiles of 4 tokens: 6x4 121, 4x4 111, 8x2 123; single tokens: 110, 109, 103.
# 8 lanes: 5x2 71, 4x2 71, 6x2 70, 3x4 63; 4 lanes: 4x2 17, 6x2 17, 3x2 13, 2x4 13.
_TILES = {16: RegisterTile(6, 4), 8: RegisterTile(5, 2), 4: RegisterTile(4, 2)}


def generate(spec: Attention, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: AttentionKernel(spec, isa, p).emit())


class _State:
    """What a softmax over some keys has come to, per row. z is kept per lane until it is needed: `z_lanes` wide."""

    def __init__(self, rows: int, d: int, z_lanes: int) -> None:
        self.m = tir.local(rows, "float32")
        self.z = tir.local(rows * z_lanes, "float32")
        self.acc = tir.local(rows * d, "float32")


class AttentionKernel:
    """One kernel being written. Buffers of rows are [rows][d] or [rows][64]."""

    def __init__(self, spec: Attention, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.rows, self.d, self.lanes = spec.rows, spec.d, isa.lanes
        self.tile = _TILES[isa.lanes]
        self.cache = KvPages(isa, spec.d, spec.dtype, p, p.kv_heads)
        self.q = tir.local(self.rows * self.d, "float32")  # times scale and log2(e)
        self.scores = tir.local(self.rows * PAGE_TOKENS, "float32")  # then probabilities
        self.shrink = tir.local(self.rows, "float32")  # what the page's larger maximum makes of earlier sums
        self.part = _State(self.rows, self.d, self.lanes)  # of this partition
        self.total = _State(self.rows, self.d, 1)  # of the partitions before

    def emit(self) -> None:
        p, tokens = self.p, self.spec.tokens
        with loop(p.kv_lo, p.kv_hi) as head, loop(0, (p.tok_hi - p.tok_lo) // tokens) as tile:
            self.head = head
            self.token = let(p.tok_lo + tile * tokens)
            self.find_pages()
            self.load_queries()
            first = let(tir.shifted(self.first_page, -3))
            with loop(0, tir.shifted(self.last_page, -3) + 1 - first) as round:
                self.partition(let(first + round))
                self.merge(round)
            self.write()

    def find_pages(self) -> None:
        """The tile's first position, and the first and last page that it looks at."""
        self.position = let(load(self.p.positions, self.token))
        self.last_page = let(tir.shifted(self.position + (self.spec.tokens - 1), -6))
        self.first_page = self.oldest_page() if self.spec.window else i32(0)

    def oldest_page(self) -> Expr:
        """The page of the oldest key that the tile's first token sees; the others see no older one."""
        if self.spec.chunked:
            return let(tir.shifted(self.position - self.position % self.p.window, -6))
        return let(tir.shifted(tir.maximum(i32(0), self.position + 1 - self.p.window), -6))

    def of_row(self, row: Expr, ld: Expr) -> Expr:
        """Where the query head and token of a row start in q or o."""
        heads = self.spec.heads_per_kv
        return let(i64(self.token + row // heads) * i64(ld) + i64((self.head * heads + row % heads) * self.d))

    def load_queries(self) -> None:
        factor = let(self.p.scale / self.p.softcap if self.spec.softcap else self.p.scale * f32(LOG2_E))
        with loop(0, self.rows) as row:
            start = self.of_row(row, self.p.ldq)

            def scaled(at: Expr, width: int) -> None:
                store(self.q, row * self.d + at, load(self.p.q, start + i64(at), width) * splat(factor, width))

            tir.cover(self.d, self.lanes, scaled)

    # A partition: its state from its pages ---------------------------------------------------------------------------

    def partition(self, partition: Expr) -> None:
        start = let(tir.maximum(self.first_page, partition * _PAGES))
        with loop(0, tir.minimum(partition * _PAGES + _PAGES, self.last_page + 1) - start) as index:
            number = let(start + index)
            page, following = let(self.cache.page(number)), let(self.cache.page(tir.minimum(number + 1, self.last_page)))
            keys, values = let(self.cache.keys(page, self.head)), let(self.cache.values(page, self.head))
            if self.cache.quantised:
                self.scales_at = let(self.cache.key_scales(page, self.head)), let(self.cache.value_scales(page, self.head))
            self.begin_page(number)
            visible = let(self.position + 1 - number * PAGE_TOKENS)  # keys of this page for the tile's first token, if in 0..64
            self.page_scores(keys, values)
            with loop(0, self.rows) as row:
                if self.spec.of_heads == "slopes":
                    self.slope(row, let(visible + row // self.spec.heads_per_kv))
                self.softmax(row, index, let(visible + row // self.spec.heads_per_kv))
            self.page_values(values, let(self.cache.keys(following, self.head)), index, visible)

    def begin_page(self, number: Expr) -> None:
        """For kernels that need to know where they are."""
        if self.spec.chunked:
            self.page_start = let(number * PAGE_TOKENS)  # a position

    def up_to_last(self, keys: Expr) -> Expr:
        """`keys` of this page, or as many as there are: values past the last key are not read."""
        return keys

    def page_scores(self, keys: Expr, ahead: Expr) -> None:
        width = self.tile.vectors * self.lanes
        for first, rows, count in _split(self.rows, self.tile.rows):
            with loop(0, count) as group, loop(0, PAGE_TOKENS // width) as part:
                self.score_tile(let(first + group * rows), rows, let(part * width), keys, ahead if first == 0 else None)

    def score_tile(self, row: Expr, rows: int, key: Expr, keys: Expr, ahead: Expr | None) -> None:
        """Scores of some rows for some vectors of keys, features ascending."""
        tile = _Registers(rows, [(i * self.lanes, self.lanes) for i in range(self.tile.vectors)])
        tile.clear()
        with loop(0, self.d) as i:
            offset = let(i64(i * PAGE_TOKENS + key))
            self.prefetch(ahead, offset, tile.width)
            columns = [let(self.cache.read(keys + offset + at, width)) for at, width in tile.columns]
            tile.add(self.isa, columns, [load(self.q, (row + r) * self.d + i) for r in range(rows)])
        for r, at, value in tile.values():
            store(self.scores, (row + r) * PAGE_TOKENS + key + at, self.scaled(value, 0, key + at))

    def scaled(self, value: Expr, which: int, key: Expr) -> Expr:
        """Lanes of keys from `key` on, times the scales that a quantised cache has for their keys (0) or values (1)."""
        if not self.cache.quantised:
            return value
        lanes = tir.shape(value)[1]
        return value * load(self.cache.scales, self.scales_at[which] + i64(key), lanes)

    def slope(self, row: Expr, visible: Expr) -> None:
        """Takes from each score of a row its head's slope times how far the key lies back; `visible` - 1 is the row's own key."""
        lanes, heads = self.lanes, self.spec.heads_per_kv
        slope = let(load(self.p.of_heads, self.head * heads + row % heads) * f32(LOG2_E))
        with loop(0, PAGE_TOKENS // lanes) as i:
            at = let(row * PAGE_TOKENS + i * lanes)
            ahead = tir.convert(tir.counting(i * lanes, lanes) - splat(visible - 1, lanes), "float32")
            store(self.scores, at, tir.fma(self.isa, ahead, splat(slope, lanes), load(self.scores, at, lanes)))

    def softmax(self, row: Expr, index: Expr, visible: Expr) -> None:
        """Scores of one row become probabilities against its new maximum; keys from `visible` on are not there."""
        lanes, state = self.lanes, self.part
        largest = let(self.largest_score(row, visible))
        before = let(tir.select(index == 0, f32(NOTHING), load(state.m, row)))
        m = let(tir.maximum(before, largest))
        shrink = let(tir.exp2(self.isa, before - m))
        store(state.m, row, m)
        store(self.shrink, row, shrink)
        total = tir.local(lanes, "float32")
        store(total, 0, f32(0.0, lanes))
        with loop(0, PAGE_TOKENS // lanes) as i:
            at = let(row * PAGE_TOKENS + i * lanes)
            power = let(tir.exp2(self.isa, load(self.scores, at, lanes) - splat(m, lanes)))
            p = let(self.where_seen(i * lanes, visible, power, 0.0))
            store(self.scores, at, self.weight(p, i * lanes, visible))
            store(total, 0, load(total, 0, lanes) + p)
        z = _unless_first(index, load(state.z, row * lanes, lanes), 0.0)
        store(state.z, row * lanes, tir.fma(self.isa, z, splat(shrink, lanes), load(total, 0, lanes)))

    def weight(self, p: Expr, key: Expr, visible: Expr) -> Expr:
        """What stored values are multiplied by. The scale of a key that is not there may be anything, and is not looked at."""
        if not self.cache.quantised:
            return p
        return self.where_seen(key, visible, let(self.scaled(p, 1, key)), 0.0)

    def largest_score(self, row: Expr, visible: Expr) -> Expr:
        lanes = self.lanes
        largest = tir.local(lanes, "float32")
        store(largest, 0, f32(NOTHING, lanes))
        with loop(0, PAGE_TOKENS // lanes) as i:
            at = let(row * PAGE_TOKENS + i * lanes)
            score = load(self.scores, at, lanes)
            if self.spec.softcap:
                score = let(tir.tanh(self.isa, score) * splat(self.p.softcap * f32(LOG2_E), lanes))
                store(self.scores, at, score)
            score = let(self.where_seen(i * lanes, visible, score, NOTHING))
            store(largest, 0, tir.maximum(load(largest, 0, lanes), score))
        return tir.reduce_max(load(largest, 0, lanes))

    def where_seen(self, key: Expr, visible: Expr, value: Expr, otherwise: float) -> Expr:
        """`value` in the lanes of keys, counted from `key` on, that a row with `visible` keys up to its own sees."""
        lanes = self.lanes
        value = tir.select(tir.counting(key, lanes) < splat(visible, lanes), value, f32(otherwise, lanes))
        if not self.spec.window:
            return value
        return tir.select(tir.counting(key, lanes) >= splat(self.oldest_key(visible), lanes), let(value), f32(otherwise, lanes))

    def oldest_key(self, visible: Expr) -> Expr:
        """The first key of the row's window, counted from the page's first; negative where it lies before the page."""
        if self.spec.chunked:
            return visible - 1 - (self.page_start + visible - 1) % self.p.window
        return visible - self.p.window

    def page_values(self, values: Expr, ahead: Expr, index: Expr, visible: Expr) -> None:
        for first, rows, count in _split(self.rows, self.tile.rows):
            with loop(0, count) as group:
                row = let(first + group * rows)
                last = let(self.up_to_last(visible + (row + (rows - 1)) // self.spec.heads_per_kv))
                keys = let(tir.maximum(i32(0), tir.minimum(i32(PAGE_TOKENS), last)))
                for column, columns in self.column_tiles():
                    self.value_tile(row, column, _Registers(rows, columns), keys, values, ahead if first == 0 else None, index)

    def column_tiles(self) -> Iterator[tuple[Expr, list[tuple[int, int]]]]:
        """Where each register tile of features starts, and its vectors (start, width). Tiles of a loop are yielded inside it."""
        whole, rest = divmod(self.d, self.lanes)
        for first, vectors, count in _split(whole, self.tile.vectors):
            with loop(0, count) as i:
                yield let((first + i * vectors) * self.lanes), [(v * self.lanes, self.lanes) for v in range(vectors)]
        if rest:
            yield i32(whole * self.lanes), tir.narrower(0, rest, self.lanes // 2)

    def value_tile(
        self, row: Expr, column: Expr, tile: "_Registers", keys: Expr, values: Expr, ahead: Expr | None, index: Expr
    ) -> None:
        """acc = shrink * acc + p . v for some rows and features, keys ascending."""
        for r, at, width in tile.each():
            old = load(self.part.acc, (row + r) * self.d + column + at, width) * splat(load(self.shrink, row + r), width)
            tile.put(r, at, _unless_first(index, old, 0.0))
        with loop(0, keys) as key:
            offset = let(i64(key * self.d + column))
            self.prefetch(ahead, offset, tile.width)
            columns = [let(self.cache.read(values + offset + at, width)) for at, width in tile.columns]
            tile.add(self.isa, columns, [load(self.scores, (row + r) * PAGE_TOKENS + key) for r in range(tile.rows)])
        for r, at, value in tile.values():
            store(self.part.acc, (row + r) * self.d + column + at, value)

    def prefetch(self, stream: Expr | None, offset: Expr, elements: int) -> None:
        """Asks for as much of the stream to come as is being read now."""
        if stream is None:
            return
        size = 1 << self.cache.log2_bytes
        for at in range(0, elements, tir.CACHE_LINE // size):
            tir.prefetch(self.cache.memory, stream + offset + at)

    # The partitions together -----------------------------------------------------------------------------------------

    def merge(self, partition: Expr) -> None:
        """Adds the partition's state to the total."""
        with loop(0, self.rows) as row:
            before = let(tir.select(partition == 0, f32(NOTHING), load(self.total.m, row)))
            mine = let(load(self.part.m, row))
            m = let(tir.maximum(before, mine))
            old, new = let(tir.exp2(self.isa, before - m)), let(tir.exp2(self.isa, mine - m))
            z = tir.reduce_add(load(self.part.z, row * self.lanes, self.lanes))
            store(self.total.m, row, m)
            store(self.total.z, row, tir.fma(self.isa, _unless_first(partition, load(self.total.z, row), 0.0), old, z * new))

            def add(at: Expr, width: int) -> None:
                at = let(row * self.d + at)
                acc = _unless_first(partition, load(self.total.acc, at, width), 0.0)
                added = load(self.part.acc, at, width) * splat(new, width)
                store(self.total.acc, at, tir.fma(self.isa, acc, splat(old, width), added))

            tir.cover(self.d, self.lanes, add)

    def write(self) -> None:
        """acc / z. A zero is written as +0: its sign is the one thing that masked keys may change in a sum."""
        with loop(0, self.rows) as row:
            start = self.of_row(row, self.p.ldo)
            share = let(self.share_with_sink(row) if self.spec.of_heads == "sinks" else f32(1.0) / load(self.total.z, row))

            def divided(at: Expr, width: int) -> None:
                acc = load(self.total.acc, row * self.d + at, width)
                store(self.p.o, start + i64(at), tir.fma(self.isa, acc, splat(share, width), f32(0.0, width)))

            tir.cover(self.d, self.lanes, divided)

    def share_with_sink(self, row: Expr) -> Expr:
        """1 / (z + 2^(sink - m)) where that may overflow: against the larger of m and the sink, which has no value to add."""
        m, heads = let(load(self.total.m, row)), self.spec.heads_per_kv
        sink = let(load(self.p.of_heads, self.head * heads + row % heads) * f32(LOG2_E))
        top = let(tir.maximum(m, sink))
        shrink, own = let(tir.exp2(self.isa, m - top)), let(tir.exp2(self.isa, sink - top))
        return shrink / let(tir.fma(self.isa, load(self.total.z, row), shrink, own))


class _Registers:
    """Sums of `rows` rows by the vectors `columns` (start, width); constant indices, so LLVM keeps them in registers."""

    def __init__(self, rows: int, columns: Sequence[tuple[int, int]]) -> None:
        self.rows, self.columns = rows, columns
        self.width = sum(width for _, width in columns)
        self.sums = tir.local(rows * self.width, "float32")

    def each(self) -> Iterator[tuple[int, int, int]]:
        """(row, start, width) of every vector."""
        return ((r, at, width) for r in range(self.rows) for at, width in self.columns)

    def put(self, row: int, at: int, value: Expr) -> None:
        store(self.sums, row * self.width + at, value)

    def clear(self) -> None:
        for r, at, width in self.each():
            self.put(r, at, f32(0.0, width))

    def add(self, isa: Isa, columns: Sequence[Expr], factors: Sequence[Expr]) -> None:
        """Row r gains factors[r] * columns."""
        for r, factor in enumerate(let(f) for f in factors):
            for (at, width), column in zip(self.columns, columns, strict=True):
                self.put(r, at, tir.fma(isa, column, splat(factor, width), load(self.sums, r * self.width + at, width)))

    def values(self) -> Iterator[tuple[int, int, Expr]]:
        """(row, start, sum)."""
        return ((r, at, load(self.sums, r * self.width + at, width)) for r, at, width in self.each())


def _unless_first(index: Expr, value: Expr, otherwise: float) -> Expr:
    """`otherwise` in the first round of a loop, where `value` does not exist yet.

    A sum that starts this way needs no loop that clears it, which LLVM would make a call of memset.
    """
    lanes = tir.shape(value)[1]
    return tir.select(splat(index, lanes) == i32(0, lanes), f32(otherwise, lanes), value)


def _split(count: int, most: int) -> list[tuple[int, int, int]]:
    """`count` things in as few groups of at most `most` as possible, of nearly equal size: (first, size, groups of that size)."""
    if not count:
        return []
    groups = -(-count // most)
    size, larger = divmod(count, groups)
    runs = [(0, size + 1, larger), (larger * (size + 1), size, groups - larger)]
    return [run for run in runs if run[2]]
