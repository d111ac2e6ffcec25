# SPDX-License-Identifier: Apache-2.0
"""How the parts of an answer are written: what ``derivation`` finds, and ``parser`` and ``grammar`` need."""

from __future__ import annotations

from dataclasses import dataclass

from lumen_mlir.text.answers.pieces import NOTHING, Marker


@dataclass(frozen=True)
class ReasoningFormat:
    """How a model marks what it thinks before it answers.

    ``begin`` and ``end``: the markers, for example ``<think>`` and ``</think>``. ``opening`` and ``closing``:
    the same with their white space.
    """

    begin: Marker
    end: Marker
    opening: str
    closing: str


@dataclass(frozen=True)
class Lead:
    """What begins what a model says, behind the prompt or behind its reasoning: a marker, or white space."""

    marker: Marker = NOTHING
    space: str = ""


NO_LEAD = Lead()


@dataclass(frozen=True)
class JsonUnit:
    """A call as one JSON object; the names of the fields that lead to its parts."""

    name: tuple[str, ...]
    arguments: tuple[str, ...]
    id: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Pairs:
    """Arguments one by one: behind ``begin``, each is ``key`` NAME ``value`` VALUE ``value_end``.

    ``quoted``: values are literals; without, strings stand there as they are, between ``padding``.
    """

    begin: Marker
    key: Marker
    value: Marker
    value_end: Marker
    separator: Marker
    quoted: bool
    padding: tuple[str, str]


@dataclass(frozen=True)
class FieldUnit:
    """A call as fields, each behind a marker: "id", "name", and "arguments" (an object of JSON).

    The marker of the first is empty: what announces a call stands before it. ``pairs``: the arguments follow
    the last field one by one.
    """

    fields: tuple[tuple[Marker, str], ...]
    pairs: Pairs | None = None


@dataclass(frozen=True)
class PairsWriting:
    """``Pairs`` with their white space; ``gap`` and ``separator`` stand before the first and the others."""

    begin: str
    gap: str
    key: str
    value: str
    value_end: str
    separator: str


@dataclass(frozen=True)
class CallWriting:
    """Calls with their white space: ``open`` CALL ``between`` CALL … ``close``.

    ``parts``: texts and the names of fields ("name", "id", "arguments") in turn, beginning and ending with a
    text. ``separators``: what stands behind elements and keys of the arguments, or None where that is not
    known. ``pairs``: the arguments follow the last part.
    """

    open: str
    parts: tuple[str, ...]
    between: str
    close: str
    separators: tuple[str, str] | None = None
    pairs: PairsWriting | None = None


@dataclass(frozen=True)
class ToolFormat:
    """How a model writes calls.

    Attributes:
      openers: what announces the first call, alone and behind a text.
      bare: where there is none, what an answer begins with that is a call, often nothing.
      end, next: what stands behind a call and between calls.
      close: the pieces that may follow the last call.
      leads: control tokens that may stand before an answer that is a call.
      parallel: whether an answer may have several calls.
    """

    openers: tuple[Marker, ...]
    bare: Marker
    unit: JsonUnit | FieldUnit
    end: Marker
    next: Marker
    close: tuple[Marker, ...]
    leads: tuple[Marker, ...]
    parallel: bool
    writing: CallWriting

    @property
    def is_marked(self) -> bool:
        """Whether calls can be told from text wherever they stand."""
        return bool(self.openers)

    @property
    def has_quoted_values(self) -> bool:
        """Whether arguments are literals, written one by one."""
        return isinstance(self.unit, FieldUnit) and self.unit.pairs is not None and self.unit.pairs.quoted

    @property
    def example(self) -> str:
        """A call as the model writes it, for people."""
        writing = self.writing
        names = {"name": "NAME", "id": "ID", "arguments": "{…}"}
        unit = "".join(names[part] if index % 2 else part for index, part in enumerate(writing.parts))
        pairs = writing.pairs
        if pairs is not None:
            unit += (
                f"{pairs.begin}{pairs.gap}{pairs.key}KEY{pairs.value}VALUE{pairs.value_end}"
                f"{pairs.separator}{pairs.key}…"
            )
        return writing.open + unit + writing.close
