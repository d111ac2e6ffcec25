# SPDX-License-Identifier: Apache-2.0
"""ollama's API."""

from __future__ import annotations

import datetime
import json
import math

import chat_models as models
import pytest

from lumen_mlir.serve import streams
from lumen_mlir.serve.ollama_body import seconds_of
from lumen_mlir.serve.problem import Problem
from lumen_mlir.version import __version__

CHAT, GENERATE = "/api/chat", "/api/generate"
ASKED = [{"role": "user", "content": "누구세요?"}]
FUNCTION = {"name": models.NAME, "parameters": models.PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models")) as running:
        yield running


def bodies(path, **body):
    """The body of a request."""
    asked = {"messages": ASKED} if path == CHAT else {"prompt": "누구세요?"}
    return {"model": "parrot", **asked, "options": GREEDY, **body}


def ask(server, path=CHAT, **body):
    answer = server.post(path, bodies(path, stream=False, **body))
    assert answer.status_code == 200, answer.text
    return answer.json()


def lines(server, path=CHAT, **body):
    """Answers are streams where nobody says otherwise."""
    with server.client.stream("POST", path, json=bodies(path, **body)) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in response.iter_lines()]


def test_a_chat(server):
    answer = ask(server)
    assert answer["message"] == {"role": "assistant", "content": models.TEXT}
    assert (answer["model"], answer["done"], answer["done_reason"]) == ("parrot", True, "stop")
    assert answer["eval_count"] == len(models.ANSWER) and answer["prompt_eval_count"] > 0
    times = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert all(isinstance(answer[name], int) and answer[name] >= 0 for name in times)
    # In nanoseconds, and parts of the whole.
    assert 0 < answer["prompt_eval_duration"] + answer["eval_duration"] < answer["total_duration"] < 60e9
    created = datetime.datetime.fromisoformat(answer["created_at"].replace("Z", "+00:00"))
    assert abs(created.timestamp() - datetime.datetime.now().timestamp()) < 60


@pytest.mark.parametrize("model", ["parrot", "caller"])
@pytest.mark.parametrize("path", [CHAT, GENERATE])
@pytest.mark.parametrize(
    "more", [{}, {"options": {**GREEDY, "num_predict": 3}}, {"logprobs": True, "top_logprobs": 1}]
)
def test_a_stream_is_the_answer(server, model, path, more):
    more = {**more, "tools": TOOLS} if path == CHAT else more
    whole = ask(server, path, model=model, **more)
    came = lines(server, path, model=model, **more)
    assert [line["done"] for line in came] == [False] * (len(came) - 1) + [True]
    if path == CHAT:
        messages = [line["message"] for line in came]
        assert {message["role"] for message in messages} == {"assistant"}
        calls = [call["function"] for message in messages for call in message.get("tool_calls", [])]
        assert calls == [call["function"] for call in whole["message"].get("tool_calls", [])]
        texts = [(message["content"], message.get("thinking", "")) for message in messages]
        expected = whole["message"]["content"], whole["message"].get("thinking", "")
    else:
        texts = [(line["response"], line.get("thinking", "")) for line in came]
        expected = whole["response"], whole.get("thinking", "")
    assert ("".join(text for text, _ in texts), "".join(text for _, text in texts)) == expected
    records = [record for line in came for record in line.get("logprobs", [])]
    assert records == whole.get("logprobs", []) and bool(records) == ("logprobs" in more)
    for name in ("done_reason", "eval_count", "prompt_eval_count"):
        assert came[-1][name] == whole[name]


def test_silence(server, monkeypatch):
    """Every line is a part of the answer, however long it takes."""
    monkeypatch.setattr(streams, "_SILENCE", 1e-5)
    assert "".join(line["message"]["content"] for line in lines(server)) == models.TEXT


def test_options(server):
    assert ask(server, options={**GREEDY, "num_predict": 2})["done_reason"] == "length"
    stopped = ask(
        server, options={**GREEDY, "stop": ["앵무"], "num_predict": -1, "num_ctx": 512, "num_gpu": 9}
    )
    assert stopped["message"]["content"] == "안녕하세요! 저는 " and stopped["done_reason"] == "stop"
    drawn = {"temperature": 1e6, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 7, "num_predict": 20}
    first = ask(server, options=drawn)["message"]["content"]
    assert first == ask(server, options=drawn)["message"]["content"]
    assert first != ask(server, options={**drawn, "seed": 8})["message"]["content"]


