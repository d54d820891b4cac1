"""The commands that look at models and artifacts, through the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import llmc
from llmc import cli
from tests.e2e.reference import Compiled

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """(exit code, stdout)"""

    def run(*arguments: object) -> tuple[int, str]:
        return cli.main([str(a) for a in arguments]), capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def artifact(compiled: Compiled, demo_model: Path) -> Path:
    return compiled(demo_model)


def test_compile_tells_sizes_and_times(run: Run, demo_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.llmc"
    code, text = run("compile", demo_model, "-o", out, "--target", "cpu:native", "--json")
    document = json.loads(text)
    assert code == 0 and document["path"] == str(out)
    assert document["weights_bytes"] == next(out.glob("weights-*")).stat().st_size
    assert document["files"] == {f.name: f.stat().st_size for f in sorted(out.iterdir())}
    assert document["seconds"].keys() >= {"reading", "building kernels", "packing weights", "linking"}


def test_a_checkpoint_and_its_artifact_hold_the_same_tensors(run: Run, demo_model: Path, artifact: Path) -> None:
    before, after = (json.loads(run("inspect", path, "--json")[1]) for path in (demo_model, artifact))
    assert (before["kind"], after["kind"]) == ("checkpoint", "artifact")
    assert before["supported"] and before["architecture"] == after["architecture"] == "llama"
    assert before["formats"] == after["formats"] and before["weights"] == after["weights"]
    assert before["memory"]["kv"] == after["memory"]["kv"]
    assert after["memory"]["total"] > before["memory"]["total"] > before["bytes"]


def test_memory_grows_with_the_context_asked_for(run: Run, artifact: Path) -> None:
    small, large = (json.loads(run("inspect", artifact, "--context", n, "--json")[1])["memory"] for n in (100, 200))
    assert large["kv"] == 2 * small["kv"] and large["weights"] == small["weights"]


def test_inspect_prints_every_tensor_when_asked(run: Run, demo_model: Path) -> None:
    assert "blk.0.attn_q.weight" not in run("inspect", demo_model)[1]
    assert "blk.0.attn_q.weight" in run("inspect", demo_model, "-v")[1]


def test_a_model_of_an_unknown_kind_is_described_all_the_same(run: Run, demo_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(demo_model.read_bytes().replace(b"llama", b"zebra"))
    code, text = run("inspect", model, "--json")
    document = json.loads(text)
    assert code == 0 and not document["supported"] and document["why_not"] and document["tensors"]


def test_verify_fails_with_the_name_of_the_file(run: Run, artifact: Path, tmp_path: Path) -> None:
    assert run("verify", artifact)[0] == 0
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    (copy / "tokenizer.bin").write_bytes(b"x")
    code, text = run("verify", copy, "--json")
    document = json.loads(text)
    assert code == 4 and not document["whole"] and "tokenizer.bin" in document["differences"][0]


def test_bench_measures_prefill_and_decode(run: Run, artifact: Path) -> None:
    code, text = run("bench", artifact, "--prompt", 16, "--tokens", 4, "--repeat", 2, "--threads", 1, "--json")
    document = json.loads(text)
    assert code == 0 and document["threads"] == 1
    assert document["prefill"]["tokens_per_second"] > 0 < document["decode"]["tokens_per_second"]
    assert "decode of 4 tokens" in run("bench", artifact, "--prompt", 16, "--tokens", 4, "--repeat", 1)[1]


def test_bench_refuses_more_than_the_context_holds(run: Run, artifact: Path) -> None:
    code, text = run("bench", artifact, "--prompt", 5000, "--json")
    assert code == 2 and "context of 2048" in json.loads(text)["error"]["message"]


def test_a_tokenizer_is_the_same_from_the_checkpoint_and_from_the_artifact(demo_model: Path, artifact: Path) -> None:
    text = "def f(x):\n    return x + 1  # été"
    tokenizers = [llmc.load_tokenizer(demo_model), llmc.load_tokenizer(artifact), llmc.load(artifact).tokenizer]
    ids = [t.tokenize(text, add_special=True) for t in tokenizers]
    assert ids[0] == ids[1] == ids[2]
    assert tokenizers[0].detokenize(ids[0]).decode() == text


def test_passes_are_dumped_and_left_out_by_variable(demo_model: Path, tmp_path: Path, run: Run) -> None:
    from llmc import debug

    with debug.scoped(LLMC_DUMP=str(tmp_path / "dump"), LLMC_PASSES="-fuse_gate_up"):
        assert run("compile", demo_model, "-o", tmp_path / "o.llmc", "--target", "cpu:native")[0] == 0
    dumped = [f.name for f in (tmp_path / "dump").iterdir()]
    assert any("fuse_qkv" in name for name in dumped) and not any("fuse_gate_up" in name for name in dumped)
    with debug.scoped(LLMC_PASSES="-no_such_pass"):
        assert run("compile", demo_model, "-o", tmp_path / "o.llmc")[0] == 2


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_another_compiler_may_link(demo_model: Path, tmp_path: Path, run: Run, artifact: Path) -> None:
    assert run("compile", demo_model, "-o", tmp_path / "o.llmc", "--target", "cpu:native", "--cc", "gcc")[0] == 0
    ids = [1, 2, 3]
    assert (llmc.load(tmp_path / "o.llmc").logits(ids) == llmc.load(artifact).logits(ids)).all()
    code, text = run("compile", demo_model, "-o", tmp_path / "p.llmc", "--cc", "no-such-compiler", "--json")
    assert code == 5 and "no-such-compiler" in json.loads(text)["error"]["message"]
