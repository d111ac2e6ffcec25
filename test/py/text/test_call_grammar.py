# SPDX-License-Identifier: Apache-2.0
"""The grammar of calls: what templates write fits it, and what fits it is read as calls that fit schemas."""

from __future__ import annotations

import json
import random
import re
from functools import cache

import pytest
from answer_templates import FAMILIES
from answer_vocabulary import ByteVocabulary, allowed, matcher

from lumen_mlir.errors import LumenError
from lumen_mlir.text.answer_format import AnswerFormat
from lumen_mlir.text.chat import ChatTemplate

pytest.importorskip("llguidance")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["°C", "°F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "hourly": {"type": "boolean"},
        "where": {"$ref": "#/$defs/place"},
    },
    "required": ["city", "where"],
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "names": {"type": "array", "items": {"type": "string"}}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
CALLS = [
    (
        "weather",
        {"city": "서울 👨‍👩‍👧", "unit": "°C", "days": 3, "hourly": True, "where": {"x": 1.5, "names": ["a"]}},
    ),
    ("weather", {"city": "x", "where": {"x": -2}}),
    ("now", {}),
]  # fmt: skip
WITH_CALLS = [name for name, family in FAMILIES.items() if family.calls is not None]


@cache
def opened(name):
    family = FAMILIES[name]
    vocabulary = ByteVocabulary(family)
    template = ChatTemplate(family.source, family.bos, family.ends[0])
    return template, vocabulary, AnswerFormat.of(template, vocabulary)


def rendered(template, calls, format):
    """The prompt for an answer, and the answer that the template writes for ``calls``."""
    question = {"role": "user", "content": "?"}
    sent = [
        {"id": f"abcdef01{i}", "type": "function", "function": {"name": n, "arguments": json.dumps(a)}}
        for i, (n, a) in enumerate(calls)
    ]
    answer = {"role": "assistant", "content": None, "tool_calls": sent}
    prompt = template.render([question], tools=TOOLS)
    full = template.render([question, answer], add_generation_prompt=False, tools=TOOLS)
    opening = format.tools.writing.open
    at = full.index(opening, len(template.render([question], False, tools=TOOLS))) if opening else len(prompt)
    return prompt, full[at:]


def fits(vocabulary, grammar, text):
    """Whether ``text`` fits, and the answer may end there."""
    made = matcher(vocabulary, grammar)
    ids = vocabulary.encode(text)
    end = next((i for i, token in enumerate(ids) if token in vocabulary.end_tokens), len(ids))
    taken = made.try_consume_tokens(ids[:end])
    return taken == end and made.is_accepting()


@pytest.mark.parametrize("name", WITH_CALLS)
def test_what_templates_write_fits(name):
    template, vocabulary, format = opened(name)
    grammar = format.grammar(TOOLS, "required")
    for call in CALLS:
        _, written = rendered(template, [call], format)
        assert fits(vocabulary, grammar, written.rstrip("\n")), written
        assert fits(vocabulary, format.grammar(TOOLS, call[0]), written.rstrip("\n"))
        other = "now" if call[0] == "weather" else "weather"
        assert not fits(vocabulary, format.grammar(TOOLS, other), written.rstrip("\n"))
    if format.tools.parallel:
        _, written = rendered(template, CALLS[:2], format)
        assert fits(vocabulary, grammar, written.rstrip("\n")), written
        assert not fits(vocabulary, format.grammar(TOOLS, "required", parallel=False), written.rstrip("\n"))
    assert not fits(vocabulary, grammar, "no call")


@pytest.mark.parametrize("name", WITH_CALLS)
def test_what_fits_is_read_as_calls(name):
    """Letters by chance, of those that the grammar allows."""
    template, vocabulary, format = opened(name)
    prompt = template.render([{"role": "user", "content": "?"}], tools=TOOLS)
    grammar = format.grammar(TOOLS, "required", prompt=prompt)
    for seed in range(6):
        rng = random.Random(f"{name} {seed}")
        text = by_chance(vocabulary, grammar, rng, free_ends(format))
        answer = format.parse(text, prompt, TOOLS)
        assert answer.calls and not answer.content.strip(), text
        for call in answer.calls:
            check(call.name, json.loads(call.arguments))


