"""The process that runs TVM: reads pickled jobs (spec, isa, path) on stdin and writes one object file for each.

TVM's default pipeline wraps functions in its packed calling convention and calls its runtime. A PrimFunc that skips that pass
comes out of `target.build.llvm` as a plain C function without undefined symbols, so llmc runs its own list of passes.
"""

import os
import pickle
import sys
import tempfile
import threading
from pathlib import Path

import tvm
from tvm import tirx
from tvm.target import Target

from llmc.codegen.build import Job, replace_file
from llmc.codegen.kernels.base import KernelSpec
from llmc.target import Isa


def object_bytes(spec: KernelSpec, isa: Isa) -> bytes:
    """The ELF object of one kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.o"
        llvm_module(spec, isa).write_to_file(str(path), "o")
        return path.read_bytes()


def llvm_module(spec: KernelSpec, isa: Isa) -> "tvm.runtime.Module":
    """The compiled kernel; `inspect_source("s")` shows its assembly and "ll" its LLVM IR."""
    more = {"mattr": ["+amx-tile", "+amx-int8"]} if isa.tiles else {}
    target = Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": isa.mcpu, **more})
    module = tvm.IRModule({"kernel": spec.generate(isa)})
    module = tirx.transform.BindTarget(target.with_host(target))(module)
    module = tvm.ir.transform.Sequential(_passes())(module)
    return tvm.get_global_func("target.build.llvm")(module, target)


def _passes() -> list["tvm.ir.transform.Pass"]:
    """The default host pipeline without MakePackedAPI and without LowerTVMBuiltin, which would turn local buffers into heap."""
    return [
        tirx.transform.StmtSimplify(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.BF16ComputeLegalize(),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.BF16StorageLegalize(),
        tirx.transform.LowerIntrin(),
    ]


def _end_with_parent() -> None:
    """Returns when the pipe from the parent closes, and takes the process with it."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main() -> None:
    jobs: list[Job] = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for spec, isa, path in jobs:
        replace_file(path, object_bytes(spec, isa))


if __name__ == "__main__":
    main()
