"""Sessions and generations over llmc.h. Any thread may use one: the calls on one session take turns."""

from __future__ import annotations

import ctypes as c
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from llmc.errors import UsageError
from llmc.runtime import c_types as t
from llmc.runtime.c_calls import Ids, Logits, as_ids, check, library, pointer


class Session:
    """Threads, working memory and KV pages for sequences of one model."""

    def __init__(self, model: int, width: int, options: t.SessionOptions, keep: object = None, each: bool = False) -> None:
        error, handle = t.Error(), c.c_void_p()
        self._handle: int | None = None
        self._width, self._keep = width, keep  # keep: the model, where this session is not the model's own
        self._each = each  # whether the model gives a row for each token unless asked otherwise
        self._lock = threading.RLock()  # a collected generation may close itself while this thread holds it
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()
        check(library().llmc_session_open(model, options, error, handle), error.text)
        self._handle = handle.value

    def _call(self, name: str, *arguments: object) -> None:
        """Calls a function on the session; the caller holds the lock, where more than one call belongs together."""
        with self._lock:
            if self._handle is None:
                raise UsageError("the model or its session is closed")
            status = getattr(library(), f"llmc_{name}")(self._handle, *arguments)
            if status:
                check(status, library().llmc_session_error(self._handle))

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
        array = as_ids(ids)
        with self._lock:
            self._call("session_prefill", sequence, pointer(array), array.size)
            return np.asarray(self._rows(1)[0])

    def step(self, batch: Mapping[int, Sequence[int] | Ids]) -> Logits:
        """One forward pass: appends tokens to each sequence. The logits [tokens, vocab] of all, in the order of the batch."""
        parts = [as_ids(ids) for ids in batch.values()]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts])
        sequences, counts = as_ids([*batch]), as_ids([len(p) for p in parts])
        pointers = {"tokens": pointer(tokens), "sequences": pointer(sequences), "counts": pointer(counts)}
        with self._lock:
            self._call("session_step", t.Batch(**pointers, n_sequences=len(parts), n_rows=-1))
            return self._rows(tokens.size)

    def embed(
        self, ids: Ids, pooling: t.Pooling, normalize: bool | None = None, segments: Ids | None = None
    ) -> Logits:
        """What a model makes of a text: float32 [dim], or without pooling [n, dim]. normalize: None as the checkpoint says."""
        options = t.EmbedOptions(
            tokens=pointer(ids), n_tokens=ids.size, pooling=pooling, normalize=0 if normalize is None else 1 if normalize else -1,
            segments=pointer(segments) if segments is not None else None,
        )  # fmt: skip
        each = pooling is t.Pooling.NONE or (pooling is t.Pooling.DEFAULT and self._each)
        out, size = np.empty((max(1, ids.size) if each else 1, self._width), np.float32), c.c_size_t()
        self._call("embed", options, out.ctypes.data_as(t.Floats), out.size, size)
        return out if each else np.asarray(out[0])

    def classify(self, text: bytes, pair: bytes | None) -> Logits:
        """A classifier's scores of a text, or of two: float32 [labels]."""
        given = {} if pair is None else {"pair": pair, "pair_size": len(pair)}
        out, count = np.empty(self._width, np.float32), c.c_size_t()
        options = t.ClassifyOptions(text=text, text_size=len(text), **given)
        self._call("classify", options, out.ctypes.data_as(t.Floats), out.size, count)
        return out

    def _rows(self, n: int) -> Logits:
        """A copy of the first n rows of the last step's logits."""
        out = np.empty((n, self._width), np.float32)
        for i in range(n):
            c.memmove(out[i].ctypes.data, library().llmc_session_logits(self._handle, i), out[i].nbytes)
        return out

    def profile(self) -> dict[str, dict[str, float]]:
        """By op, of all steps so far: calls, and milliseconds of all workers at work and waiting for the others.

        Raises UsageError for a session that was opened without profile=True.
        """
        entry, result = t.Profile(), {}
        with self._lock:
            self._call("session_profile", 0, entry)
            more = True
            while more:
                times = {"work_ms": entry.work_ns / 1e6, "wait_ms": entry.wait_ns / 1e6}
                result[entry.name.decode()] = {"calls": entry.calls, **times}
                more = library().llmc_session_profile(self._handle, len(result), entry) == t.Status.OK
        return result

    def memory(self) -> dict[str, int]:
        """Bytes besides the mapped weights: cache_bytes that sequences have now, cache_peak_bytes, arena_bytes, logits_bytes."""
        memory = t.Memory()
        self._call("session_memory", memory)
        return {name: getattr(memory, name) for name, *_ in t.Memory._fields_ if name != "struct_size"}

    def cancel(self) -> None:
        """Ends the prefill or generation that runs in another thread, which then raises CancelledError. Does not wait."""
        if self._handle is not None:
            library().llmc_session_cancel(self._handle)

    def close(self) -> None:
        """Ends the threads and frees everything; open generations end too."""
        with self._lock:
            for generation in [*self._generations]:
                generation.close()
            if self._handle is not None:
                library().llmc_session_close(self._handle)
                self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Generation:
    """A generation under way in a session: an iterator of text. Closing or dropping it ends it."""

    def __init__(self, session: Session, options: t.GenerateOptions, keep: object = None) -> None:
        handle = c.c_void_p()
        self._keep = keep  # the model, which would close its session when dropped
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
            status = library().llmc_generation_next(self._handle, piece)
            if status:
                message = library().llmc_session_error(self._session._handle)
                self.close()
                check(status, message)
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
                library().llmc_generation_timings(self._handle, self._timings)
        return {name: getattr(self._timings, name) for name, *_ in t.Timings._fields_ if name != "struct_size"}

    def close(self) -> None:
        """Ends the generation and frees its sequence."""
        with self._session._lock:
            if self._handle is not None:
                library().llmc_generation_timings(self._handle, self._timings)
                library().llmc_generation_close(self._handle)
                self._handle = None

    def __del__(self) -> None:
        self.close()
