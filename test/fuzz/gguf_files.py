# SPDX-License-Identifier: Apache-2.0
"""GGUF headers as lists of fields and tensors, changed in structure or byte by byte."""

from __future__ import annotations

import contextlib
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.metadata import StringArray, StringList
from lumen_mlir.testing.families import write_family

# One file of each way in which metadata steers what a model is.
FAMILIES = ("llama", "qwen2", "qwen3-window", "llama-longrope", "llama-linear", "exaone4-hybrid",
            "hyperclovax", "qwen2moe", "mixtral", "exaone-moe", "solar-open")  # fmt: skip
CORPUS = Path(__file__).parent / "corpus"
_WEIGHT_BYTES = 2 << 20
# Keys that some file has, behind the name of the architecture.
KEYS = (
    "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.scale",
    "attention.layer_norm_rms_epsilon", "attention.sliding_window", "attention.sliding_window_pattern",
    "rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.original_context_length", "rope.scaling.attn_factor", "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_log_multiplier", "vocab_size", "nextn_predict_layers", "expert_count",
    "expert_used_count", "expert_feed_forward_length", "expert_shared_feed_forward_length",
    "expert_shared_count", "expert_gating_func", "expert_weights_norm", "expert_weights_scale",
    "expert_group_count", "leading_dense_block_count", "embedding_scale", "residual_scale", "logit_scale",
)  # fmt: skip
OTHER_KEYS = (
    "general.architecture", "general.name", "general.alignment", "general.file_type", "split.count",
    "split.no", "split.tensors.count", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type", "tokenizer.ggml.scores", "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix", "tokenizer.chat_template", "lumen.format.10000",
    "lumen.format.10000.fingerprint", "lumen.format.10000.origin", "lumen.eog_token_ids",
)  # fmt: skip
STRINGS = ("", "llama", "qwen2", "qwen3", "exaone4", "hyperclovax", "glm4moe", "gpt2", "none", "linear",
           "yarn", "longrope", "default", "q8_0", "file x.py", "a\nb", "\x1b[31m", "영화",
           "😀", "x" * 300)  # fmt: skip
BYTES = (b"", b"\xff", b"\xed\xa0\x80", b"a\0b", b"caf\xe9", b"x" * 70000)
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 31, 32, 33, 64, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -2)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-38, 1e-6, 4.0, 1e4, 1e30, 3e38, float("inf"), -float("inf"),
          float("nan"), 1e300, 5e-324)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """An entry of the metadata; ``length`` is what the file says of a string or an array instead of the
    truth."""

    key: bytes
    kind: int
    value: Any
    element: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Tensor:
    """An entry of the tensor table; ``dimensions`` in the file's order."""

    name: bytes
    dimensions: tuple[int, ...]
    kind: int
    offset: int


