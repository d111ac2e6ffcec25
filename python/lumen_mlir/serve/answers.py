# SPDX-License-Identifier: Apache-2.0
"""Answers a request, as a stream or at once, in the form of an API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import json_body
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.streams import SSE, finished, streamed

T = TypeVar("T")
Asked = TypeVar("Asked", contravariant=True)

Begin = Callable[[Server, ServedModel], Awaitable[T]]


class Form(Protocol[Asked]):
    """How an API writes the answer to one request; either ``stream`` or ``whole`` is asked for.

    What is written is a ``Completion``, or several (``Merged``).
    """

    def stream(self, completion: Asked) -> AsyncGenerator[bytes, None]:
        """All events or lines. The first is there at once: the response begins with it."""

    async def whole(self, completion: Asked) -> dict[str, Any]:
        """The body of the response."""

    def failure(self, problem: Problem) -> bytes:
        """What tells of an error amid a stream."""


async def answered(
    request: Request,
    name: str | None,
    begin: Begin[T],
    form: Form[T],
    *,
    stream: bool,
    media_type: str = SSE,
    ping: bytes | None = None,
) -> Response:
    """The response to ``request``, by the model ``name``.

    ``begin`` begins the texts. ``media_type``, ``ping``: of a stream, see ``Stream``. Raises ``LumenError``
    where something is wrong with what is asked.
    """
    server = Server.of(request)

    async def pieces() -> AsyncGenerator[bytes, None]:
        async with (
            server.catalog.using(name) as model,
            contextlib.aclosing(form.stream(await begin(server, model))) as written,
        ):
            async for piece in written:
                yield piece

    async def work() -> dict[str, Any]:
        async with server.catalog.using(name) as model:
            return await form.whole(await begin(server, model))

    if stream:
        return await streamed(request, pieces(), form.failure, media_type, ping)
    return json_body.answer(await finished(request, work()))
