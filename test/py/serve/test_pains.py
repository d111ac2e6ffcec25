# SPDX-License-Identifier: Apache-2.0
"""What users of other servers suffer from is absent here."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from server_fixture import serving

from lumen_mlir import LLM
from lumen_mlir.testing.families import write_family

COMPLETIONS = "/v1/completions"
PROMPT = "오늘 본 영화는"
PROMPTS = [
    "이 영화는",
    "주말에 가족들과",
    "배우의 연기가",
    "감독의 다음 작품은",
    "음악이",
    "결말이",
    "처음에는",
]


@pytest.fixture(scope="module")
def server():
    with serving(options={"context": 1024, "kv_pool": 2048}) as running:
        yield running


@pytest.fixture(scope="module")
def llm():
    with LLM(context=1024) as model:
        yield model


def together(server, bodies):
    """The texts of requests that are made at the same time."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: server.text(**body), bodies))


def test_the_context_is_not_shared_out(server, llm):
    """One of four streams takes nine tenths of the context."""
    ids = llm.tokenize("영화 이야기 " * 1000)[:920]
    bodies = [{"prompt": ids, "max_tokens": 8}] + [{"prompt": each, "max_tokens": 40} for each in PROMPTS[:3]]
    texts = together(server, bodies)
    assert texts == [
        llm.generate(each["prompt"], each["max_tokens"], temperature=0).text() for each in bodies
    ]


def test_too_little_room_changes_no_text(llm):
    """More is asked for than the KV cache has room for."""
    bodies = [{"prompt": each, "max_tokens": 200, "ignore_eos": True} for each in PROMPTS]
    with serving(options={"context": 512, "kv_pool": 512, "sequences": 8}) as server:
        texts = together(server, bodies)
    expected = [llm.generate(each, 200, temperature=0, ignore_eos=True).text() for each in PROMPTS]
    assert texts == expected


def test_nothing_is_cut_silently(server, llm):
    ids = llm.tokenize("영화 이야기 " * 1000)[:1025]
    answer = server.post(COMPLETIONS, {"prompt": ids, "max_tokens": 1})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["code"] == "context_length_exceeded"
    assert "1025" in error["message"] and "1024" in error["message"]


@pytest.mark.parametrize("name", ["exaone4-hybrid", "mistral-window"])
def test_windows_keep_what_was_computed(tmp_path, name):
    """The second turn of a conversation of a model with windows computes little."""
    write_family(tmp_path / "model.gguf", name, vocabulary=300)
    with serving(str(tmp_path / "model.gguf"), options={"context": 256}) as server:
        first = [token % 50 + 10 for token in range(230)]
        server.text(first, max_tokens=8, ignore_eos=True)
        answer = server.post(
            COMPLETIONS, {"prompt": [*first, 20, 21, 22], "max_tokens": 2, "ignore_eos": True}
        )
        usage = answer.json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] > 0.9 * usage["prompt_tokens"]


def test_a_long_prompt_does_not_stop_the_others(server, llm):
    """A text goes on while a long prompt is read."""
    long = llm.tokenize("영화 이야기 " * 1000)[:1000]
    body = {"prompt": PROMPT, "max_tokens": 400, "ignore_eos": True, "stream": True}
    done = threading.Event()

    def read_long():
        server.post(COMPLETIONS, {"prompt": long, "max_tokens": 1, "temperature": 0})
        done.set()

    came = 0
    with server.client.stream("POST", COMPLETIONS, json=body) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: {"))
        next(lines)
        reader = threading.Thread(target=read_long)
        reader.start()
        for _ in lines:
            if done.is_set():
                break
            came += 1
    reader.join()
    assert came >= 3


def closed_after(server, body, ready):
    """Sends a request, and closes the connection once ``ready`` is true."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        data = json.dumps(body).encode()
        head = f"POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        server.wait(lambda: ready(connection))


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_goes_takes_nothing(server, stream):
    """A client that closes its connection gives its text up within a second."""
    body = {"prompt": PROMPT, "max_tokens": 1000, "ignore_eos": True, "stream": stream}
    closed_after(server, body, lambda _: server.metric("vllm:num_requests_running") == 1)
    server.wait(lambda: server.metric("vllm:num_requests_running") == 0, seconds=1)


def test_whoever_goes_while_waiting_takes_nothing():
    body = {"prompt": PROMPT, "max_tokens": 1000, "ignore_eos": True, "stream": True}
    with (
        serving(options={"context": 1024, "sequences": 1}) as server,
        server.client.stream("POST", COMPLETIONS, json=body) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data: {"))
        next(lines)
        closed_after(server, body, lambda _: server.metric("vllm:num_requests_waiting") == 1)
        server.wait(lambda: server.metric("vllm:num_requests_waiting") == 0, seconds=1)
        next(lines)


def test_whoever_goes_amid_a_prompt_takes_nothing(server, llm):
    """A prompt is given up after the step that is computed."""
    with serving(options={"context": 2048, "chunk": 8}) as slow:
        ids = llm.tokenize("영화 이야기 " * 1000)[:2000]
        body = {"prompt": ids, "max_tokens": 1}
        closed_after(slow, body, lambda _: slow.metric("vllm:num_requests_running") == 1)
        slow.wait(lambda: slow.metric("vllm:num_requests_running") == 0, seconds=1)
        # It was not read to its end.
        assert slow.metric("vllm:request_success_total", finished_reason="abort") == 1


def test_the_same_seed_is_the_same_text(server):
    """Alone and beside seven others, to the last bit of its probabilities."""
    body = {
        "prompt": PROMPT,
        "max_tokens": 40,
        "seed": 11,
        "temperature": 1.0,
        "logprobs": 3,
        "ignore_eos": True,
    }
    alone = server.post(COMPLETIONS, body).json()["choices"]
    others = [{"prompt": each, "max_tokens": 60, "seed": number} for number, each in enumerate(PROMPTS)]
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(server.post, COMPLETIONS, other) for other in others]
        beside = pool.submit(server.post, COMPLETIONS, body).result().json()["choices"]
        assert all(each.result().status_code == 200 for each in running)
    assert beside == alone


def test_memory_does_not_grow(server):
    """Hundreds of requests, some of which fail or are given up, leave nothing."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def ask(number):
        body = {"prompt": f"{number} {PROMPTS[number % 7]}", "max_tokens": 4}
        wrong = {"prompt": "", "temperature": -1} if number % 10 == 3 else {}
        server.post(COMPLETIONS, {**body, **wrong, "stream": number % 3 == 0})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(200)))
        before = resident()
        list(pool.map(ask, range(200, 800)))
    assert server.metric("vllm:num_requests_running") == 0
    assert resident() - before < 8 << 20
