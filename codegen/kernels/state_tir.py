"""What the kernels of recurrent layers share: tokens in chunks, and channels in vectors whose states lie in blocks of 16."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from llmc.codegen import tir
from llmc.codegen.tir import Expr, let, loop

BLOCK = 16  # channels whose states stand side by side
CHUNK = 32  # tokens whose decays and the like are computed ahead


@contextmanager
def chunks(p: SimpleNamespace, size: int = CHUNK) -> Iterator[tuple[Expr, Expr]]:
    """A loop over the tokens [lo, hi), `size` at a time, a power of two: (first token, how many)."""
    number = let(tir.shifted(p.hi - p.lo + (size - 1), 1 - size.bit_length()))
    with loop(0, number) as chunk:
        first = let(p.lo + chunk * size)
        yield first, let(tir.minimum(p.hi - first, tir.i32(size)))


WIDE = 4


def wide(value: Expr) -> Expr:
    """An f32 scalar in the lanes of a short vector, for functions of vectors.

    TVM's simplifier takes a named scalar or broadcast of f32 for a range of whole numbers; the bits of one it leaves alone.
    """
    return tir.bits(tir.splat(tir.bits(value, "int32"), WIDE), "float32")


def scalar(value: Expr) -> Expr:
    """The first lane."""
    return let(tir.pick(let(value), [0]))


def blocked(channels: int) -> int:
    """Channels of a state, whole blocks of them."""
    return -(-channels // BLOCK) * BLOCK


def columns(count: int, lanes: int, features: int, body: Callable[[Expr, Expr, int], None]) -> None:
    """body(channel, state, width) for vectors that cover `count` channels.

    state: where the first feature of the vector's channels lies in a state [blocks][features][16]; the next is 16 further.
    """
    whole, rest = divmod(count, BLOCK)
    if whole:
        with loop(0, whole) as block:
            for at in range(0, BLOCK, lanes):
                body(let(block * BLOCK + at), let(block * (BLOCK * features) + at), lanes)
    for at, width in tir.narrower(0, rest, lanes):
        body(tir.i32(whole * BLOCK + at), tir.i32(whole * BLOCK * features + at), width)


def groups(count: int, together: int, body: Callable[[Expr, int], None]) -> None:
    """body(first, number) for groups of `together` that cover `count` features, and what is left."""
    whole, rest = divmod(count, together)
    if whole:
        with loop(0, whole) as group:
            body(let(group * together), together)
    if rest:
        body(tir.i32(whole * together), rest)
