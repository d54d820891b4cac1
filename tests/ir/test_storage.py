import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.errors import UsageError
from llmc.frontend.quant import FORMATS
from llmc.ir.graph import SOURCES, Builder, Graph, Value
from llmc.ir.storage import StorageError, check_plan, last_uses, nbytes, q8_storage, scratch_types
from llmc.ir.text import parse_graph
from llmc.ir.types import TensorType, f32, i32, q8
from llmc.passes.plan_memory import plan_memory
from tests.passes.rewrites import graph

BOUNDS = {"T": 128, "R": 20}


@pytest.mark.parametrize(
    ("type", "size"),
    [
        (f32("T", 64), 128 * 64 * 4),
        (f32("T", 65), 128 * 80 * 4),  # columns padded to 16
        (f32("R", 64), 32 * 64 * 4),  # rows padded to 16
        (f32("T", 4, 16), 512 * 16 * 4),
        (f32(3), 16 * 16 * 4),
        (i32("T", 1), 128 * 16 * 4),
        (q8("T", 96), 128 * 96 + 128 * 3 * 4 + 128 * 3 * 2 * 4),
        (q8("R", 32), 32 * 32 + 32 * 4 + 32 * 2 * 4),
    ],
)
def test_a_value_takes_this_many_bytes(type: TensorType, size: int) -> None:
    assert nbytes(type, BOUNDS) == size and size % 64 == 0


def test_the_arrays_of_a_quantised_value_follow_each_other() -> None:
    storage = q8_storage(q8("R", 96), BOUNDS)
    assert (storage.scales, storage.sums, storage.nbytes) == (32 * 96, 32 * 96 + 32 * 3 * 4, 32 * 96 + 32 * 3 * 4 + 32 * 6 * 4)


def test_a_dimension_without_a_bound_cannot_be_planned() -> None:
    with pytest.raises(UsageError, match="dimension S .* left out"):
        nbytes(f32("T", 4, "S"), BOUNDS)


def test_last_uses_count_results_as_the_end() -> None:
    g = graph("""
        %x = input f32[T,8]
        %a = silu %x
        %b = silu %a
        %c = silu %a
        return %b""")  # fmt: skip
    assert last_uses(g) == {"x": 1, "a": 3, "b": 4, "c": 3}


EXPERTS = """
    bounds T={tokens}
    %x = input f32[T,64]
    %i = input i32[T,2]
    %p = input f32[T,2]
    %g = weight q4_0[4,96,64]
    %d = weight q8_0[4,64,96]
    %y = experts %x, %i, %p, %g, %g, %d {{forms=('q8', '{form}')}}
    return %y"""


@pytest.mark.parametrize(("tokens", "rows"), [(1, 16), (16, 64), (128, 320)])
def test_experts_keep_rows_for_groups_padded_to_token_tiles(tokens: int, rows: int) -> None:
    """2 slots of every token, in 4 groups that are padded by at most 15 rows, and never by as many as they have."""
    (node,) = graph(EXPERTS.format(tokens=tokens, form="q8")).of_kind("experts")
    table, *floats, gated = scratch_types(node, {"T": tokens})
    assert floats == [f32(rows, 64), f32(rows, 96), f32(rows, 96)] and gated == q8(rows, 96)
    assert math.prod(map(int, table.shape)) >= 1 + 3 * 4 + rows + 2 * tokens


def test_what_is_between_dense_products_stays_in_floats() -> None:
    (node,) = graph(EXPERTS.format(tokens=128, form="f32")).of_kind("experts")
    assert scratch_types(node, {"T": 128})[4] == f32(320, 96)


PLAN = """
    bounds T=16
    attrs {{arena={arena}}}
    %x = input f32[T,32]
    %w = weight f32[32]
    %a = silu %x {{at=({a},)}}
    %b = silu %a {{at=({b},)}}
    %c, %n = add_rms_norm %a, %b, %w {{eps=1e-05, at=({c}, {n})}}
    %d = mul %c, %n {{at=({d},)}}
    return %d"""
SOUND = {"arena": 3 * 2048, "a": 0, "b": 2048, "c": 0, "n": 4096, "d": -1}


def plan(**changed: int) -> Graph:
    return unchecked(PLAN.format(**{**SOUND, **changed}))


