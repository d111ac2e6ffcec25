# SPDX-License-Identifier: Apache-2.0
"""Instruction counts of product kernels, read from the assembly that the compiler emits.

    python test/py/kernel_code.py      # writes test/py/data/kernel_code.json anew

The table holds, for a format on a target, what the inner loops for a whole register tile and for one token
have: dot instructions, instructions in all, and vectors that found no register (stored to the stack or read
from it, or constants that are read in every turn). A test compares new code with it; code that got better
passes, and the table should then be written anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler

TABLE = Path(__file__).parent / "data" / "kernel_code.json"

TARGETS = ("x86-64-v4+vnni", "x86-64-v3", "armv8.6-a+i8mm", "armv8.2-a+dotprod")
FORMATS = (
    "q8_0",
    "q4_0",
    "q5_0",
    "q2_k",
    "q3_k",
    "q4_k",
    "q5_k",
    "q6_k",
    "iq4_nl",
    "iq4_xs",
    "mxfp4",
    "nvfp4",
    "tq2_0",
)

# What multiplies 8-bit codes; with AVX2 it takes two instructions, of which the first is counted. One for
# matrices makes as many products as two.
_MATRICES = {"smmla": 2}
_DOTS = {"vpdpbusd": 1, "vpmaddubsw": 1, "pmaddubsw": 1, "sdot": 1, "usdot": 1, **_MATRICES}
_LABEL = re.compile(r"^(\.LBB\w+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b\.\w+|cbn?z\s+\w+,)\s+(\.LBB\w+)")
# Vectors only: an address that is kept on the stack costs next to nothing. (%rbp is a pointer like others:
# where vectors are kept on the stack, it is aligned, and found by %rsp.) Constants lie beside the code.
_SPILL = re.compile(r"\(%r(sp|ip)\b.*%[xyz]mm|%[xyz]mm.*\(%rsp\b|\b[qd]\d+, .*\[sp\b")


@dataclass(frozen=True)
class Loop:
    """An innermost loop: how many instructions of each kind one turn has."""

    dots: int
    instructions: int
    spills: int

    @property
    def overhead(self) -> float:
        """Instructions per dot instruction."""
        return self.instructions / self.dots

    @property
    def spilled(self) -> float:
        """Vectors without a register per dot instruction."""
        return self.spills / self.dots


def linear(name: str, rows: int, columns: int, tokens: int) -> str:
    """A module: the product of at most so many tokens with a weight of format ``name``."""
    element = f"!lumen.q<@{name}>"
    return f"""
    module attributes {{lumen.max_tokens = {tokens} : i64}} {{
    {formats.get(name).emit_ir()}
    func.func @f(%x: tensor<?x{columns}xf32>, %w: tensor<{rows}x{columns}x{element}>)
        -> tensor<?x{rows}xf32> {{
      %d = lumen.dequantize %w : tensor<{rows}x{columns}x{element}> -> tensor<{rows}x{columns}xf32>
      %y = lumen.linear %x, %d
          : tensor<?x{columns}xf32>, tensor<{rows}x{columns}xf32> -> tensor<?x{rows}xf32>
      return %y : tensor<?x{rows}xf32>
    }}
    }}"""


def assembly(name: str, target: str) -> str:
    """A product of 8 tokens with a weight [256, 1024] of format ``name``."""
    return compiled(linear(name, 256, 1024, tokens=8), target)


def compiled(text: str, target: str) -> str:
    """A module in assembly."""
    with ir.Context():
        return Compiler(targets.get(target)).emit(ir.Module.parse(text), "asm")


def innermost_loops(text: str, weights: dict[str, int] | None = _DOTS) -> Iterator[Loop]:
    """The loops of an assembly file that hold dot instructions and no other loop.

    ``weights``: what counts as one, and as how many; None for loops of any instructions.
    """
    lines = text.splitlines()
    labels = {match[1]: number for number, line in enumerate(lines) if (match := _LABEL.match(line))}
    back = []
    for number, line in enumerate(lines):
        match = _JUMP.match(line)
        if match and labels.get(match[1], number) < number:
            back.append((labels[match[1]], number))
    for begin, end in back:
        if any(begin < other and stop < end for other, stop in back):
            continue
        # Neither directives nor comments.
        body = [line.strip() for line in lines[begin : end + 1] if re.match(r"\t[^./]", line)]
        dots = sum((weights or {}).get(line.split()[0], 0) for line in body)
        if dots or weights is None:
            yield Loop(dots, len(body), sum(bool(_SPILL.search(line)) for line in body))


def measure(name: str, target: str) -> dict[str, Loop]:
    """The inner loops for a whole register tile ("prefill") and for one token ("decode")."""
    text = assembly(name, target)

    def loops(weights: dict[str, int]) -> list[Loop]:
        return sorted(innermost_loops(text, weights), key=lambda loop: loop.dots)

    found = loops(_DOTS)
    if not found:
        raise AssertionError(f"no loop of {name} on {target} has a dot instruction")
    return {"decode": found[0], "prefill": (loops(_MATRICES) or found)[-1]}


def read_table() -> dict[tuple[str, str, str], Loop]:
    """(target, format, "prefill" or "decode") to counts."""
    data = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        (target, name, kind): Loop(*counts)
        for target, of_target in data.items()
        for name, of_format in of_target.items()
        for kind, counts in of_format.items()
    }


def main() -> None:
    lines = []
    for target in TARGETS:
        rows = []
        for name in FORMATS:
            loops = measure(name, target)
            counts = {kind: [loop.dots, loop.instructions, loop.spills] for kind, loop in loops.items()}
            rows.append(f'    "{name}": {json.dumps(counts)}')
        lines.append(f'  "{target}": {{\n' + ",\n".join(rows) + "\n  }")
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
