"""Which experts a token goes to, and with what weight, on a GPU (codegen/kernels/router.py). A warp a token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params
from llmc.codegen.kernels.router import Router

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device


@dataclass(frozen=True)
class GpuRouter:
    """ids[t, 0 .. used) and weights[t, 0 .. used) of token t from logits[t, 0 .. experts), as `how` chooses; rows of the results
    are ldo apart. groups, groups_used: as the router's, where it has groups. jitter: of sparsemixer."""

    how: Router
    experts: int

    @property
    def symbol(self) -> str:
        return f"{self.how.symbol}_{self.experts}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *logits, const float *bias, int32_t *ids, float *weights, int32_t used, int32_t groups, "
            "int32_t groups_used, int32_t ld, int32_t ldo, float scale, float jitter, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return Launch(("n_tokens", "1", "1"), 32)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import router_tir

        return router_tir.generate(self, device)
