"""Encoders and classifiers from Hugging Face directories, against random models of transformers' classes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

import llmc
from llmc import inspection
from llmc.errors import LlmcError, UsageError
from llmc.frontend.load import open_model
from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import F32_MAX_ABS, VOCAB, Tiny, build

Row = NDArray[np.float64]
MHA: dict[str, Any] = {"num_key_value_heads": None}
TOKENS = 150  # more than two KV pages, and windows on both sides
MODERN: dict[str, Any] = {
    **MHA, "local_attention": 24, "num_hidden_layers": 4, "cls_token_id": 0, "sep_token_id": 1, "classifier_bias": True,
}  # fmt: skip

GEMMA: dict[str, Any] = {
    "head_dim": 16, "num_hidden_layers": 7, "sliding_window": 24, "use_bidirectional_attention": True,
    "tie_word_embeddings": True, "query_pre_attn_scalar": 16,
}  # fmt: skip
T5: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", *MHA)), "d_model": 64,
    "d_ff": 96, "d_kv": 24, "num_layers": 3, "num_heads": 4, "max_position_embeddings": None, "n_positions": 512,
}  # fmt: skip

# Class -> the configuration of its model
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("RobertaModel", {**MHA, "pad_token_id": 1, "hidden_act": "gelu_new"}),
    "camembert": ("CamembertModel", {**MHA, "pad_token_id": 5}),
    "modernbert": ("ModernBertModel", MODERN),
    "nomic-bert": ("NomicBertModel", MHA),
    "eurobert": ("EuroBertModel", {}),
    "t5": ("T5EncoderModel", {**T5, "feed_forward_proj": "gated-gelu"}),
    "t5-relu": ("T5EncoderModel", {**T5, "relative_attention_num_buckets": 20, "relative_attention_max_distance": 50}),
    "umt5": ("UMT5EncoderModel", {**T5, "feed_forward_proj": "gated-gelu"}),
    "gemma": ("Gemma3TextModel", GEMMA),
    "jina-v3": ("JinaEmbeddingsV3Model", {**MHA, "type_vocab_size": 1}),
}
CLASSIFIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", {**MHA, "num_labels": 3, "id2label": {0: "no", 1: "may\tbe", 2: "ja 是"}}),
    "roberta": ("RobertaForSequenceClassification", {**MHA, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRobertaForSequenceClassification", {**MHA, "pad_token_id": 1, "num_labels": 1}),
    "modernbert": ("ModernBertForSequenceClassification", {**MODERN, "num_labels": 3}),
    "modernbert-mean": ("ModernBertForSequenceClassification", {**MODERN, "num_labels": 1, "classifier_pooling": "mean",
        "classifier_activation": "relu", "classifier_bias": False}),
    "nomic-bert": ("NomicBertForSequenceClassification", {**MHA, "num_labels": 5}),
    "eurobert": ("EuroBertForSequenceClassification", {"num_labels": 4}),
    "eurobert-bos": ("EuroBertForSequenceClassification", {"num_labels": 2, "classifier_pooling": "bos"}),
}  # fmt: skip


def tiny(cls: str, config: dict[str, Any], folder: Path) -> Tiny:
    """A random model of a class, whose name ends in what its head is."""
    head = next(end for end in ("ForSequenceClassification", "EncoderModel", "Model") if cls.endswith(end))
    return build(cls.removesuffix(head), folder / "model", head, **config)


def results(model: Tiny, ids: list[int], segments: list[int] | None = None) -> NDArray[np.float32]:
    """What the class gives: states of all tokens [T, C], or scores [L]."""
    import torch

    more = {"token_type_ids": torch.tensor([segments])} if segments else {}
    with torch.no_grad():
        given = model.model(torch.tensor([ids]), **more)
    return np.asarray((given.logits if "logits" in given else given.last_hidden_state)[0].float().numpy())


def random_ids(count: int = TOKENS) -> list[int]:
    return np.random.default_rng(1).integers(8, VOCAB - 1, count).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_states_are_those_of_transformers(name: str, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*MODELS[name], tmp_path)
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids()
    expected = results(model, ids)
    assert np.abs(loaded.embed(ids, pooling="none") - expected).max() <= F32_MAX_ABS
    assert np.abs(loaded.embed(ids) - expected.mean(0)).max() <= F32_MAX_ABS


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_are_those_of_transformers(name: str, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*CLASSIFIERS[name], tmp_path)
    loaded = llmc.load(compiled(model.folder, "f32"), threads=2)
    for count in (TOKENS, 3):
        ids = random_ids(count)
        expected = results(model, ids)
        assert np.ptp(np.append(expected, 0)) > 0.1  # the head says something
        assert np.abs(loaded.embed(ids, pooling="rank") - expected).max() <= F32_MAX_ABS
    labels = model.model.config.id2label
    assert loaded.info.labels == tuple(labels[i] for i in range(len(labels)))
    assert list(loaded.classify("a text")) == list(loaded.info.labels)


def with_template(model: Tiny, kind: str) -> Path:
    """The model's directory, its tokenizer putting token 2 before a text and token 3 after."""
    path = model.folder / "tokenizer.json"
    processor = {"type": kind, "cls": ["!", 2], "sep": ['"', 3], "trim_offsets": True, "add_prefix_space": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": processor}))
    return model.folder


@pytest.mark.parametrize(("name", "kind"), [("bert", "BertProcessing"), ("roberta", "RobertaProcessing")])
def test_two_texts_are_scored_as_the_model_expects_them(name: str, kind: str, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*CLASSIFIERS[name], tmp_path)
    artifact = compiled(with_template(model, kind), "f32")
    loaded = llmc.load(artifact, threads=2)
    ids, segments = loaded.tokenizer.tokenize_pair("a query", "its document")
    expected = results(model, ids, segments)
    assert ids.count(3) == (2 if name == "bert" else 3) and max(segments) == (name == "bert")
    given = loaded.classify("a query", "its document")
    assert np.abs([*given.values()] - expected).max() <= F32_MAX_ABS
    command = [sys.executable, "-m", "llmc", "classify", str(artifact), "--query", "a query", "its document", "another", "--json"]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert document["scores"][0] == given and len(document["scores"]) == 2


def test_a_classifier_says_what_it_is_and_refuses_the_rest(compiled: Compiled, tmp_path: Path) -> None:
    artifact = compiled(tiny(*CLASSIFIERS["bert"], tmp_path).folder, "f32")
    model = llmc.load(artifact)
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: model.embed([5], pooling="mean"), "own pooling"), (lambda: model.generate([5]), "classifier and generates no"),
        (lambda: model.logits([5]), "classify"), (lambda: model.classify("a", "b"), "template for two texts"),
        (lambda: model.classify("a" * 600), "at most 512"), (lambda: model.embed([5], segments=[0, 1]), "2 segments"),
    ]  # fmt: skip
    for call, says in refused:
        with pytest.raises(UsageError, match=says):
            call()
    shown = inspection.text(inspection.inspect(artifact))
    assert "classifier: scores of no, may?be, ja 是; pooling cls" in shown


