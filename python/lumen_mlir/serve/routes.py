# SPDX-License-Identifier: Apache-2.0
"""What can be asked for, and who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import (
    about,
    anthropic_messages,
    ollama_body,
    ollama_embed,
    ollama_models,
    ollama_text,
    openai_chat,
    openai_embeddings,
    openai_responses,
    openai_text,
    page,
    sessions,
    token_routes,
)

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
    Route("GET", "/", page.page),
    Route("GET", "/health", about.health),
    Route("GET", "/ready", about.ready),
    Route("GET", "/metrics", about.metrics),
    Route("GET", "/props", about.props, query=("model",)),
    Route("GET", "/v1/models", about.models),
    Route("GET", "/v1/models/{name:path}", about.model),
    Route("POST", "/v1/chat/completions", openai_chat.chat_completions, openai_chat.ChatBody),
    Route("POST", "/v1/completions", openai_text.completions, openai_text.CompletionBody),
    Route("POST", "/v1/embeddings", openai_embeddings.embeddings, openai_embeddings.EmbeddingBody),
    Route("POST", "/v1/responses", openai_responses.create_response, openai_responses.ResponseBody),
    Route("GET", "/v1/responses/{name}", openai_responses.get_response),
    Route("DELETE", "/v1/responses/{name}", openai_responses.delete_response),
    Route("POST", "/v1/messages", anthropic_messages.messages, anthropic_messages.MessagesBody),
    Route(
        "POST",
        "/v1/messages/count_tokens",
        anthropic_messages.count_tokens,
        anthropic_messages.MessagesBody,
    ),
    Route("POST", "/api/chat", ollama_text.ollama_chat, ollama_body.OllamaChatBody),
    Route("POST", "/api/generate", ollama_text.ollama_generate, ollama_body.GenerateBody),
    Route("POST", "/api/embed", ollama_embed.ollama_embed, ollama_embed.EmbedBody),
    Route("POST", "/api/embeddings", ollama_embed.ollama_embeddings, ollama_embed.OldEmbedBody),
    Route("GET", "/api/tags", ollama_models.ollama_tags),
    Route("POST", "/api/show", ollama_models.ollama_show, ollama_models.ShowBody),
    Route("GET", "/api/ps", ollama_models.ollama_ps),
    Route("GET", "/api/version", ollama_models.ollama_version),
    Route("POST", "/tokenize", token_routes.tokenize, token_routes.TokenizeBody),
    Route("POST", "/detokenize", token_routes.detokenize, token_routes.DetokenizeBody),
    Route("GET", "/tokenizer_info", token_routes.tokenizer_info, query=("model",)),
    Route("POST", "/apply-template", token_routes.apply_template, token_routes.TemplateBody),
    Route("GET", "/sessions", sessions.list_sessions, statuses=(501,)),
    Route("POST", "/sessions/{name}/save", sessions.save, sessions.SaveBody, statuses=(501,)),
    Route("POST", "/sessions/{name}/restore", sessions.restore, sessions.RestoreBody, statuses=(501,)),
    Route("DELETE", "/sessions/{name}", sessions.erase, query=("model",), statuses=(501,)),
)
