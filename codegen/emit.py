"""Plan to C: fills templates/model.c.j2. The text is the same for the same plan, whatever machine prints it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from llmc.artifact import File
from llmc.codegen.kernels.base import KernelSpec, exported, prototype
from llmc.codegen.kernels.linear import Linear
from llmc.codegen.plan import Plan
from llmc.target import Isa
from llmc.version import VERSION

FEATURES = {
    "x86-64-v2": "LLMC_CPU_X86_64_V2",
    "avx2": "LLMC_CPU_LEVEL_AVX2",
    "avx-vnni": "LLMC_CPU_LEVEL_AVX_VNNI",
    "avx512-vnni": "LLMC_CPU_LEVEL_AVX512_VNNI",
    "avx512-amx": "LLMC_CPU_LEVEL_AVX512_AMX",
}


@dataclass(frozen=True)
class Facts:
    """What the plan tells the runtime about the model besides the step itself. Lengths in tokens."""

    model_name: str
    vocab: int
    hidden: int
    layers: int
    context: int
    max_step_tokens: int
    weights: File
    tokenizer: File | None
    encoder: EncoderFacts | None = None


@dataclass(frozen=True)
class EncoderFacts:
    """width: floats of a row of results; pooling: by its name in llmc.h; segments: how many it tells apart; causal: tokens see
    those before them alone; pooled: how, where layers follow; labels: of a classifier's scores."""

    width: int
    pooling: str
    normalize: bool
    segments: int
    causal: bool = False
    pooled: str = ""
    labels: tuple[str, ...] = ()


POOLINGS = {"": 0, "none": 1, "mean": 2, "cls": 3, "last": 4, "rank": 5}


def emit(plan: Plan, facts: Facts, isas: tuple[Isa, ...], gpu: str = "") -> str:
    """The C text of a model: step function, kernel tables of every level (ascending), facts.

    gpu: the text of codegen/gpu/emit.py.
    """
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(
        (files("llmc.templates") / "model.c.j2").read_text(encoding="utf-8")
    )
    encoder = facts.encoder
    width = encoder.width if encoder else facts.vocab
    return template.render(
        comment=_comment(facts.model_name),
        version=VERSION,
        members=[_member(name, row) for name, row in plan.kernels.items()],
        levels=[_level(plan, isa) for isa in isas],
        constants=[(name, ", ".join(f"{x.hex()}f" for x in values)) for name, values in plan.constants.items()],
        statements=plan.statements,
        gpu=gpu,
        step_bytes=plan.step_bytes,
        syncs=plan.syncs,
        labels=[_string(label) for label in plan.labels],
        model_name=_string(facts.model_name),
        vocab=facts.vocab,
        row_floats=width,
        row_stride=-(-width // 16) * 16,
        embeds=encoder is not None,
        encoder=encoder is not None and not encoder.causal,
        pooled=POOLINGS[encoder.pooled] if encoder else 0,
        classes=[_string(label) for label in encoder.labels] if encoder else [],
        pooling=POOLINGS[encoder.pooling] if encoder else 0,
        normalize=encoder is not None and encoder.normalize,
        segments=encoder.segments if encoder else 0,
        hidden=facts.hidden,
        layers=facts.layers,
        context=facts.context,
        max_step_tokens=facts.max_step_tokens,
        arena=plan.arena,
        cache_groups=_cache_groups(plan),
        weights=_file(facts.weights),
        tokenizer=_file(facts.tokenizer),
    )


def _cache_groups(plan: Plan) -> list[str]:
    """Initialisers of llmc_cache_group, in the order of their numbers."""
    groups = []
    for cache in plan.caches:
        kind, window = ("WINDOW" if cache.geometry.window else "PAGED"), cache.geometry.window
        groups.append(f"{{LLMC_CACHE_{kind}, {len(cache.layers)}, LLMC_PAGE_TOKENS, {window}, UINT64_C({cache.page_bytes})}}")
    if plan.states:
        groups.append(f"{{LLMC_CACHE_STATE, {plan.states.layers}, 0, 0, UINT64_C({plan.states.slot_bytes})}}")
    return groups


def _member(name: str, row: tuple[KernelSpec, ...]) -> dict[str, Any]:
    return {"name": name, "count": len(row), "type": function_type(row[0])}


def function_type(spec: KernelSpec) -> str:
    """The typedef of runtime/src/ops.h for a spec's kind; the C compiler checks the parameters against it."""
    if isinstance(spec, Linear):
        return f"llmc_linear_{spec.acts}_fn"
    kind = type(spec).__name__
    snake = "".join("_" + c.lower() if c.isupper() else c for c in kind).lstrip("_")
    return f"llmc_{snake}_fn"


def _level(plan: Plan, isa: Isa) -> dict[str, Any]:
    rows = [[exported(spec, isa) for spec in row] for row in plan.kernels.values()]
    return {
        "name": isa.name,
        "symbol": f"kernels_{isa.symbol}",
        "features": FEATURES[isa.name],
        "prototypes": [prototype(spec, isa) for spec in plan.specs],
        "rows": [row[0] if len(row) == 1 else "{" + ", ".join(row) + "}" for row in rows],
    }


def _file(file: File | None) -> str:
    if file is None:
        return "{0}"
    return f'{{"{file.name}", UINT64_C({file.size}), {{{", ".join(map(str, file.id))}}}}}'


def _string(text: str) -> str:
    """A C string literal of any text: bytes outside plain ASCII as octal escapes, which end after three digits."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def _comment(text: str) -> str:
    """The model's name, made harmless inside a comment."""
    return "".join(c if c.isalnum() or c in " ._-" else "_" for c in text)[:80] or "model"
