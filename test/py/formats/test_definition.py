# SPDX-License-Identifier: Apache-2.0
"""Descriptions that contradict themselves are refused at definition, with the field named."""

import re

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.formats import dsl
from lumen_mlir.formats.dsl import (
    Codes,
    bitcast,
    concat,
    equal,
    f16,
    f32,
    i8,
    interleave,
    lookup,
    quant_format,
    repeat,
    take,
    u8,
    u16,
    unpack,
    where,
)


def define(decode, fields=None, **options):
    """A format with ``decode``; its defaults are right, so that each test breaks one thing."""
    fields = {"d": f16, "qs": u8[16]} if fields is None else fields
    options = {"block": 32, "bits": 4, "bias": -8, "register": False, **options}
    name = options.pop("name", "test")
    members = {"__annotations__": fields, **({"decode": decode} if decode else {})}
    return quant_format(name, **options)(type("Test", (), members))


def good(b):
    return Codes(unpack(b.qs, 4), scale=b.d)


def refused(message, decode=good, fields=None, **options):
    with pytest.raises(LumenError) as caught:
        define(decode, fields, **options)
    text = str(caught.value)
    assert text.startswith(f"format '{options.get('name', 'test')}': ") and "\n" not in text
    assert re.search(message, text), text


def test_the_default_is_right():
    fmt = define(good)
    assert (fmt.bytes_per_block, fmt.bits_per_weight, fmt.group) == (18, 4.5, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Q4"}, "lower-case"),
        ({"block": 48}, r"block\(48\) must be a positive multiple of 32"),
        ({"block": 0}, r"block\(0\)"),
        ({"group": 24}, r"group\(24\) does not divide block\(32\)"),
        ({"group": 2}, r"group\(2\) must be 4, 8, 16 or a multiple of 32"),
        ({"bits": 9}, r"bits\(9\) must be from 1 to 8"),
        ({"bits": 0}, r"bits\(0\)"),
        ({"bias": -129}, r"bias\(-129\) takes 4-bit codes outside -128 to 255"),
        ({"bias": -8, "table": range(16)}, "table and bias exclude each other"),
        ({"bias": 0, "table": range(17)}, "table has 17 entries, but 4-bit codes reach 16"),
        ({"bias": 0, "table": [0, 200]}, "table holds 200, which does not fit i8"),
        ({"bias": 0, "bits": 5, "table": range(16)}, "a table needs codes of at most 4 bits, not 5"),
        ({"bias": 0, "table": range(12)}, "codes, of field 'qs', reach 15, but the table of 12 ends at 11"),
        ({"bits": 3}, r"codes, of field 'qs', reach 15, but bits\(3\) end at 7"),
        ({"bias": 0, "table": []}, "table has 0 entries"),
        ({"bias": 0, "table": [0, 0.5]}, "table holds 0.5; whole numbers were expected"),
        ({"block": "32"}, "block is '32'; a whole number was expected"),
        ({"bits": 4.0}, "bits is 4.0; a whole number was expected"),
        ({"group": True}, "group is True; a whole number was expected"),
        ({"bias": 0.5}, "bias is 0.5; a whole number was expected"),
        ({"name": 7}, "a name is lower-case letters"),
        ({"size": 20}, r"fields do not add up to 20 bytes: d 2 \+ qs 16"),
        ({"fields": {}}, "no storage fields"),
        ({"fields": {"d": f16, "qs": int}}, "field 'qs' has type <class 'int'>"),
        ({"fields": {"d": f16, "qs": u8[16], "größe": u8}}, "field 'größe': a name is letters, digits"),
        ({"fields": {"d": f16, "qs": "u8[16]", "extra": "nope[3]"}}, "unknown type: name 'u8'|name 'nope'"),
        ({"fields": {"d": f16, "codes": u8[16]}}, r"undeclared field 'qs' \(declared: d, codes\)"),
        ({"fields": {"d": f16, "qs": u8[16], "qh": u8[4]}}, "field 'qh' is never used by decode"),
        ({"fields": {"d": f16, "qs": u8[8]}}, "codes are 16 x u8, expected 32 x u8"),
        ({"fields": {"d": f16, "qs": u16[16]}}, "codes are 64 x u16, expected 32 x u8"),
        ({"decode": None}, r"no decode\(b\) method"),
        ({"decode": lambda b: unpack(b.qs, 4)}, "decode returned Expression, expected Codes"),
    ],
)
def test_parameters_and_fields(options, message):
    refused(message, **options)


