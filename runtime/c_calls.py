"""Calling libllmc: the loaded library, statuses as exceptions, token ids as C wants them."""

from __future__ import annotations

import ctypes as c
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llmc.errors import DeviceError, LlmcError, MalformedFileError, ToolchainError, UsageError
from llmc.runtime import c_types as t
from llmc.runtime.c_types import Status

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]


class CancelledError(DeviceError):
    """The call was cancelled from another thread."""

    kind = "cancelled"


ERRORS: dict[int, type[LlmcError]] = {
    Status.ARG: UsageError, Status.IO: MalformedFileError, Status.FORMAT: MalformedFileError, Status.NOMEM: DeviceError,
    Status.CPU: ToolchainError, Status.FULL: DeviceError, Status.CONTEXT: UsageError, Status.CANCELLED: CancelledError,
    Status.SPACE: LlmcError, Status.DEVICE: DeviceError,
}  # fmt: skip


@functools.cache
def library() -> Any:
    """libllmc with the types of its functions set."""
    from llmc.runtime import library as built

    loaded = c.CDLL(str(built.path()))
    for name, (result, *parameters) in t.FUNCTIONS.items():
        function = getattr(loaded, f"llmc_{name}")
        function.restype, function.argtypes = result, parameters
    return loaded


def check(status: int, message: bytes | str) -> None:
    if status:
        text = message.decode(errors="replace") if isinstance(message, bytes) else message
        raise ERRORS[status](text or Status(status).name)


def as_ids(ids: Sequence[int] | Ids) -> Ids:
    """As C wants them. Raises UsageError for anything but a flat list of 32-bit integers."""
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < -(2**31) or array.max() >= 2**31:
        raise UsageError("token ids are a flat list of integers")
    return np.ascontiguousarray(array, np.int32)


def pointer(array: Ids) -> Any:
    return array.ctypes.data_as(t.Ids)
