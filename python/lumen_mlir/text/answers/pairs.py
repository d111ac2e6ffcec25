# SPDX-License-Identifier: Apache-2.0
"""Finds how a template writes arguments one by one."""

from __future__ import annotations

from lumen_mlir.text.answers.forms import Pairs, PairsWriting
from lumen_mlir.text.answers.pieces import Marker, common_prefix, common_suffix, pieces_of, split_pieces
from lumen_mlir.text.answers.probe import KEYS, VALUES


class UnknownFormError(Exception):
    """Calls that are written in no form that is known; the text says what is missing."""


def find_pairs(text: str, behind: int) -> tuple[Pairs, PairsWriting, int]:
    """Arguments one by one, and where the last of them ends."""
    places = []
    at = behind
    for mark in (KEYS[0], VALUES[0], KEYS[1], VALUES[1]):
        place = text.find(mark, at)
        if place < 0:
            raise UnknownFormError("the arguments of calls are written in a form that is not known")
        places.append((at, place))
        at = place + len(mark)
    before, middle, between, _ = (text[left:right] for left, right in places)
    rest = text[at:]
    quoted = middle[-1:] in ("'", '"') and between[:1] == middle[-1:] == rest[:1]
    if quoted:
        middle, between, rest, at = middle[:-1], between[1:], rest[1:], at + 1
    key = common_suffix(pieces_of(before), pieces_of(between))
    value_end = common_prefix(pieces_of(between)[: len(pieces_of(between)) - len(key)], pieces_of(rest))
    if not quoted and not value_end:
        raise UnknownFormError("nothing marks where the arguments of calls end")
    begin = pieces_of(before)[: len(pieces_of(before)) - len(key)]
    separator = pieces_of(between)[len(value_end) : len(pieces_of(between)) - len(key)]
    pairs = Pairs(
        Marker(begin),
        Marker(key),
        Marker.of(middle),
        Marker(value_end),
        Marker(separator),
        quoted,
        (_space_behind(middle), _space_before(between)),
    )
    cut, end = split_pieces(before, len(begin)), split_pieces(between, len(value_end))
    gap, key_text = _apart(before[cut:])
    next_gap, _ = _apart_at(between[end:], len(separator))
    writing = PairsWriting(before[:cut], gap, key_text, middle, between[:end], next_gap)
    return pairs, writing, at + split_pieces(rest, len(value_end))


def _space_behind(text: str) -> str:
    return text[len(text.rstrip()) :]


def _space_before(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _apart(text: str) -> tuple[str, str]:
    """White space, and what follows it."""
    space = _space_before(text)
    return space, text[len(space) :]


def _apart_at(text: str, count: int) -> tuple[str, str]:
    """The first ``count`` pieces with the white space around them, and what follows."""
    cut = split_pieces(text, count)
    cut += len(_space_before(text[cut:]))
    return text[:cut], text[cut:]
