"""Compile a model for this machine, look at logits, generate text.

    python examples/compile_and_run.py [MODEL.gguf]
"""

import sys
import tempfile
from pathlib import Path

import llmc

source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pydocs-q4_k_m.gguf")

with tempfile.TemporaryDirectory() as folder:
    result = llmc.compile(source, Path(folder) / "model.llmc", targets=["cpu:native"])
    print(f"{result.code_bytes / 1e6:.2f} MB of code, {result.weights_bytes / 1e6:.1f} MB of weights")

    model = llmc.load(result.path)
    prompt = "The following example shows how to"
    ids = model.tokenizer.tokenize(prompt, add_special=True)

    best = model.logits(ids)[-1].argsort()[::-1][:5]
    print("most likely next:", [model.tokenizer.detokenize([i]).decode(errors="replace") for i in best.tolist()])

    for piece in model.generate(prompt, max_tokens=48):
        print(piece, end="", flush=True)
    print()
