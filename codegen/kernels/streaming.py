"""How kernels that read weights from memory ask for them: what all of them do alike, and the distances.

A core has about 48 reads of memory under way at most, and decodes at full speed only while that many are. Its own prefetch gives
up at every 4 KiB and keeps fewer; a kernel that waits for one line does not come to the next. So each cache line is asked for
twice, far ahead for the second-level cache and nearer for the first, and the asking is spread between the instructions that do
the work: eight lines asked for at once fill the buffers that the kernel's own reads need.

GB/s of one thread on Sapphire Rapids, Q4_0 / Q4_K / Q6_K, 400 MB, a loop that only reads: 19.3. In one burst a unit, 6 KiB
ahead 15.0 / 14.5 / 13.7; 3 KiB ahead and again 768 bytes 16.4 / 15.5 / 16.0. Spread, 6 KiB and 2304 bytes 17.4 / 16.5 / 17.7;
8 KiB and 4 KiB 17.4 / 16.7 / 17.0; 4 KiB alone 16.6 / 15.9 / 17.2.
"""

from dataclasses import dataclass

from llmc.codegen import tir
from llmc.codegen.tir import CACHE_LINE, Expr, View, i64, let


@dataclass(frozen=True)
class Stage:
    """Ask for what lies `nbytes` ahead to be in the cache of `level` 1 or 2."""

    nbytes: int
    level: int


STAGES = (Stage(6144, 2), Stage(2304, 1))
TOKENS = 8  # token tiles of more are bound by arithmetic


class Stream:
    """Asks for the lines of `nbytes` from byte `start` of `memory`, each stage ahead of that, in `steps` steps."""

    def __init__(self, memory: View, start: Expr, nbytes: int, steps: int) -> None:
        self.memory, self.start, self.steps = memory, let(start), steps
        self.lines = range(0, nbytes, CACHE_LINE)
        self.done = 0

    @property
    def ended(self) -> bool:
        return self.done == self.steps

    def step(self) -> None:
        """One step of the work is written: its share of the lines."""
        first, last = (len(self.lines) * n // self.steps for n in (self.done, self.done + 1))
        self.done += 1
        for line in self.lines[first:last]:
            for stage in STAGES:
                tir.prefetch(self.memory, self.start + i64(line + stage.nbytes), level=stage.level)
