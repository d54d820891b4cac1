"""Lookup tables that are used where they lie: bucketed hash tables and tries as flat little-endian arrays.

A bucketed table is `starts` u32 [buckets + 1] and `entries` in bucket order: bucket b is entries[starts[b]:starts[b + 1]]. There
are no empty slots to store and no probing; with a bucket per entry a lookup that finds nothing reads one entry on average.
runtime/src/tokenizer_blob.c has the reading side of every table here.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

FNV_BASIS, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
MIX = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio, odd


def pool(strings: Sequence[bytes]) -> tuple[U32, U8]:
    """(ends, bytes): string i is bytes[ends[i]:ends[i + 1]], ends u32 [n + 1]."""
    ends = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(s) for s in strings], out=ends[1:])
    if ends[-1] >= 1 << 32:
        raise OverflowError("more than 4 GiB of strings")
    return ends.astype("<u4"), np.frombuffer(b"".join(strings), np.uint8)


def hash_strings(ends: U32, data: U8) -> U64:
    """64-bit FNV-1a of every string of a pool, then multiplied and folded so that all bits depend on all bytes."""
    starts, lengths = ends[:-1].astype(np.int64), np.diff(ends.astype(np.int64))
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    hashes = np.full(len(lengths), FNV_BASIS, np.uint64)
    live = len(lengths)
    for i in range(int(lengths.max(initial=0))):
        live = int(np.searchsorted(-lengths[:live], -i, side="left"))  # strings longer than i come first
        hashes[:live] = (hashes[:live] ^ data[starts[:live] + i]) * np.uint64(FNV_PRIME)
    result = np.empty_like(hashes)
    result[order] = mix(hashes)
    return result


def mix(hashes: U64) -> U64:
    hashes = hashes ^ (hashes >> np.uint64(32))
    return hashes * np.uint64(MIX)


def bucketed(hashes: U64) -> tuple[U32, npt.NDArray[np.intp]]:
    """(starts, order): a bucket per entry, and the entries in bucket order. A bucket is (hash >> 32) * buckets >> 32."""
    count = max(1, len(hashes))
    bucket = ((hashes >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
    starts = np.zeros(count + 1, "<u4")
    np.cumsum(np.bincount(bucket.astype(np.int64), minlength=count), out=starts[1:])
    return starts, np.argsort(bucket, kind="stable")


def text_index(keys: Sequence[bytes], ids: Sequence[int]) -> tuple[U32, U32, U8]:
    """Finds ids by text: (starts, entries u32 [n, 4] = low half of the hash, id, offset and length in data; data)."""
    ends, data = pool(keys)
    hashes = hash_strings(ends, data)
    starts, order = bucketed(hashes)
    columns = (hashes.astype(np.uint32), np.asarray(ids, np.uint32), ends[:-1], np.diff(ends))
    entries = np.stack(columns, axis=1).astype("<u4") if len(ids) else np.zeros((0, 4), "<u4")
    return starts, entries[order], data


def merge_index(left: U32, right: U32, result: U32) -> tuple[U32, U32]:
    """Finds merges by their symbols: (starts, entries u32 [n, 4] = left, right, result, rank), rank the place among all."""
    hashes = mix((left.astype(np.uint64) << np.uint64(32) | right.astype(np.uint64)) * np.uint64(MIX))
    starts, order = bucketed(hashes)
    entries = np.stack((left, right, result, np.arange(len(left), dtype=np.uint32)), axis=1)
    return starts, entries[order].astype("<u4")


def trie(texts: Sequence[bytes]) -> tuple[U32, U32]:
    """A trie over bytes: (nodes u32 [n + 1, 2] = first edge, ending; edges u32 = node << 8 | byte).

    ending is 1 + the index of the text that ends at a node, or 0. Node 0 is the root; node i has edges[nodes[i][0]:nodes[i +
    1][0]], ascending by byte. The texts are distinct and not empty.
    """
    children: list[dict[int, int]] = [{}]
    ending = [0]
    for number, text in enumerate(texts):
        node = 0
        for byte in text:
            node = children[node].setdefault(byte, len(children))
            if node == len(children):
                children.append({})
                ending.append(0)
        ending[node] = number + 1
    firsts = np.zeros(len(children) + 1, "<u4")
    np.cumsum([len(edges) for edges in children], out=firsts[1:])
    edges = [node << 8 | byte for edges in children for byte, node in sorted(edges.items())]
    nodes = np.stack((firsts, np.array([*ending, 0], "<u4")), axis=1)
    return nodes, np.array(edges, "<u4")


def descending_keys(scores: npt.NDArray[np.float32]) -> U32:
    """u32 keys that order floats from high to low: keys[i] < keys[j] exactly where scores[i] > scores[j]."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes -0 and 0 equal
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (~ascending).astype("<u4")
