"""Running compiled models from Python: ctypes over llmc.h, and nothing that llmc.h cannot do.

A call into the library releases the GIL. Several threads may use a model or session: the calls on one session take turns.
"""

from __future__ import annotations

import ctypes as c
import functools
import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from llmc import debug
from llmc.errors import DeviceError, LlmcError, MalformedFileError, ToolchainError, UsageError
from llmc.runtime import c_types as t
from llmc.runtime.c_types import Status

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
MODEL_SEQUENCES = 64  # sequences of a Model's own session: generations that may be under way at once, and one


class CancelledError(DeviceError):
    """The call was cancelled from another thread."""

    kind = "cancelled"


ERRORS: dict[int, type[LlmcError]] = {
    Status.ARG: UsageError, Status.IO: MalformedFileError, Status.FORMAT: MalformedFileError, Status.NOMEM: DeviceError,
    Status.CPU: ToolchainError, Status.FULL: DeviceError, Status.CONTEXT: UsageError, Status.CANCELLED: CancelledError,
    Status.SPACE: LlmcError,
}  # fmt: skip


@functools.cache
def _library() -> Any:
    """libllmc with the types of its functions set."""
    from llmc.runtime import library

    loaded = c.CDLL(str(library.path()))
    for name, (result, *parameters) in t.FUNCTIONS.items():
        function = getattr(loaded, f"llmc_{name}")
        function.restype, function.argtypes = result, parameters
    return loaded


def _check(status: int, message: bytes | str) -> None:
    if status:
        text = message.decode(errors="replace") if isinstance(message, bytes) else message
        raise ERRORS[status](text or Status(status).name)


def _ids(ids: Sequence[int] | Ids) -> Ids:
    """As C wants them. Raises UsageError for anything but a flat list of 32-bit integers."""
    array = np.asarray(ids)
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < -(2**31) or array.max() >= 2**31:
        raise UsageError("token ids are a flat list of integers")
    return np.ascontiguousarray(array, np.int32)


def _pointer(array: Ids) -> Any:
    return array.ctypes.data_as(t.Ids)


@dataclass(frozen=True)
class Info:
    """Facts about a model. Lengths in tokens, sizes in bytes; `page_bytes` of one KV page of all layers."""

    name: str
    isa: str
    vocab: int
    hidden: int
    layers: int
    context: int
    max_step_tokens: int
    page_tokens: int
    page_bytes: int
    weights_bytes: int
    arena_bytes: int


class Tokenizer:
    """Text to token ids and back, exactly as the checkpoint's own tokenizer. Any number of threads may use one."""

    def __init__(self, handle: int, keep: object) -> None:
        self._handle, self._keep = handle, keep  # keep: what the handle belongs to

    @classmethod
    def from_blob(cls, blob: bytes) -> Tokenizer:
        """Of a compiled tokenizer (what frontend/tokenizer.py writes). Raises MalformedFileError."""
        handle, error = c.c_void_p(), t.Error()
        _check(_library().llmc_vocabulary_open(blob, len(blob), None, error, handle), error.text)
        assert handle.value
        return cls(handle.value, _Vocabulary(handle.value))

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
            status = _library().llmc_tokenize(self._handle, data, len(data), flags, _pointer(ids), ids.size, count)
            if status != Status.SPACE:
                break
        _check(status, "the text cannot be tokenized")
        result: list[int] = ids[: count.value].tolist()
        return result

    def detokenize(self, ids: Sequence[int], show_special: bool = False) -> bytes:
        """The bytes of token ids; control tokens give nothing, or their text with show_special. A wrong id raises UsageError."""
        array, size = _ids(ids), c.c_size_t(8 * len(ids))
        for _ in range(2):
            text = c.create_string_buffer(size.value + 1)
            status = _library().llmc_detokenize(
                self._handle, _pointer(array), array.size, show_special * t.SHOW_SPECIAL, text, size.value, size
            )
            if status != Status.SPACE:
                break
        _check(status, "an id is not in the vocabulary")
        return text.raw[: size.value]