def test_segments_reach_the_scores(compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*CLASSIFIERS["bert"], tmp_path)
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids(20)
    segments = [0] * 12 + [1] * 8
    assert np.abs(loaded.embed(ids, segments=segments) - results(model, ids, segments)).max() <= F32_MAX_ABS
    assert np.abs(loaded.embed(ids) - results(model, ids, segments)).max() > F32_MAX_ABS


# Class -> its configuration, of decoders whose rows are states or scores
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3Model", {"head_dim": 16}),
    "qwen3-scores": ("Qwen3ForSequenceClassification", {"head_dim": 16, "num_labels": 2}),
    "llama-scores": ("LlamaForSequenceClassification", {"num_labels": 1}),
    "mistral": ("MistralModel", {"sliding_window": 24}),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_embeds_and_scores_as_transformers_does(name: str, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*DECODERS[name], tmp_path)
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids(300)  # more than two steps
    expected = results(model, ids)
    if name.endswith("scores"):
        assert np.abs(loaded.embed(ids) - expected).max() <= F32_MAX_ABS
        return
    for pooling, row in {"none": expected, "mean": expected.mean(0), "cls": expected[0], "last": expected[-1]}.items():
        assert np.abs(loaded.embed(ids, pooling=pooling) - row).max() <= F32_MAX_ABS
    with pytest.raises(UsageError, match="an embedding model and generates no text"):
        loaded.generate([5])


