# SPDX-License-Identifier: Apache-2.0
"""Chat templates, as makers write them, changed, or made up, get conversations, sound or not.

A fault is anything but a prompt within the limits or a ``ChatError``; and with an unchanged template a prompt
that does not have what the user said, or in which a control token that a message has in it is one. So is an
error where it is found out how answers are written, and an answer that its pieces change.
"""

from __future__ import annotations

import random
from pathlib import Path

from fuzz import template_texts
from lumen_mlir.text import template_limits
from lumen_mlir.text.answer_format import AnswerFormat
from lumen_mlir.text.answers.deltas import Answer
from lumen_mlir.text.chat import ChatTemplate
from lumen_mlir.text.chat_messages import ChatError
from lumen_mlir.text.special_text import SpecialTexts

GOAL = 100_000
SMOKE = 60
SECONDS = 3.0
MEMORY = 1 << 30

_TOKENS = {"<|im_start|>": 1, "<|im_end|>": 2, "<|end|>": 3, "<s>": 4}
_SPECIAL = SpecialTexts(_TOKENS, ["<|im_start|>", "<|im_end|>", "<s>"])


def prepare(folder: Path) -> list[ChatTemplate]:
    return [ChatTemplate(shape, "<s>", "</s>") for shape in template_texts.SHAPES]


def attempt(state: list[ChatTemplate], rng: random.Random) -> str:
    messages = template_texts.conversation(rng)
    variables = {"tools": template_texts.tools(rng)}
    if rng.random() < 0.3:
        variables["enable_thinking"] = rng.random() < 0.5
    if rng.random() < 0.2:
        return _as_it_is(rng.choice(state), messages, variables)
    source = (
        template_texts.mutated(rng, rng.choice(template_texts.SHAPES))
        if rng.random() < 0.6
        else template_texts.statements(rng, rng.choice([1, 3, 5]))
    )
    try:
        template = ChatTemplate(source, "<s>", "</s>")
    except ChatError as error:
        assert "\n" not in str(error)
        return "no template"
    if rng.random() < 0.1:
        return _answers(template, rng)
    try:
        if rng.random() < 0.5:
            prompt = template.render(messages, **variables)
        else:
            prompt, _ = template.render_hidden(messages, _SPECIAL, True, **variables)
    except ChatError as error:
        assert "\n" not in str(error)
        return "refused"
    assert isinstance(prompt, str) and len(prompt) <= template_limits.SIZE
    return "rendered"


def _answers(template: ChatTemplate, rng: random.Random) -> str:
    format = AnswerFormat.of(template)
    for problem in (format.reasoning_problem, format.tools_problem):
        assert problem is None or "\n" not in problem
    marks = ["<tool_call>", '{"name": "f", "arguments": {', "}", "</tool_call>", "<think>", "</think>", "\n"]
    text = "".join(rng.choice([*marks, template_texts.text(rng)]) for _ in range(rng.randrange(12)))
    prompt = rng.choice(["", "<think>\n"])
    whole = format.parse(text, prompt, True)
    parser = format.parser(prompt, True)
    pieces = Answer.of([delta for piece in text for delta in parser.feed(piece)] + parser.finish())
    assert (pieces.reasoning, pieces.content) == (whole.reasoning, whole.content), "pieces change an answer"
    assert [call.name for call in pieces.calls] == [call.name for call in whole.calls]
    return "answers"


def _as_it_is(template: ChatTemplate, messages: list, variables: dict) -> str:
    try:
        prompt, hidden = template.render_hidden(messages, _SPECIAL, True, **variables)
    except ChatError as error:
        assert "\n" not in str(error)
        return "refused"
    whole = hidden.restored(prompt).lower()
    for message in messages:
        if message["role"] == "user" and isinstance(message["content"], str):
            assert message["content"].strip().lower() in whole, "what the user said is lost"
    for text, special in _SPECIAL.parts(prompt, hidden):
        assert not special or not ("<|im_start|>evil" in text or hidden.occurs(text)), (
            "a message opens a turn"
        )
    return "as it is"
