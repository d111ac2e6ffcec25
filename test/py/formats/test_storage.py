# SPDX-License-Identifier: Apache-2.0
"""What the bits of a block hold."""

import pytest

from lumen_mlir.formats import get
from lumen_mlir.formats.dsl import Codes, f16, quant_format, u8, unpack
from lumen_mlir.formats.storage import segments


def labels(name, byte):
    return [segment.label for segment in segments(get(name))[byte]]


@pytest.mark.parametrize(
    ("name", "byte", "expected"),
    [
        ("q4_0", 1, ["S[15:8]"]),
        ("q4_0", 2, ["w16", "w0"]),
        ("q4_1", 2, ["M[7:0]"]),
        ("q5_0", 2, [f"w{i}[4]" for i in range(7, -1, -1)]),
        ("q8_0", 33, ["w31"]),
        ("q2_k", 0, ["m0", "s0"]),
        ("q2_k", 16, ["w96", "w64", "w32", "w0"]),
        ("q3_k", 100, ["s12[3:0]", "s4[3:0]"]),
        ("q4_k", 12, ["m4[3:0]", "s4[3:0]"]),
        ("q6_k", 128, ["w96[5:4]", "w64[5:4]", "w32[5:4]", "w0[5:4]"]),
        ("iq3_s", 2, ["w0…w3"]),
        ("iq2_xxs", 2, ["w0…w7"]),
        ("tq1_0", 0, ["w0 w32 … w128"]),
        ("mxfp4", 0, ["S"]),
        ("q1_0", 2, ["w7", "w6", "w5", "w4", "w3", "w2", "w1", "w0"]),
    ],
)
def test_labels(name, byte, expected):
    """As the layouts of ggml are specified."""
    assert labels(name, byte) == expected


def test_every_bit_and_every_weight_is_drawn(quantized):
    rows = segments(quantized)
    assert len(rows) == quantized.bytes_per_block
    weights, code_bits = set(), []
    for row in rows:
        assert [bit for s in row for bit in range(s.high, s.low - 1, -1)] == list(range(7, -1, -1))
        # The scales of nvfp4 have no sign: their top bits mean nothing.
        assert quantized.name == "nvfp4" or "unused" not in [segment.label for segment in row]
        for segment in row:
            if segment.part == "w":
                weights.update(segment.elements)
                if segment.bits:
                    high, low = segment.bits
                    code_bits += [(segment.elements[0], bit) for bit in range(low, high + 1)]
    assert weights == set(range(quantized.block))
    # A bit of a code is in one place, and a code of plain bits has all of them.
    assert len(code_bits) == len(set(code_bits))
    for weight in {weight for weight, _ in code_bits}:
        bits = {bit for number, bit in code_bits if number == weight}
        assert bits == set(range(quantized.bits))


def test_padding():
    @quant_format("padded", block=32, bits=4, register=False)
    class Padded:
        d: f16
        _pad: u8[1]
        qs: u8[16]

        def decode(b):
            return Codes(unpack(b.qs, 4), scale=b.d)

    assert [segment.label for segment in segments(Padded)[2]] == ["unused"]
