# SPDX-License-Identifier: Apache-2.0
"""Replicas of ``lumen serve`` behind one address, which Ray Serve keeps running on the machines of a cluster.

    python examples/ray/replicas.py MODEL.gguf --replicas 2

A request goes to the replica that has computed most of its prompt before (``prefix_router.py``): a
conversation stays where its keys and values are. All that the server answers is answered, streams too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import prefix_router
import ray
from prefix_router import PrefixRouter, prompt_of
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lumen_mlir import LLM
from lumen_mlir.serve.app import create_app
from lumen_mlir.serve.catalog import Catalog
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.settings import ModelName, Settings

# What a connection says of itself, and what Ray Serve says anyway.
_OWN_HEADERS = {
    "x-request-id",
    "connection",
    "content-length",
    "keep-alive",
    "transfer-encoding",
    "date",
    "server",
}


@serve.deployment(max_ongoing_requests=1024)
class Replica:
    """A server without a socket: requests come as calls.

    Args:
      models: as on the command line of ``lumen serve``; None for the model that comes with Lumen.
      options: of ``LLM``.
      settings: of the server.
    """

    def __init__(self, models: list[str | None], options: dict[str, Any], settings: dict[str, Any]):
        chosen = Settings(**settings)
        catalog = Catalog(
            ModelName.parse_all(models),
            lambda source: LLM(source, **options),
            idle=chosen.idle,
            most=chosen.max_models,
            any_name=chosen.any_name,
        )
        self._app = create_app(Server(chosen, catalog))
        self._lifespan: Any = None
        self._turn = asyncio.Lock()

    async def _start(self) -> None:
        async with self._turn:
            if self._lifespan is None:
                self._lifespan = self._app.router.lifespan_context(self._app)
                await self._lifespan.__aenter__()

    async def answer(self, scope: dict[str, Any], body: bytes) -> AsyncIterator[Any]:
        """(status, headers) of the answer, then its body piece by piece. ``scope``: of ASGI."""
        await self._start()
        messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        request = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if request:
                return request.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def run() -> None:
            try:
                await self._app(scope, receive, messages.put)
            finally:
                await messages.put(None)

        running = asyncio.ensure_future(run())
        try:
            while (message := await messages.get()) is not None:
                if message["type"] == "http.response.start":
                    yield message["status"], message["headers"]
                elif message.get("body"):
                    yield message["body"]
            await running
        finally:
            # Where the client has gone, the text is given up.
            gone.set()
            with contextlib.suppress(Exception):
                await running

    async def __del__(self) -> None:
        if self._lifespan is not None:
            await self._lifespan.__aexit__(None, None, None)


@serve.deployment(max_ongoing_requests=4096)
class Ingress:
    """Sends each request to a replica."""

    def __init__(self, *replicas: Any):
        self._replicas = [replica.options(stream=True) for replica in replicas]
        self._router = PrefixRouter(len(replicas))

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        number = self._router.begin(prompt_of(body))
        try:
            pieces = self._replicas[number].answer.remote(_scope(request), body)
            status, headers = await anext(pieces)
        except BaseException:
            self._router.end(number)
            raise
        response = StreamingResponse(self._rest(number, pieces), status)
        response.raw_headers = [pair for pair in headers if pair[0].decode().lower() not in _OWN_HEADERS]
        response.raw_headers.append((b"x-replica", str(number).encode()))
        return response

    async def _rest(self, number: int, pieces: Any) -> AsyncIterator[bytes]:
        try:
            async for piece in pieces:
                yield piece
        finally:
            self._router.end(number)
            pieces.cancel()


def _scope(request: Request) -> dict[str, Any]:
    """What a replica is told of a request: the fields of ASGI that can be sent."""
    scope = request.scope
    names = ("http_version", "method", "scheme", "path", "raw_path", "query_string", "client", "server")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "root_path": "",
        "headers": [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        **{name: scope[name] for name in names if name in scope},
    }


def application(
    models: list[str | None],
    replicas: int,
    options: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    cores: float = 1,
) -> serve.Application:
    """What ``serve.run`` takes. Each replica gets so many ``cores`` of a machine."""
    options = {"threads": max(int(cores), 1), **(options or {})}
    made = [
        Replica.options(name=f"replica-{number}", ray_actor_options={"num_cpus": cores}).bind(
            models, options, settings or {}
        )
        for number in range(replicas)
    ]
    # The ingress computes nothing.
    return Ingress.options(ray_actor_options={"num_cpus": 0}).bind(*made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", help="as for lumen serve; each machine has the files")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--cores", type=float, default=1, help="of a machine, for each replica")
    parser.add_argument("-c", "--context", type=int, help="tokens of a text; by default as many as is usual")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--address", help="of a Ray cluster; by default one is started on this machine")
    given = parser.parse_args()
    # (Other machines need not have the file.)
    ray.cloudpickle.register_pickle_by_value(prefix_router)
    ray.init(address=given.address)
    serve.start(http_options={"host": given.host, "port": given.port})
    made = application(given.models or [None], given.replicas, {"context": given.context}, cores=given.cores)
    serve.run(made, name="lumen", route_prefix="/")
    print(f"{given.replicas} replicas answer at http://{given.host}:{given.port}/v1")
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
