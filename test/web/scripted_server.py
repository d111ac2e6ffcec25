# SPDX-License-Identifier: Apache-2.0
"""A server with the API of ``lumen serve`` that answers as a test says: slowly, with faults, with calls."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PAGE = Path(__file__).parents[2] / "python" / "lumen_mlir" / "serve" / "page.html"


class Fault(Exception):
    """An answer that ends in an error: with this status before the first chunk, as an event behind it."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Drop(Exception):
    """The connection ends without a word."""


def content(text: str) -> dict[str, Any]:
    """A chunk with a piece of the answer."""
    return _chunk({"content": text})


def reasoning(text: str) -> dict[str, Any]:
    """A chunk with a piece of what the model thinks."""
    return _chunk({"reasoning_content": text})


def tool_call(index: int, arguments: str, **first: str) -> dict[str, Any]:
    """A chunk with a piece of a call; the first one of a call has ``id`` and ``name``."""
    function = {"arguments": arguments} | ({"name": first["name"]} if "name" in first else {})
    call = {"index": index, "function": function} | ({"id": first["id"], "type": "function"} if first else {})
    return _chunk({"tool_calls": [call]})


def reading(processed: int, total: int, cache: int = 0) -> dict[str, Any]:
    """A chunk that says how many tokens of the prompt are read."""
    progress = {"total": total, "cache": cache, "processed": processed, "time_ms": 100}
    return _chunk({}) | {"prompt_progress": progress}


def end(reason: str = "stop", prompt: int = 120, cached: int = 64, tokens: int = 42) -> dict[str, Any]:
    """The last chunk, with counts of tokens."""
    return _chunk({}, reason) | {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
        "timings": {
            "prompt_n": prompt - cached,
            "prompt_ms": 80.0,
            "predicted_n": tokens,
            "predicted_ms": 1000.0,
            "predicted_per_second": float(tokens),
        },
    }


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}


def words(text: str) -> Iterator[dict[str, Any]]:
    """A whole answer, a word to a chunk."""
    for word in re.findall(r"\s*\S+|\s+$", text):
        yield content(word)
    yield end()


@dataclass
class Script:
    """What the server does, and what it was asked."""

    answer: Callable[[dict[str, Any]], Iterator[dict[str, Any]]] = lambda request: words("예.")
    key: str | None = None
    models: list[str] = field(default_factory=lambda: ["scripted"])
    props: dict[str, Any] = field(
        default_factory=lambda: {
            "context": 4096,
            "model": "scripted",
            "sampling": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
            "reasoning": True,
            "tools": True,
        }
    )
    # What differs from it, by the queries.
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    loading: bool = False
    # Cleared while a model is loaded that is asked about.
    tell: threading.Event = field(default_factory=threading.Event)
    requests: list[dict[str, Any]] = field(default_factory=list)
    # Set when a page goes away in the midst of an answer.
    left: threading.Event = field(default_factory=threading.Event)
    address: str = ""


def policy(page: str) -> str:
    """The Content-Security-Policy of a page: what stands in it, and nothing else."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found]
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; connect-src 'self'; script-src {hashes('script')}; "
        f"style-src {hashes('style')}; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


class _Handler(BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if self.path == "/":
            page = PAGE.read_text()
            self._send(
                200, page.encode(), "text/html; charset=utf-8", {"Content-Security-Policy": policy(page)}
            )
        elif self._allowed():
            if self.path == "/v1/models":
                self._json(200, {"object": "list", "data": [{"id": name} for name in self.script.models]})
            elif address.path == "/props":
                self.script.tell.wait(30)
                self._json(200, self.script.props | self.script.more.get(unquote(address.query), {}))
            else:
                self._fault(404, "no such page")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        self.script.requests.append(body)
        chunks = self.script.answer(body)
        begun = False
        try:
            for chunk in chunks:
                if not begun:
                    self._begin()
                begun = True
                self._event(json.dumps(chunk, ensure_ascii=False))
            self._event("[DONE]")
        except Fault as fault:
            if not begun:
                return self._fault(fault.status, str(fault))
            self._event(json.dumps({"error": {"message": str(fault), "type": "server_error", "code": None}}))
        except (Drop, BrokenPipeError, ConnectionResetError) as error:
            if not isinstance(error, Drop):
                self.script.left.set()
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def _allowed(self) -> bool:
        if self.script.loading:
            self._fault(503, "loading the model")
        elif self.script.key is not None and self.headers["Authorization"] != f"Bearer {self.script.key}":
            self._fault(401, "no such key")
        else:
            return True
        return False

    def _fault(self, status: int, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}})

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", {})

    def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Browsers close connections that they do not need.
        pass


@contextlib.contextmanager
def serving() -> Iterator[Script]:
    """A running server, and its script."""
    script = Script()
    script.tell.set()
    handler = type("Handler", (_Handler,), {"script": script})
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script.address = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield script
        finally:
            server.shutdown()


def slowly(chunks: Iterator[dict[str, Any]], seconds: float) -> Iterator[dict[str, Any]]:
    """The chunks with a pause behind each."""
    for chunk in chunks:
        yield chunk
        time.sleep(seconds)
