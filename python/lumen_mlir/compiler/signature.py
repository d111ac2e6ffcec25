# SPDX-License-Identifier: Apache-2.0
"""What a compiled function takes: read from the module, kept beside the object, checked at every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lumen_mlir import ir
from lumen_mlir.compiler import bounds
from lumen_mlir.compiler.bounds import Bound
from lumen_mlir.errors import LumenError
from lumen_mlir.formats.packing import Tile

# bfloat16 has no NumPy type: its bits are passed.
DTYPES: dict[str, np.dtype] = {
    "f16": np.dtype("<f2"), "f32": np.dtype("<f4"), "f64": np.dtype("<f8"), "bf16": np.dtype("<u2"),
    "i1": np.dtype("?"), "i8": np.dtype("i1"), "i16": np.dtype("<i2"), "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"), "index": np.dtype("<i8"),
}  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One argument of a compiled function.

    Attributes:
      element: "f32", "i8", "index", … of a buffer or of a number.
      shape: of a buffer, with None for a dimension that calls choose; None for a number.
      name: of the model's tensor that belongs here (``lumen.name``).
      result: which result of the function the buffer holds afterwards.
      out: the buffer is only written.
      rows: of an out argument: the argument that has as many rows.
      tokens: the rows are tokens, of which the module allows a limited number.
      alignment: bytes of which the address must be a multiple; 64 for packed weights.
      tile: of a packed weight: its layout.
    """

    element: str
    shape: tuple[int | None, ...] | None = None
    name: str | None = None
    result: int | None = None
    out: bool = False
    rows: int | None = None
    tokens: bool = False
    alignment: int = 1
    tile: Tile | None = None

    @property
    def dtype(self) -> np.dtype:
        """The element type of an array for this argument."""
        return DTYPES[self.element]

    @property
    def slots(self) -> int:
        """64-bit words that pass it: the value, or the address and the dynamic dimensions."""
        return 1 + (self.shape or ()).count(None)

    def __str__(self) -> str:
        if self.shape is None:
            return self.element
        return f"{self.element}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def encode(self, value: Any, where: str) -> list[int]:
        """The words that pass ``value``. ``LumenError``, which begins with ``where``, if it does not fit."""
        if self.shape is None:
            return [self._encode_number(value, where)]
        if not isinstance(value, np.ndarray):
            raise LumenError(f"{where}: expected an array {self}, got {type(value).__name__}")
        given = f"{value.dtype.name}[{', '.join(map(str, value.shape))}]"
        same = value.dtype == self.dtype or self.dtype.itemsize == value.dtype.itemsize == 1
        sizes_fit = len(value.shape) == len(self.shape) and all(
            expected in (None, size) for expected, size in zip(self.shape, value.shape, strict=True)
        )
        if not same or not sizes_fit:
            raise LumenError(f"{where}: expected {self}, got {given}")
        if not value.flags.c_contiguous:
            raise LumenError(f"{where}: the array {given} must be contiguous in row-major order")
        address = value.__array_interface__["data"][0]
        if address % max(self.alignment, self.dtype.itemsize):
            raise LumenError(
                f"{where}: the array {given} must begin at a multiple of "
                f"{max(self.alignment, self.dtype.itemsize)} bytes, not at {address:#x}"
            )
        if self.result is not None and not value.flags.writeable:
            raise LumenError(f"{where}: the array {given} is written and must not be read-only")
        return [
            address,
            *(size for size, fixed in zip(value.shape, self.shape, strict=True) if fixed is None),
        ]

    def _encode_number(self, value: Any, where: str) -> int:
        if self.dtype.kind == "f":
            if not isinstance(value, (int, float, np.floating, np.integer)):
                raise LumenError(f"{where}: expected a number ({self}), got {type(value).__name__}")
            return int.from_bytes(np.array(value, self.dtype).tobytes(), "little")
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise LumenError(f"{where}: expected a whole number ({self}), got {type(value).__name__}")
        limits = np.iinfo(self.dtype)
        least = 0 if self.element == "index" else limits.min
        if not least <= value <= limits.max:
            raise LumenError(f"{where}: {value} is not in {least}..{limits.max} ({self})")
        return int(value) % 2**64


@dataclass(frozen=True)
class Signature:
    """A public function.

    Attributes:
      name: of the function.
      arguments: inputs, then outs.
      results: how many results the arguments hold.
      max_tokens: most rows of an argument whose rows are tokens.
      bounds: what the arguments must keep to beyond their types. Empty for a module that was compiled from a
        form behind ``fused``, whose caller has to know.
    """

    name: str
    arguments: tuple[Argument, ...]
    results: int
    max_tokens: int
    bounds: tuple[Bound, ...] = ()

    @property
    def inputs(self) -> tuple[Argument, ...]:
        """The arguments that a caller must give."""
        return tuple(argument for argument in self.arguments if not argument.out)

    @property
    def outs(self) -> tuple[Argument, ...]:
        """The arguments that a caller may give."""
        return tuple(argument for argument in self.arguments if argument.out)

    def describe(self, number: int) -> str:
        """How messages call an argument."""
        name = self.arguments[number].name
        return f"{self.name}: argument {number}" + (f" ({name})" if name else "")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


