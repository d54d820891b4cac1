"""y = scale * (x W^T + bias) on the matrix units of CUDA devices, any number of tokens (templates/cuda/linear.cuh)."""

from dataclasses import dataclass

from llmc.codegen.gpu import cuda_format
from llmc.codegen.gpu.spec import CudaSpec, Launch
from llmc.codegen.kernels.base import Param, params
from llmc.ir.quant import Format
from llmc.ir.tiles import ROWS

SHARED = 48 << 10  # bytes a block has without asking
SUM_COLUMNS = 16  # whose activations are summed for mins
_HALF = 2


@dataclass(frozen=True)
class Tiling:
    """What a thread block computes: `tiles` row tiles a warp by `tokens` tokens.

    warps   of the block; `split` of them share row tiles and divide the columns
    stages  of 64 columns on their way at most
    blocks  a multiprocessor is to hold at least
    """

    warps: int
    split: int
    tiles: int
    tokens: int
    stages: int
    blocks: int

    @property
    def rows(self) -> int:
        return self.warps // self.split * self.tiles * ROWS


# By how many tokens a step has. Few tokens: columns are divided, so that many small copies are on their way at once. More: tiles
# of weights that are unpacked once for 64 tokens; narrower ones where wide ones would leave multiprocessors idle.
FEW = (Tiling(8, 8, 1, 8, 5, 2), Tiling(8, 8, 1, 16, 5, 2), Tiling(8, 8, 2, 32, 3, 1))
MANY = (Tiling(4, 1, 1, 64, 3, 3), Tiling(4, 1, 2, 64, 3, 2))
TILINGS = (*FEW, *MANY)


def shared_bytes(fmt: Format, t: Tiling, stages: int) -> int:
    """Shared memory of a block; linear.cuh computes the same."""
    shape = cuda_format.Shape.of(fmt)
    weights = t.warps * t.tiles * (stages * shape.codes + shape.heads(stages) * shape.head + shape.table)
    if t.split > 1:
        return max(weights, t.warps * t.tiles * ROWS * t.tokens * 4)
    sums = 16 * t.tokens if cuda_format.lowered(fmt) else 0
    return weights + stages * (t.tokens * cuda_format.STAGE * _HALF + sums)


def _stages(fmt: Format, tiling: Tiling) -> int:
    """As many as the tiling asks for, or fit; 0 if two do not."""
    return next((s for s in range(tiling.stages, 1, -1) if shared_bytes(fmt, tiling, s) <= SHARED), 0)


@dataclass(frozen=True)
class GpuLinearMma(CudaSpec):
    """y[t, r] = scale * (factors[t] * x[t] . W[r] + bias[r]); x halves with their sums and factors, as GpuHalve writes them.

    w in row tiles; bias f32 or NULL; y f32, rows ldy apart, with whole row tiles. ldx is a multiple of 64 and at least k.
    """

    format: Format
    tiling: Tiling
    headers = ("linear.cuh",)

    def __post_init__(self) -> None:
        if not cuda_format.supported(self.format) or not _stages(self.format, self.tiling):
            raise ValueError(f"{self.format.name} does not fit {self.tiling}")

    @property
    def stages(self) -> int:
        return _stages(self.format, self.tiling)

    @property
    def weights(self) -> Format:
        return self.format

    @property
    def blocks_per_processor(self) -> int:
        return self.tiling.blocks

    @property
    def symbol(self) -> str:
        return f"linear_{self.format.name}_mma_r{self.tiling.rows}_t{self.tiling.tokens}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const uint8_t *w, const uint16_t *x, const uint32_t *sums, const float *factors, const float *bias, float *y, "
            "int32_t k, int32_t tiles, int32_t ldx, int32_t ldy, float scale, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        t = self.tiling
        rows = t.rows // ROWS
        return Launch((f"(n_tokens + {t.tokens - 1}) / {t.tokens}", f"(tiles + {rows - 1}) / {rows}", "1"), 32 * t.warps)

    @property
    def call(self) -> str:
        t = self.tiling
        constants = f"llmc::{cuda_format.struct(self.format)}, {t.warps}, {t.split}, {t.tiles}, {t.tokens}, {self.stages}"
        return f"llmc::linear<{constants}>({{{', '.join(p.name for p in self.params)}}});"


def kernels(fmt: Format) -> tuple[GpuLinearMma, ...]:
    """Those of a format: a tiling for every number of tokens, or none."""
    if not cuda_format.supported(fmt):
        return ()
    found = tuple(GpuLinearMma(fmt, t) for t in TILINGS if _stages(fmt, t))
    return found if {8, 64} <= {spec.tiling.tokens for spec in found} else ()


@dataclass(frozen=True)
class GpuHalve(CudaSpec):
    """x f32 [T, ldx] as GpuLinearMma reads it: halves [T, ldh], sums [T, ldh / 16], factors [T]  (templates/cuda/rows.cuh)."""

    headers = ("rows.cuh",)

    @property
    def symbol(self) -> str:
        return "halve"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, uint32_t *halves, uint32_t *sums, float *factors, int32_t k, int32_t ldx, int32_t ldh, "
            "int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 256)

    @property
    def call(self) -> str:
        return "llmc::halve(x, halves, sums, factors, k, ldx, ldh);"
