"""Recurrent layers whose heads keep a matrix, on a GPU: Mamba-2 (codegen/kernels/ssd.py), the gated delta rule (delta_rule.py).

A matrix has a row for each channel of a head. Eight lanes hold a row between them, in registers, while the tokens of a step
pass: lane i the columns i, i + 8, ..., so that a warp's loads are runs of 32 bytes. A block holds sixteen rows of one head.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmc.codegen.gpu.kernels import states
from llmc.codegen.gpu.spec import Launch
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.tir import PrimFunc
    from llmc.gpu import Device

LANES, CHANNELS = 8, 16  # of a row; of a block


def _launch(channels: int) -> Launch:
    return Launch((f"heads * {-(-channels // CHANNELS)}", "n_seqs", "1"), LANES * CHANNELS)


@dataclass(frozen=True)
class GpuSsd:
    """dt = min(max(softplus(dt[t][h] + bias[h]), dt_min), dt_max);  s = exp(dt a[h]) s + dt x[t] b[t];
    y[t] = d[h] x[t] + the sum over features of s c[t], for every head h.

    A row of x has `heads` heads of x, then b and c of `groups` groups; heads / groups heads in a row share them. x, dt and y
    have rows of ldx, lddt and ldy columns. State: [heads][head_dim, padded to 16][features].
    The reference is compiler/ir/recurrence.py, `ssd`.
    """

    head_dim: int
    features: int

    @property
    def symbol(self) -> str:
        return f"ssd_{self.head_dim}_{self.features}"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *bias, const float *a, const float *d, float *y, "
            f"{states.PARAMS}, int32_t heads, int32_t groups, int32_t ldx, int32_t lddt, int32_t ldy, float dt_min, "
            "float dt_max, int32_t n_seqs"
        )

    @property
    def launch(self) -> Launch:
        return _launch(self.head_dim)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import head_state_tir

        return head_state_tir.ssd(self, device)


@dataclass(frozen=True)
class GpuDeltaRule:
    """With q and k divided by their length, q also by sqrt(key_dim), for every head h:

        s = exp(a[h] softplus(dt[t][h] + bias[h])) s;  s += k (v - s k) sigmoid(beta[t][h]);  y[t] = s q

    A row of x has q and k of key_heads heads, then v of `heads`; head h reads key head h / (heads / key_heads), or if `tiled`
    h mod key_heads. x and y have rows of ldx and ldy columns, dt and beta of ldh.
    State: [heads][value_dim, padded to 16][key_dim].
    The reference is compiler/ir/recurrence.py, `delta_rule`.
    """

    key_dim: int
    value_dim: int
    tiled: bool

    @property
    def symbol(self) -> str:
        return f"delta_rule_{self.key_dim}_{self.value_dim}" + "_tiled" * self.tiled

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, const float *dt, const float *beta, const float *bias, const float *a, float *y, "
            f"{states.PARAMS}, int32_t heads, int32_t key_heads, int32_t ldx, int32_t ldh, int32_t ldy, int32_t n_seqs"
        )

    @property
    def launch(self) -> Launch:
        return _launch(self.value_dim)

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen.gpu.kernels import head_state_tir

        return head_state_tir.delta_rule(self, device)
