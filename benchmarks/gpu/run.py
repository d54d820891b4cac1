"""Checks and measures a kit on the machine it is carried to; needs Python 3.9 or later, numpy and a GPU's driver.

    python KIT/run.py                 everything, at most ten minutes
    python KIT/run.py --only tests    kernels and models beside what was recorded, under compute-sanitizer too if it is there
    python KIT/run.py --only bench    the large model: prefill, decoding, start, memory

Ends with 77 where there is no GPU, with 1 where a check failed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from native import Cuda, Library, Refusal, Session  # noqa: E402

NO_GPU = 77
KERNEL_TOLERANCE = 1e-3  # halves differ in their last bit; f32 arithmetic in another order is far below
PIECE = 64 << 20  # bytes written at once when weights are filled


def check_kernels(cuda: Cuda) -> dict[str, Any]:
    """Every recorded launch again on the device: the worst relative error of each kernel."""
    folder, found = HERE / "kernels", {}
    cases = json.loads((folder / "cases.json").read_text())
    module = cuda.module(sorted(folder.glob("*.cubin")) + sorted(folder.glob("*.ptx")))
    for i, case in enumerate(cases):
        with np.load(folder / f"{i:03}.npz") as file:
            arrays = dict(file)
        given = {name.removeprefix("given_"): a for name, a in arrays.items() if name.startswith("given_")}
        done = cuda.launch(module, case, given)
        pairs = [(arrays.get(f"found_{name}", a), done[name]) for name, a in given.items()]
        error = max(difference(expected, computed, case["halves"]) for expected, computed in pairs)
        found[case["symbol"]] = max(error, found.get(case["symbol"], 0.0))
    cuda.unload(module)
    wrong = {name: error for name, error in found.items() if not error <= KERNEL_TOLERANCE}
    worst = max(found.values(), default=0.0)
    print(f"{len(cases)} launches of {len(found)} kernels, worst {worst:.1e}; wrong: {wrong or 'none'}", flush=True)
    return {"ok": bool(found) and not wrong, "kernels": found}


def difference(expected: Any, computed: Any, halves: bool) -> float:
    """||a - b|| / ||a||; infinite where integers differ, or numbers that nobody wrote (NaN) do not lie in the same places."""
    if expected.dtype == np.uint8:  # pages of keys and values
        expected, computed = (a.view(np.float16 if halves else np.float32) for a in (expected, computed))
    if expected.dtype == np.uint16:
        expected, computed = expected.view(np.float16), computed.view(np.float16)
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, computed) else float("inf")
    empty = np.isnan(expected)
    if not np.array_equal(empty, np.isnan(computed)):
        return float("inf")
    same = empty | (expected == computed)  # also infinities
    a, b = (np.where(same, 0, array).astype(np.float64) for array in (expected, computed))
    size = np.linalg.norm(np.where(np.isfinite(expected), expected, 0).astype(np.float64))
    return float(np.linalg.norm(a - b) / max(size, 1e-30))


def check_models(library: Library, device: str) -> dict[str, Any]:
    """Every model of the kit that has recorded logits: the largest difference, and whether it is within the tolerance."""
    found: dict[str, Any] = {}
    for folder in sorted((HERE / "models").iterdir()):
        with np.load(folder / "expected.npz") as file:
            tokens, expected, tolerance = file["tokens"], file["logits"], float(file["tolerance"])
        with library.open(folder / "model.llmc", device) as model:
            computed = []
            for eager in (True, False):
                with Session(model, context=len(tokens) + 1, eager=eager) as session:
                    rows = [session.prefill(session.sequences[0], tokens[:-4])]
                    rows += [session.prefill(session.sequences[0], [token]) for token in tokens[-4:]]
                    computed.append(np.array(rows))
        off = max(float(np.abs(rows - expected).max()) for rows in computed)
        same = bool(np.array_equal(*computed))
        found[folder.name] = {"max_abs": off, "tolerance": tolerance, "replayed_equal": same, "ok": off <= tolerance and same}
        print(f"{folder.name:<24} off by {off:.2e} of {tolerance:.0e}; replayed steps equal: {same}", flush=True)
    return found


def sanitize(arguments: list[str]) -> dict[str, Any]:
    """The checks again under compute-sanitizer."""
    tool = shutil.which("compute-sanitizer")
    command = ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", sys.executable, __file__, *arguments]
    if not tool:
        print("compute-sanitizer is not installed; elsewhere: " + " ".join(command))
        return {"ok": True, "skipped": "not installed"}
    done = subprocess.run([tool, *command[1:]], capture_output=True, text=True, timeout=300)
    print(f"compute-sanitizer: {'clean' if done.returncode == 0 else done.stdout[-2000:]}", flush=True)
    return {"ok": done.returncode == 0, "returncode": done.returncode}


def fill(large: Path) -> Path:
    """Writes the large model's weights, each a pattern of its own format over and over, and gives the artifact."""
    plan = json.loads((large / "fill.json").read_text())
    patterns = np.fromfile(large / "patterns.bin", np.uint8)
    path = large / "model.llmc" / plan["name"]
    if path.exists() and path.stat().st_size == plan["size"]:
        return path.parent
    with path.open("wb") as out:
        out.write(bytes.fromhex(plan["header"]))
        for region in plan["regions"]:
            out.seek(region["offset"])
            start, size = region["pattern"]
            piece = np.tile(patterns[start : start + size], max(1, PIECE // size))
            for at in range(0, region["nbytes"], piece.size):
                out.write(memoryview(piece[: min(piece.size, region["nbytes"] - at)]))
        out.truncate(plan["size"])
    return path.parent


def seconds_of_decoding(session: Session, steps: int, repeat: int = 3) -> float:
    """Of one step, the median of some runs of `steps`, which end with the last logits on the host."""
    batch = [7] * len(session.sequences)
    for _ in range(4):  # the second is recorded, and the rest of the weights has arrived
        session.step(batch)
    session.row(0)
    runs = []
    for _ in range(repeat):
        begun = time.perf_counter()
        for _ in range(steps):
            session.step(batch)
        session.row(0)
        runs.append((time.perf_counter() - begun) / steps)
    return statistics.median(runs)


def measure(library: Library, cuda: Cuda, device: str, quick: bool) -> dict[str, Any]:
    """The large model, each figure beside the rate that bounds it."""
    artifact, facts = fill(HERE / "large"), json.loads((HERE / "large" / "facts.json").read_text())
    prompt, steps = (96, 4) if quick else (2048, 64)
    rate = cuda.copy_rate((1 << 20) if quick else (2 << 30))
    found: dict[str, Any] = {"shape": facts["shape"], "copy_bytes_per_second": rate, "bf16_flop_per_second": matmul_rate(quick)}
    found["first_token_seconds"] = first_token(artifact, device, quick)
    before = cuda.free()
    with library.open(artifact, device) as model:
        found["device"] = model.info.device.decode()
        with Session(model, context=prompt + steps) as session:
            tokens = [i % min(model.info.vocab, 1000) for i in range(prompt)]
            session.prefill(session.sequences[0], tokens)
            runs = []
            for _ in range(3):
                model.c.llmc_sequence_truncate(session.handle, session.sequences[0], 0)
                begun = time.perf_counter()
                session.prefill(session.sequences[0], tokens)
                runs.append(time.perf_counter() - begun)
            seconds = statistics.median(runs)
            found["prefill"] = {"tokens": prompt, "tokens_per_second": prompt / seconds,
                                "flop_per_second": facts["flop_per_token"] * prompt / seconds}  # fmt: skip
            found["memory_bytes"] = before - cuda.free()
        for batch in (1, 8, 64):
            for eager in (False, True):
                with Session(model, context=4 * steps + 64, sequences=batch, eager=eager) as session:
                    seconds = seconds_of_decoding(session, steps)
                found[f"decode_{batch}" + "_eager" * eager] = {
                    "tokens_per_second": batch / seconds, "step_seconds": seconds,
                    "weight_bytes_per_second": facts["step_bytes"] / seconds,
                }  # fmt: skip
    return found


def first_token(artifact: Path, device: str, quick: bool) -> float | None:
    """Seconds from the start of the artifact's own program to its first token, the median of three warm ones."""
    command = [artifact / "run", "--device", device, "-p", "Hello", "-n", "1"]
    runs = []
    for _ in range(1 if quick else 4):
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
            return None
        runs.append(time.perf_counter() - begun)
    return statistics.median(runs[1:] or runs)


def matmul_rate(quick: bool) -> float | None:
    """Of torch's bf16 product of random matrices of 8192 x 8192; None without torch on a GPU."""
    try:
        import torch
    except ImportError:
        return None
    if quick or not torch.cuda.is_available():
        return None
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in "ab")
    for _ in range(3):
        a @ b
    begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begun.record()
    for _ in range(10):
        a @ b
    ended.record()
    torch.cuda.synchronize()
    rate = 2 * 8192**3 * 10 / (begun.elapsed_time(ended) / 1e3)
    del a, b
    torch.cuda.empty_cache()
    return float(rate)


def table(found: dict[str, Any]) -> str:
    """The figures for a reader, each beside its limit."""
    copy, flop = found["copy_bytes_per_second"], found["bf16_flop_per_second"]
    lines = [f"{found['shape']} on {found['device']}; copy {copy / 1e12:.2f} TB/s, bf16 product "
             + (f"{flop / 1e12:.0f} TFLOP/s" if flop else "not measured: torch is not there")]  # fmt: skip
    for name, figures in found.items():
        if name.startswith("decode"):
            share = 2 * figures["weight_bytes_per_second"] / copy  # a copy's rate counts each byte twice
            lines.append(f"{name:<16} {figures['tokens_per_second']:>10.1f} tokens/s   {share:>5.1%} of the rate of reading")
    p = found["prefill"]
    share = f"{p['flop_per_second'] / flop:>5.1%} of the bf16 product" if flop else ""
    lines.append(f"prefill {p['tokens']:<8} {p['tokens_per_second']:>10.1f} tokens/s   {share}")
    if found["first_token_seconds"] is not None:
        lines.append(f"start to first token {found['first_token_seconds']:.2f} s")
    return "\n".join([*lines, f"GPU memory {found['memory_bytes'] / 1e9:.2f} GB"])


def everything(o: argparse.Namespace, library: Library, cuda: Cuda) -> dict[str, Any]:
    """What was asked for, by name."""
    found: dict[str, Any] = {}
    if o.only != "bench":
        found["kernels"] = check_kernels(cuda)
        found["models"] = check_models(library, o.device)
        if not o.no_sanitizer:
            found["sanitizer"] = sanitize(["--only", "tests", "--device", o.device, "--no-sanitizer"])
    if o.only != "tests":
        found["bench"] = measure(library, cuda, o.device, o.quick)
        print(table(found["bench"]))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["tests", "bench"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few tokens: shows that this script works, measures nothing")
    parser.add_argument("--no-sanitizer", action="store_true")
    o = parser.parse_args(arguments)
    try:
        cuda = Cuda()
    except Refusal as refusal:
        print(f"nothing was checked or measured: {refusal}", file=sys.stderr)
        return NO_GPU
    try:
        with cuda:
            found = everything(o, Library(HERE / "libllmc.so"), cuda)
    except Refusal as refusal:
        print(f"failed: {refusal}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    checks = [*found.get("models", {}).values(), *(found[name] for name in ("kernels", "sanitizer") if name in found)]
    return 0 if all(check["ok"] for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
