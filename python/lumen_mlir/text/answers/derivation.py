# SPDX-License-Identifier: Apache-2.0
"""Finds how a template writes calls, by comparing answers with and without them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from lumen_mlir.text.answers.forms import (
    CallWriting,
    FieldUnit,
    JsonUnit,
    PairsWriting,
    ReasoningFormat,
    ToolFormat,
)
from lumen_mlir.text.answers.pairs import UnknownFormError, find_pairs
from lumen_mlir.text.answers.pieces import (
    Marker,
    common_prefix,
    common_suffix,
    is_tag,
    pieces_of,
    split_pieces,
)
from lumen_mlir.text.answers.probe import IDS, KEYS, NAMES, SAID, VALUES, Probe

ARGUMENTS = {KEYS[0]: VALUES[0], KEYS[1]: VALUES[1]}
_CALLS = [(name, ARGUMENTS) for name in NAMES]


@dataclass(frozen=True)
class _Unit:
    """A call in a text: where it begins and ends, and what it consists of."""

    begin: int
    end: int
    form: JsonUnit | FieldUnit
    parts: tuple[str, ...]
    pairs: PairsWriting | None = None


def find_calls(probe: Probe, source: str, reasoning: ReasoningFormat | None) -> ToolFormat:
    """How calls are written by the template of ``source``. Raises ``UnknownFormError``."""
    whole = probe.full(None, _CALLS[:1])
    if whole is None or NAMES[0] not in whole[probe.base :]:
        raise UnknownFormError("the model's chat template writes no calls")
    text = whole[probe.base :]
    unit = _unit(text, 0)
    opening, closing = text[: unit.begin], text[unit.end :]
    opening = _without_reasoning(opening, reasoning)
    both = probe.full(None, _CALLS)
    second: _Unit | None = None
    between = ""
    if both is not None and NAMES[1] in both[probe.base :]:
        text = both[probe.base :]
        first = _unit(text, 0)
        second = _unit(text, 1, first.end)
        between = text[first.end : second.begin]
        closing = text[second.end :]
    openers = [pieces_of(opening)]
    behind = _behind_text(probe)
    if behind is not None:
        openers.insert(0, pieces_of(behind))
    end, following, close = _around(unit, pieces_of(opening), between, closing, second is not None)
    markers = tuple(dict.fromkeys(Marker(each) for each in openers if Marker(each).is_distinctive))
    return ToolFormat(
        openers=markers,
        bare=Marker() if markers else Marker(pieces_of(opening)),
        unit=unit.form,
        end=Marker(end),
        next=Marker(following),
        close=tuple(Marker((piece,)) for piece in close),
        leads=() if markers else _leads(source, probe, whole),
        parallel=second is not None,
        writing=CallWriting(opening, unit.parts, between, closing, _separators(text), unit.pairs),
    )


def _unit(text: str, index: int, begin: int = 0) -> _Unit:
    """Call ``index`` in what follows ``begin``."""
    place = text.find(NAMES[index], begin)
    if place < 0:
        raise UnknownFormError("the model's chat template leaves out the names of calls")
    found = _json_unit(text, NAMES[index], place, begin)
    return found if found is not None else _field_unit(text, index, place, begin)


def _json_unit(text: str, name: str, place: int, begin: int) -> _Unit | None:
    """The innermost object with the name and the arguments."""
    decoder = json.JSONDecoder()
    start = text.rfind("{", begin, place)
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            value, end = None, start
        paths = _paths(value) if end > place else {}
        of = {str(leaf): path for path, leaf in paths.items() if leaf in (name, *IDS)}
        arguments = next((path for path, leaf in paths.items() if leaf == ARGUMENTS), None)
        if name in of and arguments is not None:
            id = next((of[each] for each in IDS if each in of), None)
            return _Unit(start, end, JsonUnit(of[name], arguments, id), _json_parts(text[start:end], name))
        start = text.rfind("{", begin, start) if start else -1
    return None


def _paths(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Everything in an object, by the names that lead to it."""
    found: dict[tuple[str, ...], Any] = {}
    if isinstance(value, dict) and len(path) < 4:
        for name, part in value.items():
            inner = (*path, name)
            found[inner] = part
            found |= _paths(part, inner)
    return found


