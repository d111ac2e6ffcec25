# SPDX-License-Identifier: Apache-2.0
"""What stands between a connection and its answer: keys, sizes, times, counts, ids, errors, the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lumen_mlir.serve.json_body import answer
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.server import Server

logger = logging.getLogger(__name__)

# What needs no key.
_OPEN = ("/", "/health", "/ready", "/api/version", "/favicon.ico")
# What is answered even when there is too much to do.
_CHEAP = ("/", "/health", "/ready", "/metrics", "/favicon.ico")

_WATCHED = ("/health", "/ready", "/metrics")

_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class Guards:
    """Every request goes through it.

    A request that is refused gets its reason in the form of the API that it asked.
    """

    def __init__(self, app: ASGIApp, server: Server):
        self._app, self._server = app, server
        self._keys = [key.encode() for key in server.settings.api_keys]
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._server, scope, receive, send).run(self._guarded)

    async def _guarded(self, exchange: _Exchange) -> None:
        path, settings = exchange.path, self._server.settings
        headers = Headers(scope=exchange.scope)
        # A browser asks first, without a key, whether it may ask.
        if exchange.scope["method"] != "OPTIONS" and path not in _OPEN:
            self._check_key(headers)
        if self._server.stopping.is_set() and path not in _CHEAP:
            raise Problem(503, "the server is stopping", code="stopping", retry_after=5)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdecimal() and int(length) > settings.max_body:
            raise _too_large(settings.max_body)
        cheap = path in _CHEAP or exchange.scope["method"] != "POST"
        if not cheap and self._open >= settings.max_requests:
            self._server.metrics.refused.labels("429").inc()
            message = f"{self._open} requests are being answered already"
            raise Problem(429, message, code="too_many_requests", retry_after=1 + self._open / 100)
        self._open += not cheap
        try:
            receive = _Body(exchange.receive, settings.max_body, settings.read_timeout)
            await self._app(exchange.scope, receive, exchange.send)
        finally:
            self._open -= not cheap

    def _check_key(self, headers: Headers) -> None:
        """Raises ``Problem`` where there are keys, and the request has none of them."""
        if not self._keys:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        # All are compared, so that the time says nothing.
        found = [hmac.compare_digest(key, given.encode("utf-8", "replace")) for key in self._keys]
        if not any(found):
            missing = "the API key is wrong" if given else "an API key is missing"
            raise Problem(401, missing, code="invalid_api_key")


class _Exchange:
    """A request and its response: gives it an id, tells of its errors, writes a line to the log."""

    def __init__(self, server: Server, scope: Scope, receive: Receive, send: Send):
        self.scope, self.receive, self._send = scope, receive, send
        self.path: str = scope["path"]
        self._server = server
        given = Headers(scope=scope).get("x-request-id", "")
        self._id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self._id
        self._status: int | None = None
        self._bytes = 0

    async def run(self, work: Any) -> None:
        """Does ``work``, whatever comes of it."""
        headers = Headers(scope=self.scope)
        with self._server.traces.span(self.scope["method"], self.path, headers) as span:
            try:
                await self._run(work)
            finally:
                if span is not None:
                    span.set_attribute("http.response.status_code", self._said)
                    span.set_attribute("lumen.request_id", self._id)

    async def _run(self, work: Any) -> None:
        start = time.perf_counter()
        try:
            await work(self)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            problem = _problem_of(error)
            if problem.status == 500:
                logger.exception("%s: %s failed", self._id, self.path)
            if self._status is None:
                response = answer(_form(problem, self.path), problem.status, problem.headers)
                await response(self.scope, self.receive, self.send)
            if not isinstance(error, Exception):
                raise
        finally:
            self._log(time.perf_counter() - start)

    @property
    def _said(self) -> int:
        """The status; as nginx has it where the client went before there was an answer."""
        return 499 if self._status is None else self._status

    async def send(self, message: Message) -> None:
        """Sends a part of the response."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._id
        elif message["type"] == "http.response.body":
            self._bytes += len(message.get("body", b""))
        await self._send(message)

    def _log(self, seconds: float) -> None:
        client = self.scope.get("client") or ("-", 0)
        # (What is asked every second, by programs that watch.)
        level = logging.DEBUG if self.path in _WATCHED else logging.INFO
        logger.log(
            level,
            "request",
            extra={
                "fields": {
                    "id": self._id,
                    "client": client[0],
                    "method": self.scope["method"],
                    "path": self.path,
                    "status": self._said,
                    "bytes": self._bytes,
                    "seconds": round(seconds, 4),
                }
            },
        )


class _Body:
    """``receive`` of a request, whose body may have so many bytes and take so long."""

    def __init__(self, receive: Receive, most: int, seconds: float):
        self._receive, self._left, self._most = receive, most, most
        self._seconds, self._deadline, self._done = seconds, time.monotonic() + seconds, False

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._deadline - time.monotonic())
        except asyncio.TimeoutError:
            raise Problem(408, f"the request did not come within {self._seconds:g} s") from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._most)
            self._done = not message.get("more_body", False)
        return message


def _too_large(most: int) -> Problem:
    return Problem(413, f"the request is larger than {most} bytes", code="too_large")


def _problem_of(error: BaseException) -> Problem:
    if isinstance(error, HTTPException):
        return Problem(error.status_code, error.detail)
    return Problem.of(error)


def _form(problem: Problem, path: str) -> dict[str, Any]:
    if path.startswith("/v1/messages"):
        return problem.anthropic()
    return problem.ollama() if path.startswith("/api/") else problem.openai()