@dataclass
class Header:
    """What a file says. ``counts``: of tensors and fields, where they are not the truth; ``data``: the first
    bytes of the data section, which is ``data_bytes`` long."""

    version: int
    order: str
    fields: list[Field]
    tensors: list[Tensor]
    data: bytes = b""
    data_bytes: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    # Bytes of entries by byte order and identity: those of a sample are written very often.
    _written: dict[tuple[str, int], bytes] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(path: Path, whole: bool = False) -> Header:
        """What a sound file says, with the first kilobytes of its weights, or with all of them."""
        file = GGUFFile.open(path, whole=False)
        fields = []
        for key in file.metadata:
            value, kind = file.metadata[key], file.metadata.value_type(key)
            if isinstance(value, (StringArray, StringList)):
                value = [text.encode() for text in value.to_list()]
                fields.append(Field(key.encode(), T.ARRAY, value, T.STRING))
            elif isinstance(value, np.ndarray):
                fields.append(Field(key.encode(), T.ARRAY, value.tolist(), kind))
            else:
                fields.append(Field(key.encode(), kind, value.encode() if kind == T.STRING else value))
        tensors = [
            Tensor(
                info.name.encode(),
                tuple(reversed(info.shape)),
                T.TYPES_BY_NAME[info.type].id,
                info.offset - file.data_offset,
            )
            for info in file.tensors.values()
        ]
        size = file.size - file.data_offset
        data = path.read_bytes()[file.data_offset :][: None if whole else 4096]
        return Header(file.version, "<" if file.byteorder == "little" else ">", fields, tensors, data, size)

    def to_bytes(self) -> bytes:
        """The header as it stands in a file, without the data section."""
        counts = [self.counts.get(0, len(self.tensors)), self.counts.get(1, len(self.fields))]
        parts = [b"GGUF", self._number("I", self.version), *(self._number("Q", count) for count in counts)]
        for entry in (*self.fields, *self.tensors):
            written = self._written.get((self.order, id(entry)))
            if written is None:
                written = self._field(entry) if isinstance(entry, Field) else self._tensor(entry)
            parts.append(written)
        return b"".join(parts)

    def remember(self) -> Header:
        """Keeps the bytes of the entries that there are now, for this header and its copies."""
        for order in "<>":
            self.order = order
            for entry in (*self.fields, *self.tensors):
                written = self._field(entry) if isinstance(entry, Field) else self._tensor(entry)
                self._written[order, id(entry)] = written
        self.order = "<"
        return self

    def _number(self, code: str, value: Any) -> bytes:
        if code in "fd":
            try:
                return struct.pack(self.order + code, value)
            except (OverflowError, struct.error):
                return struct.pack(self.order + code, float("inf"))
        size = struct.calcsize("=" + code)
        order = "little" if self.order == "<" else "big"
        return (int(value) & ((1 << 8 * size) - 1)).to_bytes(size, order)

    def _text(self, data: bytes, length: int | None = None) -> bytes:
        return self._number("Q", len(data) if length is None else length) + data

    def _value(self, kind: int, value: Any, length: int | None = None) -> bytes:
        if kind == T.STRING:
            return self._text(value if isinstance(value, bytes) else str(value).encode(), length)
        try:
            return self._number(T.SCALAR_CODES.get(kind, "I"), value)
        except (TypeError, ValueError, OverflowError):  # a string, NaN or infinity as a whole number
            return self._number(T.SCALAR_CODES.get(kind, "I"), 0)

    def _tensor(self, entry: Tensor) -> bytes:
        parts = [self._text(entry.name), self._number("I", len(entry.dimensions))]
        parts += [self._number("Q", extent) for extent in entry.dimensions]
        return b"".join([*parts, self._number("I", entry.kind), self._number("Q", entry.offset)])

    def _field(self, entry: Field) -> bytes:
        begin = self._text(entry.key) + self._number("I", entry.kind)
        if entry.kind != T.ARRAY:
            return begin + self._value(entry.kind, entry.value, entry.length)
        count = len(entry.value) if entry.length is None else entry.length
        begin += self._number("I", entry.element) + self._number("Q", count)
        return begin + b"".join(self._value(entry.element, value) for value in entry.value)


def samples(folder: Path, whole: bool = False) -> list[Header]:
    """Sound headers of tiny models, some with a tokenizer; ``whole``: all of them, and all weights too."""
    found = []
    for index, name in enumerate(FAMILIES):
        path = folder / f"{name}.gguf"
        kind = "f16" if whole and index % 2 else "f32"
        write_family(path, name, kind, vocabulary=283 if whole or index % 4 == 0 else None)
        found.append(Header.of(path, whole).remember())
        path.unlink()
    return found