def _json_parts(text: str, name: str) -> tuple[str, ...]:
    """``text`` cut at the name, the id and the arguments."""
    written = _written_arguments(text)
    marks = {name: "name", written: "arguments", **dict.fromkeys(IDS, "id")}
    return _cut(text, {mark: field for mark, field in marks.items() if mark and mark in text})


def _cut(text: str, marks: dict[str, str]) -> tuple[str, ...]:
    parts: list[str] = []
    while marks:
        mark = min(marks, key=text.index)
        before, _, text = text.partition(mark)
        parts += [before, marks.pop(mark)]
    return (*parts, text)


def _written_arguments(text: str, begin: int = 0) -> str:
    """The object of the arguments as it stands in ``text``; "" where it is no JSON."""
    decoder = json.JSONDecoder()
    start = text.find("{", begin)
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
            if value == ARGUMENTS:
                return text[start:end]
        except ValueError:
            pass
        start = text.find("{", start + 1)
    return ""


def _separators(text: str) -> tuple[str, str] | None:
    """What stands behind elements and keys of the arguments."""
    written = _written_arguments(text)
    for separators in ((", ", ": "), (",", ":")):
        if written == json.dumps(ARGUMENTS, separators=separators):
            return separators
    return None


def _field_unit(text: str, index: int, place: int, begin: int) -> _Unit:
    """A call whose name stands outside of any object."""
    name, id = NAMES[index], IDS[index]
    written = _written_arguments(text, place)
    start, fields = place, {name: "name"}
    id_place = text.find(id, begin)
    first_key = text.find(KEYS[0], place)
    stop = text.index(written, place) if written else first_key
    if 0 <= id_place < stop:
        start, fields[id] = min(start, id_place), "id"
    if stop < 0:
        raise UnknownFormError("the model's chat template leaves out the arguments of calls")
    if written:
        end = stop + len(written)
        parts = _cut(text[start:end], {**fields, written: "arguments"})
        return _Unit(start, end, _fields(parts), parts)
    last_name = max(text.index(mark, start) + len(mark) for mark in fields)
    pairs, writing, end = find_pairs(text, last_name)
    parts = _cut(text[start:last_name], fields)
    return _Unit(start, end, replace(_fields(parts), pairs=pairs), parts, writing)


def _fields(parts: tuple[str, ...]) -> FieldUnit:
    return FieldUnit(tuple((Marker.of(parts[at - 1]), parts[at]) for at in range(1, len(parts), 2)))


def _around(
    unit: _Unit, opening: tuple[str, ...], between: str, closing: str, several: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The pieces behind a call, between calls, and behind the last one."""
    tail = pieces_of(closing)
    if not several:
        # Of arguments one by one, something must say that there are no more.
        count = 1 if isinstance(unit.form, FieldUnit) and unit.form.pairs is not None else 0
        return tail[:count], (), tail[count:]
    middle = pieces_of(between)
    end = common_prefix(middle, tail)
    # Where nothing but the next call follows, its opener is no part of the end.
    if end == middle and common_suffix(opening, middle):
        end = middle[: len(middle) - len(common_suffix(opening, middle))]
    return end, middle[len(end) :], tail[len(end) :]


def _without_reasoning(opening: str, reasoning: ReasoningFormat | None) -> str:
    """``opening`` without an empty reasoning before the call."""
    pieces = pieces_of(opening)
    empty = () if reasoning is None else reasoning.begin.pieces + reasoning.end.pieces
    if empty and pieces[: len(empty)] == empty:
        return opening[split_pieces(opening, len(empty)) :].lstrip()
    return opening


def _behind_text(probe: Probe) -> str | None:
    """What stands between a text and a call; None where a text has no place there."""
    whole = probe.full(SAID, _CALLS[:1])
    text = "" if whole is None else whole[probe.base :].partition(SAID)[2]
    if NAMES[0] not in text:
        return None
    return text[: _unit(text, 0).begin]


def _leads(source: str, probe: Probe, whole: str) -> tuple[Marker, ...]:
    """Control tokens that the template knows, and that stand in nothing that it writes around calls."""
    tags = {piece for piece in pieces_of(source) if is_tag(piece) and piece.startswith("<|")}
    known = {piece.rstrip("'\"") for piece in tags}
    return tuple(Marker((tag,)) for tag in sorted(known) if tag not in whole and tag not in probe.prompt)
