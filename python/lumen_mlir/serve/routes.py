# SPDX-License-Identifier: Apache-2.0
"""What can be asked for, and who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import about, openai_chat, openai_text, sessions, token_routes

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """A method of a path.

    Attributes:
      method, path, endpoint: of the request.
      body: what it is made of; None where it has none.
      query: names that may stand behind a "?".
      statuses: of answers, other than those that all may have.
    """

    method: str
    path: str
    endpoint: Endpoint
    body: type[msgspec.Struct] | None = None
    query: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()


ROUTES = (
    Route("GET", "/health", about.health),
    Route("GET", "/ready", about.ready),
    Route("GET", "/metrics", about.metrics),
    Route("GET", "/props", about.props, query=("model",)),
    Route("GET", "/v1/models", about.models),
    Route("GET", "/v1/models/{name:path}", about.model),
    Route("POST", "/v1/chat/completions", openai_chat.chat_completions, openai_chat.ChatBody),
    Route("POST", "/v1/completions", openai_text.completions, openai_text.CompletionBody),
    Route("POST", "/tokenize", token_routes.tokenize, token_routes.TokenizeBody),
    Route("POST", "/detokenize", token_routes.detokenize, token_routes.DetokenizeBody),
    Route("POST", "/apply-template", token_routes.apply_template, token_routes.TemplateBody),
    Route("GET", "/sessions", sessions.list_sessions, statuses=(501,)),
    Route("POST", "/sessions/{name}/save", sessions.save, sessions.SaveBody, statuses=(501,)),
    Route("POST", "/sessions/{name}/restore", sessions.restore, sessions.RestoreBody, statuses=(501,)),
    Route("DELETE", "/sessions/{name}", sessions.erase, query=("model",), statuses=(501,)),
)
