# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of OpenAI's completions and chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import LumenError, did_you_mean, shown
from lumen_mlir.generate import grammar_body

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.logprobs import Logprob, TokenLogprob

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"

# Parameters of ``LLM.generate`` by the same names; ``top_k`` and so on are no names of OpenAI's, but of many
# servers.
_SAME = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "repeat_penalty", "presence_penalty",
    "frequency_penalty", "seed", "stop", "stop_token_ids", "ignore_eos",
)  # fmt: skip
# Nothing follows from them here.
_IDLE = ("model", "user", "metadata", "store", "service_tier", "stream_options", "parallel_tool_calls")
# What has one value that means what is done anyway.
_FIXED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "stream": (False,),
    "echo": (False,),
    "suffix": ("",),
    "tool_choice": ("auto",),
}
_OWN = {
    COMPLETIONS: ("prompt", "max_tokens", "logprobs", "logit_bias"),
    CHAT: (
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "tools",
    ),
}


def check_url(fields: Mapping[str, Any]) -> str:
    """The ``url`` of a line of a batch. Raises ``LumenError`` where nothing is there."""
    url, method = fields.get("url"), fields.get("method", "POST")
    if not isinstance(url, str) or url not in _OWN:
        raise LumenError(f"url is {shown(url)}; {COMPLETIONS} or {CHAT} was expected")
    if method != "POST":
        raise LumenError(f"method is {shown(method)}; POST was expected")
    return url


def parameters(url: str, body: Any) -> tuple[str | None, dict[str, Any]]:
    """The model's name, and the parameters of ``LLM.generate`` or ``LLM.chat``. Raises ``LumenError``."""
    if not isinstance(body, dict):
        raise LumenError(f"body is {shown(body)}; a JSON object was expected")
    body = {name: value for name, value in body.items() if value is not None}
    known = (*_OWN[url], *_SAME, *_IDLE, *_FIXED, *grammar_body.FIELDS)
    for name, value in body.items():
        if name not in known:
            raise LumenError(f"unknown field {shown(name)}{did_you_mean(name, known)}")
        if name in _FIXED and value not in _FIXED[name]:
            raise LumenError(f"{name} is {shown(value)}; only {shown(_FIXED[name][0])} is known")
    text = "messages" if url == CHAT else "prompt"
    if text not in body:
        raise LumenError(f"{text} are missing" if url == CHAT else "a prompt is missing")
    chosen = {name: body[name] for name in (text, "tools", *_SAME) if name in body}
    if url == COMPLETIONS and isinstance(body[text], list) and len(body[text]) == 1:
        (only,) = body[text]
        chosen[text] = only if isinstance(only, (str, list)) else body[text]
    for name in ("max_tokens", "max_completion_tokens"):
        if name in body:
            chosen["max_tokens"] = body[name]
    if "logit_bias" in body:
        chosen["logit_bias"] = biases(body["logit_bias"])
    if (grammar := grammar_body.grammar_of(body)) is not None:
        chosen["grammar"] = grammar
    if (count := _logprobs(url, body)) is not None:
        chosen["logprobs"] = count
    model = body.get("model")
    return model if isinstance(model, str) else None, chosen


def biases(value: Any) -> Any:
    """A ``logit_bias``, whose tokens are texts in JSON, with numbers."""
    if not isinstance(value, dict):
        return value
    try:
        return {int(token): bias for token, bias in value.items()}
    except ValueError:
        raise LumenError(f"logit_bias is {shown(value)}; ids of tokens were expected") from None


def _logprobs(url: str, body: Mapping[str, Any]) -> int | None:
    """How many likely tokens are recorded; None where nothing is."""
    wanted = body.get("logprobs")
    if url == COMPLETIONS:
        return wanted
    if not isinstance(wanted, (bool, type(None))):
        raise LumenError(f"logprobs is {shown(wanted)}; true or false was expected")
    if not wanted and "top_logprobs" in body:
        raise LumenError("top_logprobs needs logprobs")
    return body.get("top_logprobs", 0) if wanted else None


def answer(url: str, generation: Generation, usage: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """The body of the answer, without its id and its time."""
    reason = "stop" if generation.finish_reason in ("end", "stop") else "length"
    records, choice = generation.logprobs, {"index": 0, "finish_reason": reason, "logprobs": None}
    if url == CHAT:
        choice["message"] = {"role": "assistant", "content": generation.output}
        if records is not None:
            choice["logprobs"] = {"content": chat_records(records)}
    else:
        choice["text"] = generation.output
        if records is not None:
            choice["logprobs"] = completion_records(records)
    kind = "chat.completion" if url == CHAT else "text_completion"
    return {"object": kind, "model": model or "lumen", "choices": [choice], "usage": dict(usage)}


def chat_records(records: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """How likely the tokens of an answer were."""
    return [{**_token(record), "top_logprobs": [_token(each) for each in record.top]} for record in records]


def _token(record: Logprob) -> dict[str, Any]:
    return {"token": record.text, "logprob": record.logprob, "bytes": list(record.bytes)}


def completion_records(records: Sequence[TokenLogprob], begin: int = 0) -> dict[str, Any]:
    """How likely the tokens of a text were, the first of which stands at ``begin``."""
    offsets, end = [], begin
    for record in records:
        offsets.append(end)
        end += len(record.text)
    return {
        "tokens": [record.text for record in records],
        "token_logprobs": [record.logprob for record in records],
        "top_logprobs": [{each.text: each.logprob for each in record.top} for record in records],
        "text_offset": offsets,
    }
