"""Words for writing GPU kernels in TIR: what one thread does. They add to codegen/tir.py, whose words they share.

A kernel is a *device function*: pointers and numbers in, thread numbers bound to its launch, nothing of a schedule. TVM's CUDA,
ROCm and OpenCL generators print it as it stands. Rules that hold on all three:
 - every thread of a block reaches every `sync` and every shuffle (the OpenCL tests exchange lanes through shared memory);
 - one thread, one row of a weight tile: the unpack words of codegen/kernels work as they are with vectors of one lane;
 - products that feed sums are written a * b + c: the device's compiler contracts them, and results promise a tolerance.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import SimpleNamespace

from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from llmc.codegen import tir
from llmc.codegen.gpu.spec import GpuKernelSpec
from llmc.codegen.tir import Expr, PrimFunc, View, i32, let
from llmc.gpu import Device
from llmc.target import Isa

_LANE = Isa("simt", 1, "", ("f16c",), "scalar", fma=False)
_LANE_WITHOUT_HALVES = Isa("simt", 1, "", (), "scalar", fma=False)


def lane(device: Device) -> Isa:
    """What the shared words are told: one lane, nothing of x86. PoCL has no halves, so OpenCL converts them by integers."""
    return _LANE_WITHOUT_HALVES if device.kind == "opencl" else _LANE


_KERNEL_LAUNCH = 2  # tvm::CallingConv::kDeviceKernelLaunch
_ELEMENTS = {**tir._ELEMENTS, "half": "float16"}


def device_func(spec: GpuKernelSpec, device: Device, body: Callable[[SimpleNamespace, "Thread"], None]) -> PrimFunc:
    """The device function of `spec`. `body` receives the parameters by name, pointers as views, and where the thread is."""
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name(spec.symbol)
            T.func_attr({
                "global_symbol": spec.symbol, "calling_conv": _KERNEL_LAUNCH, "tirx.is_global_func": True, "tirx.noalias": True,
                "tirx.kernel_launch_params": ["blockIdx.x", "blockIdx.y", "blockIdx.z", "threadIdx.x"],
            })  # fmt: skip
            arguments = {}
            for p in spec.params:
                element = _ELEMENTS[p.element]
                arguments[p.name] = T.arg(p.name, T.handle(element) if p.is_pointer else getattr(T, element)())
            for p in spec.params:
                if p.is_pointer:
                    arguments[p.name] = tir.view(arguments[p.name], _ELEMENTS[p.element])
            with ExitStack() as stack:
                where = [stack.enter_context(T.launch_thread(f"blockIdx.{axis}", _ANY)) for axis in "xyz"]
                thread = stack.enter_context(T.launch_thread("threadIdx.x", spec.launch.threads))
                if device.kind == "rocm":
                    stack.enter_context(tir.lets_in_memory())
                body(SimpleNamespace(**arguments), Thread(device, spec.launch.threads, where[0], where[1], where[2], thread))
    return builder.get()


_ANY = 1 << 20  # extents of the grid are known to the host alone


class Thread:
    """Where a thread is, and what it does together with others. x, y, z: its block; index: the thread in the block."""

    def __init__(self, device: Device, threads: int, x: Expr, y: Expr, z: Expr, index: Expr) -> None:
        self.device, self.threads = device, threads
        self.x, self.y, self.z, self.index = x, y, z, index
        self.warps = threads // 32
        self.lane, self.warp = index % 32, index // 32

    def sync(self) -> None:
        """Waits for the block; what its threads wrote to shared memory is seen by all."""
        T.evaluate(T.tvm_storage_sync("shared"))

    def xor(self, value: Expr, mask: int) -> Expr:
        """The value of the lane whose number differs in `mask` (below 32); f32."""
        if self.device.kind == "cuda":
            return T.tvm_warp_shuffle_xor(T.uint32(0xFFFFFFFF), value, mask, 32, 32)
        if self.device.kind == "opencl":  # tests/codegen/gpu provides it
            return T.call_pure_extern("float32", "llmc_shuffle_xor", value, i32(mask))
        address = tir.shifted(T.bitwise_xor(self.index, i32(mask)), 2)
        moved = T.call_llvm_pure_intrin("int32", "llvm.amdgcn.ds.bpermute", address, tir.bits(value, "int32"))
        return tir.bits(moved, "float32")

    def sum_lanes(self, value: Expr, lanes: int = 32) -> Expr:
        """The sum over groups of `lanes` neighbouring lanes, in all of them."""
        return self._reduce(value, lanes, lambda a, b: a + b)

    def max_lanes(self, value: Expr, lanes: int = 32) -> Expr:
        return self._reduce(value, lanes, T.max)

    def _reduce(self, value: Expr, lanes: int, join: Callable[[Expr, Expr], Expr]) -> Expr:
        while lanes > 1:
            lanes //= 2
            value = tir.let(value)
            value = join(value, self.xor(value, lanes))
        return tir.let(value)

    def sum_block(self, value: Expr) -> Expr:
        """The sum over the threads of the block, in all of them, in a fixed order. Every thread must call it."""
        parts = shared(self.warps, "float32")
        total = self.sum_lanes(value)
        self.sync()  # `parts` may still be read from a sum before
        with tir.when(self.lane == 0):
            tir.store(parts, self.warp, total)
        self.sync()
        return tir.let(sum((parts[i] for i in range(1, self.warps)), parts[0]))

    def strided(self, count: Expr, body: Callable[[Expr], None]) -> None:
        """body(i) for i = index, index + threads, ... below `count`."""
        turns = (count + (self.threads - 1)) // self.threads
        with tir.loop(0, turns if isinstance(turns, int) else tir.let(turns)) as turn:
            i = tir.let(turn * self.threads + self.index)
            if isinstance(count, int) and count % self.threads == 0:
                body(i)
                return
            with tir.when(i < count):
                body(i)


def shared(count: int, element: str) -> View:
    """Memory of the block."""
    return T.alloc_buffer((count,), element, scope="shared")


def register(start: Expr, element: str = "float32") -> View:
    """A variable of the thread; [0] is its value."""
    cell = tir.local(1, element)
    tir.store(cell, 0, start)
    return cell


def registers(count: int, start: Sequence[Expr] | Expr) -> View:
    """`count` f32 variables, all set to `start`."""
    cells = tir.local(count, "float32")
    for i in range(count):
        tir.store(cells, i, start[i] if isinstance(start, Sequence) else start)
    return cells


def opaque(value: Expr) -> Expr:
    """An int32 as a variable in memory: TVM's simplifier follows the bounds of named values through every use, which takes
    minutes where minima of quotients are involved."""
    return register(value, "int32")[0]


def rsqrt(value: Expr) -> Expr:
    return T.float32(1) / T.sqrt(value)


def rounded(value: Expr) -> Expr:
    """The nearest int8 of an f32 in -127 .. 127, ties to even: adding 1.5 * 2^23 leaves no room for a fraction."""
    shifted = register(value + T.float32(12582912.0))  # in memory, so that nothing cancels the sum
    return T.cast(shifted[0] - T.float32(12582912.0), "int8")


def exp(value: Expr) -> Expr:
    return T.exp(value)


def expm1(value: Expr) -> Expr:
    """e^x - 1 for x <= 0, without losing what is small: its series up to x^6 above -0.25."""
    x = let(value)
    series = T.float32(1 / 720)
    for factor in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0):
        series = let(series * x + T.float32(factor))
    return let(T.if_then_else(x > T.float32(-0.25), series * x, exp(x) - T.float32(1)))


def softplus(value: Expr) -> Expr:
    """ln(1 + e^x): max(x, 0) + ln(1 + u) with u = e^-|x|, and ln(1 + u) = 2 artanh(s), s = u / (2 + u) <= 1/3, as a series up to
    s^15, so that small results keep their relative accuracy."""
    x = let(value)
    u = let(exp(T.float32(0) - T.max(x, T.float32(0) - x)))
    s = let(u / (u + T.float32(2)))
    square, series = let(s * s), T.float32(2 / 15)
    for n in range(13, 0, -2):
        series = let(series * square + T.float32(2 / n))
    return let(series * s + T.max(x, T.float32(0)))


def tanh(value: Expr) -> Expr:
    return T.tanh(value)


def erf(value: Expr) -> Expr:
    return T.erf(value)


def cos_sin(angle: Expr) -> tuple[Expr, Expr]:
    return T.cos(angle), T.sin(angle)
