# SPDX-License-Identifier: Apache-2.0
"""The routes of a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lumen_mlir.serve import about, openai_chat, openai_text, sessions, token_routes
from lumen_mlir.serve.background import running
from lumen_mlir.serve.guards import Guards
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.server import Server

_ROUTES = (
    ("GET", "/health", about.health),
    ("GET", "/ready", about.ready),
    ("GET", "/metrics", about.metrics),
    ("GET", "/props", about.props),
    ("GET", "/v1/models", about.models),
    ("GET", "/v1/models/{name:path}", about.model),
    ("POST", "/v1/chat/completions", openai_chat.chat_completions),
    ("POST", "/v1/completions", openai_text.completions),
    ("POST", "/tokenize", token_routes.tokenize),
    ("POST", "/detokenize", token_routes.detokenize),
    ("POST", "/apply-template", token_routes.apply_template),
    ("GET", "/sessions", sessions.list_sessions),
    ("POST", "/sessions/{name}/save", sessions.save),
    ("POST", "/sessions/{name}/restore", sessions.restore),
    ("DELETE", "/sessions/{name}", sessions.erase),
)


def create_app(server: Server) -> Starlette:
    """The application of ``server``."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with running(server):
            yield

    routes = [Route(path, endpoint, methods=[method]) for method, path, endpoint in _ROUTES]
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
