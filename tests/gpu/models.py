"""Models compiled for the fake drivers, and the kernels they launch."""

from functools import cache
from pathlib import Path

import pytest

import llmc
from llmc.codegen.gpu.lower import lower
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.frontend.load import open_model
from llmc.passes.pipeline import optimize

DEMO = Path(__file__).parents[2] / "examples" / "pydocs-q4_k_m.gguf"


def specs(source: Path, exact: bool = True) -> list[GpuKernelSpec]:
    """Of a model compiled with activations "f32", or with others."""
    return lower(optimize(open_model(source).graph, "f32", "f32" if exact else "f16"), exact=exact).specs


@cache
def demo_specs() -> list[GpuKernelSpec]:
    return specs(DEMO)


@pytest.fixture(scope="session")
def demo_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gpu") / "demo.llmc"
    llmc.compile(DEMO, out, targets=["cpu:native", "cuda:sm_80,sm_90a"], activations="f32")
    return out
