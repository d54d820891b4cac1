"""What an op is, and the catalogue that ops register themselves in: a shape rule and a numpy reference for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from llmc.ir.types import TensorType, f32, q8, q8_256

Array = npt.NDArray[Any]
Attrs = Mapping[str, Any]
Infer = Callable[[Sequence[TensorType], Attrs], tuple[TensorType, ...]]
Compute = Callable[[Sequence[Any], Attrs], tuple[Any, ...]]


class OpError(ValueError):
    """Operands or attributes that an op does not take."""


@dataclass(frozen=True)
class Op:
    """`inplace[i] = j`: output i may take the storage of input j when that input has no later use."""

    name: str
    infer: Infer
    compute: Compute
    inplace: Mapping[int, int]


CATALOGUE: dict[str, Op] = {}


def op(infer: Infer, *, inplace: Mapping[int, int] | None = None) -> Callable[[Compute], Compute]:
    """Registers the decorated reference under its own name."""

    def register(compute: Compute) -> Compute:
        name = compute.__name__.rstrip("_")
        CATALOGUE[name] = Op(name, infer, compute, dict(inplace or {}))
        return compute

    return register


def infer(name: str, inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """Result types of an op. Raises OpError with the op's name when the operands do not fit."""
    if name not in CATALOGUE:
        raise OpError(f"unknown op {name}")
    try:
        return CATALOGUE[name].infer(inputs, attrs)
    except (OpError, ValueError, KeyError, IndexError) as error:
        raise OpError(f"{name}({', '.join(map(str, inputs))}): {error}") from error


# ---- what shape rules are made of -------------------------------------------------------------------------------------------


def expect(condition: bool, message: str) -> None:
    """Raises OpError with the message unless the condition holds."""
    if not condition:
        raise OpError(message)


def same(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """f32 of the shape that all operands have."""
    expect(all(t.shape == inputs[0].shape for t in inputs), "shapes differ")
    return (f32(*inputs[0].shape),)


def like_first(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The first operand's type."""
    return (inputs[0],)


def outs(attrs: Attrs, *shape: int | str) -> tuple[TensorType, ...]:
    """The result forms an op was asked for: out = "f32", "q8", "q8_256", or "f32+" one of these."""
    make = {"f32": f32, "q8": q8, "q8_256": q8_256}
    return tuple(make[form](*shape) for form in attrs.get("out", "f32").split("+"))


def in_forms(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The first operand's shape in the forms of `out`."""
    return outs(attrs, *inputs[0].shape)


def same_in_forms(inputs: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The shape that all operands have in the forms of `out`."""
    same(inputs, attrs)
    return outs(attrs, *inputs[0].shape)
