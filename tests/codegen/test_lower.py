"""Lowering without TVM: what a planned graph becomes in the host plan, and what it refuses."""

import re

import pytest

from llmc.artifact import File
from llmc.codegen.emit import Facts, emit
from llmc.codegen.kernels.linear import WIDTHS, Linear
from llmc.codegen.lower import lower
from llmc.codegen.plan import NoKernelError, Plan
from llmc.codegen.weights import MATRIX_ALIGN, VECTOR_ALIGN
from llmc.debug import scoped
from llmc.passes.pipeline import optimize
from llmc.target import parse
from tests.passes.models import decoder

ACTIVATIONS = ["int8", "f32"]


@pytest.fixture(params=ACTIVATIONS)
def plan(request: pytest.FixtureRequest) -> Plan:
    return lower(optimize(decoder("llama", layers=2, tied=True).graph, request.param))


def text(plan: Plan, name: str = "tiny", target: str = "cpu") -> str:
    weights, vocabulary = File("weights-tile16.bin", plan.weights.size, bytes(range(32))), File("tokenizer.bin", 99, bytes(32))
    facts = Facts(name, vocab=80, hidden=64, layers=2, context=512, max_step_tokens=128, weights=weights, tokenizer=vocabulary)
    return emit(plan, facts, parse(target).isas)


def test_a_barrier_stands_between_any_two_ops_that_depend_on_each_other(plan: Plan) -> None:
    together = {tuple(call.split("(")[0] for call in op.calls) for op in plan.ops if len(op.calls) > 1}
    assert together == {("llmc_op_rope", "llmc_op_kv_append")}  # q and k are two different values
    lines = [line.strip() for line in plan.statements]
    ends = [i for i, line in enumerate(lines) if re.match(r"llmc_(done|leave)\(|if \(llmc_enter\(", line)]
    between = [[line for line in lines[a + 1 : b] if line != "}"] for a, b in zip([-1, *ends], ends, strict=False)]
    assert [calls for calls in between if calls] == [[*op.calls] for op in plan.ops]
    assert lines[-1].startswith("llmc_done(")


def test_every_linear_has_a_kernel_for_every_token_tile(plan: Plan) -> None:
    rows = [row for name, row in plan.kernels.items() if name.startswith("linear_")]
    assert rows and all([s.p for s in row if isinstance(s, Linear)] == [*WIDTHS] for row in rows)


def test_regions_are_aligned_do_not_overlap_and_hold_every_weight_once(plan: Plan) -> None:
    regions = plan.weights.regions
    assert len({r.tensor for r in regions}) == len(regions) == 2 + 2 * 9
    for before, after in zip(regions, regions[1:], strict=False):
        assert before.offset + before.nbytes <= after.offset
    for region in regions:
        assert region.offset % (VECTOR_ALIGN if region.layout == "vector" else MATRIX_ALIGN) == 0
    assert regions[-1].offset + regions[-1].nbytes <= plan.weights.size


def test_matrices_lie_in_the_order_the_step_reads_them(plan: Plan) -> None:
    read = [int(at) for at in re.findall(r"k->linear_\w+, W\((\d+)\)", "\n".join(plan.statements))]
    tied = read.pop()  # the embedding, which the step reads first
    assert read == sorted(read) and tied < read[0]


def test_arena_offsets_stay_inside_the_arena(plan: Plan) -> None:
    offsets = [int(at) for at in re.findall(r"F\((\d+)\)", "\n".join(plan.statements))]
    assert offsets and max(offsets) < plan.arena


def test_the_text_names_no_level_twice_and_the_best_comes_first(plan: Plan) -> None:
    levels = re.findall(r'\{"([a-z0-9-]+)", LLMC_CPU', text(plan))
    assert levels == ["avx512-amx", "avx512-vnni", "avx-vnni", "avx2", "x86-64-v2"]


def test_the_text_is_a_function_of_the_plan(plan: Plan) -> None:
    assert text(plan) == text(plan)


@pytest.mark.parametrize("name", ['a"; system("rm -rf"); "', "*/ int main(){} /*", "??/", "naïve\n\\"])
def test_a_models_name_cannot_leave_its_string_or_comment(plan: Plan, name: str) -> None:
    source = text(plan, name)
    assert source[source.index("*/") :].startswith(text(plan)[text(plan).index("*/") :][:60])
    literal = re.search(r'\.model_name = ("(?:[^"\\\n]|\\[0-7]{3})*"),\n', source)
    assert literal and bytes(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), literal[1][1:-1]), "latin-1").decode() == name


def test_an_op_without_a_kernel_is_refused_by_name() -> None:
    with scoped(LLMC_PASSES="-fuse_silu_mul"):
        graph = optimize(decoder("llama", layers=1).graph, "f32")
    with pytest.raises(NoKernelError, match="silu"):
        lower(graph)
