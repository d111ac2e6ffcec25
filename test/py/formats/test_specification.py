# SPDX-License-Identifier: Apache-2.0
"""Values worked out by hand from the byte layout, for formats without an oracle and for a few with one."""

import numpy as np
import pytest

from lumen_mlir import formats


def half(value: float) -> list[int]:
    return list(np.float16(value).tobytes())


def dequantize(name: str, *parts: list[int]) -> np.ndarray:
    return formats.get(name).dequantize(np.array(sum(parts, []), dtype=np.uint8))


def test_q1_0():
    """d, then one bit per weight from the low bit of the first byte: 1 is d, 0 is -d."""
    values = dequantize("q1_0", half(0.5), [0b00000101, 0x80] + [0] * 13 + [0xFF])
    expected = np.full(128, -0.5, dtype=np.float32)
    expected[[0, 2, 15, *range(120, 128)]] = 0.5
    assert np.array_equal(values, expected)


def test_q2_0():
    """d, then two bits per weight from the low bits of the first byte: d * (q - 1)."""
    values = dequantize("q2_0", half(2.0), [0b11100100, 0b00000110] + [0b01010101] * 14)
    assert values[:8].tolist() == [-2.0, 0.0, 2.0, 4.0, 2.0, 0.0, -2.0, -2.0]
    assert not values[8:].any() and len(values) == 64


@pytest.mark.parametrize("name", ["q1_0", "q2_0"])
@pytest.mark.parametrize("scale", [np.inf, -np.inf, np.nan, -0.0, 6e-8])
def test_unusual_scales(name, scale):
    with np.errstate(invalid="ignore"):
        codes = np.array([-1, 1] if name == "q1_0" else [-1, 0, 1, 2], dtype=np.float32)
        expected = np.float32(np.float16(scale)) * codes
    qs = [0b10101010] if name == "q1_0" else [0b11100100]
    values = dequantize(name, half(scale), qs * 16)
    assert np.array_equal(values[: len(codes)], expected, equal_nan=True)
    assert np.array_equal(np.signbit(values[: len(codes)]), np.signbit(expected)) or np.isnan(scale)


def test_q4_0():
    """Low nibbles first, then high ones: d * (q - 8)."""
    values = dequantize("q4_0", half(-1.0), [0xF0 | i for i in range(16)])
    assert values.tolist() == [8.0 - i for i in range(16)] + [-7.0] * 16


def test_q4_k_scales():
    """Eight scales and eight minima of 6 bits in 12 bytes, worked out for group 5."""
    scales = [0] * 12
    scales[1] = 0b10 << 6  # top two bits of scale 5
    scales[5] = 0b01 << 6  # top two bits of minimum 5
    scales[9] = 0x3 | 0x7 << 4  # low nibbles of scale 5 and minimum 5
    qs = [0] * 128
    qs[64 + 4] = 0x90  # groups 4 and 5 share bytes 64 to 95; the high nibble is group 5
    values = dequantize("q4_k", half(1.0), half(2.0), scales, qs)
    assert values[5 * 32 + 4] == 0b100011 * 9 - 2 * 0b010111
    assert values[5 * 32] == -2 * 0b010111
    assert not values[: 5 * 32].any() and not values[6 * 32 :].any()


def test_mxfp4_smallest_scales():
    """Scales 2^(e - 128), which are subnormal for e of 0 and 1; table entry 1 is one."""
    for e in (0, 1, 2, 127, 255):
        assert dequantize("mxfp4", [e], [0x11] * 16)[0] == np.float32(2.0 ** (e - 128))