FACTOR_FIELDS = {"d": f16, "sc": u8[2], "qs": u8[16]}


@pytest.mark.parametrize(
    ("decode", "options", "message"),
    [
        (lambda b: (b.d, b.sc), {}, "group is the whole block, so the scale must be one float per block"),
        (lambda b: (b.d, b.sc), {"group": 8}, "sub-scale has 2 elements, but the block has 4 groups"),
        (lambda b: (b.d, b.sc), {"group": 16}, r"scale of a group, of field 'sc', may be 0 to 255 \(u8\)"),
        (lambda b: (b.sc, b.d), {"group": 16}, "super-scale must be a floating-point scalar"),
        (lambda b: (u8(b.sc[0]), None), {"group": 16}, "super-scale must be a floating-point scalar"),
        (lambda b: (None, None), {}, r"scale is not an expression or a pair \(super, sub\)"),
        (lambda b: None, {}, "scale is not an expression or a pair"),
        (lambda b: 2.0, {}, "scale is not an expression or a pair"),
    ],
)
def test_scales(decode, options, message):
    refused(message, lambda b: Codes(unpack(b.qs, 4), scale=decode(b)), FACTOR_FIELDS, **options)


def test_minimum_is_named():
    def decode(b):
        return Codes(unpack(b.qs, 4), scale=b.d, min=(b.d, b.sc))

    refused("min of a group, of field 'sc', may be 0 to 255", decode, FACTOR_FIELDS, group=16, bias=0)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda b: b.qs + u16(b.qs), "add of u8 and u16: convert one, for instance u8"),
        (lambda b: b.qs & 256, "constant 256 does not fit u8"),
        (lambda b: b.qs & -1, "constant -1 does not fit u8"),
        (lambda b: b.qs + 0.5, "constant 0.5 does not fit u8"),
        (lambda b: b.qs[:8] + b.qs, "add of a vector of 8 and a vector of 16"),
        (lambda b: b.qs + [1, 2], "add of a vector of 16 and a vector of 2"),
        (lambda b: b.qs >> 8, "shifts of u8 must be constants from 0 to 7"),
        (lambda b: b.qs >> b.qs, "shifts of u8 must be constants"),
        (lambda b: b.d & b.d, "and is not defined on f16"),
        (lambda b: -b.qs, "only floating-point values can be negated"),
        (lambda b: u8(b.d), "cannot convert f16 to u8"),
        (lambda b: bitcast(b.d, u8), "bitcast of a scalar f16 to u8: the widths differ"),
        (lambda b: bitcast(b.qs[:3], u16), "bitcast of 3 x u8 to u16 leaves part of an element"),
        (lambda b: b.qs[16], "index 16 is outside a vector of 16"),
        (lambda b: b.d[0], "a scalar has no length"),
        (lambda b: take(b.qs, [0, 99]), "shuffle indices must be .* from 0 to 15"),
        (lambda b: concat(b.qs, b.d), "parts of different types: u8, f16"),
        (lambda b: interleave(b.qs, b.qs, chunk=3), "interleave needs parts of one length"),
        (lambda b: unpack(b.qs, 3), "unpack to 3 bits needs an unsigned type"),
        (lambda b: unpack(b.qs, 4, chunk=5), "the chunk 5 does not divide the length 16"),
        (lambda b: lookup(np.zeros((200, 1), int), b.qs), "index may reach 255, outside its table of 200"),
        (lambda b: lookup(np.zeros((256, 3), int), b.qs), "have 1, 2, 4 or 8 bytes per entry, not 3"),
        (lambda b: lookup([300] * 256, b.qs), "lookup tables hold whole numbers from 0 to 255"),
        (lambda b: lookup(np.ones(256), b.qs), "lookup tables hold whole numbers from 0 to 255"),
        (lambda b: b.qs.no_such, "decode failed: AttributeError: .* no attribute 'no_such'"),
        (lambda b: unpack(b.qs), "decode failed: TypeError: .* missing 1 required"),
        (lambda b: where(b.qs, 1, 2), "where needs a comparison"),
        (lambda b: where(b.qs < 3, 1, 0), "where of two literals has no type"),
        (lambda b: where(b.qs[:8] < 3, b.qs, 0), "condition is a vector of 8, values a vector of 16"),
        (lambda b: (b.qs < 3) & 1, "and of a comparison"),
        (lambda b: b.d < 0.5, "comparisons are defined on integers only"),
        (lambda b: 1 if b.qs < 3 else 0, "it cannot branch on values"),
        (lambda b: dsl.bf16(b.d), "cannot convert to bf16"),
        (lambda b: b.qs & np.zeros((2, 2), int), "constants are scalars or 1-D"),
    ],
)
def test_operations(expression, message):
    def decode(b):
        value = expression(b)
        return Codes(concat(value, value), scale=b.d)

    refused(message, decode)


