"""Tokenizers: a model's own, or one that was compiled alone."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Sequence

import numpy as np

from llmc.runtime import c_types as t
from llmc.runtime.c_calls import as_ids, check, library, pointer
from llmc.runtime.c_types import Status


class Tokenizer:
    """Text to token ids and back, exactly as the checkpoint's own tokenizer. Any number of threads may use one."""

    def __init__(self, handle: int, check_open: Callable[[], object]) -> None:
        self._open_handle = handle
        self._check_open = check_open  # raises once the handle is no more; keeps its owner

    @property
    def _handle(self) -> int:
        self._check_open()
        return self._open_handle

    @classmethod
    def from_blob(cls, blob: bytes) -> Tokenizer:
        """Of a compiled tokenizer (what frontend/tokenizer.py writes). Raises MalformedFileError."""
        handle, error = c.c_void_p(), t.Error()
        check(library().llmc_vocabulary_open(blob, len(blob), None, error, handle), error.text)
        assert handle.value
        return cls(handle.value, _Vocabulary(handle.value).check_open)

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        add_special adds the tokens the model expects around a text; parse_special makes control tokens of text that spells
        them: never for text from strangers.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        flags = add_special * t.ADD_SPECIAL | parse_special * t.PARSE_SPECIAL
        count = c.c_size_t(len(data) + 16)
        for _ in range(2):
            ids = np.empty(count.value, np.int32)
            status = library().llmc_tokenize(self._handle, data, len(data), flags, pointer(ids), ids.size, count)
            if status != Status.SPACE:
                break
        check(status, "the text cannot be tokenized")
        result: list[int] = ids[: count.value].tolist()
        return result

    def tokenize_pair(self, text: str, pair: str, parse_special: bool = False) -> tuple[list[int], list[int]]:
        """Token ids of two texts as one, by the model's own template, and which of the two each belongs to.

        Raises UsageError where there is no template.
        """
        first, second = (part.encode("utf-8", "surrogatepass") for part in (text, pair))
        count = c.c_size_t(len(first) + len(second) + 32)
        for _ in range(2):
            ids, segments = np.empty((2, count.value), np.int32)
            places = pointer(ids), pointer(segments), ids.size, count
            flags = parse_special * t.PARSE_SPECIAL
            status = library().llmc_tokenize_pair(self._handle, first, len(first), second, len(second), flags, *places)
            if status != Status.SPACE:
                break
        check(status, "the tokenizer has no template for two texts")
        return ids[: count.value].tolist(), segments[: count.value].tolist()

    def detokenize(self, ids: Sequence[int], show_special: bool = False) -> bytes:
        """The bytes of token ids; control tokens give nothing, or their text with show_special. A wrong id raises UsageError."""
        array, size = as_ids(ids), c.c_size_t(8 * len(ids))
        for _ in range(2):
            text = c.create_string_buffer(size.value + 1)
            status = library().llmc_detokenize(
                self._handle, pointer(array), array.size, show_special * t.SHOW_SPECIAL, text, size.value, size
            )
            if status != Status.SPACE:
                break
        check(status, "an id is not in the vocabulary")
        return text.raw[: size.value]


class _Vocabulary:
    """Closes a vocabulary that was opened on its own."""

    def __init__(self, handle: int) -> None:
        self._handle, self._close = handle, library().llmc_vocabulary_close

    def check_open(self) -> None:
        """It is open as long as somebody can ask."""

    def __del__(self) -> None:
        self._close(self._handle)
