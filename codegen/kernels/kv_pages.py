"""Addresses and element type of the paged KV cache, for the kernels that write and read it.

The layout is that of codegen/kernels/kv_append.py.
"""

from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.kernels.kv_append import DTYPES, PAGE_TOKENS
from llmc.codegen.tir import Expr, i64, let, load
from llmc.target import Isa


class KvPages:
    """Where the heads of a page lie, counted in elements of the cache's type, and their conversion from and to f32 lanes."""

    def __init__(self, isa: Isa, d: int, dtype: str, p: SimpleNamespace, heads: Expr) -> None:
        self.isa, self.d, self.p, self.heads = isa, d, p, heads
        self.half, self.quantised = dtype == "f16", dtype == "q8"
        self.memory = tir.view(p.kv, {"f16": "uint16", "f32": "float32", "q8": "int8"}[dtype])
        self.scales = tir.view(p.kv, "float32") if self.quantised else None
        self.log2_bytes = DTYPES[dtype].itemsize.bit_length() - 1

    def page(self, number: Expr) -> Expr:
        """First element of the sequence's page `number`."""
        return tir.shifted(i64(load(self.p.pages, number)) * self.p.page_bytes, -self.log2_bytes)

    def keys(self, page: Expr, head: Expr) -> Expr:
        """First key element of a head, [d][64]."""
        return page + i64(head) * (self.d * PAGE_TOKENS)

    def values(self, page: Expr, head: Expr) -> Expr:
        """First value element of a head, [64][d]."""
        return page + i64(self.heads + head) * (self.d * PAGE_TOKENS)

    def key_scales(self, page: Expr, head: Expr) -> Expr:
        """Index in `scales` of a head's first key; only of a quantised cache."""
        return tir.shifted(page + i64(self.heads) * (2 * self.d * PAGE_TOKENS), -2) + i64(head * PAGE_TOKENS)

    def value_scales(self, page: Expr, head: Expr) -> Expr:
        return self.key_scales(page, self.heads + head)

    def read(self, at: Expr, lanes: int) -> Expr:
        """f32 lanes; codes of a quantised cache, still without their scale."""
        stored = load(self.memory, at, lanes)
        if self.quantised:
            return tir.convert(tir.convert(stored, "int32"), "float32")
        return tir.f16_to_f32(self.isa, stored) if self.half else stored

    def encode(self, value: Expr) -> Expr:
        """f32 lanes as the cache stores them; of a quantised one, what they are times 127 / max |x|."""
        if self.quantised:
            return tir.convert(let(tir.convert(tir.rint(value), "int32")), "int8")
        return tir.f32_to_f16(self.isa, value) if self.half else value
