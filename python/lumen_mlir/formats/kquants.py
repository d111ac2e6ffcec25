# SPDX-License-Identifier: Apache-2.0
"""ggml's K formats: blocks of 256 weights, integer scales per group of 16 or 32 under a float per block."""

from .dsl import Codes, bitcast, concat, f16, i8, quant_format, u8, unpack


def scales_and_minima(scales):
    """The 8 scales and 8 minima of 6 bits that q4_k and q5_k keep in 12 bytes.

    Bytes 0-3 hold scales 0-3 and bytes 4-7 minima 0-3 in their low 6 bits; bytes 8-11 hold the low nibbles
    of scales (low) and minima (high) 4-7, whose top 2 bits are the top bits of bytes 0-3 and 4-7.
    """
    scale, minimum, low = scales[0:4], scales[4:8], scales[8:12]
    return (
        concat(scale & 63, (low & 15) | ((scale >> 2) & 0x30)),
        concat(minimum & 63, (low >> 4) | ((minimum >> 2) & 0x30)),
    )


@quant_format("q2_k", block=256, group=16, bits=2, ggml_type=10, size=84)
class Q2_K:
    """Scales in the low, minima in the high nibbles of ``scales``."""

    scales: u8[16]
    qs: u8[64]
    d: f16
    dmin: f16

    def decode(b):
        codes = unpack(b.qs, 2, chunk=32)
        return Codes(codes, scale=(b.d, b.scales & 15), min=(b.dmin, b.scales >> 4))


@quant_format("q3_k", block=256, group=16, bits=3, bias=-4, ggml_type=11, size=110)
class Q3_K:
    """The third bits are in ``hmask``, one bit position per 32 weights; scales are 6 bits less 32."""

    hmask: u8[32]
    qs: u8[64]
    scales: u8[12]
    d: f16

    def decode(b):
        codes = unpack(b.qs, 2, chunk=32) | (unpack(b.hmask, 1) << 2)
        scales = unpack(b.scales[0:8], 4) | (unpack(b.scales[8:12], 2) << 4)
        return Codes(codes, scale=(b.d, bitcast(scales, i8) - 32))


@quant_format("q4_k", block=256, group=32, bits=4, ggml_type=12, size=144)
class Q4_K:
    """Every 32 bytes hold 64 weights: 32 low nibbles, then 32 high ones."""

    d: f16
    dmin: f16
    scales: u8[12]
    qs: u8[128]

    def decode(b):
        scale, minimum = scales_and_minima(b.scales)
        return Codes(unpack(b.qs, 4, chunk=32), scale=(b.d, scale), min=(b.dmin, minimum))


@quant_format("q5_k", block=256, group=32, bits=5, ggml_type=13, size=176)
class Q5_K:
    """As q4_k; the fifth bits are in ``qh``, one bit position per group."""

    d: f16
    dmin: f16
    scales: u8[12]
    qh: u8[32]
    qs: u8[128]

    def decode(b):
        scale, minimum = scales_and_minima(b.scales)
        codes = unpack(b.qs, 4, chunk=32) | (unpack(b.qh, 1) << 4)
        return Codes(codes, scale=(b.d, scale), min=(b.dmin, minimum))


@quant_format("q6_k", block=256, group=16, bits=6, bias=-32, ggml_type=14, size=210)
class Q6_K:
    """Four low bits in ``ql`` (64 bytes per 128 weights), two high bits in ``qh``."""

    ql: u8[128]
    qh: u8[64]
    scales: i8[16]
    d: f16

    def decode(b):
        codes = unpack(b.ql, 4, chunk=64) | (unpack(b.qh, 2, chunk=32) << 4)
        return Codes(codes, scale=(b.d, b.scales))
