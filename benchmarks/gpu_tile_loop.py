# SPDX-License-Identifier: Apache-2.0
"""The loops of ``gpu_tiles.py``: PTX by hand, of which only the instructions matter.

Addresses are plain, so what the loops compute means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_SPAN, _GROUP = 32, 128  # columns of a scale; threads of four warps
_STAGES = 3  # of activations in shared memory
# What integers begin with that become floats by a subtraction, and what is subtracted.
_FIRST, _EXCESS = "0x4b400000", "0fCB400000"


@dataclass(frozen=True)
class Tile:
    """A loop: what is multiplied, in which type, by which instruction, on which rows and tokens of a warp."""

    what: str
    kind: str
    wgmma: bool
    bits: int
    rows: int
    tokens: int

    @property
    def spans(self) -> int:
        """Spans of a turn of the loop, as many as shared memory holds three times for 16 warps."""
        return 2 if self.tokens > 64 else 4

    @property
    def size(self) -> int:
        """Bytes of a number that is multiplied."""
        return 1 if self.kind == "s8" else 2


class Loop:
    """The text of a kernel with the loop of a tile."""

    def __init__(self, tile: Tile) -> None:
        self.tile, self.lines, self.count = tile, [""], 0
        self.parts = tile.rows // 16

    def new(self, kind: str = "r", count: int = 1) -> list[str]:
        """Registers: r and f of 32 bits, d of 64, h of 16, p for predicates."""
        self.count += count
        return [f"%{kind}{self.count - i}" for i in range(count)]

    def emit(self, line: str) -> None:
        self.lines.append(f"\t{line};")

    def make(self, operation: str, *operands: str, kind: str = "r") -> str:
        (result,) = self.new(kind)
        self.emit(f"{operation} {', '.join((result, *operands))}")
        return result

    def load(self, space: str, address: str, count: int, kind: str = "r") -> list[str]:
        words = self.new(kind, count)
        vector = "" if count == 1 else f".v{count}"
        self.emit(f"ld.{space}{vector}.b32 {_braces(words) if count > 1 else words[0]}, [{address}]")
        return words

    def text(self) -> str:
        tile, parts = self.tile, self.parts
        w, x, s, out = (self.make("ld.param.b64", f"[{name}]", kind="d") for name in "wxso")
        turns = self.make("ld.param.b32", "[turns]")
        thread = self.make("mov.u32", "%tid.x")
        lane = self.make("and.b32", thread, "31")
        row = self.make("shr.u32", lane, "2")
        self.lanes = [self.make("add.u32", row, str(8 * i)) for i in range(2 * parts)]
        self.weights, self.scales = self.at(w, thread, 8 * parts), self.at(w, lane, 2)
        self.x, self.x_scales = self.at(x, thread, 16), self.at(s, lane, 8)
        self.always = self.make("setp.eq.u32", turns, turns, kind="p")
        self.never = self.make("setp.ne.u32", turns, turns, kind="p")
        self.sums = [
            self.make("mov.f32", "0f00000000", kind="f") for _ in range(tile.tokens * tile.rows // 32)
        ]
        turn = self.make("mov.u32", "0")
        if tile.wgmma:
            self.begin_stages(thread, lane)
        self.lines.append("LOOP:")
        if tile.wgmma:
            self.fill_stage()
        for span in range(tile.spans):
            self.emit_span(span)
        row_bytes = _SPAN * tile.bits // 8 * tile.spans
        steps = ((self.weights, 32 * row_bytes), (self.scales, 256), (self.x, 128), (self.x_scales, 512))
        for pointer, step in steps:
            self.emit(f"add.s64 {pointer}, {pointer}, {step}")
        if tile.wgmma:
            self.rotate(self.stage)
            self.rotate(self.filled)
        self.emit(f"add.u32 {turn}, {turn}, 1")
        more = self.make("setp.lt.u32", turn, turns, kind="p")
        self.emit(f"@{more} bra LOOP")
        first = self.at(out, thread, 4 * len(self.sums))
        for i, each in enumerate(self.sums):
            self.emit(f"st.global.f32 [{first}+{4 * i}], {each}")
        self.emit("ret")
        types = (("r", "b32"), ("f", "f32"), ("d", "b64"), ("h", "b16"), ("p", "pred"))
        registers = "".join(f"\t.reg .{kind} %{name}<{self.count + 1}>;\n" for name, kind in types)
        parameters = ", ".join([*(f".param .u64 {name}" for name in "wxso"), ".param .u32 turns"])
        return (
            ".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 128 .b8 room[];\n"
            f".visible .entry f({parameters})\n.maxntid 512\n.minnctapersm 1\n{{\n{registers}"
            + "\n".join(self.lines)
            + "\n}\n"
        )

    def at(self, base: str, number: str, size: int) -> str:
        return self.make("mad.wide.u32", number, str(size), base, kind="d")

    @staticmethod
    def stage_size(tile: Tile) -> int:
        """Bytes of the activations of a turn, with their scales."""
        return tile.tokens * tile.spans * (_SPAN * tile.size + 4)

    def begin_stages(self, thread: str, lane: str) -> None:
        tile = self.tile
        self.stage_bytes = self.stage_size(tile)
        self.codes_bytes = self.stage_bytes - 4 * tile.tokens * tile.spans
        group = self.make("shr.u32", thread, "7")
        self.first = self.make(
            "mad.lo.u32", group, str(_STAGES * self.stage_bytes), self.make("mov.u32", "room")
        )
        self.end = self.make("add.u32", self.first, str(_STAGES * self.stage_bytes))
        self.barrier = self.make("add.u32", group, "1")
        self.stage = self.make("mov.u32", self.first)
        self.filled = self.make("add.u32", self.first, str(2 * self.stage_bytes))
        self.own = self.make("mul.lo.u32", self.make("and.b32", thread, str(_GROUP - 1)), "16")
        quarter = self.make("and.b32", lane, "3")
        self.own_scales = self.make("mad.lo.u32", quarter, str(tile.tokens), str(self.codes_bytes))

    def rotate(self, stage: str) -> None:
        following = self.make("add.u32", stage, str(self.stage_bytes))
        last = self.make("setp.eq.u32", following, self.end, kind="p")
        self.emit(f"selp.b32 {stage}, {self.first}, {following}, {last}")

    def fill_stage(self) -> None:
        """Waits for the activations of this turn, and asks for those of the one after the next."""
        self.emit("cp.async.wait_group 1")
        self.emit("fence.proxy.async.shared::cta")
        self.emit(f"barrier.cta.sync.aligned {self.barrier}, {_GROUP}")
        to = self.make("add.u32", self.filled, self.own)
        for i in range(self.codes_bytes // (16 * _GROUP)):
            self.emit(f"cp.async.cg.shared.global [{to}+{16 * _GROUP * i}], [{self.x}+{4096 * i}], 16")
        self.emit(f"cp.async.ca.shared.global [{to}+{self.codes_bytes}], [{self.x_scales}], 8")
        self.emit("cp.async.commit_group")
        address = self.make("cvt.u64.u32", self.make("shr.u32", self.stage, "4"), kind="d")
        self.place = self.make("or.b64", address, "0x0000001000080000", kind="d")
        self.stage_scales = self.make("add.u32", self.stage, self.own_scales)

    def emit_span(self, span: int) -> None:
        tile = self.tile
        words = [
            word
            for i in range(tile.bits // 4)
            for word in self.load("global", f"{self.weights}+{span * 512 + 256 * i}", 2 * self.parts)
        ]
        scales = self.row_scales(span)
        operands = self.expand(words, scales)
        if tile.what == "codes":
            return self.scale_each(span, operands, scales)
        sums = self.sums
        if tile.what == "codes x scales":
            if not span:
                self.exact = self.new("f", len(sums))
            sums = self.exact
        self.multiply(span, operands, sums, begins=sums is not self.sums and not span)
        if sums is not self.sums and span == tile.spans - 1:
            floats = [
                self.make("mov.b32", scale, kind="f") for scale in self.row_scales(span + 1, whole=True)
            ]
            self.scale(
                0, self.exact, lambda i, row: self.make("mul.rn.f32", self.exact[i], floats[row], kind="f")
            )
        return None

    def row_scales(self, span: int, whole: bool = False) -> list[str]:
        """A lane loads the scale of a row and gets those of its own rows: as f32, or as pairs of 16 bits."""
        place = f"[{self.scales}+{64 * span}]"
        if self.tile.what == "codes" or whole:
            half = self.make("ld.global.b16", place, kind="h")
            scale = self.make("mov.b32", self.make("cvt.f32.f16", half, kind="f"))
        else:
            half = self.make("ld.global.b16", place, kind="h")
            if self.tile.what == "codes x scales":
                half = self.make("cvt.rn.f16.s16", half, kind="h")
            scale = self.make("mov.b32", f"{{{half}, {half}}}")
        return [self.make("shfl.sync.idx.b32", scale, lane, "31", "-1") for lane in self.lanes]

    def expand(self, words: list[str], scales: list[str]) -> list[str]:
        """What an instruction multiplies, of words of codes: of two rows in turn."""
        tile = self.tile
        if tile.kind == "s8":
            return words if tile.bits == 8 else [each for word in words for each in self.signed_bytes(word)]
        if tile.bits == 8:
            return [each for word in words for each in self.pairs_of_bytes(word)]
        # The bits of a float, 2^7 or 2^10, have room for a code.
        first = "0x43004300" if tile.kind == "bf16" else "0x64006400"
        result = []
        for i, word in enumerate(words):
            if tile.what == "codes":
                factor, less = "%one", "%less"
            else:
                factor = scales[i % len(scales)]
                less = self.make(f"mul.rn.{tile.kind}x2", factor, "%less")
            for shift in range(0, 16, 4):
                field = self.make("shr.u32", word, str(shift)) if shift else word
                bits = self.make("lop3.b32", field, "0x000f000f", first, "0xea")
                result.append(self.make(f"fma.rn.{tile.kind}x2", bits, factor, less))
        value = {"bf16": ("0x3f803f80", "0xc308c308"), "f16": ("0x3c003c00", "0xe400e400")}[tile.kind]
        self.lines[0] = f"\t.reg .b32 %one, %less;\n\tmov.b32 %one, {value[0]};\n\tmov.b32 %less, {value[1]};"
        return result

    def signed_bytes(self, word: str) -> list[str]:
        result = []
        for field in (word, self.make("shr.u32", word, "4")):
            codes = self.make("add.s32", self.make("and.b32", field, "0x0f0f0f0f"), "0x78787878")
            result.append(self.make("xor.b32", codes, "0x80808080"))
        return result

    def pairs_of_bytes(self, word: str) -> list[str]:
        word = self.make("xor.b32", word, "0x80808080")
        floats = []
        for i in range(4):
            bits = self.make("prmt.b32", word, "0x4b000000", hex(0x7540 | i))
            floats.append(
                self.make("add.rn.f32", self.make("mov.b32", bits, kind="f"), "0fCB000080", kind="f")
            )
        return [self.make("cvt.rn.bf16x2.f32", floats[i + 1], floats[i]) for i in (0, 2)]

    def multiply(self, span: int, operands: list[str], sums: list[str], begins: bool) -> None:
        """Adds the products of a span to sums in f32; `begins` makes these sums alone."""
        tile = self.tile
        if tile.wgmma:
            steps = [
                (operands[4 * i : 4 * i + 4], self.never if begins and not i else self.always)
                for i in range(2)
            ]
            return self.multiply_group(f"k16.f32.{tile.kind}.{tile.kind}", span, sums, steps, ", 1, 1, 0")
        zeros = _braces(["0f00000000"] * 4)
        for part in range(tile.tokens // 8):
            x = self.load("global", f"{self.x}+{8192 * part + 64 * span}", 4)
            for row in range(self.parts):
                own = _braces(sums[4 * (part * self.parts + row) :][:4])
                for i in range(2):
                    before = zeros if begins and not i else own
                    left = _braces(operands[8 * row + 4 * i :][:4])
                    shape = f"m16n8k16.row.col.f32.{tile.kind}.{tile.kind}.f32"
                    self.emit(
                        f"mma.sync.aligned.{shape} {own}, {left}, {_braces(x[2 * i : 2 * i + 2])}, {before}"
                    )

    def multiply_group(
        self, kind: str, span: int, sums: list[str], steps: list[tuple[list[str], str]], tail: str = ""
    ) -> None:
        """Products of four warps, which wait for them: operands, and whether sums are added to theirs."""
        tokens = self.tile.tokens
        self.emit("wgmma.fence.sync.aligned")
        for i, (left, adds) in enumerate(steps):
            offset = 2 * tokens * (span * self.tile.size + i)
            place = self.make("add.u64", self.place, str(offset), kind="d")
            operation = f"wgmma.mma_async.sync.aligned.m64n{tokens}{kind}"
            self.emit(f"{operation} {_braces(sums)}, {_braces(left)}, {place}, {adds}{tail}")
        self.emit("wgmma.commit_group.sync.aligned")
        self.emit("wgmma.wait_group.sync.aligned 0")

    def scale_each(self, span: int, operands: list[str], scales: list[str]) -> None:
        """The products of a span, scaled by row and by token."""
        tile = self.tile
        floats = [self.make("mov.b32", scale, kind="f") for scale in scales]
        if tile.kind == "bf16":
            sums = self.new("f", len(self.sums))
            self.multiply(span, operands, sums, begins=True)
            return self.scale(
                span, sums, lambda i, row: self.make("mul.rn.f32", sums[i], floats[row], kind="f")
            )
        excess = [self.make("mul.rn.f32", scale, _EXCESS, kind="f") for scale in floats]
        words = self.new("r", len(self.sums))
        if tile.wgmma:
            # It adds to what is there.
            for word in words:
                self.emit(f"mov.b32 {word}, {_FIRST}")
            self.multiply_group("k32.s32.s8.s8", span, words, [(operands, self.always)])
        else:
            first = _braces([self.make("mov.b32", _FIRST)] * 4)
            for part in range(tile.tokens // 8):
                x = self.load("global", f"{self.x}+{8192 * part + 32 * span}", 2)
                for row in range(self.parts):
                    own = _braces(words[4 * (part * self.parts + row) :][:4])
                    left = _braces(operands[4 * row : 4 * row + 4])
                    shape = "m16n8k32.row.col.s32.s8.s8.s32"
                    self.emit(f"mma.sync.aligned.{shape} {own}, {left}, {_braces(x)}, {first}")

        def scaled(i: int, row: int) -> str:
            value = self.make("mov.b32", words[i], kind="f")
            return self.make("fma.rn.f32", value, floats[row], excess[row], kind="f")

        return self.scale(span, words, scaled)

    def scale(self, span: int, sums: list[str], scaled: Callable[[int, int], str]) -> None:
        """Adds what `scaled(number, row)` says of each sum, times the scale of its token."""
        tile = self.tile
        # Two tokens of a part of eight are neighbours in a lane.
        for part in range(0, tile.tokens // 8, 2):
            if tile.wgmma:
                x = self.load("shared", f"{self.stage_scales}+{4 * tile.tokens * span + 8 * part}", 4, "f")
            else:
                x = [
                    each
                    for i in range(2)
                    for each in self.load("global", f"{self.x_scales}+{64 * (part + i) + 128 * span}", 2, "f")
                ]
            for i in range(2 * 4 * self.parts):
                number = 4 * self.parts * part + i
                value = scaled(number, i // 2 % (2 * self.parts))
                token = x[2 * (i // (4 * self.parts)) + i % 2]
                self.emit(f"fma.rn.f32 {self.sums[number]}, {value}, {token}, {self.sums[number]}")


def _braces(registers: list[str]) -> str:
    return "{" + ", ".join(registers) + "}"
