"""Running compiled models from Python: ctypes over llmc.h, and nothing that llmc.h cannot do.

A call into the library releases the GIL. Several threads may use a model or session: the calls on one session take turns.
"""

from __future__ import annotations

import ctypes as c
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from llmc import debug
from llmc.errors import UsageError
from llmc.runtime import c_types as t
from llmc.runtime.c_calls import CancelledError, Ids, Logits, as_ids, check, library, pointer
from llmc.runtime.session import Generation, Session
from llmc.runtime.vocabulary import Tokenizer

__all__ = ["CancelledError", "Generation", "Info", "Model", "Session", "Tokenizer", "load"]
MODEL_SEQUENCES = 64  # sequences of a Model's own session: generations that may be under way at once, and one


@dataclass(frozen=True)
class Info:
    """Facts about a model. Lengths in tokens, sizes in bytes; `page_bytes` of one KV page of the layers that keep all positions,
    `state_bytes` of what recurrent layers keep of a sequence, `window_bytes` of the most that layers with a window do."""

    name: str
    isa: str
    device: str
    vocab: int
    hidden: int
    layers: int
    context: int
    max_step_tokens: int
    page_tokens: int
    page_bytes: int
    weights_bytes: int
    arena_bytes: int
    state_bytes: int
    row_floats: int
    encoder: bool
    pooling: str
    normalize: bool
    segments: int
    window_bytes: int
    labels: tuple[str, ...]


