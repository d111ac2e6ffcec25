# SPDX-License-Identifier: Apache-2.0
"""``/v1/messages``."""

from __future__ import annotations

import json

import chat_models as models
import pytest

from lumen_mlir.serve import streams

PATH = "/v1/messages"
ASKED = [{"role": "user", "content": "누구세요?"}]
TOOLS = [{"name": models.NAME, "description": "오늘의 날씨", "input_schema": models.PARAMETERS}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models")) as running:
        yield running


def ask(server, **body):
    answer = server.post(PATH, {"messages": ASKED, "max_tokens": 64, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server, **body):
    """The events of a stream, each under its name."""
    body = {"messages": ASKED, "max_tokens": 64, "temperature": 0, "stream": True, **body}
    with server.client.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200, response.read()
        found = response.read().decode().strip().split("\n\n")
    pairs = [event.split("\n") for event in found]
    assert all(
        data == f'data: {{"type":"{name[7:]}"' + data[len(f'data: {{"type":"{name[7:]}"') :]
        for name, data in pairs
    )
    return [json.loads(data[6:]) for _, data in pairs]


def nameless(message):
    """``message`` without the ids that are made up."""
    blocks = [{**block, "id": ""} if "id" in block else block for block in message["content"]]
    return {**message, "id": "", "content": blocks}


def folded(events):
    """The message that a stream is."""
    message = None
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append({**event["content_block"], "json": ""})
        elif kind == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            name = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "json"}[
                delta["type"]
            ]
            block[name] += delta.get("text", "") + delta.get("thinking", "") + delta.get("partial_json", "")
        elif kind == "content_block_stop":
            block = message["content"][event["index"]]
            if text := block.pop("json"):
                block["input"] = json.loads(text)
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"].update(event["usage"])
    return message


def test_an_answer(server):
    answer = ask(server)
    assert answer["content"] == [{"type": "text", "text": models.TEXT}]
    assert (answer["type"], answer["role"], answer["model"]) == ("message", "assistant", "parrot")
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"]["output_tokens"] == len(models.ANSWER)


@pytest.mark.parametrize("model", ["parrot", "caller"])
@pytest.mark.parametrize("more", [{}, {"max_tokens": 3}, {"stop_sequences": ["요"]}])
def test_a_stream_is_the_answer(server, model, more):
    more = {**more, "tools": TOOLS}
    ask(server, model=model, **more)  # then the prompt is known to both
    whole = ask(server, model=model, **more)
    came = events(server, model=model, **more)
    kinds = [event["type"] for event in came]
    assert [kinds[0], *kinds[-2:]] == ["message_start", "message_delta", "message_stop"]
    assert "ping" in kinds
    assert nameless(folded(came)) == nameless(whole)


def test_silence(server, monkeypatch):
    """Who hears nothing for long is told that something is still to come."""
    whole = ask(server)
    monkeypatch.setattr(streams, "_SILENCE", 1e-5)
    came = events(server)
    assert [event["type"] for event in came].count("ping") > 1
    assert folded(came)["content"] == whole["content"]


def test_reasons(server):
    stopped = ask(server, stop_sequences=["무", "앵무"])
    assert stopped["content"][0]["text"] == "안녕하세요! 저는 "
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "앵무")
    assert ask(server, max_tokens=2)["stop_reason"] == "max_tokens"
    # The context has room for one token.
    counted = server.post(f"{PATH}/count_tokens", {"messages": [{"role": "user", "content": ""}]}).json()
    long = [{"role": "user", "content": "x" * (511 - counted["input_tokens"])}]
    full = ask(server, messages=long)
    assert full["stop_reason"] == "model_context_window_exceeded"
    assert full["usage"]["output_tokens"] == 2


def test_reasoning_and_calls(server):
    answer = ask(server, model="caller", tools=TOOLS)
    assert answer["content"] == [
        {"type": "thinking", "thinking": models.REASONING, "signature": ""},
        {"type": "text", "text": models.CONTENT},
        {"type": "tool_use", "id": answer["content"][2]["id"], "name": models.NAME, "input": models.INPUT},
    ]
    assert answer["stop_reason"] == "tool_use" and answer["content"][2]["id"]
    # A call that is cut off is text.
    cut = ask(server, model="caller", tools=TOOLS, max_tokens=len(models.CALLER_TOKENS) - 4)
    assert [block["type"] for block in cut["content"]] == ["thinking", "text"]
    assert cut["stop_reason"] == "max_tokens"


def kinds(answer):
    return [block["type"] for block in answer["content"]]


