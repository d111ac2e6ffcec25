# SPDX-License-Identifier: Apache-2.0
"""A guard against slower code that needs no clock: what the inner loops of products consist of."""

from __future__ import annotations

import re

import pytest
from kernel_code import FORMATS, TARGETS, Loop, compiled, innermost_loops, measure, read_table

from lumen_mlir.compiler import targets
from lumen_mlir.formats import kv_cache

TABLE = read_table()

# A register more or less for an address is no reason to look.
TOLERANCE = 1.03


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FORMATS)
def test_inner_loops(name, target):
    for kind, loop in measure(name, target).items():
        held = TABLE[target, name, kind]
        where = f"{name} on {target}, {kind}: {loop}, was {held}"
        hint = "if that is meant, run: python test/py/kernel_code.py"
        assert loop.overhead <= held.overhead * TOLERANCE, f"more instructions per dot: {where}; {hint}"
        assert loop.spilled <= held.spilled * TOLERANCE, f"more vectors on the stack: {where}; {hint}"


@pytest.mark.parametrize("name", ["q8_0", "q4_0", "q4_k"])
def test_main_formats_fit_the_registers(name):
    """With 32 registers the sums of the tile of 32 rows and 6 tokens are held, but for a constant; what
    is not a product or a load of an activation unpacks and scales."""
    loop = TABLE["x86-64-v4+vnni", name, "prefill"]
    assert loop.spills <= 2 and loop.overhead < 2.8


ARM = [target.name for target in targets.TARGETS if target.triple.startswith("aarch64")]


def attention(kind: str, heads: int, kv_heads: int, size: int) -> str:
    cache = kv_cache.TYPES[kind]
    rows = f"tensor<?x{heads * size}xf32>"
    keys, values = (
        f"tensor<1x{kv_heads}x?x{'x'.join(map(str, cache.block(name, size)))}x{cache.element}>"
        for name in ("key", "value")
    )
    return f"""
    func.func @f(%q: {rows}, %k: {keys}, %v: {values}, %layer: index, %positions: tensor<?xi32>,
        %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>) -> {rows} {{
      %a = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
        {{heads = {heads} : i64, kv_heads = {kv_heads} : i64, scale = 0.125 : f32}}
        : {rows}, {keys}, {values}, tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
      return %a : {rows}
    }}"""


def quantized_rows(ops: str, group: int) -> str:
    """``ops`` make %y from %x and a row %w, then %y is quantized."""
    columns = 1024
    rows, row = f"tensor<?x{columns}xf32>", f"tensor<{columns}xf32>"
    scales = f"tensor<?x{columns // group}xf32>"
    kinds = f"tensor<?x{columns}xi8>, {scales}, tensor<?x{columns // 32}xi32>, tensor<?x{columns // 32}xf32>"
    return f"""
    func.func @f(%x: {rows}, %w: {row}) -> ({kinds}) {{
      {ops.format(rows=rows, row=row)}
      %r:4 = lumen.quantize %y {{group = {group} : i64}} : {rows} -> {kinds}
      return %r#0, %r#1, %r#2, %r#3 : {kinds}
    }}"""


NORM = "%y = lumen.rms_norm %x, %w {{epsilon = 1.0e-05 : f32}} : {rows}, {row}"
SILU = "%y = lumen.silu %x : {rows}"
ON_ARM = {
    "attention f16": attention("f16", 14, 2, 64),
    "attention f32, heads of 128": attention("f32", 8, 2, 128),
    "attention q8_0": attention("q8_0", 14, 2, 64),
    "norm, groups of 32": quantized_rows(NORM, 32),
    "norm, groups of 256": quantized_rows(NORM, 256),
    "silu, groups of 256": quantized_rows(SILU, 256),
}


@pytest.mark.parametrize(
    ("kernel", "target"),
    # Products of 16 bits, which armv8-a has, take more registers.
    [*((name, ARM[0]) for name in ON_ARM), *((name, ARM[-1]) for name in ON_ARM if "q8_0" not in name)],
)
def test_vectors_stay_in_short_registers(kernel, target):
    """Of the instructions of inner loops, less than a twentieth move vectors to the stack or back. What is
    called is the module's own, or the runtime's: no library converts halves or makes exponentials."""
    code = compiled(ON_ARM[kernel], target)
    called = set(re.findall(r"^\tbl\t([\w.$]+)", code, re.M))
    own = set(re.findall(r"^([\w.$]+):", code, re.M))
    assert called - own <= {"lumen_barrier", "lumen_claim"}
    # Shorter ones hand out tiles.
    loops = [loop for loop in innermost_loops(code, weights=None) if loop.instructions >= 30]
    assert loops
    for loop in loops:
        assert loop.spills < 0.05 * loop.instructions, f"{kernel} on {target}: {loop}"


def test_loops_are_found():
    text = """
f:
	.cfi_startproc
.LBB0_1:
	movl	$0, %ecx
.LBB0_2:
	vpdpbusd	(%rdi){1to16}, %zmm1, %zmm0
	vmovups	64(%rsp), %zmm2
	decq	%rcx
	jne	.LBB0_2
	vpdpbusd	%zmm1, %zmm1, %zmm0
	decq	%rdx
	jne	.LBB0_1
.LBB0_3:
	addq	$64, %rdi
	jne	.LBB0_3
	jmp	.LBB0_4
.LBB0_4:
	retq
"""
    assert list(innermost_loops(text)) == [Loop(1, 4, 1)]


def test_loops_are_found_on_arm():
    text = """
f:
.LBB0_1:
	mov	x12, xzr
.LBB0_2:
	ldp	q0, q1, [x8], #32
	sdot	v2.4s, v0.16b, v1.4b[0]
	str	q2, [sp, #16]
	ldr	x9, [sp, #8]
	subs	x12, x12, #1
	b.ne	.LBB0_2
	cbnz	x9, .LBB0_1
	ret
"""
    assert list(innermost_loops(text)) == [Loop(1, 6, 1)]
