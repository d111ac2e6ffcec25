# SPDX-License-Identifier: Apache-2.0
"""Conversations with calls and their results, as clients send them, through templates of all families."""

from __future__ import annotations

import json
import re

import pytest
from answer_templates import FAMILIES

from lumen_mlir.text.answer_format import AnswerFormat
from lumen_mlir.text.chat import ChatTemplate

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "날씨",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
WITH_CALLS = [name for name, family in FAMILIES.items() if family.calls is not None]
ARGUMENTS = {"city": '서울 "강남"'}


def conversation(arguments, content, result, count):
    calls = [
        {
            "id": f"call_0123456789abcdef0123456{i}",
            "type": "function",
            "function": {"name": "weather", "arguments": arguments},
        }
        for i in range(count)
    ]
    return [
        {"role": "user", "content": [{"type": "text", "text": "날씨는?"}]},
        {"role": "assistant", "content": content, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": call["id"], "content": result} for call in calls),
        {"role": "assistant", "content": "맑아요."},
        {"role": "user", "content": "고마워요"},
    ]


@pytest.mark.parametrize("name", WITH_CALLS)
@pytest.mark.parametrize(
    "arguments", [json.dumps(ARGUMENTS), json.dumps(ARGUMENTS, ensure_ascii=False), ARGUMENTS]
)
def test_everything_arrives(name, arguments):
    family = FAMILIES[name]
    template = ChatTemplate(family.source, family.bos, family.ends[0])
    form = AnswerFormat.of(template).tools
    assert form is not None
    prompts = set()
    for content in (None, "", []):
        for result in ("맑음 21°C", [{"type": "text", "text": "맑음 21°C"}]):
            for count in (1, 2) if form.parallel else (1,):
                messages = conversation(arguments, content, result, count)
                prompt = template.render(messages, tools=TOOLS)
                assert prompt.count("맑음 21°C") == count
                assert all(text in prompt for text in ("날씨는?", "맑아요.", "고마워요"))
                # Korean stays as it is, whatever a client made of it; quotes may be escaped.
                call = prompt[prompt.index("날씨는?") : prompt.index("맑음")]
                assert len(re.findall(r'서울 \\?"강남\\?"', call)) == count
                prompts.add((count, prompt))
    # The form in which a client says that there is no content makes no difference.
    assert len(prompts) == (2 if form.parallel else 1)


@pytest.mark.parametrize("name", WITH_CALLS)
def test_a_prompt_goes_on_where_the_last_one_ended(name):
    """What a model wrote is computed once: the prompt with the result begins with the prompt and the call."""
    family = FAMILIES[name]
    template = ChatTemplate(family.source, family.bos, family.ends[0])
    messages = conversation(ARGUMENTS, None, "맑음", 1)
    first = template.render(messages[:1], tools=TOOLS)
    second = template.render(messages[:3], tools=TOOLS)
    # Some templates write the beginning of an answer only into the prompt for it.
    for ending in ("<think>\n", "<think>\n\n</think>\n\n"):
        if not second.startswith(first):
            first = first.removesuffix(ending)
    assert second.startswith(first) and "서울" in second[len(first) :]
