"""The encoder's attention kernel: the causal one for tokens `reach` positions further on, which see no key past the last."""

from types import SimpleNamespace
from typing import Any

from llmc.codegen import tir
from llmc.codegen.kernels.attention_both import AttentionBoth
from llmc.codegen.kernels.attention_tir import LOG2_E, AttentionKernel
from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.tir import Expr, f32, i32, i64, let, load, loop, splat, store
from llmc.target import Isa


def generate(spec: AttentionBoth, isa: Isa) -> tir.PrimFunc:
    return tir.prim_func(spec, isa, lambda p: _AttentionBoth(spec, isa, p).emit())


class _AttentionBoth(AttentionKernel):
    def __init__(self, spec: AttentionBoth, isa: Isa, p: SimpleNamespace) -> None:
        causal: Any = spec  # has every option that the causal kernel asks for
        super().__init__(causal, isa, p)
        self.both = spec
        p.window = p.reach * 2 + 1

    def find_pages(self) -> None:
        p = self.p
        self.own = let(load(p.positions, self.token))
        self.position = let(self.own + p.reach)
        furthest = tir.minimum(self.position + (self.both.tokens - 1), p.keys - 1)
        self.last_page = let(tir.shifted(furthest, -6))
        self.first_page = self.oldest_page() if self.both.local else i32(0)

    def begin_page(self, number: Expr) -> None:
        self.first_key = let(number * PAGE_TOKENS)
        self.limit = let(self.p.keys - self.first_key)  # keys of this page and those after it

    def up_to_last(self, keys: Expr) -> Expr:
        return tir.minimum(keys, self.limit)

    def where_seen(self, key: Expr, visible: Expr, value: Expr, otherwise: float) -> Expr:
        within = let(super().where_seen(key, visible, value, otherwise))
        return tir.select(
            tir.counting(key, self.lanes) < splat(self.limit, self.lanes), within, f32(otherwise, self.lanes)
        )  # fmt: skip

    def largest_score(self, row: Expr, visible: Expr) -> Expr:
        if self.both.biased:
            self.add_bias(row)
        return super().largest_score(row, visible)

    def add_bias(self, row: Expr) -> None:
        """Adds the row's biases to the scores of the page, where there is a key."""
        heads, p = self.both.heads_per_kv, self.p
        query = let(self.own + row // heads)
        head = let(self.head * heads + row % heads)
        start = let(i64(head) * i64(p.span * 2 - 1) + i64(p.span - 1 - query + self.first_key))
        with loop(0, tir.minimum(i32(PAGE_TOKENS), self.limit)) as key:
            at = let(row * PAGE_TOKENS + key)
            store(self.scores, at, load(self.scores, at) + load(p.bias, start + i64(key)) * f32(LOG2_E))

