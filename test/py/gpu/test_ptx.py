# SPDX-License-Identifier: Apache-2.0
"""PTX: what it consists of, and what NVIDIA's assembler makes of it (with ``make test-gpu``).

    python test/py/gpu/test_ptx.py      # writes test/py/data/ptx_code.json anew

The table holds, for products of each format and for a step of the embedded model, the registers of a thread,
and the bytes that products store for want of them, and load. The functions of their tiles of matrices come
next, apart. Then it has their `mma.sync`, and how many other instructions each one has beside it in the
loop with most of them. Code that takes fewer passes. Where a step is launches, the table has that step
alone: its products are the same but for what calls them.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

import kernel_code
import pytest

from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.data import embedded_model_path
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run import cuda_probe
from lumen_mlir.run.compiled_step import step_program
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

TABLE = Path(__file__).parents[1] / "data" / "ptx_code.json"
TARGETS = ("sm_80", "sm_90")
LAUNCHES = tuple(f"{name}-launches" for name in TARGETS)
STEP = "step"
FORMATS = tuple(name for name in formats.names() if not formats.get(name).is_float)


@functools.cache
def find_ptxas() -> str | None:
    """NVIDIA's assembler, where it is installed."""
    packaged = Path(sysconfig.get_path("purelib"), "nvidia", "cu13", "bin", "ptxas")
    return str(packaged) if packaged.exists() else shutil.which("ptxas")


# `make test-gpu` installs it, so there it must be.
needs_ptxas = pytest.mark.skipif(
    find_ptxas() is None and not os.environ.get("LUMEN_TEST_PTXAS"), reason="ptxas is not installed"
)


def product(name: str, target: str) -> str:
    """The PTX of a product with a weight [256, 1024] of format ``name``."""
    with ir.Context():
        module = ir.Module.parse(kernel_code.linear(name, 256, 1024, tokens=64))
        return str(Compiler(targets.get(target)).emit(module, "asm"))


def step(target: str) -> str:
    """The PTX of a step of the embedded model."""
    with ir.Context():
        module = Model.open(embedded_model_path()).module(kv_type="f16", max_tokens=512, logit_group=64)
        return str(Compiler(targets.get(target)).emit(module, "asm"))


class Code(NamedTuple):
    """A line of the table."""

    registers: int
    stores: int
    loads: int
    tile_stores: int
    tile_loads: int
    matrices: int
    others: float


def assemble(folder: Path, text: str, target: str) -> Code:
    """What code is like, at most for any product or tile."""
    source, ptxas = folder / "code.ptx", find_ptxas()
    assert ptxas, "ptxas is missing: `make test-gpu` installs it"
    source.write_text(text, encoding="utf-8")
    command = [ptxas, "-v", f"-arch={targets.get(target).cpu}", str(source), "-o", str(folder / "code.cubin")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr

    def spills(name: str) -> tuple[int, int]:
        said = rf"Function properties for {name}\w+\n.* (\d+) bytes spill stores, (\d+) bytes spill loads"
        found = [(int(stores), int(loads)) for stores, loads in re.findall(said, done.stderr)]
        return max((each[0] for each in found), default=0), max((each[1] for each in found), default=0)

    registers = map(int, re.findall(r"Used (\d+) registers", done.stderr))
    return Code(max(registers), *spills("qlinear_"), *spills("loop_"), *count_matrices(text))


def find_blocks(text: str) -> list[str]:
    """The basic blocks of PTX: a label begins one, and a branch ends it."""
    return re.split(r"^\$L\w+:|(?<=\n)(?=.*\bbra\b)", text, flags=re.MULTILINE)


def count_matrices(text: str) -> tuple[int, float]:
    """The `mma.sync`, and for each one in the basic block with most of them the other instructions."""
    most = max(find_blocks(text), key=lambda block: block.count("mma.sync"))
    matrices = most.count("mma.sync")
    others = len(re.findall(r";$", most, re.MULTILINE)) - matrices
    return text.count("mma.sync"), round(others / matrices, 1) if matrices else 0.0


@pytest.mark.parametrize("target", TARGETS)
def test_a_product(target):
    text = product("q4_k", target)
    assert f".target {target}" in text and ".visible .entry lumen_entry_f(" in text
    # Four codes at a time, without any copy of registers to memory. Tiles of many tokens are of matrices.
    assert text.count("dp4a.") >= 2 * (16 + 8 + 4) and ".local" not in text
    assert text.count("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32") == 8 + 4 + 2
    # Codes and activations are words: no byte of them is loaded or shifted alone.
    loop = text[text.index("dp4a.") : text.rindex("dp4a.")]
    assert "ld.b8" not in loop and "prmt" not in loop


def test_a_tile_of_matrices():
    """A lane loads its words of four rows at once, and those of a token; none goes through other memory."""
    text = product("q4_0", "sm_80")
    (loop,) = (block for block in find_blocks(text) if block.count("mma.sync") == 8)
    assert loop.count("ld.v4.b32") == 1 and loop.count("ld.v2.b32") == 4
    # Scales of 4 rows come from other lanes. Nothing is stored, and nobody waits.
    assert loop.count("shfl.sync") == 4 and "st." not in loop and "bar.warp" not in loop
    # One operation scales a sum, and one adds it.
    assert loop.count("fma.rn.f32") == 8 * 4 * 2
    # Of groups of 16, an instruction takes half as many codes.
    assert "mma.sync.aligned.m16n8k16" in product("q6_k", "sm_80")


def test_codes_meet_activations_as_they_are_stored():
    """Unsigned codes of 4 bits, signed ones of 8."""
    assert "dp4a.u32.s32" in product("q4_0", "sm_80") and "dp4a.s32.s32" in product("q8_0", "sm_80")


def test_who_arrives_shows_what_it_wrote():
    """Each atomic addition stands between fences: for what a thread wrote, and for what it reads then."""
    lines = [line.strip() for line in step("sm_80").splitlines()]
    places = [number for number, line in enumerate(lines) if line.startswith("atom.")]
    assert len(places) > 2
    for place in places:
        assert any("fence.acq_rel.gpu" in line for line in lines[place - 3 : place]), lines[place - 3 : place]
        assert "fence.acq_rel.gpu" in lines[place + 1]


@pytest.mark.gpu
@pytest.mark.matrix
@needs_ptxas
@pytest.mark.parametrize("target", TARGETS)
def test_a_probe_is_as_large_as_a_step(tmp_path, target):
    """All registers that a thread of a step may have, and nothing in memory for want of them."""
    code = assemble(tmp_path, cuda_probe.probe(), target)
    assert (code.registers, code.stores, code.loads) == (128, 0, 0)
    assert all(".maxntid 512" in text for text in (cuda_probe.probe(), product("q4_0", target)))


@pytest.mark.parametrize("target", ["sm_90", "sm_90-launches"])
def test_progress(tmp_path, target):
    """Of a step: it is told of every stage, and ends."""
    write_synthetic(path := tmp_path / "model.gguf", Shape(64, 1, 2, 1, 32, 96, 301, 64, True), seed=1)
    told: list[int] = []
    made = step_program(
        Model.open(path),
        SessionOptions(),
        targets.get(target),
        Cache(tmp_path / "cache"),
        progress=lambda what, done, total: told.append(done),
    )
    assert told == sorted(told) and len(told) > 4 and told[-1] == 100
    assert b".target sm_90" in made.program.objects[0] and len(made.program.objects) == 1 + (
        target != "sm_90"
    )


def test_no_object():
    with ir.Context():
        module = ir.Module.parse(kernel_code.linear("q4_0", 32, 64, tokens=1))
        with pytest.raises(LumenError, match="there is no object file, only asm"):
            Compiler(targets.get("sm_80")).compile(module)


@pytest.mark.gpu
@pytest.mark.matrix
@needs_ptxas
@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, target) for target in TARGETS for name in (*FORMATS, STEP)),
        *((STEP, each) for each in LAUNCHES),
    ],
)
def test_what_the_assembler_says(tmp_path, name, target):
    found = assemble(tmp_path, step(target) if name == STEP else product(name, target), target)
    held = json.loads(TABLE.read_text(encoding="utf-8"))[target][name]
    hint = "if that is meant, run: python test/py/gpu/test_ptx.py"
    assert all(now <= was for now, was in zip(found, held, strict=True)), f"{found}, was {held}; {hint}"