def test_reasoning_and_calls(server):
    message = ask(server, model="caller", tools=TOOLS)["message"]
    assert (message["thinking"], message["content"]) == (models.REASONING, models.CONTENT)
    assert message["tool_calls"][0]["function"] == {"name": models.NAME, "arguments": models.INPUT}
    # A call that is cut off is none.
    cut = ask(
        server, model="caller", tools=TOOLS, options={**GREEDY, "num_predict": len(models.CALLER_TOKENS) - 4}
    )
    assert "tool_calls" not in cut["message"] and cut["done_reason"] == "length"


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_whether_is_reasoned(server, path):
    on, off = (ask(server, path, model="caller", think=think) for think in (True, False))
    on, off = (answer.get("message", answer) for answer in (on, off))
    assert on["thinking"] == models.REASONING and "thinking" not in off
    name = "content" if path == CHAT else "response"
    assert on[name] == off[name] and off[name].startswith(models.CONTENT)


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_formats(server, path):
    schema = {"type": "object", "properties": {"색": {"enum": ["빨강", "파랑"]}}, "required": ["색"]}
    schema["additionalProperties"] = False
    answer = ask(server, path, format=schema)
    text = answer["message"]["content"] if path == CHAT else answer["response"]
    assert json.loads(text)["색"] in ("빨강", "파랑")
    answer = ask(server, path, format="json", options={**GREEDY, "num_predict": 100})
    text = answer["message"]["content"] if path == CHAT else answer["response"]
    assert text.lstrip()[0] == "{"
    raw = ask(server, GENERATE, prompt="x", raw=True, format=schema)["response"]
    assert json.loads(raw)["색"] in ("빨강", "파랑")


def test_a_conversation_becomes_a_prompt(server):
    messages = [
        {"role": "system", "content": "짧게"},
        *ASKED,
        {
            "role": "assistant",
            "content": "볼게요",
            "thinking": "음",
            "tool_calls": [{"function": {"name": models.NAME, "arguments": models.INPUT}}],
        },
        {"role": "tool", "content": "맑음", "tool_name": models.NAME},
    ]
    same = [dict(message) for message in messages]
    same[2]["reasoning_content"] = same[2].pop("thinking")
    counted = server.post("/tokenize", {"model": "caller", "messages": same, "tools": TOOLS}).json()["count"]
    assert ask(server, model="caller", messages=messages, tools=TOOLS)["prompt_eval_count"] == counted


def test_texts(server):
    assert ask(server, GENERATE)["response"] == models.TEXT
    with_system = ask(server, GENERATE, system="짧게")
    counted = server.post("/tokenize", {"messages": [{"role": "system", "content": "짧게"}, *ASKED]}).json()[
        "count"
    ]
    assert with_system["prompt_eval_count"] == counted
    raw = ask(server, GENERATE, prompt="안녕", raw=True)
    assert raw["response"] == models.TEXT.removeprefix("안녕") and raw["prompt_eval_count"] == 1
    assert "context" not in raw


@pytest.mark.parametrize("path", [CHAT, GENERATE])
def test_loading_and_unloading(server, path):
    """Without a text, a model is only loaded or unloaded."""
    empty = {"messages": []} if path == CHAT else {"prompt": ""}

    def names():
        return [each["name"] for each in server.get("/api/ps").json()["models"]]

    answer = server.post(path, {"model": "parrot", **empty}).json()
    assert (answer["done"], answer["done_reason"]) == (True, "load") and "parrot" in names()
    answer = server.post(path, {"model": "parrot", **empty, "keep_alive": 0}).json()
    assert (answer["done"], answer["done_reason"]) == (True, "unload") and "parrot" not in names()
    assert server.post(path, {"model": "parrot", **empty, "keep_alive": 0}).json()["done_reason"] == "unload"
    assert ask(server)["load_duration"] > 0 and "parrot" in names()


def test_how_long_a_model_stays(server):
    def left(name="parrot"):
        for each in server.get("/api/ps").json()["models"]:
            if each["name"] == name:
                now = datetime.datetime.now(datetime.timezone.utc)
                return (datetime.datetime.fromisoformat(each["expires_at"]) - now).total_seconds()
        return None

    ask(server, keep_alive="1h30m")
    assert 5300 < left() < 5401
    ask(server, keep_alive=60)
    assert 50 < left() < 61
    for keep in (-1, "-1m"):
        ask(server, keep_alive=keep)
        assert left() > 1e9
    ask(server)  # as the server has it: for ever
    assert left() > 1e9
    ask(server, keep_alive="10ms")
    server.wait(lambda: left() is None)
    # The next who asks is not told how long.
    assert server.post("/v1/chat/completions", {"messages": ASKED, "max_tokens": 1}).status_code == 200
    assert left() > 1e9


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (5, 5), (0, 0), ("0", 0), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("300ms", 0.3), ("2m3s", 123),
        ("90", 90), (-1, math.inf), ("-1m", math.inf), ("-1", math.inf),
    ],
)  # fmt: skip
def test_durations(given, seconds):
    assert seconds_of(given) == pytest.approx(seconds)


