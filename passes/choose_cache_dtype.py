"""Says how keys and values are stored."""

from __future__ import annotations

from llmc.ir.graph import Graph
from llmc.passes.base import required_pass

CACHE_OPS = ("kv_append", "rope_kv_append", "attention", "latent_append", "latent_attention")


@required_pass
def choose_cache_dtype(graph: Graph, dtype: str) -> Graph:
    """Sets `dtype` ("f16" or "f32") on every op that writes or reads the cache. Changes results where it is f16."""
    assert dtype in ("f16", "f32"), dtype
    return graph.with_nodes(node.with_attrs(dtype=dtype) if node.op in CACHE_OPS else node for node in graph.nodes)
