"""Times the linear kernels alone: their rates beside the limits of the machine.

    python -m benchmarks.kernels [--isa LEVEL] [--formats q4_0,q4_k] [--k 4096] [--rows 4096]

*multiply*: 10^9 multiply-adds a second for `--tokens` tokens, on one thread. *read 1 2 4 8 16*: bytes of weights that pass a
second with that many tokens, as a share of a read loop over the same bytes; weights come from memory, as copies that together are
larger than the last-level cache. Kernel and loop are timed in turn, each figure is the median of the rounds.
"""

import argparse
import ctypes
import mmap
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmc.codegen.build import build_objects
from llmc.codegen.kernels.activations import COLUMNS, SUPER_BLOCK, Quantised, quantise
from llmc.codegen.kernels.base import exported
from llmc.codegen.kernels.linear import WIDTHS, Linear
from llmc.frontend.quant import FORMATS
from llmc.frontend.quant._groups import group_format
from llmc.ir.quant import BlockFormat
from llmc.ir.tiles import pack, row_tiles
from llmc.target import ISAS, Isa, native

READ = Path(__file__).with_name("kernel_read.c")
CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
NAMED = {**FORMATS, "gptq_128": group_format(4, 128, False), "awq_128": group_format(4, 128, True)}
USUAL = "q4_0,q4_k,q5_k,q6_k,q8_0,q3_k,q2_k,iq4_xs,mxfp4,gptq_128,awq_128"


