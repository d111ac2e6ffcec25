# SPDX-License-Identifier: Apache-2.0
"""Tensor types that ggml does not have: formats that a package or a script describes.

ggml numbers its own types (0 to 42 so far). A format from outside gets a number from ``FIRST_ID`` on that
means something in one file only; the file's metadata says what::

    lumen.format.10000              "int8_block64"          the format's name
    lumen.format.10000.fingerprint  "5f0c…"                 of what its bytes mean
    lumen.format.10000.origin       "package my-formats 1.2"  who described it

So no central register is needed, two packages cannot collide, and a file never decodes with another
description than it was written with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from lumen_mlir.errors import LumenError, quoted
from lumen_mlir.gguf import types as T

if TYPE_CHECKING:
    from lumen_mlir.formats.described import DescribedFormat

PREFIX = "lumen.format."
FIRST_ID = 10_000


@dataclass(frozen=True)
class DescribedType(T.TensorType):
    """A tensor type whose blocks a format of ``lumen_mlir.formats`` describes."""

    format: DescribedFormat

    @staticmethod
    def of(fmt: DescribedFormat, number: int) -> DescribedType:
        return DescribedType(number, fmt.name, fmt.block, fmt.bytes_per_block, None, fmt)

    def row_bytes(self, columns: int) -> int:
        return self.format.row_bytes(columns)


def for_writing(name: str, taken: Mapping[str, T.TensorType]) -> T.TensorType:
    """The type called ``name`` for a file with the types ``taken`` so far; LumenError for unknown names."""
    if name in T.TYPES_BY_NAME:
        return T.TYPES_BY_NAME[name]
    if name in taken:
        return taken[name]
    from lumen_mlir import formats

    fmt = cast("DescribedFormat", formats.get(name))
    used = {kind.id for kind in taken.values()}
    number = fmt.ggml_type
    if number is None or number in used:
        number = next(i for i in range(FIRST_ID, FIRST_ID + len(used) + 1) if i not in used)
    return DescribedType.of(fmt, number)


def metadata(kind: DescribedType) -> list[tuple[str, Any, int]]:
    """The entries (key, value, value type) that tell a reader what the type's number stands for."""
    from lumen_mlir import formats

    key = f"{PREFIX}{kind.id}"
    return [
        (key, kind.name, T.STRING),
        (f"{key}.fingerprint", kind.format.fingerprint, T.STRING),
        (f"{key}.origin", formats.origin(kind.format), T.STRING),
    ]


def for_reading(number: int, fields: Mapping[str, tuple[int, Any]]) -> T.TensorType:
    """The type that the metadata ``fields`` (key to kind and value) give to a number that is not ggml's.

    Raises LumenError, to be put behind the name of a tensor, where nothing names the number, the format is
    not known here, or the one known here is another.
    """
    from lumen_mlir import formats

    key = f"{PREFIX}{number}"
    name = _text(fields, key)
    if name is None:
        try:
            return DescribedType.of(cast("DescribedFormat", formats.by_ggml_type(number)), number)
        except LumenError as error:
            raise LumenError(f"has the {error}") from None
    if name in T.TYPES_BY_NAME:
        raise LumenError(
            f"has type {number}, which {quoted(key)} calls {name}, a type of ggml's that has the number "
            f"{T.TYPES_BY_NAME[name].id}"
        )
    if not formats.is_known(name):
        advice = _advice(_text(fields, f"{key}.origin"))
        raise LumenError(f"is in the format {quoted(name)}, which is not installed; {advice}")
    fmt = cast("DescribedFormat", formats.get(name))
    fingerprint = _text(fields, f"{key}.fingerprint")
    if fingerprint not in (None, fmt.fingerprint):
        raise LumenError(
            f"is in a format {quoted(name)} with the fingerprint {quoted(fingerprint)}; the one known here, "
            f"of {formats.origin(fmt)}, has '{fmt.fingerprint}': the same bytes mean something else"
        )
    return DescribedType.of(fmt, number)


def _text(fields: Mapping[str, tuple[int, Any]], key: str) -> str | None:
    kind, value = fields.get(key, (T.STRING, None))
    if kind != T.STRING:
        raise LumenError(f"has a type that {quoted(key)} should name, but that is no string")
    # What is no UTF-8 is no name that anybody knows.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _advice(origin: str | None) -> str:
    """What to do about a format that is missing.

    Whoever made the file chose what it says of the format's origin, so nothing is to be installed on its
    word: the name of a package is not passed on.
    """
    kind, _, rest = (origin or "").partition(" ")
    if kind == "package":
        return "install the package that describes it, which whoever made the file can name"
    where = f" (it was {quoted(rest)})" if kind == "file" and rest else ""
    return f"name the file that describes it{where} with --plugin or in LUMEN_PLUGINS"
