# SPDX-License-Identifier: Apache-2.0
"""Weights packed chunk by chunk: the same bytes as packed at once, in whatever chunks."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_mlir import formats
from lumen_mlir.formats import packing
from lumen_mlir.models import Model
from lumen_mlir.run import packed_weights
from lumen_mlir.run.packed_weights import PackedLayout
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

# No number of rows but the widths is a multiple of a tile; 256 columns are a block of K-quants.
SHAPE = Shape(256, 2, 3, 1, 32, 512, 301, 1024, False)


ROWS = 8


def pack_with_numpy(info, raw, out):
    out[:] = packing.pack(formats.get(info.type), raw.reshape(info.shape[0], -1), ROWS)


@pytest.mark.parametrize("format", ["q8_0", "q4_k_m", "q3_k_m", "q2_k", "iq4_xs", "q5_1"])
@pytest.mark.parametrize("chunk", [1, 20_000, 8 << 20])
@pytest.mark.parametrize("cached", [True, False])
def test_chunks(tmp_path, monkeypatch, format, chunk, cached):
    write_synthetic(tmp_path / "model.gguf", SHAPE, format)
    model = Model.open(tmp_path / "model.gguf")
    matrices = {
        name: packing.Tile.of(formats.get(info.type), ROWS)
        for name, info in model.tensors.items()
        if len(info.shape) == 2
    }
    layout = PackedLayout.of(model, matrices)
    seen = []
    monkeypatch.setattr(packed_weights, "_CHUNK_BYTES", chunk)
    cache = Cache(tmp_path / "cache") if cached else None
    packed = packed_weights.pack(
        model, layout, pack_with_numpy, cache, lambda done, total: seen.append((done, total))
    )
    expected = np.zeros(layout.size, np.uint8)
    for name, (offset, size) in layout.places.items():
        whole = packing.pack(formats.get(model.tensors[name].type), model.weight(name), ROWS)
        expected[offset : offset + size] = whole
    np.testing.assert_array_equal(packed, expected)
    assert cache is None or np.array_equal(packed_weights.load_packed(layout, cache), expected)
    done, totals = zip(*seen, strict=True)
    assert list(done) == sorted(done) and done[0] == 0 and {done[-1]} == set(totals)
    assert len(set(done)) >= len(matrices)