class Model:
    """A compiled model with a session of its own for logits() and generate(). Close it, or use it in a with block."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        isa: str | None = None,
        context: int | None = None,
        device: str | None = None,
    ) -> None:
        self._handle: int | None = None
        self._session: Session | None = None
        if not path.is_dir():
            raise UsageError(f"{path} is not a compiled model: there is no such directory")
        error, handle = t.Error(), c.c_void_p()
        options = t.ModelOptions(isa=isa.encode() if isa else None, device=device.encode() if device else None)
        check(library().llmc_model_open(os.fsencode(path), options, error, handle), error.text)
        self._handle = handle.value or 0
        self.path = path
        self.info = self._read_info()
        self.threads = _positive("threads", threads) or debug.processors()
        self.declared_context = _positive("context", context)
        self.context = self.declared_context or self.info.context
        self._session = self._new_session(self._options(max_sequences=MODEL_SEQUENCES))

    @property
    def _open_handle(self) -> int:
        if self._handle is None:
            raise UsageError("the model is closed")
        return self._handle

    def _read_info(self) -> Info:
        info = t.ModelInfo()
        check(library().llmc_model_get_info(self._open_handle, info), "the model gives no facts")
        values: dict[str, Any] = {name: getattr(info, name) for name, *_ in t.ModelInfo._fields_ if name != "struct_size"}
        texts = {name: values[name].decode(errors="replace") for name in ("name", "isa", "device")}
        flags = {name: bool(values[name]) for name in ("encoder", "normalize")}
        names = {"pooling": t.Pooling(info.pooling).name.lower(), "labels": self._labels(info.labels)}
        return Info(**{**values, **texts, **flags, **names})

    def _labels(self, count: int) -> tuple[str, ...]:
        names = (library().llmc_model_label(self._open_handle, i) for i in range(count))
        return tuple(name.decode(errors="replace") for name in names)

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
        handle = library().llmc_model_vocabulary(self._open_handle)
        if not handle:
            raise UsageError("the model was compiled without a tokenizer")
        return Tokenizer(handle, lambda: self._open_handle)

    def tokenize(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """As Tokenizer.tokenize."""
        return self.tokenizer.tokenize(text, add_special, parse_special)

    def detokenize(self, ids: Sequence[int], show_special: bool = False) -> bytes:
        """As Tokenizer.detokenize."""
        return self.tokenizer.detokenize(ids, show_special)

    def session(
        self,
        *,
        context: int | None = None,
        max_sequences: int = 1,
        threads: int | None = None,
        max_pages: int = 0,
        profile: bool = False,
        eager: bool = False,
    ) -> Session:
        """A session to step by hand. context and threads as given to load(), unless said otherwise; llmc.h explains the rest."""
        options = self._options(context=context, max_sequences=max_sequences, threads=threads, max_pages=max_pages)
        options.profile, options.eager = profile, eager
        return self._new_session(options, keep=self)

    def _new_session(self, options: t.SessionOptions, keep: object = None) -> Session:
        return Session(self._open_handle, self.info.row_floats, options, keep=keep, each=self.info.pooling == "none")

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

        chunks are the lengths of the prefills the text is cut into; the bits do not depend on them. Where the model's rotation
        depends on the context, that is the one given to load(), or else the length of this text. Raises UsageError.
        """
        if self.info.encoder:
            raise UsageError(f"the model has no logits: {'classify' if self.info.labels else 'embed'}() runs it")
        array = as_ids(ids)
        lengths = [array.size] if chunks is None else [*chunks]
        if sum(lengths) != array.size or min(lengths, default=0) < 1:
            raise UsageError(f"{array.size} tokens: there must be one or more, and chunks must be positive and add up to them")
        if self.declared_context is None and array.size <= self.context:
            with self.session(context=array.size) as session:
                return self._logits(session, array, lengths)
        return self._logits(self._own_session(), array, lengths)

    def embed(
        self, text: str | Sequence[int] | Ids, pooling: str | None = None, normalize: bool | None = None,
        segments: Sequence[int] | Ids | None = None,
    ) -> Logits:  # fmt: skip
        """What a model makes of a text, or of token ids: float32 [dim], or with pooling="none" each token's state, [n, dim].

        pooling: "mean", "cls" (the first token), "last" or "none"; None: as the checkpoint says. normalize: whether the result is
        brought to length 1; None: as the checkpoint says, and never the states of tokens. segments: of token ids, which of two
        texts each belongs to. A classifier has "rank" alone, the scores of its labels. Raises UsageError, also for a model that
        generates text.
        """
        kinds = {kind.name.lower(): kind for kind in t.Pooling if kind}
        if pooling is not None and pooling not in kinds:
            raise UsageError(f"unknown pooling {pooling!r}", hint=", ".join(kinds))
        ids = as_ids(self.tokenizer.tokenize(text) if isinstance(text, str) else text)
        told = None if segments is None else as_ids(segments)
        if told is not None and told.size != ids.size:
            raise UsageError(f"{told.size} segments of {ids.size} tokens")
        return self._own_session().embed(ids, t.Pooling.DEFAULT if pooling is None else kinds[pooling], normalize, told)

    def classify(self, text: str, text_pair: str | None = None) -> dict[str, float]:
        """The score of each label of a classifier or reranker, before softmax or sigmoid.

        text_pair: a second text, such as the document that a query is matched with; the model's own template puts the two
        together. Raises UsageError, also for a model without labels, or texts that are longer than it reads.
        """
        pair = None if text_pair is None else text_pair.encode("utf-8", "surrogatepass")
        scores = self._own_session().classify(text.encode("utf-8", "surrogatepass"), pair)
        return dict(zip(self.info.labels, scores.tolist(), strict=True))

    def _logits(self, session: Session, ids: Ids, lengths: Sequence[int]) -> Logits:
        """Logits of a new sequence of the session."""
        sequence = session.open()
        try:
            return np.concatenate([session.step({sequence: part}) for part in self._parts(ids, lengths)])
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
        ids = as_ids(self.tokenizer.tokenize(prompt) if isinstance(prompt, str) else prompt)
        texts = [s.encode() if isinstance(s, str) else s for s in ([stop] if isinstance(stop, str) else stop)]
        if any(b"\0" in s for s in texts):
            raise UsageError("a stop text holds a zero byte")
        numbers = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty}
        sampler = t.SamplerOptions(**numbers, top_k=top_k, repetition_window=repetition_window, seed=seed)
        options = t.GenerateOptions(
            tokens=pointer(ids), n_tokens=ids.size, max_tokens=max_tokens, sampler=c.pointer(sampler),
            stop=(c.c_char_p * len(texts))(*texts), n_stop=len(texts), ignore_end=ignore_end, show_special=show_special,
        )  # fmt: skip
        return Generation(self._own_session(), options, keep=self)

    def close(self) -> None:
        """Ends generations and threads, and unmaps the weights. UsageError while a session opened by session() is open."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._handle is not None:
            check(library().llmc_model_close(self._handle), "a session of the model is still open")
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
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    isa: str | None = None,
    context: int | None = None,
    device: str | None = None,
) -> Model:
    """Opens a compiled model: maps its weights, starts its threads.

    threads  None takes every processor this process may use
    isa      one of the artifact's instruction-set levels; None takes the best this machine runs
    device   "cpu", "cuda", "cuda:1", "rocm"; None takes a GPU the artifact has code for, if one works, else the processor
    context  the longest sequence in tokens; None takes the model's own

    Raises MalformedFileError for no sound artifact, ToolchainError where the machine runs none of its levels, UsageError and
    DeviceError.
    """
    return Model(Path(path), threads=threads, isa=isa, context=context, device=device)
