# SPDX-License-Identifier: Apache-2.0
"""Connections that are too many, or that send their requests too slowly, are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from lumen_mlir.serve.json_body import encoded
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.settings import Settings

_PHRASES = {408: "Request Timeout", 503: "Service Unavailable"}


class Connection(H11Protocol):
    """uvicorn's protocol of HTTP/1.1, within limits (``Settings``)."""

    _waiting: asyncio.TimerHandle | None = None
    _refused = False

    @property
    def _settings(self) -> Settings:
        app: Any = self.config.app
        return app.state.server.settings

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses those beyond the limit; the others have to send a request."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._refuse(Problem(503, "there are too many connections", code="too_many", retry_after=1))
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A request that has begun has to come to its end."""
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self._settings.read_timeout, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            seconds = self._settings.read_timeout
            self._refuse(Problem(408, f"the request did not come within {seconds:g} s"))

    def _refuse(self, problem: Problem) -> None:
        """Says why, and closes."""
        self._refused = True
        body = encoded(problem.openai())
        headers = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        lines = [f"HTTP/1.1 {problem.status} {_PHRASES[problem.status]}"]
        lines += [f"{name}: {value}" for name, value in {**headers, **problem.headers}.items()]
        if not self.transport.is_closing():
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
            self.transport.close()
