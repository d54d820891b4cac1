"""The op catalogue: for every op its shape rule and its numpy reference.

Notation: T tokens, R rows wanted, H query heads, Hk key/value heads, D head dim, C hidden, F intermediate, N x K weight rows x
columns.
References take float32 arrays, accumulate in float64 and return float32, so they are the oracle of passes and kernels alike.
A `q8` operand is given as the float64 values its codes and scales stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmc.ir import reference as ref
from llmc.ir.catalogue import CATALOGUE as CATALOGUE
from llmc.ir.catalogue import Attrs, op
from llmc.ir.catalogue import OpError as OpError
from llmc.ir.catalogue import expect as _expect
from llmc.ir.catalogue import in_forms as _in_forms
from llmc.ir.catalogue import infer as infer
from llmc.ir.catalogue import like_first as _like_first
from llmc.ir.catalogue import outs as _outs
from llmc.ir.catalogue import same as _same
from llmc.ir.catalogue import same_in_forms as _same_in_forms
from llmc.ir.quant import INDICES
from llmc.ir.types import CACHE, SCALE_COLUMNS, DType, TensorType, f32, i32

# ---- shape rules ------------------------------------------------------------------------------------------------------------


def _embedding(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    ids, table = inputs
    _expect(ids.dtype is DType.I32 and table.is_weight_format, "takes i32 ids and a weight")
    return (f32(*ids.shape, table.shape[1]),)


def _dequantize(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _expect(inputs[0].is_weight_format, "takes a weight")
    return (f32(*inputs[0].shape),)


def _matmul(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = inputs[:2]
    _expect(x.shape[-1] == w.shape[1], f"{x.shape[-1]} columns times {w.shape[1]}")
    return (f32(*x.shape[:-1], w.shape[0]),)


def _linear(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _expect(inputs[1].is_weight_format, "the second operand is a weight")
    _expect(len(inputs) == 2 or inputs[2].shape == (inputs[1].shape[0],), "the bias has one element per weight row")
    return _matmul(inputs, attrs)


def group_weights(inputs: Sequence[Any], attrs: Attrs) -> list[tuple[Any, Any]]:
    """(weight, bias or None) of each part of a grouped linear: x, then every weight, then the biases that exist."""
    biases = attrs["biases"]
    weights, rest = inputs[1 : 1 + len(biases)], list(inputs[1 + len(biases) :])
    return [(w, rest.pop(0) if has else None) for w, has in zip(weights, biases, strict=True)]


def group_linears(linears: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], tuple[bool, ...]]:
    """The operands and the `biases` of a group, from the operands (x, weight, perhaps a bias) of its parts, which share x."""
    weights, biases = [part[1] for part in linears], [bias for part in linears for bias in part[2:]]
    return (linears[0][0], *weights, *biases), tuple(len(part) > 2 for part in linears)


def _linear_group(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    parts = group_weights(inputs, attrs)
    return tuple(_linear([inputs[0], w] + ([b] if b else []), attrs)[0] for w, b in parts)


def _linear_silu_mul(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    gate, up = _linear_group(inputs, attrs)
    _expect(gate == up, "gate and up differ in shape")
    return _outs(attrs, *gate.shape)


def _xielu(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _expect(inputs[1].shape == (4,), "takes four parameters")
    return _in_forms(inputs, attrs)


def _norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = inputs
    _expect(w.shape == (x.shape[-1],), f"{w.shape} norm weights for {x.shape[-1]} columns")
    return _outs(attrs, *x.shape)


def _biased_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w, *bias = inputs
    _expect(len(bias) <= 1 and all(b.shape == w.shape for b in bias), "the bias has one element per norm weight")
    return _norm([x, w], attrs)


def _add_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (*_same(inputs[:2], attrs), *_norm([inputs[0], *inputs[2:]], attrs))


def _add_biased_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (*_same(inputs[:2], attrs), *_biased_norm([inputs[0], *inputs[2:]], attrs))


def _head_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = inputs
    _expect(x.shape[-1] == w.shape[0] * attrs["heads"], "the weight has one element per feature of a head")
    return (x,)


def _head_layer_norm(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = inputs
    heads, features = map(int, w.shape)
    _expect(heads == attrs["heads"] and x.shape[-1] == heads * features, "a weight for each head's features")
    return (x,)


def _rope_table(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    positions, freqs = inputs[:2]
    _expect(isinstance(freqs.shape[0], int), "a known number of frequencies")
    if len(inputs) > 2:
        _expect(inputs[2] == freqs and inputs[3] == CONTEXT, "takes frequencies alike for long contexts, and the context")
        _expect(attrs["original_context"] > 0, "an original context")
    return (f32(*positions.shape, 2 * int(freqs.shape[0])),)


def _rope(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, table = inputs
    _expect(attrs["style"] in ("half", "interleaved"), f"style {attrs['style']}")
    _expect(int(table.shape[1]) <= int(x.shape[-1]) // attrs["heads"], "more rotated features than a head has")
    return (x,)


def _kv_append(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    kv, k, v = inputs
    _expect(kv == CACHE and k.shape == v.shape, "takes the cache, keys and values of one shape")
    return (CACHE,)


def _rope_kv_append(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    q, k, v, table, kv = inputs
    _rope([q, table], attrs)
    return (q, *_kv_append([kv, k, v], attrs))


def _scores(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (f32(inputs[0].shape[0], attrs["heads"], "S"),)


def _values(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (f32(inputs[0].shape[0], attrs["heads"] * attrs["head_dim"]),)


def _softmax_causal(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _expect(all(sinks.shape == (inputs[0].shape[1],) for sinks in inputs[2:]), "one sink per head")
    return (inputs[0],)


def _attention(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    _expect(all(sinks.shape == (attrs["heads"],) for sinks in inputs[3:]), "one sink per head")
    return _values(inputs, attrs)


def _attention_both(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    fits = all(len(bias.shape) == 2 and bias.shape[0] == attrs["heads"] and int(bias.shape[1]) % 2 for bias in inputs[3:])
    _expect(fits, "a bias for each head and distance")
    return _values(inputs, attrs)


def _take_rows(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    return (f32(*inputs[1].shape, *inputs[0].shape[1:]),)


def _gate_rows(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, logits = inputs
    _expect(logits == f32(*x.shape[:-1], 1), "takes a logit for each row")
    return (x,)


def _scale_positions(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, positions, factors = inputs
    _expect(positions.shape == x.shape[:1] and len(factors.shape) == 1 and attrs["length"] > 0, "a position for each row")
    return (x,)


def _take_columns(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, columns = inputs
    _expect(columns.dtype == INDICES and columns.shape == x.shape[-1:], "takes an index for each column")
    return (x,)


def _scale_columns(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, *vectors = inputs
    _expect(1 <= len(vectors) <= 2 and all(v.shape == x.shape[-1:] for v in vectors), "takes a factor for each column")
    return (x,)


def _router(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    tokens, experts = inputs[0].shape
    groups, groups_used, best = attrs.get("groups", (1, 1, 1))
    _expect(attrs["gate"] in ("softmax", "sigmoid", "sparsemixer"), f"gate {attrs['gate']}")
    _expect(1 <= attrs["used"] <= int(experts), f"{attrs['used']} of {experts} experts")
    _expect(all(bias.shape == (experts,) for bias in inputs[1:]), "a bias for each expert")
    _expect(int(experts) % groups == 0 and 1 <= groups_used <= groups, f"{groups_used} of {groups} groups")
    _expect(1 <= best <= int(experts) // groups, f"groups by their {best} best")
    _expect(attrs["used"] <= int(experts) // groups * groups_used, f"{attrs['used']} experts of {groups_used} groups")
    return i32(tokens, attrs["used"]), f32(tokens, attrs["used"])


def _experts(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, ids, weights, gate, up, down, *biases = inputs
    experts, intermediate, hidden = gate.shape
    _expect(all(w.is_weight_format for w in (gate, up, down)), "takes three weights")
    _expect(attrs.get("function", "silu") in ("silu", "clamped_silu", "gelu"), f"function {attrs.get('function')}")
    _expect(attrs.get("weigh", "result") in ("result", "x"), f"weigh {attrs.get('weigh')}")
    _expect(not biases or [b.shape for b in biases] == [w.shape[:2] for w in inputs[3:6]], "a bias for each row of all weights")
    _expect(up.shape == gate.shape and down.shape == (experts, hidden, intermediate), "the shapes of the experts differ")
    _expect(ids.dtype is DType.I32 and ids.shape == weights.shape, "an expert id for each weight")
    _expect(x.shape == (ids.shape[0], hidden), f"{x.shape} activations for experts of {hidden} columns")
    return (x,)


def _quantize(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    form = DType(attrs.get("form", "q8"))
    _expect(form in SCALE_COLUMNS, f"no int8 form is called {form.value}")
    _expect(int(inputs[0].shape[-1]) % SCALE_COLUMNS[form] == 0, f"columns must be a multiple of {SCALE_COLUMNS[form]}")
    return (TensorType(form, inputs[0].shape),)


# ---- coarse ops -------------------------------------------------------------------------------------------------------------


@op(_embedding)
def embedding(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """ids i32[T], table fmt[V,C] -> f32[T,C]; scale times row."""
    ids, table = inputs
    return (table.rows(ids) * np.float32(attrs.get("scale", 1.0)),)


@op(_dequantize)
def dequantize(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """fmt[N,K] -> f32[N,K]."""
    return (inputs[0].array(),)


@op(_matmul)
def matmul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,K], w f32[N,K] -> f32[T,N] = x @ w.T."""
    return (ref.matmul(inputs[0], inputs[1]),)


