# SPDX-License-Identifier: Apache-2.0
"""How many cycles executed code takes by LLVM's models of cores (llvm-mca).

What a program executed is cut into pieces, each time that it passes the same point. Equal pieces are given
to llvm-mca once, as the body of a loop. The models know instructions, ports and dependences. They know no
caches, no branch prediction, and nothing of what overlaps between different pieces.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from aarch64 import guest
from aarch64.guest import Trace

# Instructions that pass, at least, from one cut to the next. More than a core looks ahead.
_LEAST = 200
# Instructions that llvm-mca looks at.
_LOOKED_AT = 10_000
# Pieces that are less than this share of what was executed are taken to be as fast as the rest.
_SMALL = 0.003


@dataclass(frozen=True)
class Core:
    """A core.

    Attributes:
      model: LLVM's name of it.
      i8mm: it has matrix instructions.
      width: operations that it takes up in a cycle, where LLVM's model says less than its manual; else 0.
    """

    name: str
    model: str
    i8mm: bool = True
    width: int = 0


# LLVM has no model of the A76; the N1 is its version for servers. M1 to M4 have one model, from the M2 on
# with i8mm. The V2 takes up 8 operations a cycle, an M2 also.
CORES = (
    Core("V2", "neoverse-v2", width=8),
    Core("N2", "neoverse-n2"),
    Core("A76", "neoverse-n1", i8mm=False),
    Core("M2", "apple-m2", width=8),
)

_BRANCH = re.compile(r"^(b|b\.\w+|bc\.\w+|cbn?z|tbn?z)\s+(?:.*,\s*)?(?:0x)?([0-9a-f]+)$")
_MACS = (
    (re.compile(r"^(s|u|us|su)mmla "), 32),
    (re.compile(r"^(s|u|us|su)dot .*\.4s"), 16),
    (re.compile(r"^(s|u|us|su)dot .*\.2s"), 8),
    (re.compile(r"^bfmmla "), 16),
    (re.compile(r"^bfdot .*\.4s"), 8),
    (re.compile(r"^[su]ml[as]l2? v\d+\.8h|^[su]mull2? v\d+\.8h"), 8),
    (re.compile(r"^[su]ml[as]l2? v\d+\.4s|^[su]mull2? v\d+\.4s"), 4),
)


@dataclass(frozen=True)
class Piece:
    """Instructions that ran ``runs`` times one after the other."""

    code: tuple[str, ...]
    runs: int

    @property
    def executed(self) -> int:
        return len(self.code) * self.runs

    @property
    def macs(self) -> int:
        """Products of codes that one run does."""
        return sum(map(macs_of, self.code))


def macs_of(text: str) -> int:
    """How many products of codes an instruction adds up."""
    return next((macs for pattern, macs in _MACS if pattern.match(text)), 0)


def _for_mca(text: str) -> str:
    """What llvm-mca takes of an instruction: jumps need no target, and calls are not looked into."""
    if text.split()[0] in ("bl", "blr", "br", "ret", "udf"):
        return ""
    if (match := _BRANCH.match(text)) is None:
        return text
    return text[: match.start(2)].removesuffix("0x") + "#0"


def cut(trace: Trace) -> list[Piece]:
    """The pieces of what was executed."""
    lengths = np.array([len(piece) for piece in trace.pieces], np.int64)
    ends = lengths[trace.order].cumsum()
    total = int(ends[-1])
    best, at = np.inf, np.zeros(0, np.int64)
    for number in np.unique(trace.order):
        passes = np.flatnonzero(trace.order == number)
        between = np.diff(np.concatenate(([0], ends[passes] - lengths[number], [total])))
        # How much passes around an instruction, on average.
        usual = float((between.astype(np.float64) ** 2).sum()) / total
        if _LEAST <= usual < best:
            best, at = usual, passes
    bounds = [0, *at.tolist(), len(trace.order)]
    found = Counter(trace.order[begin:end].tobytes() for begin, end in pairwise(bounds))
    result = []
    for numbers, runs in found.items():
        code = tuple(line for number in np.frombuffer(numbers, np.int64) for line in trace.pieces[number])
        if code:
            result.append(Piece(code, runs))
    return result


def cycles(code: tuple[str, ...], core: Core) -> float:
    """Cycles that code takes when it runs again and again. Of very long code, the beginning is looked at."""
    begin = code[: 2 * _LOOKED_AT]
    turns = max(2, min(100, _LOOKED_AT // len(begin)))
    output = guest.run(
        ["llvm-mca-22", "-mtriple=aarch64", f"-mcpu={core.model}", "-mattr=+dotprod,+i8mm,+bf16,+fullfp16",
         f"-iterations={turns}", f"-dispatch={core.width}", "-resource-pressure=false",
         "-instruction-info=false"],
        input="\n".join(filter(None, map(_for_mca, begin))) + "\n",
    )  # fmt: skip
    found = re.search(r"^Total Cycles:\s+(\d+)", output, re.M)
    if found is None:
        raise ValueError(f"llvm-mca says no cycles: {output[:200]!r}")
    return int(found[1]) / turns * len(code) / len(begin)


@lru_cache
def peak(core: Core, i8mm: bool) -> float:
    """The most products of codes that a core does in a cycle."""
    word = "smmla" if i8mm else "sdot"
    lines = tuple(f"{word} v{i}.4s, v30.16b, v31.16b" for i in range(24))
    return 16 * round(sum(map(macs_of, lines)) / cycles(lines, core) / 16)


def rate(pieces: list[Piece], macs: int, core: Core) -> float:
    """The products of codes in a cycle where the pieces do ``macs`` of them."""
    total = sum(piece.executed for piece in pieces)
    large = [piece for piece in pieces if piece.executed >= _SMALL * total]
    seen = sum(piece.executed for piece in large)
    return macs * seen / total / sum(cycles(piece.code, core) * piece.runs for piece in large)


# What instructions do, by their names; the first that matches counts.
_KINDS = {
    "products": re.compile(r"^((s|u|us|su)(dot|mmla)|bf(dot|mmla)|[su]ml[as]l2?|[su]mull2?) "),
    "memory": re.compile(r"^(ld|st|prfm)"),
    "floats": re.compile(r"^(f\w+|scvtf|ucvtf|bfcvt\w*) "),
    "codes": re.compile(r"^\w+\.?\w* \{?v\d+\.|^\w+ [qdsbh]\d+, "),
    "scalar": re.compile(""),
}


def mix(pieces: list[Piece], macs: int) -> dict[str, float]:
    """Executed instructions for each 1,000 products of codes, by what they do."""
    found: Counter[str] = Counter()
    for piece in pieces:
        for line in piece.code:
            found[next(kind for kind, pattern in _KINDS.items() if pattern.match(line))] += piece.runs
    return {kind: 1000 * found[kind] / macs for kind in _KINDS}
