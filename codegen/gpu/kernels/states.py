"""Where recurrent layers keep what they know of a sequence: a slot of device memory for each, a layer's state at a fixed offset.

Slots are pages of a cache group: handed out zeroed, the first entry of a sequence's table. Elements are f32, in an order of each
kernel's own, inside the room that ir/ops_recurrent.py's state_shape has.
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmc.codegen.tir import Expr, View

PARAMS = "uint8_t *states, const int32_t *tables, const int32_t *starts, int32_t table_stride, int64_t slot_bytes"
"""states: the layer's state in slot 0; starts: the first token of each sequence, and the end of the last."""


def slot(p: SimpleNamespace, sequence: "Expr") -> tuple["View", "Expr"]:
    """The states as f32, and the element at which that of a sequence begins."""
    from llmc.codegen import tir

    number = tir.load(p.tables, sequence * p.table_stride)
    return tir.view(p.states, "float32"), tir.let(tir.i64(number) * (p.slot_bytes // tir.i64(4)))


def tokens(p: SimpleNamespace, sequence: "Expr") -> tuple["Expr", "Expr"]:
    """The first token of a sequence in this step, and the one after its last."""
    from llmc.codegen import tir

    return tir.let(tir.load(p.starts, sequence)), tir.let(tir.load(p.starts, sequence + 1))
