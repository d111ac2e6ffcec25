# SPDX-License-Identifier: Apache-2.0
"""Texts as tokens, and conversations as texts."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.serve import json_body
from lumen_mlir.serve.chat import TemplateFields, prompt_of
from lumen_mlir.serve.problem import Problem
from lumen_mlir.serve.server import Server
from lumen_mlir.text.chat_messages import ChatError


class TokenizeBody(TemplateFields, kw_only=True):
    """``content`` is llama-server's name for the text, ``prompt`` vLLM's."""

    model: str | None = None
    content: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None


class DetokenizeBody(msgspec.Struct, kw_only=True):
    """``tokens`` are ids."""

    model: str | None = None
    tokens: list[int]
    special: bool | None = None


class TemplateBody(TemplateFields, kw_only=True):
    """A conversation."""

    model: str | None = None
    messages: list[dict[str, Any]]


async def tokenize(request: Request) -> Response:
    """``POST /tokenize``: the ids of a text, or of a conversation."""
    body = await json_body.read(request, TokenizeBody)
    text = body.content if body.content is not None else body.prompt
    if (text is None) == (body.messages is None):
        raise Problem(400, "content or messages were expected", field="content")
    async with Server.of(request).catalog.using(body.model) as model:
        if text is not None:
            special = body.add_special if body.add_special is not None else bool(body.add_special_tokens)
            ids = await model.call(
                lambda: model.llm.tokenize(text, special=body.parse_special is not False, add_bos=special)
            )
        else:
            ids, _ = await prompt_of(model, body.ask(body.messages or []))
        answer: dict[str, Any] = {"tokens": ids, "count": len(ids), "max_model_len": model.llm.context}
        if body.with_pieces:
            answer["tokens"] = [{"id": token, "piece": _piece(model.token_bytes(token))} for token in ids]
        return json_body.answer(answer)


def _piece(data: bytes) -> str | list[int]:
    """A token as text; as numbers where it is a part of a character."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


async def detokenize(request: Request) -> Response:
    """``POST /detokenize``: the text of ids."""
    body = await json_body.read(request, DetokenizeBody)
    async with Server.of(request).catalog.using(body.model) as model:
        text = await model.call(_text, model.llm, body.tokens, bool(body.special))
        return json_body.answer({"content": text, "prompt": text})


def _text(llm: Any, ids: list[int], special: bool) -> str:
    return llm.detokenize(llm.prompts.checked(ids) if ids else [], special=special)


async def tokenizer_info(request: Request) -> Response:
    """``GET /tokenizer_info?model=NAME``: the tokens that begin and end a text, as vLLM tells them."""
    async with Server.of(request).catalog.using(request.query_params.get("model")) as model:
        tokenizer = model.llm.tokenizer
        names = {"bos_token": tokenizer.bos, "eos_token": tokenizer.eos}
        info: dict[str, Any] = {
            name: None if token is None else tokenizer.token_text(token) for name, token in names.items()
        }
        try:
            info["chat_template"] = model.llm.chat_template.source
        except ChatError:
            info["chat_template"] = None
        return json_body.answer({**info, "model_max_length": model.llm.context})


async def apply_template(request: Request) -> Response:
    """``POST /apply-template``: a conversation as the text that the model reads."""
    body = await json_body.read(request, TemplateBody)
    async with Server.of(request).catalog.using(body.model) as model:
        ids, _ = await prompt_of(model, body.ask(body.messages))
        return json_body.answer({"prompt": model.llm.detokenize(ids, special=True)})
