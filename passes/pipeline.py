"""THE list of passes, in order."""

from __future__ import annotations

from llmc.ir.graph import Graph
from llmc.passes.base import Pass, run
from llmc.passes.choose_cache_dtype import choose_cache_dtype
from llmc.passes.choose_layout import choose_layout
from llmc.passes.eliminate_dead import eliminate_dead
from llmc.passes.fold_constants import fold_constants
from llmc.passes.fuse_add_rms_norm import fuse_add_rms_norm
from llmc.passes.fuse_attention import fuse_attention
from llmc.passes.fuse_bias import fuse_bias
from llmc.passes.fuse_dequant_matmul import fuse_dequant_matmul
from llmc.passes.fuse_gate_up import fuse_gate_up
from llmc.passes.fuse_qkv import fuse_qkv
from llmc.passes.fuse_quantize import fuse_quantize
from llmc.passes.fuse_rope_kv_append import fuse_rope_kv_append
from llmc.passes.fuse_scale import fuse_scale
from llmc.passes.fuse_silu_mul import fuse_silu_mul
from llmc.passes.fuse_softcap import fuse_softcap
from llmc.passes.hoist_take_rows import hoist_take_rows
from llmc.passes.plan_memory import plan_memory
from llmc.passes.quantize_activations import quantize_activations
from llmc.passes.requantize_weights import Formats, requantize_weights

# What a compiler would do to any graph: less to look at for everything below.
SIMPLIFY = [fold_constants, eliminate_dead]

# From the frontend's plain arithmetic to the ops kernels exist for. The product comes first: bias and scale fuse into it.
RAISE = [fuse_dequant_matmul, fuse_bias, fuse_scale, fuse_softcap, fuse_attention, fuse_silu_mul]

# Rows nobody asked for are not computed. After RAISE, because a linear is row-wise as a whole; before anything merges two ops.
NARROW = [hoist_take_rows]

# The two choices that change results. Before FUSE, so that one quantize per activation is there to be fused into its maker.
QUANTIZE = [quantize_activations]

# One launch, and one barrier, for what belongs together. Gate and up first, or they would end up in a group; the residual sum
# joins the norm before the norm learns to quantise.
FUSE = [fuse_gate_up, fuse_qkv, fuse_add_rms_norm, fuse_quantize, fuse_rope_kv_append]

# Nothing may change the graph's nodes after this.
STORE = [eliminate_dead, choose_layout, plan_memory]


def pipeline(activations: str = "int8", kv_dtype: str | None = None, formats: Formats | None = None) -> list[Pass]:
    """The passes of a compile.

    activations  "int8" quantises them before products with block formats, "f32" computes exactly
    kv_dtype     how keys and values are stored: "f32", "f16", "q8"; None takes f16 with int8 activations and f32 with exact ones
    formats      to store matrices in; None keeps those of the checkpoint
    """
    assert activations in ("int8", "f32"), activations
    int8 = activations == "int8"
    cache = choose_cache_dtype.bind(dtype=kv_dtype or ("f16" if int8 else "f32"))
    store = [requantize_weights.bind(formats=formats)] if formats else []  # what is quantised below depends on it
    return [*SIMPLIFY, *RAISE, *NARROW, *store, *(QUANTIZE if int8 else ()), cache, *FUSE, *STORE]


def optimize(graph: Graph, activations: str = "int8", kv_dtype: str | None = None, formats: Formats | None = None) -> Graph:
    """The graph codegen lowers: fused, with a layout for every weight and a place for every value."""
    return run(pipeline(activations, kv_dtype, formats), graph)
