# SPDX-License-Identifier: Apache-2.0
"""``POST /api/embed`` and ``POST /api/embeddings``, as ollama has them."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import json_body
from lumen_mlir.serve.ollama_body import Options, seconds_of
from lumen_mlir.serve.openai_embeddings import checked_texts, vectors_of
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.streams import finished


class VectorBody(msgspec.Struct, kw_only=True):
    """What both requests have in common."""

    model: str
    options: Options | None = None
    keep_alive: int | float | str | None = None


class EmbedBody(VectorBody, kw_only=True):
    """See ollama's reference."""

    input: str | list[str]
    truncate: bool | None = None
    dimensions: int | None = None


class OldEmbedBody(VectorBody, kw_only=True):
    """See ollama's reference of ``/api/embeddings``, which came before ``/api/embed``."""

    prompt: str


async def ollama_embed(request: Request) -> Response:
    """``POST /api/embed``: makes vectors of texts."""
    body = await json_body.read(request, EmbedBody)
    texts = checked_texts(body.input)
    made = await _made(request, body, texts, body.truncate is not False, body.dimensions)
    return json_body.answer({"model": body.model, **made})


async def ollama_embeddings(request: Request) -> Response:
    """``POST /api/embeddings``: makes a vector of a text."""
    body = await json_body.read(request, OldEmbedBody)
    made = await _made(request, body, [body.prompt], True, None)
    return json_body.answer({"embedding": made["embeddings"][0]})


async def _made(
    request: Request, body: VectorBody, texts: list[str | list[int]], truncate: bool, dimensions: int | None
) -> dict[str, Any]:
    """The vectors, and how long they took, in nanoseconds."""
    server, start = Server.of(request), time.perf_counter()
    entry = server.catalog.find(body.model)
    if body.keep_alive is not None:
        entry.keep = seconds_of(body.keep_alive)

    async def work() -> dict[str, Any]:
        async with server.catalog.using(entry.name) as model:
            loaded = time.perf_counter() - start
            (body.options or Options()).check(model)
            cut = await model.call(_cut, model, texts) if truncate else texts
            vectors, tokens = await vectors_of(server, model, cut, None, dimensions)
            return {
                "embeddings": await model.call(vectors.tolist),
                "total_duration": round((time.perf_counter() - start) * 1e9),
                "load_duration": round(loaded * 1e9),
                "prompt_eval_count": tokens,
            }

    return await finished(request, work())


def _cut(model: ServedModel, texts: list[str | list[int]]) -> list[str | list[int]]:
    """The texts as ids, no more of each than the context has room for."""
    return [model.llm.prompts.of_text(text)[: model.llm.context] for text in texts]