@op(_linear)
def linear(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32|q8|q8_256[T,K], w fmt[N,K], optional bias f32[N] -> f32[T,N] = scale * (x @ w.T + bias), then capped by `softcap`."""
    bias = inputs[2] if len(inputs) > 2 else None
    y = ref.matmul(inputs[0], inputs[1].array(), bias, attrs.get("scale", 1.0))
    return (ref.softcap(y, attrs["softcap"]) if "softcap" in attrs else y,)


@op(_same, inplace={0: 0})
def add(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x + alpha * y."""
    return ((inputs[0] + np.float32(attrs.get("alpha", 1.0)) * inputs[1]).astype(np.float32),)


@op(_like_first)
def add_bias(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,N], bias f32[N]: x + bias in every row."""
    return (inputs[0] + inputs[1],)


@op(_same)
def mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    return (inputs[0] * inputs[1],)


@op(_same)
def div(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    return (inputs[0] / inputs[1],)


@op(_like_first, inplace={0: 0})
def scale(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """factor * x."""
    return (inputs[0] * np.float32(attrs["factor"]),)


@op(_like_first)
def silu(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x * sigmoid(x)."""
    return (ref.silu(inputs[0]),)


@op(_in_forms)
def gelu(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))): the tanh form of GELU, arXiv:1606.08415."""
    return ref.forms(ref.gelu(inputs[0]), attrs)


@op(_in_forms)
def gelu_erf(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x/2 * (1 + erf(x / sqrt(2))): GELU as it is defined, arXiv:1606.08415."""
    return ref.forms(ref.gelu_erf(inputs[0]), attrs)


