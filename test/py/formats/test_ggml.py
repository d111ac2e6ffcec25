# SPDX-License-Identifier: Apache-2.0
"""Every built-in format against the independent dequantizers of ``gguf``, bit for bit."""

import inspect

import gguf
import numpy as np
import pytest
from format_samples import random_rows, same_floats

from lumen_mlir import formats
from lumen_mlir.errors import LumenError

# gguf has no Q2_0, and no dequantizer for Q1_0; test_specification.py works their values out.
WITHOUT_ORACLE = {"q1_0", "q2_0"}


def test_sizes(fmt):
    if fmt.name == "q2_0":
        pytest.skip("gguf does not know Q2_0")
    kind = gguf.GGMLQuantizationType(fmt.ggml_type)
    assert kind.name.lower() == fmt.name
    assert (fmt.block, fmt.bytes_per_block) == gguf.GGML_QUANT_SIZES[kind]


def test_random_bytes(fmt):
    if fmt.name in WITHOUT_ORACLE:
        pytest.skip("gguf has no dequantizer for it")
    raw = random_rows(fmt, 1500 if fmt.block < 256 else 300, 8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(fmt.ggml_type))
    actual = fmt.dequantize(raw)
    assert actual.shape == (len(raw), 8 * fmt.block) and actual.dtype == np.float32
    assert same_floats(actual, expected)


def test_non_finite_scales(quantized):
    """Infinite and NaN weights appear, unless the format cannot hold any."""
    if quantized.name in WITHOUT_ORACLE:
        pytest.skip("gguf has no dequantizer for it")
    finite = np.isfinite(quantized.dequantize(random_rows(quantized, 3000, 1))).all()
    assert finite == (quantized.name == "nvfp4")


def test_leading_dimensions(fmt):
    raw = random_rows(fmt, 12, 3, seed=1)
    expected = fmt.dequantize(raw)
    assert same_floats(fmt.dequantize(raw.reshape(2, 6, -1)), expected.reshape(2, 6, -1))
    assert fmt.dequantize(raw[:0]).shape == (0, 3 * fmt.block)
    # Strided input, as a memory-mapped matrix may give.
    assert same_floats(fmt.dequantize(raw[::2]), expected[::2])


def test_decoded_parts(quantized):
    raw = random_rows(quantized, 5, 4, seed=2)
    decoded = quantized.decode_codes(raw)
    width = 4 * quantized.block
    assert decoded.codes.shape == (5, width) and decoded.codes.dtype == np.uint8
    limit = 1 << quantized.bits if quantized.table is None else len(quantized.table)
    assert decoded.codes.max() < limit
    for name, factor in quantized.factors:
        sizes = (quantized.block, quantized.group)
        for array, dtype, size in zip(getattr(decoded, name), factor.types, sizes, strict=True):
            assert (array is None) == (dtype is None)
            if array is not None:
                assert array.shape == (5, width // size) and array.dtype == dtype.numpy
    assert (decoded.min is None) == (quantized.min is None)
    assert same_floats(quantized.dequantize_decoded(decoded), quantized.dequantize(raw))


def test_wrong_sizes(quantized):
    with pytest.raises(LumenError, match=rf"{quantized.bytes_per_block + 1} bytes is not a multiple"):
        quantized.dequantize(np.zeros(quantized.bytes_per_block + 1, dtype=np.uint8))
    with pytest.raises(LumenError, match=rf"row of {quantized.block + 1} weights.*{quantized.block}"):
        quantized.row_bytes(quantized.block + 1)
    with pytest.raises(LumenError, match="must be an array of bytes, not float32"):
        quantized.dequantize(np.zeros(64, dtype=np.float32))


def test_description_is_short(quantized):
    assert len(inspect.getsource(quantized.description).splitlines()) <= 40


def test_all_types_are_known():
    """Every ggml type id is a format, or refused by its name."""
    for kind in gguf.GGMLQuantizationType:
        if kind.name in ("Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"):
            with pytest.raises(LumenError, match=rf"{kind.value} \({kind.name}\) is not a weight format"):
                formats.by_ggml_type(kind.value)
        else:
            assert formats.by_ggml_type(kind.value).name == kind.name.lower()