def kept() -> list[bytes]:
    """Headers of ``corpus``, each of which reached some code that the others do not."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.gguf"))]


def with_data(header: bytes) -> tuple[bytes, int]:
    """The first bytes and the size of a file that begins with ``header``, with weights enough behind it."""
    return header, len(header) + _WEIGHT_BYTES


@contextlib.contextmanager
def in_memory(data: bytes, size: int) -> Iterator[Path]:
    """A file of ``size`` bytes that begins with ``data``; the rest takes no space."""
    descriptor = os.memfd_create("changed.gguf")
    try:
        os.write(descriptor, data)
        os.ftruncate(descriptor, size)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def changed(sample: Header, rng: random.Random, most: int = 4) -> tuple[bytes, int]:
    """The first bytes and the size of a file like ``sample`` with one to ``most`` things changed."""
    header = replace(
        sample, fields=list(sample.fields), tensors=list(sample.tensors), counts=dict(sample.counts)
    )
    if rng.random() < 0.1:
        header.order = ">"
    if rng.random() < 0.85:
        for _ in range(min(rng.choice((1, 1, 2, 4)), most)):
            rng.choice(_CHANGES)(header, rng)
    data = header.to_bytes()
    data += bytes(-len(data) % 32) + header.data
    size = len(data) - len(header.data) + header.data_bytes
    if rng.random() < 0.2:
        data = flipped(data, rng)
    if rng.random() < 0.05:
        size = rng.choice((rng.randrange(len(data)), size + 1, size - 1, size + 12345))
    return data[:size], size


def weights_changed(sample: Header, rng: random.Random) -> tuple[bytes, int]:
    """A whole file like ``sample`` with some of its weights changed."""
    head = sample.to_bytes()
    weights = bytearray(sample.data)
    for _ in range(rng.choice((1, 4, 64))):
        at = 4 * rng.randrange(len(weights) // 4)
        weights[at : at + 4] = (
            struct.pack("<f", rng.choice(FLOATS[:-2])) if rng.random() < 0.7 else rng.randbytes(4)
        )
    data = head + bytes(-len(head) % 32) + bytes(weights)
    return data, len(data)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """``data`` with some bytes changed, inserted or taken out."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed)) if changed else 0
        what = rng.random()
        if what < 0.7 and changed:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif what < 0.85:
            changed[at:at] = rng.randbytes(rng.choice((1, 4, 8)))
        else:
            del changed[at : at + rng.choice((1, 4, 8))]
    return bytes(changed)


# --- changes ------------------------------------------------------------------------------------------------


def _text(rng: random.Random) -> bytes:
    return rng.choice(BYTES) if rng.random() < 0.3 else rng.choice(STRINGS).encode()


def _scalar(kind: int, rng: random.Random) -> Any:
    if kind == T.STRING:
        return _text(rng)
    if kind in (T.F32, T.F64):
        return rng.choice(FLOATS)
    return rng.choice((0, 1, 2)) if kind == T.BOOL else rng.choice(NUMBERS)


def _some_value(rng: random.Random) -> tuple[int, Any, int]:
    """Kind, value and kind of the elements, of any type."""
    kind = rng.choice((T.U8, T.I32, T.U32, T.U64, T.I64, T.F32, T.F64, T.BOOL, T.STRING, T.ARRAY, 13))
    if kind != T.ARRAY:
        return kind, _scalar(kind, rng), 0
    element = rng.choice((T.U8, T.I32, T.U32, T.U64, T.F32, T.BOOL, T.STRING, T.ARRAY, 14))
    count = rng.choice((0, 1, 2, 4, 5, 64))
    same = _scalar(element, rng)
    alike = rng.random() < 0.5
    return kind, [same if alike else _scalar(element, rng) for _ in range(count)], element


def _key(header: Header, rng: random.Random) -> bytes:
    what = rng.random()
    if what < 0.6:
        architecture = next(
            (entry.value for entry in header.fields if entry.key == b"general.architecture"), b"llama"
        )
        architecture = architecture if isinstance(architecture, bytes) else b"llama"
        return architecture + b"." + rng.choice(KEYS).encode()
    return rng.choice(OTHER_KEYS).encode() if what < 0.95 else _text(rng)


def _change_value(header: Header, rng: random.Random) -> None:
    if header.fields:
        at = rng.randrange(len(header.fields))
        entry = header.fields[at]
        if entry.kind != T.ARRAY:
            header.fields[at] = replace(entry, value=_scalar(entry.kind, rng))
        elif entry.value:
            values = list(entry.value)
            values[rng.randrange(len(values))] = _scalar(entry.element, rng)
            header.fields[at] = replace(entry, value=values)


def _change_kind(header: Header, rng: random.Random) -> None:
    if header.fields:
        at = rng.randrange(len(header.fields))
        kind, value, element = _some_value(rng)
        header.fields[at] = Field(header.fields[at].key, kind, value, element)


