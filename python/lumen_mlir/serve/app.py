# SPDX-License-Identifier: Apache-2.0
"""The application of a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve.background import running
from lumen_mlir.serve.guards import Guards
from lumen_mlir.serve.openapi import openapi
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.routes import ROUTES
from lumen_mlir.serve.server import Server


def create_app(server: Server) -> Starlette:
    """The application of ``server``."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(server):
            yield

    routes = [routing.Route(each.path, each.endpoint, methods=[each.method]) for each in ROUTES]
    routes.append(routing.Route("/openapi.json", openapi))
    middleware = []
    if server.settings.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(server.settings.origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
            )
        )
    middleware.append(Middleware(Guards, server=server))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        # ``Guards`` tells of errors, in the form of the API.
        exception_handlers={Problem: _raise, HTTPException: _raise},
    )
    app.state.server = server
    return app


async def _raise(request: Request, error: Exception) -> Response:
    raise error
