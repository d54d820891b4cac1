"""Machine code as the vendors' tools would show it: parameters equal our table, nothing is spilled, every architecture builds."""

import pytest

from llmc.codegen.gpu import build
from llmc.codegen.gpu.kernels.attention import GpuAttention, GpuAttentionMerge
from llmc.codegen.gpu.kernels.elementwise import GpuActivation
from llmc.codegen.gpu.kernels.embed import GpuEmbed
from llmc.codegen.gpu.kernels.kv_append import GpuKvAppend
from llmc.codegen.gpu.kernels.linear import GpuLinear
from llmc.codegen.gpu.kernels.norm import GpuHeadNorm, GpuNorm
from llmc.codegen.gpu.kernels.rope import GpuRope, GpuRopeTable
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.frontend.quant import FORMATS
from llmc.gpu import DEVICES
from tests.codegen.gpu import cubin

_SIZES = {"int32_t": 4, "int64_t": 8, "float": 4}
SPECS: list[GpuKernelSpec] = [
    GpuNorm(True, "rms"), GpuNorm(False, "layer", True), GpuHeadNorm(128), GpuRope(128, 128, "half"),
    GpuKvAppend(128, "f16", 128),
    GpuAttention(128, 4, "f16", False), GpuAttention(128, 4, "f16", True, sinks=True), GpuAttentionMerge(128, True),
    GpuActivation("silu", True), GpuActivation("gelu", True), GpuEmbed(FORMATS["q6_k"]),
    *(GpuLinear(FORMATS[name], p, True) for name in ("q4_k", "q4_0", "q6_k", "q8_0", "f16", "mxfp4", "iq2_s") for p in (1, 8)),
]  # fmt: skip
SPILL = 8  # bytes: an address that ptxas may keep in local memory for the sake of one more block; none on sm_90a
ARCHITECTURES = [name for name in DEVICES if name.startswith("cuda")]


@pytest.mark.skipif(build.missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cubins_hold_what_the_host_plan_launches(name: str) -> None:
    (path,) = build.build(SPECS, [DEVICES[name]])
    found = cubin.kernels(path.read_bytes())
    assert found.keys() == {spec.symbol for spec in SPECS}
    for spec in SPECS:
        kernel, sizes = found[spec.symbol], [8 if p.is_pointer else _SIZES[p.ctype] for p in spec.params]
        assert [size for _, (_, size) in sorted(kernel.parameters.items())] == sizes, spec.symbol
        assert kernel.frame <= (0 if name == "cuda:sm_90a" else SPILL), (
            f"{spec.symbol} keeps {kernel.frame} bytes of a thread in local memory"
        )
        assert kernel.registers * spec.launch.threads <= 65536 // 2, f"{spec.symbol}: {kernel.registers} registers"


@pytest.mark.skipif(build.missing("cuda") is not None, reason="CUDA's run-time compiler is not installed: llmc[cuda]")
def test_only_the_reduction_of_large_angles_uses_local_memory() -> None:
    (path,) = build.build([GpuRopeTable()], [DEVICES["cuda:sm_80"]])
    assert cubin.kernels(path.read_bytes())["rope_table"].frame <= 64


def test_what_was_built_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    device = DEVICES["rocm:gfx942"]
    first = build.build([GpuHeadNorm(64)], [device])
    monkeypatch.setattr(build, "_run", lambda job: pytest.fail(f"built again: {job}"))
    assert build.build([GpuHeadNorm(64)], [device]) == first
