# SPDX-License-Identifier: Apache-2.0
"""Formats with fields that stand once per row: quantized, drawn, in files."""

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.formats import quantize as quantizers
from lumen_mlir.formats.dsl import Codes, f16, f32, i8, per_row, quant_format, u8
from lumen_mlir.formats.storage import segments
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.measure.kernel_bench import random_weight


def channel(name="channel", register=False, minimum=False):
    class Channel:
        d: per_row(f32)
        m: per_row(f16)
        qs: u8[32]

        def decode(b):
            return Codes(b.qs, scale=b.d, min=b.m)

    if not minimum:
        del Channel.__annotations__["m"]
        Channel.decode = lambda b: Codes(b.qs ^ 0x80, scale=b.d)
    bias = 0 if minimum else -128
    return quant_format(name, block=32, bits=8, bias=bias, size=32, register=register)(Channel)


def weights(rows=7, columns=160):
    random = np.random.default_rng(0)
    size = np.array([1, 100, 1e-4, 0, 3, 1, 7])[:rows, None]
    return (random.standard_normal((rows, columns)) * size).astype(np.float32)


@pytest.mark.parametrize("minimum", [False, True])
def test_quantizing(minimum):
    fmt, x = channel(minimum=minimum), weights()
    raw = quantizers.quantize(fmt, x)
    assert raw.shape == (7, fmt.row_bytes(160)) == (7, 160 + (6 if minimum else 4))
    error = np.abs(fmt.dequantize(raw) - x).max(axis=1)
    # A step is the range over 255; the 16 bits of a minimum add to that.
    step = (x.max(axis=1) - x.min(axis=1)) / (127 if not minimum else 240) + 1e-30
    assert (error <= step * (1 if minimum else 2)).all()
    assert not fmt.dequantize(raw)[3].any()
    # Rows do not depend on each other.
    assert np.array_equal(quantizers.quantize(fmt, x[2:3]), raw[2:3])


def test_importance():
    fmt, x = channel(), weights()
    importance = np.random.default_rng(1).random(160) ** 6
    plain, weighted = (fmt.dequantize(quantizers.quantize(fmt, x, w)) for w in (None, importance))
    errors = [(importance * (y - x) ** 2).sum(axis=1) for y in (plain, weighted)]
    assert (errors[1] <= errors[0] * 1.001).all() and errors[1].sum() < errors[0].sum()


def test_what_cannot_be_encoded():
    class Mixed:
        d: per_row(f32)
        s: i8[2]
        qs: u8[32]

        def decode(b):
            return Codes(b.qs, scale=(b.d, b.s))

    fmt = quant_format("mixed", block=32, group=16, bits=8, register=False)(Mixed)
    with pytest.raises(LumenError, match="'mixed' cannot be encoded: it has factors of rows and others"):
        quantizers.quantize(fmt, weights())


def test_drawing():
    rows = segments(channel())
    assert len(rows) == 36
    assert [row[0].label for row in rows[:5]] == ["S[7:0]", "S[15:8]", "S[23:16]", "S[31:24]", "w0"]


def test_files(own_registry, tmp_path):
    """The bytes of a tensor are rows, each with its header; other widths are refused with both numbers."""
    fmt = channel(register=True)
    raw, path = quantizers.quantize(fmt, weights()), tmp_path / "channel.gguf"
    writer = GGUFWriter(path)
    writer.add_tensor("w", (7, 160), "channel", lambda: [raw])
    with pytest.raises(LumenError, match="row length 100 is not a multiple of 32, the block size of channel"):
        writer.add_tensor("v", (7, 100), "channel", list)
    writer.write()
    file = GGUFFile.open(path)
    assert file.tensors["w"].nbytes == 7 * 164
    assert np.array_equal(file.raw("w").reshape(7, 164), raw)


def test_random_weights():
    raw = random_weight(channel(minimum=True), 5, 64, np.random.default_rng(0))
    assert raw.shape == (5, 70)
    assert np.isfinite(channel(minimum=True).dequantize(raw)).all()
