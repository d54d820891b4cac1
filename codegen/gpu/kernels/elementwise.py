"""Kernels that touch each element once: activation functions, soft caps, row and column gathers, scaled columns, copies."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from llmc.codegen.gpu.spec import GpuKernelSpec, Launch
from llmc.codegen.kernels.activation import LIMIT, SLOPE
from llmc.codegen.kernels.base import Param, params

if TYPE_CHECKING:
    from llmc.codegen.gpu.simt import Thread
    from llmc.codegen.tir import Expr, PrimFunc
    from llmc.gpu import Device

_THREADS = 256
_ROWS = Launch((f"(n + {_THREADS - 1}) / {_THREADS}", "n_tokens", "1"), _THREADS)  # an element a thread, a token in y


FUNCTIONS = ("silu", "gelu", "gelu_erf", "clamped_silu", "relu2", "sigmoid")


@dataclass(frozen=True)
class GpuActivation:
    """y[t] = function(gate[t]) * up[t], without the factor unless `gated`, n columns (codegen/kernels/activation.py)."""

    function: str
    gated: bool

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"activation {self.function!r}; there are {FUNCTIONS}")

    @property
    def symbol(self) -> str:
        return self.function + "_mul" * self.gated

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *gate, const float *up, float *y, int32_t n, int32_t ldg, int32_t ldu, int32_t ldy, int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            gate = tir.let(tir.load(p.gate, t.y * p.ldg + i))
            up = tir.let(tir.load(p.up, t.y * p.ldu + i)) if self.gated else None
            tir.store(p.y, t.y * p.ldy + i, activated(self.function, gate, up))

        return _each(self, device, at)


def activated(function: str, gate: "Expr", up: "Expr | None") -> "Expr":
    """function(gate) * up, f32."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    one = tir.f32(1.0)
    if function == "clamped_silu":
        assert up is not None
        gate = tir.let(tir.minimum(gate, tir.f32(LIMIT)))
        up = tir.minimum(tir.maximum(up, tir.f32(-LIMIT)), tir.f32(LIMIT)) + one
        value = gate / (one + simt.exp(tir.f32(-SLOPE) * gate))
    elif function == "silu":
        value = gate / (one + simt.exp(tir.f32(0.0) - gate))
    elif function == "gelu":
        inner = tir.f32(0.7978845608028654) * (gate + tir.f32(0.044715) * gate * gate * gate)
        value = tir.f32(0.5) * gate * (one + simt.tanh(inner))
    elif function == "relu2":
        positive = tir.let(tir.maximum(gate, tir.f32(0.0)))
        value = positive * positive
    elif function == "sigmoid":
        value = one / (one + simt.exp(tir.f32(0.0) - gate))
    else:
        assert function == "gelu_erf", function
        value = tir.f32(0.5) * gate * (one + simt.erf(gate * tir.f32(0.7071067811865476)))
    return value if up is None else value * up


