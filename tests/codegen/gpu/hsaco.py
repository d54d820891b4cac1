"""AMD code objects as the ROCm runtime reads them: the metadata note of an ELF file, which is MessagePack.

Format: LLVM's "User Guide for AMDGPU Backend", code object V5 metadata; https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

import struct
from dataclasses import dataclass
from typing import Any

_NOTE_SECTION, _METADATA = 7, 32  # SHT_NOTE, NT_AMDGPU_METADATA


@dataclass(frozen=True)
class Kernel:
    """arguments: (offset, bytes, kind) of each in the kernarg segment; shared, scratch: bytes of a block and of a thread."""

    arguments: tuple[tuple[int, int, str], ...]
    kernarg: int
    shared: int
    scratch: int
    registers: int
    spilled: int
    threads: int


def kernels(code: bytes) -> dict[str, Kernel]:
    """Every kernel of a code object by name."""
    return {k[".name"]: _kernel(k) for k in _metadata(code)["amdhsa.kernels"]}


def _kernel(k: dict[str, Any]) -> Kernel:
    arguments = tuple((a[".offset"], a[".size"], a[".value_kind"]) for a in k[".args"])
    return Kernel(
        arguments, k[".kernarg_segment_size"], k[".group_segment_fixed_size"], k[".private_segment_fixed_size"], k[".vgpr_count"],
        k[".vgpr_spill_count"] + k[".sgpr_spill_count"], k[".max_flat_workgroup_size"],
    )  # fmt: skip


def _metadata(code: bytes) -> dict[str, Any]:
    assert code[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
    table, entry, count = *struct.unpack_from("<Q", code, 40), *struct.unpack_from("<HH", code, 58)
    for i in range(count):
        _, kind, _, _, offset, size = struct.unpack_from("<IIQQQQ", code, table + i * entry)
        if kind == _NOTE_SECTION:
            for number, data in _notes(code[offset : offset + size]):
                if number == _METADATA:
                    return dict(_unpack(data, 0)[0])
    raise AssertionError("no metadata note")


def _notes(section: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(section):
        name, size, kind = struct.unpack_from("<III", section, at)
        start = at + 12 + (name + 3) // 4 * 4
        found.append((kind, section[start : start + size]))
        at = start + (size + 3) // 4 * 4
    return found


_NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_LENGTHS = {0xD9: ">B", 0xDA: ">H", 0xDC: ">H", 0xDE: ">H"}


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    """The value at `at`, and where the next one begins."""
    tag = data[at]
    at += 1
    if tag <= 0x7F:
        return tag, at
    if tag in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[tag], at
    if tag in _NUMBERS:
        return struct.unpack_from(_NUMBERS[tag], data, at)[0], at + struct.calcsize(_NUMBERS[tag])
    length, at = _length(data, tag, at)
    if tag in (0xD9, 0xDA) or 0xA0 <= tag <= 0xBF:
        return data[at : at + length].decode(), at + length
    items = []
    for _ in range(length * 2 if tag == 0xDE or tag <= 0x8F else length):
        item, at = _unpack(data, at)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if tag == 0xDE or tag <= 0x8F else items), at


def _length(data: bytes, tag: int, at: int) -> tuple[int, int]:
    if tag in _LENGTHS:
        return struct.unpack_from(_LENGTHS[tag], data, at)[0], at + struct.calcsize(_LENGTHS[tag])
    return tag & (0x1F if 0xA0 <= tag <= 0xBF else 0x0F), at
