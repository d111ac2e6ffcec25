# SPDX-License-Identifier: Apache-2.0
"""Calls, reasoning and grammars over HTTP."""

from __future__ import annotations

import json

import pytest
from answer_templates import QWEN3, QWEN3_THINKING
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted

PATH = "/v1/chat/completions"
CONTROL = ["<|im_start|>", "<|im_end|>"]
# As Qwen's models have them: tokens of their own that are shown.
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
ASKED = [{"role": "user", "content": "서울 날씨는?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "…",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CALL = ["<tool_call>", '\n{"name": "weather", ', '"arguments": {"city": "서울 👩‍👩‍👧"}}\n', "</tool_call>"]


def script(*tokens: str) -> list[str]:
    # The prompt ends with a line.
    return ["\n", *tokens, "<|im_end|>"]


@pytest.fixture
def parrot(tmp_path):
    """Serves a model that writes so many tokens as its answer."""

    def started(*tokens: str, template: str = QWEN3, **options):
        path = tmp_path / "parrot.gguf"
        write_scripted(
            path,
            script(*tokens),
            control=CONTROL,
            user_defined=MARKS,
            eos="<|im_end|>",
            template=template,
            context=2048,
        )
        return serving(str(path), options={"engine": "reference", **options})

    return started


def ask(server, **body):
    answer = server.post(PATH, {"messages": ASKED, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def streamed(server, **body):
    """A message, and the reason of its end, out of the events of a stream."""
    message: dict = {"content": "", "reasoning_content": "", "tool_calls": []}
    reason = None
    for event in server.events(PATH, {"messages": ASKED, "temperature": 0, **body}):
        (choice,) = event["choices"]
        reason = choice["finish_reason"] or reason
        for name in ("content", "reasoning_content"):
            message[name] += choice["delta"].get(name) or ""
        for part in choice["delta"].get("tool_calls", []):
            if part["index"] == len(message["tool_calls"]):
                message["tool_calls"].append({**part, "function": dict(part["function"])})
            else:
                message["tool_calls"][part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    return message, reason


def test_calls(parrot):
    with parrot("그럼", " 볼게요.", *CALL) as server:
        choice = ask(server, tools=[WEATHER])
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "그럼 볼게요."
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather" and call["type"] == "function" and call["id"]
        assert json.loads(call["function"]["arguments"]) == {"city": "서울 👩‍👩‍👧"}
        message, reason = streamed(server, tools=[WEATHER])
        assert reason == "tool_calls" and message["content"] == choice["message"]["content"]
        (other,) = message["tool_calls"]
        assert other["function"] == call["function"]
        # Without tools it is text.
        assert "<tool_call>" in ask(server)["message"]["content"]
        assert "<tool_call>" in ask(server, tools=[WEATHER], tool_choice="none")["message"]["content"]
        # What was called is given back, with its result.
        history = [
            *ASKED,
            {**choice["message"]},
            {"role": "tool", "tool_call_id": call["id"], "content": "맑음"},
        ]
        prompt = server.post("/apply-template", {"messages": history, "tools": [WEATHER]}).json()["prompt"]
        assert '"arguments": {"city": "서울 👩‍👩‍👧"}' in prompt and "맑음" in prompt


def test_a_call_that_is_required(parrot):
    """The model would say something else; the grammar has it call."""
    place = {"type": "object", "properties": {"at": {"enum": ["서울", "부산"]}}, "required": ["at"]}
    tools = [WEATHER, {"type": "function", "function": {"name": "place", "parameters": place}}]
    with parrot("아니요") as server:
        named = {"type": "function", "function": {"name": "place"}}
        for choice in (named, "required"):
            body = {
                "tools": tools[1:] if choice == "required" else tools,
                "tool_choice": choice,
                "enable_thinking": False,
            }
            answer = ask(server, **body, parallel_tool_calls=False)
            (call,) = answer["message"]["tool_calls"]
            assert call["function"]["name"] == "place"
            assert json.loads(call["function"]["arguments"])["at"] in ("서울", "부산")
            assert answer["finish_reason"] == "tool_calls"
            message, _ = streamed(server, **body, parallel_tool_calls=False)
            assert message["tool_calls"][0]["function"] == call["function"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tools": [WEATHER], "tool_choice": {"function": {"name": "other"}}}, "'other'"),
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice is 'sometimes'"),
        ({"tools": [{"type": "function"}]}, "tool"),
        ({"response_format": {"type": "xml"}}, "'xml'"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}}, "JSON schema"),
        ({"structured_outputs": {"regex": "(["}}, "regular expression"),
        ({"grammar": "root ::= ("}, "GBNF"),
        ({"regex": "a", "grammar": 'root ::= "a"'}, "grammar and regex are given"),
        ({"reasoning_effort": "enormous"}, "the effort is 'enormous'"),
    ],
)
def test_wrong_requests(parrot, body, said):
    """A bad grammar is refused, and the next request is answered."""
    with parrot("네") as server:
        answer = server.post(PATH, {"messages": ASKED, **body})
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]["message"]
        assert ask(server)["message"]["content"] == "네"


def test_templates_without_tools(parrot):
    template = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}{{ '\n' }}"
    with parrot("네", template=template) as server:
        answer = server.post(PATH, {"messages": ASKED, "tools": [WEATHER]})
        assert answer.status_code == 400
        assert "parrot takes no tools: the model's chat template takes no tools" in answer.text
        assert ask(server)["message"]["content"] == "네"


