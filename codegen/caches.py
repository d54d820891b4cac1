"""Keys and values of a graph's layers as groups of pages: layers of one geometry and one window share a group.

A group's pages are allocated together and hold 64 positions of all its layers, layer after layer. Layers with a window are groups
of their own, so that the pages their window has left behind can be used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmc.codegen.kernels.kv_append import layer_bytes
from llmc.ir.graph import Graph, Node

PAGED = {"kv_append": 2, "rope_kv_append": 2, "latent_append": 1}
"""Ops that append to a paged cache, and what they append for each head: a key and a value, or one vector for both."""

READERS = ("attention", "attention_both", "latent_attention")


@dataclass(frozen=True)
class Geometry:
    """What layers of a group have in common.

    parts: vectors of a head and position: a key and a value, or 1 where the value is the front of the key (latents).
    window: how many positions a token sees, 0 for all. Sizes in elements of `dtype`.
    """

    kv_heads: int
    head_dim: int
    dtype: str
    parts: int = 2
    window: int = 0

    @property
    def layer_bytes(self) -> int:
        """Of one layer of a page."""
        return layer_bytes(self.kv_heads, self.head_dim, self.dtype, self.parts)


@dataclass(frozen=True)
class Cache:
    """One group, by its number among all of a plan; `layers` in the order in which a page holds them."""

    number: int
    geometry: Geometry
    layers: tuple[int, ...]

    @property
    def page_bytes(self) -> int:
        return len(self.layers) * self.geometry.layer_bytes

    def offset(self, layer: int) -> int:
        """Of a layer in a page, in bytes."""
        return self.layers.index(layer) * self.geometry.layer_bytes


def caches_of(graph: Graph) -> tuple[Cache, ...]:
    """The groups of a graph, in the order of their first layers: none where no layer has keys and values."""
    windows = _windows(graph)
    members: dict[Geometry, dict[int, None]] = {}
    for node in graph.nodes:
        if node.op in PAGED:
            a = node.attrs
            geometry = Geometry(a["kv_heads"], a["head_dim"], a["dtype"], PAGED[node.op], windows.get(a["layer"], 0))
            members.setdefault(geometry, {})[a["layer"]] = None
    return tuple(Cache(i, geometry, (*layers,)) for i, (geometry, layers) in enumerate(members.items()))


def _windows(graph: Graph) -> dict[int, int]:
    """How far back all ops that read a layer's cache look; 0 where one of them sees everything."""
    windows: dict[int, int] = {}
    for node in graph.nodes:
        if node.op in READERS:
            layer, window = node.attrs["layer"], _window(node)
            windows[layer] = min(window, windows.get(layer, window)) and max(window, windows.get(layer, window))
    return windows


def _window(node: Node) -> int:
    """Of causal attention: an encoder's steps hold whole texts, which see each other on both sides."""
    return int(node.attrs.get("window", 0)) if node.op == "attention" else 0


def cache_of(caches: Iterable[Cache], layer: int) -> Cache:
    """The group that holds a layer."""
    return next(cache for cache in caches if layer in cache.layers)