def free_ends(format):
    """What ends texts that may have any letters in them."""
    pairs, reasoning = format.tools.writing.pairs, format.reasoning
    return [*([] if pairs is None else [pairs.value_end]), *([reasoning.closing] if reasoning else [])]


def by_chance(vocabulary, grammar, rng, endings):
    made, ids = matcher(vocabulary, grammar), []
    for step in range(4000):
        tokens = allowed(made, 256 + len(vocabulary.control_tokens))
        assert tokens, vocabulary.decode(ids)
        ends = [token for token in tokens if token in vocabulary.end_tokens]
        if ends and (len(tokens) == len(ends) or (made.is_accepting() and rng.random() < 0.5)):
            break
        for text in rng.sample(endings, len(endings)) if rng.random() < 0.1 else []:
            ending = vocabulary.encode(text)
            if ending and made.validate_tokens(ending) == len(ending):
                assert made.consume_tokens(ending)
                ids += ending
                break
        else:
            ids += chosen(made, rng, tokens, ends, step)
    else:
        pytest.fail(f"no end: {vocabulary.decode(ids)[:200]}")
    return vocabulary.decode(ids)


def chosen(made, rng, tokens, ends, step):
    """A token, with a preference for what ends texts, which grows."""
    tokens = [token for token in tokens if token not in ends] or tokens
    closing = [t for t in tokens if t >= 256 or chr(t) in '"}])<>\n/']
    token = rng.choice(closing if closing and rng.random() < 0.4 + step / 400 else tokens)
    assert made.consume_token(token)
    return [token]


def check(name, arguments):
    assert name in ("weather", "now")
    if name == "now":
        assert arguments == {}
        return
    assert set(arguments) <= set(WEATHER["properties"]) and {"city", "where"} <= set(arguments)
    assert isinstance(arguments["city"], str)
    assert isinstance(arguments["where"]["x"], (int, float))
    assert arguments.get("unit", "°C") in ("°C", "°F")
    assert arguments.get("days", 1) in range(1, 10) and isinstance(arguments.get("hourly", True), bool)


@pytest.mark.parametrize("name", ["qwen3", "qwen3-thinking", "exaone-4.0", "solar-open", "hyperclovax-think"])
def test_reasoning_stays_free(name):
    template, vocabulary, format = opened(name)
    prompt, written = rendered(template, CALLS[2:], format)
    grammar = format.grammar(TOOLS, "required", prompt=prompt)
    thought = "음 <b> \n</thin 👩 "
    end = format.reasoning.closing
    if format.start(prompt).name == "REASONING":
        text = f"{thought}{end}{written}"
    elif format.start(prompt).name == "CONTENT":
        text = written
    else:
        text = f"{format.reasoning.opening}{thought}{end}{written}"
        assert fits(vocabulary, grammar, written.rstrip("\n"))
    assert fits(vocabulary, grammar, text.rstrip("\n")), f"{text}\n{grammar}"
    answer = format.parse(text, prompt, TOOLS)
    assert [call.name for call in answer.calls] == ["now"] and answer.content == ""
    assert answer.reasoning.strip() == (thought.strip() if thought in text else "")


def test_choices():
    _, _, format = opened("qwen3")
    assert format.grammar(TOOLS, "auto") is None and format.grammar(TOOLS, "none") is None
    with pytest.raises(LumenError, match="names the function 'f', which is not among the tools"):
        format.grammar(TOOLS, "f")
    with pytest.raises(LumenError, match="a call is required, and there are no tools"):
        format.grammar([], "required")
    with pytest.raises(LumenError, match="takes no tools"):
        opened("exaone-3.5")[2].grammar(TOOLS, "required")


def test_control_tokens_stand_as_such():
    _, vocabulary, format = opened("solar-open")
    grammar = format.grammar(TOOLS, "required")
    assert f"<[{vocabulary.control_tokens['<|tool_calls|>']}]>" in grammar
    assert not re.search(r'"[^"]*<\|tool_call', grammar)
