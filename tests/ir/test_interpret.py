"""The interpreter against a transformer written down a second time, plainly: one token after the other, no shared code."""

from typing import Any

import numpy as np
import pytest

from llmc.frontend.quant import FORMATS
from llmc.ir.interpret import KvState, WeightData, interpret
from llmc.ir.ops import CATALOGUE
from llmc.ir.quant import INDICES, dequantize
from tests.ir import sample
from tests.passes.models import TINY, Decoder, decoder
from tests.passes.rewrites import graph

Array = Any
LAYERS = 2
SCALES = {"granite": {"embedding_scale": 12.0, "residual_scale": 0.25, "logit_scale": 8.0, "attention.scale": 0.125}}


class PlainTransformer:
    """Logits after each token of a sequence, in float64."""

    def __init__(self, model: Decoder, family: str) -> None:
        self.weights, self.family = model.weights, family
        scales = SCALES.get(family, {})
        self.embedding_scale, self.residual_scale = scales.get("embedding_scale", 1.0), scales.get("residual_scale", 1.0)
        self.logit_scale = scales.get("logit_scale", 1.0)
        self.attention_scale = scales.get("attention.scale", TINY.head_dim**-0.5)
        self.keys: list[list[Array]] = [[] for _ in range(LAYERS)]
        self.values: list[list[Array]] = [[] for _ in range(LAYERS)]

    def weight(self, name: str) -> Array:
        data = self.weights(name)
        return dequantize(data.format, data.raw).reshape(data.shape).astype(np.float64)

    def product(self, x: Array, name: str) -> Array:
        y = self.weight(f"{name}.weight") @ x
        return y + self.weight(f"{name}.bias") if f"{name}.bias" in self.weights.types else y

    def norm(self, x: Array, name: str) -> Array:
        return x / np.sqrt(np.sum(x**2) / len(x) + 1e-5) * self.weight(name)

    def rotate(self, head: Array, position: int) -> Array:
        half = self.family in ("qwen2", "qwen3")
        turned = head.copy()
        for i in range(TINY.head_dim // 2):
            a, b = (i, i + TINY.head_dim // 2) if half else (2 * i, 2 * i + 1)
            angle = position * 10000.0 ** (-2 * i / TINY.head_dim)
            turned[a] = head[a] * np.cos(angle) - head[b] * np.sin(angle)
            turned[b] = head[a] * np.sin(angle) + head[b] * np.cos(angle)
        return turned

    def heads(self, x: Array, layer: int, part: str, position: int) -> list[Array]:
        heads = list(self.product(x, f"blk.{layer}.attn_{part}").reshape(-1, TINY.head_dim))
        if self.family == "qwen3":
            heads = [self.norm(head, f"blk.{layer}.attn_{part}_norm.weight") for head in heads]
        return [self.rotate(head, position) for head in heads]

    def attend(self, x: Array, layer: int, position: int) -> Array:
        queries = self.heads(x, layer, "q", position)
        self.keys[layer].append(self.heads(x, layer, "k", position))
        self.values[layer].append(list(self.product(x, f"blk.{layer}.attn_v").reshape(-1, TINY.head_dim)))
        mixed = []
        for h, query in enumerate(queries):
            kv = h // (TINY.heads // TINY.kv_heads)
            scores = np.array([self.attention_scale * query @ keys[kv] for keys in self.keys[layer]])
            weights = np.exp(scores) / np.sum(np.exp(scores))
            mixed.append(sum(w * values[kv] for w, values in zip(weights, self.values[layer], strict=True)))
        return self.product(np.concatenate(mixed), f"blk.{layer}.attn_output")

    def feed_forward(self, x: Array, layer: int) -> Array:
        gate, up = (self.product(x, f"blk.{layer}.ffn_{part}") for part in ("gate", "up"))
        return self.product(gate / (1 + np.exp(-gate)) * up, f"blk.{layer}.ffn_down")

    def step(self, token: int, position: int) -> Array:
        x = self.embedding_scale * self.weight("token_embd.weight")[token]
        for layer in range(LAYERS):
            x = x + self.residual_scale * self.attend(self.norm(x, f"blk.{layer}.attn_norm.weight"), layer, position)
            x = x + self.residual_scale * self.feed_forward(self.norm(x, f"blk.{layer}.ffn_norm.weight"), layer)
        return self.product(self.norm(x, "output_norm.weight"), "output") / self.logit_scale


def logits(model: Decoder, tokens: list[int], chunks: list[int]) -> Array:
    """Logits of every token, steps of the given sizes."""
    cache, rows, start = KvState(), [], 0
    for size in chunks:
        positions = np.arange(start, start + size)
        inputs = {"tokens": np.array(tokens)[positions], "positions": positions, "rows": np.arange(size), "cache": cache}
        step, cache = interpret(model.graph, inputs, model.weights)
        rows.append(step)
        start += size
    return np.concatenate(rows)


@pytest.mark.parametrize("chunks", [[7], [4, 1, 2], [1] * 7], ids=["one piece", "uneven chunks", "token by token"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "granite", "smollm3"])
def test_a_decoder_computes_what_a_plain_transformer_does(family: str, chunks: list[int]) -> None:
    model = decoder(family, LAYERS, biased=("attn_q", "attn_k", "attn_v") if family == "qwen2" else (), **SCALES.get(family, {}))
    tokens = [5, 17, 3, 3, TINY.vocab - 1, 0, 42]
    plain = PlainTransformer(model, family)
    expected = np.array([plain.step(token, position) for position, token in enumerate(tokens)])
    np.testing.assert_allclose(logits(model, tokens, chunks), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_rows_pick_the_logits_that_are_wanted() -> None:
    model = decoder()
    everything = logits(model, [1, 2, 3, 4], [4])
    inputs = {"tokens": np.array([1, 2, 3, 4]), "positions": np.arange(4), "rows": np.array([3, 1]), "cache": KvState()}
    picked, _ = interpret(model.graph, inputs, model.weights)
    np.testing.assert_array_equal(picked, everything[[3, 1]])


def test_a_step_leaves_the_cache_it_was_given_alone() -> None:
    model, cache = decoder(), KvState()
    inputs = {"tokens": np.array([1]), "positions": np.array([0]), "rows": np.array([0]), "cache": cache}
    _, after = interpret(model.graph, inputs, model.weights)
    assert not cache.layers and {layer: keys.shape for layer, (keys, _) in after.layers.items()} == {0: (1, 32), 1: (1, 32)}


def test_a_cache_of_half_floats_rounds_what_it_stores() -> None:
    k = np.full((1, 32), 1 + 2**-12, np.float32)
    stored = KvState().append(0, k, k, "f16")
    assert (stored.keys(0) == 1).all() and (KvState().append(0, k, k, "f32").keys(0) == k).all()


def run(text: str, **inputs: Array) -> Array:
    g = graph(text)
    (result,) = interpret(g, inputs, sample.Weights.of(g))
    return result


def test_quantised_activations_are_multiples_of_their_scale() -> None:
    x = np.zeros((2, 64), np.float32)
    x[0, :3], x[1, 40] = (127.0, 0.4, 2.6), -3.0
    quantised = run("%x = input f32[T,64]\n%q = quantize %x\nreturn %q", x=x)
    assert quantised[0, :4].tolist() == [127.0, 0.0, 3.0, 0.0]
    np.testing.assert_allclose(quantised[1, 40], -3.0, rtol=1e-7)
    assert np.count_nonzero(quantised) == 3


def test_ties_round_to_even() -> None:
    x = np.zeros((1, 32), np.float32)
    x[0, :4] = (127.0, 0.5, 1.5, -2.5)
    assert run("%x = input f32[T,32]\n%q = quantize %x\nreturn %q", x=x)[0, :4].tolist() == [127.0, 0.0, 2.0, -2.0]


def test_a_scaled_product_scales_its_bias() -> None:
    text = """
        %x = input f32[T,64]
        %w = weight f32[8,64]
        %b = weight f32[8]
        %y = linear %x, %w, %b {scale=3.0}
        return %y"""
    x = np.zeros((1, 64), np.float32)
    bias = sample.Weights.of(graph(text))("b").array()
    np.testing.assert_allclose(run(text, x=x)[0], 3 * bias, rtol=1e-6)


def test_columns_are_taken_by_index() -> None:
    text = """
        %x = input f32[T,4]
        %i = weight i32[4]
        %y = take_columns %x, %i
        return %y"""
    weights = {"i": WeightData(INDICES, np.array([2, 0, 0, 3], "<i4").view(np.uint8), (4,))}
    (y,) = interpret(graph(text), {"x": np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32)}, weights.__getitem__)
    assert y.tolist() == [[2, 0, 0, 3], [6, 4, 4, 7]]


def test_columns_are_scaled_before_their_bias() -> None:
    text = """
        %x = input f32[T,2]
        %f = weight f32[2]
        %b = weight f32[2]
        %y = scale_columns %x, %f, %b
        %z = scale_columns %x, %f
        return %y, %z"""
    vectors = {"f": [2, 3], "b": [10, 20]}
    data = {name: WeightData(FORMATS["f32"], np.array(v, "<f4").view(np.uint8), (2,)) for name, v in vectors.items()}
    y, z = interpret(graph(text), {"x": np.array([[1, -1]], np.float32)}, data.__getitem__)
    assert (y.tolist(), z.tolist()) == ([[12, 17]], [[2, -3]])


def test_functions_without_a_gate() -> None:
    x = np.array([[-2.0, 0.0, 3.0, -1e-7]], np.float32)
    assert run("%x = input f32[T,4]\n%y = relu2 %x\nreturn %y", x=x).tolist() == [[0, 0, 9, 0]]
    (y,) = CATALOGUE["xielu"].compute([x, np.array([0.5, 2.0, 0.25, -1e-6], np.float32)], {})
    np.testing.assert_allclose(y, [[2 * (np.exp(-2.0) + 1) - 0.5, 0, 5.25, -1.8e-6 - 2.5e-8]], rtol=1e-5)
    assert run("%x = input f32[T,4]\n%y = clamp %x {limit=1.5}\nreturn %y", x=x).tolist()[0][:3] == [-1.5, 0, 1.5]


def test_rows_are_scaled_by_how_far_along_they_are() -> None:
    x, positions, factors = np.ones((4, 2), np.float32), np.array([0, 7, 8, 99], np.int32), np.array([1, 2, 3], np.float32)
    (y,) = CATALOGUE["scale_positions"].compute([x, positions, factors], {"length": 8})
    assert y[:, 0].tolist() == [1, 1, 2, 3]
    (y,) = CATALOGUE["scale_positions"].compute([x, positions, factors], {"length": 8, "offset": 1})
    assert y[:, 0].tolist() == [1, 2, 2, 3]


def test_slopes_take_from_scores_by_distance() -> None:
    scores, positions = np.zeros((1, 2, 3), np.float32), np.array([2], np.int32)
    (p,) = CATALOGUE["softmax_causal"].compute([scores, positions, np.array([1.0, 0.5])], {"alibi": True})
    np.testing.assert_allclose(p[0, :, 0] / p[0, :, 2], np.exp([-2.0, -1.0]), rtol=1e-6)


def test_every_head_has_a_layer_norm_of_its_own() -> None:
    weights = WeightData(FORMATS["f32"], np.array([1, 2, 3, 4], "<f4").view(np.uint8), (2, 2))
    (y,) = CATALOGUE["head_layer_norm"].compute([np.array([[0, 2, 5, -5]], np.float32), weights], {"heads": 2, "eps": 0.0})
    assert y.tolist() == [[-1, 2, 3, -4]]


def test_silu_of_large_numbers_does_not_overflow() -> None:
    y = run("%x = input f32[T,4]\n%y = silu %x\nreturn %y", x=np.array([[-1e30, -1000, 0, 1000]], np.float32))
    assert y.tolist() == [[0, 0, 0, 1000]] or np.abs(y - [[0, 0, 0, 1000]]).max() < 1e-30


def test_every_op_of_the_catalogue_is_documented() -> None:
    shapes = {"mul", "div"}  # their names say it
    assert not [name for name, op in CATALOGUE.items() if not op.compute.__doc__ and name not in shapes]
