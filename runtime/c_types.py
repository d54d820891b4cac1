"""llmc.h in ctypes: its structs, its enumerations, and the types of its functions. A test compares sizes and offsets with C."""

from __future__ import annotations

import ctypes as c
from enum import IntEnum

Ids = c.POINTER(c.c_int32)
Floats = c.POINTER(c.c_float)


class Status(IntEnum):
    OK = 0
    ARG = 1
    IO = 2
    FORMAT = 3
    NOMEM = 4
    CPU = 5
    FULL = 6
    CONTEXT = 7
    CANCELLED = 8
    SPACE = 9
    DEVICE = 10


class Reason(IntEnum):
    """Why a generation ended."""

    RUNNING = 0
    END_OF_TEXT = 1
    STOP_TEXT = 2
    MAX_TOKENS = 3
    CONTEXT_FULL = 4
    CALLER = 5


class Pooling(IntEnum):
    """What of the states of a text's tokens becomes an embedding; RANK: a classifier's scores."""

    DEFAULT = 0
    NONE = 1
    MEAN = 2
    CLS = 3
    LAST = 4
    RANK = 5


ADD_SPECIAL, PARSE_SPECIAL, SHOW_SPECIAL = 1, 2, 4


class Error(c.Structure):
    _fields_ = [("text", c.c_char * 400)]


class Sized(c.Structure):
    """A struct that begins with its size."""

    def __init__(self, **fields: object) -> None:
        super().__init__(struct_size=c.sizeof(self), **fields)


class ModelOptions(Sized):
    _fields_ = [("struct_size", c.c_size_t), ("allocator", c.c_void_p), ("isa", c.c_char_p), ("device", c.c_char_p)]


class ModelInfo(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("name", c.c_char_p), ("isa", c.c_char_p),
        ("vocab", c.c_int32), ("hidden", c.c_int32), ("layers", c.c_int32), ("context", c.c_int32),
        ("max_step_tokens", c.c_int32), ("page_tokens", c.c_int32),
        ("page_bytes", c.c_uint64), ("weights_bytes", c.c_uint64), ("arena_bytes", c.c_uint64),
        ("state_bytes", c.c_uint64),
        ("row_floats", c.c_int32), ("encoder", c.c_int32), ("pooling", c.c_int32), ("normalize", c.c_int32),
        ("segments", c.c_int32), ("device", c.c_char_p), ("window_bytes", c.c_uint64), ("labels", c.c_int32),
    ]  # fmt: skip


class SessionOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("context", c.c_int32), ("max_sequences", c.c_int32), ("max_pages", c.c_int32),
        ("threads", c.c_int32), ("profile", c.c_int32), ("eager", c.c_int32),
    ]  # fmt: skip


class Batch(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("tokens", Ids), ("sequences", Ids), ("counts", Ids),
        ("n_sequences", c.c_int32), ("n_rows", c.c_int32), ("rows", Ids), ("segments", Ids),
        ("on_device", c.c_int32),
    ]  # fmt: skip


class SamplerOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("temperature", c.c_float), ("top_k", c.c_int32), ("top_p", c.c_float), ("min_p", c.c_float),
        ("repetition_penalty", c.c_float), ("repetition_window", c.c_int32), ("seed", c.c_uint64),
    ]  # fmt: skip


class GenerateOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("tokens", Ids), ("n_tokens", c.c_size_t), ("max_tokens", c.c_int32),
        ("sampler", c.POINTER(SamplerOptions)), ("stop", c.POINTER(c.c_char_p)), ("n_stop", c.c_size_t),
        ("ignore_end", c.c_int32), ("show_special", c.c_int32),
    ]  # fmt: skip


class EmbedOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("tokens", Ids), ("segments", Ids), ("n_tokens", c.c_size_t), ("pooling", c.c_int),
        ("normalize", c.c_int32),
    ]  # fmt: skip


