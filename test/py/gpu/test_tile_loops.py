# SPDX-License-Identifier: Apache-2.0
"""The loops by hand that ``benchmarks/gpu_tiles.py`` counts: they consist of what its table says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import gpu_code
import gpu_tiles
from gpu_tile_loop import Loop, Tile


def name(tile: Tile) -> str:
    return f"{tile.what}-{tile.kind}-{'wgmma' if tile.wgmma else 'mma'}-{tile.bits}".replace(" ", "-")


@pytest.mark.parametrize("tile", gpu_tiles.TILES, ids=name)
def test_products(tile):
    """All columns of all rows and tokens are multiplied once, by the instruction that the row names."""
    text = Loop(tile).text()
    shapes = re.findall(r"(wgmma\.mma_async|mma\.sync)\.\w[\w.]*?m(\d+)n(\d+)k(\d+)", text)
    assert {shape[0] for shape in shapes} == {"wgmma.mma_async" if tile.wgmma else "mma.sync"}
    # Four warps have 64 rows together.
    products = sum(int(m) * int(n) * int(k) // (4 if tile.wgmma else 1) for _, m, n, k in shapes)
    assert products == tile.rows * tile.tokens * 32 * tile.spans
    # Each sum of codes is scaled by row and by token; other sums by token once, or not at all.
    sums = tile.rows * tile.tokens // 32
    scaled = {"codes": tile.spans, "codes x scales": 1, "weights": 0}[tile.what]
    assert len(re.findall(r"(?:fma|mul)\.rn\.f32 (%f\d+), (?:%f\d+), %f\d+", text)) >= 2 * sums * scaled
    # What is in shared memory for 16 warps fits it.
    assert not tile.wgmma or 4 * 3 * Loop.stage_size(tile) <= 227 * 1024


def test_the_loop_with_most_products():
    """Of two loops the second one has them; a forward branch makes none."""
    code = """
    .L_x_0:
            /*0000*/                   IADD3 R0, R0, 0x1, RZ ;
            /*0010*/               @P0 BRA `(.L_x_0) ;
            /*0020*/                   BRA `(.L_x_2) ;
    .L_x_1:
            /*0030*/                   IMMA.16832.S8.S8 R4, R0.ROW, R2.COL, R4 ;
            /*0040*/              @!P1 BRA `(.L_x_1) ;
    .L_x_2:
            /*0050*/                   EXIT ;
    """
    assert gpu_tiles._loop(code) == ["IMMA.16832.S8.S8", "BRA"]


@pytest.mark.gpu
@pytest.mark.matrix
@pytest.mark.parametrize("tile", gpu_tiles.TILES, ids=name)
def test_what_the_assembler_says(tmp_path, tile):
    """It takes them for sm_90a, with the registers of 512 threads, and keeps products asynchronous."""
    (tmp_path / "loop.ptx").write_text(Loop(tile).text(), encoding="utf-8")
    command = ("ptxas", "-v", "-arch=sm_90a", f"{tmp_path}/loop.ptx", "-o", f"{tmp_path}/loop.cubin")
    try:
        said = gpu_code._run(*command)
    except SystemExit as missing:
        # `make test-gpu` installs it, so there it must be.
        if "not installed" not in str(missing) or os.environ.get("LUMEN_TEST_PTXAS"):
            raise
        pytest.skip(str(missing))
    (registers,) = re.findall(r"Used (\d+) registers", said)
    assert int(registers) <= 128 and "serialized" not in said
