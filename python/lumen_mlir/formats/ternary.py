# SPDX-License-Identifier: Apache-2.0
"""ggml's formats of one to two bits without a codebook: binary, ternary and four-valued weights."""

import numpy as np

from .dsl import Codes, concat, f16, quant_format, tile, u8, u16, unpack


def trits(packed, count):
    """The first ``count`` base-3 digits of all bytes, then the second ones, …; a byte is 256 * 0.ttttt."""
    powers = np.repeat(3 ** np.arange(count), len(packed))
    return u8((u16(tile(packed, count) * powers) * 3) >> 8)


@quant_format("tq1_0", block=256, bits=2, bias=-1, ggml_type=34, size=54)
class TQ1_0:
    """Ternary, five weights per byte (four in ``qh``)."""

    qs: u8[48]
    qh: u8[4]
    d: f16

    def decode(b):
        return Codes(concat(trits(b.qs[:32], 5), trits(b.qs[32:], 5), trits(b.qh, 4)), scale=b.d)


@quant_format("tq2_0", block=256, bits=2, bias=-1, ggml_type=35, size=66)
class TQ2_0:
    """Ternary (or four values) in two bits."""

    qs: u8[64]
    d: f16

    def decode(b):
        return Codes(unpack(b.qs, 2, chunk=32), scale=b.d)


@quant_format("q1_0", block=128, bits=1, table=(-1, 1), ggml_type=41, size=18)
class Q1_0:
    """One bit per weight: -d or d."""

    d: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 1, chunk=1), scale=b.d)


@quant_format("q2_0", block=64, bits=2, bias=-1, ggml_type=42, size=18)
class Q2_0:
    """Two bits per weight: -d, 0, d or 2 d."""

    d: f16
    qs: u8[16]

    def decode(b):
        return Codes(unpack(b.qs, 2, chunk=1), scale=b.d)