def _retype(header: Header, rng: random.Random) -> None:
    """The same bytes as another type."""
    if header.fields:
        at = rng.randrange(len(header.fields))
        header.fields[at] = replace(header.fields[at], kind=rng.randrange(14), element=rng.randrange(14))
        if header.fields[at].kind == T.ARRAY and not isinstance(header.fields[at].value, list):
            header.fields[at] = replace(header.fields[at], value=[header.fields[at].value] * 4)


def _lie_about_length(header: Header, rng: random.Random) -> None:
    if header.fields:
        at = rng.randrange(len(header.fields))
        header.fields[at] = replace(header.fields[at], length=rng.choice(NUMBERS))


def _rename(header: Header, rng: random.Random) -> None:
    if header.fields:
        at = rng.randrange(len(header.fields))
        header.fields[at] = replace(header.fields[at], key=_key(header, rng))


def _add(header: Header, rng: random.Random) -> None:
    kind, value, element = _some_value(rng)
    header.fields.insert(rng.randint(0, len(header.fields)), Field(_key(header, rng), kind, value, element))


def _set(header: Header, rng: random.Random) -> None:
    """Another value of the right type for a key that has one, or has none yet."""
    key = _key(header, rng)
    numbers = (T.F32, rng.choice(FLOATS)) if rng.random() < 0.4 else (T.U32, rng.choice(NUMBERS))
    entry = Field(key, *(numbers if rng.random() < 0.8 else (T.STRING, _text(rng))))
    header.fields[:] = [old for old in header.fields if old.key != key] + [entry]


def _drop(header: Header, rng: random.Random) -> None:
    if header.fields:
        del header.fields[rng.randrange(len(header.fields))]


def _repeat_array(header: Header, rng: random.Random) -> None:
    """Longer or shorter arrays."""
    arrays = [at for at, entry in enumerate(header.fields) if entry.kind == T.ARRAY]
    if arrays:
        at = rng.choice(arrays)
        values = header.fields[at].value
        values = values[: rng.choice((0, 1, 100))] if rng.random() < 0.5 else values * 2
        header.fields[at] = replace(header.fields[at], value=values)


def _change_tensor(header: Header, rng: random.Random) -> None:
    if header.tensors:
        at = rng.randrange(len(header.tensors))
        tensor = header.tensors[at]
        what = rng.randrange(5)
        if what == 0:
            extents = list(tensor.dimensions)
            if extents:
                extents[rng.randrange(len(extents))] = rng.choice(NUMBERS)
            tensor = replace(tensor, dimensions=tuple(extents))
        elif what == 1:
            tensor = replace(tensor, kind=rng.choice((0, 1, 2, 8, 12, 14, 28, 30, 31, 39, 42, 99, 10000)))
        elif what == 2:
            tensor = replace(tensor, offset=rng.choice((*NUMBERS, tensor.offset + 32)))
        elif what == 3:
            tensor = replace(tensor, name=rng.choice((rng.choice(header.tensors).name, _text(rng))))
        else:
            extents = rng.choice(
                ((), tensor.dimensions + (1,), tensor.dimensions[::-1], tensor.dimensions[:1])
            )
            tensor = replace(tensor, dimensions=extents)
        header.tensors[at] = tensor


def _change_tensors(header: Header, rng: random.Random) -> None:
    if header.tensors:
        at = rng.randrange(len(header.tensors))
        if rng.random() < 0.5:
            del header.tensors[at]
        else:
            name = rng.choice((b"output.bias", b"rope_freqs.weight", b"x", b"blk.0.attn_q.bias", b"blk.x.y"))
            header.tensors.append(replace(header.tensors[at], name=name))


def _lie_about_counts(header: Header, rng: random.Random) -> None:
    header.counts[rng.randrange(2)] = rng.choice((*NUMBERS, len(header.tensors) + 1, len(header.fields) - 1))


def _change_version(header: Header, rng: random.Random) -> None:
    header.version = rng.choice((2, 2, 2, 0, 1, 4, 1 << 16))


# What steers a model most is changed most often.
_CHANGES = (
    *[_set] * 6, *[_change_value] * 4, *[_change_kind] * 3, *[_change_tensor] * 3, _add, _rename, _retype,
    _lie_about_length, _drop, _repeat_array, _change_tensors, _lie_about_counts, _change_version,
)  # fmt: skip