@op(_in_forms)
def relu2(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """max(x, 0)^2.  arXiv:2109.08668."""
    return ref.forms(ref.relu2(inputs[0]), attrs)


@op(_in_forms)
def relu(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """max(x, 0)."""
    return ref.forms(np.maximum(inputs[0], np.float32(0)), attrs)


@op(_xielu)
def xielu(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,F], p, n, b, eps as f32[4]: p x^2 + b x from zero on, n (e^min(x, eps) - 1 - x) + b x below.  arXiv:2411.13010."""
    return ref.forms(ref.xielu(*inputs), attrs)


@op(_like_first, inplace={0: 0})
def clamp(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """min(max(x, -limit), limit)."""
    return (np.clip(inputs[0], -np.float32(attrs["limit"]), np.float32(attrs["limit"])),)


@op(_norm)
def rms_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], w f32[C] -> x / sqrt(mean(x^2) + eps) * w.  Zhang & Sennrich, arXiv:1910.07467."""
    return ref.forms(ref.rms_norm(inputs[0], inputs[1], attrs["eps"]), attrs)


@op(_biased_norm)
def layer_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], w f32[C], optional b f32[C] -> (x - mean) / sqrt(variance + eps) * w + b.  Ba et al., arXiv:1607.06450."""
    return ref.forms(ref.layer_norm(*inputs, eps=attrs["eps"]), attrs)


@op(_head_norm, inplace={0: 0})
def head_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """rms_norm of every head on its own: x f32[T,H*D], w f32[D]."""
    x, w = inputs
    heads = x.reshape(len(x), attrs["heads"], -1)
    return (ref.rms_norm(heads, w, attrs["eps"]).reshape(x.shape),)


@op(_head_layer_norm, inplace={0: 0})
def head_layer_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """layer_norm without bias of every head on its own: x f32[T,H*D], w f32[H,D]."""
    x, w = inputs
    heads = x.reshape(len(x), attrs["heads"], -1)
    return (ref.layer_norm(heads, w.array(), eps=attrs["eps"]).reshape(x.shape),)


@op(_rope_table)
def rope_table(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """positions i32[T], freqs f32[P] -> f32[T,2P]: scale*cos then scale*sin of position*frequency (angle rounded to f32).

    With two more operands, long f32[P] and context i32[1]: where the context is larger than `original_context`, by `long`.
    """
    long = len(inputs) > 2 and int(inputs[3][0]) > attrs["original_context"]
    return (ref.rope_table(inputs[0], inputs[2] if long else inputs[1], attrs.get("scale", 1.0)),)


@op(_rope, inplace={0: 0})
def rope(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """Rotates pairs of features by the table: `half` pairs i with i+P, `interleaved` 2i with 2i+1.  arXiv:2104.09864."""
    return (ref.rope(inputs[0], inputs[1], attrs["heads"], attrs["style"]),)


@op(_kv_append, inplace={0: 0})
def kv_append(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cache, k f32[T,Hk*D], v f32[T,Hk*D] -> cache, with keys and values of `layer` stored as `dtype` ("f32", "f16" or "q8").

    `fresh`: in the place of what the layer had, where a step holds whole sequences.
    """
    kv, k, v = inputs
    return (kv.append(attrs["layer"], k, v, attrs.get("dtype", "f32"), attrs["kv_heads"], attrs.get("fresh", False)),)


@op(_scores)
def attention_scores(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """q f32[T,H*D], cache -> f32[T,H,S] = scale * q @ k.T, query head h reading key head h // (H/Hk).

    With `softcap`, c * tanh(that / c).
    """
    q, kv = inputs
    scores = ref.attention_scores(q, kv.keys(attrs["layer"]), attrs["heads"], attrs["kv_heads"], attrs["scale"])
    return (ref.softcap(scores, attrs["softcap"]) if "softcap" in attrs else scores,)


@op(_softmax_causal)
def softmax_causal(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """scores f32[T,H,S], positions i32[T]: softmax over the keys at or before each token's position, 0 after.

    With `window`, over the last `window` of them, or if `chunked` over those from the last multiple of it on. With sinks f32[H],
    e^sink joins the sum that a head's are divided by; with `alibi` these are slopes, and scores are less by the slope for every
    position that a key lies back.
    """
    scores, positions, *of_heads = inputs
    if attrs.get("alibi"):
        scores, of_heads = ref.alibi(scores, positions, *of_heads), []
    sinks = of_heads[0] if of_heads else None
    return (ref.softmax_causal(scores, positions, attrs.get("window", 0), sinks, attrs.get("chunked", False)),)


@op(_values)
def attention_values(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """probabilities f32[T,H,S], cache -> f32[T,H*D]."""
    p, kv = inputs
    return (ref.attention_values(p, kv.values(attrs["layer"]), attrs["kv_heads"]),)


@op(_attention_both)
def attention_both(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """q f32[T,H*D], cache, positions i32[T], perhaps bias f32[H,2*span-1] -> f32[T,H*D]: attention of an encoder, to both sides.

    With `reach`, to keys at most so many positions away. bias[h, d] joins scores of keys d - span + 1 positions after the query.
    """
    q, kv, positions, *bias = inputs
    scores = ref.attention_scores(q, kv.keys(attrs["layer"]), attrs["heads"], attrs["kv_heads"], attrs["scale"])
    scores = ref.biased(scores, positions, bias[0]) if bias else scores
    probabilities = ref.softmax_both(scores, positions, attrs.get("reach", 0))
    return (ref.attention_values(probabilities, kv.values(attrs["layer"]), attrs["kv_heads"]),)


@op(_like_first, inplace={0: 0})
def softcap(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """cap * tanh(x / cap).  arXiv:2408.00118."""
    return (ref.softcap(inputs[0], attrs["cap"]),)


@op(_gate_rows, inplace={0: 0})
def gate_rows(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], logits f32[T,1] -> x * sigmoid(logit of the row)."""
    x, logits = inputs
    return (np.asarray(x / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, None))), np.float32),)


@op(_take_rows)
def take_rows(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], rows i32[R] -> f32[R,C]."""
    return (inputs[0][inputs[1]],)


@op(_scale_columns, inplace={0: 0})
def scale_columns(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,N], factors f32[N], optional bias f32[N] -> x * factors + bias in every row."""
    x, factors, *bias = inputs
    return ((x * factors + (bias[0] if bias else np.float32(0))).astype(np.float32),)


@op(_scale_positions, inplace={0: 0})
def scale_positions(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], positions i32[T], factors f32[F] -> row t times factors[(positions[t] + offset) // length], or the last."""
    x, positions, factors = inputs
    number = (positions + attrs.get("offset", 0)) // attrs["length"]
    return (x * factors[np.minimum(number, len(factors) - 1)][:, None],)


@op(_take_columns)
def take_columns(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,K], columns i32[K] -> f32[T,K]: column j is column columns[j] of x."""
    return (inputs[0][:, inputs[1].astype(np.int64)],)


@op(_quantize)
def quantize(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """f32[T,K] -> `form`[T,K], "q8" or "q8_256": per 32 or 256 columns d = amax/127, codes rint(x * 127/amax)."""
    return (ref.quantize(inputs[0], attrs.get("form", "q8")),)


@op(_router)
def router(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """logits f32[T,E], perhaps bias f32[E] -> ids i32[T,k], weights f32[T,k]: the `used` best choices, best first, the lower id
    of two equal ones.

    A choice is the score plus the bias, a score the softmax over all experts or the sigmoid (`gate`). A weight is the score,
    divided by the sum of the k if `normalize`, times `scale`. groups=(g, u, b): of g groups of experts only the u with the
    largest sum of their b best choices take part. gate "sparsemixer" with `jitter`: codegen/kernels/router.py.
    """
    logits, *bias = inputs
    groups, jitter = attrs.get("groups", ()), attrs.get("jitter", 0.0)
    how = attrs["used"], attrs["gate"], attrs["normalize"], attrs.get("scale", 1.0)
    return ref.router(logits, *how, bias=bias[0] if bias else None, groups=groups, jitter=jitter)


@op(_experts)
def experts(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x f32[T,C], ids i32[T,k], weights f32[T,k], gate, up fmt[E,F,C], down fmt[E,C,F], perhaps a bias for each of the
    three, [E,F], [E,F], [E,C] -> f32[T,C].

    Row t is the sum over slots j = 0, 1, ... of weights[t,j] * down(silu(gate(x)) * up(x)) of expert ids[t,j], where `function`
    may be "clamped_silu" or "gelu"; if `weigh` is "x", weights multiply x in the place of the result. `forms` says what the
    products read, "f32", "q8" or "q8_256": x, and what is between.
    Shazeer et al., arXiv:1701.06538.
    """
    x, ids, weights = inputs[:3]
    forms, function = attrs.get("forms", ("f32", "f32")), attrs.get("function", "silu")
    return (ref.experts(x, ids, weights, [w.array() for w in inputs[3:]], forms, function, attrs.get("weigh", "result")),)


# ---- ops made by passes -----------------------------------------------------------------------------------------------------


@op(_linear_group)
def linear_group(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """Several linears of one x: inputs x, weights, existing biases; `biases` says which parts have one. One output per part."""
    return tuple(ref.matmul(inputs[0], w.array(), b) for w, b in group_weights(inputs, attrs))


@op(_same_in_forms)
def silu_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """silu(gate) * up.  SwiGLU, arXiv:2002.05202."""
    return ref.forms(ref.silu(inputs[0]) * inputs[1], attrs)


@op(_same_in_forms)
def gelu_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """gelu(gate) * up.  GeGLU, arXiv:2002.05202."""
    return ref.forms(ref.gelu(inputs[0]) * inputs[1], attrs)


@op(_same_in_forms)
def gelu_erf_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """gelu_erf(gate) * up."""
    return ref.forms(ref.gelu_erf(inputs[0]) * inputs[1], attrs)


@op(_linear_silu_mul)
def linear_gelu_erf_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """gelu_erf(linear(x, gate)) * linear(x, up); operands as linear_group."""
    gate, up = linear_group(inputs, attrs)
    return ref.forms(ref.gelu_erf(gate) * up, attrs)


@op(_linear_silu_mul)
def linear_silu_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """silu(linear(x, gate)) * linear(x, up); operands as linear_group."""
    gate, up = linear_group(inputs, attrs)
    return ref.forms(ref.silu(gate) * up, attrs)


@op(_linear_silu_mul)
def linear_gelu_mul(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """gelu(linear(x, gate)) * linear(x, up); operands as linear_group."""
    gate, up = linear_group(inputs, attrs)
    return ref.forms(ref.gelu(gate) * up, attrs)


@op(_add_norm, inplace={0: 0})
def add_rms_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x, o f32[T,C], w f32[C] -> s = x + alpha*o, then rms_norm(s, w) in the forms of `out`."""
    total = add(inputs[:2], attrs)[0]
    return (total, *rms_norm([total, inputs[2]], attrs))


@op(_add_biased_norm, inplace={0: 0})
def add_layer_norm(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """x, o f32[T,C], w f32[C], optional b f32[C] -> s = x + alpha*o, then layer_norm(s, w, b) in the forms of `out`."""
    total = add(inputs[:2], attrs)[0]
    return (total, *layer_norm([total, *inputs[2:]], attrs))


@op(_rope_kv_append, inplace={0: 0, 1: 4})
def rope_kv_append(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """q, k, v, table, cache -> rotated q, cache with rotated k and v."""
    q, k, v, table, kv = inputs
    rotated = ref.rope(k, table, attrs["kv_heads"], attrs["style"])
    fresh = attrs.get("fresh", False)
    cache = kv.append(attrs["layer"], rotated, v, attrs.get("dtype", "f32"), attrs["kv_heads"], fresh)
    return ref.rope(q, table, attrs["heads"], attrs["style"]), cache


@op(_attention)
def attention(inputs: Sequence[Any], attrs: Attrs) -> tuple[Any, ...]:
    """q f32[T,H*D], cache, positions i32[T], perhaps sinks f32[H] -> f32[T,H*D]: grouped-query causal attention.

    softmax(scale * q @ k.T) @ v, with `softcap`, `window`, sinks or slopes as in attention_scores and softmax_causal.
    """
    q, kv, *rest = inputs
    scores = attention_scores([q, kv], attrs)[0]
    return attention_values([softmax_causal([scores, *rest], attrs)[0], kv], attrs)


CONTEXT = i32(1)
"""The context a session declares, in tokens: an input of the step functions that depend on it."""

SEGMENTS = i32("T")
"""The segment of each token, 0 or 1 mostly: an input of the step functions of encoders that tell segments apart."""

INPUT_TYPES = {"tokens": i32("T"), "positions": i32("T"), "rows": i32("R"), "cache": CACHE}
"""The inputs of the step function (DESIGN D7)."""

from llmc.ir import ops_encoder, ops_experts, ops_latent, ops_recurrent, ops_streams  # noqa: E402, F401  # register their ops
