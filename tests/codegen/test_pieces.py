"""Weights are written in aligned pieces, whatever they come in."""

import hashlib

from llmc.codegen.weights import PIECE_BYTES, Pieces


class Recorded:
    """A file that takes at most half a piece at once, and notes where each write began."""

    def __init__(self) -> None:
        self.data, self.starts = bytearray(), list[int]()

    def write(self, data: memoryview) -> int:
        n = min(len(data), PIECE_BYTES // 2)
        self.starts.append(len(self.data))
        self.data += data[:n]
        return n


def test_every_byte_is_written_once_in_pieces() -> None:
    parts = [bytes([i]) * n for i, n in enumerate([0, 64, PIECE_BYTES - 1, 3 * PIECE_BYTES, 5, 0, PIECE_BYTES // 2])]
    file = Recorded()
    pieces = Pieces(file)
    for part in parts:
        pieces.put(memoryview(part))
    assert pieces.finish() == hashlib.sha256(b"".join(parts)).hexdigest()
    assert bytes(file.data) == b"".join(parts)
    assert all(start % (PIECE_BYTES // 2) == 0 for start in file.starts)
