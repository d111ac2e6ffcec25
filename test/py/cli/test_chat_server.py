# SPDX-License-Identifier: Apache-2.0
"""``lumen chat --server``: Lumen's own server, others, and what goes wrong with them."""

from __future__ import annotations

import json
import socket

import pytest
from answer_templates import QWEN3
from scripted_http import DONE, STREAM, chunk, event, response, scripted_http
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted

CHAT = "/v1/chat/completions"
CONTROL = ["<|im_start|>", "<|im_end|>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
SCRIPT = ["\n", "<think>", "\nhm\n", "</think>", "\n\n네", ", 그래요", ".", "<|im_end|>"]
SHOWN = "<think>\nhm\n</think>\n\n네, 그래요.\n"
CALL = ["<tool_call>", '\n{"name": "weather", ', '"arguments": {"city": "서울"}}\n', "</tool_call>"]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def parrot(path, *tokens):
    write_scripted(
        path, tokens, control=CONTROL, user_defined=MARKS, eos="<|im_end|>", template=QWEN3, context=512
    )
    return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    models = [
        parrot(folder / "parrot.gguf", *SCRIPT),
        parrot(folder / "calls.gguf", "\n", *CALL, "<|im_end|>"),
    ]
    with serving(*models, options={"engine": "reference"}, api_keys=("secret",)) as running:
        yield running


@pytest.fixture
def ask(lumen, server):
    def run(*arguments, **options):
        options.setdefault("env", {"LUMEN_API_KEY": "secret"})
        return lumen("chat", "--server", server.url, "--temp", "0", *arguments, **options)

    return run


def test_single_messages(ask, server):
    done = ask(input="안녕?\n")
    assert (done.returncode, done.stdout) == (0, SHOWN), done.stderr
    assert done.stderr.startswith("lumen: 7 tokens") and done.stderr.endswith(f"parrot at {server.url}\n")
    done = ask("-p", "안녕?", "-q", "--api-key", "secret", env={})
    assert (done.stdout, done.stderr) == (SHOWN, "")
    assert ask("-p", "x", "--no-special").stdout == "hm\n\n네, 그래요.\n"
    assert ask("-p", "x", "--stop", "그래").stdout == "<think>\nhm\n</think>\n\n네, \n"
    done = ask("-p", "x", "-n", "2")
    assert done.stdout.startswith("<think>\nhm") and "warning" not in done.stderr


def test_calls(ask, tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    done = ask("calls", "-p", "서울 날씨?", "--tools", tmp_path / "tools.json")
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "서울"}}\n</tool_call>\n' in done.stdout


def test_a_full_context(ask):
    done = ask("-p", "x", "--ignore-eos", "--stop", "never")
    assert "warning: the context is full (the server's option -c makes it longer)" in done.stderr
    done = ask("-p", "long " * 600)
    assert (done.returncode, done.stdout) == (1, "") and "but the context is 512 tokens" in done.stderr


@pytest.mark.parametrize("key", [None, "wrong"])
def test_keys(refused, server, key):
    given = [] if key is None else ["--api-key", key]
    said = refused("chat", "--server", server.url, "-p", "x", *given)
    assert said.endswith("(--api-key or LUMEN_API_KEY gives one)") and ("wrong" in said) == (key is not None)
    assert "other characters" in refused("chat", "--server", server.url, "-p", "x", "--api-key", "a\nb")


def test_models_that_are_not_there(refused, server):
    said = refused("chat", "parot", "--server", server.url, "--api-key", "secret", "-p", "x")
    assert "the model 'parot' is not here; did you mean 'parrot'? (there is parrot, calls)" in said


@pytest.mark.parametrize(
    "option",
    [
        "--threads=3",
        "--context=64",
        "--device=cpu",
        "--speculate",
        "--chat-template=plain",
        "--dry-run",
        "-t=2",
    ],
)
def test_options_of_models_that_run_here(refused, option):
    name, _, value = option.partition("=")
    arguments = [name, value] if value else [name]
    said = refused("chat", "--server", "http://127.0.0.1:1", "-p", "x", *arguments, code=2)
    assert said.startswith(f"{'--threads' if name == '-t' else name} is for models that run here")


def test_a_key_without_a_server(refused):
    assert refused("chat", "-p", "x", "--api-key", "k", code=2).startswith("--api-key is for --server")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "--server is empty"),
        ("ftp://host", "http://HOST:PORT or https://HOST was expected"),
        ("http://", "http://HOST:PORT or https://HOST was expected"),
        ("http://h:99999", "Port out of range"),
        ("http://user:password@host", "--api-key is for keys"),
        ("http://host/?x=1", "a host, a port and a path were expected"),
        ("http://no-such-host.invalid", "there is no such host"),
        ("http://" + "a" * 70 + ".b", "there is no such host"),
    ],
)
def test_wrong_addresses(refused, url, message):
    assert message in refused("chat", "--server", url, "-p", "x")