def test_reasoning(parrot):
    with parrot("<think>", "\n음", "…", "\n ", "</think>", "\n\n", "맑아요") as server:
        answer = server.post(PATH, {"messages": ASKED, "temperature": 0}).json()
        message = answer["choices"][0]["message"]
        assert (message["reasoning_content"].strip(), message["content"]) == ("음…", "맑아요")
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5
        other, reason = streamed(server)
        assert (other["reasoning_content"], other["content"]) == (
            message["reasoning_content"],
            message["content"],
        )
        assert reason == "stop"


def test_reasoning_that_the_prompt_begins(parrot):
    """No bare marker is left over."""
    with parrot("음", "…", "\n ", "</think>", "\n\n", "맑아요", template=QWEN3_THINKING) as server:
        message = ask(server)["message"]
        assert (message["reasoning_content"].strip(), message["content"]) == ("음…", "맑아요")


def test_no_reasoning(parrot):
    with parrot("<think>", "\n\n", "</think>", "맑아요") as server:
        for body in ({"enable_thinking": False}, {"reasoning_effort": "none"}):
            prompt = server.post("/apply-template", {"messages": ASKED, "enable_thinking": False}).json()
            assert prompt["prompt"].endswith("<think>\n\n</think>\n\n")
            assert ask(server, **body)["finish_reason"]


def test_a_budget_of_reasoning(parrot):
    with parrot("<think>", "\n ", "음", "음…", "흠", "하", "호", "</think>", "\n\n", "맑아요") as server:
        message = ask(server, thinking_budget=3)["message"]
        assert message["content"] == "맑아요"
        assert "호" not in message["reasoning_content"]
        assert message["reasoning_content"].strip().startswith("음")
        all_of_it = ask(server, thinking_budget=100)["message"]
        assert "호" in all_of_it["reasoning_content"]


def test_reasoning_before_an_answer_by_a_grammar(parrot):
    """The grammar is that of the answer; the model may think first."""
    body = {"regex": "[가-힣]{2}요", "max_tokens": 50}
    with parrot("<think>", "\n음", "… {", "\n ", "</think>", "맑아요") as server:
        message = ask(server, **body)["message"]
        assert (message["reasoning_content"].strip(), message["content"]) == ("음… {", "맑아요")
        # It need not.
        assert ask(server, **body, enable_thinking=False)["message"].get("reasoning_content") is None
    thinks = ["음", "…", "\n ", "</think>", "맑아요"]
    with parrot(*thinks, template=QWEN3_THINKING) as server:
        message = ask(server, **body)["message"]
        assert (message["reasoning_content"].strip(), message["content"]) == ("음…", "맑아요")


def test_answers_by_a_grammar(parrot):
    schema = {
        "type": "object",
        "properties": {"날씨": {"enum": ["맑음 👩‍👩‍👧", "흐림"]}},
        "required": ["날씨"],
        "additionalProperties": False,
    }
    with parrot("네") as server:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        body = {"response_format": form, "max_tokens": 100, "enable_thinking": False}
        value = json.loads(ask(server, **body)["message"]["content"])
        assert value["날씨"] in schema["properties"]["날씨"]["enum"]
        message, _ = streamed(server, **body)
        assert json.loads(message["content"]) == value
        body = {"regex": "[가-힣]{3}!", "max_tokens": 50, "enable_thinking": False}
        assert len(ask(server, **body)["message"]["content"]) == 4
        choice = ask(server, response_format={"type": "json_object"}, max_tokens=50, enable_thinking=False)
        assert choice["message"]["content"].startswith("{")


def test_characters_are_whole(parrot):
    """A text whose tokens are bytes comes in whole characters, also in the arguments of a call."""
    text = "한글·👨‍👩‍👧 é"
    with parrot("네") as server:
        body = {"messages": ASKED, "temperature": 0, "enable_thinking": False}
        events = server.events(PATH, {**body, "regex": text})
        pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
        assert "".join(pieces) == text and all("\ufffd" not in piece for piece in pieces)
        tokens = server.post("/tokenize", {"content": text}).json()["count"]
        assert tokens == len(text.encode())
        parameters = {"type": "object", "properties": {"text": {"const": text}}, "required": ["text"]}
        tools = [{"type": "function", "function": {"name": "say", "parameters": parameters}}]
        body |= {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        message, _ = streamed(server, **body)
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"text": text}


def test_turns_with_reasoning_keep_what_was_computed(tmp_path):
    """The template drops what was thought in earlier turns: what stands before that is not computed again."""
    path = tmp_path / "parrot.gguf"
    answer = script("<think>", "\n음", "… ", "\n ", "</think>", "\n\n", "맑아요")
    write_scripted(
        path,
        answer,
        control=CONTROL,
        user_defined=MARKS,
        eos="<|im_end|>",
        template=QWEN3,
        context=4096,
    )
    with serving(str(path), options={"context": 4096}) as server:
        messages = [{"role": "user", "content": "서울 날씨를 알려 주세요. " * 20}]
        known = 0
        for _ in range(3):
            told = server.post(PATH, {"messages": messages, "temperature": 0}).json()
            usage = told["usage"]
            assert usage["prompt_tokens_details"]["cached_tokens"] >= 0.9 * known
            message = told["choices"][0]["message"]
            assert message["reasoning_content"].strip() == "음…"
            # Up to the answer, the next prompt begins alike.
            known = usage["prompt_tokens"]
            messages += [message, {"role": "user", "content": "그다음 날은 어떤가요? " * 10}]
