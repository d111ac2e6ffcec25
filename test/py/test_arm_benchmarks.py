# SPDX-License-Identifier: Apache-2.0
"""The benchmark of code for 64-bit ARM: how executed code is cut, counted and judged; what it prints."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
DOT, LOAD, ADD = "sdot v0.4s, v1.16b, v2.16b", "ldr q1, [x0], #0x10", "fadd v3.4s, v3.4s, v0.4s"

needs_llvm = pytest.mark.skipif(shutil.which("llvm-mca-22") is None, reason="llvm-mca-22 is not installed")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def trace(turns: int, inner: int):
    """A loop around another one: its head, some turns of the inner loop, its end."""
    from aarch64.guest import Trace

    pieces = [["mov x1, #0x0"] * 100, [LOAD, DOT] * 25, [ADD], ["ret"]]
    order = [*([0] + [1] * inner + [2]) * turns, 3]
    return Trace(pieces, np.array(order))


def test_equal_pieces_are_counted_together():
    """The cut is at the outer loop: the inner one passes its head again after too few instructions."""
    from aarch64 import cycles

    found = cycles.cut(trace(turns=40, inner=3))
    assert sum(piece.executed for piece in found) == 40 * (100 + 150 + 1) + 1
    assert sum(piece.macs * piece.runs for piece in found) == 40 * 75 * 16
    largest = max(found, key=lambda piece: piece.executed)
    assert largest.runs >= 39 and len(largest.code) == 251 and largest.macs == 75 * 16


def test_a_program_without_loops_is_one_piece():
    from aarch64 import cycles

    (piece,) = cycles.cut(trace(turns=1, inner=1))
    assert piece.runs == 1 and len(piece.code) == 152


def test_the_kinds_of_instructions():
    from aarch64 import cycles

    lines = (
        DOT, "smmla v1.4s, v2.16b, v3.16b", "sdot v0.2s, v1.8b, v2.8b", LOAD, "prfm pldl1keep, [x1]", ADD,
        "scvtf v1.4s, v1.4s", "and v1.16b, v1.16b, v2.16b", "tbl v1.16b, {v2.16b}, v3.16b",
        "movi v1.4s, #0x4b, lsl #24", "add x1, x1, #0x10", "b.ne 0x400100",
    )  # fmt: skip
    assert [cycles.macs_of(line) for line in lines[:4]] == [16, 32, 8, 0]
    mix = cycles.mix([cycles.Piece(lines, 10)], 1000)
    assert mix == {"products": 30, "memory": 20, "floats": 20, "codes": 30, "scalar": 20}


@needs_llvm
def test_models_of_cores():
    """What the models say of products alone, and that code between them counts."""
    from aarch64 import cycles

    cores = {core.name: core for core in cycles.CORES}
    assert cycles.peak(cores["V2"], False) == 64 and cycles.peak(cores["V2"], True) == 128
    assert cycles.peak(cores["N2"], False) == 32 and cycles.peak(cores["A76"], False) == 32
    alone = [cycles.Piece(tuple(f"sdot v{i}.4s, v30.16b, v31.16b" for i in range(24)), 1000)]
    others = [f"and v{i}.16b, v30.16b, v31.16b" for i in range(24)]
    mixed = [cycles.Piece((*alone[0].code, *others, "b.ne 0x400100", "bl 0x400200"), 1000)]
    macs = 24_000 * 16
    assert 60 < cycles.rate(alone, macs, cores["V2"]) <= 64
    assert 30 < cycles.rate(mixed, macs, cores["V2"]) <= 32


PROGRAM = """
int main(int count, char **arguments) {
  volatile int sum = 0;
  for (int i = 0; i < count * 1000; ++i)
    sum += i;
  return sum == 0;
}
"""


@needs_llvm
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-user is not installed")
@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-g++") is None, reason="there is no cross-compiler")
def test_what_a_program_executes(tmp_path, monkeypatch):
    """Each turn of a loop is counted; two arguments more are 2,000 turns more."""
    from aarch64 import cycles, guest

    monkeypatch.setattr(guest, "FOLDER", tmp_path)
    source, program = tmp_path / "loop.c", tmp_path / "loop"
    source.write_text(PROGRAM)
    guest.run([*guest.COMPILER, "-O1", "-static", source, "-o", program])
    guest.run([*guest.counting(tmp_path), program])
    alone = guest.executed(tmp_path)
    found = guest.trace(program, ["a", "b"], "main", tmp_path)
    lengths = np.array([len(piece) for piece in found.pieces])
    in_main = int(lengths[found.order].sum())
    turns = np.bincount(found.order).max()
    assert turns in (2999, 3000) and sum(piece.executed for piece in cycles.cut(found)) == in_main
    guest.run([*guest.counting(tmp_path), program, "a", "b"])
    more = guest.executed(tmp_path) - alone
    per_turn = lengths[np.bincount(found.order, minlength=len(lengths)).argmax()]
    assert abs(more - 2000 * per_turn) < 2000


def test_products_of_peers(monkeypatch):
    """What llama.cpp and KleidiAI run for a format on a target; nothing where there are no dot products."""
    from aarch64 import peers

    def names(*what: object) -> list[str]:
        return [f"{kernel.peer} {kernel.function}" for kernel in peers.kernels(*what)]

    assert names("q4_k", "armv8.6-a+i8mm", True) == ["llama.cpp ggml_gemm_q4_K_8x8_q8_K"]
    assert names("q4_k", "armv8.2-a+dotprod", False) == ["llama.cpp ggml_gemv_q4_K_8x4_q8_K"]
    assert names("q3_k", "armv8.2-a+dotprod", True) == ["llama.cpp ggml_vec_dot_q3_K_q8_K"]
    assert names("q4_0", "armv8.6-a+i8mm", True) == [
        "llama.cpp ggml_gemm_q4_0_4x8_q8_0",
        "KleidiAI kai_run_matmul_clamp_f32_qsi8d32p4x8_qsi4c32p4x8_16x4_neon_i8mm",
    ]
    assert names("q4_0", "armv8-a", True) == []
    assert names("f16", "armv8.6-a+i8mm", True) == ["llama.cpp llamafile_sgemm"]
    assert names("f16", "armv8.6-a+i8mm", False) == ["llama.cpp ggml_vec_dot_f16"]
    for features, prompt, at_once in (("dotprod", True, 1), ("i8mm", True, 2), ("i8mm", False, 1)):
        target = next(name for name, value in peers.TARGETS.items() if value == features)
        assert [kernel.at_once for kernel in peers.kernels("q4_1", target, prompt)][-1] == at_once


def test_functions_of_peers_that_count():
    from aarch64 import peers

    (blocks,) = peers.kernels("f16", "armv8.6-a+i8mm", True)
    assert re.fullmatch(blocks.functions, "_ZN12_GLOBAL__N_18tinyBLASILi8EE4gemmEv")
    kleidiai = peers.kernels("q4_0", "armv8.6-a+i8mm", True)[-1]
    assert re.fullmatch(kleidiai.functions, kleidiai.function.replace("run", "kernel"))
    assert not re.fullmatch(kleidiai.functions, "main")


def test_every_format_is_measured():
    """Those that llama.cpp reads have a product of its own."""
    import arm
    from aarch64 import peers

    from lumen_mlir import formats

    assert set(arm.all_formats()) == set(formats.names()) - {"f32"}
    assert arm.all_formats()[-2:] == ["f16", "bf16"]
    for target in peers.TARGETS:
        for prompt in (True, False):
            assert [name for name in arm.all_formats() if not peers.kernels(name, target, prompt)] == []


def test_what_was_measured_is_kept(monkeypatch, tmp_path):
    """Until a tool has another version."""
    from aarch64 import guest, kept

    monkeypatch.setattr(guest, "FOLDER", tmp_path)
    monkeypatch.setattr(guest, "versions", lambda: "clang 1")
    calls: list[int] = []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"executed": len(calls)}

    assert kept.measured("a", measure) == kept.measured("a", measure) == {"executed": 1}
    assert kept.measured("b", measure) == {"executed": 2}
    monkeypatch.setattr(guest, "versions", lambda: "clang 2")
    assert kept.measured("a", measure) == {"executed": 3}


def result(engine: str, rate: float) -> dict:
    return {"target": "armv8.2-a+dotprod", "format": "q4_0", "tokens": 128, "engine": engine, "function": "f",
            "rates": {"V2": rate, "N2": 10.0}, "instructions": 100.0}  # fmt: skip


def test_tables():
    """Ratios are to the better peer on each core."""
    from aarch64 import tables

    rows = [result("Lumen", 48.0), result("llama.cpp", 40.0), result("KleidiAI", 32.0)]
    peaks = {"armv8.2-a+dotprod": {"V2": 64, "N2": 32}}
    text = tables.kernels([{"rows": rows, "peaks": peaks}])
    assert "## `armv8.2-a+dotprod`, 128 tokens" in text
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("| ").split("|")]
    assert cells == ["q4_0", "48.0", "75%", "10.0", "100", "llama.cpp", "40.0", "100", "1.20", "1.00"]
    # A share of the peak of codes says nothing of floats.
    rows = [{**row, "format": "f16"} for row in rows]
    assert "%" not in tables.kernels([{"rows": rows, "peaks": peaks}])


def cells_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()]


def test_summary():
    """A column per target and number of tokens that a peer has; a line per format, and the medians."""
    from aarch64 import tables

    alone = {**result("Lumen", 48.0), "target": "armv8-a"}
    one = {**result("Lumen", 48.0), "tokens": 1}
    other = [{**result(*row), "format": "q8_0"} for row in (("Lumen", 44.0), ("llama.cpp", 4.0))]
    rows = [result("Lumen", 48.0), result("llama.cpp", 40.0), result("KleidiAI", 32.0), alone, one, *other]
    header, _, *lines = cells_of(tables.summary([{"rows": rows}]))
    assert header == ["format", "dotprod, 128 tokens"]
    assert lines == [["q4_0", "1.20"], ["q8_0", "11"], ["median", "6.10"]]


def test_table_of_loops():
    """Formats with the same code stand together, a core without such instructions has nothing."""
    from aarch64 import tables

    fast, slow = {"V2": 127.1, "N2": 63.8}, {"V2": 69.6, "N2": 36.4}
    rows = [("tq2_0", 256, fast), ("q4_0", 32, slow), ("q8_0", 32, slow)]
    rows = [{"target": "t", "format": name, "group": group, "rates": rates} for name, group, rates in rows]
    header, _, *lines = cells_of(tables.loops([{"rows": rows}]))
    assert header == ["format", "groups of", "V2", "N2"]
    assert lines == [["q4_0, q8_0", "32", "69.6", "36.4"], ["tq2_0", "256", "127.1", "63.8"]]
    rows.append({"target": "u", "format": "q4_0", "group": 32, "rates": {**slow, "A76": 15.0}})
    header, _, *lines = cells_of(tables.loops([{"rows": rows}]))
    assert header == ["target", "format", "groups of", "V2", "N2", "A76"]
    assert lines[0] == ["`t`", "q4_0, q8_0", "32", "69.6", "36.4"]
    assert lines[2] == ["`u`", "q4_0", "32", "69.6", "36.4", "15.0"]


def test_the_loop_that_multiplies(monkeypatch):
    """Not the one that executes most."""
    import arm
    from aarch64 import cycles

    pieces = [cycles.Piece((ADD,) * 300, 50), cycles.Piece((LOAD, *(DOT,) * 4), 20), cycles.Piece((DOT,), 30)]
    monkeypatch.setattr(arm.cycles, "cut", lambda _: pieces)
    monkeypatch.setattr(arm.cycles, "cycles", lambda code, core: float(len(code)))
    monkeypatch.setattr(arm.guest, "trace", lambda *_: None)
    monkeypatch.setattr(arm.kernels, "link", lambda *_: None)
    monkeypatch.setattr(arm.kernels, "words", lambda *_: [])
    row = arm._measure_loop("armv8.6-a+i8mm", "q6_k", None)
    assert row == {"target": "armv8.6-a+i8mm", "format": "q6_k", "group": 16, "rates": row["rates"]}
    assert row["rates"] == {"V2": 64 / 5, "N2": 64 / 5, "M2": 64 / 5}


def test_table_of_prompts():
    from aarch64 import tables

    counts = {"prompt": (2 * 10**9, 3 * 10**9), "token": (20 * 10**6, 10 * 10**6)}
    row = {what: dict(zip(("Lumen", "llama.cpp"), both, strict=True)) for what, both in counts.items()}
    row |= {"target": "t", "format": "q8_0", "shape": "qwen2.5-0.5b"}
    (cells,) = cells_of(tables.prompts([{"rows": [row]}]))[2:]
    assert cells == ["`t`", "qwen2.5-0.5b", "q8_0", "2.00", "3.00", "1.50", "20", "10", "0.50"]


def test_options(capsys):
    import arm

    for options, said in (
        (["kernels", "--formats", "q9"], "q9"),
        (["loops", "--formats", "q4_0,f16"], "f16 has no codes"),
        (["kernels", "--tokens", "8,many"], "'8,many' are no numbers of tokens"),
        (["kernels", "--tokens", "0"], "there are products of 1 to 512 tokens, not of 0"),
        (["kernels", "--targets", "x86-64-v3"], "x86-64-v3 is no target for 64-bit ARM"),
        (["prompt", "--formats", "q4_k"], "q4_k is no format of files"),
        (["prompt", "--targets", "armv8-a"], "llama.cpp is not built for armv8-a"),
    ):
        with pytest.raises(SystemExit):
            arm.main(options)
        assert said in capsys.readouterr().err


def test_a_whole_prompt_from_small_models(monkeypatch):
    """Layers and parts of the vocabulary cost the same each; opening a model does not count."""
    from aarch64 import prompt

    opening, fixed, layer, word = 10**9, 1000, 500, 3

    def run(sizes: tuple[int, int], prompts: int, single: int) -> int:
        """A prompt goes through the output layer with one token."""
        layers, words = sizes
        turn = fixed + layers * layer
        return (
            opening * (layers + words)
            + prompts * (128 * turn + words * word)
            + single * (turn + words * word)
        )

    shape = prompt.SHAPES["qwen2.5-0.5b"]
    turn, output = fixed + shape.layers * layer, shape.vocabulary * word
    assert prompt._whole("qwen2.5-0.5b", run) == {"prompt": 128 * turn + output, "token": turn + output}


@needs_llvm
def test_json(monkeypatch, capsys):
    """What the pages are made of."""
    import arm

    monkeypatch.setattr(arm.guest, "check_tools", lambda: None)
    monkeypatch.setattr(arm.guest, "versions", lambda: "tools")
    row = result("Lumen", 1.0) | {"mix": {"products": 60.0, "codes": 40.0}}
    monkeypatch.setattr(arm, "measure_kernels", lambda *_: iter([row]))
    arm.main(["kernels", "--targets", arm.arm_targets()[0], "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["versions"] == "tools" and printed["rows"] == [result("Lumen", 1.0)]
