# SPDX-License-Identifier: Apache-2.0
"""INT8 with one scale per output channel, that is per row of a weight matrix.

Tutorial: docs/tutorials/int8-channels.md, which also calibrates the scales.
"""

from lumen_mlir.formats.dsl import Codes, f32, per_row, quant_format, u8


@quant_format("int8_channel", block=32, bits=8, bias=-128, size=32)
class Int8Channel:
    """weight = d * q, with one d for the whole row."""

    d: per_row(f32)
    qs: u8[32]

    def decode(b):
        return Codes(b.qs ^ 0x80, scale=b.d)
