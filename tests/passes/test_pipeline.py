"""Whole decoders through all passes: what they compute, what is left to launch, and how long it takes."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest

from llmc import passes
from llmc.debug import scoped
from llmc.frontend.quant import FORMATS
from llmc.ir.graph import SOURCES, Graph
from llmc.ir.interpret import KvState, interpret
from llmc.ir.text import parse_graph, print_graph
from llmc.passes.base import run
from llmc.passes.pipeline import FUSE, NARROW, QUANTIZE, RAISE, SIMPLIFY, STORE, optimize, pipeline
from llmc.requantization import formats_for
from tests.passes.models import Decoder, decoder
from tests.passes.rewrites import assert_close

Q4_K_M = {"attn_v": "q8_0", "ffn_down": "q8_0", "output": "q5_1"}  # several formats under one input, as Q4_K_M has
BIASES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
GRANITE = {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 8.0, "attention.scale": 0.0625}

MODELS: dict[str, dict[str, Any]] = {
    "llama": dict(family="llama", formats=Q4_K_M),
    "llama, every bias, tied, scaled frequencies": dict(family="llama", biased=BIASES, tied=True, rope_factors=True),
    "llama, dense": dict(family="llama", formats={name: "f16" for name in ("attn_q", "ffn_gate", "ffn_down", "output")}),
    "qwen2": dict(family="qwen2", biased=BIASES[:3]),
    "qwen3": dict(family="qwen3"),
    "granite": dict(family="granite", **GRANITE),
    "smollm3, one layer without positions": dict(family="smollm3", layers=4),
}
CHUNKS = ([0, 1, 2, 3, 4], [5], [6, 7])  # positions of a prefill, a decode step and a second chunk

# Ops kernels exist for: anything else left over is a pass that did not do its work.
LOWERED = {
    "embedding", "rope_table", "rms_norm", "add_rms_norm", "linear", "linear_group", "linear_silu_mul", "head_norm",
    "silu_mul", "rope_kv_append", "kv_append", "attention", "quantize", "take_rows",
}  # fmt: skip


def generate(graph: Graph, model: Decoder) -> list[np.ndarray]:
    """Logits of a prefill, a decode step and a second chunk; the first asks for two rows, in no order."""
    cache, logits = KvState(), []
    for positions in CHUNKS:
        rows = np.array([3, 1]) if len(positions) > 3 else np.array([len(positions) - 1])
        tokens = (np.array(positions) * 7 + 3) % 80
        inputs = {"tokens": tokens, "positions": np.array(positions), "rows": rows, "cache": cache}
        result, cache = interpret(graph, inputs, model.weights)
        logits.append(result)
    return logits


@pytest.mark.parametrize("name", MODELS)
def test_exact_activations_keep_the_logits(name: str) -> None:
    model = decoder(**MODELS[name])
    optimised = optimize(model.graph, "f32")
    for before, after in zip(generate(model.graph, model), generate(optimised, model), strict=True):
        assert_close(before, after, 1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_everything_after_quantising_keeps_the_quantised_logits(name: str) -> None:
    """Only quantize_activations and choose_cache_dtype may change results: the rest of the list is compared without them."""
    model = decoder(**MODELS[name])
    list_of = [each for each in pipeline("int8") if each in (*SIMPLIFY, *RAISE, *QUANTIZE) or each.name == "choose_cache_dtype"]
    quantised = run(list_of, model.graph)
    for before, after in zip(generate(quantised, model), generate(optimize(model.graph), model), strict=True):
        assert_close(before, after, 1e-3)  # a difference in the last bit may round an activation to its neighbouring code


@pytest.mark.parametrize("name", MODELS)
def test_quantising_moves_the_logits_a_little(name: str) -> None:
    model = decoder(**MODELS[name])
    for before, after in zip(generate(model.graph, model), generate(optimize(model.graph), model), strict=True):
        assert_close(before, after, 0.1)


@pytest.mark.parametrize("activations", ["int8", "f32"])
@pytest.mark.parametrize("name", MODELS)
def test_only_ops_with_kernels_are_left(name: str, activations: str) -> None:
    assert computations(optimize(decoder(**MODELS[name]).graph, activations)).keys() <= LOWERED


def computations(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes if node.op not in SOURCES)


# Calls of one step of a two-layer Llama. Barriers between workers are as many as calls.
BEFORE = {
    "embedding": 1, "rope_table": 1, "rms_norm": 5, "dequantize": 15, "matmul": 15, "rope": 4, "kv_append": 2,
    "attention_scores": 2, "softmax_causal": 2, "attention_values": 2, "silu": 2, "mul": 2, "add": 4, "take_rows": 1,
}  # fmt: skip
AFTER: Mapping[str, Mapping[str, int]] = {
    "f32": {
        "embedding": 1, "rope_table": 1, "rms_norm": 1, "linear_group": 2, "rope_kv_append": 2, "attention": 2, "linear": 5,
        "add_rms_norm": 4, "linear_silu_mul": 2, "take_rows": 2,
    },
    "int8": {
        "embedding": 1, "rope_table": 1, "rms_norm": 1, "linear_group": 2, "rope_kv_append": 2, "attention": 2, "linear": 5,
        "add_rms_norm": 4, "linear_silu_mul": 2, "take_rows": 2, "quantize": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize(("activations", "calls"), [("f32", 22), ("int8", 24)])
def test_calls_of_two_layers_before_and_after(activations: str, calls: int) -> None:
    graph = decoder(layers=2).graph
    assert (computations(graph), computations(graph).total()) == (BEFORE, 58)
    after = computations(optimize(graph, activations))
    assert (after, after.total()) == (AFTER[activations], calls)


# Calls of that step after each pass that fuses, int8 activations.
STEPS = {
    "fuse_dequant_matmul": 43, "fuse_attention": 39, "fuse_silu_mul": 37, "hoist_take_rows": 38, "quantize_activations": 47,
    "fuse_gate_up": 43, "fuse_qkv": 39, "fuse_add_rms_norm": 35, "fuse_quantize": 28, "fuse_rope_kv_append": 24,
}  # fmt: skip


def test_calls_of_two_layers_after_each_pass() -> None:
    graph, counts = decoder(layers=2).graph, {}
    for each in pipeline("int8"):
        before, graph = computations(graph).total(), run([each], graph)
        if (now := computations(graph).total()) != before:
            counts[each.name] = now
    assert counts == STEPS


def test_the_readme_shows_these_counts(root: Path) -> None:
    rows = re.findall(r"^\| (\w+) \| (\d+) \|", (root / "passes" / "README.md").read_text(), re.MULTILINE)
    assert {name: int(calls) for name, calls in rows} == {"frontend": 58, **STEPS}


def test_one_more_layer_costs_nine_calls() -> None:
    """qkv, rope and append, attention, quantise, out, add and norm, gate and up, down, add and norm for the next."""
    graphs = [decoder(layers=n).graph for n in (2, 3)]
    assert np.diff([computations(graph).total() for graph in graphs]).tolist() == [26]
    assert np.diff([computations(optimize(graph)).total() for graph in graphs]).tolist() == [9]


def test_optimised_graphs_print_and_parse() -> None:
    optimised = optimize(decoder(**MODELS["llama, every bias, tied, scaled frequencies"]).graph)
    assert print_graph(parse_graph(print_graph(optimised), FORMATS)) == print_graph(optimised)


def test_every_weight_has_a_layout_and_every_cache_op_a_type() -> None:
    for activations, dtype in (("int8", "f16"), ("f32", "f32")):
        optimised = optimize(decoder().graph, activations)
        assert all("layout" in node.attrs for node in optimised.of_kind("weight"))
        assert {n.attrs["dtype"] for n in optimised.nodes if n.op in ("attention", "rope_kv_append")} == {dtype}
    assert {n.attrs["dtype"] for n in optimize(decoder().graph, "int8", "f32").of_kind("attention")} == {"f32"}


def test_every_pass_file_is_in_the_list() -> None:
    files = {module.name for module in iter_modules(passes.__path__)} - {"base", "pipeline"}
    assert files == {each.name for each in pipeline("int8", formats=formats_for("q8_0"))}
    bound = {"choose_cache_dtype", "requantize_weights"}
    assert {each.name for each in (*SIMPLIFY, *RAISE, *NARROW, *QUANTIZE, *FUSE, *STORE)} | bound == files


def test_what_codegen_reads_cannot_be_left_out() -> None:
    assert {each.name for each in pipeline("int8") if each.required} == {"choose_cache_dtype", "choose_layout", "plan_memory"}


def test_every_pass_says_what_it_does() -> None:
    assert all(each.summary for each in pipeline("int8"))


OPTIONAL = [each.name for each in (*RAISE, *NARROW, *FUSE) if each.name not in ("fuse_dequant_matmul", "fuse_attention")]


@pytest.mark.parametrize("left_out", OPTIONAL)
def test_the_others_do_without_any_one_of_them(left_out: str) -> None:
    """A pass may rely on what an earlier one left, but must not break where it is absent."""
    model = decoder(layers=2, formats=Q4_K_M, biased=BIASES)
    with scoped(LLMC_PASSES=f"-{left_out}"):
        optimised = optimize(model.graph, "f32")
    for before, after in zip(generate(model.graph, model), generate(optimised, model), strict=True):
        assert_close(before, after, 1e-5)


def test_a_deep_model_takes_time_in_proportion() -> None:
    """126 layers, the depth of Llama 3.1 405B: 0.3 s on one Zen 4 core. The bound leaves room for a slow machine."""
    graph = decoder(layers=126).graph
    seconds = []
    for _ in range(3):
        start = time.process_time()
        optimize(graph)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 2.0
