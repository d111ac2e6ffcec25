# SPDX-License-Identifier: Apache-2.0
"""``/v1/responses``."""

from __future__ import annotations

import json

import chat_models as models
import pytest

from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.response_store import ResponseStore

PATH = "/v1/responses"
TOOL = {"type": "function", "name": models.NAME, "parameters": models.PARAMETERS}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models")) as running:
        yield running


def ask(server, **body):
    answer = server.post(PATH, {"input": "누구세요?", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server, **body):
    body = {"input": "누구세요?", "temperature": 0, "stream": True, **body}
    with server.client.stream("POST", PATH, json=body) as response:
        assert response.status_code == 200, response.read()
        pairs = [event.split("\n") for event in response.read().decode().strip().split("\n\n")]
    found = [json.loads(data[6:]) for _, data in pairs]
    assert [f"event: {event['type']}" for event in found] == [name for name, _ in pairs]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def nameless(value):
    """``value`` without ids and times."""
    if isinstance(value, list):
        return [nameless(each) for each in value]
    if isinstance(value, dict):
        return {
            k: nameless(v)
            for k, v in value.items()
            if k not in ("id", "call_id", "created_at", "completed_at")
        }
    return value


def test_an_answer(server):
    answer = ask(server)
    (message,) = answer["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"] == [
        {"type": "output_text", "text": models.TEXT, "annotations": [], "logprobs": []}
    ]
    assert (answer["object"], answer["status"], answer["error"]) == ("response", "completed", None)
    assert (answer["temperature"], answer["top_p"], answer["tool_choice"]) == (0, 0.95, "auto")
    assert answer["usage"]["output_tokens"] == len(models.ANSWER)


@pytest.mark.parametrize("model", ["parrot", "caller"])
@pytest.mark.parametrize("more", [{}, {"max_output_tokens": 3}, {"top_logprobs": 2}])
def test_a_stream_is_the_answer(server, model, more):
    more = {**more, "tools": [TOOL]}
    ask(server, model=model, **more)  # then the prompt is known to both
    whole = ask(server, model=model, **more)
    came = events(server, model=model, **more)
    assert [event["type"] for event in came[:2]] == ["response.created", "response.in_progress"]
    assert came[-1]["type"] == f"response.{whole['status']}"
    assert nameless(came[-1]["response"]) == nameless(whole)
    # What the events said one after the other is what stands at the end.
    output: list = []
    for event in came[2:-1]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(output)
            output.append(["", []])
        elif kind.endswith(".delta"):
            output[event["output_index"]][0] += event["delta"]
            output[event["output_index"]][1] += event.get("logprobs", [])
        elif kind.endswith(("_text.done", "arguments.done")):
            assert event.get("text", event.get("arguments")) == output[event["output_index"]][0]
        elif kind == "output_item.done":
            assert event["item"] == came[-1]["response"]["output"][event["output_index"]]
    items = whole["output"]
    assert [text for text, _ in output] == [
        item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"] for item in items
    ]
    assert [records for _, records in output] == [
        item["content"][0]["logprobs"] if item["type"] == "message" else [] for item in items
    ]


def test_lengths(server):
    cut = ask(server, max_output_tokens=2)
    assert cut["status"] == "incomplete" and cut["output"][0]["status"] == "incomplete"
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    assert cut["output"][0]["content"][0]["text"] == "안녕하세요"


def test_logprobs(server):
    text = ask(server, include=["message.output_text.logprobs"], top_logprobs=2)["output"][0]["content"][0]
    assert [record["token"] for record in text["logprobs"]] == models.ANSWER[:-1]
    assert all(len(record["top_logprobs"]) == 2 for record in text["logprobs"])


def test_reasoning_and_calls(server):
    reasoning, message, call = ask(server, model="caller", tools=[TOOL])["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": models.REASONING}]
    assert message["content"][0]["text"] == models.CONTENT
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", models.NAME, models.ARGUMENTS)
    assert call["call_id"] and call["call_id"] != call["id"]


def test_which_tools_are_called(server):
    for choice in ("required", {"type": "function", "name": models.NAME}):
        call = ask(server, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)["output"][-1]
        assert (call["type"], call["name"]) == ("function_call", models.NAME)
        assert set(json.loads(call["arguments"])) == {"도시"}
    none = ask(server, model="caller", tools=[TOOL], tool_choice="none", reasoning={"effort": "none"})
    (message,) = none["output"]
    assert message["content"][0]["text"].startswith(f"{models.CONTENT}<tool_call>")


def test_formats(server):
    schema = {"type": "object", "properties": {"색": {"enum": ["빨강", "파랑"]}}, "required": ["색"]}
    schema["additionalProperties"] = False
    given = {"format": {"type": "json_schema", "name": "color", "schema": schema, "strict": True}}
    answer = ask(server, text=given)
    assert json.loads(answer["output"][0]["content"][0]["text"])["색"] in ("빨강", "파랑")
    assert answer["text"] == given
    free = ask(server, text={"format": {"type": "json_object"}, "verbosity": "low"}, max_output_tokens=200)
    assert free["output"][0]["content"][0]["text"].lstrip()[0] == "{"


