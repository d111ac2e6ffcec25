# SPDX-License-Identifier: Apache-2.0
"""ggml's IQ4 formats: four-bit codes into a table of 16 values spaced like a bell curve's weights."""

from .dsl import Codes, bitcast, f16, i8, quant_format, u8, u16, unpack

IQ4_VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@quant_format("iq4_nl", block=32, bits=4, table=IQ4_VALUES, ggml_type=20, size=18)
class IQ4_NL:
    """As q4_0 with a table in place of the bias."""

    d: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4), scale=b.d)


@quant_format("iq4_xs", block=256, group=32, bits=4, table=IQ4_VALUES, ggml_type=23, size=136)
class IQ4_XS:
    """Scales of 6 bits less 32: four low bits in ``scales_l``, two high bits in ``scales_h``."""

    d: f16
    scales_h: u16
    scales_l: u8[4]
    qs: u8[128]

    def decode(b):
        scales = unpack(b.scales_l, 4, chunk=1) | (u8(unpack(b.scales_h, 2)) << 4)
        return Codes(unpack(b.qs, 4, chunk=16), scale=(b.d, bitcast(scales, i8) - 32))
