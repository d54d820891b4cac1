"""Mixtures of experts as checkpoints state them: what they compute, without a compiler, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError
from llmc.frontend import arch
from llmc.frontend.checkpoint import Checkpoint
from llmc.frontend.gguf import read_gguf
from llmc.frontend.load import build, open_model
from llmc.ir.graph import Graph, Node
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.ir.types import f32, i32
from llmc.passes.pipeline import optimize


@pytest.fixture
def mixtral(shared: Path) -> Checkpoint:
    return read_gguf(shared / "models" / "open" / "mixtral" / "model.gguf")


def graph_of(checkpoint: Checkpoint, family: str = "", *, drop: str = "", **keys: Any) -> Graph:
    """Its graph with other keys, under another architecture's name, or without the keys that end in `drop`."""
    family = family or checkpoint.architecture
    own = {name.replace(f"{checkpoint.architecture}.", f"{family}.", 1): value for name, value in checkpoint.keys.items()}
    own = {name: value for name, value in own.items() if not drop or not name.endswith(drop)}
    own |= {"general.architecture": family, **{f"{family}.{k}": v for k, v in keys.items()}}
    changed = Checkpoint(checkpoint.files, [], own, checkpoint.tensors)
    architecture = arch.find()[family]
    return build(changed, architecture, architecture.config(changed), 512)


def router(graph: Graph) -> Node:
    return graph.of_kind("router")[0]


@pytest.mark.parametrize("fixture", ["mixtral", "olmoe", "qwen3_moe", "gpt_oss"])
def test_the_graph_computes_what_transformers_does(shared: Path, fixture: str) -> None:
    folder = shared / "models" / "open" / fixture
    model = open_model(folder / "model.gguf")

    def weight(name: str) -> WeightData:
        tensor = model.checkpoint.tensors[name]
        return WeightData(tensor.format, model.checkpoint.data(name), tensor.shape)

    with np.load(folder / "ref.npz") as recorded:
        ids, logits = recorded["tokens_0"], recorded["logits_all_0"]
    at = np.arange(len(ids), dtype=np.int32)
    inputs = {"tokens": ids, "positions": at, "rows": at, "cache": KvState()}
    for graph in (model.graph, optimize(model.graph, "f32")):
        assert np.abs(interpret(graph, inputs, weight)[0] - logits).max() < 1e-4


def test_routing_and_experts_of_the_last_layer_are_for_the_rows_wanted(mixtral: Checkpoint) -> None:
    graph = optimize(graph_of(mixtral), "int8")
    routers, experts = graph.of_kind("router"), graph.of_kind("experts")
    assert [node.outputs[0].type for node in routers] == [i32("T", 2), i32("R", 2)]
    assert [node.output.type for node in experts] == [f32("T", 128), f32("R", 128)]


def test_a_family_says_whether_weights_sum_to_one_unless_the_file_does(mixtral: Checkpoint) -> None:
    assert router(graph_of(mixtral)).attrs["normalize"] is True
    assert router(graph_of(mixtral, expert_weights_norm=False)).attrs["normalize"] is False


def test_the_gate_and_the_scale_are_the_files(mixtral: Checkpoint) -> None:
    attrs = router(graph_of(mixtral, expert_gating_func=2, expert_weights_scale=2.5)).attrs
    assert (attrs["gate"], attrs["scale"], attrs["used"]) == ("sigmoid", 2.5, 2)


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({"expert_used_count": 6}, MalformedFileError, "expert_used_count is 6"),
        ({"expert_used_count": 0}, MalformedFileError, "expert_used_count is 0"),
        ({"expert_count": 1 << 31}, MalformedFileError, "expert_count is 2147483648"),
        ({"expert_count": 4}, MalformedFileError, "ffn_gate_inp.weight has shape"),
        ({"expert_feed_forward_length": 64}, MalformedFileError, "ffn_gate_exps.weight has shape"),
        ({"expert_gating_func": 3}, UnsupportedModelError, "expert_gating_func is 3"),
        ({"expert_group_count": 2}, MalformedFileError, "expert_group_used_count is missing"),
        ({"expert_group_count": 2, "expert_group_used_count": 1}, MalformedFileError, "2 groups of 5 experts"),
        ({"leading_dense_block_count": 3}, MalformedFileError, "leading_dense_block_count is 3"),
        ({"leading_dense_block_count": 1}, MalformedFileError, "missing tensors: blk.0.ffn_gate.weight"),
    ],
)
def test_refuses_by_the_name_of_the_key(mixtral: Checkpoint, keys: dict[str, int], kind: type[LlmcError], words: str) -> None:
    with pytest.raises(kind, match=words):
        graph_of(mixtral, **keys)