def test_registers():
    """512 threads run on a processor. Products keep all in registers, for sm_90 nearly all."""
    tables = json.loads(TABLE.read_text(encoding="utf-8"))
    assert set(tables) == {*TARGETS, *LAUNCHES}
    for target, of_target in tables.items():
        assert set(of_target) == ({STEP} if target in LAUNCHES else {*FORMATS, STEP})
        for name, each in of_target.items():
            code = Code(*each)
            assert code.registers <= 128
            assert code.matrices
            assert code.others <= 34
            spills = (code.stores, code.loads, code.tile_stores, code.tile_loads)
            if target == "sm_80" and name != STEP:
                assert not any(spills), name
            else:
                assert max(spills) <= (148 if name == STEP else 88), name
    spilling = [name for name, each in tables["sm_90"].items() if any(each[1:5])]
    assert len(spilling) <= 15


def test_what_lives_across_a_tile():
    """A tile takes a number of a token. What a kernel needs behind it waits in the lanes of two registers."""
    text = product("q4_0", "sm_80")
    kernel, tiles = text[text.index("\n.func qlinear_q4_0_256x1024(") :], r"call\.uni loop_\w+, \((.*)\);"
    given = [len(each.split(",")) for each in re.findall(tiles, kernel)]
    assert len(given) == 3 and max(given) <= 12
    for behind in re.split(tiles, kernel)[2::2]:
        exchanges = [line for line in behind[: behind.index("ld.shared")].splitlines() if "shfl" in line]
        assert 8 <= len(exchanges) <= 48
        assert len({re.split(r"[ ,]+", line)[2] for line in exchanges}) <= 2
    # What a kernel stores is known to be in the memory of all threads.
    assert not re.search(r"\bst\.b32", kernel[: kernel.index("\n}")])


def test_divisions_of_products_have_32_bits():
    """Longer ones are a function of their own."""
    for text in (product("q4_k", "sm_80"), product("q8_0", "sm_90")):
        kernels = re.findall(r"^\.func qlinear\w*\((?:.|\n)*?^}", text, re.MULTILINE)
        assert kernels and not [each for each in kernels if re.search(r"\b(div|rem)\.[us]64", each)]


def main() -> None:
    import tempfile

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for target in (*TARGETS, *LAUNCHES):
            texts = {} if target in LAUNCHES else {name: product(name, target) for name in FORMATS}
            texts[STEP] = step(target)
            rows = [
                f'    "{name}": {list(assemble(Path(folder), text, target))}' for name, text in texts.items()
            ]
            lines.append(f'  "{target}": {{\n' + ",\n".join(rows) + "\n  }")
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
