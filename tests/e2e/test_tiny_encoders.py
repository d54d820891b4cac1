"""Encoders and classifiers from Hugging Face directories, against random models of transformers' classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import llmc
from tests.e2e.reference import Compiled
from tests.e2e.tiny_transformers import F32_MAX_ABS, VOCAB, Tiny, build

MHA: dict[str, Any] = {"num_key_value_heads": None}
TOKENS = 150  # more than two KV pages, and windows on both sides
MODERN: dict[str, Any] = {
    **MHA, "local_attention": 24, "num_hidden_layers": 4, "cls_token_id": 0, "sep_token_id": 1, "classifier_bias": True,
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
    head = "ForSequenceClassification" if cls.endswith("Classification") else "EncoderModel" if "Encoder" in cls else "Model"
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


def test_segments_reach_the_scores(compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*CLASSIFIERS["bert"], tmp_path)
    loaded, ids = llmc.load(compiled(model.folder, "f32"), threads=2), random_ids(20)
    segments = [0] * 12 + [1] * 8
    assert np.abs(loaded.embed(ids, segments=segments) - results(model, ids, segments)).max() <= F32_MAX_ABS
    assert np.abs(loaded.embed(ids) - results(model, ids, segments)).max() > F32_MAX_ABS
