"""The process that builds GPU code: reads one pickled job (specs, device, path) on stdin and writes the file."""

import pickle
import sys

from llmc.codegen.build import replace_file
from llmc.codegen.gpu import hsaco, source
from llmc.codegen.gpu.build import Job
from llmc.codegen.gpu.nvrtc import nvrtc


def main() -> None:
    job: Job = pickle.load(sys.stdin.buffer)
    specs, device, path = job
    if device.kind == "cuda":
        replace_file(path, nvrtc().code(source.text(specs, device), device.arch))
    else:
        replace_file(path, hsaco.code_object(specs, device))


if __name__ == "__main__":
    main()