def modules(folder: Path, pooling: dict[str, Any], *more: dict[str, Any]) -> None:
    """What sentence-transformers writes beside a model."""
    kinds = [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
             {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}, *more]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(kinds))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def test_modules_make_an_embedding_model_of_a_decoder(compiled: Compiled, tmp_path: Path) -> None:
    model = build("Qwen3", tmp_path / "model", "ForCausalLM", head_dim=16)
    modules(model.folder, {"word_embedding_dimension": 64, "pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False},
            {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})  # fmt: skip
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids(200)
    import torch

    with torch.no_grad():
        state = model.model.model(torch.tensor([ids])).last_hidden_state[0, -1].numpy()
    assert (loaded.info.pooling, loaded.info.normalize) == ("last", True)
    assert np.abs(loaded.embed(ids) - state / np.linalg.norm(state)).max() <= F32_MAX_ABS


def dense(folder: Path, rows: int, columns: int, function: str, bias: bool) -> Callable[[Row], Row]:
    """Writes a module of sentence-transformers at random, and gives what it computes."""
    rng = np.random.default_rng(rows)
    tensors = {"linear.weight": rng.standard_normal((rows, columns)).astype(np.float32) / 8}
    tensors |= {"linear.bias": rng.standard_normal(rows).astype(np.float32)} if bias else {}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    config = {"in_features": columns, "out_features": rows, "bias": bias, "activation_function": function}
    (folder / "config.json").write_text(json.dumps(config))
    last = np.tanh if function.endswith("Tanh") else np.asarray
    return lambda x: last(tensors["linear.weight"].astype(np.float64) @ x + tensors.get("linear.bias", np.zeros(rows)))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_dense_layers_follow_the_pooling(pooling: str, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*MODELS["gemma"], tmp_path)
    kinds = [{"idx": i, "path": f"{i}_{name}", "type": f"sentence_transformers.models.{name}"}
             for i, name in ((2, "Dense"), (3, "Dense"), (4, "Normalize"))]  # fmt: skip
    modules(model.folder, {"pooling_mode": pooling}, *kinds)
    layers = [dense(model.folder / "2_Dense", 96, 64, "torch.nn.modules.linear.Identity", False),
              dense(model.folder / "3_Dense", 32, 96, "torch.nn.modules.activation.Tanh", True)]  # fmt: skip
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids()
    states = results(model, ids).astype(np.float64)
    row = layers[1](layers[0](states.mean(0) if pooling == "mean" else states[0]))
    assert loaded.info.row_floats == 32 and loaded.info.pooling == pooling
    assert np.abs(loaded.embed(ids) - row / np.linalg.norm(row)).max() <= F32_MAX_ABS
    assert np.abs(loaded.embed(ids, normalize=False) - row).max() <= F32_MAX_ABS
    with pytest.raises(UsageError, match="own pooling"):
        loaded.embed(ids, pooling="last")


@pytest.mark.parametrize(("change", "says"), [
    ({"in_features": 65}, "2_Dense takes rows of 65"), ({"bias": True}, "2_Dense.linear.bias is missing"),
    ({"activation_function": "os.system"}, "activation_function"), ({"out_features": -1}, "out_features"),
])  # fmt: skip
def test_refuses_dense_layers_that_do_not_fit(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = tiny(*MODELS["gemma"], tmp_path)
    modules(model.folder, {"pooling_mode": "mean"}, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    dense(model.folder / "2_Dense", 32, 64, "torch.nn.modules.linear.Identity", False)
    config = json.loads((model.folder / "2_Dense" / "config.json").read_text())
    (model.folder / "2_Dense" / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(LlmcError, match=says):
        open_model(model.folder)