@pytest.mark.parametrize("given", ["", "m", "5 m", "1h!", "5x", "--5m", "٥m", "1" * 99 + "m"])
def test_wrong_durations(given):
    with pytest.raises(Problem, match="keep_alive is"):
        seconds_of(given)


def test_what_is_known_of_models(server):
    tags = {each["name"]: each for each in server.get("/api/tags").json()["models"]}
    assert list(tags) == ["parrot", "caller"]
    assert all(len(each["digest"]) == 64 and each["size"] > 1000 for each in tags.values())
    assert tags["parrot"]["digest"] != tags["caller"]["digest"]
    ask(server)
    (loaded,) = (each for each in server.get("/api/ps").json()["models"] if each["name"] == "parrot")
    assert loaded["context_length"] == 512 and loaded["size"] == tags["parrot"]["size"]
    assert loaded["details"]["family"] == "llama" and loaded["details"]["quantization_level"] == "F32"
    shown = server.post("/api/show", {"model": "caller"}).json()
    assert shown["template"] == models.TEMPLATE
    assert shown["capabilities"] == ["completion", "tools", "thinking"]
    plain = server.post("/api/show", {"model": "parrot"}).json()
    assert plain["capabilities"] == ["completion", "tools"]
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    verbose = server.post("/api/show", {"name": "caller", "verbose": True}).json()["model_info"]
    assert "</s>" in verbose["tokenizer.ggml.tokens"]
    assert server.get("/api/version").json() == {"version": __version__}
    assert server.post("/api/show", {}).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (CHAT, {"model": None}, "model"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
            "messages[0].images are given",
        ),
        (CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
        (CHAT, {"options": {"num_ctx": 513}}, "num_ctx is 513, but the context is 512"),
        (CHAT, {"options": {"mirostat": 2}}, "mirostat is 2"),
        (CHAT, {"options": {"tfs_z": 0.5}}, "tfs_z is 0.5"),
        (CHAT, {"options": {"repeat_last_n": 9, "repeat_penalty": 1.2}}, "repeat_last_n is 9"),
        (CHAT, {"options": {"temperature": "hot"}}, "options.temperature"),
        (CHAT, {"format": "xml"}, "format is 'xml'"),
        (CHAT, {"think": "deeply"}, "the effort is 'deeply'"),
        (CHAT, {"keep_alive": "long"}, "keep_alive is 'long'"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 600}]}, "the context is 512 tokens"),
        (GENERATE, {"suffix": "x"}, "suffix is given"),
        (GENERATE, {"template": "x"}, "template is given"),
        (GENERATE, {"context": [1]}, "context is given"),
        (GENERATE, {"images": ["x"]}, "images are given"),
        (GENERATE, {"raw": True, "system": "x"}, "system is given"),
    ],
)
@pytest.mark.parametrize("stream", [None, False])
def test_wrong_requests(server, path, body, said, stream):
    answer = server.post(path, bodies(path, **{"stream": stream, **body}))
    assert answer.status_code == 400 and said in answer.json()["error"]


def test_other_errors(server):
    answer = server.post(CHAT, bodies(CHAT, model="llama3"))
    assert answer.status_code == 404 and "'llama3' is not here" in answer.json()["error"]
    # Names have tags in ollama.
    assert ask(server, model="parrot:latest")["message"]["content"] == models.TEXT


# Draws all tokens alike, so that the end comes late.
LONG = {"temperature": 1e6, "top_k": 0, "top_p": 1, "min_p": 0, "num_predict": 450, "seed": 1}


def test_an_error_amid_a_stream(server):
    """The model is unloaded while it writes."""
    body = {"model": "parrot", "prompt": "안녕", "raw": True, "options": LONG}
    with server.client.stream("POST", GENERATE, json=body) as response:
        lines = response.iter_lines()
        next(lines)
        catalog = server.server.catalog
        models.call(server, catalog.unload(catalog.first))
        last = [json.loads(line) for line in lines][-1]
    assert last == {"error": "the model was unloaded"}


def test_who_goes_is_not_written_for(server):
    models.check_given_up(
        server, GENERATE, {"model": "parrot", "prompt": "안녕", "raw": True, "options": LONG}
    )
