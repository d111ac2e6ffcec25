# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that says what a test tells it to, byte by byte: other makers' servers, and broken ones."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Answer = Callable[[Asked], Iterator[bytes] | bytes]


@dataclass
class ScriptedServer:
    """``answer`` gives the bytes of a response; the connection ends behind them."""

    url: str
    asked: list[Asked] = field(default_factory=list)


def response(body: Any, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole response; what is no text is sent as JSON."""
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    """A part of a stream."""
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, Any] | None = None, reason: str | None = None, **more: Any) -> bytes:
    """A part of a streamed answer."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    return chunk(f"data: {json.dumps({'choices': choices, **more})}\n\n")


DONE = chunk("data: [DONE]\n\n") + b"0\r\n\r\n"


@contextlib.contextmanager
def scripted_http(answer: Answer) -> Iterator[ScriptedServer]:
    """A server on a free port of this machine."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked = _request(self.rfile)
            if asked is None:
                return
            server.asked.append(asked)
            said = answer(asked)
            with contextlib.suppress(OSError):
                for piece in [said] if isinstance(said, bytes) else said:
                    self.wfile.write(piece)
                    self.wfile.flush()

    class Threads(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Threads(("127.0.0.1", 0), Handler) as listening:
        server = ScriptedServer(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def _request(file: Any) -> Asked | None:
    first = file.readline().decode().split()
    if len(first) < 2:
        return None
    headers = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    data = file.read(int(headers.get("content-length", 0)))
    return Asked(first[0], first[1], headers, json.loads(data) if data else None)
