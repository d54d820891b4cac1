"""Sizes of a state space layer, read from a checkpoint's keys and checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ssm:
    """A state space of `inner` channels with `state` features each, fed by a convolution of `taps`.

    heads    of inner / heads channels, which share a step size (Mamba-2); 0 where each channel has its own (Mamba-1)
    groups   of heads, which share the projections B and C
    dt_rank  features from which Mamba-1 computes the step sizes
    dt_min, dt_max  what step sizes are limited to
    """

    inner: int
    state: int
    taps: int
    heads: int = 0
    groups: int = 1
    dt_rank: int = 0
    dt_min: float = 0.0
    dt_max: float = 3.0e38

    @property
    def head_dim(self) -> int:
        return self.inner // self.heads
