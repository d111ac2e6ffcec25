# SPDX-License-Identifier: Apache-2.0
"""Four-bit floats with a small float as scale: OCP's MXFP4 and NVIDIA's NVFP4."""

from .dsl import Codes, bitcast, equal, f16, f32, quant_format, u8, u16, u32, unpack, where

# Twice the values of E2M1, so that they are integers; the scales are halved.
E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


@quant_format("mxfp4", block=32, bits=4, table=E2M1_DOUBLED, ggml_type=39, size=17)
class MXFP4:
    """The scale is 2^(e - 128), a subnormal float for e of 0 and 1."""

    e: u8
    qs: u8[16]

    def decode(b):
        e = u32(b.e)
        bits = where(e < 2, (e + 1) << 21, (e - 1) << 23)
        return Codes(unpack(b.qs, 4), scale=bitcast(bits, f32))


@quant_format("nvfp4", block=64, group=16, bits=4, table=E2M1_DOUBLED, ggml_type=40, size=36)
class NVFP4:
    """Scales are unsigned E4M3 floats: the bits of an f16 that is 2^8 too small. 0x7F stands for zero."""

    d: u8[4]
    qs: u8[32]

    def decode(b):
        bits = u16(where(equal(b.d, 0x7F), 0, b.d & 0x7F)) << 7
        return Codes(unpack(b.qs, 4, chunk=8), scale=f32(bitcast(bits, f16)) * 128)
