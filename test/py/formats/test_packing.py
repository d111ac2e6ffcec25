# SPDX-License-Identifier: Apache-2.0
"""The packed layout: each byte where the specification puts it, and back."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from format_samples import random_rows, same_floats

from lumen_mlir._mlir.layout import code_pieces
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import get
from lumen_mlir.formats.dsl import Codes, f16, f32, per_row, quant_format, u8
from lumen_mlir.formats.packing import (
    Tile,
    components,
    dequantize_packed,
    pack,
    packed_bytes,
    stream_bytes,
    tile_of,
    unpack,
)
from lumen_mlir.reference import packed as plain
from lumen_mlir.reference.packed import PLANES, WHOLE


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


def check_plain(fmt, raw, k, *tile):
    """What a decoder finds that is written from the page alone; past the last row there are zeros."""
    n = len(raw)
    packed = pack(fmt, raw, *tile)
    codes, stored = plain.decode(fmt, packed, n, k, *tile)
    if Tile(*tile).signed_codes and not fmt.is_float and fmt.bits == 8:
        codes[n:] ^= 128
    expected = fmt.elements(raw) if fmt.is_float else fmt.decode_codes(raw).codes
    kept = [] if fmt.is_float else fmt.decode_stored(raw)
    for mine, array in zip([codes, *stored], [expected, *kept], strict=True):
        assert mine[:n].tobytes() == array.tobytes() and not mine[n:].any()


@pytest.mark.parametrize("step", [1, 2, 4, 8, 16, 32])
def test_steps(fmt, step):
    """Steps of any size: back again, and the bytes that the page puts there."""
    n, rows = 5, 4
    raw, k = make(fmt, n, 512, seed=2)
    packed = pack(fmt, raw, rows, step)
    assert len(packed) == packed_bytes(fmt, n, k, rows, step)
    assert same_floats(dequantize_packed(fmt, packed, n, k, rows, step), fmt.dequantize(raw))
    check_plain(fmt, raw, k, rows, step)


@pytest.mark.parametrize(("signed", "whole"), [(True, False), (False, True), (True, True)])
def test_codes_without_planes(fmt, signed, whole):
    """Signed bytes, and whole codes: back again, and the bytes that the page puts there."""
    tile = Tile(4, 4, signed, whole)
    if fmt.is_float:
        return
    raw, k = make(fmt, 6, 512, seed=3)
    packed = pack(fmt, raw, *tile)
    assert len(packed) == packed_bytes(fmt, 6, k, *tile) == packed_bytes(fmt, 6, k, 4)
    assert same_floats(dequantize_packed(fmt, packed, 6, k, *tile), fmt.dequantize(raw))
    check_plain(fmt, raw, k, *tile)
    differs = (signed and fmt.bits == 8) or (whole and fmt.bits in WHOLE)
    assert np.array_equal(packed, pack(fmt, raw, 4, 4)) != differs


@pytest.mark.parametrize("bits", WHOLE)
def test_pieces_of_whole_codes(bits):
    """Each bit of the loads belongs to one code, and the compiler has them where the page has."""
    steps = code_pieces(bits)
    taken = sorted((load, bit + i) for pieces in steps for load, bit, n in pieces for i in range(n))
    assert taken == [(load, bit) for load in range(bits) for bit in range(8)]
    assert all(sum(n for _, _, n in pieces) == bits for pieces in steps) and len(steps) == 8
    text = " ".join(",".join(f"{at}.{low + n - 1}:{low}" for at, low, n in pieces) for pieces in steps)
    assert text == WHOLE[bits]


@pytest.mark.parametrize("bits", [0, 1, 4, 8, 9])
def test_no_pieces(bits):
    with pytest.raises(ValueError, match="codes of 3, 5, 6 or 7 bits can lie whole"):
        code_pieces(bits)


@pytest.mark.parametrize(
    ("name", "rows"), [("q8_0", 1), ("q6_k", 16), ("q4_k", 32), ("q3_k", 8), ("f16", 64)]
)
def test_tiles_of_any_size(name, rows):
    """What is with the spans depends on the rows of a tile."""
    raw, k = make(get(name), 70, 512, seed=2)
    for step in (1, 4, 8):
        check_plain(get(name), raw, k, rows, step)


def test_steps_of_floats_end_with_zeros():
    """Columns that are no multiple of a step."""
    raw = random_rows(get("f32"), 3, 7, 1)
    packed = pack(get("f32"), raw, 2, 4)
    assert packed.size == 128 and unpack(get("f32"), packed, 3, 7, 2, 4).tobytes() == raw.tobytes()
    (part,) = components(get("f32"), 3, 7, 2, 4)
    assert part.shape == (2, 2, 2, 4) and not part.view(packed)[:, 1, :, 3].any()


def test_tiles():
    """What kernels take, as the attribute says it."""
    assert Tile.of(get("q8_0"), 16) == Tile(16, 4) and Tile.of(get("bf16"), 8) == Tile(8, 1)
    assert str(Tile(16, 4)) == "#lumen.packed<rows = 16, k = 4>"
    for codes in ((True, False), (False, True), (True, True)):
        assert Tile.parse(str(Tile(8, 4, *codes))) == Tile(8, 4, *codes)
    assert (
        str(Tile(8, 4, True, True))
        == "#lumen.packed<rows = 8, k = 4, signed_codes = true, whole_codes = true>"
    )
    assert Tile.parse("tensor<8x8xf16, #lumen.packed<rows = 8>>") == Tile(8, 1)
    assert Tile.parse(f"tensor<8x8x!lumen.q<@q8_0>, {Tile(8, 2)}>") == Tile(8, 2)
    assert Tile.parse("tensor<8x8xf16>") is None
    target = targets.get("x86-64-v3").attribute()
    # Two vectors of rows; one where a span has several groups.
    assert tile_of(get("q4_k"), target) == Tile(16, 4) and tile_of(get("q6_k"), target) == Tile(8, 4)
    assert tile_of(get("f16"), target) == Tile(16, 1)
    # As the instructions of 64-bit ARM take codes: of a byte signed, others whole.
    target = targets.get("armv8.2-a+dotprod").attribute()
    assert tile_of(get("q8_0"), target) == Tile(8, 4, True)
    assert tile_of(get("q5_0"), target) == Tile(8, 4, False, True)
    assert tile_of(get("q4_0"), target) == Tile(8, 4) and tile_of(get("f16"), target) == Tile(8, 1)
    target = targets.get("armv8.6-a+i8mm").attribute()
    assert tile_of(get("q8_0"), target) == Tile(8, 4, True)
    assert tile_of(get("q6_k"), target) == Tile(4, 4, False, True)
    with pytest.raises(ValueError, match="a #lumen.target was expected"):
        tile_of(get("f16"), "1 : i64")


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


def slow_factors(fmt, raw):
    """What is kept of the factors, by component, written down from the specification one entry at a time."""
    groups, factors = fmt.block // fmt.group, {}
    exact, whole = fmt.block * fmt.bits, fmt.block * fmt.bits
    for kept in fmt.stored:
        width, count = 8 * kept.value.dtype.numpy.itemsize, groups if kept.value.length else 1
        exact += count * (kept.bits if kept.value.length else width)
        whole += count * width
    for kept, array in zip(fmt.stored, fmt.decode_stored(raw), strict=True):
        if kept.value.length is None or kept.bits >= 8 or whole <= 1.03 * exact:
            factors[kept.name] = array
            continue
        offset = 0
        for i, width in enumerate(PLANES[kept.bits]):
            plane = np.zeros((len(array), array.shape[1] * width // 8), dtype=np.uint8)
            for row, group in np.ndindex(array.shape):
                byte, slot = divmod(group, 8 // width)
                field = int(array[row, group]) >> offset & ((1 << width) - 1)
                plane[row, byte] |= field << (slot * width)
            factors[f"{kept.name}.{i}"] = plane
            offset += width
    return factors


def test_scales(quantized):
    n, rows = 5, 4
    raw, k = make(quantized, n, 512, seed=4)
    packed = pack(quantized, raw, rows)
    for component in components(quantized, n, k, rows):
        if component.name.startswith("codes"):
            continue
        array = slow_factors(quantized, raw)[component.name]
        lanes = component.view(packed)
        assert lanes.shape[0] == 2 and lanes.shape[-1] == rows
        lanes = lanes.reshape(2, array.shape[1], rows)
        for row in range(2 * rows):
            column = lanes[row // rows, :, row % rows]
            assert column.tobytes() == (array[row].tobytes() if row < n else bytes(column.nbytes))


def test_streams(quantized):
    """Every byte belongs to one component but those that fill up the end of a stream, and they are zeros."""
    n, rows = 5, 4
    raw, k = make(quantized, n, 512, seed=4)
    packed, streams = pack(quantized, raw, rows), {}
    owners = np.zeros(len(packed), np.uint8)
    for component in components(quantized, n, k, rows):
        itemsize = component.dtype.itemsize
        shape, strides = (*component.shape, itemsize), (*component.strides, 1)
        owned = replace(component, shape=shape, strides=strides, dtype=np.dtype(np.uint8)).view(owners)
        owned += 1
        tile, unit = component.strides[:2]
        streams.setdefault((tile, unit), []).append(component)
    assert (owners <= 1).all() and not packed[owners == 0].any()
    assert np.count_nonzero(owners == 0) < 64 * len(streams)
    end = 0
    for (tile, unit), parts in streams.items():
        begin = min(part.offset for part in parts)
        assert begin == -(-end // 64) * 64 and tile == unit * parts[0].shape[1]
        assert all(begin <= part.offset < begin + unit for part in parts)
        end = begin + 2 * tile
    assert -(-end // 64) * 64 == len(packed)


def layout(name, rows):
    return {
        c.name: (c.offset, c.shape, c.strides, str(c.dtype)) for c in components(get(name), 40, 512, rows)
    }


def test_layouts():
    # Halves of 64 bytes of the upper plane and 128 of the lower one; spans with scales would have 416 bytes.
    assert layout("q6_k", 16) == {
        "codes.0": (64, (3, 16, 2, 2, 16, 4), (6144, 384, 192, 64, 4, 1), "uint8"),
        "codes.1": (0, (3, 16, 2, 16, 4), (6144, 384, 192, 4, 1), "uint8"),
        "scale.super": (18432, (3, 2, 1, 16), (576, 288, 32, 2), "float16"),
        "scale.sub": (18464, (3, 2, 16, 16), (576, 288, 16, 1), "int8"),
    }
    assert packed_bytes(get("q6_k"), 40, 512, 16) == 18432 + 27 * 64
    # A plane of one load comes first, and the scale of a block of one span is in the span.
    assert layout("q5_0", 32) == {
        "codes.0": (128, (2, 16, 2, 2, 32, 4), (11264, 704, 256, 128, 4, 1), "uint8"),
        "codes.1": (0, (2, 16, 32, 4), (11264, 704, 4, 1), "uint8"),
        "scale.super": (640, (2, 16, 1, 32), (11264, 704, 64, 2), "float16"),
    }
    # Scale and minimum of a group are with its span, their units with the block.
    assert layout("q4_k", 32) == {
        "codes.0": (0, (2, 16, 2, 2, 32, 4), (9216, 576, 256, 128, 4, 1), "uint8"),
        "scale.sub": (512, (2, 16, 1, 32), (9216, 576, 32, 1), "int8"),
        "min.sub": (544, (2, 16, 1, 32), (9216, 576, 32, 1), "int8"),
        "scale.super": (18432, (2, 2, 1, 32), (256, 128, 64, 2), "float16"),
        "min.super": (18496, (2, 2, 1, 32), (256, 128, 64, 2), "float16"),
    }
    (values,) = components(get("bf16"), 3, 7, 16)
    assert (values.shape, values.bytes, values.end) == ((1, 7, 16, 1), 224, 224)


def documented_sizes():
    """The table of docs/packed-layout.md: format to (bits in a file, bits packed)."""
    text = (Path(__file__).parents[3] / "docs" / "packed-layout.md").read_text()
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    return {name: (float(raw), float(packed)) for name, raw, packed in rows}


# Codes of several weights in one number, which a kernel could not take apart fast enough.
JOINT_CODES = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "tq1_0")


def test_packed_size(quantized):
    """As documented; a block grows by at most 3 % where every weight has a code of its own."""
    raw, packed = quantized.bits_per_weight, quantized.packed_bits_per_weight()
    assert (round(raw, 4), round(packed, 4)) == documented_sizes()[quantized.name]
    if quantized.name in JOINT_CODES:
        assert packed <= quantized.bits + 0.3125
    else:
        assert packed <= 1.03 * raw


def test_what_is_kept():
    def kept(name):
        return [(each.name, each.bits, each.level) for each in get(name).stored]

    # The byte that an f32 is made of, the nibble behind 2 n + 1, the half behind an f32.
    assert kept("mxfp4") == [("scale.super", 8, "block")]
    assert kept("iq2_xs") == [("scale.super", 16, "block"), ("scale.sub", 4, "group")]
    assert {str(each.value.dtype) for each in get("iq2_xs").stored} == {"f16", "u8"}
    # Six bits less 32.
    assert kept("q3_k")[1] == ("scale.sub", 6, "group")


@quant_format("shared", block=64, group=32, bits=8, register=False)
class Shared:
    """Scale and minimum are made of the same bits, written twice."""

    d: per_row(f32)
    sub: u8[2]
    qs: u8[64]

    def decode(b):
        return Codes(b.qs, scale=(b.d, (b.sub >> 4) + 1), min=(b.d * 0.5, 16 - (b.sub >> 4)))


def test_what_factors_share_is_kept_once():
    assert [(each.name, each.bits, each.level) for each in Shared.stored] == [
        ("scale.super", 32, "row"),
        ("scale.sub", 4, "group"),
    ]
    raw = np.random.default_rng(0).integers(0, 256, (5, Shared.row_bytes(192)), dtype=np.uint8)
    raw[:, :4] = np.linspace(-1, 1, 5, dtype="<f4").view(np.uint8).reshape(5, 4)
    assert same_floats(dequantize_packed(Shared, pack(Shared, raw, 4), 5, 192, 4), Shared.dequantize(raw))
    check_plain(Shared, raw, 192, 4, 4)
    sub, codes = raw[:, 4:].reshape(5, 3, 66)[..., :2] >> 4, raw[:, 4:].reshape(5, 3, 66)[..., 2:]
    d = np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None]
    scale, least = np.repeat(d * (sub + 1), 32, axis=-1), np.repeat(d * 0.5 * (16.0 - sub), 32, axis=-1)
    assert np.allclose(Shared.dequantize(raw), (scale * codes - least).reshape(5, -1), rtol=1e-5, atol=1e-5)


def test_header():
    """What stands once per row is kept once per row, and rows of bytes say what is wrong with them."""
    (scales,) = [each for each in components(Shared, 5, 192, 4) if each.name == "scale.super"]
    assert (scales.shape, scales.dtype) == ((2, 1, 1, 4), np.float32)
    assert Shared.row_bytes(192) == 4 + 3 * 66 and Shared.bits_per_weight == 66 * 8 / 64
    with pytest.raises(LumenError, match="140 bytes is not 4 bytes and a multiple of the block of shared"):
        Shared.dequantize(np.zeros((2, 140), np.uint8))
    with pytest.raises(LumenError, match="row of 90 weights is not a multiple of the block of shared, 64"):
        Shared.row_bytes(90)


def test_header_comes_first():
    with pytest.raises(LumenError, match="field 'd' stands once per row, so it comes before"):

        @quant_format("late", block=32, bits=8, register=False)
        class Late:
            qs: u8[32]
            d: per_row(f16)

    with pytest.raises(LumenError, match="all storage fields stand once per row"):

        @quant_format("only", block=32, bits=8, register=False)
        class Only:
            d: per_row(f16)

    with pytest.raises(LumenError, match="per_row takes a field's type"):
        per_row(3)


def test_refusals():
    q8_0 = get("q8_0")
    with pytest.raises(LumenError, match="row of 48 weights is not a multiple of the block of q8_0, 32"):
        components(q8_0, 4, 48, 16)
    with pytest.raises(LumenError, match="cannot pack a weight of 4 x 64 in tiles of 0 rows"):
        components(q8_0, 4, 64, 0)
    with pytest.raises(
        LumenError, match="cannot pack a weight of 4 x 64 of q8_0: rows must be a power of two"
    ):
        packed_bytes(q8_0, 4, 64, 12)
    with pytest.raises(LumenError, match="k must be a power of two of at most 32, got 3"):
        stream_bytes(q8_0, 64, 16, 3)
    with pytest.raises(LumenError, match="no weight of so many elements"):
        packed_bytes(q8_0, 1 << 40, 1 << 40, 16)
    with pytest.raises(LumenError, match="there is no weight of 1 x 1180591620717411303424"):
        packed_bytes(q8_0, 1, 1 << 70, 16)
    with pytest.raises(LumenError, match="pack expects rows of bytes"):
        pack(q8_0, np.zeros(34, dtype=np.uint8), 16)
    with pytest.raises(LumenError, match=r"packed q8_0 weight of 4 x 64 has 2176 bytes, not \(5,\)"):
        unpack(q8_0, np.zeros(5, dtype=np.uint8), 4, 64, 32)