def read_signatures(module: ir.Module) -> tuple[Signature, ...]:
    """The public functions of a module whose functions take buffers (stages ``loops`` and ``vector``)."""
    max_tokens = _value(module.operation.attributes, "lumen.max_tokens")
    signatures = []
    for op in module.body.operations:
        op = op.operation
        if op.name != "func.func" or "sym_visibility" in op.attributes or not len(op.regions[0].blocks):
            continue
        types = ir.TypeAttr(op.attributes["function_type"]).value.inputs
        dictionaries = list(op.attributes["arg_attrs"]) if "arg_attrs" in op.attributes else [{}] * len(types)
        name = op.attributes["sym_name"].value
        arguments = tuple(
            _read_argument(type_, attrs, f"{name}: argument {number}")
            for number, (type_, attrs) in enumerate(zip(types, dictionaries, strict=True))
            if "lumen.arena" not in attrs
        )
        held = sorted(argument.result for argument in arguments if argument.result is not None)
        signature = Signature(name, arguments, len(held), 512 if max_tokens is None else max_tokens)
        _check_contract(signature, held)
        signatures.append(signature)
    return tuple(signatures)


def _check_contract(signature: Signature, held: list[int]) -> None:
    """Refuses attributes of arguments that contradict one another."""
    name, arguments = signature.name, signature.arguments
    if held != list(range(len(held))):
        raise LumenError(
            f"{name}: the arguments hold the results {held}, not 0 to {len(held) - 1}, each once"
        )
    outs = [argument.out for argument in arguments]
    if outs != sorted(outs):
        raise LumenError(f"{name}: argument {outs.index(True)} is an out argument and stands before an input")
    for number, argument in enumerate(arguments):
        if argument.shape is None and (argument.out or argument.result is not None or argument.tokens):
            raise LumenError(f"{name}: argument {number} ({argument}) is no array, so it can hold no result")
        if argument.tokens and not argument.shape:
            raise LumenError(f"{name}: argument {number} ({argument}) has no rows")
        base = argument.rows
        if base is None:
            continue
        if not (argument.shape and argument.out and base < len(signature.inputs) and arguments[base].shape):
            raise LumenError(
                f"{name}: argument {number} has as many rows as argument {base}: an out argument and an "
                "input that is an array were expected"
            )


def _read_argument(type_: ir.Type, attrs: Any, where: str) -> Argument:
    shape = None
    element = type_
    if ir.MemRefType.isinstance(type_):
        buffer = ir.MemRefType(type_)
        element = buffer.element_type
        shape = tuple(
            None if buffer.is_dynamic_dim(i) else buffer.get_dim_size(i) for i in range(buffer.rank)
        )
    if str(element) not in DTYPES:
        raise LumenError(f"a public function cannot take {type_}: there is no array of {element}")
    return Argument(
        element=str(element),
        shape=shape,
        name=_value(attrs, "lumen.name"),
        result=_value(attrs, "lumen.result"),
        out="lumen.out" in attrs,
        rows=_value(attrs, "lumen.rows"),
        tokens="lumen.tokens" in attrs,
        alignment=_alignment(attrs, where),
        tile=Tile.parse(str(attrs["lumen.tile"])) if "lumen.tile" in attrs else None,
    )


def _value(attrs: Any, name: str) -> Any:
    """The value of an attribute, which the dialect has verified; None where it is not there."""
    return attrs[name].value if name in attrs else None


def _alignment(attrs: Any, where: str) -> int:
    if "llvm.align" not in attrs:
        return 1
    value = getattr(attrs["llvm.align"], "value", None)
    if not isinstance(value, int) or value < 1:
        raise LumenError(f"{where}: llvm.align must be a number of at least 1, got {attrs['llvm.align']}")
    return value


def to_json(signature: Signature) -> dict[str, Any]:
    """Plain data that ``from_json`` reads back."""
    fields = asdict(replace(signature, bounds=()))
    return {**fields, "bounds": [bounds.to_json(bound) for bound in signature.bounds]}


def from_json(data: dict[str, Any]) -> Signature:
    """The signature that ``to_json`` was given."""

    def argument(fields: dict[str, Any]) -> Argument:
        shape: Sequence[int | None] | None = fields["shape"]
        tile: Sequence[Any] | None = fields["tile"]
        return Argument(
            **{
                **fields,
                "shape": None if shape is None else tuple(shape),
                "tile": None if tile is None else Tile(*tile),
            }
        )

    arguments = tuple(argument(fields) for fields in data["arguments"])
    return Signature(
        **{**data, "arguments": arguments, "bounds": tuple(map(bounds.from_json, data["bounds"]))}
    )
