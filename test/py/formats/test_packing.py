# SPDX-License-Identifier: Apache-2.0
"""The packed layout: each byte where the specification puts it, and back."""

import numpy as np
import pytest
from format_samples import random_rows, same_floats

from lumen_mlir.errors import LumenError
from lumen_mlir.formats import get
from lumen_mlir.formats.packing import PLANES, components, dequantize_packed, pack, packed_bytes, unpack


def make(fmt, n, columns, seed=0):
    raw = random_rows(fmt, n, max(1, columns // fmt.block), seed)
    return raw, raw.shape[1] // fmt.bytes_per_block * fmt.block


@pytest.mark.parametrize(("n", "rows"), [(1, 4), (16, 16), (35, 16), (13, 8), (5, 16), (3, 1)])
def test_roundtrip(fmt, n, rows):
    raw, k = make(fmt, n, 512)
    packed = pack(fmt, raw, rows)
    assert packed.dtype == np.uint8 and packed.shape == (packed_bytes(fmt, n, k, rows),)
    assert same_floats(dequantize_packed(fmt, packed, n, k, rows), fmt.dequantize(raw))
    unpacked = unpack(fmt, packed, n, k, rows)
    if fmt.is_float:
        assert unpacked.tobytes() == raw.tobytes()
        return
    decoded = fmt.decode_codes(raw)
    assert np.array_equal(decoded.codes, unpacked.codes)
    for name, _ in fmt.factors:
        for expected, actual in zip(getattr(decoded, name), getattr(unpacked, name), strict=True):
            assert (expected is None) == (actual is None)
            assert expected is None or expected.tobytes() == actual.tobytes()


def slow_code_planes(codes, bits, rows):
    """The code planes written down from the specification, one code at a time."""
    n, k = codes.shape
    planes, offset = [], 0
    for width in PLANES[bits]:
        plane = np.zeros((-(-n // rows), k // 32, width, rows, 4), dtype=np.uint8)
        for row, column in np.ndindex(n, k):
            span, inside = divmod(column, 32)
            step, k4 = divmod(inside, 4)
            load, slot = divmod(step, 8 // width)
            field = (int(codes[row, column]) >> offset) & ((1 << width) - 1)
            plane[row // rows, span, load, row % rows, k4] |= field << (slot * width)
        planes.append(plane.tobytes())
        offset += width
    return planes


def test_codes_follow_the_specification(quantized):
    n, rows = 5, 4
    raw, k = make(quantized, n, 64, seed=3)
    packed = pack(quantized, raw, rows)
    planes = slow_code_planes(quantized.decode_codes(raw).codes, quantized.bits, rows)
    parts = {c.name: c.view(packed).tobytes() for c in components(quantized, n, k, rows)}
    assert [parts[f"codes.{i}"] for i in range(len(planes))] == planes


def test_scales_and_alignment(quantized):
    n, rows = 5, 4
    raw, k = make(quantized, n, 512, seed=4)
    packed, decoded = pack(quantized, raw, rows), quantized.decode_codes(raw)
    end = 0
    for component in components(quantized, n, k, rows):
        assert component.offset == -(-end // 64) * 64
        assert not packed[end : component.offset].any()
        end = component.offset + component.bytes
        factor, _, level = component.name.partition(".")
        if factor == "codes":
            continue
        array = getattr(decoded, factor)[level == "sub"]
        lanes = component.view(packed)
        assert lanes.shape == (2, array.shape[1], rows)
        for row in range(2 * rows):
            column = lanes[row // rows, :, row % rows]
            assert column.tobytes() == (array[row].tobytes() if row < n else bytes(column.nbytes))
    assert -(-end // 64) * 64 == len(packed)


def test_component_shapes():
    shapes = {c.name: (c.offset, c.shape, str(c.dtype)) for c in components(get("q6_k"), 20, 512, 16)}
    assert shapes == {
        "codes.0": (0, (2, 16, 2, 2, 16, 4), "uint8"),
        "codes.1": (8192, (2, 16, 2, 16, 4), "uint8"),
        "scale.super": (12288, (2, 2, 16), "float16"),
        "scale.sub": (12416, (2, 32, 16), "int8"),
    }
    assert packed_bytes(get("q6_k"), 20, 512, 16) == 12416 + 1024
    (values,) = components(get("bf16"), 3, 7, 16)
    assert (values.shape, values.bytes) == ((1, 7, 16), 224)


def test_packed_size(quantized):
    """Planes hold the codes' own bits, factors at most two bytes per group and four per block."""
    factors = len(list(quantized.factors))
    limit = quantized.bits + factors * (16 / quantized.group + 32 / quantized.block)
    assert quantized.bits < quantized.packed_bits_per_weight() <= limit


def test_refusals():
    q8_0 = get("q8_0")
    with pytest.raises(LumenError, match="row of 48 weights is not a multiple of the block of q8_0, 32"):
        components(q8_0, 4, 48, 16)
    with pytest.raises(LumenError, match="cannot pack a weight of 4 x 64 in tiles of 0 rows"):
        components(q8_0, 4, 64, 0)
    with pytest.raises(LumenError, match="pack expects rows of bytes"):
        pack(q8_0, np.zeros(34, dtype=np.uint8), 16)
    with pytest.raises(LumenError, match=r"packed q8_0 weight of 4 x 64 has 2176 bytes, not \(5,\)"):
        unpack(q8_0, np.zeros(5, dtype=np.uint8), 4, 64, 32)