def test_nobody_is_there(refused):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        assert refused("chat", "--server", url, "-p", "x").startswith(f"{url}: nobody answers there")


MODELS = {"object": "list", "data": [{"id": "small"}, {"id": "large"}]}


def other(chat, **paths):
    """What another maker's server answers: no ``/props``, and ``chat`` to questions."""

    def answer(asked):
        if asked.path.endswith("/v1/models"):
            return response(MODELS)
        if asked.path.endswith(CHAT):
            return chat(asked) if callable(chat) else chat
        return response({"detail": "Not Found"}, 404)

    return answer


def test_other_servers(lumen):
    usage = {"prompt_tokens": 9, "completion_tokens": 3}

    def chat(asked):
        yield STREAM + chunk(": keep-alive\n\n") + event({"role": "assistant", "content": None})
        yield event({"reasoning": "h"}) + event({"reasoning": "m"})
        # Characters in pieces, lines with carriage returns, and events that come at once.
        whole = f"data: {json.dumps({'choices': [{'delta': {'content': '네'}}]}, ensure_ascii=False)}\r\n\r\n"
        for byte in whole.encode():
            yield b"1\r\n%c\r\n" % byte
        yield event({"content": "!"}) + event({}, "stop") + event(usage=usage) + DONE

    with scripted_http(other(chat)) as server:
        done = lumen("chat", "--server", f"{server.url}/api/v1/", "-p", "hi", "--no-think", "-s", "3")
    assert done.stdout == "<think>\nhm\n</think>\n\n네!\n", done.stderr
    assert "3 tokens" in done.stderr and f"small at {server.url}/api" in done.stderr
    body = server.asked[-1].body
    assert server.asked[-1].path == "/api/v1/chat/completions"
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "seed": 3,
        "chat_template_kwargs": {"enable_thinking": False},
        "stop": [],
        "ignore_eos": False,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_servers_that_do_not_stream(lumen):
    whole = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    with scripted_http(other(response(whole))) as server:
        done = lumen("chat", "large", "--server", server.url, "-p", "hi")
    assert done.stdout == "yes\n" and done.stderr == f"lumen: large at {server.url}\n"


LOST = "the server went away in the middle of the answer"


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (b"", "the server closed the connection"),
        (b"0\r\n\r\n", LOST),
        (b"5\r\nda", "the server closed the connection"),
        (chunk("data: {no\n\n"), "a part of the answer is no JSON: '{no'"),
        (chunk("data: [1]\n\n"), "a part of the answer is no JSON"),
        (chunk('data: {"error": {"message": "out of memory", "code": 500}}\n\n'), "out of memory"),
        (chunk('data: {"error": "tired"}\n\n'), "tired"),
    ],
)
def test_answers_that_end_in_the_middle(lumen, end, message):
    """What came stays, and the line ends."""
    with scripted_http(other(STREAM + event({"content": "so far"}) + end)) as server:
        done = lumen("chat", "--server", server.url, "-p", "hi")
    assert (done.returncode, done.stdout) == (1, "so far\n")
    assert done.stderr == f"lumen: error: {server.url}: {message}\n" or message in done.stderr


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            response({"error": {"message": "no such"}}, 404),
            "there is no model 'smal'; did you mean 'small'? (there are small, large)",
        ),
        (response({"error": {"message": "bad field", "code": None}}, 400), ": bad field"),
        (response({"detail": [1]}, 422), "the server answers with status 422"),
        (response("<html>", 502, "text/html"), "status 502 Bad Gateway"),
        (response({"error": "busy"}, 503, Retry_After="3"), ": busy"),
        (response("", 307, Location="http://else\x1b.example/"), "sends on to http://else"),
        (response("<html>", 200, "text/html"), "is no JSON but text/html"),
        (b"what?\r\n\r\n", "does not speak HTTP"),
        (b"", "the server closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "the server closed the connection"),
    ],
)
def test_refusals(refused, said, message):
    with scripted_http(other(said)) as server:
        text = refused("chat", "smal", "--server", server.url, "-p", "hi")
    assert text.startswith(f"{server.url}: ") and message in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (response({"error": "x"}, 404), "there is no /v1/models (x); is it the address of a server"),
        (response("<html>", 200, "text/html"), "/v1/models is no JSON but text/html; is it the address"),
        (response([1]), "/v1/models is no list"),
        (response({"data": []}), "the server lists no models: pass the name of one"),
    ],
)
def test_servers_of_something_else(refused, said, message):
    with scripted_http(lambda asked: said) as server:
        assert message in refused("chat", "--server", server.url, "-p", "hi")


def test_a_silent_server(refused, monkeypatch):
    monkeypatch.setattr("lumen_mlir.cli.remote.models.ANSWER_SECONDS", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert refused("chat", "--server", url, "-p", "x") == f"{url}: the server does not answer"
