"""Every op of a compiled model against the interpreter, on the compiled model's own operands.

A whole int8 model cannot be compared number by number: where a value lies in the middle between two codes, a sum in f32 and one
in f64 may round it apart, and everything after it differs. So the model is compiled with a place of its own for every value, the
arena is read after a step, and each op is given what the compiled model gave it: then the two must agree to TOLERANCE, and codes
to one step.
"""

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmc
from benchmarks import make_model
from llmc import driver
from llmc.codegen.kernels.activations import token_tiles
from llmc.frontend.load import open_model
from llmc.ir.graph import SOURCES, Graph, Node, Value
from llmc.ir.interpret import KvState
from llmc.ir.ops import CATALOGUE
from llmc.ir.storage import NOWHERE, TILE, align, nbytes, q8_storage, scratch_types
from llmc.ir.types import CACHE, SCALE_COLUMNS, DType
from llmc.passes.pipeline import optimize
from llmc.runtime import c_types
from tests.e2e.reference import FORMATS, RECURRENT, Reference
from tests.e2e.test_interpreter import weights

TOLERANCE = 1e-3
F16_HALF_STEP = 2.0**-11  # of an element's size: a value of the f16 cache that rounds to its other neighbour
ALLOC = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_size_t, c.c_size_t)
FREE = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)


class Allocator(c.Structure):
    """llmc_allocator: malloc that remembers its blocks by size."""

    _fields_ = [("alloc", ALLOC), ("free", FREE), ("user", c.c_void_p)]


@dataclass
class Blocks:
    """Memory of a model: the newest block of each size. Nothing is given back."""

    newest: dict[int, int]

    def allocator(self) -> Allocator:
        aligned_alloc = c.CDLL(None).aligned_alloc
        aligned_alloc.restype, aligned_alloc.argtypes = c.c_void_p, [c.c_size_t, c.c_size_t]

        def alloc(_user: object, size: int, alignment: int) -> int:
            alignment = max(alignment, 64)
            self.newest[size] = aligned_alloc(alignment, align(size, alignment))
            return self.newest[size]

        return Allocator(ALLOC(alloc), FREE(lambda _user, _block: None), None)


def apart(graph: Graph) -> Graph:
    """The planned graph with a place of its own for every value: nothing is overwritten."""
    end = 0

    def place(sizes: list[int]) -> Iterator[int]:
        nonlocal end
        for size in sizes:
            yield end
            end += size

    nodes = []
    for node in graph.nodes:
        if node.op not in SOURCES:
            before = node.attrs["at"]
            sizes = [0 if at == NOWHERE else nbytes(v.type, graph.bounds) for v, at in zip(node.outputs, before, strict=True)]
            after = [NOWHERE if old == NOWHERE else new for old, new in zip(before, place(sizes), strict=True)]
            node = node.with_attrs(at=tuple(after))
            if "scratch" in node.attrs:
                node = node.with_attrs(scratch=tuple(place([nbytes(t, graph.bounds) for t in scratch_types(node, graph.bounds)])))
        nodes.append(node)
    return replace(graph.with_nodes(nodes), attrs={**graph.attrs, "arena": end})


class Arena:
    """What a step of `tokens` tokens, all of whose rows were wanted, has left."""

    def __init__(self, memory: np.ndarray, graph: Graph, tokens: int, logits: np.ndarray) -> None:
        self.memory, self.graph, self.tokens, self.logits = memory, graph, tokens, logits
        self.at = {v.name: at for n in graph.nodes if n.op not in SOURCES for v, at in zip(n.outputs, n.attrs["at"], strict=True)}

    def read(self, value: Value) -> np.ndarray:
        """f32 rows as they are; a q8 value as [codes, scales] per 32 columns, multiplied out."""
        if value == self.graph.results[0]:
            return self.logits
        codes, scales = self.q8(value) if value.type.dtype in SCALE_COLUMNS else (None, None)
        if codes is not None:
            return np.asarray((codes * scales.astype(np.float64)[..., None]).reshape(self.tokens, -1))
        columns = int(value.type.shape[-1])
        ld = align(columns, TILE)
        element = "<i4" if value.type.dtype is DType.I32 else "<f4"
        return self._view(self.at[value.name], element, self.tokens * ld).reshape(self.tokens, ld)[:, :columns].copy()

    def q8(self, value: Value) -> tuple[np.ndarray, np.ndarray]:
        """Codes i8 [T, K/32, 32] and scales f32 [T, K/32]."""
        k, start = int(value.type.shape[-1]), self.at[value.name]
        blocks, places = k // 32, q8_storage(value.type, self.graph.bounds)
        codes, scales = [], []
        for first, width in token_tiles(self.tokens):
            span = 32 if value.type.dtype is DType.Q8 else 64  # columns of a token that lie together
            qa = self._view(start + first * k, "i1", width * k).reshape(-1, width, span)
            da = self._view(start + places.scales + first * blocks * 4, "<f4", width * blocks).reshape(blocks, width)
            codes.append(qa.transpose(1, 0, 2).reshape(width, blocks, 32))
            scales.append(da.T)
        return np.concatenate(codes)[: self.tokens], np.concatenate(scales)[: self.tokens]

    def _view(self, at: int, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.memory, dtype, count, at)


