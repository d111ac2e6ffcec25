# SPDX-License-Identifier: Apache-2.0
"""The targets: what the compiler must know of an instruction set, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lumen_mlir._mlir import codegen
from lumen_mlir.errors import LumenError, shown

if TYPE_CHECKING:
    from lumen_mlir.formats import Format
    from lumen_mlir.formats.packing import Tile

_TRIPLE = "x86_64-unknown-linux-gnu"

# What the psABI's levels ask of a CPU, by LLVM's names.
_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@dataclass(frozen=True)
class Target:
    """A row of the table.

    ``cpu`` and ``features`` are LLVM's and say which instructions may be used; ``dot4`` names the one that
    multiplies 8-bit lanes by four; ``vector_bits`` is the width of a register. A register tile of a product
    is ``rows`` outputs (lanes of 32 bits) by ``tokens``, as many as the registers hold. ``needs`` are the
    features (LLVM's names) that a CPU must have to run the code.
    """

    name: str
    dot4: str
    vector_bits: int
    rows: int
    tokens: int
    cpu: str
    features: str = ""
    needs: tuple[str, ...] = ()
    triple: str = _TRIPLE

    def attribute(self) -> str:
        """The text of the ``#lumen.target<...>`` attribute."""
        return (
            f'#lumen.target<name = "{self.name}", triple = "{self.triple}", cpu = "{self.cpu}", '
            f'features = "{self.features}", dot4 = "{self.dot4}", vector_bits = {self.vector_bits}, '
            f"rows = {self.rows}, tokens = {self.tokens}>"
        )

    def tile(self, fmt: Format) -> Tile:
        """How weights of this format are packed for this target's products."""
        from lumen_mlir.formats import packing

        return packing.tile_of(fmt, self.attribute())

    def tile_rows(self, fmt: Format) -> int:
        """Rows of the tiles in which a weight of this format is packed."""
        return self.tile(fmt).rows

    def missing(self) -> tuple[str, ...]:
        """The features that this machine's CPU lacks to run the target's code."""
        host = codegen.host_features()
        return tuple(feature for feature in self.needs if not host.get(feature, False))


# From the most capable to the least: the first one that a CPU can run is its native target.
# A register tile is two vectors of rows by 4 tokens: an activation spread over the lanes serves two vectors,
# and what is unpacked of a weight serves 4 tokens. With 32 registers (AVX-512) all of it stays in them, and
# where a product is one instruction, of 6 tokens: a core that starts two a cycle, each of which takes four,
# wants more than 8 sums that do not wait for each other. 16 registers hold the 8 integer sums, the codes and
# an activation; the 8 running float sums, which a span of 32 columns touches once, then lie on the stack: a
# load and a store each beside some 20 to 40 instructions.
TARGETS = (
    Target("x86-64-v4+vnni", "avx512vnni", 512, 32, 6, "x86-64-v4", "+avx512vnni", (*_V4, "avx512vnni")),
    Target("x86-64-v4", "avx512bw", 512, 32, 4, "x86-64-v4", "", _V4),
    Target("x86-64-v3+avxvnni", "avxvnni", 256, 16, 4, "x86-64-v3", "+avxvnni", (*_V3, "avxvnni")),
    Target("x86-64-v3", "avx2", 256, 16, 4, "x86-64-v3", "", _V3),
    Target("x86-64-v2", "ssse3", 128, 8, 4, "x86-64-v2", "", _V2),
    # Plain vector arithmetic, which any CPU that LLVM knows can run: how a port to another one begins.
    Target("generic", "generic", 128, 8, 2, "x86-64"),
)


def names() -> tuple[str, ...]:
    """The names of all targets, and ``native``."""
    return (*(target.name for target in TARGETS), "native")


def native() -> Target:
    """The most capable target that this machine's CPU runs."""
    return next(target for target in TARGETS if not target.missing())


def get(name: str | Target | None) -> Target:
    """The target of this name; ``v3`` is short for ``x86-64-v3``, None and ``native`` are this machine's.

    Raises ``LumenError`` for other names.
    """
    if isinstance(name, Target):
        return name
    if name is None or (isinstance(name, str) and name == "native"):
        return native()
    for target in TARGETS:
        if isinstance(name, str) and name in (target.name, target.name.removeprefix("x86-64-")):
            return target
    raise LumenError(f"unknown target {shown(name)}; there are {', '.join(names())}")


def check_runs(target: Target) -> Target:
    """``target``, if this machine can run its code; ``LumenError`` says what its CPU lacks otherwise."""
    missing = target.missing()
    if missing:
        raise LumenError(
            f"this CPU ({codegen.host_cpu_name()}) cannot run code for target {target.name}: "
            f"it lacks {', '.join(missing)}"
        )
    return target
