# SPDX-License-Identifier: Apache-2.0
"""A guard against slower code that needs no clock: what the inner loops of products consist of."""

from __future__ import annotations

import pytest
from kernel_code import FORMATS, TARGETS, Loop, innermost_loops, measure, read_table

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
