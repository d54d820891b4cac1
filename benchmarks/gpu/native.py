"""libllmc, and of libcuda what a measurement needs, through ctypes. Part of a kit: needs c_types.py beside it and numpy."""

from __future__ import annotations

import ctypes as c
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c_types as t  # runtime/c_types.py, copied into the kit
import numpy as np

Array = np.ndarray[Any, Any]


class Refusal(Exception):
    """What a library said no to, in its words."""


class Library:
    """libllmc of a kit."""

    def __init__(self, path: Path) -> None:
        self.c = c.CDLL(str(path))
        for name, (result, *parameters) in t.FUNCTIONS.items():
            function = getattr(self.c, f"llmc_{name}")
            function.restype, function.argtypes = result, parameters

    def open(self, artifact: Path, device: str) -> Model:
        return Model(self, artifact, device)


class Model:
    """An open artifact. Raises Refusal when it cannot be opened on the device."""

    def __init__(self, library: Library, artifact: Path, device: str) -> None:
        self.c, self.handle, error = library.c, c.c_void_p(), t.Error()
        options = t.ModelOptions(device=device.encode())
        if self.c.llmc_model_open(str(artifact).encode(), options, error, self.handle):
            raise Refusal(error.text.decode())
        self.info = t.ModelInfo()
        self.c.llmc_model_get_info(self.handle, self.info)

    def close(self) -> None:
        self.c.llmc_model_close(self.handle)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """A session of a model with some open sequences."""

    def __init__(self, model: Model, *, context: int, sequences: int = 1, eager: bool = False) -> None:
        self.c, self.width, self.handle, error = model.c, model.info.row_floats, c.c_void_p(), t.Error()
        options = t.SessionOptions(context=context, max_sequences=sequences, eager=eager)
        if self.c.llmc_session_open(model.handle, options, error, self.handle):
            raise Refusal(error.text.decode())
        self.sequences = [self._sequence() for _ in range(sequences)]

    def _sequence(self) -> int:
        number = c.c_int32()
        self._check(self.c.llmc_sequence_open(self.handle, number))
        return number.value

    def _check(self, status: int) -> None:
        if status:
            raise Refusal(self.c.llmc_session_error(self.handle).decode() or t.Status(status).name)

    def prefill(self, sequence: int, tokens: Sequence[int]) -> Array:
        """Appends tokens; the logits of the last one."""
        array = np.asarray(tokens, np.int32)
        self._check(self.c.llmc_session_prefill(self.handle, sequence, array.ctypes.data_as(t.Ids), array.size))
        return self.row(0)

    def step(self, tokens: Sequence[int]) -> None:
        """One token for each sequence; the logits stay where they are."""
        array, sequences = np.asarray(tokens, np.int32), np.asarray(self.sequences, np.int32)
        counts = np.ones(len(sequences), np.int32)
        pointers = {n: a.ctypes.data_as(t.Ids) for n, a in (("tokens", array), ("sequences", sequences), ("counts", counts))}
        self._check(self.c.llmc_session_step(self.handle, t.Batch(**pointers, n_sequences=array.size, n_rows=-1, on_device=1)))

    def row(self, i: int) -> Array:
        """A copy of a row of logits; what the device still does is waited for. Raises Refusal when there is none."""
        pointer = self.c.llmc_session_logits(self.handle, i)
        if not pointer:
            raise Refusal("the device failed to give its logits")
        return np.ctypeslib.as_array(pointer, (self.width,)).copy()

    def close(self) -> None:
        self.c.llmc_session_close(self.handle)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Cuda:
    """What the driver itself says and does. Raises Refusal where there is none."""

    def __init__(self) -> None:
        try:
            self.c = c.CDLL("libcuda.so.1")
        except OSError as error:
            raise Refusal("no NVIDIA driver: libcuda.so.1 cannot be opened") from error
        device, context = c.c_int(), c.c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", c.byref(device), 0)
        self("cuDevicePrimaryCtxRetain", c.byref(context), device)
        self("cuCtxSetCurrent", context)
        self.stream = c.c_void_p()
        self("cuStreamCreate", c.byref(self.stream), 1)

    def __enter__(self) -> Cuda:
        return self

    def __exit__(self, *_: object) -> None:
        self("cuStreamDestroy_v2", self.stream)

    def __call__(self, function: str, *arguments: object) -> None:
        code = getattr(self.c, function)(*arguments)
        if code:
            text = c.c_char_p()
            self.c.cuGetErrorString(code, c.byref(text))
            raise Refusal(f"{function}: {(text.value or b'?').decode()}")

    def free(self) -> int:
        """Bytes of device memory nobody has taken."""
        free, total = c.c_size_t(), c.c_size_t()
        self("cuMemGetInfo_v2", c.byref(free), c.byref(total))
        return free.value

    def module(self, paths: Sequence[Path]) -> c.c_void_p:
        """The first of some files of code that the device takes. Raises Refusal in the driver's words."""
        refusals = []
        for path in paths:
            module = c.c_void_p()
            try:
                self("cuModuleLoadData", c.byref(module), path.read_bytes() + b"\0")
                return module
            except Refusal as refusal:
                refusals.append(f"{path.name}: {refusal}")
        raise Refusal("; ".join(refusals) or "the kit holds no kernels")

    def unload(self, module: c.c_void_p) -> None:
        self("cuModuleUnload", module)

    def launch(self, module: c.c_void_p, case: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Array]:
        """Runs a recorded case (record.py) on copies of `arrays`; what is in them afterwards."""
        function, places, values = c.c_void_p(), {}, []
        self("cuModuleGetFunction", c.byref(function), module, case["symbol"].encode())
        for name, kind, value in case["parameters"]:
            if kind == "array":
                places[name] = c.c_uint64()
                self("cuMemAlloc_v2", c.byref(places[name]), c.c_size_t(max(64, arrays[name].nbytes)))
                source = arrays[name].ctypes.data_as(c.c_void_p)
                self("cuMemcpyHtoDAsync_v2", places[name], source, c.c_size_t(arrays[name].nbytes), self.stream)
            kinds = {"int32_t": c.c_int32, "int64_t": c.c_int64, "float": c.c_float}
            values.append(places.get(name, c.c_uint64()) if kind in ("array", "null") else kinds[kind](value))
        pointers = (c.c_void_p * len(values))(*(c.addressof(value) for value in values))
        self("cuLaunchKernel", function, *case["grid"], case["threads"], 1, 1, 0, self.stream, pointers, None)
        found = {name: np.empty_like(arrays[name]) for name in places}
        for name, place in places.items():
            target = found[name].ctypes.data_as(c.c_void_p)
            self("cuMemcpyDtoHAsync_v2", target, place, c.c_size_t(found[name].nbytes), self.stream)
        self("cuStreamSynchronize", self.stream)
        for place in places.values():
            self("cuMemFree_v2", place)
        return found

    def copy_rate(self, size: int, repeat: int = 10) -> float:
        """Bytes a second of a copy inside the device, read and written ones together: the best of `repeat`."""
        places = [c.c_uint64(), c.c_uint64()]
        for place in places:
            self("cuMemAlloc_v2", c.byref(place), c.c_size_t(size))
        seconds = []
        for _ in range(repeat):
            begun = time.perf_counter()
            self("cuMemcpyDtoDAsync_v2", *places, c.c_size_t(size), self.stream)
            self("cuStreamSynchronize", self.stream)
            seconds.append(time.perf_counter() - begun)
        for place in places:
            self("cuMemFree_v2", place)
        return 2 * size / min(seconds)
