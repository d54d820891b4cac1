"""A table of 32-bit words in a kernel's object, for codes that stand for more than arithmetic can give.

TIR has no constants of that size. The table and the functions that read it are LLVM IR that TVM links into the kernel's module;
the functions are always inlined, so that neither they nor the table leave a symbol.
"""

from collections.abc import Sequence
from typing import Any

from tvm.tirx.script import builder as T

from llmc.codegen.tir import Expr, shape, vector
from llmc.target import Isa


def table(words: Sequence[int], isa: Isa) -> Any:
    """`with table(words, isa):` lets `looked_up` read i32 `words` inside. One table to a kernel."""
    kind = f"[{len(words)} x i32]"
    numbers = ", ".join(f"i32 {word}" for word in words)
    constant = f"@llmc_table = private unnamed_addr constant {kind} [{numbers}], align 64\n"
    return T.attr(0, "pragma_import_llvm", constant + _scalar(kind) + _gather(kind, isa.lanes))


def looked_up(index: Expr) -> Expr:
    """The words at i32 lanes, as many as the level has or one, all below the length of the table."""
    lanes = shape(index)[1]
    return T.call_pure_extern(vector("int32", lanes), f"llmc_table_{lanes}", index)


def _scalar(kind: str) -> str:
    return f"""
define linkonce_odr hidden i32 @llmc_table_1(i32 %i) alwaysinline {{
  %p = getelementptr inbounds {kind}, ptr @llmc_table, i32 0, i32 %i
  %v = load i32, ptr %p, align 4
  ret i32 %v
}}
"""


def _gather(kind: str, lanes: int) -> str:
    """LLVM takes a gather apart for levels that have none, or a slow one."""
    ints, pointers, bools = (f"<{lanes} x {t}>" for t in ("i32", "ptr", "i1"))
    name = f"@llvm.masked.gather.v{lanes}i32.v{lanes}p0"
    all_lanes = ", ".join(["i1 true"] * lanes)
    return f"""
declare {ints} {name}({pointers}, i32, {bools}, {ints})
define linkonce_odr hidden {ints} @llmc_table_{lanes}({ints} %i) alwaysinline {{
  %p = getelementptr inbounds {kind}, ptr @llmc_table, {ints} zeroinitializer, {ints} %i
  %v = call {ints} {name}({pointers} %p, i32 4, {bools} <{all_lanes}>, {ints} zeroinitializer)
  ret {ints} %v
}}
"""
