# SPDX-License-Identifier: Apache-2.0
"""Keys, limits, slow clients, ids, and the end of a server."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time

import pytest
from server_fixture import serving

COMPLETIONS = "/v1/completions"
BODY = {"prompt": "이 영화는", "max_tokens": 4}
LONG = {**BODY, "max_tokens": 1000, "ignore_eos": True, "stream": True}
OPTIONS = {"context": 1024}


@pytest.fixture(scope="module")
def server():
    limits = dict(max_requests=2, max_connections=30, max_body=10_000, read_timeout=0.5)
    with serving(
        options=OPTIONS, api_keys=("one", "two"), origins=("https://page.example",), **limits
    ) as running:
        running.client.headers["Authorization"] = "Bearer two"
        yield running


def exchange(server, data: bytes, parts: int = 1, pause: float = 0.0) -> bytes:
    """Sends bytes as they are, in so many parts, and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        size = max(len(data) // parts, 1)
        try:
            for begin in range(0, len(data), size):
                connection.sendall(data[begin : begin + size])
                time.sleep(pause)
        except OSError:
            pass
        received = b""
        # (Whoever closes before it has read all resets the connection.)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return received


def test_keys(server):
    for headers, status in (
        ({"Authorization": "Bearer one"}, 200),
        ({"Authorization": "bearer  two"}, 200),
        ({"Authorization": "", "X-Api-Key": "two"}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer three"}, 401),
        ({"Authorization": "Basic one"}, 401),
        ({"Authorization": "Bearer one two"}, 401),
    ):
        answer = server.post(COMPLETIONS, BODY, headers=headers)
        assert answer.status_code == status, headers
        if status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert "two" not in answer.text
    assert server.get("/health", headers={"Authorization": ""}).status_code == 200
    assert server.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert server.get("/v1/models", headers={"Authorization": ""}).status_code == 401


def test_pages_of_others_may_not_ask(server):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    refused = server.client.options(COMPLETIONS, headers=asked)
    assert "access-control-allow-origin" not in refused.headers
    allowed = server.client.options(COMPLETIONS, headers={**asked, "Origin": "https://page.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-credentials" not in allowed.headers


def test_too_large(server):
    answer = server.post(COMPLETIONS, {**BODY, "prompt": "x" * 20_000})
    assert answer.status_code == 413 and "10000 bytes" in answer.json()["error"]["message"]
    # The same where the length is not said.
    answer = server.client.post(COMPLETIONS, content=(b"x" * 1000 for _ in range(20)))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"prompt": NaN}', b"[" * 5000, b"nul"]
)
def test_no_json(server, content):
    answer = server.client.post(COMPLETIONS, content=content)
    assert answer.status_code == 400, answer.text
    assert "JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n", b"400"),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{",
            b"4",
        ),
        (b"GET /" + b"x" * 66_000, b"400"),
        (b"", b"408"),
        (b"GET /health HT", b"408"),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer one\r\n"
            b"Content-Length: 99\r\n\r\n{",
            b"408",
        ),
    ],
)
def test_malformed_and_unfinished_requests(server, data, status):
    first = exchange(server, data).partition(b"\r\n")[0]
    assert first.startswith(b"HTTP/1.1 " + status), first
    assert server.get("/health").status_code == 200


def test_a_request_byte_by_byte(server):
    """What takes too long is refused; what is only cut into pieces is not."""
    body = json.dumps(BODY).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer one\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    data = head.encode() + body
    assert exchange(server, data, parts=len(data)).startswith(b"HTTP/1.1 200")
    assert exchange(server, data, parts=20, pause=0.1).startswith(b"HTTP/1.1 408")


def test_a_half_closed_connection(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    assert server.get("/health").status_code == 200


def test_too_many_requests(server):
    with (
        server.client.stream("POST", COMPLETIONS, json=LONG) as one,
        server.client.stream("POST", COMPLETIONS, json=LONG) as two,
    ):
        assert one.status_code == two.status_code == 200
        refused = server.post(COMPLETIONS, BODY)
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        # It can still be asked how it is.
        assert server.get("/health").status_code == 200
        next(one.iter_lines())
    server.wait(lambda: server.post(COMPLETIONS, BODY).status_code == 200)


def test_too_many_connections(server):
    open_ = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(40)]
    try:
        last = open_[-1].recv(4096)
        assert last.startswith(b"HTTP/1.1 503") and b"Retry-After: 1\r\n" in last
    finally:
        for connection in open_:
            connection.close()
    server.wait(lambda: server.get("/health").status_code == 200)


def test_ids_of_requests(server):
    assert server.get("/health", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    made = server.get("/health", headers={"X-Request-Id": "a b{}"})
    assert len(made.headers["X-Request-Id"]) == 32
    assert server.get("/nothing").headers["X-Request-Id"]


def test_the_log_has_no_texts(server, caplog):
    logging.getLogger("lumen_mlir").propagate = True
    with caplog.at_level(logging.DEBUG, "lumen_mlir"):
        server.post(COMPLETIONS, {**BODY, "prompt": "비밀스러운 이야기"})
        server.post(COMPLETIONS, {**BODY, "prompt": "비밀스러운 이야기", "temperature": -1})
        # (Requests of other tests may still be logged.)
        server.wait(lambda: "'status': 400" in logged(caplog))
    assert "비밀" not in logged(caplog) and COMPLETIONS in logged(caplog)


def logged(caplog) -> str:
    """All messages and fields so far."""
    return " ".join(
        f"{record.getMessage()} {record.__dict__.get('fields')}" for record in list(caplog.records)
    )


def test_methods_and_paths(server):
    assert server.get(COMPLETIONS).status_code == 405
    assert server.get("/v1/nothing").status_code == 404
    assert server.post("/health", {}).status_code == 405


def test_it_ends_what_has_begun():
    """Told to stop, it refuses new requests and finishes the others."""
    with serving(options=OPTIONS, grace=60.0) as server:
        body = {**LONG, "max_tokens": 300, "temperature": 0}
        with server.client.stream("POST", COMPLETIONS, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.begin_stop()
            server.wait(lambda: server.server.stopping.is_set())
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        text = "".join(
            json.loads(line[6:])["choices"][0]["text"] for line in rest if line.startswith("data: {")
        )
        assert len(text) > 300


def test_it_cuts_what_takes_too_long():
    with serving(options={"context": 2048}, grace=0.3) as server:
        whole: list = []
        body = {**LONG, "max_tokens": 2000}
        asking = threading.Thread(
            target=lambda: whole.append(server.post(COMPLETIONS, {**body, "stream": False}))
        )
        asking.start()
        with server.client.stream("POST", COMPLETIONS, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.wait(lambda: server.server.metrics.open_requests == 2)
            start = time.monotonic()
            server.begin_stop()
            rest = list(lines)
        assert time.monotonic() - start < 5
        assert json.loads(rest[-2][6:])["error"]["code"] == "stopping"
        asking.join()
        assert whole[0].status_code == 503 and whole[0].headers["Retry-After"]
