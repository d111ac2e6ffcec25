# SPDX-License-Identifier: Apache-2.0
"""The regions of all formats, evaluated, give the weights that the formats' own reference gives."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_mlir import formats, ir
from lumen_mlir.errors import LumenError
from lumen_mlir.reference.blocks import BlockFormat

QUANTIZED = [name for name in formats.names() if not formats.get(name).is_float]


@pytest.mark.parametrize("name", QUANTIZED)
def test_region_means_the_format(name):
    fmt = formats.get(name)
    with ir.Context():
        module = ir.Module.parse(fmt.emit_ir())
        block = BlockFormat(module.body.operations[0])
    assert (block.name, block.block, block.group, block.bytes) == (
        name, fmt.block, fmt.group, fmt.bytes_per_block,
    )  # fmt: skip
    raw = np.random.default_rng(0).integers(0, 256, (1500, fmt.bytes_per_block), dtype=np.uint8)
    raw[0], raw[1] = 0, 255
    codes = fmt.decode_codes(raw).codes
    decoded = block.decode(raw)
    np.testing.assert_array_equal(decoded.codes, codes)
    assert (decoded.minimum is None) == (fmt.min is None)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(block.dequantize(raw), fmt.dequantize(raw))


def test_unknown_operation():
    text = """
    lumen.format @f block(32) group(32) bits(8) storage(["d", "qs"]) {
    ^bb0(%d: f16, %qs: vector<32xi8>):
      %c = math.ctpop %qs : vector<32xi8>
      lumen.decoded codes(%c : vector<32xi8>) scale(%d : f16)
    }
    """
    with ir.Context():
        module = ir.Module.parse(text)
        with pytest.raises(LumenError, match=r"does not know 'math.ctpop' in a lumen.format"):
            BlockFormat(module.body.operations[0])