def test_a_mixture_without_the_number_of_experts_misses_its_tensors(mixtral: Checkpoint) -> None:
    with pytest.raises(MalformedFileError, match="missing tensors: blk.0.ffn_gate.weight"):
        graph_of(mixtral, drop="expert_count")


def test_refuses_experts_in_a_family_that_has_none(mixtral: Checkpoint) -> None:
    with pytest.raises(UnsupportedModelError, match=r"qwen2\.expert_count is 5"):
        graph_of(mixtral, "qwen2")


def test_refuses_experts_stored_one_by_one(mixtral: Checkpoint) -> None:
    single = replace(mixtral.tensors["blk.0.ffn_gate_exps.weight"], name="blk.0.ffn_gate.0.weight", shape=(48, 128))
    old = Checkpoint(mixtral.files, [], mixtral.keys, {**mixtral.tensors, single.name: single})
    with pytest.raises(UnsupportedModelError, match=r"tensor blk\.0\.ffn_gate\.0\.weight holds a single expert"):
        graph_of(old)


def test_gpt_oss_has_a_sink_for_each_head_and_a_bias_for_each_row_of_every_expert(shared: Path) -> None:
    graph = optimize(open_model(shared / "models" / "open" / "gpt_oss" / "model.gguf").graph, "int8")
    assert [node.inputs[3].type.shape for node in graph.of_kind("attention")] == [(4,), (4,)]
    assert [node.attrs.get("window", 0) for node in graph.of_kind("attention")] == [32, 0]
    for node in graph.of_kind("experts"):
        assert node.attrs["function"] == "clamped_silu"
        assert [value.type.shape for value in node.inputs[6:]] == [(4, 64), (4, 64), (4, 128)]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        ("blk.1.attn_sinks.weight", "missing tensors: blk.1.attn_sinks.weight"),
        ("blk.1.ffn_up_exps.bias", "tensor blk.1.ffn_up_exps.bias is missing"),
    ],
)
def test_gpt_oss_misses_its_tensors(shared: Path, tensor: str, words: str) -> None:
    gpt_oss = read_gguf(shared / "models" / "open" / "gpt_oss" / "model.gguf")
    tensors = {name: t for name, t in gpt_oss.tensors.items() if name != tensor}
    with pytest.raises(MalformedFileError, match=words):
        graph_of(Checkpoint(gpt_oss.files, [], gpt_oss.keys, tensors))


def test_gpt_oss_states_its_window(shared: Path) -> None:
    gpt_oss = read_gguf(shared / "models" / "open" / "gpt_oss" / "model.gguf")
    with pytest.raises(MalformedFileError, match=r"gpt-oss\.attention\.sliding_window"):
        graph_of(gpt_oss, drop="sliding_window")


def test_layers_that_predict_further_tokens_are_left_out(mixtral: Checkpoint) -> None:
    graph = optimize(graph_of(mixtral, nextn_predict_layers=1), "f32")
    assert len(graph.of_kind("experts")) == len(optimize(graph_of(mixtral), "f32").of_kind("experts")) - 1
    with pytest.raises(MalformedFileError, match="2 of them predict further tokens"):
        graph_of(mixtral, nextn_predict_layers=2)
