# SPDX-License-Identifier: Apache-2.0
"""The GGUF writer: what it writes is read back, and misuse is named."""

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter


def test_round_trip(tmp_path):
    writer = GGUFWriter(tmp_path / "m.gguf", alignment=64)
    writer.add("a", True, T.BOOL)
    writer.add("b", [True, False], T.BOOL)
    writer.add("c", np.arange(3), T.I64)
    writer.add("d", ["x", "영"], T.STRING)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    writer.add_tensor("t", (2, 3), "f32", lambda: iter(values))
    writer.add_tensor("u", (1,), "f32", lambda: [np.ones(1, np.float32)])
    size = writer.write()
    f = GGUFFile.open(tmp_path / "m.gguf")
    assert f.size == size and f.alignment == 64
    assert f.metadata["a"] is True and f.metadata["b"].tolist() == [True, False]
    assert f.metadata["c"].tolist() == [0, 1, 2] and f.metadata["d"] == ["x", "영"]
    assert np.array_equal(f.array("t"), values) and f.array("u").tolist() == [1]


def test_misuse(tmp_path):
    writer = GGUFWriter(tmp_path / "m.gguf")
    writer.add("a", 1, T.U32)
    with pytest.raises(LumenError, match="'a' is added twice"):
        writer.add("a", 1, T.U32)
    writer.add_tensor("t", (4,), "f32", lambda: [np.zeros(3, np.float32)])
    with pytest.raises(LumenError, match="'t' is added twice"):
        writer.add_tensor("t", (4,), "f32", list)
    for shape in [(), (0, 32), (2, 33)]:
        with pytest.raises(LumenError, match="'v': (shape .* has no elements|row length 33 is not a .* 32,)"):
            writer.add_tensor("v", shape, "q8_0", list)
    with pytest.raises(LumenError, match="'t' takes 16 bytes, got 12"):
        writer.write()
    assert not list(tmp_path.iterdir())
