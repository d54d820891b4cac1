"""Encoders and classifiers from GGUF files of random models of transformers, written as llama.cpp's converters do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmc
from llmc.errors import LlmcError, MalformedFileError
from llmc.frontend.load import open_model
from tests.e2e.reference import Compiled
from tests.e2e.test_tiny_encoders import CLASSIFIERS, DECODERS, random_ids, results, tiny
from tests.e2e.test_tiny_encoders import MODELS as DIRECTORIES
from tests.e2e.tiny_gguf import Array, Convert, Named, write
from tests.e2e.tiny_transformers import F32_MAX_ABS, Tiny

LAYER_NORM = {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False}


def bert(name: str, value: Array) -> Named:
    """Prefixes go, and so does the pooler: scores are made of the first token's state itself."""
    name = name.removeprefix("bert.").removeprefix("roberta.").removeprefix("nomic_bert.").removeprefix("model.")
    if name == "embeddings.position_embeddings.weight" and len(value) == 512 - 2:
        value = value[2:]
    if not name.startswith("pooler."):
        yield name.replace("classifier.weight", "cls.output.weight").replace("classifier.bias", "cls.output.bias"), value


def roberta(name: str, value: Array) -> Named:
    """Rows of positions that no text uses are cut off, with the padding token's id at 1."""
    short = name.removeprefix("roberta.")
    if not short.startswith("pooler."):
        yield short, value[2:] if short == "embeddings.position_embeddings.weight" else value


def gemma(name: str, value: Array) -> Named:
    yield f"model.{name}", value + 1 if name.endswith("norm.weight") else value


CLS: dict[str, Any] = {"pooling_type": 4}

# general.architecture -> the directory it is made of, its keys, how its tensors are made
MODELS: dict[str, tuple[str, Mapping[str, Any], Convert]] = {
    "bert": ("roberta", {**LAYER_NORM, "context_length": 510}, roberta),
    "nomic-bert": ("nomic-bert", {**LAYER_NORM, "rope.freq_base": 1000.0}, bert),
    "jina-bert-v3": ("jina-v3", {**LAYER_NORM, "attention.layer_norm_epsilon": 1e-5}, bert),
    "eurobert": ("eurobert", {"attention.causal": False}, bert),
    "gemma-embedding": ("gemma", {"attention.sliding_window": 24, "rope.freq_base": 1e6}, gemma),
    "t5encoder": ("t5", {"context_length": 512, "attention.relative_buckets_count": 32, "attention.layer_norm_rms_epsilon": 1e-6,
        "feed_forward_length": 96, "rope.freq_base": None, "rope.dimension_count": None}, bert),
}  # fmt: skip


@pytest.mark.parametrize("family", MODELS)
def test_states_of_a_file_are_those_of_transformers(family: str, compiled: Compiled, tmp_path: Path) -> None:
    name, keys, convert = MODELS[family]
    model = tiny(*DIRECTORIES[name], tmp_path)
    path = write(model, family, keys={**keys, "pooling_type": 1}, convert=convert, stored=True)
    loaded, ids = llmc.load(compiled(path, "f32"), threads=2), random_ids()
    expected = results(model, ids)
    assert np.abs(loaded.embed(ids, pooling="none") - expected).max() <= F32_MAX_ABS
    mean = expected.mean(0)
    assert np.abs(loaded.embed(ids) - mean / np.linalg.norm(mean)).max() <= F32_MAX_ABS


def scored(family: str, name: str, folder: Path, keys: Mapping[str, Any], convert: Convert) -> tuple[Tiny, Path]:
    model = tiny(*CLASSIFIERS[name], folder)
    return model, write(model, family, keys={**LAYER_NORM, **keys}, convert=convert, stored=True)


@pytest.mark.parametrize("keys", [CLS, {}], ids=["rank", "unsaid"])
def test_scores_of_a_reranker_are_those_of_transformers(keys: dict[str, Any], compiled: Compiled, tmp_path: Path) -> None:
    model, path = scored("bert", "xlm-roberta", tmp_path, {**keys, "context_length": 510}, roberta)
    loaded, ids = llmc.load(compiled(path, "f32"), threads=2), random_ids()
    assert np.abs(loaded.embed(ids) - results(model, ids)).max() <= F32_MAX_ABS
    assert (loaded.info.pooling, loaded.info.labels, loaded.info.row_floats) == ("rank", ("LABEL_0",), 1)


