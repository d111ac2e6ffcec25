# SPDX-License-Identifier: Apache-2.0
"""The targets: what the compiler must know of an instruction set, one row each.

Importing the table loads neither MLIR nor LLVM, so that the command line can name its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import LumenError, shown

if TYPE_CHECKING:
    from lumen_mlir.formats import Format
    from lumen_mlir.formats.packing import Tile

# What the psABI's levels ask of a CPU, by LLVM's names.
_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@dataclass(frozen=True)
class Dot:
    """Dot products that one instruction computes, as the attribute ``#lumen.dot`` has them.

    ``acc[i, j] += sum(lhs[i, l] * rhs[l, j] for l in range(k))`` for m x n sums: ``lhs`` are activations,
    ``rhs`` codes of weights, or the other way round where ``weights_left``, each MLIR's type of an element.
    Where ``accumulates`` is false, the instruction makes the sums alone. ``step`` codes of a column of
    ``rhs`` lie side by side; 0 stands for all k.
    """

    m: int
    n: int
    k: int
    lhs: str = "si8"
    rhs: str = "ui8"
    acc: str = "i32"
    accumulates: bool = True
    step: int = 0
    weights_left: bool = False

    def attribute(self) -> str:
        """The text of the ``#lumen.dot<...>`` attribute."""
        alone = "" if self.accumulates else ", accumulates = false"
        step = f", step = {self.step}" if self.step else ""
        left = ", weights_left = true" if self.weights_left else ""
        return (
            f"#lumen.dot<m = {self.m}, n = {self.n}, k = {self.k}, "
            f"lhs = {self.lhs}, rhs = {self.rhs}, acc = {self.acc}{alone}{step}{left}>"
        )

    def __str__(self) -> str:
        return f"dot {self.m}x{self.n}x{self.k} {self.acc}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A row of the table.

    Attributes:
      triple, cpu, features: LLVM's; they say which instructions may be used. An empty triple is that of the
        machine that compiles.
      needs: the features (LLVM's names) that a CPU must have to run the code.
      slow_on: features of CPUs on which what the row adds is slow: their native target is a later row.
      vector_registers, vector_bits: how many vector registers there are, and their width.
      fma: whether an instruction multiplies and adds floats at once.
      f16: whether instructions convert between f16 and f32.
      cache_line: bytes.
      dot: what multiplies 8-bit codes; None where they become 16-bit ones or meet plain vector arithmetic.
      pair_dot: what multiplies pairs of 16-bit codes; None for plain vector arithmetic.
      mma: what multiplies small matrices of signed 8-bit codes, for products of many tokens; None where
        ``dot`` does these, too. It can be a dot product itself. Weights are unpacked once for many tokens, or
        in the registers of a warp.
      bf16_dot: whether an instruction multiplies pairs of bf16 and adds them to lanes of f32, for weights in
        bf16.
      warp: threads that run the same code, each with a lane of every vector; 1 where a thread has all of it.
      launches: a step is kernels that a host launches one after the other; otherwise all workers run
        one function, and wait for each other in it.
      workers: warps that the largest of these processors runs at the same time, into as many pieces of which
        products of few tokens are cut; 1 where a worker is a thread.
      rows, tokens: a register tile of a product is ``rows`` outputs (lanes of 32 bits) by ``tokens``, as many
        as the registers hold.
    """

    name: str
    triple: str
    cpu: str
    features: str = ""
    needs: tuple[str, ...] = ()
    slow_on: tuple[str, ...] = ()
    vector_registers: int
    vector_bits: int
    fma: bool
    f16: bool
    cache_line: int = 64
    dot: Dot | None = None
    pair_dot: Dot | None = None
    mma: Dot | None = None
    bf16_dot: bool = False
    warp: int = 1
    launches: bool = False
    workers: int = 1
    rows: int
    tokens: int

    def attribute(self) -> str:
        """The text of the ``#lumen.target<...>`` attribute."""
        dots = (("dot", self.dot), ("pair_dot", self.pair_dot), ("mma", self.mma))
        shapes = "".join(f"{name} = {dot.attribute()}, " for name, dot in dots if dot is not None)
        if self.bf16_dot:
            shapes += "bf16_dot = true, "
        if self.warp > 1:
            shapes += f"warp = {self.warp}, "
        if self.workers > 1:
            shapes += f"workers = {self.workers}, "
        return (
            f'#lumen.target<name = "{self.name}", triple = "{self.triple}", cpu = "{self.cpu}", '
            f'features = "{self.features}", vector_registers = {self.vector_registers}, '
            f"vector_bits = {self.vector_bits}, fma = {_boolean(self.fma)}, f16 = {_boolean(self.f16)}, "
            f"cache_line = {self.cache_line}, {shapes}rows = {self.rows}, tokens = {self.tokens}>"
        )

    @property
    def lanes(self) -> int:
        """Lanes of 32 bits of a vector."""
        return self.vector_bits // 32

    @property
    def arithmetic(self) -> str:
        """What multiplies codes, for people: ``dot 1x16x4 i32`` (m, n, k, sums) or ``plain arithmetic``."""
        dot = self.dot or self.pair_dot
        return "plain arithmetic" if dot is None else str(dot)

    def tile(self, fmt: Format) -> Tile:
        """How weights of this format are packed for this target's products."""
        from lumen_mlir.formats import packing

        return packing.tile_of(fmt, self.attribute())

    @property
    def architecture(self) -> str:
        """LLVM's name of its architecture, such as "aarch64"."""
        from lumen_mlir._mlir import codegen

        return codegen.architecture(self.triple)

    @property
    def has_shaders(self) -> bool:
        """Whether each kernel is a shader in SPIR-V."""
        return self.triple.startswith("spirv")

    def is_foreign(self) -> bool:
        """Whether its code is for another architecture than this machine's."""
        from lumen_mlir._mlir import codegen

        return codegen.architecture(self.triple) != codegen.architecture(codegen.host_triple())

    def missing(self) -> tuple[str, ...]:
        """What this machine lacks to run the target's code: its architecture, or features of the CPU."""
        from lumen_mlir._mlir import codegen

        if self.is_foreign():
            return (codegen.architecture(self.triple),)
        host = codegen.host_features()
        return tuple(feature for feature in self.needs if not host.get(feature, False))

    def is_slow(self) -> bool:
        """Whether this machine's CPU has a feature with which the code is slow."""
        from lumen_mlir._mlir import codegen

        host = codegen.host_features()
        return any(host.get(feature, False) for feature in self.slow_on)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _x86(name: str, level: str, needs: tuple[str, ...], *added: str, **row: Any) -> Target:
    """A row of x86-64: a level of the psABI, and features that not all CPUs of the level have."""
    return Target(
        name=name,
        triple="x86_64-unknown-linux-gnu",
        cpu=level,
        features=",".join(f"+{feature}" for feature in added),
        needs=(*needs, *added),
        **row,
    )


def _arm(name: str, *added: str, **row: Any) -> Target:
    """A row of AArch64: Armv8.0-A with NEON, and features."""
    return Target(
        name=name,
        triple="aarch64-unknown-linux-gnu",
        cpu="generic",
        features=",".join(f"+{feature}" for feature in added),
        needs=("fp-armv8", "neon", *added),
        **_NEON,
        **row,
    )


def _wasm(name: str, *added: str, **row: Any) -> Target:
    """A row of WebAssembly with 32-bit addresses: what engines have had since 2021, and features."""
    features = ("simd128", "bulk-memory", "nontrapping-fptoint", *added)
    return Target(
        name=name,
        triple="wasm32-unknown-unknown",
        cpu="generic",
        features=",".join(f"+{feature}" for feature in features),
        needs=features,
        **_SSE,
        pair_dot=_WASM_PAIRS,
        **row,
    )


def _cuda(name: str, processors: int) -> Target:
    """A row of NVIDIA's GPUs: a warp is a vector of 32 lanes of 32 bits."""
    return Target(
        name=name,
        triple="nvptx64-nvidia-cuda",
        cpu=name,
        features="+ptx80",
        needs=("ptx80",),
        dot=_DP4A,
        mma=_MMA_SYNC,
        # Of a processor, so that each finds 128 registers.
        workers=16 * processors,
        **_WARP,
    )


def launched(target: Target) -> Target:
    """The row of the same GPU with a step as launches of kernels, in place of one kernel."""
    return target if target.launches else replace(target, name=f"{target.name}-launches", launches=True)


def _vulkan(name: str) -> Target:
    """A row of GPUs of any maker, by Vulkan 1.3: a workgroup is a warp."""
    return Target(
        name=name,
        triple="spirv64-unknown-vulkan1.3",
        cpu="generic",
        needs=("vulkan1.3",),
        launches=True,
        dot=_DOT_4X8,
        **_WARP,
    )


def _vnni(bits: int) -> dict[str, Dot]:
    """``vpdpbusd`` and ``vpdpwssd`` on vectors of so many bits."""
    return {"dot": Dot(1, bits // 32, 4), "pair_dot": Dot(1, bits // 32, 2, "si16", "si16")}


def _pairs(bits: int) -> dict[str, Dot]:
    """``pmaddubsw``, whose sums have 16 bits, and ``pmaddwd``, which takes them to 32."""
    return {
        "dot": Dot(1, bits // 16, 2, acc="i16", accumulates=False),
        "pair_dot": Dot(1, bits // 32, 2, "si16", "si16", accumulates=False),
    }


_AVX512: dict[str, Any] = {"vector_registers": 32, "vector_bits": 512, "fma": True, "f16": True}
# Cores of Intel that have avx512fp16 split vdpbf16ps into so many operations that f32 is faster.
_AVX512_BF16: dict[str, Any] = {**_AVX512, **_vnni(512), "bf16_dot": True, "slow_on": ("avx512fp16",)}
_AVX2: dict[str, Any] = {"vector_registers": 16, "vector_bits": 256, "fma": True, "f16": True}
_SSE: dict[str, Any] = {"vector_registers": 16, "vector_bits": 128, "fma": False, "f16": False}
_NEON: dict[str, Any] = {"vector_registers": 32, "vector_bits": 128, "fma": True, "f16": True}

# ``i32x4.dot_i16x8_s``, for codes and activations of 16 bits.
_WASM_PAIRS = Dot(1, 4, 2, "si16", "si16", accumulates=False)
# ``i32x4.relaxed_dot_i8x16_i7x16_add_s``: codes of all 8 bits go the other way.
_WASM_RELAXED = Dot(1, 4, 4)

# ``sdot``, and ``smlal``, whose products are not added to each other. With ``usdot``, sums of codes that are
# less by 128 would start from those of the activations.
_SDOT = Dot(1, 4, 4, rhs="si8")
# A warp is a vector of 32 lanes of 32 bits.
_WARP: dict[str, Any] = {
    **{"vector_registers": 128, "vector_bits": 1024, "fma": True, "f16": True, "cache_line": 128},
    **{"warp": 32, "rows": 32, "tokens": 4},
}
# ``dp4a`` in each of 32 threads.
_DP4A = Dot(1, 32, 4, rhs="si8")
# ``mma.sync``: 16 rows by 8 tokens, whose operands are spread over the threads of a warp.
_MMA_SYNC = Dot(16, 8, 32, rhs="si8", weights_left=True)
# ``OpSDot`` and ``OpSUDot`` on words of four codes.
_DOT_4X8 = Dot(1, 32, 4, rhs="si8")
# ``smmla``: 2 tokens by 2 rows.
_SMMLA = Dot(2, 2, 8, rhs="si8")
_SMLAL = Dot(1, 8, 1, rhs="si8", acc="i16")
# ``tdpbssd``: 16 tokens by 16 rows. A span has 32 columns, half of what it takes.
_TDPBSSD = Dot(16, 16, 32, rhs="si8", step=4)
_AMX = ("avx512vnni", "amx-tile", "amx-int8")

_SM_90 = _cuda("sm_90", 132)
_SM_80 = _cuda("sm_80", 108)

# From the most capable to the least: the first one that a machine can run is its native target.
# A register tile is two vectors of rows by 4 tokens: an activation spread over the lanes serves two vectors,
# and what is unpacked of a weight serves 4 tokens. With 32 registers all of it stays in them, and where a
# product is one instruction, of 6 tokens: a core that starts two a cycle, each of which takes four, wants
# more than 8 sums that do not wait for each other. 16 registers hold the 8 integer sums, the codes and an
# activation; the 8 running float sums, which a span of 32 columns touches once, then lie on the stack: a
# load and a store each beside some 20 to 40 instructions.
TARGETS = (
    _x86("x86-64-v4+amx", "x86-64-v4", _V4, *_AMX, **_AVX512, **_vnni(512), mma=_TDPBSSD, rows=32, tokens=6),
    _x86("x86-64-v4+bf16", "x86-64-v4", _V4, "avx512vnni", "avx512bf16", **_AVX512_BF16, rows=32, tokens=6),
    _x86("x86-64-v4+vnni", "x86-64-v4", _V4, "avx512vnni", **_AVX512, **_vnni(512), rows=32, tokens=6),
    _x86("x86-64-v4", "x86-64-v4", _V4, **_AVX512, **_pairs(512), rows=32, tokens=4),
    _x86("x86-64-v3+avxvnni", "x86-64-v3", _V3, "avxvnni", **_AVX2, **_vnni(256), rows=16, tokens=4),
    _x86("x86-64-v3", "x86-64-v3", _V3, **_AVX2, **_pairs(256), rows=16, tokens=4),
    _x86("x86-64-v2", "x86-64-v2", _V2, **_SSE, **_pairs(128), rows=8, tokens=4),
    # Armv8.6-A has bf16, too, as have all earlier CPUs with i8mm.
    _arm("armv8.6-a+i8mm", "dotprod", "i8mm", "bf16", dot=_SDOT, mma=_SMMLA, bf16_dot=True, rows=8, tokens=4),
    _arm("armv8.2-a+dotprod", "dotprod", dot=_SDOT, mma=_SDOT, rows=8, tokens=4),
    # Armv8.0-A, which every 64-bit ARM CPU runs.
    _arm("armv8-a", dot=_SMLAL, rows=8, tokens=3),
    _wasm("wasm32-relaxed-simd", "relaxed-simd", dot=_WASM_RELAXED, rows=8, tokens=4),
    _wasm("wasm32-simd128", rows=8, tokens=4),
    _SM_90,
    _SM_80,
    launched(_SM_90),
    launched(_SM_80),
    _vulkan("vulkan"),
    # Plain vector arithmetic for the machine that compiles, whichever it is: how a port begins. It relies on
    # few registers and no instruction.
    Target(name="generic", triple="", cpu="generic", **_SSE, rows=8, tokens=2),
)

HOST = TARGETS[-1]
"""Runs on any machine that compiles."""


def names() -> tuple[str, ...]:
    """The names of all targets, and ``native``."""
    return (*(target.name for target in TARGETS), "native")


def native() -> Target:
    """The most capable target whose code this machine runs, and runs fast."""
    return next(target for target in TARGETS if not target.missing() and not target.is_slow())


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
    """``target``, if this machine can run its code; ``LumenError`` says what it lacks otherwise."""
    from lumen_mlir._mlir import codegen

    if target.is_foreign():
        raise LumenError(
            f"this machine ({codegen.architecture(codegen.host_triple())}) cannot run code for target "
            f"{target.name} ({codegen.architecture(target.triple)}), only compile it"
        )
    missing = target.missing()
    if missing:
        raise LumenError(
            f"this CPU ({codegen.host_cpu_name()}) cannot run code for target {target.name}: "
            f"it lacks {', '.join(missing)}"
        )
    return target
