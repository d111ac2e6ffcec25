# SPDX-License-Identifier: Apache-2.0
"""``POST /v1/embeddings``."""

from __future__ import annotations

import base64
import time
from functools import partial
from typing import Any, Literal

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import shown
from lumen_mlir.serve import json_body
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.served_model import ServedModel
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.streams import finished

# Texts of one request, as OpenAI has it.
_MOST_TEXTS = 2048


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """See OpenAI's reference; ``pooling`` is this server's own."""

    model: str | None = None
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: Any = None
    pooling: Literal["last", "mean", "cls"] | None = None


async def embeddings(request: Request) -> Response:
    """Makes vectors of texts."""
    body = await json_body.read(request, EmbeddingBody)
    texts = checked_texts(body.input)
    server = Server.of(request)

    async def work() -> Response:
        async with server.catalog.using(body.model) as model:
            vectors, tokens = await vectors_of(server, model, texts, body.pooling, body.dimensions)
            return await model.call(_answer, model.name, vectors, body.encoding_format, tokens)

    return await finished(request, work())


async def vectors_of(
    server: Server,
    model: ServedModel,
    texts: list[str | list[int]],
    pooling: str | None,
    dimensions: int | None,
) -> tuple[np.ndarray, int]:
    """What ``LLM.embeddings`` makes of ``texts``, and how many tokens they have. Raises ``LumenError``."""
    start, timeout = time.perf_counter(), server.settings.request_timeout
    made = await model.call(partial(model.llm.embeddings, texts, pooling, dimensions, timeout=timeout))
    vectors = await model.vectors(made)
    server.metrics.embedded(model.name, made.tokens, time.perf_counter() - start)
    return vectors, made.tokens


def checked_texts(given: str | list[Any]) -> list[str | list[int]]:
    """The texts of a request, each as text or token ids. Raises ``Problem``."""
    if isinstance(given, str):
        return [given]
    if given and all(type(token) is int for token in given):
        return [given]
    if len(given) > _MOST_TEXTS:
        raise Problem(
            400, f"there are {len(given)} texts; at most {_MOST_TEXTS} were expected", field="input"
        )
    if not given or not all(
        isinstance(each, str) or (isinstance(each, list) and all(type(token) is int for token in each))
        for each in given
    ):
        message = f"input is {shown(given)}; a text, token ids or a list of them was expected"
        raise Problem(400, message, field="input")
    return given


def _answer(name: str, vectors: np.ndarray, form: str | None, tokens: int) -> Response:
    # (Of many texts, too much work for the loop.)
    data = [
        {"object": "embedding", "index": number, "embedding": _written(vector, form)}
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_body.answer({"object": "list", "data": data, "model": name, "usage": usage})


def _written(vector: np.ndarray, form: str | None) -> list[float] | str:
    """A vector as JSON has it: numbers, or the base64 of its bytes (float32, little-endian)."""
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
