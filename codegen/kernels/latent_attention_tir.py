"""The latent attention kernel. Per page of 64 latents: scores of all rows, softmax of each row, sum of values for all rows.

A score is a sum over features, which lie side by side in the cache: register tiles of some rows by some keys have a vector of
sums each, whose lanes are added when all features are through.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.attention import PARTITION_TOKENS
from llmc.codegen.kernels.attention_tir import _split, _unless_first
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.kernels.kv_pages import KvPages
from llmc.codegen.kernels.latent_attention import LatentAttention
from llmc.codegen.tir import Expr, f32, i32, i64, let, load, loop, splat, store
from llmc.target import Isa

_LOG2_E = 1.4426950408889634
_NOTHING = -3.0e38  # the maximum of no scores; finite, so that differences of maxima are numbers
_PAGES = PARTITION_TOKENS // PAGE_TOKENS  # of a partition


@dataclass(frozen=True)
class Tile:
    """Sums kept in registers: of a score `rows` by `keys`, of values `rows` by `vectors` of features."""

    rows: int
    keys: int
    vectors: int


_TILES = {16: Tile(4, 4, 4), 8: Tile(2, 4, 4), 4: Tile(2, 4, 4)}  # by lanes of a vector


def generate(spec: LatentAttention, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _LatentAttention(spec, isa, p).emit())


class _State:
    """What a softmax over some keys has come to, per row: the largest score, the sum of powers, the sum of values."""

    def __init__(self, rows: int, values: int) -> None:
        self.m = tir.local(rows, "float32")
        self.z = tir.local(rows, "float32")
        self.acc = tir.local(rows * values, "float32")


class _LatentAttention:
    """One kernel being written. Buffers of rows are [rows][d], [rows][values] or [rows][64]."""

    def __init__(self, spec: LatentAttention, isa: Isa, p: SimpleNamespace) -> None:
        self.spec, self.isa, self.p = spec, isa, p
        self.rows, self.lanes, self.tile = spec.rows, isa.lanes, _TILES[isa.lanes]
        self.cache = KvPages(isa, spec.d, spec.dtype, p, p.kv_heads)
        self.q = tir.local(self.rows * spec.d, "float32")  # times scale and log2(e)
        self.scores = tir.local(self.rows * PAGE_TOKENS, "float32")  # then probabilities
        self.shrink = tir.local(self.rows, "float32")  # what the page's larger maximum makes of earlier sums
        self.part = _State(self.rows, spec.values)  # of this partition
        self.total = _State(self.rows, spec.values)  # of the partitions before

    def emit(self) -> None:
        p, tokens = self.p, self.spec.tokens
        with loop(p.kv_lo, p.kv_hi) as group, loop(0, (p.tok_hi - p.tok_lo) // tokens) as tile:
            self.group = group
            self.token = let(p.tok_lo + tile * tokens)
            self.position = let(load(p.positions, self.token))
            self.last_page = let(tir.shifted(self.position + (tokens - 1), -6))
            self.load_queries()
            with loop(0, tir.shifted(self.last_page, -3) + 1) as partition:
                self.partition(partition)
                self.merge(partition)
            self.write()

    def of_row(self, row: Expr, ld: Expr, features: int) -> Expr:
        """Where the query head and token of a row start in q or o."""
        heads = self.spec.heads_per_kv
        head = self.group * heads + row % heads
        return let(i64(self.token + row // heads) * i64(ld) + i64(head * features))

    def load_queries(self) -> None:
        factor = let(self.p.scale * f32(_LOG2_E))
        with loop(0, self.rows) as row:
            start = self.of_row(row, self.p.ldq, self.spec.d)
            with loop(0, self.spec.d // self.lanes) as i:
                at = let(i * self.lanes)
                x = load(self.p.q, start + i64(at), self.lanes)
                store(self.q, row * self.spec.d + at, x * splat(factor, self.lanes))

    # A partition: its state from its pages ---------------------------------------------------------------------------

    def partition(self, partition: Expr) -> None:
        start = let(partition * _PAGES)
        with loop(0, tir.minimum(start + _PAGES, self.last_page + 1) - start) as index:
            page = let(self.cache.page(let(start + index)))
            visible = let(self.position + 1 - (start + index) * PAGE_TOKENS)  # keys of this page for the tile's first token
            last = let(visible + (self.spec.tokens - 1))
            keys = let(tir.minimum(i32(PAGE_TOKENS), last))  # that some row sees
            self.page_scores(page, keys)
            with loop(0, self.rows) as row:
                self.softmax(row, index, let(visible + row // self.spec.heads_per_kv))
            self.page_values(page, keys, index)

    def page_scores(self, page: Expr, keys: Expr) -> None:
        """Scores of all rows for the first `keys` keys; those of a started register tile are there too."""
        with loop(0, tir.shifted(keys + (self.tile.keys - 1), -(self.tile.keys.bit_length() - 1))) as tile:
            key = let(tile * self.tile.keys)
            for first, rows, count in _split(self.rows, self.tile.rows):
                with loop(0, count) as group:
                    self.score_tile(let(first + group * rows), rows, key, page)

    def score_tile(self, row: Expr, rows: int, key: Expr, page: Expr) -> None:
        keys, lanes, d = self.tile.keys, self.lanes, self.spec.d
        sums = tir.local(rows * keys * lanes, "float32")
        for i in range(rows * keys):
            store(sums, i * lanes, f32(0.0, lanes))
        with loop(0, d // lanes) as i:
            at = let(i * lanes)
            loaded = [let(self.cache.read(page + i64((key + k) * d + at), lanes)) for k in range(keys)]
            for r in range(rows):
                q = let(load(self.q, (row + r) * d + at, lanes))
                for k in range(keys):
                    place = (r * keys + k) * lanes
                    store(sums, place, tir.fma(self.isa, q, loaded[k], load(sums, place, lanes)))
        for r in range(rows):
            for k in range(keys):
                score = let(tir.reduce_add(load(sums, (r * keys + k) * lanes, lanes)))
                store(self.scores, (row + r) * PAGE_TOKENS + key + k, score)

    def softmax(self, row: Expr, index: Expr, visible: Expr) -> None:
        """Scores of one row become probabilities against its new maximum; keys from `visible` on are not there."""
        lanes, state = self.lanes, self.part
        largest = let(self.largest_score(row, visible))
        before = let(tir.select(index == 0, f32(_NOTHING), load(state.m, row)))
        m = let(tir.maximum(before, largest))
        shrink = let(tir.exp2(self.isa, before - m))
        store(state.m, row, m)
        store(self.shrink, row, shrink)
        total = tir.local(lanes, "float32")
        store(total, 0, f32(0.0, lanes))
        with loop(0, PAGE_TOKENS // lanes) as i:
            at = let(row * PAGE_TOKENS + i * lanes)
            score = self.where_seen(i * lanes, visible, load(self.scores, at, lanes), _NOTHING)
            p = let(self.where_seen(i * lanes, visible, let(tir.exp2(self.isa, let(score) - splat(m, lanes))), 0.0))
            store(self.scores, at, p)
            store(total, 0, load(total, 0, lanes) + p)
        z = _unless_first(index, load(state.z, row), 0.0)
        store(state.z, row, tir.fma(self.isa, z, shrink, let(tir.reduce_add(load(total, 0, lanes)))))

    def largest_score(self, row: Expr, visible: Expr) -> Expr:
        lanes = self.lanes
        largest = tir.local(lanes, "float32")
        store(largest, 0, f32(_NOTHING, lanes))
        with loop(0, PAGE_TOKENS // lanes) as i:
            score = load(self.scores, let(row * PAGE_TOKENS + i * lanes), lanes)
            score = let(self.where_seen(i * lanes, visible, score, _NOTHING))
            store(largest, 0, tir.maximum(load(largest, 0, lanes), score))
        return tir.reduce_max(load(largest, 0, lanes))

    def where_seen(self, key: Expr, visible: Expr, value: Expr, otherwise: float) -> Expr:
        """`value` in the lanes of keys, counted from `key` on, that are among the first `visible`."""
        lanes = self.lanes
        return tir.select(tir.counting(key, lanes) < splat(visible, lanes), value, f32(otherwise, lanes))

    def page_values(self, page: Expr, keys: Expr, index: Expr) -> None:
        for column, columns in self.column_tiles():
            for first, rows, count in _split(self.rows, self.tile.rows):
                with loop(0, count) as group:
                    self.value_tile(let(first + group * rows), rows, column, columns, keys, page, index)

    def column_tiles(self) -> Iterator[tuple[Expr, list[tuple[int, int]]]]:
        """Where each register tile of features starts, and its vectors (start, width). Tiles of a loop are yielded inside it."""
        whole, rest = divmod(self.spec.values, self.lanes)
        for first, vectors, count in _split(whole, self.tile.vectors):
            with loop(0, count) as i:
                yield let((first + i * vectors) * self.lanes), [(v * self.lanes, self.lanes) for v in range(vectors)]
        if rest:
            yield i32(whole * self.lanes), tir.narrower(0, rest, self.lanes // 2)

    def value_tile(
        self, row: Expr, rows: int, column: Expr, columns: list[tuple[int, int]], keys: Expr, page: Expr, index: Expr
    ) -> None:
        """acc = shrink * acc + p . v for some rows and features, keys ascending."""
        width, values = sum(width for _, width in columns), self.spec.values
        sums = tir.local(rows * width, "float32")
        for r in range(rows):
            for at, lanes in columns:
                old = load(self.part.acc, (row + r) * values + column + at, lanes) * splat(load(self.shrink, row + r), lanes)
                store(sums, r * width + at, _unless_first(index, old, 0.0))
        with loop(0, keys) as key:
            loaded = [let(self.cache.read(page + i64(key * self.spec.d + column + at), lanes)) for at, lanes in columns]
            for r in range(rows):
                p = let(load(self.scores, (row + r) * PAGE_TOKENS + key))
                for (at, lanes), v in zip(columns, loaded, strict=True):
                    store(sums, r * width + at, tir.fma(self.isa, v, splat(p, lanes), load(sums, r * width + at, lanes)))
        for r in range(rows):
            for at, lanes in columns:
                store(self.part.acc, (row + r) * values + column + at, load(sums, r * width + at, lanes))

    # The partitions together -----------------------------------------------------------------------------------------

    def merge(self, partition: Expr) -> None:
        """Adds the partition's state to the total."""
        with loop(0, self.rows) as row:
            before = let(tir.select(partition == 0, f32(_NOTHING), load(self.total.m, row)))
            mine = let(load(self.part.m, row))
            m = let(tir.maximum(before, mine))
            old, new = let(tir.exp2(self.isa, before - m)), let(tir.exp2(self.isa, mine - m))
            z = _unless_first(partition, load(self.total.z, row), 0.0)
            store(self.total.m, row, m)
            store(self.total.z, row, tir.fma(self.isa, z, old, load(self.part.z, row) * new))

            def add(at: Expr, width: int) -> None:
                at = let(row * self.spec.values + at)
                acc = _unless_first(partition, load(self.total.acc, at, width), 0.0)
                added = load(self.part.acc, at, width) * splat(new, width)
                store(self.total.acc, at, tir.fma(self.isa, acc, splat(old, width), added))

            tir.cover(self.spec.values, self.lanes, add)

    def write(self) -> None:
        """acc / z. A zero is written as +0: its sign is the one thing that masked keys may change in a sum."""
        with loop(0, self.rows) as row:
            start = self.of_row(row, self.p.ldo, self.spec.values)
            share = let(f32(1.0) / load(self.total.z, row))

            def divided(at: Expr, width: int) -> None:
                acc = load(self.total.acc, row * self.spec.values + at, width)
                store(self.p.o, start + i64(at), tir.fma(self.isa, acc, splat(share, width), f32(0.0, width)))

            tir.cover(self.spec.values, self.lanes, divided)
