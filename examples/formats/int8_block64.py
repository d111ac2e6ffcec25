# SPDX-License-Identifier: Apache-2.0
"""INT8 in blocks of 64: one scale for 64 signed bytes, as wgpu-llm stores weights.

Tutorial: docs/tutorials/int8-blocks.md.
"""

from lumen_mlir.formats.dsl import Codes, f16, quant_format, u8


@quant_format("int8_block64", block=64, bits=8, bias=-128, size=66)
class Int8Block64:
    """weight = d * q, for signed bytes q; flipping the top bit of q makes it an unsigned code."""

    d: f16
    qs: u8[64]

    def decode(b):
        return Codes(b.qs ^ 0x80, scale=b.d)
