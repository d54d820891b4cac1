"""AMD code objects for every architecture: what their metadata says equals our launch table, and they are built in seconds."""

import time

import pytest

from llmc.codegen.gpu import build
from llmc.gpu import DEVICES
from tests.codegen.gpu import hsaco
from tests.codegen.gpu.test_gpu_code import SPECS

_SIZES = {"int32_t": 4, "int64_t": 8, "float": 4}
ARCHITECTURES = [name for name in DEVICES if name.startswith("rocm")]
SECONDS = 60  # for all of SPECS on one core of a busy machine; with values by name it was hundreds


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_code_objects_hold_what_the_host_plan_launches(name: str) -> None:
    device = DEVICES[name]
    begun = time.monotonic()
    (path,) = build.build(SPECS, [device])
    assert time.monotonic() - begun < SECONDS
    found = hsaco.kernels(path.read_bytes())
    assert found.keys() == {spec.symbol for spec in SPECS}
    for spec in SPECS:
        kernel, at = found[spec.symbol], 0
        for p, (offset, size, kind) in zip(spec.params, kernel.arguments, strict=True):
            expected = 8 if p.is_pointer else _SIZES[p.ctype]
            at = -(-at // expected) * expected  # hipModuleLaunchKernel lays arguments out by their natural alignment
            assert (offset, size) == (at, expected), f"{spec.symbol}: {p.name}"
            assert kind == ("global_buffer" if p.is_pointer else "by_value"), f"{spec.symbol}: {p.name}"
            at += size
        assert kernel.kernarg >= at, spec.symbol
        assert kernel.threads >= spec.launch.threads, spec.symbol
        assert kernel.shared <= device.shared, f"{spec.symbol}: {kernel.shared} bytes of shared memory"
        assert kernel.spilled == 0 and kernel.scratch == 0, f"{spec.symbol} keeps {kernel.scratch} bytes of a thread in memory"
        assert kernel.registers <= 256, f"{spec.symbol}: {kernel.registers} registers"