def test_how_long_is_reasoned(server):
    off = ask(server, model="caller", thinking={"type": "disabled"})
    assert kinds(off) == ["text"] and off["content"][0]["text"].startswith(models.CONTENT)
    free = {"type": "enabled", "budget_tokens": 1024}
    assert ask(server, model="caller", thinking=free)["content"][0]["thinking"] == models.REASONING
    short = ask(server, model="caller", thinking={"type": "enabled", "budget_tokens": 1})
    assert short["content"][0]["thinking"] == models.REASONED[0]
    assert short["content"][1]["text"].startswith(models.CONTENT)
    adaptive = ask(server, model="caller", thinking={"type": "adaptive"}, output_config={"effort": "max"})
    assert kinds(adaptive)[0] == "thinking"
    # One that does not think need not be told.
    assert ask(server, thinking={"type": "disabled"})["content"][0]["text"] == models.TEXT


def test_which_tools_are_called(server):
    single = {"disable_parallel_tool_use": True}
    choices = {"auto": "end_turn", "none": "end_turn", "any": "tool_use"}
    for choice, reason in choices.items():
        answer = ask(server, tools=TOOLS, tool_choice={"type": choice, **single})
        assert answer["stop_reason"] == reason
    named = ask(server, tools=TOOLS, tool_choice={"type": "tool", "name": models.NAME, **single})
    assert named["content"][-1]["name"] == models.NAME and set(named["content"][-1]["input"]) == {"도시"}
    text = ask(server, model="caller", tools=TOOLS, tool_choice={"type": "none"})
    assert kinds(text) == ["thinking", "text"] and "<tool_call>" in text["content"][1]["text"]


def test_formats(server):
    schema = {"type": "object", "properties": {"색": {"enum": ["빨강", "파랑"]}}, "required": ["색"]}
    schema["additionalProperties"] = False
    answer = ask(server, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(answer["content"][0]["text"])["색"] in ("빨강", "파랑")


def test_a_conversation_becomes_a_prompt(server):
    """The same prompt as that of the same conversation in OpenAI's form."""
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "맑음"}]}
    blocks = [
        {"type": "thinking", "thinking": "음", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "볼게요", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "id": "call_1", "name": models.NAME, "input": models.INPUT},
    ]
    body = {
        "model": "caller",
        "system": [{"type": "text", "text": "짧게 "}, {"type": "text", "text": "말해요"}],
        "messages": [
            *ASKED,
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": [result, {"type": "text", "text": "고마워요"}]},
        ],
        "tools": TOOLS,
    }
    function = {"name": models.NAME, "parameters": models.PARAMETERS, "description": "오늘의 날씨"}
    call = {"id": "call_1", "type": "function", "function": {"name": models.NAME, "arguments": models.INPUT}}
    same = {
        "model": "caller",
        "messages": [
            {"role": "system", "content": "짧게 말해요"},
            *ASKED,
            {"role": "assistant", "content": "볼게요", "reasoning_content": "음", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "맑음"},
            {"role": "user", "content": "고마워요"},
        ],
        "tools": [{"type": "function", "function": function}],
    }
    count = server.post(f"{PATH}/count_tokens", body)
    assert count.status_code == 200, count.text
    assert count.json() == {"input_tokens": server.post("/tokenize", same).json()["count"]}
    # What one has computed, the other has known.
    chat = server.post("/v1/chat/completions", {**same, "max_tokens": 1})
    usage = ask(server, **body, max_tokens=1)["usage"]
    assert chat.status_code == 200 and usage["cache_read_input_tokens"] == count.json()["input_tokens"] - 1
    assert usage["input_tokens"] == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max_tokens": None}, "max_tokens is missing"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"messages": []}, "messages is empty"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0] is"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "저는"}]}, "not continued here"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "content[0] is of type 'image'",
        ),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "a mapping with a type"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content is 3"),
        ({"system": [{"type": "image"}]}, "system[0] is of type 'image'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        ({"tools": [{"name": "x"}]}, "input_schema"),
        ({"tool_choice": {"type": ["any"]}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"output_config": {"effort": "huge"}}, "the effort is 'huge'"),
        ({"temperature": "hot"}, "temperature: Expected"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, "the context is 512 tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_requests(server, body, said, stream):
    answer = server.post(PATH, {"messages": ASKED, "max_tokens": 8, "stream": stream, **body})
    error = answer.json()
    assert answer.status_code == 400 and error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error" and said in error["error"]["message"]


def test_other_errors(server):
    answer = server.post(PATH, {"messages": ASKED, "max_tokens": 8, "model": "claude"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert server.get(f"{PATH}/batches").json()["type"] == "error"


def test_who_goes_is_not_written_for(server):
    body = {"messages": ASKED, "max_tokens": 400, "stream": True, "ignore_eos": True}
    models.check_given_up(server, PATH, body)
