# SPDX-License-Identifier: Apache-2.0
"""What inner loops of prompts on sm_90 take with wgmma, and with mma.sync: no GPU is needed.

    pip install nvidia-cuda-nvcc==13.0.88 nvidia-cuda-nvdisasm
    python benchmarks/gpu_tiles.py

Each row is a loop by hand, in PTX, over the columns of a tile of a warp: codes of 4 or 8 bits with a scale
for 32 columns, and activations with one, too. What tensor cores multiply differs:

- ``codes``: each sum of 32 columns is scaled, as Lumen's products do it.
- ``codes x scales``: scales of groups are small integers and in the codes. Sums of 128 columns are exact.
- ``weights``: what codes stand for, rounded. Results then depend on the order inside of an instruction.

Counted are NVIDIA's machine instructions for 16 rows, 8 tokens and 32 columns, which are one ``mma.sync`` of
8-bit codes: all of them, those on floats, and moves. A quarter of a processor starts one in a cycle. Beside
them stand the cycles that tensor cores take at the rate of their peak. The larger one of both gives the share
of the peak of bf16, which takes 8 cycles.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from gpu_code import _run
from gpu_tile_loop import Loop, Tile

from lumen_mlir.cli.table import markdown

TILES = (
    Tile("codes", "s8", wgmma=False, bits=4, rows=32, tokens=32),
    Tile("codes", "s8", wgmma=True, bits=4, rows=16, tokens=64),
    Tile("codes", "bf16", wgmma=True, bits=4, rows=16, tokens=64),
    Tile("codes", "s8", wgmma=False, bits=8, rows=32, tokens=32),
    Tile("codes", "s8", wgmma=True, bits=8, rows=16, tokens=64),
    Tile("codes", "bf16", wgmma=True, bits=8, rows=16, tokens=64),
    Tile("codes x scales", "f16", wgmma=False, bits=4, rows=32, tokens=32),
    Tile("codes x scales", "f16", wgmma=True, bits=4, rows=16, tokens=64),
    Tile("weights", "bf16", wgmma=True, bits=4, rows=16, tokens=128),
)


_MATRICES = re.compile("IMMA|HMMA|IGMMA|HGMMA")


def _loop(code: str) -> list[str]:
    """The instructions of the loop with most products of matrices, by their names."""
    names: list[str] = []
    labels: dict[str, int] = {}
    best: list[str] = []
    for line in map(str.strip, code.splitlines()):
        if label := re.fullmatch(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(names)
        elif found := re.match(r"/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?(\S+)(.*?);", line):
            names.append(found[1])
            target = re.search(r"`\((\.L_x_\d+)\)", found[2])
            if found[1].startswith("BRA") and target and target[1] in labels:
                body = names[labels[target[1]] :]
                best = max(best, body, key=lambda each: sum(bool(_MATRICES.match(name)) for name in each))
    return best


def _row(tile: Tile) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tile.ptx").write_text(Loop(tile).text(), encoding="utf-8")
        said = _run("ptxas", "-v", "-arch=sm_90a", f"{folder}/tile.ptx", "-o", f"{folder}/tile.cubin")
        loop = _loop(_run("nvdisasm", "-c", f"{folder}/tile.cubin"))
    (spilled,) = re.findall(r"(\d+) bytes spill stores", said)
    (registers,) = re.findall(r"Used (\d+) registers", said)
    units = tile.spans * tile.tokens // 8 * tile.rows // 16
    floats = sum(bool(re.match("FFMA|FMUL|FADD", name)) for name in loop)
    moves = sum(bool(re.match(r"MOV|IMAD\.MOV", name)) for name in loop)
    slots = len(loop) / units
    # Of a quarter of a processor, at the rate of the peak.
    tensor = 4.0 * tile.size
    return (
        *(tile.what, tile.kind, "wgmma" if tile.wgmma else "mma.sync", str(tile.bits)),
        *(
            f"{tile.rows} x {tile.tokens}",
            registers,
            spilled,
            f"{floats / units:.1f}",
            f"{moves / units:.1f}",
        ),
        *(f"{slots:.1f}", f"{tensor:.0f}", f"{100 * 8 / max(slots, tensor):.0f} %"),
    )


def main() -> None:
    header = (
        *("multiplied", "as", "by", "bits", "tile", "registers", "spilled", "on floats", "moves"),
        *("all", "tensor cores", "of the bf16 peak"),
    )
    print(markdown(header, [_row(tile) for tile in TILES], range(3, 12)))


if __name__ == "__main__":
    main()
