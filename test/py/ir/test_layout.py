# SPDX-License-Identifier: Apache-2.0
"""The bound layout: numbers that the dialect's verifiers take too, and what it refuses."""

import pytest

from lumen_mlir import formats, ir
from lumen_mlir._mlir import layout
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache, packing


def test_constants():
    assert (layout.SPAN, layout.ALIGNMENT) == (32, 64)
    assert (layout.CACHE_BLOCK, layout.CACHE_PAGE) == (16, 64)
    assert (layout.CACHE_GROUP, layout.KEY_BIAS) == (32, 128)
    assert [layout.align(size) for size in (0, 1, 64, 65)] == [0, 64, 64, 128]


def test_blocks():
    assert layout.cache_block("f16", True, 80) == [80, 16]
    assert layout.cache_block("f32", False, 80) == [16, 80]
    # Codes of 16 positions, and three scales of each.
    assert layout.cache_block("i8", True, 80) == [16 * (80 + 3 * 2)] and layout.cache_groups(80) == 3
    for head_size in (0, -4, 6, 1 << 40):
        with pytest.raises(ValueError, match=f"a block of i8 has no heads of {head_size} values"):
            layout.cache_block("i8", True, head_size)
    with pytest.raises(
        LumenError, match="needs heads of a multiple of 4 values, but the model has heads of 6"
    ):
        kv_cache.get("q8_0").block("key", 6)


@pytest.mark.parametrize("name", ["q6_k", "q4_0", "bf16"])
@pytest.mark.parametrize("step", [1, 4, 8])
def test_bytes_are_those_of_the_dialect(name, step):
    """The verifier of lumen.from_bytes takes as many bytes as the binding says, and no others."""
    fmt = formats.get(name)
    element = name if fmt.is_float else f"!lumen.q<@{name}>"
    packed = f"tensor<35x512x{element}, {packing.Tile(16, step)}>"
    size = packing.packed_bytes(fmt, 35, 512, 16, step)
    text = f"""{"" if fmt.is_float else fmt.emit_ir()}
    func.func private @f(%b: memref<SIZExi8>) {{
      %w = lumen.from_bytes %b : memref<SIZExi8> -> {packed}
      return
    }}"""
    with ir.Context():
        ir.Module.parse(text.replace("SIZE", str(size)))
        with pytest.raises(
            ir.MLIRError, match=f"must hold the weight exactly .{size} bytes., got {size + 64}"
        ):
            ir.Module.parse(text.replace("SIZE", str(size + 64)))


def test_refusals():
    with pytest.raises(ValueError, match="weights have elements of f32, f16 or bf16"):
        layout.PackedLayout(None, "i8", 16, 4)
    with pytest.raises(ValueError, match="the text of one lumen.format was expected"):
        layout.PackedLayout("", "", 16, 4)
    with pytest.raises(ValueError, match="rows must be a power of two of at most 64, got 3"):
        layout.PackedLayout(None, "f32", 3, 1)
    with pytest.raises(ValueError, match="block must be a multiple of 32, got 8"):
        text = formats.get("q8_0").emit_ir().replace("block(32)", "block(8)")
        layout.PackedLayout(text, "", 16, 4)
    q8_0 = layout.PackedLayout(formats.get("q8_0").emit_ir(), "", 16, 4)
    for rows, columns in ((0, 32), (1, 0), (1, 33)):
        with pytest.raises(ValueError, match=f"no weight of {rows} x {columns} in blocks of 32"):
            q8_0.bytes(rows, columns)
        with pytest.raises(ValueError, match=f"no weight of {rows} x {columns} in blocks of 32"):
            layout.raw_bytes(formats.get("q8_0").emit_ir(), rows, columns)
    assert layout.raw_bytes(formats.get("q8_0").emit_ir(), 3, 64) == 3 * 2 * 34
    with pytest.raises(ValueError, match="there is no weight of so many elements"):
        q8_0.components(1 << 40, 1 << 40)
    with pytest.raises(ValueError, match="a #lumen.target was expected"):
        layout.tile("1 : i64", None, "f16")
    with pytest.raises(ValueError, match="invalid attribute name"):
        layout.tile("#", None, "f16")