class ClassifyOptions(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("text", c.c_char_p), ("text_size", c.c_size_t), ("pair", c.c_char_p),
        ("pair_size", c.c_size_t),
    ]  # fmt: skip


class Piece(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("text", c.POINTER(c.c_char)), ("size", c.c_size_t),
        ("token", c.c_int32), ("reason", c.c_int),
    ]  # fmt: skip


class Timings(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("prompt_tokens", c.c_size_t), ("tokens", c.c_size_t),
        ("prompt_ns", c.c_uint64), ("decode_ns", c.c_uint64),
    ]  # fmt: skip


class Profile(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("name", c.c_char_p),
        ("calls", c.c_uint64), ("work_ns", c.c_uint64), ("wait_ns", c.c_uint64),
    ]  # fmt: skip


class Memory(Sized):
    _fields_ = [
        ("struct_size", c.c_size_t), ("cache_bytes", c.c_uint64), ("cache_peak_bytes", c.c_uint64), ("arena_bytes", c.c_uint64),
        ("logits_bytes", c.c_uint64),
    ]  # fmt: skip


Handle = c.c_void_p
Out = c.POINTER(c.c_void_p)
Size = c.POINTER(c.c_size_t)

# Name, without llmc_: result, then parameters. A result of c_int is a Status.
FUNCTIONS: dict[str, tuple[object, ...]] = {
    "model_open": (c.c_int, c.c_char_p, c.POINTER(ModelOptions), c.POINTER(Error), Out),
    "model_close": (c.c_int, Handle),
    "model_get_info": (c.c_int, Handle, c.POINTER(ModelInfo)),
    "model_label": (c.c_char_p, Handle, c.c_int32),
    "model_vocabulary": (Handle, Handle),
    "vocabulary_open": (c.c_int, c.c_char_p, c.c_size_t, c.c_void_p, c.POINTER(Error), Out),
    "vocabulary_close": (c.c_int, Handle),
    "tokenize": (c.c_int, Handle, c.c_char_p, c.c_size_t, c.c_uint32, Ids, c.c_size_t, Size),
    "tokenize_pair": (
        c.c_int, Handle, c.c_char_p, c.c_size_t, c.c_char_p, c.c_size_t, c.c_uint32, Ids, Ids, c.c_size_t, Size,
    ),  # fmt: skip
    "detokenize": (c.c_int, Handle, Ids, c.c_size_t, c.c_uint32, c.POINTER(c.c_char), c.c_size_t, Size),
    "session_open": (c.c_int, Handle, c.POINTER(SessionOptions), c.POINTER(Error), Out),
    "session_close": (c.c_int, Handle),
    "session_error": (c.c_char_p, Handle),
    "session_cancel": (c.c_int, Handle),
    "sequence_open": (c.c_int, Handle, Ids),
    "sequence_truncate": (c.c_int, Handle, c.c_int32, c.c_int32),
    "sequence_close": (c.c_int, Handle, c.c_int32),
    "sequence_length": (c.c_int, Handle, c.c_int32, Ids),
    "session_step": (c.c_int, Handle, c.POINTER(Batch)),
    "session_prefill": (c.c_int, Handle, c.c_int32, Ids, c.c_size_t),
    "session_profile": (c.c_int, Handle, c.c_int32, c.POINTER(Profile)),
    "session_memory": (c.c_int, Handle, c.POINTER(Memory)),
    "session_logits": (Floats, Handle, c.c_int32),
    "embed": (c.c_int, Handle, c.POINTER(EmbedOptions), Floats, c.c_size_t, Size),
    "classify": (c.c_int, Handle, c.POINTER(ClassifyOptions), Floats, c.c_size_t, Size),
    "generation_open": (c.c_int, Handle, c.POINTER(GenerateOptions), Out),
    "generation_next": (c.c_int, Handle, c.POINTER(Piece)),
    "generation_timings": (c.c_int, Handle, c.POINTER(Timings)),
    "generation_close": (c.c_int, Handle),
}