@dataclass(frozen=True)
class GpuSoftcap:
    """x = cap * tanh(x / cap), in place."""

    @property
    def symbol(self) -> str:
        return "softcap"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, int32_t n, int32_t ldx, float cap, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            here = tir.let(t.y * p.ldx + i)
            tir.store(p.x, here, p.cap * simt.tanh(tir.load(p.x, here) / p.cap))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuXielu:
    """y = p x^2 + b x from zero on, n (e^min(x, eps) - 1 - x) + b x below; parameters: p, n, b, eps.  arXiv:2411.13010."""

    @property
    def symbol(self) -> str:
        return "xielu"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("const float *x, const float *parameters, float *y, int32_t n, int32_t ldx, int32_t ldy, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            x = tir.let(tir.load(p.x, t.y * p.ldx + i))
            square, slope, line, eps = (tir.load(p.parameters, n) for n in range(4))
            below = slope * (simt.expm1(tir.minimum(tir.minimum(x, eps), tir.f32(0.0))) - x)
            curve = tir.let(tir.either_way(x < tir.f32(0.0), below, square * x * x))
            tir.store(p.y, t.y * p.ldy + i, curve + line * x)

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuClamp:
    """x = min(max(x, -limit), limit), in place."""

    @property
    def symbol(self) -> str:
        return "clamp_rows"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, int32_t n, int32_t ldx, float limit, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            here = tir.let(t.y * p.ldx + i)
            tir.store(p.x, here, tir.minimum(tir.maximum(tir.load(p.x, here), tir.f32(0.0) - p.limit), p.limit))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuScalePositions:
    """x[t] = x[t] * factors[positions[t] / length], or the last of the `count` factors; in place."""

    @property
    def symbol(self) -> str:
        return "scale_positions"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "float *x, const int32_t *positions, const float *factors, int32_t count, int32_t length, int32_t n, int32_t ldx, "
            "int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir
        from llmc.codegen.gpu import simt

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            here = tir.let(t.y * p.ldx + i)
            which = simt.opaque(tir.minimum(tir.load(p.positions, t.y) // p.length, p.count - 1))
            tir.store(p.x, here, tir.load(p.x, here) * tir.load(p.factors, which))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuTakeRows:
    """y[i] = x[rows[i]], n columns, for n_tokens rows; without `indexed` y[i] = x[i]."""

    indexed: bool

    @property
    def symbol(self) -> str:
        return "take_rows" if self.indexed else "copy_rows"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("const float *x, const int32_t *rows, float *y, int32_t n, int32_t ldx, int32_t ldy, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            row = tir.load(p.rows, t.y) if self.indexed else t.y
            tir.store(p.y, t.y * p.ldy + i, tir.load(p.x, row * p.ldx + i))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuTakeColumns:
    """y[t, i] = x[t, columns[i]]."""

    @property
    def symbol(self) -> str:
        return "take_columns"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("const float *x, const int32_t *columns, float *y, int32_t n, int32_t ldx, int32_t ldy, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            tir.store(p.y, t.y * p.ldy + i, tir.load(p.x, t.y * p.ldx + tir.load(p.columns, i)))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuScaleColumns:
    """x[t, i] = x[t, i] * factors[i], plus bias[i] where `bias`; in place."""

    bias: bool

    @property
    def symbol(self) -> str:
        return "scale_columns" + "_bias" * self.bias

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *factors, const float *bias, int32_t n, int32_t ldx, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            here = tir.let(t.y * p.ldx + i)
            value = tir.load(p.x, here) * tir.load(p.factors, i)
            tir.store(p.x, here, value + tir.load(p.bias, i) if self.bias else value)

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuGateRows:
    """x[t, i] = x[t, i] * sigmoid(logits[t, 0]), in place; rows of logits are ldl apart."""

    @property
    def symbol(self) -> str:
        return "gate_rows"

    @property
    def params(self) -> tuple[Param, ...]:
        return params("float *x, const float *logits, int32_t n, int32_t ldx, int32_t ldl, int32_t n_tokens")

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            here = tir.let(t.y * p.ldx + i)
            tir.store(p.x, here, activated("sigmoid", tir.load(p.logits, t.y * p.ldl), tir.load(p.x, here)))

        return _each(self, device, at)


@dataclass(frozen=True)
class GpuSliceColumns:
    """y[t] = `count` pieces of `width` columns of x[t], the first at column `start`, each `stride` after the last; then zeros."""

    @property
    def symbol(self) -> str:
        return "slice_columns"

    @property
    def params(self) -> tuple[Param, ...]:
        return params(
            "const float *x, float *y, int32_t start, int32_t width, int32_t stride, int32_t count, int32_t ldx, int32_t n, "
            "int32_t n_tokens"
        )

    @property
    def launch(self) -> Launch:
        return _ROWS

    def generate(self, device: "Device") -> "PrimFunc":
        from llmc.codegen import tir

        def at(p: SimpleNamespace, t: "Thread", i: "Expr") -> None:
            from_x = tir.load(p.x, t.y * p.ldx + p.start + i // p.width * p.stride + i % p.width)
            tir.store(p.y, t.y * p.n + i, tir.either_way(i < p.count * p.width, from_x, tir.f32(0.0)))

        return _each(self, device, at)


def _each(spec: GpuKernelSpec, device: "Device", at: "Callable[[SimpleNamespace, Thread, Expr], None]") -> "PrimFunc":
    """A kernel in which a thread does `at(parameters, thread, column)` for one column below n of token thread.y."""
    from llmc.codegen import tir
    from llmc.codegen.gpu import simt

    def body(p: SimpleNamespace, t: "Thread") -> None:
        i = tir.let(t.x * _THREADS + t.index)
        with tir.when(i < p.n):
            at(p, t, i)

    return simt.device_func(spec, device, body)
