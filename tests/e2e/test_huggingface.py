"""Models compiled from Hugging Face directories: the logits that transformers computed, and the command line around them."""

import json
from pathlib import Path

import numpy as np
import pytest

import llmc
from llmc.cli import main
from tests.e2e.reference import KL_WITHOUT_RECORD, Compiled, Reference, kl

FAMILIES = [
    "cohere", "cohere_qknorm", "deepseek_v2", "gemma2", "gemma2_qpas", "gemma3", "gpt_oss", "granite", "llama", "llama_bias",
    "mistral", "mistral_swa", "mixtral", "phi3", "qwen2", "qwen3",
]  # fmt: skip
QUANTISED = [
    "awq_b4_g128_gemm", "ct_fp8_dynamic", "ct_nvfp4a16", "ct_w4a16_asym", "ct_w8a8_int", "gptq_b2_g32_sym", "gptq_b3_g32_asym_v2",
    "gptq_b4_g128_sym", "gptq_b4_g32_asym_desc_v2", "gptq_b8_g32_sym",
]  # fmt: skip
F32_MAX_ABS = 1e-3


@pytest.mark.parametrize("fixture", FAMILIES)
def test_exact_arithmetic_gives_the_recorded_logits(compiled: Compiled, reference: Reference) -> None:
    model = llmc.load(compiled(reference.folder / "hf", "f32"), threads=2)
    for i in reference.sequences:
        recorded = reference.data[f"logits_last_{i}"]
        assert np.abs(model.logits(reference.tokens(i))[-1] - recorded).max() <= reference.f32_max_abs


@pytest.mark.parametrize("fixture", QUANTISED)
def test_quantised_linears_give_the_logits_of_their_exact_weights(compiled: Compiled, reference: Reference) -> None:
    exact = reference.folder / "ref_numpy_unpack.npz"  # ref.npz: the packages round scale * (q - zero) to f16
    recorded = dict(np.load(exact if exact.is_file() else reference.folder / "ref.npz"))
    models = {acts: llmc.load(compiled(reference.folder / "hf", acts), threads=2) for acts in ("f32", "int8")}
    for i in reference.sequences:
        logits = {acts: model.logits(reference.tokens(i))[-1] for acts, model in models.items()}
        assert np.abs(logits["f32"] - recorded[f"logits_last_{i}"]).max() <= F32_MAX_ABS
        assert kl(recorded[f"logits_last_{i}"][None], logits["int8"][None])[0] <= KL_WITHOUT_RECORD


def test_a_directory_is_inspected(shared: Path) -> None:
    found = llmc.inspect(shared / "models" / "open" / "qwen2" / "hf")
    assert (found["kind"], found["container"], found["architecture"]) == ("checkpoint", "safetensors", "Qwen2ForCausalLM")
    assert found["supported"] and found["formats"][0]["format"] == "bf16" and "config.json" in found["files"]


def test_the_tokenizer_of_a_directory_opens_without_its_weights(shared: Path, tmp_path: Path) -> None:
    for path in (shared / "models" / "pydocs" / "hf").iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    tokenizer = llmc.load_tokenizer(tmp_path)
    assert tokenizer.detokenize(tokenizer.tokenize("def f(): pass")) == b"def f(): pass"


def test_the_artifact_of_a_directory_is_named_after_it(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Tiny-1.5").symlink_to(shared / "models" / "open" / "llama" / "hf")
    monkeypatch.chdir(tmp_path)
    assert main(["compile", "Tiny-1.5", "--target", "cpu:native", "--activations", "f32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == "Tiny-1.5.llmc"
