"""Target names, and what cpu:native resolves to."""

import pytest

from llmc import target
from llmc.errors import ToolchainError, UsageError
from llmc.target import ISAS, Target

ALL = {flag for isa in ISAS.values() for flag in isa.flags}


@pytest.mark.parametrize("name", ["cpu", *(f"cpu:{isa}" for isa in ISAS), "cpu:avx2+avx512-vnni"])
def test_a_resolved_target_is_called_as_it_was_asked_for(name: str) -> None:
    assert target.parse(name).name == name


def test_native_becomes_the_best_level_the_flags_allow() -> None:
    for isa in ISAS.values():
        assert target.parse("cpu:native", isa.flags).name == f"cpu:{isa.name}"
    assert target.parse("cpu:native", ALL).isas == (ISAS["avx512-amx"],)
    assert target.parse("cpu:native", ALL - {"amx_int8"}).isas == (ISAS["avx512-vnni"],)
    assert target.parse("cpu:native", ALL - {"avx512_vnni", "avx_vnni"}).isas == (ISAS["avx2"],)


def test_a_processor_below_the_lowest_level_is_told_what_it_lacks() -> None:
    with pytest.raises(ToolchainError, match="needs ssse3"):
        target.parse("cpu:native", ALL - {"ssse3"})


def test_several_targets_are_united_in_ascending_order() -> None:
    assert target.parse_all(["cpu:avx512-vnni", "cpu:avx2", "cpu:avx2"]).name == "cpu:avx2+avx512-vnni"
    assert target.parse_all([f"cpu:{isa}" for isa in ISAS]) == target.parse("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cpu:", "cpu:neon", "cpu:avx2+", "CPU", "cuda:90", "cuda:sm_x", "rocm:90"])
def test_an_unknown_name_lists_or_shows_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match="known targets|architectures: "):
        target.parse(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:sm_90a", "cuda:sm_80,sm_120", "rocm", "rocm:gfx942"])
def test_gpu_targets_hold_devices_and_no_levels(name: str) -> None:
    found = target.parse(name)
    assert found.name == name and found.devices and not found.isas


@pytest.mark.parametrize(
    ("name", "archs", "recorded"),
    [
        ("cuda:sm_90a+ptx", ["sm_90a", "compute_90"], "cuda:sm_90a+ptx"),
        ("cuda:sm_120+ptx,sm_80", ["sm_80", "sm_120", "compute_120"], "cuda:sm_80,sm_120+ptx"),
    ],
)
def test_ptx_is_for_the_architecture_it_is_asked_for_with(name: str, archs: list[str], recorded: str) -> None:
    found = target.parse(name)
    assert [device.arch for device in found.devices] == archs
    assert found.name == recorded and target.parse(recorded) == found


@pytest.mark.parametrize("name", ["cuda:sm_90a+PTX", "cuda:+ptx", "rocm:gfx942+ptx", "cuda:sm_90a+ptx+ptx"])
def test_ptx_is_for_known_cuda_architectures_alone(name: str) -> None:
    with pytest.raises(UsageError):
        target.parse(name)


def test_processors_and_gpus_are_united() -> None:
    found = target.parse_all(["cuda:sm_90a", "cpu:avx2", "rocm", "cuda:sm_80"])
    assert found.name == "cpu:avx2 cuda:sm_80,sm_90a rocm"
    assert [d.arch for d in found.devices] == ["sm_80", "sm_90a", "gfx90a", "gfx942", "gfx1100"]


@pytest.mark.parametrize("name", ["cuda:sm_75", "cuda:sm_61"])
def test_old_gpus_are_refused_as_what_they_are(name: str) -> None:
    with pytest.raises(ToolchainError, match="sm_80 and later"):
        target.parse(name)


def test_levels_only_add_to_the_one_every_machine_has() -> None:
    lowest, *others = ISAS.values()
    assert all(set(lowest.flags) < set(isa.flags) for isa in others)
    assert all(isa.symbol.isidentifier() or isa.symbol[0] == "x" for isa in ISAS.values())


def test_a_target_refuses_levels_out_of_order() -> None:
    with pytest.raises(AssertionError):
        Target("cpu:wrong", (ISAS["avx2"], ISAS["x86-64-v2"]))


def test_the_listing_names_every_target_once() -> None:
    assert [t["name"] for t in target.listing()["targets"]] == target.names()
