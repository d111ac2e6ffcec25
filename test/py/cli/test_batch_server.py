# SPDX-License-Identifier: Apache-2.0
"""``lumen batch --server``: the same files and answers, and servers that are busy, lost or wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from cli_samples import SHAPE
from scripted_http import response, scripted_http
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.testing.synthetic import write_synthetic

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
CONTROL = ["<|user|>", "<|assistant|>", "<|end|>", "</s>"]
SCRIPTS = [["<|assistant|>", "Yes", "</s>"], ["1", "2", "3", "4", "5", "</s>"], ["9", "8"], ["8", "9"]]


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "talker.gguf"
    write_scripted(path, SCRIPTS, control=CONTROL, eos="</s>", template=TEMPLATE, context=200)
    return path


@pytest.fixture(scope="module")
def server(talker, tmp_path_factory):
    tiny = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_synthetic(tiny, SHAPE, "q8_0", seed=1)
    with serving(str(talker), str(tiny), options={"engine": "reference"}) as running:
        running.tiny = tiny
        yield running


def lines(*requests):
    return "".join(each if isinstance(each, str) else json.dumps(each) + "\n" for each in requests)


def answers(done):
    return {line["index"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_answers(lumen, server):
    requests = lines(
        {"prompt": "1", "custom_id": "일"},
        {"prompt": "1", "max_tokens": 2},
        {"messages": [{"role": "user", "content": "?"}]},
        "\n",
        {"prompt": "1", "stop": "4", "max_tokens": None},
        {"prompt": "9", "max_tokens": 1000},
        {"prompt": "1", "logprobs": 1},
        {"prompt": "1", "temperature": "hot"},
        {"prompt": "1", "seed": "x"},
        {"prompt": "1", "logit_bias": 3},
        {"promt": "1"},
    )
    done = lumen("batch", "--server", server.url, "-", "--temp", "0", "-np", "3", input=requests)
    found = answers(done)
    assert {i: (a["text"], a["finish_reason"]) for i, a in found.items() if "text" in a and i != 5} == {
        0: ("2345", "end"),
        1: ("23", "length"),
        2: ("Yes", "end"),
        4: ("23", "stop"),
    }
    assert found[5]["finish_reason"] == "context" and found[5]["text"].startswith("8989")
    assert found[0]["custom_id"] == "일" and found[0]["usage"]["prompt_tokens"] == 1
    for number, message in (
        (6, "logprobs are for lines in OpenAI's form"),
        (7, "temperature"),
        (8, "seed"),
        (9, "logit_bias is 3"),
        (10, "unknown field 'promt'; did you mean 'prompt'?"),
    ):
        assert message in found[number]["error"]
    assert done.returncode == 0 and "warning: 5 requests failed" in done.stderr
    assert done.stderr.startswith("lumen: 10 requests, ")


def test_the_same_as_here(lumen, server, tmp_path):
    """The same seeds write the same texts, whatever runs beside them."""
    path = tmp_path / "requests.jsonl"
    prompts = [{"prompt": f"word {number}", "max_tokens": 5 + number} for number in range(6)]
    path.write_text(lines(*prompts, {"prompt": [3, 4], "seed": 5, "top_k": 3, "logit_bias": {"7": 9}}))
    given = ("-s", "11", "--temp", "1.5", "-q")
    here = answers(lumen("batch", server.tiny, path, *given, "--engine", "reference"))
    there = answers(lumen("batch", "tiny", path, "--server", server.url, *given))
    assert len(there) == 7 and len({answer["text"] for answer in there.values()}) > 1
    for number, answer in here.items():
        assert {**answer, "usage": 0} == {**there[number], "usage": 0}
        assert answer["usage"]["prompt_tokens"] == there[number]["usage"]["prompt_tokens"]


def test_form_of_openai(lumen, refused, server):
    hello = [{"role": "user", "content": "?"}]
    body = {"messages": hello, "logprobs": True, "top_logprobs": 2}
    requests = lines({"custom_id": "a", "url": "/v1/chat/completions", "body": body})
    done = lumen("batch", "--server", server.url, "-", "--temp", "0", input=requests)
    answered = json.loads(done.stdout)
    assert answered["custom_id"] == "a" and answered["error"] is None, done
    (choice,) = answered["response"]["body"]["choices"]
    assert (
        choice["message"]["content"] == "Yes" and len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    )
    # The name of a model is the server's to know; one in the command goes first.
    requests = requests.replace('"body": {', '"body": {"model": "gpt", ')
    done = lumen("batch", "--server", server.url, "-", input=requests)
    assert done.returncode == 1 and "the model 'gpt' is not here" in done.stderr and done.stdout == ""
    done = lumen("batch", "talker", "--server", server.url, "-", "--temp", "0", input=requests)
    assert json.loads(done.stdout)["response"]["body"]["model"] == "talker"


def test_refused_before_anything_is_asked(refused, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(lines({"prompt": "1"}))
    given = ("batch", path, "--server", "http://127.0.0.1:1")
    for option in ("--kv-pool", "-c", "-t"):
        assert "is for models that run here" in refused(*given, option, "9", code=2)
    assert "nobody answers there" in refused(*given, "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""
    with scripted_http(lambda asked: response({"data": [{"id": "it"}]})) as other:
        said = refused("batch", path, "--server", other.url, "-np", "0")
    assert said == "--parallel is 0; expected a whole number of at least 1"


# --- servers that are busy, lost or wrong -------------------------------------------------------------------


def scripted(*outcomes):
    """A server that answers the first requests with ``outcomes`` and the others with their prompts."""
    left = list(outcomes)

    def answer(asked):
        if asked.path == "/v1/models":
            return response({"data": [{"id": "it"}]})
        if asked.method == "GET":
            return response({}, 404)
        if left:
            return left.pop(0)
        choice = {"text": asked.body["prompt"], "finish_reason": "stop"}
        return response({"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})

    return scripted_http(answer)


@pytest.fixture
def hurried(monkeypatch):
    """Does not wait as long as it is used to."""
    monkeypatch.setattr("lumen_mlir.cli.remote.batch._FIRST_WAIT", 0.01)
    monkeypatch.setattr("lumen_mlir.cli.remote.batch._LONGEST_WAIT", 0.02)


def test_busy_and_lost_servers_are_asked_again(lumen, hurried):
    outcomes = (
        response({"error": {"message": "busy"}}, 429, Retry_After="0.2"),
        response({"error": "loading"}, 503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        response("", 502, "text/html"),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        response({"error": "odd"}, 503, Retry_After="nan"),
    )
    with scripted(*outcomes) as other:
        start = time.monotonic()
        done = lumen("batch", "--server", other.url, "-", "-np", "1", "-v", input=lines({"prompt": "x"}))
        assert time.monotonic() - start > 0.2
    assert answers(done)[0]["text"] == "x" and done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "asking again" in line]
    assert len(said) == 6 and said[0].endswith(": busy; asking again in 0.2 s")


def test_servers_that_stay_away(lumen, hurried, tmp_path):
    """What is answered stays; the same command goes on."""
    out = tmp_path / "out.jsonl"
    requests = lines({"prompt": "x"}, {"prompt": "y"})
    given = ("batch", "-", "-o", out, "-np", "1", "--server")
    with scripted(*[response({"error": "busy"}, 503)] * 8) as other:
        done = lumen(*given, other.url, input=requests)
        assert done.returncode == 1 and "busy; it was asked 8 times" in done.stderr
        assert "stopped: 0 of 2 requests are answered; the same command goes on from there" in done.stderr
        assert out.read_bytes() == b""
        assert lumen(*given, other.url, input=requests).returncode == 0
        before = out.read_bytes()
        assert len(before.splitlines()) == 2
        done = lumen(*given, other.url, input=requests)
        assert "has 2 of 2 answers already" in done.stderr and out.read_bytes() == before


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (response({"error": "no key"}, 401), "no key (--api-key or LUMEN_API_KEY gives one)"),
        (response("", 301, Location="http://there/"), "sends on to http://there/"),
        (response({}, 404), "there is no /v1/completions"),
    ],
)
def test_what_would_be_so_for_all(lumen, outcome, message):
    with scripted(outcome) as other:
        done = lumen("batch", "--server", other.url, "-", input=lines({"prompt": "x"}))
    assert (done.returncode, done.stdout) == (1, "") and message in done.stderr


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (response({"error": "too long"}, 400), "too long"),
        (response({"error": "broken"}, 500), "broken"),
        (response({"choices": []}), "the answer has no choices"),
        (response("<html>", 200, "text/html"), "is no JSON but text/html"),
    ],
)
def test_what_is_wrong_with_one(lumen, outcome, message):
    with scripted(outcome) as other:
        given = lines({"prompt": "x"}, {"prompt": "y"})
        done = lumen("batch", "--server", other.url, "-", "-np", "1", input=given)
    found = answers(done)
    assert message in found[0]["error"] and found[1]["text"] == "y" and "1 request failed" in done.stderr


def test_several_at_a_time(lumen):
    """No more than was asked for, and no fewer."""
    import threading

    met = threading.Barrier(3, timeout=30)
    busy, most = [], []

    def answer(asked):
        if asked.method == "GET":
            return response({"data": [{"id": "it"}]}) if asked.path == "/v1/models" else response({}, 404)
        busy.append(1)
        most.append(len(busy))
        met.wait()
        busy.pop()
        return response({"choices": [{"text": "x", "finish_reason": "stop"}]})

    with scripted_http(answer) as other:
        requests = lines(*[{"prompt": str(number)} for number in range(9)])
        done = lumen("batch", "--server", other.url, "-", "-np", "3", input=requests)
    assert len(done.stdout.splitlines()) == 9 and max(most) == 3


def test_interrupted(server, environment, tmp_path):
    """Ctrl-C ends all connections: the server stops, and what is answered stays."""
    path, out = tmp_path / "requests.jsonl", tmp_path / "out.jsonl"
    path.write_text(lines({"prompt": "1"}, *[{"prompt": "9", "max_tokens": 190}] * 400))
    command = [
        sys.executable,
        "-m",
        "lumen_mlir",
        "batch",
        str(path),
        "-o",
        str(out),
        "-np",
        "4",
        "--temp",
        "0",
    ]
    run = subprocess.Popen(
        [*command, "--server", server.url], env=environment, stderr=subprocess.PIPE, text=True
    )
    running = "vllm:num_requests_running"
    server.wait(lambda: out.exists() and out.read_bytes().count(b"\n") >= 2 and server.metric(running) > 0)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "the same command goes on from there" in said and "Traceback" not in said
    server.wait(lambda: server.metric(running) == 0)
    kept = out.read_text().splitlines()
    assert 0 < len(kept) < 401 and all("text" in json.loads(line) for line in kept)
