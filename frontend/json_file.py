"""JSON from a model directory, read so that a hostile file costs no more than its bytes and says one thing only."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmc.errors import MalformedFileError
from llmc.frontend.checkpoint import map_file, quoted

MAX_BYTES: Final = 256 << 20  # the largest tokenizer.json published has 35 MB
MAX_DIGITS: Final = 100  # of a number


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object that a file of at most `limit` bytes holds. Raises MalformedFileError, naming the file, for anything else."""
    with map_file(path) as data:
        if len(data) > limit:
            raise MalformedFileError(f"{path.name}: the file has {len(data)} bytes, more than {limit}")
        return parse_object(data[:], path.name)


def read_json_array(path: Path, limit: int = MAX_BYTES) -> list[Any]:
    """The same of an array."""
    with map_file(path) as data:
        if len(data) > limit:
            raise MalformedFileError(f"{path.name}: the file has {len(data)} bytes, more than {limit}")
        value = _parse(data[:], path.name)
    if not isinstance(value, list):
        raise MalformedFileError(f"{path.name}: not a JSON array, but {json_kind(value)}")
    return value


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """The object that `raw` spells; `what` names it in messages. A key that is there twice in one object is an error.

    Raises MalformedFileError where `raw` is not UTF-8, not JSON, no object, or nested deeper than the interpreter's stack.
    """
    value = _parse(raw, what)
    if not isinstance(value, dict):
        raise MalformedFileError(f"{what}: not a JSON object, but {json_kind(value)}")
    return value


def _parse(raw: bytes, what: str) -> Any:
    try:
        return json.loads(raw.decode(), object_pairs_hook=partial(_unique, what), parse_int=partial(_integer, what))
    except UnicodeDecodeError as e:
        raise MalformedFileError(f"{what}: not UTF-8 at byte {e.start}") from None
    except json.JSONDecodeError as e:
        raise MalformedFileError(f"{what}: not JSON: {e}") from None
    except RecursionError:
        raise MalformedFileError(f"{what}: the JSON depth is beyond what any model needs") from None


def json_kind(value: object) -> str:
    """What a parsed value is, in words for a message."""
    kinds: dict[type, str] = {
        dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer",
        float: "a floating-point number", type(None): "null",
    }  # fmt: skip
    return kinds[type(value)]


def _unique(what: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedFileError(f"{what}: key {quoted(twice)} is there twice")
    return found


def _integer(what: str, digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise MalformedFileError(f"{what}: a number of {len(digits)} digits")
    return int(digits)