class _Vocabulary:
    """Closes a vocabulary that was opened on its own."""

    def __init__(self, handle: int) -> None:
        self._handle, self._close = handle, _library().llmc_vocabulary_close

    def __del__(self) -> None:
        self._close(self._handle)


class Session:
    """Threads, working memory and KV pages for sequences of one model."""

    def __init__(self, model: int, vocab: int, options: t.SessionOptions, keep: object = None) -> None:
        error, handle = t.Error(), c.c_void_p()
        self._handle: int | None = None
        self._vocab, self._keep = vocab, keep  # keep: the model, where this session is not the model's own
        self._lock = threading.RLock()  # a collected generation may close itself while this thread holds it
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()
        _check(_library().llmc_session_open(model, options, error, handle), error.text)
        self._handle = handle.value

    def _call(self, name: str, *arguments: object) -> None:
        """Calls a function on the session; the caller holds the lock, where more than one call belongs together."""
        with self._lock:
            if self._handle is None:
                raise UsageError("the model or its session is closed")
            status = getattr(_library(), f"llmc_{name}")(self._handle, *arguments)
            if status:
                _check(status, _library().llmc_session_error(self._handle))

    def open(self) -> int:
        """A new empty sequence. Raises DeviceError when all are open."""
        sequence = c.c_int32()
        self._call("sequence_open", sequence)
        return sequence.value

    def truncate(self, sequence: int, length: int = 0) -> None:
        """Forgets the tokens of a sequence from position `length` on."""
        self._call("sequence_truncate", sequence, length)

    def close_sequence(self, sequence: int) -> None:
        """Frees a sequence and its pages."""
        self._call("sequence_close", sequence)

    def prefill(self, sequence: int, ids: Sequence[int]) -> Logits:
        """Appends tokens, any number of them; the logits [vocab] of the last one."""
        array = _ids(ids)
        with self._lock:
            self._call("session_prefill", sequence, _pointer(array), array.size)
            return np.asarray(self._rows(1)[0])

    def step(self, batch: Mapping[int, Sequence[int] | Ids]) -> Logits:
        """One forward pass: appends tokens to each sequence. The logits [tokens, vocab] of all, in the order of the batch."""
        parts = [_ids(ids) for ids in batch.values()]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts])
        sequences, counts = _ids([*batch]), _ids([len(p) for p in parts])
        pointers = {"tokens": _pointer(tokens), "sequences": _pointer(sequences), "counts": _pointer(counts)}
        with self._lock:
            self._call("session_step", t.Batch(**pointers, n_sequences=len(parts), n_rows=-1))
            return self._rows(tokens.size)

    def _rows(self, n: int) -> Logits:
        """A copy of the first n rows of the last step's logits."""
        out = np.empty((n, self._vocab), np.float32)
        for i in range(n):
            c.memmove(out[i].ctypes.data, _library().llmc_session_logits(self._handle, i), out[i].nbytes)
        return out

    def cancel(self) -> None:
        """Ends the prefill or generation that runs in another thread, which then raises CancelledError. Waits for nothing."""
        if self._handle is not None:
            _library().llmc_session_cancel(self._handle)

    def close(self) -> None:
        """Ends the threads and frees everything; open generations end too."""
        with self._lock:
            for generation in [*self._generations]:
                generation.close()
            if self._handle is not None:
                _library().llmc_session_close(self._handle)
                self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Generation:
    """A generation under way in a session: an iterator of text. Closing or dropping it ends it."""

    def __init__(self, session: Session, options: t.GenerateOptions) -> None:
        handle = c.c_void_p()
        self._session, self._timings, self._reason = session, t.Timings(), t.Reason.RUNNING
        self._handle: int | None = None
        session._call("generation_open", options, handle)
        self._handle = handle.value
        session._generations.add(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        """The next piece of text; at least one token is computed, more until there is text to show."""
        while self._reason is t.Reason.RUNNING:
            text = self._advance()
            if text:
                return text
        self.close()
        raise StopIteration

    def _advance(self) -> str:
        """Computes one token; the text that can be shown now, maybe none."""
        piece = t.Piece()
        with self._session._lock:
            if self._handle is None:
                self._reason = t.Reason.CALLER
                return ""
            status = _library().llmc_generation_next(self._handle, piece)
            if status:
                message = _library().llmc_session_error(self._session._handle)
                self.close()
                _check(status, message)
            self._reason = t.Reason(piece.reason)
            return c.string_at(piece.text, piece.size).decode("utf-8", "replace")

    @property
    def reason(self) -> t.Reason:
        """Why it ended; RUNNING until then."""
        return self._reason

    @property
    def timings(self) -> dict[str, int]:
        """Tokens and nanoseconds so far: prompt_tokens, tokens, prompt_ns, decode_ns."""
        with self._session._lock:
            if self._handle is not None:
                _library().llmc_generation_timings(self._handle, self._timings)
        return {name: getattr(self._timings, name) for name, *_ in t.Timings._fields_ if name != "struct_size"}

    def close(self) -> None:
        """Ends the generation and frees its sequence."""
        with self._session._lock:
            if self._handle is not None:
                _library().llmc_generation_timings(self._handle, self._timings)
                _library().llmc_generation_close(self._handle)
                self._handle = None

    def __del__(self) -> None:
        self.close()


class Model:
    """A compiled model with a session of its own for logits() and generate(). Close it, or use it in a with block."""

    def __init__(self, path: Path, *, threads: int | None = None, isa: str | None = None, context: int | None = None) -> None:
        self._handle: int | None = None
        self._session: Session | None = None
        if not path.is_dir():
            raise UsageError(f"{path} is not a compiled model: there is no such directory")
        error, handle = t.Error(), c.c_void_p()
        options = t.ModelOptions(isa=isa.encode() if isa else None)
        _check(_library().llmc_model_open(os.fsencode(path), options, error, handle), error.text)
        self._handle = handle.value or 0
        self.path = path
        self.info = self._read_info()
        self.threads = _positive("threads", threads) or debug.processors()
        self.context = _positive("context", context) or self.info.context
        self._session = Session(self._handle, self.info.vocab, self._options(max_sequences=MODEL_SEQUENCES))

    @property
    def _open_handle(self) -> int:
        if self._handle is None:
            raise UsageError("the model is closed")
        return self._handle

    def _read_info(self) -> Info:
        info = t.ModelInfo()
        _check(_library().llmc_model_get_info(self._open_handle, info), "the model gives no facts")
        values: dict[str, Any] = {name: getattr(info, name) for name, *_ in t.ModelInfo._fields_ if name != "struct_size"}
        texts = {name: values[name].decode(errors="replace") for name in ("name", "isa")}
        return Info(**{**values, **texts})

    @property
    def name(self) -> str:
        """What the checkpoint called itself."""
        return self.info.name

    @property
    def isa(self) -> str:
        """The instruction-set level in use."""
        return self.info.isa

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """Raises UsageError if the model was compiled without one."""
        handle = _library().llmc_model_vocabulary(self._open_handle)
        if not handle:
            raise UsageError("the model was compiled without a tokenizer")
        return Tokenizer(handle, self)

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """As Tokenizer.tokenize."""
        return self.tokenizer.tokenize(text, add_special, parse_special)

    def detokenize(self, ids: Sequence[int], show_special: bool = False) -> bytes:
        """As Tokenizer.detokenize."""
        return self.tokenizer.detokenize(ids, show_special)

    def session(
        self, *, context: int | None = None, max_sequences: int = 1, threads: int | None = None, max_pages: int = 0
    ) -> Session:
        """A session to step by hand. context and threads as given to load(), unless said otherwise; llmc.h explains the rest."""
        options = self._options(context=context, max_sequences=max_sequences, threads=threads, max_pages=max_pages)
        return Session(self._open_handle, self.info.vocab, options, keep=self)

    def _options(
        self, *, context: int | None = None, max_sequences: int = 1, threads: int | None = None, max_pages: int = 0
    ) -> t.SessionOptions:
        numbers = {"context": context or self.context, "threads": threads or self.threads}
        return t.SessionOptions(**numbers, max_sequences=max_sequences, max_pages=max_pages)

    def _own_session(self) -> Session:
        if self._session is None:
            raise UsageError("the model is closed")
        return self._session

    def logits(self, ids: Sequence[int] | Ids, chunks: Sequence[int] | None = None) -> Logits:
        """Logits of every position of a text: float32 [len(ids), vocab].

        chunks are the lengths of the prefills the text is cut into; the bits do not depend on them. Raises UsageError.
        """
        array, session = _ids(ids), self._own_session()
        lengths = [array.size] if chunks is None else [*chunks]
        if sum(lengths) != array.size or min(lengths, default=0) < 1:
            raise UsageError(f"{array.size} tokens: there must be one or more, and chunks must be positive and add up to them")
        sequence = session.open()
        try:
            return np.concatenate([session.step({sequence: part}) for part in self._parts(array, lengths)])
        finally:
            session.close_sequence(sequence)

    def _parts(self, ids: Ids, lengths: Sequence[int]) -> Iterator[Ids]:
        """The chunks, those longer than a step cut further."""
        longest = self.info.max_step_tokens
        for chunk in np.split(ids, np.cumsum(lengths)[:-1]):
            yield from (chunk[at : at + longest] for at in range(0, len(chunk), longest))

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 0,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 0.0,
        min_p: float = 0.0,
        repetition_penalty: float = 0.0,
        repetition_window: int = 0,
        seed: int = 0,
        stop: Sequence[str | bytes] | str = (),
        ignore_end: bool = False,
        show_special: bool = False,
    ) -> Generation:
        """Text as it is generated, in pieces that never cut a character or a stop text. llmc.h explains every option.

        A prompt that is text is tokenized with the tokens the model expects around it. Closing or dropping the iterator ends the
        generation. Raises UsageError for options that make no sense, at once, before anything is computed.
        """
        ids = _ids(self.tokenizer.tokenize(prompt) if isinstance(prompt, str) else prompt)
        texts = [s.encode() if isinstance(s, str) else s for s in ([stop] if isinstance(stop, str) else stop)]
        if any(b"\0" in s for s in texts):
            raise UsageError("a stop text holds a zero byte")
        numbers = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty}
        sampler = t.SamplerOptions(**numbers, top_k=top_k, repetition_window=repetition_window, seed=seed)
        options = t.GenerateOptions(
            tokens=_pointer(ids), n_tokens=ids.size, max_tokens=max_tokens, sampler=c.pointer(sampler),
            stop=(c.c_char_p * len(texts))(*texts), n_stop=len(texts), ignore_end=ignore_end, show_special=show_special,
        )  # fmt: skip
        return Generation(self._own_session(), options)

    def close(self) -> None:
        """Ends generations and threads, and unmaps the weights. UsageError while a session opened by session() is open."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._handle is not None:
            _check(_library().llmc_model_close(self._handle), "a session of the model is still open")
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"{name} {value}: must be at least 1")
    return value


def load(
    path: str | os.PathLike[str], *, threads: int | None = None, isa: str | None = None, context: int | None = None
) -> Model:
    """Opens a compiled model: maps its weights, starts its threads.

    threads  None takes every processor this process may use
    isa      one of the artifact's instruction-set levels; None takes the best this machine runs
    context  the longest sequence in tokens; None takes the model's own

    Raises MalformedFileError for no sound artifact, ToolchainError where the machine runs none of its levels, UsageError and
    DeviceError.
    """
    return Model(Path(path), threads=threads, isa=isa, context=context)
