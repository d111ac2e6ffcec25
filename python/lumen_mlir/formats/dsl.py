# SPDX-License-Identifier: Apache-2.0
"""The language formats are written in.

A format is a class whose annotations are the storage fields of one block in file order, and whose
``decode(b)`` turns them into integer codes and scales::

    @quant_format("q4_0", block=32, bits=4, bias=-8, ggml_type=2)
    class Q4_0:
        d: f16
        qs: u8[16]

        def decode(b):
            return Codes(unpack(b.qs, 4), scale=b.d)

A field ``d: per_row(f32)`` stands once at the start of every row, before its blocks: a scale per output
channel.

``decode`` is traced once. The graph it leaves is evaluated by NumPy (the reference dequantizer) and printed
as the region of ``lumen.format`` (the source of every kernel).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import LumenError
from . import graph, registry
from .bounds import bounds
from .described import DescribedFormat
from .graph import (
    DType,
    Expression,
    Field,
    bf16,
    bitcast,
    broadcast,
    equal,
    f16,
    f32,
    i8,
    i16,
    i32,
    per_row,
    take,
    u8,
    u16,
    u32,
    where,
)
from .overlap import check_overlaps, field_names
from .quantized import Factor
from .rearrange import concat, interleave, lookup, repeat, tile, unpack

__all__ = [
    "Codes", "Expression", "bf16", "bitcast", "broadcast", "concat", "equal", "f16", "f32", "i16", "i32",
    "i8", "interleave", "lookup", "per_row", "quant_format", "repeat", "take", "tile", "u16", "u32", "u8",
    "unpack", "where",
]  # fmt: skip

FactorSpec = Expression | tuple[Expression | None, Expression | None] | None
_Class = TypeVar("_Class", bound=type)


@dataclass(frozen=True)
class Codes:
    """What ``decode`` returns: weight[k] = scale[k // group] * value(codes[k]) - min[k // group].

    Attributes:
      codes: u8 vector of ``block`` codes, each in [0, 2**bits).
      scale: (super, sub): a float per block and a vector of i8 or float per group, of which one may be
        None; the scale is f32(super) * f32(sub). A single expression stands for the factor it fits.
      min: the same for the minimum, or None.
    """

    codes: Expression
    scale: FactorSpec
    min: FactorSpec = None


class _Block:
    """The ``b`` of ``decode``: storage fields as expressions, each use recorded."""

    _name: str
    _fields: dict[str, Expression]

    def __init__(self, name: str, fields: dict[str, Field]):
        self.__dict__["_name"] = name
        self.__dict__["_fields"] = {key: graph.field(key, kind) for key, kind in fields.items()}

    def __getattr__(self, key: str) -> Expression:
        if key not in self._fields:
            declared = ", ".join(self._fields)
            raise LumenError(f"decode uses the undeclared field '{key}' (declared: {declared})")
        return self._fields[key]


def _storage(cls: type) -> dict[str, Field]:
    try:
        annotations = inspect.get_annotations(cls, eval_str=True)
    except NameError as error:
        raise LumenError(f"a storage field has an unknown type: {error}") from error
    fields: dict[str, Field] = {}
    for key, kind in annotations.items():
        kind = Field(kind) if isinstance(kind, DType) else kind
        if not key.isascii():
            raise LumenError(f"field '{key}': a name is letters, digits and '_'")
        if not isinstance(kind, Field):
            raise LumenError(f"field '{key}' has type {kind!r}; expected u8, f16, … or a vector as in u8[16]")
        if kind.in_header and fields and not next(reversed(fields.values())).in_header:
            raise LumenError(f"field '{key}' stands once per row, so it comes before those of the blocks")
        fields[key] = kind
    if not fields:
        raise LumenError("no storage fields; annotate them in file order, as in 'd: f16'")
    if all(kind.in_header for kind in fields.values()):
        raise LumenError("all storage fields stand once per row; a block needs one of its own")
    return fields


def _signed(name: str, sub: Expression) -> Expression:
    """A group factor as i8 or float; unsigned values that fit i8 are reinterpreted."""
    if sub.dtype.kind == "f" or sub.dtype is i8:
        return sub
    low, high = bounds(sub)
    if low.min() < -128 or high.max() > 127:
        raise LumenError(
            f"the {name} of a group, of {field_names(sub)}, may be {low.min()} to {high.max()} "
            f"({sub.dtype}), which does not fit i8"
        )
    return bitcast(sub, i8) if sub.dtype is u8 else i8(sub)


def _factor(name: str, spec: FactorSpec, groups: int) -> Factor:
    if isinstance(spec, Expression):
        spec = (spec, None) if spec.length is None else (None, spec)
    if not isinstance(spec, tuple) or len(spec) != 2 or (spec[0] is None and spec[1] is None):
        raise LumenError(f"{name} is not an expression or a pair (super, sub) of them")
    per_block, per_group = spec
    if per_block is not None and not (
        isinstance(per_block, Expression) and per_block.length is None and per_block.dtype.kind == "f"
    ):
        raise LumenError(f"the super-{name} must be a floating-point scalar, one per block")
    if per_group is not None:
        if groups == 1:
            raise LumenError(f"the group is the whole block, so the {name} must be one float per block")
        if not isinstance(per_group, Expression) or per_group.length != groups:
            length = getattr(per_group, "length", None)
            raise LumenError(f"the sub-{name} has {length or 1} elements, but the block has {groups} groups")
        per_group = _signed(name, per_group)
    return Factor(per_block, per_group)


def _check_parameters(
    name: str, block: int, group: int, bits: int, table: Sequence[int] | None, bias: int
) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise LumenError("a name is lower-case letters, digits and '_', starting with a letter")
    for key, value in (("block", block), ("group", group), ("bits", bits), ("bias", bias)):
        if not _is_whole(value):
            raise LumenError(f"{key} is {value!r}; a whole number was expected")
    if block < 32 or block % 32:
        raise LumenError(f"block({block}) must be a positive multiple of 32")
    if group < 1 or block % group:
        raise LumenError(f"group({group}) does not divide block({block})")
    if group not in (4, 8, 16) and group % 32:
        raise LumenError(f"group({group}) must be 4, 8, 16 or a multiple of 32")
    if not 1 <= bits <= 8:
        raise LumenError(f"bits({bits}) must be from 1 to 8")
    if table is None:
        if bias < -128 or bias + (1 << bits) - 1 > 255:
            raise LumenError(f"bias({bias}) takes {bits}-bit codes outside -128 to 255")
        return
    if bias:
        raise LumenError("table and bias exclude each other")
    if bits > 4:
        raise LumenError(f"a table needs codes of at most 4 bits, not {bits}")
    if not 1 <= len(table) <= 1 << bits:
        raise LumenError(f"table has {len(table)} entries, but {bits}-bit codes reach {1 << bits}")
    for value in table:
        if not _is_whole(value):
            raise LumenError(f"table holds {value!r}; whole numbers were expected")
        if not -128 <= value <= 127:
            raise LumenError(f"table holds {value}, which does not fit i8")


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_codes(fmt: DescribedFormat) -> None:
    """Every code has a value: by intervals, or else on many random blocks."""
    limit, end = 1 << fmt.bits, f"bits({fmt.bits}) end"
    if fmt.table is not None:
        limit, end = len(fmt.table), f"the table of {len(fmt.table)} ends"
    if bounds(fmt.codes)[1].max() < limit:
        return
    raw = np.random.default_rng(0).integers(0, 256, (4098, fmt.row_bytes(fmt.block)), dtype=np.uint8)
    raw[0], raw[1] = 0, 255
    codes = fmt.decode_codes(raw).codes
    if codes.max() >= limit:
        raise LumenError(f"codes, of {field_names(fmt.codes)}, reach {codes.max()}, but {end} at {limit - 1}")


def _traced(decode: Callable, block: _Block) -> object:
    try:
        return decode(block)
    except LumenError:
        raise
    except Exception as error:
        raise LumenError(f"decode failed: {type(error).__name__}: {error}") from error


def define(
    cls: type, name: str, block: int, bits: int, group: int | None, bias: int, table: Sequence[int] | None,
    ggml_type: int | None, size: int | None,
) -> DescribedFormat:  # fmt: skip
    """Traces and checks one description; see ``quant_format``."""
    group = block if group is None else group
    _check_parameters(name, block, group, bits, table, bias)
    fields = _storage(cls)
    in_block = {key: kind.bytes for key, kind in fields.items() if not kind.in_header}
    if size is not None and size != sum(in_block.values()):
        sizes = " + ".join(f"{key} {count}" for key, count in in_block.items())
        raise LumenError(f"the fields do not add up to {size} bytes: {sizes}")
    if "decode" not in vars(cls):
        raise LumenError("no decode(b) method")
    decoded = _traced(vars(cls)["decode"], _Block(name, fields))
    if not isinstance(decoded, Codes):
        raise LumenError(f"decode returned {type(decoded).__name__}, expected Codes(codes, scale=…)")
    codes = decoded.codes
    if not isinstance(codes, Expression) or codes.dtype not in (u8, i8) or codes.length != block:
        found = f"{codes.length or 1} x {codes.dtype}" if isinstance(codes, Expression) else repr(codes)
        raise LumenError(f"codes are {found}, expected {block} x u8")
    codes = bitcast(codes, u8) if codes.dtype is i8 else codes
    scale = _factor("scale", decoded.scale, block // group)
    minimum = None if decoded.min is None else _factor("min", decoded.min, block // group)
    fmt = DescribedFormat(
        name=name, block=block, group=group, bits=bits, bias=bias,
        table=None if table is None else tuple(int(value) for value in table), ggml_type=ggml_type,
        fields=fields, codes=codes, scale=scale, min=minimum, description=cls,
    )  # fmt: skip
    nodes = graph.reachable(fmt.roots)
    used = {node.payload for node in nodes if node.operation == "field"}
    for key in fields:
        if key not in used and not key.startswith("_"):
            raise LumenError(f"field '{key}' is never used by decode; name it '_{key}' if it is padding")
    for node in nodes:
        if node.operation == "lookup":
            bounds(node)  # refuses an index that may leave its table
    check_overlaps(fmt.roots)
    _check_codes(fmt)
    return fmt


def quant_format(
    name: str, *, block: int, bits: int, group: int | None = None, bias: int = 0,
    table: Sequence[int] | None = None, ggml_type: int | None = None, size: int | None = None,
    register: bool = True,
) -> Callable[[_Class], DescribedFormat]:  # fmt: skip
    """Class decorator that turns a description into a format and registers it.

    Args:
      name: lower-case name, as in ``lumen.format @name``.
      block: weights per block, a multiple of 32.
      bits: significant bits of a code, 1 to 8.
      group: weights per scale: 4, 8, 16 or a multiple of 32 that divides ``block`` (default: the block).
      bias: value(code) = code + bias.
      table: value(code) = table[code]; at most 2**bits values from -128 to 127, for codes of up to 4 bits.
      ggml_type: type id in GGUF files, if it has one.
      size: bytes per block (without fields per row), to be checked against the fields.
      register: make it known to ``formats.get`` (a second format of that name is refused).

    Raises LumenError, naming the format and the field, where the description contradicts itself.
    """

    def decorate(cls: _Class) -> DescribedFormat:
        try:
            fmt = define(cls, name, block, bits, group, bias, table, ggml_type, size)
        except LumenError as error:
            raise LumenError(f"format '{name}': {error}") from error
        if register:
            registry.register(fmt)
        return fmt

    return decorate
