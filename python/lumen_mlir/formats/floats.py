# SPDX-License-Identifier: Apache-2.0
"""The plain element types f32, f16 and bf16, with the interface of a quantization format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ..errors import LumenError
from .arrays import float_array, from_float32, to_float32, whole_length
from .graph import DType, bf16, f16, f32


@dataclass(frozen=True, eq=False)
class FloatFormat:
    """A weight type whose elements are floats; it needs no ``lumen.format``."""

    dtype: DType
    ggml_type: int

    is_float: ClassVar[Literal[True]] = True
    block = group = 1
    table = None

    @property
    def name(self) -> str:
        return self.dtype.name

    @property
    def bits(self) -> int:
        return self.dtype.bits

    @property
    def bytes_per_block(self) -> int:
        return self.dtype.bytes

    @property
    def bits_per_weight(self) -> float:
        return float(self.dtype.bits)

    def packed_bits_per_weight(self, rows: int = 16) -> float:
        return float(self.dtype.bits)

    def emit_ir(self) -> str:
        """Nothing: floats are types of MLIR's own."""
        return ""

    def row_bytes(self, length: int) -> int:
        """Bytes of a row of ``length`` weights."""
        return whole_length(length) * self.dtype.bytes

    def elements(self, raw: np.ndarray) -> np.ndarray:
        """Bytes uint8 [..., K * bytes] as stored elements [..., K] (bf16 as uint16)."""
        if not isinstance(raw, np.ndarray):
            raise LumenError(f"{self.name} data must be an array of bytes, not {type(raw).__name__}")
        if raw.dtype != np.uint8 or not raw.ndim or raw.shape[-1] % self.dtype.bytes:
            raise LumenError(f"{self.name} data must be bytes of whole elements, not {raw.dtype} {raw.shape}")
        return np.ascontiguousarray(raw).view(self.dtype.numpy)

    def dequantize(self, raw: np.ndarray) -> np.ndarray:
        """Bytes uint8 [..., K * bytes] -> float32 [..., K]."""
        return to_float32(self.elements(raw), self.dtype)

    def quantize(self, weights: np.ndarray) -> np.ndarray:
        """float32 [..., K] -> bytes uint8 [..., K * bytes], rounded to the nearest even."""
        values = from_float32(float_array(weights).astype(np.float32, copy=False), self.dtype)
        return np.ascontiguousarray(values).view(np.uint8)


FLOATS = {dtype.name: FloatFormat(dtype, ggml) for dtype, ggml in ((f32, 0), (f16, 1), (bf16, 30))}
