"""Row-wise work around a norm: residual add and norm, either left out; and the RMS norm of single heads. One block a token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.norm import NORMS, reference, reference_layer

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

__all__ = ["GpuHeadNorm", "GpuNorm", "reference", "reference_layer"]


@dataclass(frozen=True)
class GpuNorm:
    """For tokens t, row t of x [T, ldx], n columns of it:

        if add:   x += alpha * o
        if norm:  y = the norm of x by w, and by b where `bias`

    Sums in f32. x is updated in place; y is none of the inputs.
    """

    add: bool
    norm: str
    bias: bool = False

    def __post_init__(self) -> None:
        if self.norm not in NORMS or not (self.add or self.norm):
            raise ValueError(f"a norm kernel of add={self.add} norm={self.norm!r}")

    @property
    def symbol(self) -> str:
        parts = {"add": self.add, self.norm: self.norm, "bias": self.bias}
        return "_".join(["norm", *(name for name, wanted in parts.items() if wanted)])

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const float *o, const float *w, const float *b, float *y, int32_t n, int32_t ldx, int32_t ldo, "
            "int32_t ldy, float eps, float alpha, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 256)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import norm_tir

        return norm_tir.norm(self, device)


@dataclass(frozen=True)
class GpuHeadNorm:
    """x[t, h*d .. h*d + d) = the norm of itself times w, in place, for every head. A warp a head.

    norm "rms": by w[0 .. d), the same for all heads; "layer": by w[h*e .. h*e + d), where e is d padded to 16, without bias.
    """

    d: int
    norm: str = "rms"

    def __post_init__(self) -> None:
        if self.norm not in NORMS[1:]:
            raise ValueError(f"norm {self.norm!r} of heads; there are {NORMS[1:]}")

    @property
    def symbol(self) -> str:
        return f"head_norm_d{self.d}" + "_layer" * (self.norm == "layer")

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *w, int32_t heads, int32_t ldx, float eps, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return Launch(("heads", "n_tokens", "1"), 32)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import norm_tir

        return norm_tir.head_norm(self, device)
