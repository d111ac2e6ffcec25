# SPDX-License-Identifier: Apache-2.0
"""The IR of every format, compiled and run, against its NumPy meaning."""

import numpy as np
import pytest
from format_samples import random_rows
from native_decoder import NativeDecoder, needs_tools, results

from lumen_mlir import formats
from lumen_mlir.formats.dsl import (
    Codes,
    bitcast,
    concat,
    equal,
    f16,
    f32,
    i8,
    i16,
    i32,
    lookup,
    quant_format,
    u8,
    u32,
    where,
)


def check_against_numpy(decoder, fmt, blocks):
    decoded = fmt.decode_codes(blocks)
    parts = [decoded.codes, *(p for name, _ in fmt.factors for p in getattr(decoded, name) if p is not None)]
    for row, block in enumerate(blocks):
        for root, actual, expected in zip(results(fmt), decoder.decode(fmt, block), parts, strict=True):
            # Integer factors are completed in 32 bits.
            expected = expected[row] if root.dtype.kind == "f" else expected[row].astype(root.dtype.numpy)
            if root.dtype.kind == "f" and root.dtype.name != "bf16":
                assert np.array_equal(np.isnan(actual), np.isnan(expected))
                actual, expected = np.nan_to_num(actual), np.nan_to_num(expected)
            assert actual.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    quantized = [fmt for fmt in map(formats.get, formats.names()) if not fmt.is_float]
    return NativeDecoder(quantized, tmp_path_factory.mktemp("formats"))


@needs_tools
def test_region_equals_numpy(decoder, quantized):
    check_against_numpy(decoder, quantized, random_rows(quantized, 200, 1, seed=5))


@needs_tools
def test_other_operations(tmp_path):
    """What the built-in formats do not need: joined parts of odd sizes, signed shifts, all conversions, …"""

    @quant_format("joined", block=32, bits=8, register=False)
    class Joined:
        qs: u8[30]
        last: u8
        d: f32

        def decode(b):
            parts = b.qs[27:], b.qs[:7], b.last, b.qs[7:10], b.qs[10:27]
            return Codes(concat(*parts, b.last ^ 1), scale=b.d - f32(b.last) + 0.5)

    @quant_format("signed", block=32, group=8, bits=5, register=False)
    class Signed:
        words: i16[32]
        factors: i8[4]
        d: f16

        def decode(b):
            small = u8((b.words >> 12) + 8)
            swapped = where(b.words < 0, b.words >> 3, b.words << 1)
            codes = where(equal(small & 3, 2), lookup(np.arange(16) * 2 + 1, small), u8(swapped) >> 3)
            wide = i32(b.factors) * 1000 - 7
            return Codes(codes, scale=(b.d, f16(wide >> 2)), min=f32(bitcast(wide, u32)))

    decoder = NativeDecoder([Joined, Signed], tmp_path)
    for fmt in (Joined, Signed):
        check_against_numpy(decoder, fmt, random_rows(fmt, 100, 1))


def test_text_is_compact(quantized):
    """A region is a handful of operations, so that kernels stay small and compile fast."""
    assert len(quantized.emit_ir().splitlines()) <= 72


def test_region_uses_two_dialects(quantized):
    lines = quantized.emit_ir().splitlines()
    assert lines[0].startswith(f"lumen.format @{quantized.name} block({quantized.block}) ")
    assert lines[1].startswith("^bb0(") and lines[-1] == "}"
    operations = {line.split(" = ")[1].split()[0] for line in lines[2:-2]}
    assert {name.split(".")[0] for name in operations - {"lumen.stored"}} <= {"arith", "vector"}
    assert lines[-2].startswith("  lumen.decoded codes(")