OVERLAP_FIELDS = {"d": f16, "qh": u8[4], "qs": u8[16]}


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            lambda b: unpack(b.qs, 4) | (unpack(b.qh, 1, chunk=1) << 3),
            "fields 'qs' and 'qh' overlap: both sides of .* may set bit 3 of element 0",
        ),
        (lambda b: unpack(b.qs, 4) | (unpack(b.qh, 1, chunk=1) * 8), "'qs' and 'qh' overlap: .* bit 3"),
        (
            lambda b: u8((u16(unpack(b.qs, 4)) | (u16(repeat(b.qh, 8)) << 2)) & 15),
            "fields 'qs' and 'qh' overlap: .* bits 2 to 3",
        ),
    ],
)
def test_overlaps(codes, message):
    refused(message, lambda b: Codes(codes(b), scale=b.d), OVERLAP_FIELDS, bias=0)


def test_pieces_that_do_not_overlap():
    """Each bit has one source, element by element, also where the elements differ."""

    def decode(b):
        high = unpack(b.qh, 1, chunk=1)
        low = unpack(b.qs, 4) & 7
        top = repeat(b.qh, 8) & ([16] + [0] * 31)
        smeared = low | (low >> 1)
        return Codes(where(high < 1, smeared, low | (high * 8)) | top, scale=b.d)

    assert define(decode, OVERLAP_FIELDS, bits=5, bias=0).bits == 5


def test_field_lengths():
    with pytest.raises(LumenError, match="a field of u8 needs a positive length, not 0"):
        u8[0]


def test_codes_may_need_sampling():
    """Where intervals cannot prove the range, random blocks decide."""

    def decode(b):
        # 15 - x is below 16, but the subtraction may wrap as far as intervals can tell: x is (q + q) >> 1.
        return Codes(15 - unpack((b.qs & 0x77) + (b.qs & 0x88), 4), scale=b.d)

    assert define(decode).dequantize(np.zeros(18, dtype=np.uint8)).tolist() == [0.0] * 32
    refused("codes, of field 'qs', reach 16", lambda b: Codes(16 - unpack(b.qs, 4), scale=b.d))


def test_all_operations_have_a_meaning():
    """One description that uses every helper, worked out with plain integers."""

    def decode(b):
        halves = concat(b.qs & 15, b.qs >> 4)
        swapped = where(halves < 8, halves + 8, halves - 8)
        marked = where(equal(b.flag, 1), swapped ^ 15, swapped)
        scale = f32(b.d) * 2 - f32(i8(b.shift))
        return Codes(marked, scale=scale, min=-b.d)

    fields = {"d": f16, "flag": u8[32], "shift": i8, "qs": u8[16]}
    fmt = define(decode, fields, bias=0)
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (50, fmt.bytes_per_block), dtype=np.uint8)
    raw[:, 0:2] = rng.normal(size=50).astype(np.float16)[:, None].view(np.uint8)
    raw[:, 2:34] &= 1
    for block, values in zip(raw, fmt.dequantize(raw), strict=True):
        d = np.float32(block[:2].view(np.float16)[0])
        scale = d * np.float32(2) - np.float32(block[34:35].view(np.int8)[0])
        for k in range(32):
            nibble = int(block[35 + k % 16]) >> (4 * (k // 16)) & 15
            code = (nibble + 8) % 16 ^ (15 if block[2 + k] == 1 else 0)
            assert values[k] == scale * np.float32(code) - -d


def test_padding_may_be_unused():
    fmt = define(good, {"d": f16, "_pad": u8[2], "qs": u8[16]})
    assert fmt.bytes_per_block == 20
