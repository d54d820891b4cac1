"""The portable artifact on processors this machine is not: qemu shows a Nehalem (no AVX) and a Haswell (AVX2, no VNNI).

Opt-in (`make test-qemu`), as qemu-user has to be installed and is slow. Everything runs under it, Python included.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import llmc
from tests.e2e.reference import Compiled, Reference, kl

LEVELS = {"Nehalem": "x86-64-v2", "Haswell": "avx2"}
SCRIPT = """
import sys, numpy, llmc
model = llmc.load(sys.argv[1], threads=1)
numpy.savez(sys.argv[2], isa=model.isa, logits=model.logits([int(i) for i in sys.argv[3].split(",")]))
"""

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="qemu-user is not installed: make test-qemu"),
    pytest.mark.parametrize("fixture", ["q_Q4_0", "q_Q4_K_M", "qwen3"]),
]


@pytest.mark.parametrize("cpu", LEVELS)
def test_an_older_processor_takes_its_own_level(compiled: Compiled, reference: Reference, tmp_path: Path, cpu: str) -> None:
    artifact, ids, out = compiled(reference.model, target="cpu"), reference.tokens(0), tmp_path / "out.npz"
    command = ["qemu-x86_64", "-cpu", cpu, sys.executable, "-c", SCRIPT, str(artifact), str(out), ",".join(map(str, ids))]
    subprocess.run(command, check=True)
    emulated = np.load(out)
    assert str(emulated["isa"]) == LEVELS[cpu]
    assert kl(reference.data["logits_all_0"], emulated["logits"]).mean() <= reference.int8_kl_mean
    assert np.array_equal(emulated["logits"], llmc.load(artifact, threads=1, isa=LEVELS[cpu]).logits(ids))
