# SPDX-License-Identifier: Apache-2.0
"""``/v1/chat/completions``, and what belongs to it."""

from __future__ import annotations

import pytest
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted

PATH = "/v1/chat/completions"
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'bad' %}{{ raise_exception('no such role here') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
)
CONTROL = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "</s>"]
ANSWER = ["안녕", "하세요", "! 저는", " 앵무새", "예요 👩‍👩‍👧", "</s>"]
ASKED = [{"role": "user", "content": "누구세요?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "parrot.gguf"
    script = ["<|assistant|>", *ANSWER]
    write_scripted(path, script, control=CONTROL, eos="</s>", template=TEMPLATE, context=256)
    with serving(str(path), options={"engine": "reference"}) as running:
        yield running


def ask(server, **body):
    answer = server.post(PATH, {"messages": ASKED, "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_answer(server):
    answer = ask(server)
    text = "".join(ANSWER[:-1])
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": text}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(ANSWER)
    assert answer["model"] == "parrot" and answer["object"] == "chat.completion"


def test_a_stream_is_the_answer(server):
    body = {"messages": ASKED, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    events = server.events(PATH, {**body, "stream_options": {"include_usage": True}})
    assert all(event["object"] == "chat.completion.chunk" for event in events)
    choices = [event["choices"][0] for event in events[:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert choices[-1]["delta"] == {} and choices[-1]["finish_reason"] == "stop"
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    records = [record for choice in choices if choice["logprobs"] for record in choice["logprobs"]["content"]]
    whole = ask(server, logprobs=True, top_logprobs=2)
    assert text == whole["choices"][0]["message"]["content"]
    assert records == whole["choices"][0]["logprobs"]["content"]
    assert [record["token"] for record in records] == ANSWER[:-1]
    assert events[-1]["usage"]["completion_tokens"] == len(ANSWER)
    # Every event has whole characters.
    assert all("\ufffd" not in choice["delta"].get("content", "") for choice in choices)


def test_stops_and_lengths(server):
    stopped = ask(server, stop=["앵무"])["choices"][0]
    assert stopped["message"]["content"] == "안녕하세요! 저는 " and stopped["finish_reason"] == "stop"
    cut = ask(server, max_completion_tokens=2)["choices"][0]
    assert cut["message"]["content"] == "안녕하세요" and cut["finish_reason"] == "length"


def test_what_templates_refuse(server):
    answer = server.post(PATH, {"messages": [{"role": "bad", "content": "x"}]})
    assert answer.status_code == 400 and "no such role here" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": None}, "messages: Expected"),
        ({"messages": "hello"}, "messages: Expected `array`"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{}]}, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "image",
        ),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"audio": {}}, "audio"),
        ({"functions": []}, "functions"),
        ({"messages": ASKED * 100}, "context is 256 tokens"),
        ({"n": -1}, "n is -1"),
    ],
)
def test_wrong_requests(server, body, said):
    answer = server.post(PATH, {"messages": ASKED, **body})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]


def test_tokens_and_templates(server):
    text = "안녕하세요"
    tokens = server.post("/tokenize", {"content": text}).json()
    assert tokens["count"] == len(tokens["tokens"]) == 2
    assert server.post("/detokenize", {"tokens": tokens["tokens"]}).json()["content"] == text
    pieces = server.post("/tokenize", {"content": text, "with_pieces": True}).json()["tokens"]
    assert [piece["piece"] for piece in pieces] == ["안녕", "하세요"]
    prompt = server.post("/apply-template", {"messages": ASKED}).json()["prompt"]
    assert prompt == "<|user|>누구세요?<|end|><|assistant|>"
    counted = server.post("/tokenize", {"messages": ASKED}).json()["count"]
    assert counted == ask(server)["usage"]["prompt_tokens"]
    assert server.post("/tokenize", {}).status_code == 400
    assert server.post("/detokenize", {"tokens": [-1]}).status_code == 400
    assert server.post("/detokenize", {"tokens": []}).json()["content"] == ""


def test_what_a_page_asks_for(server):
    props = server.get("/props").json()
    assert props["model"] == "parrot" and props["context"] == 256 and props["chat_template"] == TEMPLATE
    assert props["sampling"]["temperature"] == 0.8


def test_metrics(server):
    name = "vllm:request_success_total"
    before, tokens = (
        server.metric(name, finished_reason="stop"),
        server.metric("vllm:generation_tokens_total"),
    )
    ask(server)
    assert server.metric(name, finished_reason="stop") == before + 1
    assert server.metric("vllm:generation_tokens_total") == tokens + len(ANSWER)
    for histogram in (
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
    ):
        assert server.metric(f"vllm:{histogram}_count", model_name="parrot") >= 1
    assert server.metric("vllm:prefix_cache_queries_total") > 0


def test_no_path_is_told():
    """What is wrong with a model is told by its name."""
    with serving(options={"context": 64}) as server:
        answer = server.post(PATH, {"messages": ASKED})
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert message.startswith("lumen-ko-comments-7m-q8_0: the model has no chat template")
        answer = server.post("/apply-template", {"messages": ASKED})
        assert "/" not in answer.json()["error"]["message"]
