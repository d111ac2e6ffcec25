# SPDX-License-Identifier: Apache-2.0
"""A quantization format with all that follows from its description: what ``quant_format`` makes."""

from __future__ import annotations

from .emit import emit_format
from .floats import FloatFormat
from .packing import packed_bytes
from .quantized import QuantFormat


class DescribedFormat(QuantFormat):
    """A quantization format that is complete: its meaning in NumPy, its IR, its packed layout."""

    def emit_ir(self) -> str:
        """The ``lumen.format`` operation as MLIR text."""
        return emit_format(self)

    def packed_bits_per_weight(self, rows: int = 16) -> float:
        """Bits per weight of a packed tile of ``rows`` long rows, alignment of its components included."""
        length = -(-(1 << 16) // self.block) * self.block
        return 8 * packed_bytes(self, rows, length, rows) / (rows * length)


Format = FloatFormat | DescribedFormat
"""What the registry knows."""
