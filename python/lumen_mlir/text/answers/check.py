# SPDX-License-Identifier: Apache-2.0
"""Reads back answers that a template has written: what is found out about it must give the same again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lumen_mlir.text.answers.deltas import Answer
from lumen_mlir.text.answers.parser import AnswerParser
from lumen_mlir.text.answers.probe import KEYS, NAMES, VALUES, Probe
from lumen_mlir.text.answers.values import to_json

# Other texts than those that were compared, so that nothing of these can be part of a marker.
SAID, THOUGHT = "Zq5other\n\n- words", "Zq6more\n\nthan one line"
# Arguments of every type.
PLAIN = {
    "text": "Zq 안녕 👨‍👩‍👧",
    "integer": -7,
    "number": 0.5,
    "boolean": True,
    "array": [1, "둘", True],
    "object": {"k": {"n": []}, "t": "a"},
}
_ONE = (NAMES[0], {KEYS[0]: VALUES[0]})
_CALLS: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any]]]]] = (
    ("one call", [_ONE]),
    ("a call without arguments", [(NAMES[0], {})]),
    ("arguments of all types", [(NAMES[1], PLAIN)]),
    ("two calls", [_ONE, (NAMES[1], PLAIN)]),
)

Parse = Callable[[str], AnswerParser]
"""Makes a parser for the answer to a prompt."""


def check_calls(
    probe: Probe, parse: Parse, field: str | None, parallel: bool, ends: Sequence[str]
) -> str | None:
    """What goes wrong with calls, in words; None where nothing does.

    ``ends``: the control tokens at which an answer ends.
    """
    for what, calls in _CALLS:
        if len(calls) > 1 and not parallel:
            continue
        for content, thought in ((None, None), (SAID, None), (None, THOUGHT), (SAID, THOUGHT)):
            if thought is not None and field is None:
                continue
            given = {} if field is None or thought is None else {field: thought}
            wrong = _read_back(probe, parse, content, calls, given, ends)
            if wrong:
                return f"{what}, {wrong}"
    return None


def check_reasoning(probe: Probe, parse: Parse, field: str | None, ends: Sequence[str]) -> str | None:
    """What goes wrong with reasoning, in words; None where nothing does."""
    if field is None:
        return None
    return _read_back(probe, parse, SAID, [], {field: THOUGHT}, ends)


def _read_back(
    probe: Probe,
    parse: Parse,
    content: str | None,
    calls: Sequence[tuple[str, Mapping[str, Any]]],
    thought: Mapping[str, str],
    ends: Sequence[str],
) -> str | None:
    full = probe.full(content, calls, thought)
    if full is None:
        # Clients cannot send it either.
        return None if content or thought else "which the template refuses"
    text = full[probe.base :]
    wanted = [(name, to_json(arguments)) for name, arguments in calls]
    texts = [(text, full[: probe.base])]
    if full.startswith(probe.prompt):
        texts.append((full[len(probe.prompt) :], probe.prompt))
    for written, prompt in texts:
        # A model stops there.
        written = written[: min((at for end in ends if (at := written.find(end)) >= 0), default=len(written))]
        parser = parse(prompt)
        answer = Answer.of([*parser.feed(written), *parser.finish()])
        found = [(call.name, call.arguments) for call in answer.calls]
        if found != wanted:
            return f"written as {written!r}, read as {found}"
        if answer.content != (SAID if SAID in written else ""):
            return f"written as {written!r}, with the text {answer.content!r}"
        if answer.reasoning != (THOUGHT if THOUGHT in written else ""):
            return f"written as {written!r}, with the reasoning {answer.reasoning!r}"
    return None
