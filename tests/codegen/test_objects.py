"""What is true of every kernel's object: it exports the kernel and needs nothing, not even memset."""

import subprocess
from pathlib import Path

from llmc.codegen.build import build_objects
from llmc.codegen.kernels.activation import ALWAYS_GATED, FUNCTIONS, Activation
from llmc.codegen.kernels.attention import Attention
from llmc.codegen.kernels.base import KernelSpec, exported
from llmc.codegen.kernels.causal_conv import CausalConv
from llmc.codegen.kernels.delta_rule import DeltaRule
from llmc.codegen.kernels.gated_norm import GatedNorm
from llmc.codegen.kernels.kv_append import KvAppend
from llmc.codegen.kernels.norm import NORMS, HeadNorm, Norm
from llmc.codegen.kernels.rope import Rope, RopeTable
from llmc.codegen.kernels.selective_scan import SelectiveScan
from llmc.codegen.kernels.softcap import Softcap
from llmc.codegen.kernels.ssd import Ssd
from llmc.target import Isa

SPECS: list[KernelSpec] = [
    *Attention.variants(128, 4, "f16"), *Attention.variants(64, 7, "f16"), *Attention.variants(80, 1, "f32"),
    *Attention.variants(64, 2, "f16", True, True), *Attention.variants(64, 2, "f16", of_heads="slopes"),
    *(Norm(add, norm, f32, "q8_256") for add in (False, True) for norm in NORMS for f32 in (False, True)),
    Norm(True, "rms", True, ""), Norm(True, "", False, ""), HeadNorm(128), HeadNorm(72), HeadNorm(72, "layer"),
    RopeTable(), Rope(128, 128, "half"), Rope(80, 40, "interleaved"),
    KvAppend(128, "f16", 128, "half"), KvAppend(64, "f32"), KvAppend(128, "f32"),
    *(Activation(function, True, True, "q8") for function in FUNCTIONS if function != "xielu"),
    *(Activation(function, False, True, "q8_256") for function in FUNCTIONS if function not in ALWAYS_GATED),
    Activation("silu", True, True, ""), Activation("silu", True, False, "q8"), Softcap(),
    Ssd(64, 128), Ssd(8, 20), DeltaRule(128, 128), DeltaRule(20, 8), SelectiveScan(16), GatedNorm(128, "before"),
    GatedNorm(24, "after"), CausalConv(2, "", False), CausalConv(4, "silu", False), CausalConv(3, "", True),
]  # fmt: skip


def test_objects_export_their_kernel_and_need_nothing(isa: Isa) -> None:
    for spec, path in zip(SPECS, build_objects(SPECS, isa), strict=True):
        assert _symbols(path, "--defined-only", "--extern-only") - {"__extendhfsf2", "__truncsfhf2"} == {exported(spec, isa)}
        assert not _symbols(path, "--undefined-only"), spec


def test_symbols_are_distinct() -> None:
    assert len({spec.symbol for spec in SPECS}) == len(SPECS)


def _symbols(path: Path, *options: str) -> set[str]:
    listing = subprocess.run(["nm", *options, path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listing.splitlines()}
