# SPDX-License-Identifier: Apache-2.0
"""The numbers of the GGUF format: metadata value types and tensor types with their block sizes.

Source of the numbers: the GGUF specification (``docs/gguf.md`` of ggml) and ``ggml.h`` / ``ggml-common.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
# Larger alignments exist in no file; refusing them keeps one number from moving the data section by
# gigabytes.
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 4
# No file has a hundredth of these; each entry takes memory and time that its bytes in the file do not show.
MAX_FIELDS = MAX_TENSORS = 1 << 16
MAX_STRINGS = 1 << 23
MAX_NAME_BYTES = 65535

# Metadata value types.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)

VALUE_TYPE_NAMES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "float32",
    "bool",
    "string",
    "array",
    "uint64",
    "int64",
    "float64",
)

# struct codes (and, by the same letters, NumPy codes) of the value types of fixed size.
SCALAR_CODES = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    U64: "Q",
    I64: "q",
    F64: "d",
}

NUMPY_CODES = {
    U8: "u1",
    I8: "i1",
    U16: "u2",
    I16: "i2",
    U32: "u4",
    I32: "i4",
    F32: "f4",
    BOOL: "u1",
    U64: "u8",
    I64: "i8",
    F64: "f8",
}


@dataclass(frozen=True)
class TensorType:
    """One ggml tensor type.

    ``words`` lists the (offset, size) of every field of a block that is wider than a byte, which is what has
    to be swapped when a big-endian file is read; ``None`` where the block has no agreed big-endian form.
    """

    id: int
    name: str
    block: int
    nbytes: int
    words: tuple[tuple[int, int], ...] | None

    def row_bytes(self, columns: int) -> int:
        """Bytes of one row; ``columns`` must be a multiple of ``block``."""
        return columns // self.block * self.nbytes

    def to_little_endian(self, data: np.ndarray) -> np.ndarray:
        """A little-endian copy of ``data`` (uint8, whole big-endian blocks)."""
        blocks = np.array(data, dtype=np.uint8).reshape(-1, self.nbytes)
        for offset, size in self.words or ():
            blocks[:, offset : offset + size] = blocks[:, offset : offset + size][:, ::-1]
        return blocks.reshape(-1)


def _halves(*offsets: int) -> tuple[tuple[int, int], ...]:
    return tuple((offset, 2) for offset in offsets)


TENSOR_TYPES = (
    TensorType(0, "f32", 1, 4, ((0, 4),)),
    TensorType(1, "f16", 1, 2, _halves(0)),
    TensorType(2, "q4_0", 32, 18, _halves(0)),
    TensorType(3, "q4_1", 32, 20, _halves(0, 2)),
    TensorType(6, "q5_0", 32, 22, _halves(0)),
    TensorType(7, "q5_1", 32, 24, _halves(0, 2)),
    TensorType(8, "q8_0", 32, 34, _halves(0)),
    TensorType(9, "q8_1", 32, 36, _halves(0, 2)),
    TensorType(10, "q2_k", 256, 84, _halves(80, 82)),
    TensorType(11, "q3_k", 256, 110, _halves(108)),
    TensorType(12, "q4_k", 256, 144, _halves(0, 2)),
    TensorType(13, "q5_k", 256, 176, _halves(0, 2)),
    TensorType(14, "q6_k", 256, 210, _halves(208)),
    TensorType(15, "q8_k", 256, 292, None),
    TensorType(16, "iq2_xxs", 256, 66, None),
    TensorType(17, "iq2_xs", 256, 74, None),
    TensorType(18, "iq3_xxs", 256, 98, None),
    TensorType(19, "iq1_s", 256, 50, None),
    TensorType(20, "iq4_nl", 32, 18, _halves(0)),
    TensorType(21, "iq3_s", 256, 110, _halves(0)),
    TensorType(22, "iq2_s", 256, 82, _halves(0)),
    TensorType(23, "iq4_xs", 256, 136, _halves(0, 2)),
    TensorType(24, "i8", 1, 1, ()),
    TensorType(25, "i16", 1, 2, _halves(0)),
    TensorType(26, "i32", 1, 4, ((0, 4),)),
    TensorType(27, "i64", 1, 8, ((0, 8),)),
    TensorType(28, "f64", 1, 8, ((0, 8),)),
    TensorType(29, "iq1_m", 256, 56, None),
    TensorType(30, "bf16", 1, 2, _halves(0)),
    TensorType(34, "tq1_0", 256, 54, _halves(52)),
    TensorType(35, "tq2_0", 256, 66, _halves(64)),
    TensorType(39, "mxfp4", 32, 17, ()),
    TensorType(40, "nvfp4", 64, 36, ()),
    TensorType(41, "q1_0", 128, 18, _halves(0)),
    TensorType(42, "q2_0", 64, 18, _halves(0)),
)

TYPES_BY_ID = {kind.id: kind for kind in TENSOR_TYPES}
TYPES_BY_NAME = {kind.name: kind for kind in TENSOR_TYPES}

# Ids that once meant something: their files must be converted again, so say so instead of "unknown".
REMOVED_TYPES = {
    4: "q4_2",
    5: "q4_3",
    31: "q4_0_4_4",
    32: "q4_0_4_8",
    33: "q4_0_8_8",
    36: "iq4_nl_4_4",
    37: "iq4_nl_4_8",
    38: "iq4_nl_8_8",
}
