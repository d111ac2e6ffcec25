# SPDX-License-Identifier: Apache-2.0
"""Answers that take a while: whoever asked may go, and the server may have to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.server import Server

T = TypeVar("T")

# Seconds without an event after which one that means nothing is sent: proxies close what is silent.
_SILENCE = 15.0

SSE, NDJSON = "text/event-stream", "application/x-ndjson"
_PING = {SSE: b": ping\n\n"}


async def finished(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` gives. It is cancelled where the client goes, or the server has to stop.

    Raises ``ClientDisconnect`` or ``Problem`` then.
    """
    server = Server.of(request)
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    cut = asyncio.ensure_future(server.cut.wait())
    try:
        await asyncio.wait([task, gone, cut], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if cut.done():
            raise _stopped()
        raise ClientDisconnect
    finally:
        for each in (task, gone, cut):
            each.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(task, gone, cut, return_exceptions=True)


async def streamed(
    request: Request,
    pieces: AsyncGenerator[bytes, None],
    failure: Callable[[Problem], bytes],
    media_type: str = SSE,
    ping: bytes | None = None,
) -> Stream:
    """The response of ``pieces``, whose first is there: what goes wrong before it has a status of its own."""
    try:
        first = await finished(request, pieces.__anext__())
    except BaseException:
        await pieces.aclose()
        raise
    return Stream(request, first, pieces, failure, media_type, ping)


class Stream(Response):
    """A response that is sent piece by piece.

    Args:
      request: which it answers.
      first, pieces: whole events or lines, as bytes. ``pieces`` is closed where the client goes.
      failure: the event that tells of an error that came amid them.
      media_type: ``SSE`` or ``NDJSON``.
      ping: is sent where nothing comes for long; by default what means nothing, if there is such a thing.
    """

    def __init__(
        self,
        request: Request,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        failure: Callable[[Problem], bytes],
        media_type: str = SSE,
        ping: bytes | None = None,
    ):
        # (Reverse proxies would hold back what they buffer.)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(b"", 200, headers, media_type)
        self._server, self._failure = Server.of(request), failure
        self._first, self._pieces = first, pieces
        self._ping = _PING.get(media_type) if ping is None else ping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        writing = asyncio.ensure_future(self._write(send))
        gone = asyncio.ensure_future(_gone(receive))
        cut = asyncio.ensure_future(self._server.cut.wait())
        try:
            await asyncio.wait([writing, gone, cut], return_when=asyncio.FIRST_COMPLETED)
            if cut.done() and not writing.done() and not gone.done():
                await _cancelled(writing)
                await self._send(send, self._failure(_stopped()))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif writing.done():
                writing.result()
        finally:
            for task in (gone, cut, writing):
                await _cancelled(task)

    async def _write(self, send: Send) -> None:
        """Sends all pieces."""
        pieces = self._pieces
        coming: asyncio.Future[bytes] | None = None
        try:
            await self._send(send, self._first)
            while True:
                coming = coming or asyncio.ensure_future(pieces.__anext__())
                done, _ = await asyncio.wait([coming], timeout=_SILENCE)
                if not done:
                    if self._ping is not None:
                        await self._send(send, self._ping)
                    continue
                try:
                    piece = coming.result()
                except StopAsyncIteration:
                    break
                except Exception as error:
                    await self._send(send, self._failure(Problem.of(error)))
                    break
                finally:
                    coming = None
                await self._send(send, piece)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if coming is not None:
                await _cancelled(coming)
            await pieces.aclose()

    @staticmethod
    async def _send(send: Send, data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: asyncio.Future) -> None:
    """Cancels a task, and waits until it has ended."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        # What it raised is not to be told again.
        task.exception()


def _stopped() -> Problem:
    return Problem(503, "the server is stopping", code="stopping", retry_after=5)
