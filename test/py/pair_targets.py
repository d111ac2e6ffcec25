# SPDX-License-Identifier: Apache-2.0
"""Targets with an instruction for pairs of bf16, for which they have plain vector arithmetic instead.

So any machine runs their code.
"""

import dataclasses

from lumen_mlir.compiler import targets

PLAIN = dataclasses.replace(targets.get("generic"), name="pairs", bf16_dot=True)

PAIRS = {"plain": PLAIN}
"""By name; with multiplication and addition in one too, where this machine can."""

if not targets.get("x86-64-v3").missing():
    PAIRS["fused"] = dataclasses.replace(targets.get("x86-64-v3"), name="fused pairs", bf16_dot=True)
