# SPDX-License-Identifier: Apache-2.0
"""Finds how a template marks what a model thinks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lumen_mlir.text.answers.forms import Lead, ReasoningFormat
from lumen_mlir.text.answers.pieces import Marker, pieces_of, split_pieces
from lumen_mlir.text.answers.probe import QUESTION, SAID, THOUGHT, Probe
from lumen_mlir.text.chat_messages import THOUGHTS, ChatError

# What ends reasoning in templates that take it out of a text: the end of a tag.
_ENDS = re.compile(r"</([\w:]+)>|\[/([A-Z_]+)\]")
# What may begin it at the end of a prompt.
_BEGIN = re.compile(r"<[\w:]+>|\[[A-Z_]+\]")
_THOUGHT = re.compile("think|thought|reasoning", re.IGNORECASE)
_MOST_TAGS = 16


@dataclass(frozen=True)
class FoundReasoning:
    """``format`` (None: the model does not think), the field of messages that it stands in, and the lead."""

    format: ReasoningFormat | None = None
    field: str | None = None
    lead: Lead = Lead()


def find_reasoning(probe: Probe, source: str) -> FoundReasoning:
    """How reasoning is written by the template of ``source``."""
    said = probe.full(SAID)
    lead = _between(said, probe.base, SAID) if said is not None else None
    for field in THOUGHTS:
        if field not in source:
            continue
        full = probe.full(SAID, thought={field: THOUGHT})
        if full is None or THOUGHT not in full or SAID not in full.partition(THOUGHT)[2]:
            continue
        begin = _between(full, probe.base, THOUGHT) or ""
        middle = full.partition(THOUGHT)[2].partition(SAID)[0]
        found = _of_texts(probe, begin, middle, lead or "")
        if found is not None:
            return FoundReasoning(found[0], field, found[1])
    plain = Lead() if lead is None else _lead(lead)
    tags = _tags_of_texts(probe, source)
    if tags is None:
        return FoundReasoning(lead=plain)
    begin, end = tags
    format = ReasoningFormat(Marker.of(begin), Marker.of(end), f"{begin}\n", f"\n{end}\n\n")
    # An empty reasoning before what is said is no lead.
    return FoundReasoning(format, lead=Lead() if Marker.of(end).pieces[0] in plain.marker.pieces else plain)


def _between(full: str, base: int, mark: str) -> str | None:
    before, found, _ = full[base:].partition(mark)
    return before if found else None


def _lead(text: str) -> Lead:
    return Lead(Marker.of(text), "" if text.strip() else text)


def _of_texts(probe: Probe, begin: str, middle: str, lead: str) -> tuple[ReasoningFormat, Lead] | None:
    """The format of what stands before reasoning, between it and what is said, and before that alone."""
    first, between, alone = map(pieces_of, (begin, middle, lead))
    if not between:
        return None
    if not first:
        # The prompt may end with what begins the reasoning.
        last = pieces_of(probe.prompt[: probe.base])[-1:]
        if last and _closes(between[0], last[0]):
            first, begin, lead = last, last[0] + begin, last[0] + lead
            alone = pieces_of(lead)
            probe.base = probe.prompt.rindex(last[0], 0, probe.base)
    if first and alone[: len(first)] == first:
        # An empty reasoning.
        alone = ()
        lead = ""
    count = len(between)
    if alone and len(between) > len(alone) and between[-len(alone) :] == alone:
        count -= len(alone)
    else:
        alone = ()
    end = split_pieces(middle, count)
    closing = middle[:end] if count < len(between) or lead else middle
    format = ReasoningFormat(Marker(first), Marker(between[:count]), begin, closing)
    return format, Lead(Marker(alone)) if alone else Lead(space=lead if not lead.strip() else "")


def _closes(end: str, begin: str) -> bool:
    found = _ENDS.fullmatch(end)
    return found is not None and begin in (f"<{found[1]}>", f"[{found[2]}]")


def _tags_of_texts(probe: Probe, source: str) -> tuple[str, str] | None:
    """The tags of reasoning that stands in a text: the template takes it out of what was said earlier, names
    the tags, or begins it in the prompt."""
    ends = list(dict.fromkeys(found[0] for found in _ENDS.finditer(source)))[:_MOST_TAGS]
    for end in ends:
        begin = end.replace("/", "", 1)
        answer = {"role": "assistant", "content": f"{begin}\n{THOUGHT}\n{end}\n\n{SAID}"}
        try:
            text = probe.rendered([QUESTION, answer, QUESTION])
        except ChatError:
            continue
        if SAID in text and THOUGHT not in text:
            return begin, end
    for end in ends:
        # Templates that only speak of it, in what they tell the model.
        begin = end.replace("/", "", 1)
        if begin in source and _THOUGHT.search(end):
            return begin, end
    last = pieces_of(probe.prompt[-64:])[-1:]
    # (Other tags at the end of a prompt begin an answer.)
    begins = last and _BEGIN.fullmatch(last[0]) and _THOUGHT.search(last[0])
    if begins and probe.base < len(probe.prompt.rstrip()):
        return last[0], f"{last[0][0]}/{last[0][1:]}"
    return None
