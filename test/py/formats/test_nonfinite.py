# SPDX-License-Identifier: Apache-2.0
"""Weights with a scale or a float that is infinite or no number are refused while they are packed."""

import re

import numpy as np
import pytest

from lumen_mlir import formats
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import packing
from lumen_mlir.formats.dsl import Codes, bitcast, f32, quant_format, u8, u32, unpack
from lumen_mlir.models import Model
from lumen_mlir.run import packed_weights
from lumen_mlir.run.packed_weights import PackedLayout
from lumen_mlir.testing.random_blocks import TYPES, random_weights
from lumen_mlir.testing.synthetic import SHAPES, write_synthetic

ROWS, COLUMNS, TILE = 11, 512, 8


def packed(name: str) -> np.ndarray:
    fmt = formats.get(name)
    raw = random_weights(np.random.default_rng(1), name, ROWS * COLUMNS, 1.0)
    return packing.pack(fmt, raw.reshape(ROWS, fmt.row_bytes(COLUMNS)), TILE)


def find(name: str, buffer: np.ndarray):
    return packing.find_nonfinite(formats.get(name), buffer, ROWS, COLUMNS, TILE)


@pytest.mark.parametrize("name", TYPES)
def test_finite_weights_pass(name):
    assert find(name, packed(name)) is None


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["q8_0", "q4_1", "q4_k", "q6_k", "iq1_s", "f32", "f16", "bf16"])
def test_row_and_place_are_named(name, value):
    fmt, buffer, seen = formats.get(name), packed(name), 0
    for part in packing.components(fmt, ROWS, COLUMNS, TILE):
        if part.name.startswith("codes") or (part.dtype.kind != "f" and name != "bf16"):
            continue
        broken = buffer.copy()
        view = part.view(broken)
        # Rows come last.
        view = view.swapaxes(-1, -2) if fmt.is_float else view
        bits = np.float32(value).view(np.uint32) >> 16 if name == "bf16" else value
        view[1, view.shape[1] // 2, ..., 2] = bits
        row, what = find(name, broken)
        kind = "weight" if fmt.is_float else "minimum" if part.name.startswith("min") else "scale"
        place = "in column 256" if fmt.is_float else f"of block {COLUMNS // fmt.block // 2}"
        assert row == TILE + 2
        assert what == f"the {kind} {place} is {'nan' if np.isnan(value) else 'inf'}"
        seen += 1
    assert seen


def test_scale_made_of_integers(own_registry):
    """Powers of two by their exponent, of which 255 means infinity."""

    @quant_format("powers", block=32, bits=4, bias=-8, size=17)
    class Powers:
        e: u8
        qs: u8[16]

        def decode(b):
            return Codes(unpack(b.qs, 4), scale=bitcast(u32(b.e) << 23, f32))

    fmt = formats.get("powers")
    raw = np.full((ROWS, fmt.row_bytes(COLUMNS)), 127, np.uint8)
    assert find("powers", packing.pack(fmt, raw, TILE)) is None
    raw[9, 3 * 17] = 255
    assert find("powers", packing.pack(fmt, raw, TILE)) == (9, "the scale of block 3 is inf")


@pytest.mark.parametrize("chunk", [1, 8 << 20])
@pytest.mark.parametrize("format", ["q8_0", "q4_k_m", "f16"])
def test_packing_a_model_is_refused(tmp_path, monkeypatch, format, chunk):
    def pack_with_numpy(info, raw, out):
        out[:] = packing.pack(formats.get(info.type), raw.reshape(info.shape[0], -1), TILE)

    path, name = tmp_path / "model.gguf", "blk.1.ffn_up.weight"
    write_synthetic(path, SHAPES["tiny"], format)
    info = Model.open(path).tensors[name]
    data = bytearray(path.read_bytes())
    # The first bytes of a row of these formats are the scale of a block, or a weight.
    begin = info.offset + 30 * info.nbytes // info.shape[0]
    data[begin : begin + 2] = np.float16(-np.inf).tobytes()
    path.write_bytes(data)
    model = Model.open(path)
    monkeypatch.setattr(packed_weights, "_CHUNK_BYTES", chunk)
    layout = PackedLayout.of(model, {name: packing.Tile.of(formats.get(model.tensors[name].type), TILE)})
    place = "weight in column" if format == "f16" else "scale of block"
    message = f"{re.escape(str(path))}: tensor {name}, row 30: the {place} 0 is inf$"
    with pytest.raises(LumenError, match=message):
        packed_weights.pack(model, layout, pack_with_numpy, None, lambda done, total: None)


def test_column_in_a_step():
    """Columns that lie together are told apart; the first row counts, and its first column."""
    values = np.ones((ROWS, COLUMNS + 1), np.float32)
    values[5, 9], values[5, 7], values[6, 0] = np.inf, np.nan, np.inf
    raw = values.view(np.uint8)
    fmt = formats.get("f32")
    for step in (1, 2, 8):
        buffer = packing.pack(fmt, raw, TILE, step)
        found = packing.find_nonfinite(fmt, buffer, ROWS, COLUMNS + 1, TILE, step)
        assert found == (5, "the weight in column 7 is nan")
