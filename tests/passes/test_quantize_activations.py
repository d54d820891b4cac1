import pytest

from llmc.frontend.quant import FORMATS
from llmc.ir.graph import Graph, Node, Value
from llmc.ir.interpret import interpret
from llmc.ir.quant import BlockFormat, Field, IntCodes
from llmc.ir.types import TensorType, f32
from llmc.passes.quantize_activations import quantize_activations
from tests.ir import sample
from tests.passes.rewrites import assert_close, assert_rewrites, assert_unchanged, graph

BLOCKS = [name for name, fmt in FORMATS.items() if isinstance(fmt, BlockFormat)]
DENSE = [name for name in FORMATS if name not in BLOCKS]


@pytest.mark.parametrize("name", BLOCKS)
def test_quantises_what_a_block_format_multiplies(name: str) -> None:
    form = "q8_256" if FORMATS[name].weights == 256 else "q8"
    attrs = " {form='q8_256'}" if form == "q8_256" else ""
    assert_rewrites(quantize_activations, f"""
        %x = input f32[T,256]
        %w = weight {name}[48,256]
        %y = linear %x, %w
        return %y""", f"""
        %x = input f32[T,256]
        %w = weight {name}[48,256]
        %x.{form} = quantize %x{attrs}
        %y = linear %x.{form}, %w
        return %y""", rtol=0.02)  # fmt: skip  # 8 bits: each activation is off by at most 1/254 of the largest of its group


def test_gives_each_weight_the_form_of_its_format() -> None:
    assert_rewrites(quantize_activations, """
        %x = input f32[T,256]
        %k = weight q4_k[64,256]
        %l = weight q6_k[64,256]
        %v = weight q8_0[64,256]
        %p = linear %x, %k
        %q = linear %x, %v
        %r = linear %x, %l
        return %p, %q, %r""", """
        %x = input f32[T,256]
        %k = weight q4_k[64,256]
        %l = weight q6_k[64,256]
        %v = weight q8_0[64,256]
        %x.q8_256 = quantize %x {form='q8_256'}
        %p = linear %x.q8_256, %k
        %x.q8 = quantize %x
        %q = linear %x.q8, %v
        %r = linear %x.q8_256, %l
        return %p, %q, %r""", rtol=0.02)  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_keeps_float_activations_for_dense_weights(name: str) -> None:
    assert_unchanged(quantize_activations, f"""
        %x = input f32[T,64]
        %w = weight {name}[48,64]
        %y = linear %x, %w
        return %y""")  # fmt: skip


def test_quantises_an_input_of_several_products_once_and_keeps_attributes() -> None:
    assert_rewrites(quantize_activations, """
        %x = input f32[T,64]
        %a = weight q4_0[64,64]
        %b = weight q8_0[64,64]
        %c = weight f16[64,64]
        %v = weight f32[64]
        %p = linear %x, %a, %v {scale=0.5}
        %q = linear %x, %b
        %r = linear %x, %c
        %s = linear %p, %b
        return %q, %r, %s""", """
        %x = input f32[T,64]
        %a = weight q4_0[64,64]
        %b = weight q8_0[64,64]
        %c = weight f16[64,64]
        %v = weight f32[64]
        %x.q8 = quantize %x
        %p = linear %x.q8, %a, %v {scale=0.5}
        %q = linear %x.q8, %b
        %r = linear %x, %c
        %p.q8 = quantize %p
        %s = linear %p.q8, %b
        return %q, %r, %s""", rtol=0.02)  # fmt: skip


def test_keeps_activations_that_are_quantised() -> None:
    assert_unchanged(quantize_activations, """
        %x = input f32[T,64]
        %w = weight q4_0[64,64]
        %q = quantize %x
        %y = linear %q, %w
        return %y""")  # fmt: skip


def test_keeps_columns_that_are_no_whole_groups() -> None:
    sixteen = BlockFormat(
        "q4_16", 99, 16, 10, (Field("d", "f16"), Field("q", "u4", 16, plane=8)), IntCodes(4, 8), 16, None, None, None, lambda b: b
    )
    x, w, y = Value("x", f32("T", 48)), Value("w", TensorType(sixteen, (16, 48))), Value("y", f32("T", 16))
    nodes = (Node("input", (), (x,)), Node("weight", (), (w,), {"tensor": "w"}), Node("linear", (x, w), (y,)))
    kept = quantize_activations(Graph(nodes, (y,), {"T": 8}))
    assert [node.op for node in kept.nodes] == ["input", "weight", "linear"]


def test_differs_from_exact_arithmetic() -> None:
    """Guards the tolerance above: with it, leaving the pass out would show too."""
    exact = graph("""
        %x = input f32[T,64]
        %w = weight q4_0[64,64]
        %y = linear %x, %w
        return %y""")  # fmt: skip
    inputs, weights = sample.inputs(exact), sample.Weights.of(exact)
    (a,), (b,) = (interpret(g, inputs, weights) for g in (exact, quantize_activations(exact)))
    with pytest.raises(AssertionError):
        assert_close(a, b, 1e-4)


EXPERTS = """
        %x = input f32[T,64]
        %r = weight {router}[4,64]
        %g = weight {gate}[4,96,64]
        %u = weight {up}[4,96,64]
        %d = weight {down}[4,64,96]
        %l = linear %x, %r
        %i, %w = router %l {{used=2, gate='softmax', normalize=True}}
        %y = experts %x, %i, %w, %g, %u, %d{forms}
        return %y"""


@pytest.mark.parametrize(
    ("gate", "up", "down", "forms"),
    [
        ("q4_0", "q8_0", "q8_0", "('q8', 'q8')"),
        ("q4_0", "q4_0", "f16", "('q8', 'f32')"),
        ("q4_0", "f16", "q4_0", "('f32', 'q8')"),
    ],
)
def test_experts_quantise_what_their_block_formats_read_and_routers_nothing(gate: str, up: str, down: str, forms: str) -> None:
    text = {"router": "q8_0", "gate": gate, "up": up, "down": down}
    before, after = EXPERTS.format(**text, forms=""), EXPERTS.format(**text, forms=f" {{forms={forms}}}")
    assert_rewrites(quantize_activations, before, after, rtol=0.03)


def test_leaves_dense_experts_alone() -> None:
    assert_unchanged(quantize_activations, EXPERTS.format(router="f32", gate="f16", up="q4_0", down="bf16", forms=""))