def test_a_conversation_goes_on(server):
    """The prompt of a second turn is that of the whole conversation."""
    first = ask(server, model="caller", tools=[TOOL], instructions="짧게")
    call = first["output"][2]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "맑음"}
    question = {"role": "user", "content": [{"type": "input_text", "text": "고마워요"}]}
    second = ask(
        server,
        model="caller",
        tools=[TOOL],
        instructions="길게",
        previous_response_id=first["id"],
        input=[output, question],
    )
    function = {"name": models.NAME, "parameters": models.PARAMETERS}
    called = {"name": models.NAME, "arguments": models.ARGUMENTS}
    same = {
        "model": "caller",
        "messages": [
            {"role": "system", "content": "길게"},
            {"role": "user", "content": "누구세요?"},
            {
                "role": "assistant",
                "content": models.CONTENT,
                "reasoning_content": models.REASONING,
                "tool_calls": [{"id": call["call_id"], "type": "function", "function": called}],
            },
            {"role": "tool", "tool_call_id": call["call_id"], "content": "맑음"},
            {"role": "user", "content": "고마워요"},
        ],
        "tools": [{"type": "function", "function": function}],
    }
    prompt = second["usage"]["input_tokens"]
    assert prompt == server.post("/tokenize", same).json()["count"]
    chat = server.post("/v1/chat/completions", {**same, "max_tokens": 1}).json()
    assert chat["usage"]["prompt_tokens_details"]["cached_tokens"] == prompt - 1
    # The items may also be sent, as clients do that keep conversations themselves.
    items = [{"role": "user", "content": "누구세요?"}, *first["output"], output, question]
    sent = ask(server, model="caller", tools=[TOOL], instructions="길게", input=items)
    assert sent["usage"]["input_tokens"] == prompt
    assert second["previous_response_id"] == first["id"]
    third = ask(server, model="caller", previous_response_id=second["id"], input="네")
    # All of it again, but for the instructions and the tools, which belong to a request.
    again = [message for message in same["messages"] if message["role"] != "system"]
    answer = {**again[1], "tool_calls": [{"id": "x", "type": "function", "function": called}]}
    again += [answer, {"role": "user", "content": "네"}]
    counted = server.post("/tokenize", {"model": "caller", "messages": again}).json()["count"]
    assert third["usage"]["input_tokens"] == counted


def test_kept_responses(server):
    kept = ask(server, metadata={"a": "b"})
    assert server.get(f"{PATH}/{kept['id']}").json() == kept
    streamed = events(server)[-1]["response"]
    assert server.get(f"{PATH}/{streamed['id']}").json() == streamed
    assert server.client.delete(f"{PATH}/{kept['id']}").json() == {
        "id": kept["id"],
        "object": "response",
        "deleted": True,
    }
    for answer in (
        server.get(f"{PATH}/{kept['id']}"),
        server.client.delete(f"{PATH}/{kept['id']}"),
        server.post(PATH, {"input": "x", "previous_response_id": kept["id"]}),
    ):
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "response_not_found"
    other = ask(server, store=False)
    assert other["store"] is False and server.get(f"{PATH}/{other['id']}").status_code == 404


def test_what_is_kept_is_bounded():
    store = ResponseStore(most=3, most_bytes=1000)
    for name in "abcd":
        store.add({"id": name}, [name])
    with pytest.raises(Problem, match="the response 'a' is not here"):
        store.response("a")
    assert store.items("b") == ["b"]  # now it was asked for last
    store.add({"id": "e"}, ["e"])
    with pytest.raises(Problem, match="'c'"):
        store.items("c")
    store.add({"id": "long"}, ["x" * 975])
    assert len(store) == 1 and store.items("long") == ["x" * 975]
    store.add({"id": "longer"}, ["x" * 1000])
    assert len(store) == 1 and store.items("long")
    store.remove("long")
    for name in "abc":
        store.add({"id": name}, ["x" * 300])
    assert len(store) == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": []}, "input is empty"),
        ({"input": None}, "input is empty"),
        ({"input": [3]}, "input[0] is 3"),
        ({"input": [{"role": "bird", "content": "x"}]}, "input[0].role is 'bird'"),
        ({"input": [{"role": "user", "content": 3}]}, "input[0].content is 3"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "of type 'input_image'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "of type 'item_reference'"),
        ({"input": [{"type": "function_call", "call_id": "x", "name": "y"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "y"}]}, "input[0].call_id"),
        ({"tools": [{"type": "web_search"}]}, "tools[0] is of type 'web_search'"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice is"),
        ({"tool_choice": "maybe"}, "tool_choice is 'maybe'"),
        ({"reasoning": {"effort": "huge"}}, "the effort is 'huge'"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "x"}}, "prompt"),
        ({"truncation": "auto"}, "truncation is 'auto'"),
        ({"n": 2}, "n is 2"),
        ({"max_output_tokens": 0}, "max_tokens is 0"),
        ({"input": "x" * 600}, "the context is 512 tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_requests(server, body, said, stream):
    answer = server.post(PATH, {"input": "x", "stream": stream, **body})
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]


def test_an_error_amid_a_stream(server):
    """The model is unloaded while it writes."""
    body = {"input": "x", "stream": True, "ignore_eos": True, "max_output_tokens": 400, "store": True}
    with server.client.stream("POST", PATH, json=body) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        for line in lines:
            if ".delta" in line:
                break
        catalog = server.server.catalog
        models.call(server, catalog.unload(catalog.first))
        last = [json.loads(line[6:]) for line in lines][-1]
    assert last["type"] == "response.failed" and last["response"]["status"] == "failed"
    assert "unloaded" in last["response"]["error"]["message"]
    assert server.get(f"{PATH}/{last['response']['id']}").status_code == 404


def test_who_goes_is_not_written_for(server):
    body = {"input": "x", "stream": True, "ignore_eos": True, "max_output_tokens": 400}
    models.check_given_up(server, PATH, body)
