"""The GGUF reader against files written by the `gguf` package, and against files that are wrong in one place."""

import hashlib
import os
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc.errors import LlmcError, MalformedFileError, UnsupportedModelError, UsageError
from llmc.frontend.checkpoint import Checkpoint, Strings
from llmc.frontend.gguf import read_gguf
from llmc.frontend.gguf_file import MAX_STRINGS
from llmc.frontend.quant import FORMATS
from llmc.ir.quant import dequantize
from tests.gguf_bytes import ARRAY, BOOL, STRING, File, Info, key, string

ARCHITECTURE = key("general.architecture", STRING, "llama")


def write(path: Path, file: File | bytes) -> Path:
    path.write_bytes(file if isinstance(file, bytes) else file.encode())
    return path


def package_file(path: Path, fill: Callable[[gguf.GGUFWriter], object]) -> Path:
    """A file written by gguf.GGUFWriter; `fill` adds keys and tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    fill(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(tmp_path: Path, file: File | bytes, *words: str, error: type[LlmcError] = MalformedFileError) -> None:
    """Asserts that the file is refused with a message that holds the words."""
    with pytest.raises(error) as caught:
        read_gguf(write(tmp_path / "m.gguf", file))
    for word in words:
        assert word in str(caught.value)


class TestRoundTrip:
    def test_every_scalar_type(self, tmp_path: Path) -> None:
        def fill(w: gguf.GGUFWriter) -> None:
            w.add_uint8("u8", 200)
            w.add_int8("i8", -100)
            w.add_uint16("u16", 60000)
            w.add_int16("i16", -30000)
            w.add_uint32("u32", 4_000_000_000)
            w.add_int32("i32", -2_000_000_000)
            w.add_uint64("u64", 2**64 - 1)
            w.add_int64("i64", -(2**63))
            w.add_float32("f32", 1.5)
            w.add_float64("f64", 0.1)
            w.add_bool("yes", True)
            w.add_bool("no", False)
            w.add_string("text", "naïve ☃")
            w.add_tensor("w", np.zeros((1, 32), np.float32))

        c = read_gguf(package_file(tmp_path / "m.gguf", fill))
        every = (-(2**63), 2**64 - 1)
        got = {k: c.integer(k, *every) for k in ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")}
        assert list(got.values()) == [200, -100, 60000, -30000, 4_000_000_000, -2_000_000_000, *reversed(every)]
        assert (c.number("f32"), c.number("f64")) == (1.5, 0.1)
        assert (c.flag("yes"), c.flag("no")) == (True, False)
        assert (c.string("text"), c.architecture) == ("naïve ☃", "llama")

    def test_an_empty_string(self, tmp_path: Path) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File(keys=[ARCHITECTURE, key("x", STRING, "")])))
        assert c.string("x") == ""

    @pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 10, 11])
    def test_arrays_of_every_integer_type(self, tmp_path: Path, kind: int) -> None:
        values = [0, 1, 127]
        c = read_gguf(write(tmp_path / "m.gguf", File(keys=[ARCHITECTURE, key("x", ARRAY, (kind, values))])))
        assert c.integers("x", 0, 127) == c.integers("x", -(2**70), 2**70) == (0, 1, 127)
        with pytest.raises(MalformedFileError, match="holds 0 at index 0, expected 1 to"):
            c.integers("x", 1, 2**70)

    @pytest.mark.parametrize("kind", [6, 12])
    def test_arrays_of_floats(self, tmp_path: Path, kind: int) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File(keys=[ARCHITECTURE, key("x", ARRAY, (kind, [0.5, -2.0]))])))
        assert c.numbers("x").tolist() == [0.5, -2.0]

    def test_arrays_of_booleans_and_of_nothing(self, tmp_path: Path) -> None:
        keys = [ARCHITECTURE, key("flags", ARRAY, (BOOL, [1, 0])), key("empty", ARRAY, (4, [])), key("none", ARRAY, (STRING, []))]
        c = read_gguf(write(tmp_path / "m.gguf", File(keys=keys)))
        flags = c.keys["flags"]
        assert isinstance(flags, np.ndarray) and flags.tolist() == [True, False]
        assert c.integers("empty", 0, 1) == () and c.strings("none") == []

    def test_strings_stay_in_the_file_until_asked_for(self, tmp_path: Path) -> None:
        texts = ["a", "", "ü" * 300, "<0x0A>"]
        c = read_gguf(
            package_file(tmp_path / "m.gguf", lambda w: (w.add_token_list(texts), w.add_tensor("w", np.zeros(32, "f4"))))
        )
        raw = c.keys["tokenizer.ggml.tokens"]
        assert isinstance(raw, Strings) and len(raw) == 4
        assert raw[2] == raw[-2] == texts[2].encode() and raw[1:3] == [b"", texts[2].encode()]
        assert list(raw) == [t.encode() for t in texts] and c.strings("tokenizer.ggml.tokens") == texts
        with pytest.raises(IndexError):
            raw[4]

    def test_tensors_of_every_format(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        known = {t.value for t in gguf.GGMLQuantizationType}  # the package does not write Q2_0
        formats = {f.name: f for f in FORMATS.values() if f.ggml_type in known}
        raw = {f.name: rng.integers(0, 60, (3, f.row_bytes(512)), np.uint8) for f in formats.values()}

        def fill(w: gguf.GGUFWriter) -> None:
            for name, fmt in formats.items():
                w.add_tensor(f"{name}.weight", raw[name], raw_dtype=gguf.GGMLQuantizationType(fmt.ggml_type))

        with read_gguf(package_file(tmp_path / "m.gguf", fill)) as c:
            for name, fmt in formats.items():
                t = c.tensors[f"{name}.weight"]
                assert (t.name, t.format, t.shape, t.file) == (f"{name}.weight", fmt, (3, 512), 0)
                assert c.data(t.name).tobytes() == raw[name].tobytes()
                assert dequantize(fmt, c.data(t.name)).shape == (3 * 512,)

    def test_shape_has_rows_first(self, tmp_path: Path) -> None:
        c = read_gguf(package_file(tmp_path / "m.gguf", lambda w: w.add_tensor("w", np.zeros((5, 4, 32), np.float32))))
        assert c.tensors["w"].shape == (5, 4, 32)

    @pytest.mark.parametrize("version", [2, 3])
    def test_both_versions(self, tmp_path: Path, version: int) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File(version=struct.pack("<I", version))))
        assert c.tensors["w"].shape == (2, 32)

    @pytest.mark.parametrize("alignment", [8, 64, 4096])
    def test_other_alignments(self, tmp_path: Path, alignment: int) -> None:
        keys = [ARCHITECTURE, key("general.alignment", 4, alignment)]
        c = read_gguf(write(tmp_path / "m.gguf", File(keys=keys, alignment=alignment, data=bytes(range(256)))))
        assert c.tensors["w"].offset % alignment == 0 and c.data("w").tobytes() == bytes(range(256))

    def test_a_hole_between_tensors_is_no_harm(self, tmp_path: Path) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File(infos=[Info("b", offset=1024), Info("a")], data=bytes(1280))))
        assert c.tensors["b"].offset == c.tensors["a"].offset + 1024

    def test_real_models_open(self, shared: Path) -> None:
        for path in sorted((shared / "models" / "open").glob("q_Q*_K*/model.gguf")):
            theirs = {t.name: t for t in gguf.GGUFReader(path).tensors}
            c = read_gguf(path)
            assert {n: (t.shape[::-1], t.offset, t.nbytes) for n, t in c.tensors.items()} == {
                n: (tuple(t.shape.tolist()), t.data_offset, t.n_bytes) for n, t in theirs.items()
            }


class TestData:
    def test_bytes_are_not_copied_and_read_only(self, tmp_path: Path) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File()))
        view = c.data("w")
        assert not view.flags.owndata and not view.flags.writeable and view.dtype == np.uint8

    def test_arrays_outlive_the_checkpoint(self, tmp_path: Path) -> None:
        with read_gguf(write(tmp_path / "m.gguf", File(data=bytes([7]) * 256))) as c:
            view = c.data("w")
        assert view.sum() == 7 * 256
        with pytest.raises(KeyError):
            c.data("w")

    def test_released_bytes_can_be_read_again(self, tmp_path: Path) -> None:
        c = read_gguf(write(tmp_path / "m.gguf", File(data=bytes([7]) * 256)))
        c.release("w")
        assert c.data("w").sum() == 7 * 256

    def test_sha256_is_that_of_the_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.gguf", File())
        assert read_gguf(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


class TestGetters:
    @pytest.fixture
    def c(self, tmp_path: Path) -> Checkpoint:
        keys = [
            ARCHITECTURE,
            key("int", 4, 7),
            key("float", 6, 0.5),
            key("nan", 6, float("nan")),
            key("inf", 6, float("inf")),
            key("text", STRING, "x"),
            key("flag", BOOL, 1),
            key("ints", ARRAY, (5, [1, -2, 3])),
            key("floats", ARRAY, (6, [1.0, float("nan")])),
            key("texts", ARRAY, (STRING, ["a", b"\xed\xa0\x80", "c"])),
        ]
        return read_gguf(write(tmp_path / "m.gguf", File(keys=keys)))

    def test_a_missing_key_is_named(self, c: Checkpoint) -> None:
        for get in (
            lambda k: c.integer(k, 0, 9),
            c.number,
            c.string,
            c.flag,
            lambda k: c.integers(k, 0, 9),
            c.strings,
            c.numbers,
        ):
            with pytest.raises(MalformedFileError, match="key llama.absent is missing"):
                get("llama.absent")

    def test_a_default_stands_in_for_a_missing_key(self, c: Checkpoint) -> None:
        assert c.integer("absent", 0, 9, default=None) is None
        assert c.number("absent", 2.5) == 2.5
        assert c.string("absent", default="") == "" and c.flag("absent", default=False) is False
        assert c.integers("absent", 0, 9, ()) == () and c.strings("absent", None) is None and c.numbers("absent", None) is None

    @pytest.mark.parametrize(
        ("getter", "wrong"),
        [
            ("integer", ["float", "text", "flag", "ints", "texts"]),
            ("number", ["int", "text", "flag", "floats"]),
            ("string", ["int", "float", "flag", "texts"]),
            ("flag", ["int", "text", "ints"]),
            ("integers", ["float", "text", "flag", "floats", "texts"]),
            ("numbers", ["float", "ints", "texts"]),
            ("strings", ["text", "ints", "floats"]),
        ],
    )
    def test_another_type_is_refused_even_where_there_is_a_default(self, c: Checkpoint, getter: str, wrong: list[str]) -> None:
        for name in wrong:
            bounds = (0, 9) if getter.startswith("integer") else ()
            with pytest.raises(MalformedFileError, match=f"key {name} is an? .*, expected an? "):
                getattr(c, getter)(name, *bounds, default=None)

    def test_integers_out_of_range_are_refused(self, c: Checkpoint) -> None:
        with pytest.raises(MalformedFileError, match="key int is 7, expected 8 to 9"):
            c.integer("int", 8, 9)
        with pytest.raises(MalformedFileError, match="key ints holds -2 at index 1, expected 0 to 9"):
            c.integers("ints", 0, 9)
        with pytest.raises(MalformedFileError, match="key int is 7"):
            c.integers("int", 0, 6)

    def test_one_integer_is_an_array_of_one(self, c: Checkpoint) -> None:
        assert c.integers("int", 0, 9) == (7,)

    def test_numbers_must_be_finite_and_in_range(self, c: Checkpoint) -> None:
        for name in ("nan", "inf"):
            with pytest.raises(MalformedFileError, match=f"key {name} is {name}, expected a finite number"):
                c.number(name)
        with pytest.raises(MalformedFileError, match="key float is 0.5"):
            c.number("float", low=1.0)
        with pytest.raises(MalformedFileError, match="key floats holds NaN at index 1"):
            c.numbers("floats")

    def test_a_string_that_is_not_utf8_is_refused_by_its_index(self, c: Checkpoint) -> None:
        with pytest.raises(MalformedFileError, match="key texts holds at index 1 a string that is not UTF-8"):
            c.strings("texts")


class TestHeader:
    @pytest.mark.parametrize("magic", [b"gguf", b"GGML", b"\0\0\0\0", b"PK\3\4"])
    def test_another_magic(self, tmp_path: Path, magic: bytes) -> None:
        refused(tmp_path, File(magic=magic), "not a GGUF file")

    @pytest.mark.parametrize("version", [0, 1, 4, 99, 2**32 - 1])
    def test_another_version(self, tmp_path: Path, version: int) -> None:
        refused(tmp_path, File(version=struct.pack("<I", version)), f"version {version}", error=UnsupportedModelError)

    def test_big_endian(self, tmp_path: Path) -> None:
        refused(tmp_path, File(version=struct.pack(">I", 3)), "big-endian", error=UnsupportedModelError)

    @pytest.mark.parametrize("count", [2, 2**31, 2**63, 2**64 - 1])
    def test_counts_beyond_the_file(self, tmp_path: Path, count: int) -> None:
        refused(tmp_path, File(tensor_count=count), "tensor")
        refused(tmp_path, File(key_count=count))

    def test_an_empty_file(self, tmp_path: Path) -> None:
        refused(tmp_path, b"", "0 bytes")

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path, error in (
            (tmp_path, MalformedFileError),
            (tmp_path / "pipe", MalformedFileError),
            (tmp_path / "no", UsageError),
        ):
            with pytest.raises(error):
                read_gguf(path)

    def test_a_file_without_weights(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.gguf", File(infos=[], data=b""))
        with pytest.raises(MalformedFileError, match="tensor count 0"):
            read_gguf(path)
        assert read_gguf(path, vocabulary_only=True).architecture == "llama"

    def test_a_vocabulary_may_be_asked_of_any_model(self, tmp_path: Path) -> None:
        path = write(tmp_path / "m.gguf", File(infos=[Info(type=4)]))
        assert not read_gguf(path, vocabulary_only=True).tensors


class TestKeys:
    @pytest.mark.parametrize(
        ("bad", "word"),
        [
            (key("", 4, 1), "empty key name"),
            (key("a\0b", 4, 1), "NUL"),
            (key(b"\xff", 4, 1), "not UTF-8"),
            (key("k" * 70_000, 4, 1), "key length"),
            (key("x", STRING, b"\xff\xfe"), "key x is not UTF-8"),
            (string("x") + struct.pack("<I", 13), "value type 13"),
            (string("x") + struct.pack("<IIQ", ARRAY, 77, 1), "array element type 77"),
            (string("x") + struct.pack("<IQ", STRING, 2**64 - 1), "key x"),
            (string("x") + struct.pack("<IIQ", ARRAY, 4, 2**63), "array length"),
            (string("x") + struct.pack("<IIQ", ARRAY, 4, 2**62), "array length"),
            (string("x") + struct.pack("<IIQ", ARRAY, STRING, 2**61), "array length"),
            (string("x") + struct.pack("<IIQQ", ARRAY, STRING, 1, 2**63), "string 0 of key x"),
            (key("x", BOOL, 2), "boolean"),
            (key("x", ARRAY, (BOOL, [0, 2])), "boolean"),
            (key("general.architecture", STRING, "llama"), "key general.architecture is there twice"),
            (key("tokenizer.chat_template", STRING, "x" * (1 << 20) + "y"), "key tokenizer.chat_template"),
            (key("tokenizer.chat_template.tool_use", STRING, "x" * (1 << 20) + "y"), "tokenizer.chat_template.tool_use"),
        ],
    )
    def test_a_bad_key_is_named(self, tmp_path: Path, bad: bytes, word: str) -> None:
        refused(tmp_path, File(keys=[ARCHITECTURE, bad]), word)

    def test_nested_arrays_are_refused_at_the_first_level(self, tmp_path: Path) -> None:
        nested = string("x.nested") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 5000
        refused(tmp_path, File(keys=[ARCHITECTURE, nested]), "x.nested", error=UnsupportedModelError)

    def test_strings_are_counted_over_all_arrays(self, tmp_path: Path) -> None:
        """Each costs time, so the sum is what bounds it."""
        half = struct.pack("<IIQ", ARRAY, STRING, MAX_STRINGS // 2 + 1) + bytes(8 * (MAX_STRINGS // 2 + 1))
        refused(tmp_path, File(keys=[ARCHITECTURE, string("x") + half, string("y") + half]), "key y has array length")

    def test_a_template_of_a_mebibyte_is_carried(self, tmp_path: Path) -> None:
        keys = [ARCHITECTURE, key("tokenizer.chat_template", STRING, "x" * (1 << 20))]
        assert len(read_gguf(write(tmp_path / "m.gguf", File(keys=keys))).string("tokenizer.chat_template")) == 1 << 20

    @pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 7, 12, 24, 33, 2**31, 2**32 - 1])
    def test_alignments_that_are_refused(self, tmp_path: Path, value: int) -> None:
        refused(tmp_path, File(keys=[ARCHITECTURE, key("general.alignment", 4, value)]), f"general.alignment is {value}")

    @pytest.mark.parametrize("kind", [6, BOOL])
    def test_an_alignment_is_an_integer(self, tmp_path: Path, kind: int) -> None:
        refused(
            tmp_path, File(keys=[ARCHITECTURE, key("general.alignment", kind, 1)]), "general.alignment", "expected an integer"
        )

    def test_an_architecture_is_a_string(self, tmp_path: Path) -> None:
        refused(tmp_path, File(keys=[key("x", 4, 1)]), "general.architecture is missing")
        refused(tmp_path, File(keys=[key("general.architecture", 4, 1)]), "general.architecture is an integer")
        for name in ("", "a b", "x" * 65, "\x1b[2J"):
            refused(tmp_path, File(keys=[key("general.architecture", STRING, name)]), "general.architecture is", "1 to 64")

    def test_a_name_cannot_write_to_the_terminal(self, tmp_path: Path) -> None:
        name = "a\x1b[2Jb"
        with pytest.raises(MalformedFileError) as caught:
            read_gguf(write(tmp_path / "m.gguf", File(keys=[ARCHITECTURE, key(name, 4, 1), key(name, 4, 1)])))
        assert "\x1b" not in str(caught.value)


class TestTensors:
    @pytest.mark.parametrize(
        ("bad", "word"),
        [
            (Info("x" * 64), "string length of 64"),
            (Info("x\0y"), "tensor name"),
            (Info(""), "tensor name"),
            (Info('$(touch x);"\n'), "tensor name"),
            (Info("é"), "tensor name"),
            (Info("x", ()), "tensor x has 0 dimensions"),
            (Info("x", (32, 1, 1, 1, 1)), "tensor x has 5 dimensions"),
            (Info("x", (32, 0)), "tensor x"),
            (Info("x", (2**32, 2**32)), "tensor x"),
            (Info("x", (2**63, 2)), "tensor x"),
            (Info("x", (2**40,)), "tensor x needs"),
            (Info("x", (33,), type=2), "tensor x has rows of 33 weights"),
            (Info("x", (32,), type=12), "needs a multiple of 256"),
            (Info("x", offset=2), "tensor x has offset 2"),
            (Info("x", offset=2**40), "tensor x needs"),
            (Info("x", offset=2**64 - 32), "tensor x needs"),
            (Info("x", offset=32), "tensor x needs"),
            (Info("x", type=43), "tensor x has type 43"),
            (Info("x", type=2**32 - 1), "tensor x has type 4294967295"),
        ],
    )
    def test_a_bad_tensor_is_named(self, tmp_path: Path, bad: Info, word: str) -> None:
        refused(tmp_path, File(infos=[bad]), word)

    @pytest.mark.parametrize(
        ("kind", "name"), [(4, "q4_2"), (5, "q4_3"), (31, "q4_0_4_4"), (33, "q4_0_8_8"), (36, "iq4_nl_4_4"), (38, "iq4_nl_8_8")]
    )
    def test_removed_types_are_refused_by_name(self, tmp_path: Path, kind: int, name: str) -> None:
        refused(
            tmp_path, File(infos=[Info("x", type=kind)]), f"tensor x has type {name},", "removed", error=UnsupportedModelError
        )

    def test_types_that_llmc_lacks_are_refused_by_name(self, tmp_path: Path) -> None:
        for kind in set(gguf.GGMLQuantizationType) - {f.ggml_type for f in FORMATS.values()}:
            refused(tmp_path, File(infos=[Info("x", type=kind)]), f"has type {kind.name.lower()},", error=UnsupportedModelError)

    def test_twice_the_same_name(self, tmp_path: Path) -> None:
        refused(tmp_path, File(infos=[Info("x"), Info("x", offset=256)], data=bytes(512)), "tensor x is there twice")

    def test_overlapping_tensors(self, tmp_path: Path) -> None:
        refused(tmp_path, File(infos=[Info("x"), Info("y", offset=224)], data=bytes(512)), "tensor y overlaps tensor x")

    @pytest.mark.parametrize("last", [False, True])
    def test_q2_0_of_a_forks_blocks(self, tmp_path: Path, last: bool) -> None:
        """A fork gives the same type number to 34 bytes for 128 weights, where ggml has 36."""
        forks = 128 * 64 // 128 * 34
        infos = [Info("x", (128, 64), type=42), *([] if last else [Info("y", offset=forks)])]
        refused(tmp_path, File(infos=infos, data=bytes(forks if last else forks + 256)), "a fork writes q2_0 in blocks of 128")

    def test_the_last_byte_is_needed(self, tmp_path: Path) -> None:
        whole = File().encode()
        refused(tmp_path, whole[:-1], "tensor w needs 256 bytes")
        assert read_gguf(write(tmp_path / "m.gguf", whole)).tensors


class TestSplit:
    def parts(self, folder: Path, count: int = 3, **changed: File | None) -> Path:
        """Writes a model of `count` parts with one tensor each, as gguf-split does; `changed` maps a part number to its File."""
        for n in range(count):
            file = changed.get(f"part{n}", self.part(n, count))
            if file is not None:
                write(folder / f"m-{n + 1:05}-of-{count:05}.gguf", file)
        return folder / f"m-00001-of-{count:05}.gguf"

    def part(
        self,
        n: int,
        count: int,
        *,
        name: str | None = None,
        total: int | None = None,
        no: int | None = None,
        extra: Sequence[bytes] = (),
    ) -> File:
        keys = [
            key("split.no", 2, n if no is None else no),
            key("split.count", 2, count),
            key("split.tensors.count", 5, count if total is None else total),
        ]
        first = [ARCHITECTURE] if n == 0 else []
        return File(keys=[*first, *keys, *extra], infos=[Info(name or f"w{n}")], data=bytes([n]) * 256)

    def refused(self, path: Path, *words: str) -> None:
        with pytest.raises(MalformedFileError) as caught:
            read_gguf(path)
        for word in words:
            assert word in str(caught.value)

    def test_parts_become_one_model(self, tmp_path: Path) -> None:
        c = read_gguf(self.parts(tmp_path))
        assert [(t.name, t.file) for t in c.tensors.values()] == [("w0", 0), ("w1", 1), ("w2", 2)]
        assert [int(c.data(f"w{n}")[0]) for n in range(3)] == [0, 1, 2]
        assert [p.name for p in c.files] == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
        assert c.sha256() == hashlib.sha256(b"".join(p.read_bytes() for p in c.files)).hexdigest()

    def test_the_first_part_may_hold_no_tensors(self, tmp_path: Path) -> None:
        empty = File(keys=self.part(0, 3, total=2).keys, infos=[], data=b"")
        path = self.parts(tmp_path, part0=empty, part1=self.part(1, 3, total=2), part2=self.part(2, 3, total=2))
        assert list(read_gguf(path).tensors) == ["w1", "w2"]

    def test_a_missing_part(self, tmp_path: Path) -> None:
        self.refused(self.parts(tmp_path, part2=None), "split.count is 3", "m-00003-of-00003.gguf is missing")

    def test_another_part_than_the_first(self, tmp_path: Path) -> None:
        self.parts(tmp_path)
        self.refused(tmp_path / "m-00002-of-00003.gguf", "not the first part", "m-00001-of-00003.gguf")

    def test_a_count_that_the_name_contradicts(self, tmp_path: Path) -> None:
        self.refused(self.parts(tmp_path, part0=self.part(0, 4)), "split.count is 4", "NAME-00001-of-00004.gguf")

    def test_a_name_without_part_number(self, tmp_path: Path) -> None:
        self.refused(write(tmp_path / "m.gguf", self.part(0, 2)), "split.count is 2")

    def test_a_part_name_without_keys(self, tmp_path: Path) -> None:
        self.refused(write(tmp_path / "m-00001-of-00002.gguf", File()), "split.count")

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            (dict(no=2), "key split.no is not 1"),
            (dict(total=9), "key split.tensors.count is not 3"),
            (dict(name="w0"), "tensor w0 is there twice"),
            (dict(extra=[key("general.architecture", STRING, "qwen2")]), "part of another model: key general.architecture"),
            (dict(extra=[key("general.architecture", 4, 1)]), "part of another model: key general.architecture"),
        ],
    )
    def test_a_part_of_another_model(self, tmp_path: Path, changes: dict[str, Any], word: str) -> None:
        self.refused(self.parts(tmp_path, part1=self.part(1, 3, **changes)), word, "m-0000")

    def test_tensors_that_are_not_all_there(self, tmp_path: Path) -> None:
        every: dict[str, File | None] = {f"part{n}": self.part(n, 3, total=4) for n in range(3)}
        self.refused(self.parts(tmp_path, 3, **every), "split.tensors.count is 4", "hold 3")

    def test_a_hostile_count_of_parts(self, tmp_path: Path) -> None:
        self.refused(write(tmp_path / "m-00001-of-65535.gguf", self.part(0, 65535)), "m-00002-of-65535.gguf is missing")


class TestHostile:
    """No byte string may make the reader do anything but succeed or raise an LlmcError."""

    def small(self) -> bytes:
        keys = [
            ARCHITECTURE,
            key("a.flag", BOOL, 1),
            key("a.scale", 6, 0.5),
            key("a.sizes", ARRAY, (5, [1, 2, 3])),
            key("tokenizer.ggml.tokens", ARRAY, (STRING, ["<s>", "a", "ü"])),
        ]
        infos = [Info("token_embd.weight", (32, 3), 2), Info("output.weight", (8, 4), 1, offset=64)]
        return File(keys=keys, infos=infos, data=bytes(range(128))).encode()

    def read(self, path: Path, content: bytes) -> bool:
        """Whether it opens. Everything in it is then read as well."""
        path.write_bytes(content)
        try:
            c = read_gguf(path)
            for name, value in c.keys.items():
                if isinstance(value, Strings):
                    c.strings(name)
            for name, t in c.tensors.items():
                assert dequantize(t.format, c.data(name)).size == np.prod(t.shape)
        except LlmcError as e:
            assert e.exit_code in (3, 4) and "m.gguf" in str(e)
            return False
        return True

    def test_truncation_at_every_byte(self, tmp_path: Path) -> None:
        whole = self.small()
        assert self.read(tmp_path / "m.gguf", whole)
        assert not any(self.read(tmp_path / "m.gguf", whole[:n]) for n in range(len(whole)))

    def test_every_byte_changed(self, tmp_path: Path) -> None:
        whole = self.small()
        for at in range(len(whole)):
            for new in (0x00, 0xFF, whole[at] ^ 0x01, whole[at] ^ 0x80):
                self.read(tmp_path / "m.gguf", whole[:at] + bytes([new]) + whole[at + 1 :])

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_mutations(self, tmp_path: Path, data: st.DataObject) -> None:
        content = bytearray(self.small())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, max(len(content) - 1, 0)))
            kind = data.draw(st.sampled_from(["set", "insert", "delete", "u64", "copy"]))
            if kind == "set":
                content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            elif kind == "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=16))
            elif kind == "delete":
                del content[at : at + data.draw(st.integers(1, 16))]
            elif kind == "u64":
                content[at : at + 8] = struct.pack("<Q", data.draw(st.sampled_from([0, 1, 2**31, 2**32, 2**63, 2**64 - 1])))
            else:
                content[at:at] = content[: data.draw(st.integers(1, 64))]
        self.read(tmp_path / "m.gguf", bytes(content))

    def test_memory_stays_below_twice_the_header(self, tmp_path: Path) -> None:
        """The worst a header can do: strings of no bytes, each of which costs an offset."""
        empty = key("x", ARRAY, (STRING, [b""] * 500_000))
        content = File(keys=[ARCHITECTURE, empty], tensor_count=2).encode()
        path = write(tmp_path / "m.gguf", content)
        tracemalloc.start()
        with pytest.raises(MalformedFileError):
            read_gguf(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(content)
