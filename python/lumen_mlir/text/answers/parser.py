# SPDX-License-Identifier: Apache-2.0
"""Takes an answer apart as it comes: what is thought, what is said, and which functions are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from lumen_mlir.errors import LumenError
from lumen_mlir.text.answers.deltas import CallArguments, CallBegin, ContentText, Delta, ReasoningText
from lumen_mlir.text.answers.forms import NO_LEAD, JsonUnit, Lead, ReasoningFormat, ToolFormat
from lumen_mlir.text.answers.pieces import MORE, NOTHING, Marker
from lumen_mlir.text.answers.reader import Reading, Source, next_character, read_call, skip
from lumen_mlir.text.answers.schemas import ToolSchemas
from lumen_mlir.text.answers.start import Start
from lumen_mlir.text.answers.values import to_json

# Calls of an answer that may be malformed before the rest of it counts as text: a model that repeats itself
# must not keep the parser busy.
_MOST_FAILED = 64


class AnswerParser:
    """The parts of one answer.

    The deltas of ``feed`` and ``finish`` make the same answer however its text is cut into pieces. A call
    comes when it is whole. One that is malformed or has no end comes as content, with all of its text.

    Args:
      tools: the tools of the request, or True where nothing is known of them; None or False: calls are text.
      lead: what begins what is said.
      turn_end: what the template writes behind an answer; at its end it is left out.
      new_id: makes the id of a call that has none.
    """

    def __init__(
        self,
        reasoning: ReasoningFormat | None,
        form: ToolFormat | None,
        start: Start,
        tools: Sequence[Mapping[str, Any]] | bool | None = None,
        lead: Lead = NO_LEAD,
        turn_end: Marker = NOTHING,
        new_id: Callable[[], str] = lambda: f"call_{uuid4().hex[:24]}",
    ):
        self._reasoning, self._start, self._lead, self._turn_end = reasoning, start, lead, turn_end
        self._form = form if tools else None
        self._schemas = ToolSchemas(tools or True)
        self._new_id = new_id
        self._source, self._deltas = Source(), list[Delta]()
        self._ids: list[str] = []
        self._thought = self._said = False
        self._gap = ""
        self.is_thinking = start is Start.REASONING
        """Whether the model thinks, as far as the text is known."""
        self._machine = self._run()
        next(self._machine, None)

    def feed(self, text: str) -> list[Delta]:
        """What is certain when ``text`` is added to the answer."""
        if self._source.ended:
            raise LumenError("the answer has ended")
        self._source.text += text
        return self._advanced()

    def finish(self) -> list[Delta]:
        """What was held back. Nothing can be fed any more."""
        if self._source.ended:
            return []
        self._source.ended = True
        return self._advanced()

    def _advanced(self) -> list[Delta]:
        next(self._machine, None)
        deltas, self._deltas = self._deltas, []
        return deltas

    def _run(self) -> Reading[None]:
        reasoning = self._reasoning
        if reasoning is not None:
            thinks = self._start is Start.REASONING
            if self._start is not Start.CONTENT and reasoning.begin:
                # A model may write again what its prompt ends with.
                thinks = (yield from self._begins(reasoning.begin)) or thinks
            if thinks:
                self.is_thinking = True
                yield from self._read_reasoning(reasoning)
                self.is_thinking, self._thought = False, True
        if self._start is not Start.CONTENT or self._lead.marker:
            yield from self._read_lead()
        yield from self._read_answer()

    def _begins(self, marker: Marker) -> Reading[bool]:
        """Reads ``marker``, unless it ends with a word that goes on ("/think", "/thinking")."""
        source, before = self._source, self._source.at
        if not (yield from skip(source, marker)):
            return False
        if not marker.pieces[-1][-1].isalnum():
            return True
        while source.at == len(source.text) and not source.ended:
            yield
        if source.text[source.at : source.at + 1].isalnum():
            source.at = before
            return False
        return True

    def _read_lead(self) -> Reading[None]:
        source, lead = self._source, self._lead
        if self._thought or lead.marker:
            begins = yield from skip(source, lead.marker)
            if begins or self._thought:
                yield from next_character(source)
        elif lead.space:
            while len(source.text) < source.at + len(lead.space) and not source.ended:
                yield
            if source.text.startswith(lead.space, source.at):
                source.at += len(lead.space)

    def _read_reasoning(self, reasoning: ReasoningFormat) -> Reading[None]:
        yield from next_character(self._source)
        found = yield from self._say_until({reasoning.end: "end"}, ReasoningText)
        if found is not None:
            self._source.at = found[1]

    def _read_answer(self) -> Reading[None]:
        source, form = self._source, self._form
        if form is not None and not form.is_marked:
            yield from self._read_bare_calls(form)
        markers: dict[Marker, str] = {}
        if form is not None:
            markers |= dict.fromkeys(form.openers, "call")
        if self._reasoning is not None and self._reasoning.end.is_distinctive:
            markers.setdefault(self._reasoning.end, "stray")
        if self._turn_end:
            markers.setdefault(self._turn_end, "turn")
        look, failed = source.at, 0
        while (found := (yield from self._say_until(markers, ContentText, look))) is not None:
            place, end, kind = found
            if kind == "turn":
                self._say(ContentText, place)
                source.at = end
            elif kind == "stray" and not (self._thought and self._said):
                source.at = end
                yield from self._go_on()
            elif kind == "call" and failed < _MOST_FAILED:
                held, source.at = source.at, end
                if form is not None and (yield from self._read_calls(form)):
                    yield from self._go_on()
                else:
                    source.at, look = held, place + 1
                    failed += 1
                    continue
            else:
                look = place + 1
                continue
            look = source.at

    def _say_until(
        self, markers: Mapping[Marker, str], kind: type[ReasoningText | ContentText], look: int | None = None
    ) -> Reading[tuple[int, int, str] | None]:
        """Says the text before the first of ``markers``: where it begins and ends, and its kind.

        White space before it is held back. None, and all is said, where none of them comes.
        """
        source = self._source
        look = source.at if look is None else look
        first = re.compile("[" + "".join(map(re.escape, {m.first for m in markers} or "\0")) + "]")
        while True:
            candidate = first.search(source.text, look) if markers else None
            place = len(source.text) if candidate is None else candidate.start()
            found = None if candidate is None else self._marker_at(markers, place)
            if found is not None and found[0] != MORE:
                self._say(kind, place, hold=True)
                return place, found[0], found[1]
            if found is None and candidate is not None:
                look = place + 1
                continue
            if source.ended:
                self._say(kind, len(source.text))
                return None
            self._say(kind, place, hold=True)
            look = place - source.at
            source.drop()
            yield

    def _marker_at(self, markers: Mapping[Marker, str], place: int) -> tuple[int, str] | None:
        """The end (or ``MORE``) and the kind of the marker at ``place``."""
        text, ended = self._source.text, self._source.ended
        for marker, kind in markers.items():
            match = marker.match_end if kind == "turn" else marker.match
            end = match(text, place, ended)
            if end is not None:
                return end, kind
        return None

    def _say(self, kind: type[ReasoningText | ContentText], until: int, hold: bool = False) -> None:
        text = self._source.text[self._source.at : until]
        if hold:
            text = text.rstrip()
        if text:
            self._source.at += len(text)
            if kind is ContentText and self._gap:
                text, self._gap = self._gap + text, ""
            self._deltas.append(kind(text))
            self._said = self._said or kind is ContentText

    def _go_on(self) -> Reading[None]:
        """Reads white space behind what is no content; what is said there begins a line of its own."""
        yield from next_character(self._source)
        self._gap = "\n" if self._said else ""

    def _read_bare_calls(self, form: ToolFormat) -> Reading[None]:
        """Calls at the beginning of an answer, where nothing announces them."""
        source, before = self._source, self._source.at
        for marker in form.leads:
            if (yield from skip(source, marker)):
                break
        if (yield from self._read_calls(form, bare=True)):
            yield from self._go_on()
        else:
            source.at = before

    def _read_calls(self, form: ToolFormat, bare: bool = False) -> Reading[bool]:
        """The calls that begin here; False where the first is none."""
        source = self._source
        if bare and not (yield from skip(source, form.bare)):
            return False
        if not (yield from self._read_one(form, bare)):
            return False
        while True:
            yield from skip(source, form.end, loose=True)
            behind = source.at
            if not form.next and not isinstance(form.unit, JsonUnit):
                break
            if not (yield from skip(source, form.next)) or not (yield from self._read_one(form, bare)):
                source.at = behind
                break
        for marker in form.close:
            if not (yield from skip(source, marker)):
                break
        return True

    def _read_one(self, form: ToolFormat, bare: bool) -> Reading[bool]:
        call = yield from read_call(self._source, form, self._schemas)
        if call is None or (bare and not self._schemas.may_be(call[1])):
            return False
        id, name, arguments = call
        if not id or id in self._ids:
            id = self._new_id()
        self._deltas.append(CallBegin(len(self._ids), id, name))
        self._deltas.append(CallArguments(len(self._ids), to_json(arguments)))
        self._ids.append(id)
        return True