def compile_apart(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """Compiles with every value in a place of its own; gives the graph."""
    graph = apart(optimize(open_model(source).graph, "int8"))
    monkeypatch.setattr(driver, "optimize", lambda *_: graph)
    llmc.compile(source, out, targets=["cpu:native"])
    return graph


def step(artifact: Path, ids: list[int], graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Arena:
    """One step over a new sequence."""
    blocks = Blocks({})
    allocator = blocks.allocator()
    options = partial(c_types.ModelOptions, allocator=c.addressof(allocator))
    monkeypatch.setattr(c_types, "ModelOptions", options)
    with llmc.load(artifact, threads=2, context=max(len(ids), 64)) as model:
        logits = model.logits(ids)
        size = model.info.arena_bytes
        memory = np.frombuffer((c.c_uint8 * size).from_address(blocks.newest[size]), np.uint8).copy()
    return Arena(memory, graph, len(ids), logits)


def differences(node: Node, arena: Arena, expected: tuple[Any, ...]) -> Iterator[tuple[str, float]]:
    """How far each result is off: f32 absolutely, q8 in steps of its code beyond the one that rounding may take."""
    for value, want in zip(node.outputs, expected, strict=True):
        if value.type == CACHE:
            continue
        got = arena.read(value)
        if value.type.dtype in SCALE_COLUMNS:
            _, scales = arena.q8(value)
            steps = np.abs(got - want).reshape(*scales.shape, 32) / np.maximum(scales, 1e-30)[..., None]
            yield value.name, float(np.maximum(steps - 1, 0).max()) if steps.max() > 0.5 else 0.0
        else:
            yield value.name, float(np.abs(got - want).max())


MIXTURES = ["deepseek_v2", "gpt_oss", "mixtral", "olmoe", "qwen3_moe"]
OTHERS = ["llama_bias", "qwen2", "qwen3", "granite", "smollm3", *MIXTURES, *RECURRENT]


@pytest.mark.parametrize("fixture", [*(f"q_{name}" for name in FORMATS), *OTHERS])
def test_every_op_computes_its_reference(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_every_op(reference.model, reference.tokens(1), tmp_path / "m.llmc", monkeypatch)


@pytest.mark.parametrize("kind", ["q4_0", "q4_k_m"])
def test_experts_in_block_formats_compute_their_reference(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model.make("tiny-moe", kind, tmp_path / "model.gguf")
    ids = np.random.default_rng(6).integers(0, make_model.SHAPES["tiny-moe"].vocab, 37).tolist()
    assert_every_op(tmp_path / "model.gguf", ids, tmp_path / "m.llmc", monkeypatch)


def assert_every_op(source_file: Path, ids: list[int], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = compile_apart(source_file, out, monkeypatch)
    arena = step(out, ids, graph, monkeypatch)
    positions, weight = np.arange(len(ids), dtype=np.int32), weights(open_model(source_file).checkpoint)
    inputs: dict[str, Any] = {"tokens": np.array(ids, np.int32), "positions": positions, "rows": positions, "cache": KvState()}
    known: dict[str, Any] = {}
    checked = 0
    for node in graph.nodes:
        if node.op in SOURCES:
            known[node.output.name] = source(node, inputs, weight, len(ids))
            continue
        expected = CATALOGUE[node.op].compute([known[v.name] for v in node.inputs], node.attrs)
        for name, difference in differences(node, arena, expected):
            assert difference <= bound(node, expected), (node.op, name)
            checked += 1
        for value, want in zip(node.outputs, expected, strict=True):
            known[value.name] = want if value.type == CACHE else arena.read(value)
    assert checked >= 9 * sum(node.op.endswith(("kv_append", "latent_append")) for node in graph.nodes)


def bound(node: Node, expected: tuple[Any, ...]) -> float:
    """TOLERANCE; for attention, which reads the f16 cache, half a step of its largest element where that is more."""
    return max(TOLERANCE, F16_HALF_STEP * float(np.abs(expected[0]).max())) if node.op == "attention" else TOLERANCE


def source(node: Node, inputs: dict[str, Any], weight: Any, tokens: int) -> Any:
    if node.op == "input":
        return np.array([tokens], np.int32) if node.output.name == "context" else inputs[node.output.name]
    if node.op == "constant":
        return node.data
    data = weight(node.attrs["tensor"])
    data = data.part(*node.attrs["rows"]) if "rows" in node.attrs else data
    return data.array() if len(data.shape) == 1 else data