def unchecked(text: str) -> Graph:
    return parse_graph(text, FORMATS)


def test_a_sound_plan_with_an_op_in_place() -> None:
    check_plan(plan())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b": 1024}, "%b at 1024 overlaps %a at 0"),
        ({"c": 64}, "%c at 64 overlaps %a at 0"),  # not quite in place
        ({"n": 2048}, "%n at 2048 overlaps %b at 2048"),  # an operand is still read while the result is written
        ({"n": 0}, "%n at 0 overlaps %c at 0"),
        ({"n": 4096 + 32, "arena": 8192}, "%n takes bytes 4128 to 6176 of an arena of 8192"),  # not aligned
        ({"arena": 6080}, "%n takes bytes 4096 to 6144 of an arena of 6080"),
        ({"a": -1}, "%a lies at -1"),
        ({"a": -64}, "%a takes bytes -64"),
        ({"d": 0}, "%d lies at 0"),
    ],
)
def test_a_broken_plan_is_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        check_plan(plan(**changed))


def test_in_place_is_refused_while_the_operand_is_needed() -> None:
    text = PLAN.format(**SOUND).replace("mul %c, %n", "mul %a, %n")
    with pytest.raises(StorageError, match="%c at 0 overlaps %a at 0, which is still needed"):
        check_plan(unchecked(text))


def test_a_cache_has_no_place_in_the_arena() -> None:
    text = """
        bounds T=16
        attrs {{arena=65536}}
        %k = input f32[T,32]
        %c = input cache
        %a = kv_append %c, %k, %k {{layer=0, kv_heads=2, head_dim=16, at=({},)}}
        %b = kv_append %a, %k, %k {{layer=1, kv_heads=2, head_dim=16, at=(-1,)}}
        return %b"""
    check_plan(unchecked(text.format(-1)))
    with pytest.raises(StorageError, match="%a lies at 0"):
        check_plan(unchecked(text.format(0)))


def test_every_computation_needs_a_place() -> None:
    text = PLAN.format(**SOUND).replace("silu %a {at=(2048,)}", "silu %a")
    with pytest.raises(StorageError, match="silu %b has 0 places"):
        check_plan(unchecked(text))


def test_scratch_lies_apart_from_operands_and_results() -> None:
    text = """
        bounds T=16
        attrs {{arena=65536}}
        %x = input f32[T,32]
        %g = weight q4_0[32,32]
        %a = silu %x {{at=(0,)}}
        %y = linear_silu_mul %a, %g, %g {{biases=(False, False), at=(2048,), scratch=({})}}
        %z = silu %y {{at=(-1,)}}
        return %z"""
    check_plan(unchecked(text.format("4096, 6144")))
    wrong = {"4096, 4096": "y!1 at 4096 overlaps %y!0", "0, 4096": "y!0 at 0 overlaps %a", "4096,": "1 scratch"}
    for scratch, message in wrong.items():
        with pytest.raises(StorageError, match=message):
            check_plan(unchecked(text.format(scratch)))


@st.composite
def random_graphs(draw: st.DrawFn) -> Graph:
    """A straight line of ops on values of three widths, each using any values before it."""
    b = Builder({"T": 16})
    values: dict[int, list[Value]] = {width: [b.input(f"x{width}", f32("T", width))] for width in (16, 48, 128)}
    for _ in range(draw(st.integers(1, 30))):
        of_width = draw(st.sampled_from(list(values.values())))
        op, operands = draw(st.sampled_from([("silu", 1), ("add", 2), ("mul", 2)]))
        of_width.append(b.emit(op, *(draw(st.sampled_from(of_width)) for _ in range(operands))))
    return b.graph(draw(st.sampled_from([value for of_width in values.values() for value in of_width])))


@settings(max_examples=200, deadline=None)
@given(random_graphs())
def test_plans_of_random_graphs_are_sound_and_no_larger_than_all_values(g: Graph) -> None:
    planned = plan_memory(g)
    check_plan(planned)
    computed = [value.type for node in g.nodes if node.op not in SOURCES for value in node.outputs]
    largest = max((nbytes(type, g.bounds) for type in computed), default=0)
    assert planned.attrs["arena"] <= math.fsum(nbytes(type, g.bounds) for type in computed)
    assert planned.attrs["arena"] >= largest or any(value.type in computed for value in g.results)
