"""Every family through all passes, with weights in blocks: random ones in the shapes of the open models, which are dense."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from llmc.codegen.lower import lower
from llmc.frontend.checkpoint import Checkpoint, Tensor
from llmc.frontend.load import build, find_architecture, read_checkpoint
from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.ir.types import TensorType
from llmc.passes.pipeline import optimize
from tests.ir.sample import raw_weight
from tests.passes.rewrites import assert_close

FAMILIES = [
    "cohere", "cohere2", "exaone4", "gemma2", "gemma3", "glm4", "gpt2", "gpt_neox", "olmo2", "phi3", "stablelm", "starcoder2",
]  # fmt: skip
TOKENS = np.arange(40, dtype=np.int32)  # more than the windows of these models, which are 32


class Quantised(Checkpoint):
    """A checkpoint whose matrices are random Q4_0."""

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        tensor = self.tensors[name]
        return raw_weight(TensorType(tensor.format, tensor.shape), name) if len(tensor.shape) == 2 else super().data(name)


def quantised(path: Path) -> Quantised:
    source = read_checkpoint(path)
    return Quantised(source.files, source._maps, source.keys, {name: _in_blocks(t) for name, t in source.tensors.items()})


def _in_blocks(tensor: Tensor) -> Tensor:
    return replace(tensor, format=FORMATS["q4_0"]) if len(tensor.shape) == 2 else tensor


Weights = Callable[[str], WeightData]


def weights(checkpoint: Checkpoint) -> Weights:
    """Tensors by name, made once."""

    @cache
    def weight(name: str) -> WeightData:
        return WeightData(checkpoint.tensors[name].format, checkpoint.data(name), checkpoint.tensors[name].shape)

    return weight


def logits(graph: Graph, weight: Weights) -> npt.NDArray[np.float32]:
    inputs = {
        "tokens": TOKENS, "positions": TOKENS, "rows": TOKENS[-5:], "cache": KvState(), "context": np.array([512], np.int32),
    }  # fmt: skip
    result: npt.NDArray[np.float32] = interpret(graph, inputs, weight)[0]
    return result


@pytest.mark.parametrize("fixture", FAMILIES)
def test_passes_keep_the_logits_of_every_family(shared: Path, fixture: str) -> None:
    checkpoint = quantised(shared / "models" / "open" / fixture / "model.gguf")
    family = find_architecture(checkpoint)
    graph = build(checkpoint, family, family.config(checkpoint), checkpoint.tensors["token_embd.weight"].shape[0])
    weight, int8 = weights(checkpoint), optimize(graph, "int8")
    before = logits(graph, weight)
    assert_close(before, logits(optimize(graph, "f32"), weight), 1e-5)
    assert_close(before, logits(int8, weight), 0.1)
    assert not int8.of_kind("softcap") and len(lower(int8).weights.regions) == len(int8.of_kind("weight"))
