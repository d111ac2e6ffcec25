# SPDX-License-Identifier: Apache-2.0
"""ggml's IQ1, IQ2 and IQ3 formats: groups of 8 or 4 weights are points of a codebook, often with signs apart.

A point's coordinates take few values, so a decoded weight is a code of 3 or 4 bits into a table: the level of
the coordinate, plus the number of levels where the sign is negative.
"""

import numpy as np

from .codebooks import codebook
from .dsl import Codes, bitcast, f16, f32, lookup, quant_format, repeat, u8, u16, u32, unpack


def signed(levels):
    return (*levels, *(-level for level in levels))


# A coordinate of IQ1 is -1, 0 or 1, plus or minus an eighth; in eighths, plus first.
IQ1_TABLE = (-7, 1, 9, -9, -1, 7)
IQ2_TABLE = signed((8, 25, 43))
IQ3_XXS_TABLE = signed((4, 12, 20, 28, 36, 44, 52, 62))
IQ3_S_TABLE = signed((1, 3, 5, 7, 9, 11, 13, 15))


def bit_fields(words, width, count):
    """``count`` fields of ``width`` bits of every word, low bits first."""
    shifts = np.tile(np.arange(count) * width, len(words))
    return (repeat(words, count) >> shifts) & ((1 << width) - 1)


def even_signs(fields):
    """256 sign bits of 32 fields of 7 bits, each with an eighth bit that makes the number of ones even."""
    fields = u8(fields)
    parity = fields ^ (fields >> 4)
    parity = parity ^ (parity >> 2)
    parity = (parity ^ (parity >> 1)) & 1
    return unpack(fields | (parity << 7), 1, chunk=1)


def odd(scales):
    """2 s + 1, for scales that are multiples of a half: 0.5 + s."""
    return u8(scales) * 2 + 1


@quant_format("iq3_s", block=256, group=32, bits=4, table=IQ3_S_TABLE, ggml_type=21, size=110)
class IQ3_S:
    """Points of 9 bits, the ninth in ``qh``; one sign bit per weight."""

    d: f16
    qs: u8[64]
    qh: u8[8]
    signs: u8[32]
    scales: u8[4]

    def decode(b):
        index = u16(b.qs) | (u16(unpack(b.qh, 1, chunk=1)) << 8)
        codes = lookup(codebook("iq3_s"), index) | (unpack(b.signs, 1, chunk=1) << 3)
        return Codes(codes, scale=(b.d, odd(unpack(b.scales, 4, chunk=1))))


@quant_format("iq3_xxs", block=256, group=32, bits=4, table=IQ3_XXS_TABLE, ggml_type=18, size=98)
class IQ3_XXS:
    """Points of 8 bits; ``signs`` holds four sign fields of 7 bits and a scale of 4 per group."""

    d: f16
    qs: u8[64]
    signs: u32[8]

    def decode(b):
        codes = lookup(codebook("iq3_xxs"), b.qs) | (even_signs(bit_fields(b.signs, 7, 4)) << 3)
        return Codes(codes, scale=(f32(b.d) * 0.25, odd(b.signs >> 28)))


@quant_format("iq2_s", block=256, group=16, bits=3, table=IQ2_TABLE, ggml_type=22, size=82)
class IQ2_S:
    """Points of 10 bits, the top two in ``qh``; one sign bit per weight."""

    d: f16
    qs: u8[32]
    signs: u8[32]
    qh: u8[8]
    scales: u8[8]

    def decode(b):
        index = u16(b.qs) | (u16(unpack(b.qh, 2, chunk=1)) << 8)
        codes = lookup(codebook("iq2_s"), index) + unpack(b.signs, 1, chunk=1) * 3
        return Codes(codes, scale=(f32(b.d) * 0.125, odd(unpack(b.scales, 4, chunk=1))))


@quant_format("iq2_xs", block=256, group=16, bits=3, table=IQ2_TABLE, ggml_type=17, size=74)
class IQ2_XS:
    """Points of 9 bits and sign fields of 7."""

    d: f16
    qs: u16[32]
    scales: u8[8]

    def decode(b):
        codes = lookup(codebook("iq2_xs"), b.qs & 511) + even_signs(b.qs >> 9) * 3
        return Codes(codes, scale=(f32(b.d) * 0.125, odd(unpack(b.scales, 4, chunk=1))))


@quant_format("iq2_xxs", block=256, group=32, bits=3, table=IQ2_TABLE, ggml_type=16, size=66)
class IQ2_XXS:
    """Per group four points of 8 bits, then four sign fields of 7 bits and a scale of 4."""

    d: f16
    qs: u32[16]

    def decode(b):
        points, signs = bitcast(b.qs[0::2], u8), b.qs[1::2]
        codes = lookup(codebook("iq2_xxs"), points) + even_signs(bit_fields(signs, 7, 4)) * 3
        return Codes(codes, scale=(f32(b.d) * 0.125, odd(signs >> 28)))


@quant_format("iq1_s", block=256, group=32, bits=3, table=IQ1_TABLE, ggml_type=19, size=50)
class IQ1_S:
    """Points of 11 bits, the top three in ``qh`` with a scale of 3 bits and the sign of the eighths."""

    d: f16
    qs: u8[32]
    qh: u16[8]

    def decode(b):
        index = u16(b.qs) | (bit_fields(b.qh, 3, 4) << 8)
        codes = lookup(codebook("iq1"), index) + repeat(u8(b.qh >> 15), 32) * 3
        return Codes(codes, scale=(f32(b.d) * 0.125, odd((b.qh >> 12) & 7)))


@quant_format("iq1_m", block=256, group=16, bits=3, table=IQ1_TABLE, ggml_type=29, size=56)
class IQ1_M:
    """As iq1_s with a sign per point; the f16 scale is spread over the top nibbles of ``scales``."""

    qs: u8[32]
    qh: u8[16]
    scales: u16[4]

    def decode(b):
        high = unpack(b.qh, 4, chunk=1)
        index = u16(b.qs) | (u16(high & 7) << 8)
        codes = lookup(codebook("iq1"), index) + repeat(high >> 3, 8) * 3
        s0, s1, s2, s3 = b.scales
        d = bitcast((s0 >> 12) | ((s1 >> 8) & 0xF0) | ((s2 >> 4) & 0xF00) | (s3 & 0xF000), f16)
        return Codes(codes, scale=(f32(d) * 0.125, odd(bit_fields(b.scales, 3, 4))))
