"""Says how keys and values are stored."""

from __future__ import annotations

from llmc.errors import UsageError
from llmc.ir.graph import Graph
from llmc.passes.base import required_pass

CACHE_OPS = ("kv_append", "rope_kv_append", "attention", "attention_both", "latent_append", "latent_attention")


@required_pass
def choose_cache_dtype(graph: Graph, dtype: str) -> Graph:
    """Sets `dtype` ("f32", "f16" or "q8") on every op that writes or reads the cache. Changes results where it is not f32.

    Raises UsageError for "q8" where the cache holds latents: they are small already, and one scale would serve all features.
    """
    assert dtype in ("f32", "f16", "q8"), dtype
    if dtype == "q8" and any(node.op == "latent_append" for node in graph.nodes):
        raise UsageError("the latents of this model's attention are not cached as q8", hint="f16 or f32, or leave kv out")
    return graph.with_nodes(node.with_attrs(dtype=dtype) if node.op in CACHE_OPS else node for node in graph.nodes)
