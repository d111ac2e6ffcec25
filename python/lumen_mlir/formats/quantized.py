# SPDX-License-Identifier: Apache-2.0
"""A quantization format as traced from its description, and what it means in NumPy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from ..errors import LumenError
from .arrays import to_float32, whole_length
from .evaluate import evaluate
from .graph import DType, Expression, Field, reachable
from .stored import Stored, choose

# Weights decoded at once: intermediates of a batch stay in the cache.
_BATCH = 1 << 18


@dataclass(frozen=True)
class Factor:
    """A scale or minimum: ``f32(super) * f32(sub)``, of which one may be absent.

    Attributes:
      super: scalar of a float type, one per block (or row, if it depends on fields per row only).
      sub: vector of i8 or a float type, one element per group.
    """

    super: Expression | None
    sub: Expression | None

    @property
    def types(self) -> tuple[DType | None, DType | None]:
        per_block, per_group = (None if part is None else part.dtype for part in (self.super, self.sub))
        return per_block, per_group

    @property
    def parts(self) -> list[Expression]:
        return [part for part in (self.super, self.sub) if part is not None]


Pair = tuple[np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True)
class Decoded:
    """Codes and factors of a batch of rows, in storage types (bf16 as uint16).

    Attributes:
      codes: uint8 [..., K].
      scale: (super [..., K / block] or None, sub [..., K / group] or None).
      min: the same, or None for a format without minimum.
    """

    codes: np.ndarray
    scale: Pair
    min: Pair | None


@dataclass(frozen=True, eq=False)
class QuantFormat:
    """One quantization format; users hold a ``DescribedFormat``, which has what is built on this too.

    Attributes:
      name: lower-case.
      block: weights per block.
      group: weights per scale.
      bits: significant bits of a code.
      bias: value(code) = code + bias.
      table: value(code) = table[code]; None without a table.
      ggml_type: the number of the type in GGUF files; None where files number it.
      fields: storage fields of one block in file order.
      codes: the codes of a block, as an expression over the fields.
      scale: the scales of a block, likewise.
      min: the minima of a block, likewise; None for a format without them.
      description: the class it was written as.
    """

    name: str
    block: int
    group: int
    bits: int
    bias: int
    table: tuple[int, ...] | None
    ggml_type: int | None
    fields: dict[str, Field]
    codes: Expression = field(repr=False)
    scale: Factor = field(repr=False)
    min: Factor | None = field(repr=False)
    description: type = field(repr=False)

    is_float: ClassVar[Literal[False]] = False

    @cached_property
    def bytes_per_block(self) -> int:
        return sum(kind.bytes for kind in self.fields.values() if not kind.in_header)

    @cached_property
    def header_bytes(self) -> int:
        """Bytes of the fields that stand once at the start of a row."""
        return sum(kind.bytes for kind in self.fields.values() if kind.in_header)

    @property
    def header(self) -> set[str]:
        """The names of the fields that stand once at the start of a row."""
        return {key for key, kind in self.fields.items() if kind.in_header}

    def of_rows(self, factor: Factor) -> bool:
        """True where the factor per block depends on nothing but what stands once per row."""
        nodes = reachable([] if factor.super is None else [factor.super])
        fields = {node.payload for node in nodes if node.operation == "field"}
        return bool(fields) and fields <= self.header

    @property
    def bits_per_weight(self) -> float:
        """Bits per weight in the file, without what stands once per row."""
        return 8 * self.bytes_per_block / self.block

    @cached_property
    def _chosen(self) -> tuple[list[Stored], list[Expression]]:
        parts = {
            f"{name}.{level}": part
            for name, factor in self.factors
            for level, part in (("super", factor.super), ("sub", factor.sub))
            if part is not None
        }
        return choose(parts, self.header)

    @property
    def stored(self) -> list[Stored]:
        """What a packed weight keeps of the factors."""
        return self._chosen[0]

    @property
    def completions(self) -> list[Expression]:
        """The factors that are present, in the order of ``roots``, as expressions over ``stored``."""
        return self._chosen[1]

    @property
    def factors(self) -> Iterator[tuple[str, Factor]]:
        yield "scale", self.scale
        if self.min is not None:
            yield "min", self.min

    @property
    def roots(self) -> list[Expression]:
        """Codes, then the factors that are present, in the order of ``lumen.decoded``."""
        return [self.codes, *(part for _, factor in self.factors for part in factor.parts)]

    @cached_property
    def values(self) -> np.ndarray:
        """float32 [2**bits]: the value of each code, zero past the end of a table."""
        values = np.zeros(1 << self.bits, dtype=np.float32)
        if self.table is None:
            values[:] = np.arange(1 << self.bits) + self.bias
        else:
            values[: len(self.table)] = self.table
        return values

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on what blocks mean, not on how the description is written.

        Two formats of one fingerprint and block size give the same weights for the same bytes.
        """
        size = self.row_bytes(self.block)
        # Bytes that no library chooses: they stay what they are.
        raw = np.frombuffer(hashlib.shake_256(b"lumen").digest(64 * size), np.uint8).reshape(64, size)
        weights = self.dequantize(raw)
        weights = np.where(np.isnan(weights), np.float32(np.nan), weights).astype("<f4")
        head = f"{self.block} {size} ".encode()
        return hashlib.blake2b(head + weights.tobytes(), digest_size=8).hexdigest()

    def row_bytes(self, length: int) -> int:
        """Bytes of a row of ``length`` weights; LumenError if it is not a whole number of blocks."""
        length = whole_length(length)
        if length % self.block:
            raise LumenError(
                f"a row of {length} weights is not a multiple of the block of {self.name}, {self.block}"
            )
        return self.header_bytes + length // self.block * self.bytes_per_block

    def _blocks(self, raw: np.ndarray) -> np.ndarray:
        """Rows of bytes as blocks [n, header and block]: each has the row's header in front."""
        if not isinstance(raw, np.ndarray):
            raise LumenError(f"{self.name} data must be an array of bytes, not {type(raw).__name__}")
        if raw.dtype != np.uint8 or not raw.ndim:
            raise LumenError(f"{self.name} data must be an array of bytes, not {raw.dtype} {raw.shape}")
        blocks = raw[..., self.header_bytes :]
        if blocks.shape[-1] % self.bytes_per_block or raw.shape[-1] < self.header_bytes:
            before = f"{self.header_bytes} bytes and " if self.header_bytes else ""
            raise LumenError(
                f"a row of {raw.shape[-1]} bytes is not {before}a multiple of the block of {self.name}, "
                f"{self.bytes_per_block} bytes"
            )
        if not self.header_bytes:
            return raw.reshape(-1, self.bytes_per_block)
        blocks = blocks.reshape(*raw.shape[:-1], -1, self.bytes_per_block)
        header = np.broadcast_to(raw[..., None, : self.header_bytes], (*blocks.shape[:-1], self.header_bytes))
        joined = np.concatenate([header, blocks], axis=-1)
        return joined.reshape(-1, self.header_bytes + self.bytes_per_block)

    def _split(self, blocks: np.ndarray) -> dict[str, np.ndarray]:
        """The storage fields of blocks [n, bytes]."""
        fields: dict[str, np.ndarray] = {}
        offset = 0
        for key, kind in self.fields.items():
            part = blocks[:, offset : offset + kind.bytes]
            fields[key] = np.ascontiguousarray(part).view(kind.dtype.numpy)
            offset += kind.bytes
        return fields

    def _evaluate(self, blocks: np.ndarray) -> Decoded:
        """Decodes blocks [n, bytes]: codes [n, block], super [n, 1], sub [n, groups]."""
        results = iter(evaluate(self.roots, self._split(blocks)))
        codes = next(results)
        # A root that depends on no field is the same for every block.
        results = iter([np.broadcast_to(value, (len(blocks), value.shape[-1])) for value in results])

        def pair(factor: Factor) -> Pair:
            per_block, per_group = (
                next(results) if part is not None else None for part in (factor.super, factor.sub)
            )
            return per_block, per_group

        scale = pair(self.scale)
        codes = np.broadcast_to(codes, (len(blocks), self.block))
        return Decoded(codes, scale, None if self.min is None else pair(self.min))

    def _batches(self, blocks: np.ndarray) -> Iterator[tuple[slice, Decoded]]:
        step = max(1, _BATCH // self.block)
        for start in range(0, len(blocks), step):
            part = slice(start, start + step)
            yield part, self._evaluate(blocks[part])

    def _count(self, raw: np.ndarray) -> int:
        """Blocks per row of bytes."""
        return (raw.shape[-1] - self.header_bytes) // self.bytes_per_block

    def decode_codes(self, raw: np.ndarray) -> Decoded:
        """Decodes rows of bytes, uint8 [..., row_bytes(K)], into codes and factors."""
        blocks, shape = self._blocks(raw), raw.shape[:-1]
        parts = [part for _, part in self._batches(blocks)] or [self._evaluate(blocks)]

        def join(arrays: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(arrays).reshape(*shape, self._count(raw) * arrays[0].shape[-1])

        def pair(name: str) -> Pair:
            columns = zip(*(getattr(part, name) for part in parts), strict=True)
            per_block, per_group = (None if column[0] is None else join(list(column)) for column in columns)
            return per_block, per_group

        minimum = None if self.min is None else pair("min")
        return Decoded(join([part.codes for part in parts]), pair("scale"), minimum)

    def decode_stored(self, raw: np.ndarray) -> list[np.ndarray]:
        """What a packed weight keeps of the factors of rows of bytes: one array [..., n] per ``stored``.

        n is K / group or K / block, and 1 for what belongs to the row.
        """
        blocks, shape = self._blocks(raw), raw.shape[:-1]
        values = evaluate([each.value for each in self.stored], self._split(blocks))
        arrays = []
        for each, value in zip(self.stored, values, strict=True):
            # A value that depends on no field is the same for every block.
            array = np.broadcast_to(value, (len(blocks), value.shape[-1])).reshape(*shape, -1)
            arrays.append(array[..., :1] if each.level == "row" else array)
        return arrays

    def complete(self, stored: list[np.ndarray], length: int) -> tuple[Pair, Pair | None]:
        """The factors (scale, min) of rows of ``length`` weights from what ``decode_stored`` gives."""
        blocks = {}
        for each, kept in zip(self.stored, stored, strict=True):
            if each.level == "row":
                kept = np.repeat(kept, length // self.block, axis=-1)
            blocks[each.name] = kept.reshape(-1, each.value.length or 1)
        values = iter(evaluate(self.completions, blocks))

        def array(part: Expression | None) -> np.ndarray | None:
            if part is None:
                return None
            return next(values).astype(part.dtype.numpy).reshape(*stored[0].shape[:-1], -1)

        def pair(factor: Factor) -> Pair:
            return array(factor.super), array(factor.sub)

        return pair(self.scale), None if self.min is None else pair(self.min)

    @cached_property
    def _nonfinite(self) -> dict[str, np.ndarray | None]:
        """What ``nonfinite_values`` has found."""
        return {}

    def nonfinite_values(self, kept: Stored) -> np.ndarray | None:
        """For an integer that is kept of factors: whether each of its values stands for no finite float.

        bool [2^bits]; None where all are finite, or where ``kept`` is a float.
        """
        if kept.value.dtype.kind == "f" or kept.value.dtype.bits > 16:
            return None
        if kept.name not in self._nonfinite:
            values = np.arange(1 << kept.value.dtype.bits).astype(kept.value.dtype.numpy)
            bad = np.zeros(len(values), bool)
            for completion in self.completions:
                leaves = [each for each in reachable([completion]) if each.operation == "stored"]
                if completion.dtype.kind == "f" and [leaf.payload for leaf in leaves] == [kept.name]:
                    # One block for each value, with the value in all of its groups.
                    blocks = np.repeat(values[:, None], kept.value.length or 1, axis=1)
                    (factors,) = evaluate([completion], {kept.name: blocks})
                    bad |= ~np.isfinite(to_float32(factors, completion.dtype)).all(axis=1)
            self._nonfinite[kept.name] = bad if bad.any() else None
        return self._nonfinite[kept.name]

    def dequantize(self, raw: np.ndarray) -> np.ndarray:
        """The reference dequantizer: rows of bytes, uint8 [..., row_bytes(K)] -> float32 [..., K]."""
        blocks = self._blocks(raw)
        output = np.empty((len(blocks), self.block), dtype=np.float32)
        for part, decoded in self._batches(blocks):
            output[part] = self.dequantize_decoded(decoded)
        return output.reshape(*raw.shape[:-1], self._count(raw) * self.block)

    def dequantize_decoded(self, decoded: Decoded) -> np.ndarray:
        """float32 [..., K] of already decoded codes and factors."""
        shape = decoded.codes.shape
        with np.errstate(all="ignore"):
            weights = self.values[decoded.codes].reshape(*shape[:-1], -1, self.group)
            weights *= self.combine("scale", decoded.scale)[..., None]
            if decoded.min is not None:
                weights -= self.combine("min", decoded.min)[..., None]
        return weights.reshape(shape)

    def combine(self, name: str, pair: Pair) -> np.ndarray:
        """float32 [..., K / group]: f32(super) * f32(sub) of the factor ``name`` ("scale" or "min")."""
        types = dict(self.factors)[name].types
        per_block, per_group = (
            None if array is None or dtype is None else to_float32(array, dtype)
            for array, dtype in zip(pair, types, strict=True)
        )
        if per_block is not None and self.group != self.block:
            per_block = np.repeat(per_block, self.block // self.group, axis=-1)
        if per_group is None:
            assert per_block is not None, "a factor has at least one part"
            return per_block
        with np.errstate(all="ignore"):
            return per_group if per_block is None else per_block * per_group
