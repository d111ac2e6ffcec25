# SPDX-License-Identifier: Apache-2.0
"""Reads one call from a text that grows.

The functions are generators: they yield where more text is needed, and return what they have read, or None
where it is no call. What they decide depends on the text alone, and not on the pieces in which it comes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from lumen_mlir.text.answers.forms import FieldUnit, JsonUnit, Pairs, ToolFormat
from lumen_mlir.text.answers.pieces import MORE, Marker, past_space
from lumen_mlir.text.answers.schemas import ToolSchemas
from lumen_mlir.text.answers.values import FAILED, NoValueError, ValueEnd, from_json, from_literal

T = TypeVar("T")
Reading = Generator[None, None, T]

# Characters of a name or an id.
_LONGEST_NAME = 256


class Source:
    """A text, how far it is read, and whether it has ended."""

    def __init__(self) -> None:
        self.text, self.at, self.ended = "", 0, False

    def drop(self) -> None:
        """Lets go what was read."""
        if self.at:
            self.text, self.at = self.text[self.at :], 0


def skip(source: Source, marker: Marker, loose: bool = False) -> Reading[bool]:
    """Reads white space and ``marker``; False, and nothing read, where it does not stand there."""
    if not marker:
        return True
    while True:
        end = marker.match(source.text, past_space(source.text, source.at), source.ended, loose)
        if end is None:
            return False
        if end != MORE:
            source.at = end
            return True
        yield


def next_character(source: Source) -> Reading[str]:
    """Reads white space; the character behind it, or "" at the end."""
    while True:
        source.at = past_space(source.text, source.at)
        if source.at < len(source.text) or source.ended:
            return source.text[source.at : source.at + 1]
        yield


def read_call(source: Source, form: ToolFormat, schemas: ToolSchemas) -> Reading[tuple[str, str, Any] | None]:
    """The id (or ""), the name and the arguments of the call that begins here."""
    if isinstance(form.unit, JsonUnit):
        call = yield from _read_json(source, form.unit)
    else:
        call = yield from _read_fields(source, form.unit, form.end, schemas)
    if call is None or not call[1] or not isinstance(call[2], dict):
        return None
    return call


def _read_json(source: Source, unit: JsonUnit) -> Reading[tuple[str, str, Any] | None]:
    value = yield from _read_object(source)
    name, arguments = _at(value, unit.name), _at(value, unit.arguments)
    if arguments is None:
        # Models of one family take the name of another's field.
        others = (_at(value, (*unit.arguments[:-1], other)) for other in ("arguments", "parameters"))
        arguments = next((each for each in others if each is not None), None)
    id = "" if unit.id is None else _at(value, unit.id)
    if isinstance(arguments, str):
        # Some models write the object as a string.
        try:
            arguments = from_json(arguments)
        except NoValueError:
            return None
    return (id if isinstance(id, str) else "", name, arguments) if isinstance(name, str) else None


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _read_object(source: Source) -> Reading[Any]:
    """An object of JSON, or None."""
    if (yield from next_character(source)) != "{":
        return None
    begin, value_end = source.at, ValueEnd(source.at)
    while (end := value_end.find(source.text)) is None:
        if source.ended:
            return None
        yield
    if end == FAILED:
        return None
    try:
        value = from_json(source.text[begin:end])
    except NoValueError:
        return None
    source.at = end
    return value


def _read_fields(
    source: Source, unit: FieldUnit, end: Marker, schemas: ToolSchemas
) -> Reading[tuple[str, str, Any] | None]:
    found: dict[str, Any] = {"id": ""}
    behind = [marker for marker, _ in unit.fields[1:]]
    behind.append(Marker() if unit.pairs is None else unit.pairs.begin)
    for (_, field), following in zip(unit.fields, behind, strict=True):
        if field == "arguments":
            found[field] = yield from _read_object(source)
        else:
            # This reads what follows, too.
            found[field] = yield from _read_name(source, following)
            if not found[field]:
                return None
    if unit.pairs is not None:
        found["arguments"] = yield from _read_pairs(source, unit.pairs, end, found["name"], schemas)
    return found["id"], found["name"], found["arguments"]


def _read_name(source: Source, following: Marker) -> Reading[str]:
    """The text before ``following``; "" for none.

    Where that is empty, the text ends before white space, a brace or a tag.
    """
    yield from next_character(source)
    if following:
        text = yield from _read_until(source, following, _LONGEST_NAME)
        text = (text or "").strip()
        return "" if len(text.splitlines()) > 1 else text
    begin = at = source.at
    while at - begin <= _LONGEST_NAME:
        if at == len(source.text):
            if source.ended:
                return ""
            yield
        elif source.text[at].isspace() or source.text[at] in "{<":
            source.at = at
            return source.text[begin:at]
        else:
            at += 1
    return ""


def _read_until(source: Source, marker: Marker, most: int | None = None) -> Reading[str | None]:
    """The text before ``marker``, which is read too; None where it does not come in ``most`` characters."""
    begin = at = source.at
    while most is None or at - begin <= most:
        at = source.text.find(marker.first, at)
        end = None if at < 0 else marker.match(source.text, at, source.ended)
        if at < 0 or end == MORE:
            if source.ended or (most is not None and len(source.text) - begin > most + 64):
                return None
            at = len(source.text) if at < 0 else at
            yield
        elif end is None:
            at += 1
        else:
            source.at = end
            return source.text[begin:at]
    return None


def _read_pairs(
    source: Source, pairs: Pairs, end: Marker, function: str, schemas: ToolSchemas
) -> Reading[dict[str, Any] | None]:
    found: dict[str, Any] = {}
    while True:
        before = source.at
        if (yield from skip(source, end, loose=True)):
            # The end is read again by who reads calls.
            source.at = before
            return found
        if found and not (yield from skip(source, pairs.separator)):
            return None
        if not (yield from skip(source, pairs.key)):
            return None
        key = yield from _read_until(source, pairs.value)
        if key is None:
            return None
        if pairs.quoted:
            value = yield from _read_literal(source)
            if value is None or not (yield from skip(source, pairs.value_end)):
                return None
            found[key.strip()] = value[0]
        else:
            text = yield from _read_raw(source, pairs, end)
            if text is None:
                return None
            found[key.strip()] = schemas.value(function, key.strip(), text)


def _read_literal(source: Source) -> Reading[tuple[Any] | None]:
    yield from next_character(source)
    begin, value_end = source.at, ValueEnd(source.at, "\"'", listed=True)
    while (end := value_end.find(source.text)) is None:
        if source.ended:
            return None
        yield
    if end == FAILED:
        return None
    try:
        value = from_literal(source.text[begin:end])
    except NoValueError:
        return None
    source.at = end
    return (value,)


def _read_raw(source: Source, pairs: Pairs, end: Marker) -> Reading[str | None]:
    """A string that stands as it is. Its end counts only where another argument or the end of the call
    follows, since the string may have the same letters in it."""
    begin, parts = source.at, ""
    following = Marker(pairs.separator.pieces + pairs.key.pieces), end
    while True:
        part = yield from _read_until(source, pairs.value_end)
        if part is None:
            return None
        behind = source.at
        for marker in following:
            if (yield from skip(source, marker, loose=True)):
                source.at = behind
                text = parts + part
                before, after = pairs.padding
                text = text[len(before) :] if text.startswith(before) else text
                return text[: len(text) - len(after)] if after and text.endswith(after) else text
        # Only the first character of the marker is passed, for one may stand in another.
        place = begin + len(parts) + len(part) + 1
        parts, source.at = source.text[begin:place], place
