"""Reads what a cubin says of its kernels: an ELF whose `.nv.info` sections list attributes, as `cuobjdump -elf` prints them."""

import struct
from collections import Counter
from dataclasses import dataclass, field

VALUE, HALF = 4, 3  # forms of an attribute: so many bytes, or two bytes in place
FRAME_SIZE, MIN_STACK, PARAM, PARAM_BYTES, REGISTERS = 0x11, 0x12, 0x17, 0x19, 0x2F


@dataclass
class Kernel:
    """parameters: (offset, size) by number, in bytes; frame: bytes of local memory of a thread."""

    parameters: dict[int, tuple[int, int]] = field(default_factory=dict)
    parameter_bytes: int = 0
    frame: int = 0
    stack: int = 0
    registers: int = 0


def kernels(data: bytes) -> dict[str, Kernel]:
    sections, symbols = _sections(data)
    found = {name.removeprefix(".nv.info."): Kernel() for name in sections if name.startswith(".nv.info.")}
    for name, kernel in found.items():
        for kind, value in _attributes(sections[f".nv.info.{name}"]):
            if kind == PARAM:
                _, number, offset, packed = struct.unpack("<IHHI", value)
                kernel.parameters[number] = (offset, packed >> 18)
            if kind == PARAM_BYTES:
                kernel.parameter_bytes = int.from_bytes(value, "little")
    places = {FRAME_SIZE: "frame", MIN_STACK: "stack", REGISTERS: "registers"}
    for kind, value in _attributes(sections[".nv.info"]):
        if kind in places and symbols[struct.unpack_from("<I", value)[0]] in found:  # the compiler has functions of its own
            symbol, number = struct.unpack("<II", value)
            setattr(found[symbols[symbol]], places[kind], number)
    return found


MMA = 0x23C  # the opcode of HMMA: the low 12 bits of an instruction


def instructions(data: bytes, kernel: str) -> Counter[int]:
    """How often each opcode stands in a kernel. Instructions of sm_70 and later have 16 bytes."""
    code = _sections(data)[0][f".text.{kernel}"]
    return Counter(struct.unpack_from("<Q", code, at)[0] & 0xFFF for at in range(0, len(code), 16))


def _attributes(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(data):
        form, kind, size = struct.unpack_from("<BBH", data, at)
        at += 4
        found.append((kind, data[at : at + size] if form == VALUE else struct.pack("<H", size)))
        at += size if form == VALUE else 0
    return found


def _sections(data: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Sections by name, and the names of the symbols by number."""
    (offset,) = struct.unpack_from("<Q", data, 0x28)
    _, count, names = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, offset + 64 * i) for i in range(count)]
    raw = [data[h[4] : h[4] + h[5]] if h[1] != 8 else b"" for h in headers]
    text = lambda table, at: table[at : table.index(b"\0", at)].decode()  # noqa: E731
    sections = {text(raw[names], h[0]): body for h, body in zip(headers, raw, strict=True)}
    strings = sections[".strtab"]
    symbols = [
        text(strings, struct.unpack_from("<I", sections[".symtab"], at)[0]) for at in range(0, len(sections[".symtab"]), 24)
    ]
    return sections, symbols
