# SPDX-License-Identifier: Apache-2.0
"""Random format descriptions, each with a plain NumPy decoder written independently of the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from lumen_mlir.formats.dsl import Codes, f16, f32, i8, per_row, quant_format, u8, unpack


@dataclass(frozen=True)
class Recipe:
    """How weights are stored: bit planes with their chunk sizes, then the scale and the minimum.

    ``planes`` is (width, chunk) from the lowest bits. ``scale`` and ``min`` are two letters: the type of the
    factor per block and of the one per group (f: f16, F: f32, b: i8, n: the low 4 bits of an u8, -: absent).
    ``per_row``: the factors per block stand once per row instead.
    """

    block: int
    group: int
    planes: tuple[tuple[int, int], ...]
    scale: str
    min: str
    table: tuple[int, ...] | None
    bias: int
    per_row: bool = False

    @property
    def bits(self) -> int:
        return sum(width for width, _ in self.planes)

    def fields(self) -> dict:
        kinds = {"f": f16, "F": f32, "b": i8, "n": u8}
        result = {f"plane{i}": u8[self.block * w // 8] for i, (w, _) in enumerate(self.planes)}
        header = {}
        for name, letters in (("scale", self.scale), ("min", self.min)):
            if letters[0] != "-":
                kind = kinds[letters[0]]
                where = header if self.per_row else result
                where[f"{name}_super"] = per_row(kind) if self.per_row else kind
            if letters[1] != "-":
                result[f"{name}_sub"] = kinds[letters[1]][self.block // self.group]
        return header | result

    def build(self, name: str = "random"):
        def decode(b):
            codes, offset = None, 0
            for i, (width, chunk) in enumerate(self.planes):
                plane = unpack(getattr(b, f"plane{i}"), width, chunk=chunk) << offset
                codes = plane if codes is None else codes | plane
                offset += width
            pairs = []
            for factor, letters in (("scale", self.scale), ("min", self.min)):
                keys = [f"{factor}_super", f"{factor}_sub"]
                present = zip(keys, letters, strict=True)
                values = ((x, None if x == "-" else getattr(b, key)) for key, x in present)
                pairs.append(tuple(value & 15 if x == "n" else value for x, value in values))
            return Codes(codes, pairs[0], None if self.min == "--" else pairs[1])

        cls = type("Random", (), {"__annotations__": self.fields(), "decode": decode})
        parameters = {key: getattr(self, key) for key in ("block", "group", "bits", "bias", "table")}
        return quant_format(name, **parameters, register=False)(cls)

    def reference(self, block: np.ndarray) -> np.ndarray:
        """float32 [block] of one block's bytes."""
        parts, at = {}, 0
        for name, kind in self.fields().items():
            parts[name] = block[at : at + kind.bytes].view(getattr(kind, "dtype", kind).numpy)
            at += kind.bytes
        codes = [0] * self.block
        shift = 0
        for i, (width, chunk) in enumerate(self.planes):
            data, per_byte = parts[f"plane{i}"], 8 // width
            for k in range(self.block):
                piece, rest = divmod(k, chunk * per_byte)
                slot, byte = divmod(rest, chunk)
                codes[k] |= (int(data[piece * chunk + byte]) >> (slot * width) & ((1 << width) - 1)) << shift
            shift += width
        values = [self.table[c] if self.table is not None else c + self.bias for c in codes]
        with np.errstate(all="ignore"):
            weights = self._factor(parts, "scale") * np.float32(values)
            if self.min != "--":
                weights = weights - self._factor(parts, "min")
        return weights

    def _factor(self, parts, name) -> np.ndarray:
        product = None
        for level, size in (("super", self.block), ("sub", self.group)):
            if f"{name}_{level}" in parts:
                factor = parts[f"{name}_{level}"]
                factor = factor & 15 if factor.dtype == np.uint8 else factor
                factor = np.repeat(factor.astype(np.float32), size)
                product = factor if product is None else product * factor
        return product


@st.composite
def recipes(draw) -> Recipe:
    block = 32 * draw(st.sampled_from([1, 2, 3, 4, 8]))
    sizes = [g for g in (4, 8, 16, 32, 64, 96, 128, 256) if block % g == 0]
    group = draw(st.sampled_from(sizes))
    planes, bits = [], draw(st.integers(1, 8))
    while bits:
        width = draw(st.sampled_from([w for w in (1, 2, 4, 8) if w <= bits]))
        size = block * width // 8
        planes.append((width, draw(st.sampled_from([c for c in range(1, size + 1) if size % c == 0]))))
        bits -= width
    bits = sum(width for width, _ in planes)
    scales = ["f-", "F-"] if group == block else ["f-", "-b", "-f", "fb", "Fb", "ff", "FF", "-F", "fn", "Fn"]
    table, bias = None, draw(st.integers(-128, 255 - (1 << bits) + 1))
    if bits <= 4 and draw(st.booleans()):
        size = 1 << bits
        table, bias = tuple(draw(st.lists(st.integers(-128, 127), min_size=size, max_size=size))), 0
    scale, minimum = draw(st.sampled_from(scales)), draw(st.sampled_from(["--", *scales]))
    in_header = draw(st.booleans()) and (scale[0] != "-" or minimum[0] != "-")
    return Recipe(block, group, tuple(planes), scale, minimum, table, bias, in_header)
