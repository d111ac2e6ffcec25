# SPDX-License-Identifier: Apache-2.0
"""ggml's first formats: blocks of 32 weights with one scale and sometimes a minimum."""

from .dsl import Codes, f16, quant_format, u8, unpack


@quant_format("q8_0", block=32, bits=8, bias=-128, ggml_type=8, size=34)
class Q8_0:
    """Signed bytes; flipping the top bit makes them unsigned codes."""

    d: f16
    qs: u8[32]

    def decode(b):
        return Codes(b.qs ^ 0x80, scale=b.d)


@quant_format("q4_0", block=32, bits=4, bias=-8, ggml_type=2, size=18)
class Q4_0:
    """Low nibbles are weights 0 to 15, high nibbles 16 to 31."""

    d: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4), scale=b.d)


@quant_format("q4_1", block=32, bits=4, ggml_type=3, size=20)
class Q4_1:
    """As q4_0 with a minimum ``m`` that is added."""

    d: f16
    m: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4), scale=b.d, min=-b.m)


@quant_format("q5_0", block=32, bits=5, bias=-16, ggml_type=6, size=22)
class Q5_0:
    """As q4_0 with the fifth bits of all weights in ``qh``."""

    d: f16
    qh: u8[4]
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4) | (unpack(b.qh, 1, chunk=1) << 4), scale=b.d)


@quant_format("q5_1", block=32, bits=5, ggml_type=7, size=24)
class Q5_1:
    """As q5_0 with a minimum ``m`` that is added."""

    d: f16
    m: f16
    qh: u8[4]
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 4) | (unpack(b.qh, 1, chunk=1) << 4), scale=b.d, min=-b.m)
