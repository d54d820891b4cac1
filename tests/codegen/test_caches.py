"""Which layers share pages, where they lie in them, and what a window is."""

import numpy as np

from llmc.codegen.caches import Geometry, cache_of, caches_of
from llmc.ir.graph import Builder, Graph
from llmc.ir.types import CACHE, f32, i32


def graph(*layers: tuple[int, int, int]) -> Graph:
    """A decoder of nothing but attention: (kv_heads, head_dim, window) of each layer; without heads: reads the layer before."""
    b = Builder()
    kv, positions, x = b.input("kv", CACHE), b.input("positions", i32("T")), b.input("x", f32("T", 64))
    for layer, (heads, d, window) in enumerate(layers):
        own = layer if heads else layer - 1
        of = {"layer": own, "kv_heads": heads or layers[own][0], "head_dim": d, "dtype": "f16"}
        if heads:
            kv = b.emit("kv_append", kv, x, x, name=f"kv.{layer}", **of)
        x = b.emit("attention", x, kv, positions, name=f"x.{layer}", heads=64 // d, scale=1.0, window=window, **of)
    return b.graph(x)


def test_layers_alike_share_a_group_and_lie_one_after_the_other() -> None:
    (cache,) = caches_of(graph((2, 32, 0), (2, 32, 0), (2, 32, 0)))
    assert cache.geometry == Geometry(2, 32, "f16") and cache.layers == (0, 1, 2)
    assert cache.page_bytes == 3 * cache.geometry.layer_bytes == 3 * 2 * 2 * 32 * 64 * 2
    assert [cache.offset(layer) for layer in range(3)] == [*(np.arange(3) * cache.geometry.layer_bytes)]


def test_geometries_and_windows_are_groups_of_their_own() -> None:
    caches = caches_of(graph((2, 32, 100), (1, 64, 0), (2, 32, 100), (2, 32, 0)))
    assert [(c.number, c.geometry.head_dim, c.geometry.window, c.layers) for c in caches] == [
        (0, 32, 100, (0, 2)), (1, 64, 0, (1,)), (2, 32, 0, (3,)),
    ]  # fmt: skip
    assert [cache_of(caches, layer).number for layer in range(4)] == [0, 1, 0, 2]


def test_a_cache_that_another_layer_reads_is_kept_for_the_one_that_looks_back_further() -> None:
    pairs = ((50, 100), (100, 0), (0, 100))
    assert [caches_of(graph((2, 32, own), (0, 32, other)))[0].geometry.window for own, other in pairs] == [100, 0, 0]
    assert [c.layers for c in caches_of(graph((2, 32, 0), (0, 32, 0)))] == [(0,)]


def test_a_graph_without_keys_and_values_has_no_groups() -> None:
    b = Builder()
    assert caches_of(b.graph(b.input("x", f32("T", 64)))) == ()