class Case:
    """One format on one level: weights W[rows, k] in copies, and activations for 128 tokens."""

    def __init__(self, fmt: BlockFormat, isa: Isa, rows: int, k: int, tokens: int, folder: Path) -> None:
        specs = [Linear(fmt, "q8", p) for p in WIDTHS]
        library = folder / f"{fmt.name}.so"
        subprocess.run(["gcc", "-shared", "-o", library, *build_objects(specs, isa)], check=True)
        loaded = ctypes.CDLL(str(library))
        self.kernels = {s.p: getattr(loaded, exported(s, isa)) for s in specs}
        rng = np.random.default_rng(1)
        self.packed = aligned(np.concatenate([*pack(fmt, weights(fmt, rows * k // fmt.weights, rng), rows, k)]))
        columns = SUPER_BLOCK if fmt.super_block else COLUMNS
        self.q8 = quantise(rng.normal(size=(tokens, k)).astype(np.float32), columns)
        self.y = aligned(np.zeros(tokens * rows, np.float32))
        self.rows, self.k, self.tokens, self.tiles = rows, k, tokens, row_tiles(rows)

    def call(self, w: int, p: int, lo: int, hi: int, token_tiles: int) -> None:
        """Row tiles [lo, hi) of the weights at address w."""
        q = self.tiled[p]
        arrays = (None if a is None else a.ctypes.data for a in (q.qa, q.da, q.sa, None, self.y))
        self.kernels[p](*map(ctypes.c_void_p, (w, *arrays)), self.k, self.rows, ctypes.c_float(1.0), lo, hi, 0, token_tiles)

    @property
    def tiled(self) -> dict[int, Any]:
        if not hasattr(self, "_tiled"):
            forms = {p: self.q8.tiled(p) for p in WIDTHS}
            self._tiled = {p: Quantised(aligned(q.qa), aligned(q.da), aligned(q.sa)) for p, q in forms.items()}
        return self._tiled

    def multiply(self, rounds: int) -> float:
        """10^9 multiply-adds per second, weights from the caches."""
        work = self.rows * self.k * self.tokens
        run = lambda: self.call(self.packed.ctypes.data, 16, 0, self.tiles, self.tokens // 16)  # noqa: E731
        return work / median(seconds(run) for _ in range(rounds)) / 1e9

    def read(self, memory: "Copies", threads: int, rounds: int) -> list[float]:
        """By number of tokens: the bytes of all copies per second, as a share of the read loop's."""
        bounds = [self.tiles * i // threads for i in range(threads + 1)]
        per_tile = self.packed.size // self.tiles
        shares = []
        with ThreadPoolExecutor(threads) as pool:

            def everywhere(work: Callable[[int, int, int], None]) -> None:
                def mine(i: int) -> None:
                    for at in memory.addresses:
                        work(at, bounds[i], bounds[i + 1])

                [*pool.map(mine, range(threads))]

            def loop(at: int, lo: int, hi: int) -> None:
                memory.read(ctypes.c_void_p(at + lo * per_tile), ctypes.c_size_t((hi - lo) * per_tile))

            for p in WIDTHS:
                found = []
                for _ in range(rounds):
                    kernel = seconds(lambda p=p: everywhere(lambda at, lo, hi: self.call(at, p, lo, hi, 1)))  # type: ignore[misc]
                    found.append(seconds(lambda: everywhere(loop)) / kernel)
                shares.append(median(found))
            self.loop = self.packed.size * len(memory.addresses) / seconds(lambda: everywhere(loop)) / 1e9
        return shares


class Copies:
    """The packed weights often enough to exceed the last-level cache, in memory with huge pages where there are any."""

    def __init__(self, packed: NDArray[np.uint8], folder: Path) -> None:
        size = int(CACHE.read_text().strip("K\n")) << 10 if CACHE.exists() else 64 << 20
        count = max(4, -(-5 * size // 4 // packed.size))
        each = -(-packed.size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, count * each)
        self.memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(self.memory, np.uint8).reshape(count, each)
        whole[:, : packed.size] = packed
        self.addresses = [int(row.ctypes.data) for row in whole]
        library = folder / "read.so"
        # by the compiler that builds read_loop: another's code for the same loop is up to a fifth slower
        compiler = [sys.executable, "-m", "ziglang", "cc"]
        subprocess.run([*compiler, "-O2", "-march=native", "-shared", "-fPIC", "-o", library, READ], check=True)
        self.read = ctypes.CDLL(str(library)).read_all


def weights(fmt: BlockFormat, blocks: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blocks of random bytes with sane scales: numbers that are subnormal would be timed as such."""
    raw = rng.integers(0, 256, (blocks, fmt.nbytes), np.uint8)
    offset = 0
    for field in fmt.layout:
        if field.dtype == "f16":
            raw[:, offset : offset + 2] = rng.uniform(0.005, 0.01, blocks).astype("<f2").view(np.uint8).reshape(-1, 2)
        offset += field.nbytes
    if fmt.factor == "e8m0":
        raw[:, 0] = 120
    return raw.reshape(-1)


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """A flat copy at a multiple of 64 bytes, as the runtime's arena has it."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype)
    copy[...] = array.reshape(-1)
    return copy


def seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=[*ISAS], default=native().name)
    parser.add_argument("--formats", default=USUAL)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="of the reading part")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", choices=["read", "multiply"])
    a = parser.parse_args()
    print(f"{a.isa}, {a.rows} x {a.k}\n{'format':<10} {'multiply':>9}   read, of the loop: {'  '.join(map(str, WIDTHS))} tokens")
    with tempfile.TemporaryDirectory() as folder:
        for name in a.formats.split(","):
            fmt = NAMED[name]
            if not isinstance(fmt, BlockFormat):
                parser.error(f"{name} is not a block format")
            case = Case(fmt, ISAS[a.isa], a.rows, a.k, a.tokens, Path(folder))
            rate = "" if a.skip == "multiply" else f"{case.multiply(a.rounds):.0f}"
            line = f"{name:<10} {rate:>9}"
            if a.skip != "read":
                shares = case.read(Copies(case.packed, Path(folder)), a.threads, a.rounds)
                line += f"   {'  '.join(f'{s:.2f}' for s in shares)}   loop {case.loop:.1f} GB/s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
