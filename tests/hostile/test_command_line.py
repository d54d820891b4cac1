"""What a user sees of a malformed model: one JSON document, the exit code of its kind, no traceback; at once, and without TVM."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

# Runs a command and adds to stderr what it cost. 100 tells that TVM was loaded. VmHWM is of the program alone; ru_maxrss would
# begin at what the process that started it held.
COMMAND = """
import sys
from llmc import cli
code = cli.main(sys.argv[1:])
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print("peak_kb", *peak, file=sys.stderr)
sys.exit(100 if "tvm" in sys.modules else code)
"""


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("magic_lower.gguf", 4, "not a GGUF file"),
        ("trunc_last_byte.gguf", 4, "blk.1.ffn_down.weight"),
        ("tensor_count_2e63.gguf", 4, "tensor count"),
        ("nested_array_deep.gguf", 3, "x.nested"),
        ("dim_product_wraps.gguf", 4, "blk.0.attn_q.weight"),
        ("ttype_4.gguf", 3, "q4_2"),
        ("name_shell.gguf", 4, "tensor name"),
        ("head_count_0.gguf", 4, "llama.attention.head_count"),
        ("arch_fmt.gguf", 3, "%s%n%s"),
        ("token_surrogate.gguf", 4, "tokenizer.ggml.tokens"),
        ("split_d-00001-of-65535.gguf", 4, "split_d-00002-of-65535.gguf"),
    ],
)
def test_a_refusal_is_one_document_and_cheap(shared: Path, tmp_path: Path, name: str, code: int, word: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = shared / "corpora" / "hostile" / name
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "compile", str(model), "-o", str(tmp_path / "m.llmc"), "--json"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # of a processor, whatever else it does
    assert done.returncode == code, done.stderr
    assert word in json.loads(done.stdout)["error"]["message"]
    assert "Traceback" not in done.stderr
    assert int(done.stderr.split("peak_kb")[1]) < 1 << 20
    assert not list(tmp_path.iterdir())