def test_scores_without_a_pooler_and_labels_by_name(compiled: Compiled, tmp_path: Path) -> None:
    labels = {"classifier.output_labels": ["no", "perhaps", "yes"]}
    model, path = scored("bert", "bert", tmp_path, {**CLS, **labels}, bert)
    loaded, ids = llmc.load(compiled(path, "f32"), threads=2), random_ids()
    import torch

    with torch.no_grad():
        state = model.model.bert(torch.tensor([ids])).last_hidden_state[0, 0]
        expected = model.model.classifier(state).numpy()
    assert np.abs(loaded.embed(ids) - expected).max() <= F32_MAX_ABS
    assert loaded.info.labels == ("no", "perhaps", "yes")


def modern(name: str, value: Array) -> Named:
    name = name.removeprefix("model.")
    yield name.replace("classifier.", "cls.output.").replace("head.dense", "cls").replace("head.norm", "cls.norm"), value


def test_scores_of_modern_bert_are_those_of_transformers(compiled: Compiled, tmp_path: Path) -> None:
    keys = {**CLS, "attention.layer_norm_epsilon": 1e-5, "attention.sliding_window": 24, "attention.sliding_window_pattern": 3,
            "rope.freq_base": 160000.0, "rope.freq_base_swa": 10000.0}  # fmt: skip
    model, path = scored("modern-bert", "modernbert", tmp_path, keys, modern)
    loaded, ids = llmc.load(compiled(path, "f32"), threads=2), random_ids()
    assert np.abs(loaded.embed(ids) - results(model, ids)).max() <= F32_MAX_ABS


@pytest.mark.parametrize(("keys", "convert", "says"), [
    (CLS, lambda name, value: () if "out_proj" in name or "dense" in name and "classifier" in name else roberta(name, value),
        "cls.output.weight"),
    ({"classifier.output_labels": ["a", "b"]}, roberta, "2 labels"),
])  # fmt: skip
def test_refuses_a_head_that_is_not_whole(keys: dict[str, Any], convert: Convert, says: str, tmp_path: Path) -> None:
    _, path = scored("bert", "xlm-roberta", tmp_path, {**keys, "context_length": 510}, convert)
    with pytest.raises(MalformedFileError, match=says):
        open_model(path)


@pytest.mark.parametrize(("change", "says"), [
    ({"id2label": {"0": "a"}}, "id2label names 1 labels"), ({"id2label": {"0": "a", "1": "b", "7": "c"}}, "numbered from 0"),
    ({"id2label": {"0": "a\0b", "1": "b", "2": "c"}}, "zero byte"), ({"id2label": {"0": 1, "1": "b", "2": "c"}}, "a string"),
])  # fmt: skip
def test_refuses_labels_that_do_not_fit(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    import json

    model = tiny(*CLASSIFIERS["bert"], tmp_path)
    config = json.loads((model.folder / "config.json").read_text())
    (model.folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(LlmcError, match=says):
        open_model(model.folder)


def decoder(name: str, value: Array) -> Named:
    yield {"score.weight": "cls.output.weight"}.get(name, name), value


@pytest.mark.parametrize(("name", "kind"), [("qwen3", 3), ("qwen3-scores", 4)])
def test_a_decoders_file_says_that_it_embeds_or_scores(name: str, kind: int, compiled: Compiled, tmp_path: Path) -> None:
    model = tiny(*DECODERS[name], tmp_path)
    path = write(model, "qwen3", keys={"pooling_type": kind}, convert=decoder)
    loaded, ids = llmc.load(compiled(path, "f32"), threads=2), random_ids(200)
    expected = results(model, ids) if kind == 4 else (last := results(model, ids)[-1]) / np.linalg.norm(last)
    assert np.abs(loaded.embed(ids) - expected).max() <= F32_MAX_ABS
    assert loaded.info.pooling == ("rank" if kind == 4 else "last")
