"""What manifest.json says about a model. Sizes and memory are for `llmc inspect` to add up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from llmc.codegen.kernels.kv_append import PAGE_TOKENS
from llmc.codegen.plan import Plan
from llmc.codegen.weights import LAYOUT
from llmc.frontend.load import Model, step_tokens
from llmc.target import Target
from llmc.version import VERSION

PROMISE = "on one instruction-set level, bits depend neither on neighbours, nor on threads, nor on chunking"
PROMISE_RECURRENT = (
    "on one instruction-set level, bits depend neither on neighbours nor on threads; chunking may change them within a tolerance"
)
KV_ERRORS = {
    "f32": "none",
    "f16": "rounding to 11 bits",
    "q8": "at most 1/254 of the largest magnitude among the features of a key or value of one head",
}
LICENCE_KEYS = ("general.license", "general.license.name", "general.license.link")


def describe(model: Model, plan: Plan, target: Target, source: str, activations: str) -> dict[str, Any]:
    """Facts of the manifest. `source` is the checkpoint's SHA-256."""
    regions = plan.weights.regions
    tensors = [
        {
            "name": region.tensor,
            "shape": [*region.shape],
            "format": region.format.name,
            "layout": region.layout,
            "offset": region.offset,
            "bytes": region.nbytes,
            **({"rows": [*region.rows]} if region.rows else {}),
        }
        for region in regions
    ]
    return {
        "kind": "artifact",
        "llmc": VERSION,
        "name": model.name,
        "architecture": model.checkpoint.architecture,
        "source": {"sha256": source, "bytes": sum(file.stat().st_size for file in model.checkpoint.files)},
        "licence": {key: model.checkpoint.string(key) for key in LICENCE_KEYS if key in model.checkpoint.keys},
        "config": {**asdict(model.config), "vocab": model.vocab},
        "target": target.name,
        "isas": [isa.name for isa in target.isas],
        "devices": [device.name for device in target.devices],
        "activations": activations,
        "layout": LAYOUT,
        "step_tokens": step_tokens(model.architecture, model.config),
        **({"encoder": asdict(model.encoder)} if model.encoder else {}),
        "arena_bytes": plan.arena,
        "kernel_calls": plan.calls,
        "cache": _cache_groups(model, plan),
        "promise": PROMISE_RECURRENT if plan.states else PROMISE,
        "chat_template": model.chat_template,
        "tensors": tensors,
    }


def _cache_groups(model: Model, plan: Plan) -> list[dict[str, Any]]:
    """The groups in the order of their numbers. A slot of a state group holds a sequence of any length."""
    groups: list[dict[str, Any]] = []
    step = step_tokens(model.architecture, model.config)
    for cache in plan.caches:
        kept = cache.geometry
        groups.append({
            "kind": "window" if kept.window else "paged", "tokens_per_page": PAGE_TOKENS, "page_bytes": cache.page_bytes,
            "layers": len(cache.layers), "kv_heads": kept.kv_heads, "head_dim": kept.head_dim, "dtype": kept.dtype,
            "parts": kept.parts, "error": KV_ERRORS[kept.dtype], **_window(kept.window, step),
        })  # fmt: skip
    if plan.states:
        groups.append({"kind": "state", "layers": plan.states.layers, "slot_bytes": plan.states.slot_bytes, "dtype": "f32"})
    return groups


def _window(window: int, step: int) -> dict[str, int]:
    """The window, and the most pages that a sequence has at once: as runtime/src/cache_group.h counts them."""
    positions = window - 1 + PAGE_TOKENS + step + PAGE_TOKENS - 1
    return {"window": window, "most_pages": -(-positions // PAGE_TOKENS)} if window else {}
